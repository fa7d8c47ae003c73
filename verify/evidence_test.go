package verify

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func day(n float64) time.Duration { return time.Duration(n * float64(24*time.Hour)) }

func someTime() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// randomEvidence is anything that could come together, and much that could not.
func randomEvidence(r *rand.Rand) (evidence, probe.Outcome, reply.Class) {
	out := randomOutcome(r)
	class := classOf(out)
	if r.IntN(2) == 0 {
		class.Label, class.Proof = randomLabel(r), r.IntN(2) == 0
		class.Exists = r.IntN(4) == 0
	}
	now := someTime()
	e := evidence{
		now: now, found: reading(out, class, now.Add(-time.Duration(r.IntN(3600))*time.Second)),
		trust:      trust{refusal: r.Float64(), acceptAll: r.IntN(6) == 0},
		acceptsAll: pick(r, 0, 0.01, 0.25, 0.92, 0.996, r.Float64()),
		arrived:    r.IntN(100), late: pick(r, 0, 0, 3), refusesFirst: r.IntN(3) == 0,
		past: randomHistory(r, now), incident: r.IntN(6) == 0,
	}
	if r.IntN(4) == 0 {
		e.bounce = because(MailboxUnknown)
		e.bounce.Stage, e.bounce.Checked = reply.StageDot, now.Add(-day(r.Float64()*30))
	}
	return e, out, class
}

func randomHistory(r *rand.Rand, now time.Time) (h history) {
	for range r.IntN(5) {
		at := now.Add(-day(r.Float64() * 200))
		if r.IntN(2) == 0 {
			h = h.arrived(at)
		} else if h.worked() {
			h = h.struck(at)
		}
	}
	return h
}

// TestJudge holds the judge to its rules for 50 000 pieces of evidence.
func TestJudge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	seen := map[Reason]int{}
	for range 50_000 {
		e, out, class := randomEvidence(r)
		got := judge(e)
		seen[got.Reason]++
		fault := weighedFault(&e, out, class, got)
		if again := judge(e); !reflect.DeepEqual(again, got) {
			fault = "not a function of its input"
		}
		later := e
		later.now = e.now.Add(day(r.Float64() * 300))
		if old := judge(later); got.Verdict == Unknown && old.Verdict != Unknown ||
			old.Verdict == got.Verdict && got.Reason == old.Reason && old.Confidence > got.Confidence+1e-9 {
			fault = "more certain with age: " + string(old.Verdict) + ", " + string(old.Reason)
		}
		if fault != "" {
			t.Fatalf("seed %d: %s:\nevidence %+v\nclass %+v\nresult %+v", seed, fault, e, class, got)
		}
	}
	for _, reason := range []Reason{
		MailboxExists, Delivered, MailboxUnknown, MailboxDisabled, Moved, DomainUnknown, AcceptAll,
		MailboxFull, Busy, Incident, Disputed, Greylisted,
	} {
		if seen[reason] == 0 {
			t.Errorf("seed %d: %s was never reached", seed, reason)
		}
	}
}

func weighedFault(e *evidence, out probe.Outcome, class reply.Class, got Result) string {
	bounces := e.past.strikes() > 1 || e.bounceStands()
	byAnswer := e.found.Proof && class.Proof && out.Stage == reply.StageRcpt && out.Reply.Permanent() &&
		out.Err == nil && !out.LocalLimit && !out.Self && !out.Declined
	switch {
	case got.Proof != (got.Verdict == Undeliverable):
		return "proof and undeliverable differ"
	case math.IsNaN(got.Confidence) || got.Confidence < 0 || got.Confidence > 1 ||
		math.IsNaN(got.Deliverability) || got.Deliverability < 0 || got.Deliverability > 1:
		return "not a probability"
	case (got.Confidence == 0) != (got.Verdict == Unknown):
		return "sure of what is not known, or not of what is"
	case got.Verdict == Undeliverable && !bounces && !byAnswer:
		return "undeliverable without a 5xx to RCPT that proves, or bounces"
	case got.Verdict == Undeliverable && e.incident:
		return "undeliverable in an incident"
	case got.Verdict == Undeliverable && got.Deliverability > refuseBelow:
		return "undeliverable and likely to be delivered"
	case byAnswer && got.Verdict == Deliverable:
		return "deliverable in spite of a refusal"
	case class.Exists && got.Reason == MailboxUnknown && !bounces && !class.Proof:
		return "a word that the mailbox exists refused it"
	case got.Verdict == Deliverable && got.Reason == MailboxExists &&
		(e.trust.acceptAll || e.acceptsAll >= acceptsAllFrom) && !e.past.worked():
		return "deliverable by the 250 of a server that accepts everything"
	}
	return ""
}

// TestJudgeTable is what single pieces of evidence are worth, and what comes of contradictions.
func TestJudgeTable(t *testing.T) {
	now := someTime()
	found := func(reason Reason) Result {
		r := because(reason)
		r.MX, r.Stage, r.Checked = "mx.example.com", reply.StageRcpt, now
		r.Reply = esmtp.NewReply(450, esmtp.EnhancedCode{}, "whatever")
		return r
	}
	arrived := func(days float64) history { return history{}.arrived(now.Add(-day(days))) }
	bounce := found(MailboxUnknown)
	bounce.Stage, bounce.Checked = reply.StageDot, now.Add(-day(3))
	good := trust{refusal: 0.97}

	tests := []struct {
		name       string
		e          evidence
		verdict    Verdict
		reason     Reason
		confidence float64 // at least, to two places
		delivers   float64 // about
	}{
		{"250, selective", evidence{found: found(MailboxExists), acceptsAll: 0.001}, Deliverable, MailboxExists, 0.98, 1},
		{"250, nothing known", evidence{found: found(MailboxExists), acceptsAll: 0.25}, Deliverable, MailboxExists, 0.79, 0.99},
		{"250, probably accepts all", evidence{found: found(MailboxExists), acceptsAll: 0.92}, Deliverable, MailboxExists, 0.51, 0.95},
		{"250, accepts all", evidence{found: found(MailboxExists), acceptsAll: 0.996}, Risky, AcceptAll, 0.99, 0.9},
		{"250, accepts all, half of its mail bounces", evidence{found: found(MailboxExists), acceptsAll: 0.996, arrived: 40, late: 40}, Risky, AcceptAll, 0.99, 0.54},
		{"250, provider accepts all", evidence{found: found(MailboxExists), trust: trust{acceptAll: true}}, Risky, AcceptAll, 0.9, 0.9},
		{"250, accepts all, and mail arrived", evidence{found: found(MailboxExists), acceptsAll: 0.996, past: arrived(1)}, Deliverable, Delivered, 0.92, 0.99},
		{"250, accepts all, and mail bounced", evidence{found: found(MailboxExists), acceptsAll: 0.996, bounce: bounce}, Undeliverable, MailboxUnknown, 0.99, 0.01},
		{"250, selective, though mail bounced", evidence{found: found(MailboxExists), acceptsAll: 0.001, bounce: bounce}, Deliverable, MailboxExists, 0.93, 0.99},

		{"refused", evidence{found: found(MailboxUnknown), trust: good}, Undeliverable, MailboxUnknown, 0.97, 0.03},
		{"disabled", evidence{found: found(MailboxDisabled), trust: good}, Undeliverable, MailboxDisabled, 0.96, 0.04},
		{"refused by who is often wrong", evidence{found: found(MailboxUnknown), trust: trust{refusal: 0.7}}, Unknown, Disputed, 0, 0.3},
		{"refused, though mail arrived", evidence{found: found(MailboxUnknown), trust: good, past: arrived(1)}, Undeliverable, MailboxUnknown, 0.9, 0.1},
		{"refused by who is sometimes wrong, though mail arrived", evidence{found: found(MailboxUnknown), trust: trust{refusal: 0.85}, past: arrived(1)}, Unknown, Disputed, 0, 0.38},
		{"refused in a wave", evidence{found: found(MailboxUnknown), trust: good, incident: true}, Unknown, Incident, 0, 0.9},

		{"greylisted", evidence{found: found(Greylisted)}, Unknown, Greylisted, 0, 0.95},
		{"greylisted, others refused", evidence{found: found(Greylisted), refusesFirst: true}, Deliverable, Greylisted, 0.9, 0.99},
		{"greylisted, mail arrived", evidence{found: found(Greylisted), past: arrived(10)}, Deliverable, Delivered, 0.98, 1},
		{"busy", evidence{found: found(Busy)}, Unknown, Busy, 0, 1},
		{"full", evidence{found: found(MailboxFull), past: arrived(1)}, Risky, MailboxFull, 0.9, 0.3},
		{"policy, mail arrived", evidence{found: found(Policy), past: arrived(1)}, Unknown, Policy, 0, 0.99},

		{"nobody to ask", evidence{found: because(ProviderPassive)}, Unknown, ProviderPassive, 0, 0.9},
		{"nobody to ask, mail arrived", evidence{found: because(ProviderPassive), past: arrived(20)}, Deliverable, Delivered, 0.98, 1},
		{"nobody to ask, mail arrived half a year ago", evidence{found: because(ProviderPassive), past: arrived(180)}, Unknown, ProviderPassive, 0, 0.97},
		{"nobody to ask, mail bounced", evidence{found: because(ProviderPassive), bounce: bounce}, Undeliverable, MailboxUnknown, 0.99, 0.01},
		{"nobody to ask, one bounce", evidence{found: because(ProviderPassive), past: arrived(9).struck(now.Add(-day(1)))}, Unknown, Bounced, 0, 0.43},
		{"nobody to ask, two bounces", evidence{found: because(ProviderPassive), past: arrived(9).struck(now.Add(-day(2))).struck(now.Add(-day(1)))}, Undeliverable, MailboxUnknown, 0.98, 0.02},
		{"one bounce, and refused", evidence{found: found(MailboxUnknown), trust: good, past: arrived(9).struck(now.Add(-day(1)))}, Undeliverable, MailboxUnknown, 0.96, 0.03},
		{"one bounce, and accepted", evidence{found: found(MailboxExists), acceptsAll: 0.001, past: arrived(9).struck(now.Add(-day(1)))}, Deliverable, MailboxExists, 0.98, 1},
		{"blocked, mail arrived", evidence{found: found(BlockedIP), past: arrived(1)}, Deliverable, Delivered, 0.99, 1},
		{"DNS fails, mail arrived", evidence{found: because(DNSFailure), past: arrived(1)}, Unknown, DNSFailure, 0, 1},
		{"null MX, mail arrived", evidence{found: because(NullMX), past: arrived(1)}, Undeliverable, NullMX, 0.99, 0},
	}
	for _, tt := range tests {
		tt.e.now = now
		got := judge(tt.e)
		if got.Verdict != tt.verdict || got.Reason != tt.reason || got.Confidence < tt.confidence-0.005 ||
			math.Abs(got.Deliverability-tt.delivers) > 0.011 {
			t.Errorf("%s: %s, %s, confidence %.3f, deliverability %.3f; want %s, %s, %.2f, %.2f", tt.name,
				got.Verdict, got.Reason, got.Confidence, got.Deliverability,
				tt.verdict, tt.reason, tt.confidence, tt.delivers)
		}
	}
}

// TestHistory: the order in which the log tells of deliveries and bounces plays no part, as far as
// an address has no more than one delivery between two bounces.
func TestHistory(t *testing.T) {
	now := someTime()
	d, b1, b2 := now.Add(-day(5)), now.Add(-day(3)), now.Add(-day(1))
	tests := []struct {
		name    string
		h       history
		strikes int
	}{
		{"nothing", history{}, 0},
		{"delivered", history{}.arrived(d), 0},
		{"one bounce", history{}.arrived(d).struck(b1), 1},
		{"the same wave", history{}.arrived(d).struck(b1).struck(b1.Add(59 * time.Minute)), 1},
		{"two bounces", history{}.arrived(d).struck(b1).struck(b2), 2},
		{"two bounces, the other way round", history{}.arrived(d).struck(b2).struck(b1), 2},
		{"a bounce before the delivery", history{}.arrived(b1).struck(d), 0},
		{"a delivery that is told later", history{}.arrived(d).struck(b1).struck(b2).arrived(now), 0},
		{"a delivery in between, told later", history{}.arrived(d).struck(b1).struck(b2).arrived(now.Add(-day(2))), 1},
	}
	for _, tt := range tests {
		if got := tt.h.strikes(); got != tt.strikes {
			t.Errorf("%s: %d strikes, want %d", tt.name, got, tt.strikes)
		}
		if back, ok := readHistory(tt.h.append(nil)); !ok || back != tt.h {
			t.Errorf("%s: read back as %+v, %t", tt.name, back, ok)
		}
	}
	for _, garbage := range [][]byte{nil, make([]byte, 7), {23: 0, 0: 0xff}} {
		if h, ok := readHistory(garbage); ok {
			t.Errorf("%x is a history: %+v", garbage, h)
		}
	}
}

// TestStatistics has the numbers that docs and code speak of.
func TestStatistics(t *testing.T) {
	now := someTime()
	at := now.Unix()
	accepted := func(n int) (d domainFacts) {
		for i := range n {
			d.accept(string(rune('a'+i%26)) + string(rune('a'+i/26)))
		}
		return d
	}
	with := func(n int, invents uint8) domainFacts {
		d := accepted(n)
		d.invents, d.invent = invents, at
		return d
	}
	tests := []struct {
		name     string
		d        domainFacts
		at       time.Time
		from, to float64
	}{
		{"nothing", domainFacts{}, now, 0.25, 0.25},
		{"one invented recipient", with(0, 1), now, 0.91, 0.92},
		{"two", with(0, 2), now, 0.995, 0.997},
		{"three", with(0, 3), now, 0.9997, 1},
		{"two, a month ago", with(0, 2), now.Add(30 * 24 * time.Hour), 0.88, 0.92},
		{"ten ordinary ones", accepted(10), now, 0.29, 0.33},
		{"hundred ordinary ones", accepted(100), now, 0.84, 0.88},
		{"five hundred ordinary ones", accepted(500), now, 0.86, 0.88},
		{"hundred ordinary ones and an invented", with(100, 1), now, 0.994, 0.996},
		{"a refusal", domainFacts{refused: at}, now, 0.003, 0.004},
		{"a refusal after two invented ones", domainFacts{refused: at, invents: 2, invent: at - 1}, now, 0.003, 0.004},
		{"two late refusals", domainFacts{late: 2, lateAt: at}, now, 0.995, 0.997},
		{"a refusal, two months ago", domainFacts{refused: at}, now.Add(60 * 24 * time.Hour), 0.08, 0.11},
	}
	for _, tt := range tests {
		if p := tt.d.acceptsAll(priorAcceptAll, tt.at); p < tt.from || p > tt.to {
			t.Errorf("%s: %.4f, want %.4f to %.4f", tt.name, p, tt.from, tt.to)
		}
		if back, ok := readFacts(appendFacts(tt.d, nil)); !ok || back != tt.d {
			t.Errorf("%s: read back as %+v, %t", tt.name, back, ok)
		}
	}
	if _, ok := readFacts(make([]byte, factsOctets)); ok {
		t.Error("version 0 is read")
	}
	if _, ok := readFacts(nil); ok {
		t.Error("nothing is read")
	}
}

// TestDue: how often an invented recipient may be asked for.
func TestDue(t *testing.T) {
	now := someTime()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	tests := []struct {
		name string
		d    domainFacts
		due  bool
	}{
		{"never asked", domainFacts{}, true},
		{"known to be selective", domainFacts{refused: ago(time.Hour)}, false},
		{"accepted just now", domainFacts{tries: 1, tried: ago(time.Minute), invents: 1, invent: ago(time.Minute)}, false},
		{"accepted 11 minutes ago", domainFacts{tries: 1, tried: ago(11 * time.Minute), invents: 1, invent: ago(11 * time.Minute)}, true},
		{"accepted twice", domainFacts{tries: 2, tried: ago(time.Hour), invents: 2, invent: ago(time.Hour)}, false},
		{"no answer", domainFacts{tries: 1, tried: ago(time.Hour), failed: ago(time.Hour)}, false},
		{"no answer 3 hours ago", domainFacts{tries: 1, tried: ago(4 * time.Hour), failed: ago(4 * time.Hour)}, true},
		{"three times, ever", domainFacts{tries: 3, tried: ago(60 * 24 * time.Hour), failed: ago(60 * 24 * time.Hour)}, false},
		{"refused long ago, asked last week", domainFacts{tries: 1, refused: ago(day(80)), tried: ago(day(6))}, false},
		{"refused long ago", domainFacts{tries: 1, refused: ago(day(80)), tried: ago(day(80))}, true},
	}
	for _, tt := range tests {
		if due := tt.d.due(priorAcceptAll, now); due != tt.due {
			t.Errorf("%s: %t (accepts all: %.3f)", tt.name, due, tt.d.acceptsAll(priorAcceptAll, now))
		}
	}
}

func TestInventedName(t *testing.T) {
	seen := map[string]bool{}
	for i := range 2000 {
		domain := "d" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example.com"
		name := inventedName([]byte("secret"), domain, someTime())
		if len(name) > 24 {
			t.Errorf("%s is longer than 24", name)
		}
		for _, c := range name {
			if c != '.' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
				t.Errorf("%q in %s", c, name)
			}
		}
		seen[name] = true
		if again := inventedName([]byte("secret"), domain, someTime().Add(time.Hour)); again != name {
			t.Errorf("%s and %s within an hour", name, again)
		}
	}
	if len(seen) < 1999 {
		t.Errorf("only %d names for 2000 domains", len(seen))
	}
	one := inventedName([]byte("a"), "example.com", someTime())
	if inventedName([]byte("b"), "example.com", someTime()) == one {
		t.Error("the secret plays no part")
	}
	if inventedName([]byte("a"), "example.com", someTime().Add(inventEvery)) == one {
		t.Error("the week plays no part")
	}
}
