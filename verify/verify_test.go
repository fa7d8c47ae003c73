package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// TestVerdicts asks one question of each kind of site.
func TestVerdicts(t *testing.T) {
	state := func(m mxsim.Mailbox) func(*mxsim.Site) {
		return func(s *mxsim.Site) { s.Mailboxes["anna"] = m }
	}
	host := func(f func(*mxsim.Host)) func(*mxsim.Site) {
		return func(s *mxsim.Site) { f(s.Hosts[0]) }
	}
	does := func(b ...mxsim.Behaviour) func(*mxsim.Site) {
		return func(s *mxsim.Site) { s.Behaviours = b }
	}
	names := func(d mxsim.DNSConfig) func(*mxsim.Site) { return func(s *mxsim.Site) { s.DNS = d } }
	speaks := func(w *mxsim.Wording) func(*mxsim.Site) { return func(s *mxsim.Site) { s.Wording = w } }

	tests := []struct {
		name    string
		site    func(*mxsim.Site)
		local   string
		verdict verify.Verdict
		reason  verify.Reason
		stage   reply.Stage
	}{
		{"exists", does(), "anna", verify.Deliverable, verify.MailboxExists, "rcpt"},
		{"251", does(mxsim.Refuse(mxsim.Rcpt, "251 2.1.5 will forward")), "anna", verify.Deliverable, verify.MailboxExists, "rcpt"},
		{"252", does(mxsim.Refuse(mxsim.Rcpt, "252 2.1.5 cannot verify")), "anna", verify.Unknown, verify.Unconfirmed, "rcpt"},
		{"221 to RCPT", does(mxsim.Refuse(mxsim.Rcpt, "221 2.0.0 bye")), "anna", verify.Unknown, verify.ProtocolError, "rcpt"},
		{"accepts all", does(mxsim.CatchAll()), "nobody", verify.Deliverable, verify.MailboxExists, "rcpt"},
		{"TLS", host(func(h *mxsim.Host) { h.TLS = mxsim.TLS }), "anna", verify.Deliverable, verify.MailboxExists, "rcpt"},
		{"implicit MX", names(mxsim.DNSConfig{NoMX: true}), "anna", verify.Deliverable, verify.MailboxExists, "rcpt"},
		{"5 s behind a tarpit", does(mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)), "anna", verify.Deliverable, verify.MailboxExists, "rcpt"},

		{"unknown mailbox", does(), "nobody", verify.Undeliverable, verify.MailboxUnknown, "rcpt"},
		{"disabled", state(mxsim.Disabled), "anna", verify.Undeliverable, verify.MailboxDisabled, "rcpt"},
		{"moved", does(mxsim.Refuse(mxsim.Rcpt, "551 5.1.6 moved")), "anna", verify.Undeliverable, verify.Moved, "rcpt"},
		{"domain not hosted", does(mxsim.Refuse(mxsim.Rcpt, "550 5.1.2 not here")), "anna", verify.Undeliverable, verify.DomainUnknown, "rcpt"},
		{"null MX", names(mxsim.DNSConfig{NullMX: true}), "anna", verify.Undeliverable, verify.NullMX, ""},
		{"NXDOMAIN", func(s *mxsim.Site) { s.Hosts, s.DNS.Mode = nil, mxsim.DNSNXDomain }, "anna", verify.Undeliverable, verify.DomainUnknown, ""},

		{"full", state(mxsim.Full), "anna", verify.Risky, verify.MailboxFull, "rcpt"},
		{"552 5.2.2", does(mxsim.Refuse(mxsim.Rcpt, "552 5.2.2 full")), "anna", verify.Risky, verify.MailboxFull, "rcpt"},
		{"no SMTPUTF8", host(func(h *mxsim.Host) { h.Keywords = mxsim.Without("SMTPUTF8") }), "jürgen", verify.Risky, verify.NoSMTPUTF8, "helo"},

		{"550 without an enhanced code", speaks(mxsim.Exim()), "nobody", verify.Undeliverable, verify.MailboxUnknown, "rcpt"},
		{"550 without a word", does(mxsim.Refuse(mxsim.Rcpt, "550 no")), "anna", verify.Unknown, verify.Policy, "rcpt"},
		{"450 no such user", does(mxsim.Refuse(mxsim.Rcpt, "450 4.1.1 no such user")), "anna", verify.Unknown, verify.Temporary, "rcpt"},
		{"5.7.1 at RCPT", does(mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 <anna@example.com>: mailbox unavailable")), "anna", verify.Unknown, verify.Policy, "rcpt"},
		{"5.4.1", does(mxsim.Refuse(mxsim.Rcpt, "550 5.4.1 Access denied")), "anna", verify.Unknown, verify.Policy, "rcpt"},
		{"5.7.1 at MAIL", does(mxsim.Refuse(mxsim.Mail, "550 5.7.1 refused")), "anna", verify.Unknown, verify.BlockedSender, "mail"},
		{"5.1.1 at MAIL", does(mxsim.Refuse(mxsim.Mail, "550 5.1.1 no such user")), "anna", verify.Unknown, verify.BlockedSender, "mail"},
		{"5.1.1 in the banner", does(mxsim.Refuse(mxsim.Connect, "554 5.1.1 no such user")), "anna", verify.Unknown, verify.BlockedIP, "connect"},
		{"554 in the banner", does(mxsim.Refuse(mxsim.Connect, "554 blocked")), "anna", verify.Unknown, verify.BlockedIP, "connect"},
		{"421 in the banner", does(mxsim.Refuse(mxsim.Connect, "421 4.3.2 busy")), "anna", verify.Unknown, verify.Temporary, "connect"},
		{"421 at RCPT", does(mxsim.Refuse(mxsim.Rcpt, "421 4.7.28 flood")), "anna", verify.Unknown, verify.RateLimited, "rcpt"},
		{"greylisted", does(mxsim.Greylist(time.Minute)), "anna", verify.Unknown, verify.Greylisted, "rcpt"},

		{"SERVFAIL", names(mxsim.DNSConfig{Mode: mxsim.DNSServFail}), "anna", verify.Unknown, verify.DNSFailure, ""},
		{"silent DNS", names(mxsim.DNSConfig{Mode: mxsim.DNSSilent}), "anna", verify.Unknown, verify.DNSFailure, ""},
		{"no host at all", func(s *mxsim.Site) { s.Hosts, s.DNS.NoMX = nil, true }, "anna", verify.Unknown, verify.NoMailHost, ""},
		{"refused", host(func(h *mxsim.Host) { h.State = mxsim.Down }), "anna", verify.Unknown, verify.Unreachable, "connect"},
		{"black hole", host(func(h *mxsim.Host) { h.State = mxsim.BlackHole }), "anna", verify.Unknown, verify.Timeout, "connect"},
		{"silent after RCPT", does(mxsim.Silence(mxsim.Rcpt)), "anna", verify.Unknown, verify.Timeout, "rcpt"},
		{"cut reply", does(mxsim.Cut(mxsim.Rcpt, "550 5.1.1 no such us")), "anna", verify.Unknown, verify.Temporary, "rcpt"},
		{"dropped at RCPT", does(mxsim.Drop(mxsim.Rcpt)), "anna", verify.Unknown, verify.Temporary, "rcpt"},
		{"garbage", does(mxsim.Garbage(mxsim.Rcpt)), "anna", verify.Unknown, verify.ProtocolError, "rcpt"},
		{"mixed codes", does(mxsim.MixedCodes(mxsim.Rcpt)), "anna", verify.Unknown, verify.ProtocolError, "rcpt"},
		{"code 999", does(mxsim.BadCode(mxsim.Rcpt, "999")), "anna", verify.Unknown, verify.ProtocolError, "rcpt"},
		{"our own name in the banner", does(mxsim.Refuse(mxsim.Connect, "220 "+gate+" ESMTP")), "anna", verify.Unknown, verify.Self, "connect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := site("example.com")
			tt.site(s)
			inBubble(t, verify.Config{}, func(w *world) {
				t := w.t
				q := w.question(tt.local + "@example.com")
				q.Trace = true
				r := w.v.Verify(t.Context(), q)
				want(t, r, tt.verdict, tt.reason)
				if tt.reason == verify.Timeout { // waited for in vain; the flight has an end too
					sleep(time.Minute)
					r = w.v.Verify(t.Context(), q)
					want(t, r, tt.verdict, tt.reason)
				}
				if r.Stage != tt.stage {
					t.Errorf("stage %q, want %q", r.Stage, tt.stage)
				}
				if r.Proof != (tt.verdict == verify.Undeliverable) {
					t.Errorf("proof %t for %s", r.Proof, r.Verdict)
				}
				if len(r.Steps) == 0 || r.Address != q.Address {
					t.Errorf("steps %v, address %v", r.Steps, r.Address)
				}
				if t.Failed() {
					t.Logf("steps: %+v", r.Steps)
				}
			}, s)
		})
	}
}

// TestNeverAsked has questions that must reach neither DNS nor a mail server.
func TestNeverAsked(t *testing.T) {
	edit := func(f func(*verify.Question)) func(*verify.Question) { return f }
	tests := []struct {
		name, rcpt string
		cfg        verify.Config
		edit       func(*verify.Question)
		reason     verify.Reason
	}{
		{name: "internal domain", rcpt: "anna@internal.example.com", reason: verify.InternalDomain},
		{name: "no domain", rcpt: "postmaster", reason: verify.NotProbed},
		{name: "literal", rcpt: "anna@[5.0.0.1]", reason: verify.NotProbed},
		{name: "IPv6 literal", rcpt: "anna@[IPv6:2001:db8::1]", reason: verify.NotProbed},
		{name: "single label", rcpt: "anna@localhost", reason: verify.NotProbed},
		{name: "local name", rcpt: "anna@printer.local", reason: verify.NotProbed},
		{name: "home network", rcpt: "anna@nas.home.arpa", reason: verify.NotProbed},
		{name: "percent route", rcpt: "anna%example.net@example.com", reason: verify.NotProbed},
		{name: "bang path", rcpt: "host!anna@example.com", reason: verify.NotProbed},
		{name: "quoted route", rcpt: `"anna@example.net"@example.com`, reason: verify.NotProbed},
		{name: "default sender", rcpt: "double-bounce@" + gate, reason: verify.OwnAddress},
		{name: "default sender in capitals", rcpt: "Double-Bounce@GATE.example.org", reason: verify.OwnAddress},
		{
			name: "null sender", rcpt: "anna@example.com", reason: verify.NullSender,
			edit: edit(func(q *verify.Question) { q.NullSender = true }),
		},
		{
			name: "client with our name", rcpt: "anna@example.com", reason: verify.Self,
			edit: edit(func(q *verify.Question) { q.Helo = "GATE.example.org." }),
		},
		{
			name: "client with our other name", rcpt: "anna@example.com", reason: verify.Self,
			cfg:  verify.Config{OwnNames: []string{"mail.example.org"}},
			edit: edit(func(q *verify.Question) { q.Helo = "mail.example.org" }),
		},
		{
			name: "only memory wanted", rcpt: "anna@example.com", reason: verify.NotProbed,
			edit: edit(func(q *verify.Question) { q.MemoryOnly = true }),
		},
		{
			name: "passive", rcpt: "anna@example.com", reason: verify.Passive,
			cfg: verify.Config{Passive: true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := site("example.com")
			inBubble(t, tt.cfg, func(w *world) {
				t := w.t
				q := w.question(tt.rcpt)
				if tt.edit != nil {
					tt.edit(&q)
				}
				r := w.v.Verify(t.Context(), q)
				want(t, r, verify.Unknown, tt.reason)
				if r.Elapsed != 0 || len(w.Queries()) != 0 || len(w.Host("mx.example.com").Record().Conns) != 0 {
					t.Errorf("took %v, %d DNS queries, connections %+v",
						r.Elapsed, len(w.Queries()), w.Host("mx.example.com").Record().Conns)
				}
			}, s)
		})
	}
}

func TestOwnSenderIsNeverProbed(t *testing.T) {
	cfg := verify.Config{
		ProbeSender:    address(t, "check@example.com"),
		FallbackSender: address(t, "fallback@example.com"),
	}
	inBubble(t, cfg, func(w *world) {
		t := w.t
		want(t, w.verify("check@example.com"), verify.Unknown, verify.OwnAddress)
		want(t, w.verify("fallback@example.com"), verify.Unknown, verify.OwnAddress)
		want(t, w.verify("double-bounce@"+gate), verify.Unknown, verify.OwnAddress)
		if n := len(w.Host("mx.example.com").Record().Conns); n != 0 {
			t.Errorf("%d connections", n)
		}
	}, site("example.com"))
}

// TestProbeSender looks at the MAIL FROM that the mail server sees.
func TestProbeSender(t *testing.T) {
	fixed := verify.Config{ProbeSender: address(t, "check@example.org")}
	fallback := verify.Config{FallbackSender: address(t, "fallback@example.org")}
	tests := []struct {
		name   string
		cfg    verify.Config
		sender string
		want   string
	}{
		{"envelope", verify.Config{}, "news@shop.example.org", "<news@shop.example.org>"},
		{"envelope, quoted", verify.Config{}, `"a b"@shop.example.org`, `<"a b"@shop.example.org>`},
		{"none", verify.Config{}, "", "<double-bounce@" + gate + ">"},
		{"none, with a fallback", fallback, "", "<fallback@example.org>"},
		{"postmaster", fallback, "postmaster", "<fallback@example.org>"},
		{"not ASCII", fallback, "jürgen@shop.example.org", "<fallback@example.org>"},
		{"not ASCII in the domain", fallback, "a@bücher.example.org", "<fallback@example.org>"},
		{"literal", fallback, "a@[5.1.1.1]", "<fallback@example.org>"},
		{"single label", fallback, "root@localhost", "<fallback@example.org>"},
		{"fixed", fixed, "news@shop.example.org", "<check@example.org>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.cfg, func(w *world) {
				t := w.t
				q := w.question("anna@example.com")
				q.Sender = esmtp.Address{}
				if tt.sender != "" {
					q.Sender = address(t, tt.sender)
				}
				want(t, w.v.Verify(t.Context(), q), verify.Deliverable, verify.MailboxExists)
				for _, c := range w.Host("mx.example.com").Record().Conns[0].Commands {
					if c.Stage == mxsim.Mail && !strings.HasPrefix(c.Line, "MAIL FROM:"+tt.want) {
						t.Errorf("%q, want MAIL FROM:%s", c.Line, tt.want)
					}
				}
				if n := w.Host("mx.example.com").Record().Count(mxsim.Mail); n != 1 {
					t.Errorf("%d MAIL commands", n)
				}
			}, site("example.com"))
		})
	}
}

// TestSingleFlight: 50 questions at the same time and 100 after them are one probe.
func TestSingleFlight(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				q := w.question("nobody@example.com")
				q.Sender = address(t, fmt.Sprintf("bounce-%d@shop.example.org", i)) // VERP
				want(t, w.v.Verify(t.Context(), q), verify.Undeliverable, verify.MailboxUnknown)
			})
		}
		wg.Wait()
		for range 100 {
			r := w.verify("nobody@EXAMPLE.com")
			want(t, r, verify.Undeliverable, verify.MailboxUnknown)
			if !r.Cached || r.Elapsed != 0 {
				t.Errorf("cached %t after %v", r.Cached, r.Elapsed)
			}
		}
		if n := w.asked("mx.example.com"); n != 1 {
			t.Errorf("%d RCPT commands, want 1", n)
		}
	}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, time.Second)))
}

// TestParallel: ten recipients in ten domains take as long as one.
func TestParallel(t *testing.T) {
	var sites []*mxsim.Site
	for i := range 10 {
		s := site(fmt.Sprintf("d%d.example.com", i))
		s.Hosts[0].Latency = 50 * time.Millisecond
		sites = append(sites, s)
	}
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		start := time.Now()
		r := w.verify("anna@d0.example.com")
		one := time.Since(start)
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if one == 0 || r.Elapsed != one {
			t.Errorf("one took %v, Elapsed %v", one, r.Elapsed)
		}
		start = time.Now()
		var wg sync.WaitGroup
		for i := 1; i < 10; i++ {
			wg.Go(func() {
				r := w.verify(fmt.Sprintf("anna@d%d.example.com", i))
				want(t, r, verify.Deliverable, verify.MailboxExists)
			})
		}
		wg.Wait()
		if nine := time.Since(start); nine != one {
			t.Errorf("nine side by side took %v, one %v", nine, one)
		}
	}, sites...)
}

// TestDetached: a caller that gives up does not end the asking, whose answer is kept.
func TestDetached(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := w.v.Verify(ctx, w.question("anna@example.com"))
		want(t, r, verify.Unknown, verify.Timeout)
		if r.Elapsed != time.Second || r.RetryAfter <= 0 {
			t.Errorf("after %v, retry after %v", r.Elapsed, r.RetryAfter)
		}
		sleep(3 * time.Second)
		r = w.verify("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if !r.Cached || w.asked("mx.example.com") != 1 {
			t.Errorf("cached %t, asked %d times", r.Cached, w.asked("mx.example.com"))
		}
	}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, 3*time.Second)))
}

// TestRcptBudget: a server that needs longer than one recipient may wait.
func TestRcptBudget(t *testing.T) {
	inBubble(t, verify.Config{RcptBudget: 2 * time.Second}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Timeout)
		if r.Elapsed != 2*time.Second {
			t.Errorf("took %v", r.Elapsed)
		}
	}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)))
}

func TestForget(t *testing.T) {
	s := site("example.com")
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("new@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		s.Set("new", mxsim.Active)
		want(t, w.verify("new@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		w.v.Forget(address(t, "new@example.com"))
		want(t, w.verify("new@example.com"), verify.Deliverable, verify.MailboxExists)
	}, s)
}

// TestForgetProvider: what is known of a provider's mailboxes is asked anew, and nothing else is.
func TestForgetProvider(t *testing.T) {
	p, ok := mxsim.ProviderNamed("google")
	if !ok {
		t.Fatal("no such provider")
	}
	there := p.Site("gmail.com", mxsim.Plain, map[string]mxsim.Mailbox{"anna": mxsim.Active})
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		first := w.verify("new@gmail.com")
		want(t, first, verify.Undeliverable, verify.MailboxUnknown)
		want(t, w.verify("new@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(time.Second)
		if !w.v.ForgetProvider(first.Provider, time.Now()) {
			t.Errorf("%q is not known", first.Provider)
		}
		for _, name := range []string{"", "generic", "googel"} {
			if w.v.ForgetProvider(name, time.Now()) {
				t.Errorf("%q is forgotten", name)
			}
		}
		sleep(time.Second)
		if r := w.verify("new@gmail.com"); r.Cached {
			t.Errorf("not forgotten: %+v", r)
		}
		if r := w.verify("new@gmail.com"); !r.Cached {
			t.Errorf("what is found out again is not known: %+v", r)
		}
		if r := w.verify("new@example.com"); !r.Cached {
			t.Errorf("another provider's: %+v", r)
		}
	}, there, site("example.com"))
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, verify.Config{RcptBudget: time.Second}, mxsim.Config{},
			site("example.com", mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)),
			site("example.net", mxsim.Silence(mxsim.Connect)))
		defer w.close()
		want(t, w.verify("anna@example.com"), verify.Unknown, verify.Timeout)
		want(t, w.verify("anna@example.net"), verify.Unknown, verify.Timeout)

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.v.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Close took %v", took)
		}
		// What landed in time is known; the one that was cut taught nothing; nothing new is asked.
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		want(t, w.verify("anna@example.net"), verify.Unknown, verify.Closing)
		want(t, w.verify("bert@example.com"), verify.Unknown, verify.Closing)
	})
}

// TestInternalError: a fault of our own in a flight is Unknown and leaves the rest alone.
func TestInternalError(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		broken := verify.New(verify.Config{Helo: gate, Log: w.logger}, w.resolver, nil) // a nil pool panics
		r := broken.Verify(t.Context(), w.question("anna@example.com"))
		want(t, r, verify.Unknown, verify.Temporary)
		if !strings.Contains(w.log.String(), "internal error") {
			t.Errorf("log: %s", w.log)
		}
		if err := broken.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}, site("example.com"))
}

// TestTrace looks at what explain shows.
func TestTrace(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		whats := func(trace bool) string {
			q := w.question("nobody@example.com")
			q.Trace = trace
			var s []string
			for _, step := range w.v.Verify(t.Context(), q).Steps {
				if len(s) == 0 || s[len(s)-1] != step.What {
					s = append(s, step.What)
				}
			}
			return strings.Join(s, " ")
		}
		if got := whats(true); got != "mx provider probe provider classify domain judge" {
			t.Errorf("first: %s", got)
		}
		if got := whats(true); got != "memory" {
			t.Errorf("second: %s", got)
		}
		if got := whats(false); got != "" {
			t.Errorf("without Trace: %s", got)
		}
		sleep(2 * time.Hour)
		w.Host("mx.example.com").State = mxsim.Down
		if got := whats(true); got != "mx provider probe broken domain judge memory" {
			t.Errorf("old proof, no answer: %s", got)
		}
	}, site("example.com"))
}
