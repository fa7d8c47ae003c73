package verify_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
)

// TestSchedule: a recipient that was greylisted is asked for again with the same sender until it
// passes, and the client's retry is answered from memory. The next one of that server is asked for
// when its greylist is known to be over.
func TestSchedule(t *testing.T) {
	s := site("example.com", mxsim.Greylist(20*time.Minute))
	s.Mailboxes["bert"] = mxsim.Active
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Greylisted)
		if !w.v.Schedule(w.question("anna@example.com"), r) || w.v.Scheduled() != 1 {
			t.Fatal("not scheduled")
		}
		w.v.Schedule(w.question("anna@example.com"), r) // once is enough
		sleep(35 * time.Minute)
		n := w.asked("mx.example.com")
		if n != 5 || w.v.Scheduled() != 0 { // at 0, 1, 5, 15 and 30 minutes
			t.Errorf("asked %d times, %d still wait", n, w.v.Scheduled())
		}
		r = w.verify("anna@example.com")
		want(t, r, verify.Deliverable, verify.MailboxExists)
		if !r.Cached || w.asked("mx.example.com") != n {
			t.Error("the retry was not answered from memory")
		}
		for _, conn := range w.Host("mx.example.com").Record().Conns {
			for _, c := range conn.Commands {
				if c.Stage == mxsim.Mail && !strings.Contains(c.Line, sender) {
					t.Errorf("asked with another sender: %s", c.Line)
				}
			}
		}

		r = w.verify("bert@example.com")
		want(t, r, verify.Unknown, verify.Greylisted)
		w.v.Schedule(w.question("bert@example.com"), r)
		sleep(29 * time.Minute)
		if got := w.asked("mx.example.com"); got != n+1 {
			t.Errorf("asked %d times before the known delay was over", got-n)
		}
		sleep(10 * time.Minute)
		want(t, w.verify("bert@example.com"), verify.Deliverable, verify.MailboxExists)
		if got := w.asked("mx.example.com"); got != n+2 {
			t.Errorf("asked %d times, want 2", got-n)
		}
	}, s)
}

// TestScheduleHint: what the server says of the time is taken at its word.
func TestScheduleHint(t *testing.T) {
	deferred := mxsim.Refuse(mxsim.Rcpt, "450 4.7.1 Greylisted, please try again in 700 seconds")
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Greylisted)
		w.v.Schedule(w.question("anna@example.com"), r)
		sleep(700 * time.Second)
		if n := w.asked("mx.example.com"); n != 1 {
			t.Errorf("asked %d times too early", n-1)
		}
		sleep(time.Minute)
		if n := w.asked("mx.example.com"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
	}, site("example.com", deferred))
}

// TestScheduleEnds: after a day nothing more is expected, and few questions were asked. What is not
// greylisted, has no sender, or is not to be asked for is not scheduled.
func TestScheduleEnds(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		w.v.Schedule(w.question("anna@example.com"), r)
		sleep(26 * time.Hour)
		if n := w.asked("mx.example.com"); n < 6 || n > 9 || w.v.Scheduled() != 0 {
			t.Errorf("asked %d times, %d still wait", n, w.v.Scheduled())
		}
		q := w.question("anna@example.com")
		q.NullSender = true
		if w.v.Schedule(q, r) {
			t.Error("scheduled for a bounce")
		}
		r.Reason = verify.Timeout
		if w.v.Schedule(w.question("anna@example.com"), r) {
			t.Error("scheduled though it is not greylisted")
		}
	}, site("example.com", mxsim.Greylist(48*time.Hour)))
}

// TestScheduleBounded: a flood waits within its bounds.
func TestScheduleBounded(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		full := 0
		for i := range 12_000 {
			if !w.v.Schedule(w.question(fmt.Sprintf("n%d@example.com", i)), r) {
				full++
			}
		}
		if w.v.Scheduled() != 10_000 || full != 2000 {
			t.Errorf("%d wait, %d were too many", w.v.Scheduled(), full)
		}
	}, site("example.com", mxsim.Greylist(time.Hour)))
}

// TestSchedulePersists: what waits, and what is known of the delay, outlives the process.
func TestSchedulePersists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	cfg := func() (verify.Config, *cache.Store) {
		store := cache.OpenStore(path, cache.StoreConfig{})
		return verify.Config{Store: store}, store
	}
	for i := range 2 {
		c, store := cfg()
		w := newWorld(t, c, mxsim.Config{}, site("example.com", mxsim.Greylist(time.Hour)))
		if i == 0 {
			r := w.verify("anna@example.com")
			want(t, r, verify.Unknown, verify.Greylisted)
			w.v.Schedule(w.question("anna@example.com"), r)
		}
		if n := w.v.Scheduled(); n != 1 {
			t.Errorf("run %d: %d wait", i, n)
		}
		w.close()
		if err := store.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestFallbackSender: where SPF does not let us send for the sender's domain, which shows as soon as
// it is known where our connections leave from, the fallback sender asks.
func TestFallbackSender(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		if err := w.Record(`shop.example.org. 300 IN TXT "v=spf1 ip4:5.9.9.9 -all"`); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"anna", "bert"} {
			w.verify(name + "@example.com")
			from := ""
			for _, conn := range w.Host("mx.example.com").Record().Conns {
				for _, c := range conn.Commands {
					if c.Stage == mxsim.Mail {
						from = c.Line
					}
				}
			}
			if fallback := strings.Contains(from, "double-bounce@"+gate); fallback != (i == 1) {
				t.Errorf("question %d came from %s", i, from)
			}
		}
	}, site("example.com"))
}

// TestClientBound: a client that names nothing but unknown recipients is not helped for long, and
// another one is.
func TestClientBound(t *testing.T) {
	var sites []*mxsim.Site
	for i := range 150 {
		sites = append(sites, site(fmt.Sprintf("d%d.test", i)))
	}
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		limited := 0
		for i := range 150 * 15 {
			q := w.question(fmt.Sprintf("n%d@d%d.test", i, i%150))
			q.Client = "192.0.2.1"
			if r := w.v.Verify(t.Context(), q); r.Reason == verify.LocalLimit {
				limited++
			}
		}
		if limited != 250 {
			t.Errorf("%d of 2250 were over the limit, want 250", limited)
		}
		q := w.question("anna@d0.test")
		q.Client = "192.0.2.2"
		want(t, w.v.Verify(t.Context(), q), verify.Deliverable, verify.MailboxExists)
	}, sites...)
}
