package verify_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// TestRefusalIsAskedAgain: a proof refuses from memory for an hour; then its server
// is asked before it refuses, and a mailbox that was created meanwhile gets its mail.
func TestRefusalIsAskedAgain(t *testing.T) {
	s := site("example.com")
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("new@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(59 * time.Minute)
		if r := w.verify("new@example.com"); !r.Cached || !r.Proof {
			t.Errorf("after 59 minutes: cached %t, proof %t", r.Cached, r.Proof)
		}
		sleep(2 * time.Minute)
		if r := w.verify("new@example.com"); r.Cached || !r.Proof {
			t.Errorf("after 61 minutes: cached %t, proof %t", r.Cached, r.Proof)
		}
		if n := w.asked("mx.example.com"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		s.Set("new", mxsim.Active)
		sleep(61 * time.Minute)
		want(t, w.verify("new@example.com"), verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.example.com"); n != 3 {
			t.Errorf("asked %d times, want 3", n)
		}
	}, s)
}

// TestOldProof: without an answer a proof holds for a day after it was learnt.
func TestOldProof(t *testing.T) {
	s := site("example.com")
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		w.Host("mx.example.com").State = mxsim.Down
		for _, after := range []time.Duration{2 * time.Hour, 21 * time.Hour} {
			sleep(after)
			r := w.verify("nobody@example.com")
			want(t, r, verify.Undeliverable, verify.MailboxUnknown)
			if !r.Cached || !r.Proof {
				t.Errorf("cached %t, proof %t", r.Cached, r.Proof)
			}
		}
		sleep(time.Hour + time.Minute)
		want(t, w.verify("nobody@example.com"), verify.Unknown, verify.Unreachable)
	}, s)
}

// TestProofIsContradicted: 450 where it was 550 ends the proof, also for mail from <>.
func TestProofIsContradicted(t *testing.T) {
	var answer string // read by the server at RCPT only, while the test waits for it
	s := site("example.com", func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		if e.Stage != mxsim.Rcpt {
			return mxsim.Answer{}, false
		}
		return mxsim.Say(answer), true
	})
	tests := []struct {
		then   string
		holds  bool
		reason verify.Reason
	}{
		{"450 4.2.0 greylisted", false, verify.Greylisted},
		{"451 4.3.0 later", false, verify.Temporary},
		{"252 2.1.5 cannot say", false, verify.Unconfirmed},
		{"550 5.7.1 policy", false, verify.Policy},
		{"421 4.7.28 too fast", true, verify.MailboxUnknown},                                     // about us
		{"550 5.7.25 your address has no reverse DNS (PTR record)", true, verify.MailboxUnknown}, // about us
		{"550 5.7.23 SPF fails", true, verify.MailboxUnknown},                                    // about the sender
	}
	for _, tt := range tests {
		t.Run(tt.then, func(t *testing.T) {
			inBubble(t, verify.Config{}, func(w *world) {
				t := w.t
				answer = "550 5.1.1 no such user"
				want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
				sleep(2 * time.Hour)
				answer = tt.then
				for range 2 {
					r := w.verify("nobody@example.com")
					if r.Proof != tt.holds || r.Reason != tt.reason {
						t.Errorf("proof %t, %s", r.Proof, r.Reason)
					}
				}
				q := w.question("nobody@example.com")
				q.NullSender = true
				if r := w.v.Verify(t.Context(), q); r.Proof != tt.holds {
					t.Errorf("for <>: proof %t, %s", r.Proof, r.Reason)
				}
			}, s)
		})
		s = site("example.com", s.Behaviours...)
	}
}

// TestPositiveIsRefreshed: a deliverable mailbox that is not fresh any more is
// answered at once and asked again behind; and a failure does not make it unknown.
func TestPositiveIsRefreshed(t *testing.T) {
	busy := false
	s := site("example.com", mxsim.Tarpit(mxsim.Rcpt, time.Second),
		func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
			return mxsim.Say("451 4.3.0 busy"), e.Stage == mxsim.Rcpt && busy
		})
	cfg := verify.Config{PositiveRefresh: 24 * time.Hour, PositiveExpire: 72 * time.Hour}
	inBubble(t, cfg, func(w *world) {
		t := w.t
		atOnce := func(verdict verify.Verdict, reason verify.Reason) {
			t.Helper()
			r := w.verify("anna@example.com")
			want(t, r, verdict, reason)
			if !r.Cached || r.Elapsed != 0 {
				t.Errorf("cached %t, took %v", r.Cached, r.Elapsed)
			}
			sleep(30 * time.Second) // for what goes on behind
		}
		w.verify("anna@example.com")
		sleep(23 * time.Hour)
		atOnce(verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.example.com"); n != 1 {
			t.Errorf("asked %d times while fresh, want 1", n)
		}
		sleep(2 * time.Hour)
		atOnce(verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.example.com"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}

		busy = true
		sleep(25 * time.Hour)
		atOnce(verify.Deliverable, verify.MailboxExists)
		atOnce(verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.example.com"); n != 3 {
			t.Errorf("asked %d times, want 3: once more, and not at once after a failure", n)
		}

		busy = false
		s.Set("anna", mxsim.NoMailbox)
		sleep(10 * time.Minute)
		atOnce(verify.Deliverable, verify.MailboxExists)
		atOnce(verify.Undeliverable, verify.MailboxUnknown)
	}, s)
}

// TestTemporary: what could not be learnt is not asked again for some minutes.
func TestTemporary(t *testing.T) {
	s := site("example.com")
	s.Hosts[0].State = mxsim.Down
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Unknown, verify.Unreachable)
		w.Host("mx.example.com").State = mxsim.Up
		sleep(4 * time.Minute)
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Unreachable)
		if !r.Cached || r.RetryAfter != time.Minute {
			t.Errorf("cached %t, retry after %v", r.Cached, r.RetryAfter)
		}
		sleep(time.Minute)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
	}, s)
}

// TestDNSProof lives as long as its answer in DNS, and not a minute on old memory.
func TestDNSProof(t *testing.T) {
	s := site("example.com")
	s.DNS = mxsim.DNSConfig{NullMX: true, TTL: 10 * time.Minute}
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Undeliverable, verify.NullMX)
		s.DNS.NullMX = false
		sleep(9 * time.Minute)
		want(t, w.verify("anna@example.com"), verify.Undeliverable, verify.NullMX)
		s.DNS.Mode = mxsim.DNSServFail
		sleep(2 * time.Minute)
		want(t, w.verify("anna@example.com"), verify.Unknown, verify.DNSFailure)
		s.DNS.Mode = mxsim.DNSNormal
		sleep(2 * time.Minute)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
	}, s)
}

// TestNullSenderUsesMemory: mail from <> is refused and accepted by what is known.
func TestNullSenderUsesMemory(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		w.verify("anna@example.com")
		w.verify("nobody@example.com")
		for rcpt, verdict := range map[string]verify.Verdict{
			"anna@example.com": verify.Deliverable, "nobody@example.com": verify.Undeliverable,
			"other@example.com": verify.Unknown,
		} {
			q := w.question(rcpt)
			q.NullSender = true
			if r := w.v.Verify(t.Context(), q); r.Verdict != verdict {
				t.Errorf("%s: %s, %s", rcpt, r.Verdict, r.Reason)
			}
		}
		if n := w.asked("mx.example.com"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
	}, site("example.com"))
}

// TestGreylist: within the delay the client's retry is not probed; after it the same
// sender passes. Unknown users are refused at once by such servers.
func TestGreylist(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Greylisted)
		if r.RetryAfter <= 0 || r.Cached {
			t.Errorf("retry after %v, cached %t", r.RetryAfter, r.Cached)
		}
		want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
		asked := w.asked("mx.example.com")
		sleep(time.Minute)
		// Who is greylisted where unknown ones are refused at once exists.
		r = w.verify("anna@example.com")
		want(t, r, verify.Deliverable, verify.Greylisted)
		if r.Confidence < 0.85 || r.Confidence > 0.95 {
			t.Errorf("confidence %.3f", r.Confidence)
		}
		if w.asked("mx.example.com") != asked || !r.Cached {
			t.Error("asked again within the delay")
		}
		q := w.question("anna@example.com") // another sender has a greylist entry of its own
		q.Sender = address(t, "someone@example.net")
		want(t, w.v.Verify(t.Context(), q), verify.Unknown, verify.Greylisted)
		if w.asked("mx.example.com") != asked+1 {
			t.Error("not asked for another sender")
		}
		sleep(4 * time.Minute)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
	}, site("example.com", mxsim.Greylist(5*time.Minute)))
}

// TestBlockedSender is held against the sender's domain at that server, not against
// the recipient and not against other senders.
func TestBlockedSender(t *testing.T) {
	s := site("example.com", mxsim.RefuseSender("550 5.7.1 not from you", "shop.example.org"))
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Unknown, verify.BlockedSender)
		r := w.verify("bert@example.com")
		want(t, r, verify.Unknown, verify.BlockedSender)
		if n := w.Host("mx.example.com").Record().Count(mxsim.Mail); n != 1 || !r.Cached {
			t.Errorf("%d MAIL commands, cached %t; want 1 for the sender's domain", n, r.Cached)
		}
		q := w.question("anna@example.com")
		q.Sender = address(t, "someone@example.net")
		want(t, w.v.Verify(t.Context(), q), verify.Deliverable, verify.MailboxExists)
		// By recipient alone: the verdict now holds for all senders.
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		sleep(16 * time.Minute)
		w.verify("bert@example.com")
		if n := w.Host("mx.example.com").Record().Count(mxsim.Mail); n != 3 {
			t.Errorf("%d MAIL commands after the pause, want 3", n)
		}
	}, s)
}

// TestPauses: a server that refuses us, or wants less of us, is left alone, all its
// domains; a proof that is in memory goes on to refuse.
func TestPauses(t *testing.T) {
	tests := []struct {
		answer string
		reason verify.Reason
		pause  time.Duration
		warns  bool
	}{
		{"550 5.7.25 no reverse DNS", verify.BlockedIP, time.Hour, true},
		{"421 4.7.28 slow down", verify.RateLimited, 15 * time.Minute, false},
	}
	for _, tt := range tests {
		t.Run(tt.answer, func(t *testing.T) {
			refusing := false
			s := site("example.com", func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
				return mxsim.Say(tt.answer), e.Stage == mxsim.Rcpt && refusing
			})
			s.Domains = append(s.Domains, "example.net")
			inBubble(t, verify.Config{}, func(w *world) {
				t := w.t
				want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
				refusing = true
				want(t, w.verify("anna@example.com"), verify.Unknown, tt.reason)
				asked := w.asked("mx.example.com")
				sleep(tt.pause - time.Minute)
				r := w.verify("bert@example.net")
				want(t, r, verify.Unknown, tt.reason)
				if !r.Cached || r.RetryAfter != time.Minute || w.asked("mx.example.com") != asked {
					t.Errorf("cached %t, retry after %v, asked %d", r.Cached, r.RetryAfter, w.asked("mx.example.com")-asked)
				}
				want(t, w.verify("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
				refusing = false
				sleep(time.Minute)
				want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
				if warned := strings.Contains(w.log.String(), "level=WARN"); warned != tt.warns {
					t.Errorf("log: %s", w.log)
				}
			}, s)
		})
	}
}

// TestFloodLeavesTheKnown: addresses that do not exist cannot push out those that do.
func TestFloodLeavesTheKnown(t *testing.T) {
	inBubble(t, verify.Config{CacheOctets: 16 << 10}, func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		for i := range 300 {
			w.verify(fmt.Sprintf("nobody%d@example.com", i))
			sleep(time.Second)
		}
		asked := w.asked("mx.example.com")
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		if w.asked("mx.example.com") != asked {
			t.Error("the known mailbox was forgotten")
		}
	}, site("example.com"))
}
