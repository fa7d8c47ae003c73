package probe

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// memory remembers one thing about each of a bounded number of addresses, for a fixed time.
type memory[V any] struct {
	keep time.Duration
	size int

	some atomic.Bool // there was a put: most memories stay empty, and are asked for each question

	mu sync.Mutex
	m  map[netip.Addr]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[V any](keep time.Duration, size int) *memory[V] {
	return &memory[V]{keep: keep, size: size, m: make(map[netip.Addr]remembered[V])}
}

func (m *memory[V]) get(addr netip.Addr, now time.Time) (V, bool) {
	var none V
	if !m.some.Load() {
		return none, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.m[addr]
	if ok && !now.Before(r.until) {
		delete(m.m, addr)
		ok = false
	}
	if !ok {
		return none, false
	}
	return r.value, true
}

// put remembers v about addr from now. When the memory is full it forgets what is too old, and if
// that frees nothing, anything: the worst effect is a connection that could have been saved.
func (m *memory[V]) put(addr netip.Addr, v V, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.m[addr]; !known && len(m.m) >= m.size {
		for a, r := range m.m {
			if !now.Before(r.until) {
				delete(m.m, a)
			}
		}
		for a := range m.m {
			if len(m.m) < m.size {
				break
			}
			delete(m.m, a)
		}
	}
	m.some.Store(true)
	m.m[addr] = remembered[V]{value: v, until: now.Add(m.keep)}
}

func (m *memory[V]) forget(addr netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.m, addr)
}
