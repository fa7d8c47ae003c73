package cache

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// tableShards suits as many CPUs as a gate may have: each list is locked for some 100 ns a look-up.
const tableShards = 64

// Hash stands for an address in memory: its domain and its local part, hashed with a seed of the
// process. Two addresses of one domain are taken for each other with a probability of 2⁻⁶⁴, which
// nobody outside can raise.
type Hash struct{ domain, local uint64 }

// Hasher makes hashes. Use [NewHasher].
type Hasher struct{ domain, local maphash.Seed }

// NewHasher returns a Hasher with seeds of its own.
func NewHasher() Hasher { return Hasher{maphash.MakeSeed(), maphash.MakeSeed()} }

// Hash returns the hash of an address, by its local part and its domain as they are.
func (h Hasher) Hash(local, domain string) Hash {
	return Hash{maphash.String(h.domain, domain), maphash.String(h.local, local)}
}

// Table holds small values by [Hash], without knowing what they are: alive tells whether a value has
// not expired, and let is called for each that leaves. Use [NewTable].
type Table[V any] struct {
	alive  func(v *V, now int64) bool
	shards [tableShards]tableShard[V]
}

type tableShard[V any] struct {
	mu  sync.Mutex
	lru *simplelru.LRU[Hash, V] // guarded by mu
	_   [48]byte                // the next lock is on another cache line
}

// NewTable returns an empty table for about size entries. Neither function may call the table; let may
// be nil.
func NewTable[V any](size int, alive func(v *V, now int64) bool, let func(v V)) *Table[V] {
	t := &Table[V]{alive: alive}
	evict := func(_ Hash, v V) { let(v) }
	if let == nil {
		evict = nil
	}
	for i := range t.shards {
		// The only error is a size below 1.
		t.shards[i].lru, _ = simplelru.NewLRU(tableShare(size), evict)
	}
	return t
}

func tableShare(size int) int { return max(1, (size+tableShards-1)/tableShards) }

// shard goes by both hashes: many addresses have one domain, and many domains have an info@.
func (t *Table[V]) shard(h Hash) *tableShard[V] {
	return &t.shards[(h.domain^bits.RotateLeft64(h.local, 32))%tableShards]
}

// Get copies the value of h to v, unless it has expired at now.
func (t *Table[V]) Get(h Hash, now int64, v *V) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.lru.Get(h)
	if !ok {
		return false
	}
	if !t.alive(&found, now) {
		s.lru.Remove(h)
		return false
	}
	*v = found
	return true
}

// Put stores a value in place of an earlier one, which leaves. When the list is full, its least
// recently used value leaves too.
func (t *Table[V]) Put(h Hash, v V) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(h) // Add would replace the value without letting the old one go
	s.lru.Add(h, v)
}

// Delete forgets h.
func (t *Table[V]) Delete(h Hash) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(h)
}

// Resize changes the size. The least recently used values that have no place any more leave.
func (t *Table[V]) Resize(size int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.lru.Resize(tableShare(size))
		s.mu.Unlock()
	}
}

// Len returns the number of values held, expired ones included.
func (t *Table[V]) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.lru.Len()
		s.mu.Unlock()
	}
	return n
}

// Sweep removes what has expired at now.
func (t *Table[V]) Sweep(now int64) {
	t.remove(func(_ Hash, v *V) bool { return !t.alive(v, now) })
}

// DeleteDomain forgets all of the domain of h.
func (t *Table[V]) DeleteDomain(h Hash) {
	t.remove(func(k Hash, _ *V) bool { return k.domain == h.domain })
}

// remove holds one list at a time.
func (t *Table[V]) remove(doomed func(Hash, *V) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, h := range s.lru.Keys() {
			if v, ok := s.lru.Peek(h); ok && doomed(h, &v) {
				s.lru.Remove(h)
			}
		}
		s.mu.Unlock()
	}
}
