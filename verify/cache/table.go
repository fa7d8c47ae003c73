package cache

import (
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxShards suits as many CPUs as a gate may have: a shard is locked for some 100 ns a look-up. In a
// small table there are fewer, with minShard values each.
const (
	maxShards = 64
	minShard  = 64
)

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

// Section is a part of a [Table] for one kind of values.
type Section struct {
	// Share is the part of the table, 0 to 1, that nobody else may take. The shares are at most 1
	// together.
	Share float64
	// Borrows: it may also hold what others leave free, until they need it.
	Borrows bool
}

// Table holds small values by [Hash] in sections, so that a flood of one kind cannot push out
// another. It does not know what they are: alive tells whether a value has not expired, and let is
// called for each that leaves. Use [NewTable].
type Table[V any] struct {
	sections []Section
	alive    func(v V, now int64) bool
	shards   []tableShard[V] // a power of two of them
}

type tableShard[V any] struct {
	mu    sync.RWMutex
	lists []*simplelru.LRU[Hash, V] // by section; guarded by mu, as all below
	own   []int                     // by section: values that nobody pushes out
	most  int                       // values of all sections
	out   uint64                    // values that left for want of room
	_     [64]byte                  // the next lock is on another cache line
}

// NewTable returns an empty table for about size values. Neither function may call the table; let may
// be nil.
func NewTable[V any](
	size int, sections []Section, alive func(v V, now int64) bool, let func(section int, v V),
) *Table[V] {
	n := 1
	for n < maxShards && size/n >= 2*minShard {
		n *= 2
	}
	t := &Table[V]{sections: sections, alive: alive, shards: make([]tableShard[V], n)}
	for i := range t.shards {
		s := &t.shards[i]
		for section := range sections {
			var evict simplelru.EvictCallback[Hash, V]
			if let != nil {
				evict = func(_ Hash, v V) { let(section, v) }
			}
			// The bound is kept by Put. The only error is a size below 1.
			list, _ := simplelru.NewLRU(math.MaxInt, evict)
			s.lists = append(s.lists, list)
		}
		s.bound(size/n, sections)
	}
	return t
}

// bound sets the sizes of a shard. Each section has one place at least.
func (s *tableShard[V]) bound(size int, sections []Section) {
	s.most = max(len(sections), size)
	s.own = make([]int, len(sections))
	for i, section := range sections {
		s.own[i] = max(1, int(float64(s.most)*section.Share))
	}
}

// shard goes by both hashes: many addresses have one domain, and many domains have an info@.
func (t *Table[V]) shard(h Hash) *tableShard[V] {
	last := uint64(len(t.shards) - 1) //nolint:gosec // there is at least one
	return &t.shards[(h.domain^bits.RotateLeft64(h.local, 32))&last]
}

// touchOneIn is how many look-ups find their value for each that moves it to the front of its list.
const touchOneIn = 4

// Get copies the value of h to v, unless it has expired at now.
//
// Readers share the lock: with one of their own each, all of them would queue behind one that the system
// has stopped. So most do not move what they found to the front, and none waits to do it.
func (t *Table[V]) Get(h Hash, now int64, v *V) bool {
	s := t.shard(h)
	s.mu.RLock()
	section, found := s.peek(h, v)
	s.mu.RUnlock()
	if !found {
		return false
	}
	live := t.alive(*v, now)
	//nolint:gosec // not a secret: which readers move an entry to the front
	if (!live || rand.Uint32()%touchOneIn == 0) && s.mu.TryLock() {
		// It may have been replaced between the locks.
		if there, ok := s.lists[section].Get(h); ok && !t.alive(there, now) {
			s.lists[section].Remove(h)
		}
		s.mu.Unlock()
	}
	return live
}

func (s *tableShard[V]) peek(h Hash, v *V) (section int, ok bool) {
	for i, list := range s.lists {
		if *v, ok = list.Peek(h); ok {
			return i, true
		}
	}
	return 0, false
}

// Put stores a value in a section, in place of an earlier one in whatever section, which leaves. When
// there is no place, the least recently used value leaves of a section that has more than its share.
func (t *Table[V]) Put(h Hash, section int, v V) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delete(h)
	s.lists[section].Add(h, v)
	if !t.sections[section].Borrows && s.lists[section].Len() > s.own[section] {
		s.lists[section].RemoveOldest()
		s.out++
		return
	}
	s.shrink()
}

// shrink makes the shard fit. What a section has beyond its share is borrowed.
func (s *tableShard[V]) shrink() {
	for {
		total, victim, over := 0, 0, math.MinInt
		for i, list := range s.lists {
			n := list.Len()
			total += n
			if n-s.own[i] > over {
				victim, over = i, n-s.own[i]
			}
		}
		if total <= s.most {
			return
		}
		s.lists[victim].RemoveOldest()
		s.out++
	}
}

func (s *tableShard[V]) delete(h Hash) {
	for _, list := range s.lists {
		list.Remove(h)
	}
}

// Delete forgets h.
func (t *Table[V]) Delete(h Hash) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delete(h)
}

// Resize changes the size. The least recently used values that have no place any more leave.
func (t *Table[V]) Resize(size int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.bound(size/len(t.shards), t.sections)
		for i, list := range s.lists {
			for !t.sections[i].Borrows && list.Len() > s.own[i] {
				list.RemoveOldest()
				s.out++
			}
		}
		s.shrink()
		s.mu.Unlock()
	}
}

// Len returns the number of values that a section holds, expired ones included.
func (t *Table[V]) Len(section int) int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.lists[section].Len()
		s.mu.Unlock()
	}
	return n
}

// Evicted counts the values that left for want of room so far.
func (t *Table[V]) Evicted() uint64 {
	n := uint64(0)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += s.out
		s.mu.RUnlock()
	}
	return n
}

// Sweep removes what has expired at now.
func (t *Table[V]) Sweep(now int64) {
	t.remove(func(_ Hash, v V) bool { return !t.alive(v, now) })
}

// DeleteDomain forgets all of the domain of h.
func (t *Table[V]) DeleteDomain(h Hash) {
	t.remove(func(k Hash, _ V) bool { return k.domain == h.domain })
}

// remove holds one shard at a time.
func (t *Table[V]) remove(doomed func(Hash, V) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, list := range s.lists {
			for _, h := range list.Keys() {
				if v, ok := list.Peek(h); ok && doomed(h, v) {
					list.Remove(h)
				}
			}
		}
		s.mu.Unlock()
	}
}
