package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// looksInto is a Config with which domains are looked into.
func looksInto() verify.Config { return verify.Config{Secret: []byte("a secret of the tests")} }

// look verifies and waits for what can be found out of the domain.
func (w *world) look(rcpt string) verify.Result {
	w.t.Helper()
	q := w.question(rcpt)
	q.CatchAll = true
	return w.v.Verify(w.t.Context(), q)
}

// invented returns the recipients that a host was asked for and that nobody has verified: those with
// four digits behind a dot.
func (w *world) invented(host string) (names []string) {
	for _, c := range w.Host(host).Record().Conns {
		for _, cmd := range c.Commands {
			local, _, _ := strings.Cut(strings.TrimPrefix(cmd.Line, "RCPT TO:<"), "@")
			if cmd.Stage == mxsim.Rcpt && strings.Contains(local, ".") {
				names = append(names, local)
			}
		}
	}
	return names
}

// TestAcceptAll: a domain that accepts everything is one after two accepted inventions, in different
// sessions.
func TestAcceptAll(t *testing.T) {
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		r := w.look("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if r.CatchAll || r.Domain == nil || r.Domain.Tries != 1 || r.Domain.AcceptsAll < 0.87 || r.Domain.AcceptsAll > 0.97 {
			t.Errorf("after one: catch-all %t, %+v", r.CatchAll, r.Domain)
		}
		if r.Confidence > 0.6 {
			t.Errorf("after one: confidence %.3f", r.Confidence)
		}
		sleep(9 * time.Minute)
		want(t, w.look("bert@example.com"), verify.Deliverable, verify.MailboxExists)
		if n := len(w.invented("mx.example.com")); n != 1 {
			t.Errorf("%d inventions after 9 minutes, want 1", n)
		}
		sleep(2 * time.Minute)
		r = w.look("carl@example.com")
		want(t, r, verify.Risky, verify.AcceptAll)
		if !r.CatchAll || r.Confidence < 0.99 || r.NextStep() == "" {
			t.Errorf("after two: catch-all %t, confidence %.3f, next step %q", r.CatchAll, r.Confidence, r.NextStep())
		}
		sleep(time.Hour)
		want(t, w.look("dora@example.com"), verify.Risky, verify.AcceptAll)
		names := w.invented("mx.example.com")
		if len(names) != 2 || names[0] != names[1] {
			t.Errorf("inventions %q, want one name twice", names)
		}
		if conns := len(w.Host("mx.example.com").Record().Conns); conns < 2 {
			t.Errorf("%d sessions", conns)
		}
		// What was known of the others is told by memory with what is known of the domain now.
		if r = w.look("anna@example.com"); !r.Cached || !r.CatchAll {
			t.Errorf("from memory: cached %t, catch-all %t", r.Cached, r.CatchAll)
		}
	}, site("example.com", mxsim.CatchAll()))
}

// TestSelective: a refused invention makes a 250 worth more, and is not repeated.
func TestSelective(t *testing.T) {
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		r := w.look("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if r.Confidence < 0.98 || r.Domain.AcceptsAll > 0.01 || r.Domain.Refused.IsZero() {
			t.Errorf("confidence %.3f, %+v", r.Confidence, r.Domain)
		}
		if r := w.look("anna@example.com"); !r.Cached || r.Confidence < 0.98 {
			t.Errorf("memory has confidence %.3f", r.Confidence)
		}
		for range 5 {
			sleep(25 * time.Hour)
			w.look("anna@example.com")
		}
		if n := w.invented("mx.example.com"); len(n) != 1 {
			t.Errorf("%d inventions in a week", len(n))
		}
		if n := w.v.Stats().Tests; n != 1 {
			t.Errorf("%d tests counted", n)
		}
	}, site("example.com"))
}

// TestDomainBehind: nobody waits for the test, and ordinary mail may answer it first.
func TestDomainBehind(t *testing.T) {
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if r.Elapsed != 0 {
			t.Errorf("took %v", r.Elapsed)
		}
		sleep(2 * time.Second)
		want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(time.Minute)
		if n := w.invented("mx.example.com"); len(n) != 0 {
			t.Errorf("invented %q though a refusal was seen", n)
		}
		if r := w.look("bert@example.com"); r.Domain == nil || r.Domain.AcceptsAll > 0.01 {
			t.Errorf("%+v", r.Domain)
		}
	}, site("example.com"))

	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		w.verify("anna@example.com")
		sleep(time.Minute)
		if n := w.invented("mx.example.com"); len(n) != 1 {
			t.Errorf("%d inventions behind, want 1", len(n))
		}
		if r := w.verify("anna@example.com"); !r.Cached || r.Confidence < 0.98 {
			t.Errorf("cached %t, confidence %.3f", r.Cached, r.Confidence)
		}
	}, site("example.com"))
}

// TestRefusalOverturns: one refusal of a mailbox ends what accepted inventions have said.
func TestRefusalOverturns(t *testing.T) {
	catchAll := true
	all := mxsim.CatchAll()
	s := site("example.com", func(s *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		if !catchAll {
			return mxsim.Answer{}, false
		}
		return all(s, e)
	})
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		w.look("anna@example.com")
		sleep(11 * time.Minute)
		want(t, w.look("bert@example.com"), verify.Risky, verify.AcceptAll)
		catchAll = false
		want(t, w.look("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		w.v.Forget(address(t, "anna@example.com"))
		r := w.look("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if r.CatchAll || r.Domain.AcceptsAll > 0.01 {
			t.Errorf("catch-all %t, %+v", r.CatchAll, r.Domain)
		}
	}, s)
}

// TestInventionWithoutAnswer: 4xx, a block and silence are no evidence, and the test is not repeated
// soon.
func TestInventionWithoutAnswer(t *testing.T) {
	for _, answer := range []string{"451 4.3.0 later", "452 4.5.3 too many", "550 5.7.1 policy"} {
		t.Run(answer, func(t *testing.T) {
			s := site("example.com", func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
				return mxsim.Say(answer), e.Stage == mxsim.Rcpt && e.Local != "anna" && e.Local != "bert"
			})
			s.Mailboxes["bert"] = mxsim.Active
			inBubble(t, looksInto(), func(w *world) {
				t := w.t
				r := w.look("anna@example.com")
				want(t, r, verify.Deliverable, verify.MailboxExists)
				if r.CatchAll || r.Domain == nil || r.Domain.AcceptsAll < 0.25 || r.Domain.AcceptsAll > 0.3 {
					t.Errorf("catch-all %t, %+v", r.CatchAll, r.Domain)
				}
				sleep(time.Hour)
				w.look("bert@example.com")
				if n := w.v.Stats().Tests; n != 1 { // a session that takes no more may be left for another
					t.Errorf("%d inventions within an hour", n)
				}
			}, s)
		})
	}
}

// TestNotInvented: where nobody is to be invented for.
func TestNotInvented(t *testing.T) {
	off := looksInto()
	off.NoInvented = true
	google, _ := mxsim.ProviderNamed("google")
	mailboxes := map[string]mxsim.Mailbox{"anna": mxsim.Active}
	tests := []struct {
		name, rcpt string
		cfg        verify.Config
		site       *mxsim.Site
	}{
		{"switched off", "anna@example.com", off, site("example.com")},
		{"a consumer domain", "anna@gmail.com", looksInto(), google.Site("gmail.com", mxsim.Plain, mailboxes)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.cfg, func(w *world) {
				want(w.t, w.look(tt.rcpt), verify.Deliverable, verify.MailboxExists)
				sleep(time.Minute)
				if n := w.asked(tt.site.Hosts[0].Name); n != 1 {
					w.t.Errorf("asked %d times", n)
				}
			}, tt.site)
		})
	}
}

// TestOtherHosts: what is known of a domain ends with its MX hosts.
func TestOtherHosts(t *testing.T) {
	s := site("example.com", mxsim.CatchAll())
	s.DNS.TTL = time.Minute
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		w.look("anna@example.com")
		sleep(11 * time.Minute)
		want(t, w.look("bert@example.com"), verify.Risky, verify.AcceptAll)
		s.DNS.NoMX = true // the domain's own address from now on
		sleep(time.Hour)
		r := w.look("carl@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if r.Domain == nil || r.Domain.Tries != 1 {
			t.Errorf("%+v", r.Domain)
		}
	}, s)
}

// TestCloseEndsTests: a test of a domain that nobody waits for does not hold up the end.
func TestCloseEndsTests(t *testing.T) {
	inBubble(t, looksInto(), func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		start := time.Now()
		if err := w.v.Close(t.Context()); err != nil || time.Since(start) > 2500*time.Millisecond {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		if n := w.invented("mx.example.com"); len(n) != 0 {
			t.Errorf("invented %q at the end", n)
		}
	}, site("example.com"))
}
