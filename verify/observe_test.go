package verify_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// said is an observation of a message with one recipient.
func (w *world) said(rcpt, mx string, event feedback.Event, stage reply.Stage, answer string) feedback.Observation {
	w.t.Helper()
	o := feedback.Observation{
		Event: event, Rcpt: address(w.t, rcpt), Recipients: 1, Stage: stage, MX: mx, At: time.Now(),
		QueueID: "4dGx5w3zVTz", Source: "test",
	}
	if answer != "" {
		code := 0
		if _, err := fmt.Sscanf(answer, "%d", &code); err != nil {
			w.t.Fatal(err)
		}
		o.Reply = esmtp.Reply{Code: code, Lines: []string{answer[4:]}}
	}
	return o
}

func (w *world) delivered(rcpt, mx string) {
	w.t.Helper()
	w.v.Observe(w.said(rcpt, mx, feedback.Delivered, reply.StageDot, "250 2.0.0 Ok: queued"))
}

func (w *world) bounced(rcpt, mx string, stage reply.Stage, answer string) {
	w.t.Helper()
	w.v.Observe(w.said(rcpt, mx, feedback.Bounced, stage, answer))
}

func yahoo(mailboxes ...string) *mxsim.Site {
	p, _ := mxsim.ProviderNamed("yahoo")
	m := map[string]mxsim.Mailbox{}
	for _, local := range mailboxes {
		m[local] = mxsim.Active
	}
	return p.Site("yahoo.com", mxsim.Plain, m)
}

const (
	yahooMX   = "mta5.am0.yahoodns.net"
	yahooNone = "550 5.1.1 no such user"
)

// TestObservePassive: a provider that is never asked is known by deliveries.
func TestObservePassive(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@yahoo.com")
		want(t, r, verify.Unknown, verify.ProviderPassive)
		if r.Provider != "yahoo" || r.NextStep() == "" {
			t.Errorf("provider %q, next step %q", r.Provider, r.NextStep())
		}
		w.delivered("anna@yahoo.com", yahooMX)
		r = w.verify("anna@yahoo.com")
		want(t, r, verify.Deliverable, verify.Delivered)
		if r.Confidence < 0.98 || !r.Cached {
			t.Errorf("confidence %.3f, cached %t", r.Confidence, r.Cached)
		}
		w.bounced("nobody@yahoo.com", yahooMX, reply.StageDot, yahooNone)
		for range 3 { // for days
			r = w.verify("nobody@yahoo.com")
			want(t, r, verify.Undeliverable, verify.MailboxUnknown)
			if r.Stage != reply.StageDot || !r.Proof {
				t.Errorf("stage %s, proof %t", r.Stage, r.Proof)
			}
			sleep(9 * 24 * time.Hour)
		}
		sleep(4 * 24 * time.Hour)
		want(t, w.verify("nobody@yahoo.com"), verify.Unknown, verify.ProviderPassive)
		// Longer than memory has the verdict, the delivery itself is known.
		want(t, w.verify("anna@yahoo.com"), verify.Deliverable, verify.Delivered)
		w.delivered("nobody@yahoo.com", yahooMX)
		want(t, w.verify("nobody@yahoo.com"), verify.Deliverable, verify.Delivered)
		if n := len(w.Host(yahooMX).Record().Conns); n != 0 {
			t.Errorf("%d connections", n)
		}
	}, yahoo("anna"))
}

// TestTwoStrikes: an address that used to get its mail is refused by its second bounce only, unless
// its server says so itself.
func TestTwoStrikes(t *testing.T) {
	var settled []bool
	cfg := verify.Config{Settled: func(_ feedback.Observation, proof bool) {
		settled = append(settled, proof)
	}}
	inBubble(t, cfg, func(w *world) {
		t := w.t
		w.delivered("anna@yahoo.com", yahooMX)
		sleep(24 * time.Hour)
		w.bounced("anna@yahoo.com", yahooMX, reply.StageDot, yahooNone)
		r := w.verify("anna@yahoo.com")
		want(t, r, verify.Unknown, verify.Bounced)
		sleep(10 * time.Minute)
		w.bounced("anna@yahoo.com", yahooMX, reply.StageDot, yahooNone) // the same wave
		want(t, w.verify("anna@yahoo.com"), verify.Unknown, verify.Bounced)
		sleep(2 * time.Hour)
		w.bounced("anna@yahoo.com", yahooMX, reply.StageDot, yahooNone)
		want(t, w.verify("anna@yahoo.com"), verify.Undeliverable, verify.MailboxUnknown)
		w.delivered("anna@yahoo.com", yahooMX)
		want(t, w.verify("anna@yahoo.com"), verify.Deliverable, verify.Delivered)
	}, yahoo("anna"))
	if want := []bool{false, true, false}; !slices.Equal(settled, want) { // not by the first strike
		t.Errorf("settled %v, want %v", settled, want)
	}

	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		w.delivered("nobody@example.com", "mx.example.com")
		w.delivered("anna@example.com", "mx.example.com")
		sleep(time.Minute)
		w.bounced("nobody@example.com", "mx.example.com", reply.StageRcpt, "550 5.1.1 no such user")
		w.bounced("anna@example.com", "mx.example.com", reply.StageRcpt, "550 5.1.1 no such user")
		// One bounce, and the server is asked in line.
		want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.example.com"); n != 2 {
			t.Errorf("asked %d times", n)
		}
	}, site("example.com"))
}

// TestObserveProof: what is proof and what is not.
func TestObserveProof(t *testing.T) {
	tests := []struct {
		name   string
		stage  reply.Stage
		answer string
		edit   func(*feedback.Observation)
		proof  bool
	}{
		{"refused at RCPT", reply.StageRcpt, "550 5.1.1 no such user", nil, true},
		{"refused at the end of data", reply.StageDot, "550 5.1.1 no such user", nil, true},
		{
			"refused at the end of data, with others", reply.StageDot, "550 5.1.1 no such user",
			func(o *feedback.Observation) { o.Recipients = 2 }, false,
		},
		{
			"refused at the end of data, nobody knows with whom", reply.StageDot, "550 5.1.1 no such user",
			func(o *feedback.Observation) { o.Recipients = 0 }, false,
		},
		{
			"refused at the end of data by name", reply.StageDot, "550 5.1.1 <new@example.com>: no such user",
			func(o *feedback.Observation) { o.Recipients = 2 }, true,
		},
		{"deferred", reply.StageRcpt, "450 4.1.1 no such user", nil, false},
		{"refused at MAIL", reply.StageMail, "550 5.1.1 no such user", nil, false},
		{"blocked", reply.StageRcpt, "550 5.7.1 blocked", nil, false},
		{"no answer", reply.StageRcpt, "", nil, false},
		{
			"by a smarthost", reply.StageRcpt, "550 5.1.1 no such user",
			func(o *feedback.Observation) { o.MX = "smarthost.example.net" }, false,
		},
		{
			"by nobody", reply.StageRcpt, "550 5.1.1 no such user",
			func(o *feedback.Observation) { o.MX = "" }, false,
		},
		{
			"by a host with another name and the address", reply.StageRcpt, "550 5.1.1 no such user",
			func(o *feedback.Observation) { o.MX = "alias.example.net" }, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := site("example.com")
			inBubble(t, verify.Config{}, func(w *world) {
				o := w.said("new@example.com", "mx.example.com", feedback.Bounced, tt.stage, tt.answer)
				if tt.edit != nil {
					tt.edit(&o)
				}
				if o.MX == "alias.example.net" {
					o.Addr = w.Host("mx.example.com").Addrs[0]
				} else {
					o.Addr = netip.MustParseAddr("5.200.0.1")
				}
				w.v.Observe(o)
				q := w.question("new@example.com")
				q.MemoryOnly = true
				if r := w.v.Verify(w.t.Context(), q); r.Proof != tt.proof {
					w.t.Errorf("proof %t (%s, %s)", r.Proof, r.Verdict, r.Reason)
				}
			}, s)
		})
	}
}

// TestObserveCorrects: a delivery ends a proof at once; a verdict that was wrong is counted and told.
func TestObserveCorrects(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		refused := w.verify("nobody@example.com")
		want(t, refused, verify.Undeliverable, verify.MailboxUnknown)
		good := w.verify("anna@example.com")
		other := w.verify("anna@example.com")
		other.Address = address(t, "bert@example.com")
		w.v.Relayed("Q1", []*verify.Result{&refused, &good, &other})

		o := w.said("nobody@example.com", "mx.example.com", feedback.Delivered, reply.StageDot, "250 Ok")
		o.QueueID = "Q1"
		sleep(time.Second)
		o.At = time.Now()
		w.v.Observe(o)
		want(t, w.verify("nobody@example.com"), verify.Deliverable, verify.Delivered)

		o = w.said("anna@example.com", "mx.example.com", feedback.Delivered, reply.StageDot, "250 Ok")
		o.QueueID = "Q1"
		w.v.Observe(o)
		o = w.said("bert@example.com", "mx.example.com", feedback.Bounced, reply.StageRcpt, "550 5.1.1 no such user")
		o.QueueID = "Q1"
		w.v.Observe(o)
		want(t, w.verify("bert@example.com"), verify.Undeliverable, verify.MailboxUnknown)

		s := w.v.Stats()
		if s.RefusedArrived != 1 || s.Agreed != 1 || s.DeliverableBounced != 1 || s.Delivered != 2 || s.Bounced != 1 {
			t.Errorf("%+v", s)
		}
	}, site("example.com"))
}

// TestObserveTeachesDomain: mail that is accepted at RCPT and refused after the message shows what a
// 250 is worth there.
func TestObserveTeachesDomain(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		for _, local := range []string{"a", "b"} {
			w.bounced(local+"@example.com", "mx.example.com", reply.StageDot, "550 5.1.1 no such user")
		}
		want(t, w.look("c@example.com"), verify.Risky, verify.AcceptAll)
		// The bounce stands, although the server accepts the recipient when it is asked again.
		sleep(2 * time.Hour)
		r := w.verify("a@example.com")
		want(t, r, verify.Undeliverable, verify.MailboxUnknown)
		sleep(25 * 24 * time.Hour)
		want(t, w.verify("a@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(6 * 24 * time.Hour) // not for ever
		if r := w.verify("a@example.com"); r.Proof {
			t.Errorf("%s, %s after 31 days", r.Verdict, r.Reason)
		}
	}, site("example.com", mxsim.CatchAll()))
}

// TestObserveFull: a full mailbox is not an invalid one, and asked again after hours.
func TestObserveFull(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		w.v.Observe(w.said("anna@example.com", "mx.example.com", feedback.Deferred, reply.StageRcpt, "452 4.2.2 mailbox full"))
		want(t, w.verify("anna@example.com"), verify.Risky, verify.MailboxFull)
		sleep(4 * time.Hour)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
	}, site("example.com"))
}

// TestRelayedIsBounded: what was relayed long ago is forgotten, what was relayed lately is not.
func TestRelayedIsBounded(t *testing.T) {
	inBubble(t, verify.Config{Passive: true}, func(w *world) {
		t := w.t
		r := verify.Result{Address: address(t, "anna@example.com"), Verdict: verify.Deliverable, Reason: verify.MailboxExists}
		for i := range 100_000 {
			w.v.Relayed(fmt.Sprint("Q", i), []*verify.Result{&r})
		}
		for _, id := range []string{"Q99999", "Q85000", "Q10"} {
			o := w.said("anna@example.com", "mx.example.com", feedback.Bounced, reply.StageRcpt, "550 5.1.1 no such user")
			o.QueueID = id
			w.v.Observe(o)
			w.v.Forget(o.Rcpt)
		}
		if n := w.v.Stats().DeliverableBounced; n != 2 {
			t.Errorf("%d joined, want 2", n)
		}
		if strings.Contains(w.log.String(), "anna@") {
			t.Errorf("an address in the log: %s", w.log)
		}
	}, site("example.com"))
}
