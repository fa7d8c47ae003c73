// Package cache keeps what is known: in memory, bounded, and in a file that outlives the process.
//
//	c := cache.New[Result](100_000)
//	c.Put(key, cache.Entry[Result]{Value: r, Stored: now, Refresh: soon, Expire: late})
//	if e, ok := c.Get(key, now); ok { ... }
//
//	s := cache.OpenStore("/var/lib/rcptgate/verdicts.db", cache.StoreConfig{Log: log})
//	s.Put(cache.Verdicts, key[:], value, late)
//	if value, ok := s.Get(cache.Verdicts, key[:]); ok { ... }
//
// Everything here is safe for concurrent use. A [Cache] counts values, and a [Table] is for small
// values under hashed keys, of which there may be a million. Both are spread over least-recently-used
// lists with a lock each, by a hash with a secret seed, so nobody outside can aim at one list. Time is
// an argument: they read no clock and start no goroutine.
//
// A [Store] is a bbolt file behind them. It is a hint that may be lost at any time: writes are
// gathered and never waited for, a fault of the file or of its disk is said and never returned, and
// a verdict that it does not have is learnt anew. Its keys are HMACs with a secret that lies beside it.
//
// LIMITS. An expired entry is never returned, but keeps its place until it is touched, pushed
// out, or swept. The bound in memory is kept for each list, so a cache of size n may push out an entry
// a little before it holds n. The file never shrinks; what is removed makes room for what comes. A
// look-up that has to wait for the disk holds a thread.
package cache

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const shards = 16

// Entry is a value and its times.
type Entry[V any] struct {
	Value   V
	Stored  time.Time // when the value was learnt
	Refresh time.Time // from here on it should be learnt anew; the caller's business
	Expire  time.Time // from here on it does not exist
}

// Cache holds entries by key. Use [New].
type Cache[V any] struct {
	seed   maphash.Seed
	shards [shards]shard[V]
}

type shard[V any] struct {
	mu  sync.Mutex
	lru *simplelru.LRU[string, Entry[V]] // guarded by mu
}

// New returns an empty cache for about size entries; a size below 16 counts as 16.
func New[V any](size int) *Cache[V] {
	c := &Cache[V]{seed: maphash.MakeSeed()}
	each := share(size)
	for i := range c.shards {
		// The only error is a size below 1.
		c.shards[i].lru, _ = simplelru.NewLRU[string, Entry[V]](each, nil)
	}
	return c
}

func share(size int) int { return max(1, (size+shards-1)/shards) }

// Resize changes the size. The least recently used entries that have no place any more go.
func (c *Cache[V]) Resize(size int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.lru.Resize(share(size))
		s.mu.Unlock()
	}
}

func (c *Cache[V]) shard(key string) *shard[V] {
	return &c.shards[maphash.String(c.seed, key)%shards]
}

// Get returns the entry of key, unless it has expired at now.
func (c *Cache[V]) Get(key string, now time.Time) (Entry[V], bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.lru.Get(key)
	if !ok {
		return Entry[V]{}, false
	}
	if !now.Before(e.Expire) {
		s.lru.Remove(key)
		return Entry[V]{}, false
	}
	return e, true
}

// Put stores the entry of key in place of an earlier one. When the list is full, its
// least recently used entry goes.
func (c *Cache[V]) Put(key string, e Entry[V]) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Add(key, e)
}

// Delete forgets key.
func (c *Cache[V]) Delete(key string) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(key)
}

// DeleteFunc forgets the keys for which del returns true. It looks at all of them.
func (c *Cache[V]) DeleteFunc(del func(key string) bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, key := range s.lru.Keys() {
			if del(key) {
				s.lru.Remove(key)
			}
		}
		s.mu.Unlock()
	}
}

// Len returns the number of entries held, expired ones included.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.lru.Len()
		s.mu.Unlock()
	}
	return n
}

// Sweep removes what has expired at now. It holds one list at a time, for about a
// millisecond for 10 000 entries.
func (c *Cache[V]) Sweep(now time.Time) {
	for i := range c.shards {
		c.shards[i].sweep(now)
	}
}

func (s *shard[V]) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.lru.Keys() {
		if e, ok := s.lru.Peek(key); ok && !now.Before(e.Expire) {
			s.lru.Remove(key)
		}
	}
}
