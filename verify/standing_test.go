package verify

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// ground is a standing and what is done with it, at a time of its own.
type ground struct {
	*standing
	t            *testing.T
	now          time.Time
	log          *strings.Builder
	sender, rcpt esmtp.Address
}

func newGround(t *testing.T) *ground {
	t.Helper()
	log := new(strings.Builder)
	return &ground{
		standing: newStanding(slog.New(slog.NewTextHandler(log, nil))), t: t, log: log,
		now: time.Unix(1e9, 0), sender: mailbox(t, "news@shop.example"), rcpt: mailbox(t, "anna@example.com"),
	}
}

func mailbox(t *testing.T, s string) esmtp.Address {
	t.Helper()
	a, err := esmtp.ParseAddress(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (g *ground) say(group string, p *provider.Profile, reason Reason) time.Duration {
	r := because(reason)
	r.MX, r.Stage, r.Reply = "mx1."+group, reply.StageRcpt, esmtp.Reply{Code: 450, Lines: []string{"no"}}
	return g.learn(group, p, r, g.sender, g.rcpt, g.now)
}

// held checks whether a probe of the group is held now, and for how long.
func (g *ground) held(group string, want time.Duration) {
	g.t.Helper()
	set := mx.Set{Hosts: []mx.Host{{Name: "MX9." + group}}}
	r, ok := g.hold(group, set, g.sender, g.rcpt, g.now)
	if ok != (want > 0) || r.RetryAfter != want || ok && !r.Cached {
		g.t.Errorf("held %t for %v, want %v", ok, r.RetryAfter, want)
	}
}

// TestStandingGroup: a pause holds for all hosts of the group and for no other; behind it one
// question is the trial, and its answer ends the pause or makes another.
func TestStandingGroup(t *testing.T) {
	g := newGround(t)
	p := &provider.Profile{Name: "big", BlockPause: time.Hour, RatePause: 10 * time.Minute}
	g.held("big", 0)
	if d := g.say("big", p, BlockedIP); d != time.Hour {
		t.Errorf("paused for %v", d)
	}
	g.held("big", time.Hour)
	g.held("small", 0)
	g.now = g.now.Add(59 * time.Minute)
	g.held("big", time.Minute)
	g.now = g.now.Add(time.Minute)
	g.held("big", 0)         // the trial
	g.held("big", trialWait) // while it is under way
	if d := g.say("big", p, RateLimited); d != 10*time.Minute {
		t.Errorf("paused for %v", d)
	}
	g.held("big", 10*time.Minute)
	g.now = g.now.Add(10 * time.Minute)
	g.held("big", 0)
	g.say("big", p, MailboxUnknown)
	g.held("big", 0)
	g.held("big", 0)
	if !strings.Contains(g.log.String(), "answer again") {
		t.Errorf("nothing of the end in the log:\n%s", g.log)
	}
}

// TestStandingTrialLost: a trial that learns nothing, or is never made, is followed by another.
func TestStandingTrialLost(t *testing.T) {
	g := newGround(t)
	g.say("big", nil, BlockedIP)
	g.now = g.now.Add(blockedPause)
	g.held("big", 0)
	g.held("big", trialWait)
	r := because(Timeout)
	r.MX = "mx1.big"
	g.learn("big", nil, r, g.sender, g.rcpt, g.now)
	g.held("big", 0)
	g.now = g.now.Add(trialWait)
	g.held("big", 0)
}

// TestStandingStrikes: three times within an hour is enough for six hours; several questions that
// were under way at one time are one.
func TestStandingStrikes(t *testing.T) {
	g := newGround(t)
	for i := range 3 {
		want := ratePause
		if i == 2 {
			want = strikesPause
		}
		for range 4 {
			if d := g.say("big", nil, RateLimited); d != want {
				t.Fatalf("strike %d: paused for %v, want %v", i, d, want)
			}
		}
		g.held("big", want)
		g.now = g.now.Add(want)
	}
	g.held("big", 0)
	if n := strings.Count(g.log.String(), "again and again"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, g.log)
	}
	// Spread over more than that, they are none.
	g = newGround(t)
	for range 6 {
		if d := g.say("big", nil, RateLimited); d != ratePause {
			t.Errorf("paused for %v", d)
		}
		g.now = g.now.Add(31 * time.Minute)
	}
}

// TestPace: halved by each strike, brought back step by step, never below its least.
func TestPace(t *testing.T) {
	g := newGround(t)
	full := probe.Limits{Connections: 4, Rate: limit.Rate{Count: 64, Per: time.Minute, Burst: 32}}
	check := func(count, burst, connections int) {
		t.Helper()
		l := g.pace("big", full, g.now)
		if l.Rate.Count != count || l.Rate.Burst != burst || l.Connections != connections {
			t.Errorf("%+v, want %d, %d, %d", l, count, burst, connections)
		}
	}
	check(64, 32, 4)
	g.say("big", nil, RateLimited)
	check(32, 16, 1)
	g.now = g.now.Add(ratePause)
	g.say("big", nil, MailboxExists)
	check(34, 17, 2)
	for range 15 {
		g.say("big", nil, MailboxExists)
	}
	check(64, 32, 4)
	for range 20 {
		g.say("big", nil, RateLimited)
		g.now = g.now.Add(24 * time.Hour)
	}
	check(1, 1, 1)
	if l := g.pace("big", probe.Limits{}, g.now); l.Rate.Unlimited() {
		t.Error("no rate at all for who wants less")
	}
	if l := g.pace("other", full, g.now); l != full {
		t.Errorf("another group is slow too: %+v", l)
	}
}

// TestStandingSender: what is about a sender holds for that sender's domain only.
func TestStandingSender(t *testing.T) {
	g := newGround(t)
	if d := g.say("big", nil, BlockedSender); d != senderPause {
		t.Errorf("paused for %v", d)
	}
	g.held("big", senderPause)
	g.sender = mailbox(t, "other@other.example")
	g.held("big", 0)
	p := &provider.Profile{GreylistDelay: 2 * time.Minute}
	if d := g.say("big", p, Greylisted); d != 2*time.Minute {
		t.Errorf("greylisted for %v", d)
	}
	g.held("big", 2*time.Minute)
	g.rcpt = mailbox(t, "bert@example.com")
	g.held("big", 0)
}

// len is how much is remembered.
func (s *standing) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.groups) + s.senders.Len()
}

// TestStandingBounded: a flood of groups that block us leaves room, and the newest are kept.
func TestStandingBounded(t *testing.T) {
	g := newGround(t)
	for i := range standingSize + 1000 {
		g.say(fmt.Sprint("g", i), nil, BlockedIP)
	}
	if n := g.len(); n > standingSize {
		t.Errorf("%d groups", n)
	}
	g.held(fmt.Sprint("g", standingSize+999), blockedPause)
	if n := strings.Count(g.log.String(), "refuses this host"); n > 3 {
		t.Errorf("%d warnings at one time", n)
	}
	g.now = g.now.Add(48 * time.Hour)
	g.sweep(g.now)
	if n := g.len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// FuzzGreyed: what was written is read back, and nothing else is taken.
func FuzzGreyed(f *testing.F) {
	e := &greyed{mx: "mx.example.com", first: time.Unix(1e9, 0), due: time.Unix(1e9+60, 0), last: time.Unix(1e9, 0)}
	var err error
	if e.rcpt, err = esmtp.ParseAddress(`"a b"@example.com`, true); err != nil {
		f.Fatal(err)
	}
	if e.sender, err = esmtp.ParseAddress("news@shop.example", true); err != nil {
		f.Fatal(err)
	}
	f.Add(e.append(nil))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseGreyed(b)
		if !ok {
			return
		}
		again, ok := parseGreyed(e.append(nil))
		if !ok || *again != *e {
			t.Errorf("%+v is read back as %+v", e, again)
		}
	})
}
