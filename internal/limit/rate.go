package limit

import (
	"container/heap"
	"sync"
	"time"
)

// Rate allows Count events in each Per, evenly, and Burst of them at once after a rest. The zero
// Rate (Count or Per not above 0) allows everything. Burst below 1 counts as 1.
type Rate struct {
	Count int
	Per   time.Duration
	Burst int
}

// Unlimited reports whether r allows everything.
func (r Rate) Unlimited() bool { return r.Count <= 0 || r.Per <= 0 }

// Next decides about one event of the given cost (1 = one event; below 1 counts as 1) at now. tat
// is the "theoretical arrival time" that the previous call returned, the zero time before the
// first. When ok, next is the state to keep; when not, next is tat unchanged and wait says how long
// to wait until the same event would be allowed, or is negative when its cost is above Burst and it
// never will be.
//
// This is GCRA as in ITU-T I.371 Annex A, in its virtual scheduling form, with the increment
// Per/Count and the tolerance (Burst-1) increments.
func (r Rate) Next(tat, now time.Time, cost int) (next time.Time, wait time.Duration, ok bool) {
	if r.Unlimited() {
		return tat, 0, true
	}
	burst, cost := max(r.Burst, 1), max(cost, 1)
	if cost > burst {
		return tat, -1, false
	}
	step := r.step()
	next = now
	if tat.After(now) {
		next = tat
	}
	next = next.Add(time.Duration(cost) * step)
	if wait = next.Sub(now) - time.Duration(burst)*step; wait > 0 {
		return tat, wait, false
	}
	return next, 0, true
}

// step is the time that brings one event back. r is not unlimited.
func (r Rate) step() time.Duration { return max(r.Per/time.Duration(r.Count), 1) }

// Limiter applies one Rate to many keys. Safe for concurrent use.
type Limiter struct {
	rate    Rate
	maxKeys int

	mu    sync.Mutex
	keys  map[string]*cell
	byTAT cellHeap // all cells, the earliest arrival time first: whole again first
}

// cell is the state of one key.
type cell struct {
	key   string
	tat   time.Time
	index int // in byTAT
}

// NewLimiter returns a Limiter that remembers at most maxKeys keys; less than 1 counts as 1. A key
// that is whole again (it has its full burst) costs no memory for longer than it takes the next
// call to notice. When maxKeys others are in use, the one closest to being whole is forgotten, so a
// flood of new keys gives little away.
func NewLimiter(rate Rate, maxKeys int) *Limiter {
	return &Limiter{rate: rate, maxKeys: max(maxKeys, 1), keys: make(map[string]*cell)}
}

// Take asks for one event of key at now. It never waits: when ok is false, nothing was taken and
// the event would be allowed after wait.
func (l *Limiter) Take(key string, now time.Time) (wait time.Duration, ok bool) {
	return l.TakeAt(key, l.rate, now)
}

// TakeAt is Take with a rate of its own for this event, for keys whose rates differ or change. What
// was taken before counts by the time that it took then.
func (l *Limiter) TakeAt(key string, rate Rate, now time.Time) (wait time.Duration, ok bool) {
	if rate.Unlimited() {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next, wait, ok := rate.Next(l.arrival(key, now), now, 1)
	if ok {
		l.keep(key, next)
	}
	return wait, ok
}

// Wait tells how long to wait until an event of this cost is allowed, 0 if it is now, and takes
// nothing. It is for events that show only afterwards whether they count, see [Limiter.Charge].
// The wait is negative if the cost is above the burst.
func (l *Limiter) Wait(key string, now time.Time, cost int) time.Duration {
	if l.rate.Unlimited() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, wait, ok := l.rate.Next(l.arrival(key, now), now, cost)
	if ok {
		return 0
	}
	return wait
}

// Charge takes an event of this cost, allowed or not: what is beyond the rate has to be waited for
// by later ones. A negative cost gives back, at most what was taken.
func (l *Limiter) Charge(key string, now time.Time, cost int) {
	if l.rate.Unlimited() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tat := l.arrival(key, now)
	if tat.Before(now) {
		tat = now
	}
	l.keep(key, tat.Add(time.Duration(cost)*l.rate.step()))
	l.dropWhole(now)
}

// arrival is the state of key, the zero time for one that is whole.
func (l *Limiter) arrival(key string, now time.Time) time.Time {
	l.dropWhole(now)
	if c := l.keys[key]; c != nil {
		return c.tat
	}
	return time.Time{}
}

// keep notes the state of key.
func (l *Limiter) keep(key string, tat time.Time) {
	c := l.keys[key]
	if c != nil {
		c.tat = tat
		heap.Fix(&l.byTAT, c.index)
		return
	}
	if len(l.keys) >= l.maxKeys {
		l.drop()
	}
	c = &cell{key: key, tat: tat}
	l.keys[key] = c
	heap.Push(&l.byTAT, c)
}

// dropWhole forgets the keys that have their full burst again.
func (l *Limiter) dropWhole(now time.Time) {
	for len(l.byTAT) > 0 && !l.byTAT[0].tat.After(now) {
		l.drop()
	}
}

// Len returns how many keys are remembered now.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.keys)
}

// drop forgets the key with the earliest arrival time.
func (l *Limiter) drop() {
	c := heap.Pop(&l.byTAT).(*cell)
	delete(l.keys, c.key)
}

// cellHeap orders cells by their arrival time; see container/heap.
type cellHeap []*cell

func (h cellHeap) Len() int           { return len(h) }
func (h cellHeap) Less(i, j int) bool { return h[i].tat.Before(h[j].tat) }

func (h cellHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *cellHeap) Push(x any) {
	c := x.(*cell)
	c.index = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *cellHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return c
}
