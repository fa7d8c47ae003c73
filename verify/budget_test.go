package verify_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// slowSites are n domains dN.example.com whose server needs that long for RCPT.
func slowSites(n int, needs time.Duration) []*mxsim.Site {
	var sites []*mxsim.Site
	for i := range n {
		sites = append(sites, site(fmt.Sprintf("d%d.example.com", i), mxsim.Tarpit(mxsim.Rcpt, needs)))
	}
	return sites
}

// TestBudgetIsSharedWallTime: recipients side by side spend it once, one after the
// other they spend it each.
func TestBudgetIsSharedWallTime(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		budget := verify.NewBudget(25*time.Second, 200)
		ask := func(rcpt string) verify.Result {
			q := w.question(rcpt)
			q.Budget = budget
			return w.v.Verify(t.Context(), q)
		}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				want(t, ask(fmt.Sprintf("anna@d%d.example.com", i)), verify.Deliverable, verify.MailboxExists)
			})
		}
		wg.Wait()
		if left := budget.Left(time.Now()); left != 21*time.Second {
			t.Errorf("%v left after five side by side, want 21 s", left)
		}
		sleep(time.Hour) // nobody waits: nothing is spent
		for i := 5; i < 10; i++ {
			want(t, ask(fmt.Sprintf("anna@d%d.example.com", i)), verify.Deliverable, verify.MailboxExists)
		}
		if left := budget.Left(time.Now()); left != time.Second {
			t.Errorf("%v left after five more in a row, want 1 s", left)
		}
		r := ask("anna@d10.example.com")
		want(t, r, verify.Unknown, verify.BudgetSpent)
		if r.Elapsed != time.Second {
			t.Errorf("waited %v, want what was left", r.Elapsed)
		}
		for i := range 10 { // memory costs nothing
			want(t, ask(fmt.Sprintf("anna@d%d.example.com", i)), verify.Deliverable, verify.MailboxExists)
		}
	}, slowSites(11, 4*time.Second)...)
}

// TestBudgetJoined: who begins to wait while another waits has what is left of it.
func TestBudgetJoined(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		budget := verify.NewBudget(5*time.Second, 200)
		var wg sync.WaitGroup
		for i := range 2 {
			q := w.question(fmt.Sprintf("anna@d%d.example.com", i))
			q.Budget = budget
			wg.Go(func() {
				sleep(time.Duration(i) * 3 * time.Second)
				r := w.v.Verify(t.Context(), q)
				if i == 0 {
					want(t, r, verify.Deliverable, verify.MailboxExists)
					return
				}
				want(t, r, verify.Unknown, verify.BudgetSpent)
				if r.Elapsed != 2*time.Second {
					t.Errorf("waited %v, want 2 s", r.Elapsed)
				}
			})
		}
		wg.Wait()
		if left := budget.Left(time.Now()); left != 0 {
			t.Errorf("%v left", left)
		}
	}, slowSites(2, 4*time.Second)...)
}

// TestBudgetBehind: when it is spent, answers come at once, and so many questions of
// the message as were allowed go on behind.
func TestBudgetBehind(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		t := w.t
		want(t, w.verify("nobody@d9.example.com"), verify.Undeliverable, verify.MailboxUnknown)
		sleep(2 * time.Hour) // an old proof
		budget := verify.NewBudget(0, 3)
		for i := range 9 {
			q := w.question(fmt.Sprintf("anna@d%d.example.com", i))
			q.Budget = budget
			for range 2 { // the second joins the first and takes nothing
				r := w.v.Verify(t.Context(), q)
				want(t, r, verify.Unknown, verify.BudgetSpent)
				if r.Elapsed != 0 || r.RetryAfter <= 0 {
					t.Errorf("waited %v, retry after %v", r.Elapsed, r.RetryAfter)
				}
			}
		}
		q := w.question("nobody@d9.example.com")
		q.Budget = budget
		want(t, w.v.Verify(t.Context(), q), verify.Undeliverable, verify.MailboxUnknown)
		sleep(time.Minute)
		for i := range 9 {
			asked := w.asked(fmt.Sprintf("mx.d%d.example.com", i))
			if (asked == 1) != (i < 3) {
				t.Errorf("d%d was asked %d times", i, asked)
			}
		}
		want(t, w.verify("anna@d2.example.com"), verify.Deliverable, verify.MailboxExists)
	}, slowSites(10, time.Second)...)
}

// TestFlightLimit: beyond it the answer is Unknown at once, and one domain whose
// server hangs leaves room for the others.
func TestFlightLimit(t *testing.T) {
	cfg := verify.Config{MaxFlights: 40, RcptBudget: time.Millisecond}
	inBubble(t, cfg, func(w *world) {
		t := w.t
		for i := range 12 {
			r := w.verify(fmt.Sprintf("user%d@hang.example.com", i))
			if reason := verify.Timeout; i < 10 {
				want(t, r, verify.Unknown, reason)
			} else {
				want(t, r, verify.Unknown, verify.LocalLimit)
				if r.Elapsed != 0 || !r.Checked.IsZero() {
					t.Errorf("took %v, checked %v", r.Elapsed, r.Checked)
				}
			}
		}
		for i := range 30 {
			r := w.verify(fmt.Sprintf("anna@d%d.example.com", i))
			want(t, r, verify.Unknown, verify.Timeout)
		}
		want(t, w.verify("anna@other.example.com"), verify.Unknown, verify.LocalLimit)
		// A flight that lands makes room; nothing of a limit is remembered.
		sleep(2 * time.Minute)
		want(t, w.verify("anna@other.example.com"), verify.Unknown, verify.Timeout)
		sleep(time.Minute)
		want(t, w.verify("anna@other.example.com"), verify.Deliverable, verify.MailboxExists)
	}, append(slowSites(30, time.Second),
		site("hang.example.com", mxsim.Silence(mxsim.Rcpt)),
		site("other.example.com", mxsim.Tarpit(mxsim.Rcpt, time.Second)))...)
}

// TestFlightsBehind: what nobody waits for may use only half of the flights.
func TestFlightsBehind(t *testing.T) {
	inBubble(t, verify.Config{MaxFlights: 8}, func(w *world) {
		t := w.t
		budget := verify.NewBudget(0, 200)
		for i := range 8 {
			q := w.question(fmt.Sprintf("anna@d%d.example.com", i))
			q.Budget = budget
			want(t, w.v.Verify(t.Context(), q), verify.Unknown, verify.BudgetSpent)
		}
		want(t, w.verify("anna@d8.example.com"), verify.Deliverable, verify.MailboxExists)
		sleep(time.Minute)
		asked := 0
		for i := range 8 {
			asked += w.asked(fmt.Sprintf("mx.d%d.example.com", i))
		}
		if asked != 4 {
			t.Errorf("%d were asked behind, want 4", asked)
		}
	}, slowSites(9, time.Second)...)
}

// TestProbeTimeout: the asking has an end of its own, and that it came is remembered.
func TestProbeTimeout(t *testing.T) {
	inBubble(t, verify.Config{ProbeTimeout: 3 * time.Second}, func(w *world) {
		t := w.t
		r := w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Timeout)
		if r.Elapsed != 3*time.Second {
			t.Errorf("took %v", r.Elapsed)
		}
		r = w.verify("anna@example.com")
		want(t, r, verify.Unknown, verify.Timeout)
		if !r.Cached || r.Elapsed != 0 {
			t.Errorf("cached %t after %v", r.Cached, r.Elapsed)
		}
	}, site("example.com", mxsim.Silence(mxsim.Rcpt)))
}

func TestBudget(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var none *verify.Budget
	if none.Left(now) < 24*time.Hour {
		t.Errorf("no budget has %v left", none.Left(now))
	}
	if left := verify.NewBudget(time.Second, 1).Left(now); left != time.Second {
		t.Errorf("a new one has %v left", left)
	}
	if left := verify.NewBudget(-time.Second, 1).Left(now); left != 0 {
		t.Errorf("one below zero has %v left", left)
	}
}
