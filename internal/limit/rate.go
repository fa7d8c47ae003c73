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
	step := max(r.Per/time.Duration(r.Count), 1)
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
	if l.rate.Unlimited() {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.byTAT) > 0 && !l.byTAT[0].tat.After(now) {
		l.drop()
	}
	c := l.keys[key]
	var tat time.Time
	if c != nil {
		tat = c.tat
	}
	next, wait, ok := l.rate.Next(tat, now, 1)
	if !ok {
		return wait, false
	}
	if c != nil {
		c.tat = next
		heap.Fix(&l.byTAT, c.index)
		return 0, true
	}
	if len(l.keys) >= l.maxKeys {
		l.drop()
	}
	c = &cell{key: key, tat: next}
	l.keys[key] = c
	heap.Push(&l.byTAT, c)
	return 0, true
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
