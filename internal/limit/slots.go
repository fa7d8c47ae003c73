package limit

import (
	"container/list"
	"context"
	"sync"
)

// Slots bounds how many holders a key has at the same time. Waiters of one key are served in the
// order in which they came, and nobody overtakes them; keys do not disturb one another. Safe for
// concurrent use.
type Slots struct {
	perKey int

	mu   sync.Mutex
	keys map[string]*slotKey // only keys with a holder; see leave
}

// slotKey is the state of one key that has at least one holder.
type slotKey struct {
	held    int
	waiting list.List // of chan struct{}: closed when the slot was handed over
}

// NewSlots returns Slots with perKey places for each key; less than 1 counts as 1.
func NewSlots(perKey int) *Slots {
	return &Slots{perKey: max(perKey, 1), keys: make(map[string]*slotKey)}
}

// TryAcquire takes a slot of key if one is free and nobody waits for it. It never waits. release
// must be called once the work is over; further calls do nothing. It is nil when ok is false.
func (s *Slots) TryAcquire(key string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.enter(key) {
		return nil, false
	}
	return s.releaser(key), true
}

// Acquire takes a slot of key and waits for one as long as ctx allows. The error is the cause of
// ctx's end (context.Cause); a ctx that has ended takes no slot, not even a free one. release is as
// in TryAcquire.
func (s *Slots) Acquire(ctx context.Context, key string) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	if s.enter(key) {
		s.mu.Unlock()
		return s.releaser(key), nil
	}
	ready := make(chan struct{})
	k := s.keys[key]
	place := k.waiting.PushBack(ready)
	s.mu.Unlock()

	select {
	case <-ready:
		return s.releaser(key), nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-ready: // handed over while ctx ended: pass it on
		s.leave(key)
	default:
		k.waiting.Remove(place)
	}
	return nil, context.Cause(ctx)
}

// Held returns how many slots of key are taken now.
func (s *Slots) Held(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[key]; k != nil {
		return k.held
	}
	return 0
}

// Len returns how many keys are known now: those that somebody holds.
func (s *Slots) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

// enter takes a free slot. While somebody waits none is free: leave hands slots over.
func (s *Slots) enter(key string) bool {
	k := s.keys[key]
	if k == nil {
		k = &slotKey{}
		s.keys[key] = k
	}
	if k.held >= s.perKey {
		return false
	}
	k.held++
	return true
}

// leave gives one slot of key to the first waiter, or frees it. A key nobody holds is forgotten: it
// has no waiters either, since each of them waits for a holder.
func (s *Slots) leave(key string) {
	k := s.keys[key]
	if first := k.waiting.Front(); first != nil {
		k.waiting.Remove(first)
		close(first.Value.(chan struct{}))
		return
	}
	k.held--
	if k.held == 0 {
		delete(s.keys, key)
	}
}

// releaser returns the function that gives a slot back, once.
func (s *Slots) releaser(key string) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.leave(key)
		})
	}
}
