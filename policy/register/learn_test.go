package register_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

const day = 24 * time.Hour

var noSuchUser = esmtp.Reply{Code: 550, Lines: []string{"5.1.1 no such user", "5.1.1 go\x1b away"}}

// TestBounces: 30 days, 180 days, for good; but only if one follows the other.
func TestBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		r, end := on(t, path, learning)
		bob := addr(t, "Bob@Example.com")
		suppressed := func(want bool) register.Suppression {
			t.Helper()
			s, found := r.Suppressed(bob, esmtp.Address{}, "", time.Now())
			if found != want {
				t.Fatalf("suppressed: %v, want %v", found, want)
			}
			return s
		}
		suppressed(false)
		r.Bounced(bob, noSuchUser, time.Now())
		s := suppressed(true)
		if s.Address != "Bob@example.com" || s.Reason != register.HardBounce || s.Code != 550 ||
			s.Enhanced.String() != "5.1.1" || s.Source != "feedback" || s.Bounces != 1 ||
			s.Evidence != `550 5.1.1 no such user / 5.1.1 go\x1b away` ||
			s.Expires.Sub(s.Created) != 30*day {
			t.Errorf("%+v", s)
		}
		// What was under way already is not one bounce more.
		<-time.After(time.Hour)
		r.Bounced(bob, noSuchUser, time.Now())
		r.Bounced(bob, noSuchUser, s.Created.Add(-time.Hour))
		if again := suppressed(true); again.Bounces != 1 || !again.Expires.Equal(s.Expires) {
			t.Errorf("%+v", again)
		}
		// It is remembered over its end and over a restart.
		<-time.After(30*day - time.Hour)
		suppressed(false)
		wantAddresses(t, r)
		<-time.After(89 * day)
		end()
		r, end = on(t, path, learning)
		suppressed(false)
		r.Bounced(bob, noSuchUser, time.Now())
		if s = suppressed(true); s.Bounces != 2 || s.Expires.Sub(s.Created) != 180*day {
			t.Errorf("%+v", s)
		}
		<-time.After(181 * day)
		suppressed(false)
		r.Bounced(bob, noSuchUser, time.Now())
		if s = suppressed(true); s.Bounces != 3 || !s.Expires.IsZero() {
			t.Errorf("%+v", s)
		}
		// But not for longer than 90 days.
		ann := addr(t, "ann@example.com")
		r.Bounced(ann, noSuchUser, time.Now())
		<-time.After(30*day + 90*day + time.Hour)
		r.Bounced(ann, noSuchUser, time.Now())
		s, _ = r.Peek(ann, esmtp.Address{}, "", time.Now())
		if s.Bounces != 1 {
			t.Errorf("%+v", s)
		}
		// A bounce from so long ago, as a log that is read once more has it, is none.
		r.Bounced(addr(t, "old@example.com"), noSuchUser, time.Now().Add(-121*day))
		wantAddresses(t, r, "Bob@example.com", "ann@example.com")
		end()
	})
}

// TestNotProof: a reply that does not speak of the mailbox teaches nothing.
func TestNotProof(t *testing.T) {
	r := memory(t, learning)
	for i, tt := range []struct {
		reply  string
		learns bool
	}{
		{"550 5.1.1 no such user", true},
		{"550 no such user", true},
		{"550 5.1.0 address rejected", true},
		{"550 #5.1.0 address rejected", true},
		{"550 5.1.10 not found", true},
		{"550 5.2.1 disabled", true},
		{"550 5.4.1 Recipient address rejected: Access denied", true},
		{"550 5.0.0 no such user", true},
		{"551 5.1.6 moved", true},
		{"553 no such user", true},
		{"554 5.1.1 no such user", true},
		{"556 5.1.10 null MX", true},
		{"550 5.7.1 low reputation", false},
		{"550 5.7.26 unauthenticated", false},
		{"554 5.7.0 blocked", false},
		{"550 5.1.7 bad sender", false},
		{"550 5.1.8 bad sender's domain", false},
		{"552 5.2.2 full", false},
		{"550 5.2.3 too big", false},
		{"550 5.3.4 too big", false},
		{"550 5.4.4 no route", false},
		{"550 5.5.1 out of sequence", false},
		{"550 5.6.0 content", false},
		{"552 full", false},
		{"530 authenticate", false},
		{"450 4.1.1 no such user", false},
		{"450 5.1.1 no such user", false},
		{"250 2.1.5 fine", false},
		{"0 ", false},
	} {
		rcpt := addr(t, fmt.Sprintf("user%d@example.com", i))
		var reply esmtp.Reply
		if code, text, ok := strings.Cut(tt.reply, " "); ok {
			if _, err := fmt.Sscan(code, &reply.Code); err != nil {
				t.Fatal(err)
			}
			reply.Lines = []string{text}
		}
		r.Bounced(rcpt, reply, time.Now())
		if _, found := r.Peek(rcpt, esmtp.Address{}, "", time.Now()); found != tt.learns {
			t.Errorf("%s: suppressed %v", tt.reply, found)
		}
	}
	for range 2 {
		r.Bounced(esmtp.Address{}, noSuchUser, time.Now())
		r.Bounced(addr(t, "postmaster"), noSuchUser, time.Now())
		r.Bounced(addr(t, "when@example.com"), noSuchUser, time.Time{})
	}
	r.Reconfigure(register.Config{LearnComplaints: true})
	r.Bounced(addr(t, "off@example.com"), noSuchUser, time.Now())
	if counts := r.Counts(); counts[register.HardBounce] != 12 {
		t.Errorf("%v", counts)
	}
}

func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory(t, learning)
		news := addr(t, "news@sender.test")
		scope := register.Scope{Kind: register.SenderDomain, Name: "sender.test"}
		suppress(t, r,
			register.Suppression{Address: "left@example.com", Scope: scope, Reason: register.Unsubscribe},
			register.Suppression{
				Address: "listed@example.com", Scope: scope, Reason: register.Import,
				Expires: time.Now().Add(time.Hour),
			})
		for _, s := range []string{"Bob@example.com", "left@example.com", "listed@example.com"} {
			r.Complained(addr(t, s), news)
		}
		r.Complained(addr(t, "ann@example.com"), esmtp.Address{})
		r.Complained(esmtp.Address{}, news)
		for address, want := range map[string]register.Reason{
			"bob@example.com":    register.Complaint,
			"left@example.com":   register.Unsubscribe,
			"listed@example.com": register.Complaint,
		} {
			<-time.After(day)
			s, _ := r.Suppressed(addr(t, address), news, "", time.Now())
			if s.Reason != want || !s.Expires.IsZero() || s.Scope != scope {
				t.Errorf("%s: %+v", address, s)
			}
			if _, found := r.Suppressed(addr(t, address), addr(t, "x@other.test"), "", time.Now()); found {
				t.Errorf("%s is suppressed for others", address)
			}
		}
		s, _ := r.Suppressed(addr(t, "ann@example.com"), news, "", time.Now())
		if s.Reason != register.Complaint || s.Scope != (register.Scope{}) {
			t.Errorf("%+v", s)
		}
		r.Reconfigure(register.Config{LearnBounces: true})
		r.Complained(addr(t, "off@example.com"), news)
		if len(addresses(t, r)) != 4 {
			t.Error("it learns complaints")
		}
		_ = r.Close()
	})
}

// TestDelivered: a delivery ends what was learned from bounces before it, and nothing else.
func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		r, end := on(t, path, learning)
		start := time.Now()
		bounced, gone := addr(t, "bounced@example.com"), addr(t, "gone@example.com")
		r.Bounced(bounced, noSuchUser, start)
		r.Bounced(gone, noSuchUser, start)
		suppress(t, r, manual("hand@example.com"), manual("*@example.org"),
			register.Suppression{Address: "left@example.com", Reason: register.Unsubscribe},
			register.Suppression{Address: "list@example.com", Reason: register.Import})
		<-time.After(time.Hour)
		r.Delivered(bounced, start.Add(-time.Minute))
		r.Delivered(bounced, start)
		for _, s := range []string{
			"hand@example.com", "left@example.com", "list@example.com", "x@example.org", "postmaster",
		} {
			r.Delivered(addr(t, s), time.Now())
		}
		if n := len(addresses(t, r)); n != 6 {
			t.Errorf("%d left", n)
		}
		r.Delivered(bounced, start.Add(time.Second))
		left := []string{
			"*@example.org", "gone@example.com", "hand@example.com", "left@example.com", "list@example.com",
		}
		wantAddresses(t, r, left...)
		// It forgets an expired one too: the next bounce is the first.
		<-time.After(31 * day)
		r.Delivered(gone, time.Now())
		<-time.After(time.Second)
		r.Bounced(gone, noSuchUser, time.Now())
		s, _ := r.Peek(gone, esmtp.Address{}, "", time.Now())
		if s.Bounces != 1 {
			t.Errorf("%+v", s)
		}
		end()
		r, end = on(t, path, learning)
		wantAddresses(t, r, left...)
		end()
	})
}

// TestLearnedIsSaved: within seconds, without Close.
func TestLearnedIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		r, end := on(t, path, learning)
		r.Bounced(addr(t, "bob@example.com"), noSuchUser, time.Now())
		r.Bounced(addr(t, "ann@example.com"), noSuchUser, time.Now())
		suppress(t, r, manual("ann@example.com")) // decided since: not to be undone by what waits
		<-time.After(3 * time.Second)
		synctest.Wait()
		copied := t.TempDir()
		write(t, copied+"/suppressions.changes.tsv", read(t, path+"/suppressions.changes.tsv"))
		saved, done := on(t, copied, learning)
		if want := export(t, r); export(t, saved) != want || strings.Count(want, "\n") != 2 {
			t.Errorf("saved:\n%s\nwant:\n%s", export(t, saved), want)
		}
		done()
		end()
	})
}
