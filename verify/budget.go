package verify

import (
	"sync"
	"time"
)

// Budget bounds the time that the recipients of one message are waited for, all
// together: a client that pipelines 1000 recipients waits for the lot, not for
// each. What is spent is the wall time during which at least one Verify of the
// message waits; recipients that are verified side by side spend it once.
//
// It is safe for concurrent use. A nil *Budget has no end.
type Budget struct {
	mu      sync.Mutex
	total   time.Duration
	spent   time.Duration // while waiting == 0
	waiting int           // Verify calls that wait now
	since   time.Time     // when waiting became 1
	behind  int           // questions that may still be started without a wait
}

// NewBudget returns a budget of total waiting time for one message. When it is
// spent, at most behind more questions of the message are still put to mail
// servers, without a wait, for the sake of the client's next attempt.
func NewBudget(total time.Duration, behind int) *Budget {
	return &Budget{total: total, behind: behind}
}

// Left returns how much waiting time is left at now, at least 0. For a nil budget
// it is the longest duration.
func (b *Budget) Left(now time.Time) time.Duration {
	if b == nil {
		return 1<<63 - 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left(now)
}

func (b *Budget) left(now time.Time) time.Duration {
	left := b.total - b.spent
	if b.waiting > 0 {
		left -= now.Sub(b.since)
	}
	return max(left, 0)
}

// enter starts one wait and returns how long it may last. As the wait itself
// spends the budget at the speed of the clock, this does not change while it lasts.
// With nothing left it returns 0, and no wait has been started.
func (b *Budget) enter(now time.Time) time.Duration {
	if b == nil {
		return 1<<63 - 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.left(now)
	if left == 0 {
		return 0
	}
	if b.waiting == 0 {
		b.since = now
	}
	b.waiting++
	return left
}

// leave ends a wait that enter started.
func (b *Budget) leave(now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting--
	if b.waiting == 0 {
		b.spent += now.Sub(b.since)
	}
}

// takeBehind takes one of the questions that may be started without a wait.
func (b *Budget) takeBehind() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.behind <= 0 {
		return false
	}
	b.behind--
	return true
}
