package verify_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

func blackHoles(n int) []*mxsim.Site {
	var sites []*mxsim.Site
	for i := range n {
		sites = append(sites, hanging(fmt.Sprintf("d%d.example.com", i)))
	}
	return sites
}

func (w *world) verifyAll(n int) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { w.verify(fmt.Sprintf("anna@d%d.example.com", i)) })
	}
	wg.Wait()
	sleep(time.Minute) // until every flight has landed
}

// TestBreaker: when port 25 is closed for us, nobody waits for it any more.
func TestBreaker(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		start := time.Now()
		w.verifyAll(4)
		if open, _, _ := w.v.Breaker(); open {
			t.Fatal("open after four networks")
		}
		w.verifyAll(5)
		open, since, detail := w.v.Breaker()
		if !open || since.Before(start) || !strings.Contains(detail, "port 25") {
			t.Fatalf("after five networks: open %t, since %v, %q", open, since, detail)
		}
		queries := len(w.Queries())
		r := w.verify("anna@up.example.com")
		want(t, r, verify.Unknown, verify.Breaker)
		if n := len(w.Host("mx.up.example.com").Record().Conns); r.Elapsed != 0 || n != 0 {
			t.Errorf("took %v, %d connections", r.Elapsed, n)
		}
		if n := len(w.Queries()) - queries; n != 0 {
			t.Errorf("%d DNS queries", n)
		}

		sleep(time.Until(since.Add(10 * time.Minute))) // one trial, in vain
		want(t, w.verify("bert@d5.example.com"), verify.Unknown, verify.Timeout)
		want(t, w.verify("anna@up.example.com"), verify.Unknown, verify.Breaker)

		sleep(10 * time.Minute) // the next one succeeds
		want(t, w.verify("anna@up.example.com"), verify.Deliverable, verify.MailboxExists)
		if open, _, _ := w.v.Breaker(); open {
			t.Error("open after a success")
		}
		want(t, w.verify("bert@up.example.com"), verify.Undeliverable, verify.MailboxUnknown)
		if n := strings.Count(w.log.String(), "probing is off"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, w.log)
		}
		if !strings.Contains(w.log.String(), "outgoing TCP port 25") {
			t.Errorf("the warning has no next step:\n%s", w.log)
		}
	}, append(blackHoles(6), site("up.example.com"))...)
}

// TestBreakerStaysClosed while anybody answers, and for one network alone.
func TestBreakerStaysClosed(t *testing.T) {
	t.Run("a success within the window", func(t *testing.T) {
		inBubble(t, verify.Config{}, func(w *world) {
			t := w.t
			want(t, w.verify("anna@up.example.com"), verify.Deliverable, verify.MailboxExists)
			w.verifyAll(8)
			if open, _, _ := w.v.Breaker(); open {
				t.Error("open although a server answered a minute ago")
			}
			sleep(11 * time.Minute) // now nobody has for ten minutes
			w.verifyAll(8)
			if open, _, _ := w.v.Breaker(); !open {
				t.Error("not open after ten minutes of nothing but timeouts")
			}
		}, append(blackHoles(8), site("up.example.com"))...)
	})
	t.Run("one network", func(t *testing.T) {
		s := hanging("d0.example.com")
		for i := 1; i < 8; i++ {
			s.Domains = append(s.Domains, fmt.Sprintf("d%d.example.com", i))
		}
		inBubble(t, verify.Config{}, func(w *world) {
			t := w.t
			w.verifyAll(8)
			if open, _, _ := w.v.Breaker(); open {
				t.Error("open by the timeouts of one network")
			}
		}, s)
	})
	t.Run("refused", func(t *testing.T) {
		sites := blackHoles(8)
		for _, s := range sites {
			s.Hosts[0].State = mxsim.Down
		}
		inBubble(t, verify.Config{}, func(w *world) {
			t := w.t
			w.verifyAll(8)
			if open, _, _ := w.v.Breaker(); open {
				t.Error("open by connections that were refused")
			}
		}, sites...)
	})
	t.Run("spread over time", func(t *testing.T) {
		inBubble(t, verify.Config{}, func(w *world) {
			t := w.t
			for i := range 8 {
				w.verify(fmt.Sprintf("anna@d%d.example.com", i))
				sleep(3 * time.Minute)
			}
			if open, _, _ := w.v.Breaker(); open {
				t.Error("open by five timeouts in a quarter of an hour")
			}
		}, blackHoles(8)...)
	})
}

// TestBreakerHoldsProof: a proof in memory refuses while probing is off.
func TestBreakerHoldsProof(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("nobody@up.example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(2 * time.Hour)
		w.verifyAll(6)
		r := w.verify("nobody@up.example.com")
		want(t, r, verify.Undeliverable, verify.MailboxUnknown)
		if !r.Cached || r.Elapsed != 0 {
			t.Errorf("cached %t after %v", r.Cached, r.Elapsed)
		}
	}, append(blackHoles(6), site("up.example.com"))...)
}
