package cache_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/rcptgate/rcptgate/verify/cache"
)

type small struct{ id, expire int64 }

func alive(v *small, now int64) bool { return now < v.expire }

// TestTableModel compares a table that is large enough with a map, and counts what leaves.
func TestTableModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	hasher := cache.NewHasher()
	left := map[int64]int{}
	c := cache.NewTable(64*1000, alive, func(v small) { left[v.id]++ })
	model := map[string]small{}
	stored, now := int64(0), int64(0)
	for step := range 50_000 {
		local, domain := strconv.Itoa(r.IntN(20)), "d"+strconv.Itoa(r.IntN(5))
		key := local + "@" + domain
		h := hasher.Hash(local, domain)
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			stored++
			v := small{stored, now + int64(r.IntN(100))}
			c.Put(h, v)
			model[key] = v
		case 4:
			c.Delete(h)
			delete(model, key)
		case 5:
			now += int64(r.IntN(3))
		case 6:
			c.Sweep(now)
		case 7:
			if step%20 == 0 {
				c.DeleteDomain(hasher.Hash("", domain))
				for k := range model {
					if k[len(k)-2:] == domain {
						delete(model, k)
					}
				}
			}
		}
		want, ok := model[key]
		ok = ok && alive(&want, now)
		var got small
		if gotOK := c.Get(h, now, &got); gotOK != ok || ok && got != want {
			t.Fatalf("step %d: Get(%s) = %v, %v; want %v, %v", step, key, got, gotOK, want, ok)
		}
	}
	for id, n := range left {
		if n != 1 {
			t.Errorf("value %d left %d times", id, n)
		}
	}
	if n := len(left) + c.Len(); int64(n) != stored {
		t.Errorf("%d stored, %d left, %d there", stored, len(left), c.Len())
	}
}

func TestTableIsBounded(t *testing.T) {
	hasher := cache.NewHasher()
	c := cache.NewTable[small](6400, alive, nil)
	for i := range 50_000 {
		c.Put(hasher.Hash(strconv.Itoa(i), "example.com"), small{int64(i), 1})
	}
	if n := c.Len(); n != 6400 {
		t.Errorf("Len = %d, want 6400", n)
	}
	var v small
	if !c.Get(hasher.Hash("49999", "example.com"), 0, &v) {
		t.Error("the newest is gone")
	}
	c.Resize(640)
	if n := c.Len(); n != 640 {
		t.Errorf("Len = %d after Resize, want 640", n)
	}
}

// TestTableSpreads: neither one local part at many domains nor one domain with many mailboxes fills a
// single list.
func TestTableSpreads(t *testing.T) {
	hasher := cache.NewHasher()
	for name, hash := range map[string]func(i int) cache.Hash{
		"one domain":     func(i int) cache.Hash { return hasher.Hash(strconv.Itoa(i), "example.com") },
		"one local part": func(i int) cache.Hash { return hasher.Hash("info", strconv.Itoa(i)+".example.com") },
	} {
		c := cache.NewTable[small](64*200, alive, nil)
		for i := range 64 * 100 {
			c.Put(hash(i), small{int64(i), 1})
		}
		if n := c.Len(); n != 64*100 {
			t.Errorf("%s: Len = %d: some were pushed out of a half full table", name, n)
		}
	}
}

func TestTableConcurrent(*testing.T) {
	hasher := cache.NewHasher()
	c := cache.NewTable[small](64, alive, func(small) {})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var v small
			for i := range 2000 {
				h := hasher.Hash(strconv.Itoa(i%100), "example.com")
				c.Put(h, small{int64(i), 5})
				c.Get(h, int64(i%7), &v)
				if i%500 == 0 {
					c.Sweep(3)
					c.DeleteDomain(h)
					c.Resize(64 + i)
				}
			}
		})
	}
	wg.Wait()
}
