package verify_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// next is a pool like the world's, for a Reconfigure.
func (w *world) next() *probe.Pool {
	return probe.NewPool(probe.Config{
		Dial: w.resolver.Filter.Dial(w.DialContext), Resolver: w.resolver, OwnNames: []string{gate},
	})
}

// TestReconfigure: what was learnt stays known, and new questions go by the new settings.
func TestReconfigure(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		want(t, w.verify("nobody@a.example.com"), verify.Undeliverable, verify.MailboxUnknown)
		old := w.pool
		w.pool = w.next()
		drained := w.v.Reconfigure(verify.Config{Helo: gate, Passive: true}, w.resolver, w.pool)
		drained(w.t.Context())
		if err := old.Close(w.t.Context()); err != nil {
			t.Error(err)
		}
		if r := w.verify("nobody@a.example.com"); !r.Cached || !r.Proof {
			t.Errorf("a proof from before: %+v", r)
		}
		want(t, w.verify("anna@a.example.com"), verify.Unknown, verify.Passive)

		w.v.Reconfigure(verify.Config{Helo: gate}, w.resolver, w.pool)(w.t.Context())
		want(t, w.verify("anna@a.example.com"), verify.Deliverable, verify.MailboxExists)
		if n := w.asked("mx.a.example.com"); n != 2 {
			t.Errorf("asked %d times", n)
		}
	}, site("a.example.com"))
}

// TestReconfigureInFlight: who is being asked about is asked to the end, through the old pool.
func TestReconfigureInFlight(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		answer := make(chan verify.Result, 1)
		go func() { answer <- w.verify("nobody@a.example.com") }()
		synctest.Wait() // in the tarpit
		if n := w.v.Stats().Flights; n != 1 {
			t.Errorf("%d flights", n)
		}
		old := w.pool
		w.pool = w.next()
		start := time.Now()
		drained := w.v.Reconfigure(verify.Config{Helo: gate, RcptBudget: time.Second}, w.resolver, w.pool)

		brief, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		drained(brief)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v for a flight, with a context of 1 s", waited)
		}
		drained(w.t.Context())
		if waited := time.Since(start); waited < 2*time.Second {
			t.Errorf("drained after %v, before the flight had landed", waited)
		}
		if err := old.Close(w.t.Context()); err != nil {
			t.Error(err)
		}
		want(t, <-answer, verify.Undeliverable, verify.MailboxUnknown)
		// The new settings hold for the next one, which waits for a second only.
		want(t, w.verify("else@a.example.com"), verify.Unknown, verify.Timeout)
	}, site("a.example.com", mxsim.Tarpit(mxsim.Rcpt, 3*time.Second)))
}

func TestReconfigureSize(t *testing.T) {
	inBubble(t, verify.Config{CacheOctets: 256 << 10}, func(w *world) {
		for i := range 100 {
			want(t, w.verify(string(rune('a'+i%26))+string(rune('a'+i/26))+"@a.example.com"),
				verify.Undeliverable, verify.MailboxUnknown)
			time.Sleep(time.Minute) // asked for faster, it would look like a dictionary
		}
		w.v.Reconfigure(verify.Config{Helo: gate, CacheOctets: 4 << 10}, w.resolver, w.pool)
		if n := w.v.Stats().Undeliverable; n == 0 || n > 64 {
			t.Errorf("%d entries in a memory for a few", n)
		}
	}, site("a.example.com"))
}
