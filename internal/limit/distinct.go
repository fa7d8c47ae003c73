package limit

import (
	"hash/maphash"
	"sync"
	"time"
)

// Distinct bounds how many different items a key may name within a time. Safe for concurrent use.
//
// An item is remembered as a hash of 64 bits. Memory is at most the number of keys times the most
// items of one; the key that began its window first is forgotten when there are too many.
type Distinct struct {
	most    int
	window  time.Duration
	maxKeys int
	seed    maphash.Seed

	mu   sync.Mutex
	keys map[string]*names
}

type names struct {
	began time.Time
	seen  map[uint64]struct{}
}

// NewDistinct lets each of at most maxKeys keys name at most most items in a window.
func NewDistinct(most int, window time.Duration, maxKeys int) *Distinct {
	return &Distinct{
		most: max(most, 1), window: window, maxKeys: max(maxKeys, 1), seed: maphash.MakeSeed(),
		keys: make(map[string]*names),
	}
}

// Add notes that key named item. It reports false if that was one too many, which is not noted.
func (d *Distinct) Add(key, item string, now time.Time) bool {
	h := maphash.String(d.seed, item)
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.keys[key]
	if k == nil || now.Sub(k.began) >= d.window {
		if k == nil && len(d.keys) >= d.maxKeys {
			d.forget(now)
		}
		k = &names{began: now, seen: make(map[uint64]struct{})}
		d.keys[key] = k
	}
	if _, known := k.seen[h]; known {
		return true
	}
	if len(k.seen) >= d.most {
		return false
	}
	k.seen[h] = struct{}{}
	return true
}

// Full reports whether key may not name anything new, and how long that lasts.
func (d *Distinct) Full(key string, now time.Time) (left time.Duration, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.keys[key]
	if k == nil || len(k.seen) < d.most {
		return 0, false
	}
	left = d.window - now.Sub(k.began)
	return left, left > 0
}

// Len returns how many keys are known now.
func (d *Distinct) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys)
}

// forget makes room for one key.
func (d *Distinct) forget(now time.Time) {
	oldest := ""
	for key, k := range d.keys {
		if now.Sub(k.began) >= d.window {
			delete(d.keys, key)
			continue
		}
		if oldest == "" || k.began.Before(d.keys[oldest].began) {
			oldest = key
		}
	}
	if len(d.keys) >= d.maxKeys {
		delete(d.keys, oldest)
	}
}
