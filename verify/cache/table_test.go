package cache_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/rcptgate/rcptgate/verify/cache"
)

type small struct{ id, expire int64 }

// one is a table without sections.
func one() []cache.Section { return []cache.Section{{Share: 1}} }

func alive(v small, now int64) bool { return now < v.expire }

// TestTableModel compares a table that is large enough with a map, and counts what leaves.
func TestTableModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	hasher := cache.NewHasher()
	left := map[int64]int{}
	c := cache.NewTable(64*1000, []cache.Section{{Share: 0.5}, {Share: 0.2, Borrows: true}}, alive,
		func(_ int, v small) { left[v.id]++ })
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
			c.Put(h, r.IntN(2), v)
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
		ok = ok && alive(want, now)
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
	if n := len(left) + c.Len(0) + c.Len(1); int64(n) != stored {
		t.Errorf("%d stored, %d left, %d there", stored, len(left), n-len(left))
	}
}

func TestTableIsBounded(t *testing.T) {
	hasher := cache.NewHasher()
	c := cache.NewTable[small](6400, one(), alive, nil)
	for i := range 50_000 {
		c.Put(hasher.Hash(strconv.Itoa(i), "example.com"), 0, small{int64(i), 1})
	}
	if n := c.Len(0); n != 6400 {
		t.Errorf("Len = %d, want 6400", n)
	}
	var v small
	if !c.Get(hasher.Hash("49999", "example.com"), 0, &v) {
		t.Error("the newest is gone")
	}
	c.Resize(640)
	if n := c.Len(0); n != 640 {
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
		c := cache.NewTable[small](64*200, one(), alive, nil)
		for i := range 64 * 100 {
			c.Put(hash(i), 0, small{int64(i), 1})
		}
		if n := c.Len(0); n != 64*100 {
			t.Errorf("%s: Len = %d: some were pushed out of a half full table", name, n)
		}
	}
}

func TestTableConcurrent(*testing.T) {
	hasher := cache.NewHasher()
	c := cache.NewTable[small](640, one(), alive, func(int, small) {})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var v small
			for i := range 2000 {
				h := hasher.Hash(strconv.Itoa(i%100), "example.com")
				c.Put(h, 0, small{int64(i), 5})
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

// TestTableSections: a section that borrows takes what is free and gives it back; nobody takes from
// the share of another.
func TestTableSections(t *testing.T) {
	hasher := cache.NewHasher()
	const known, garbage, other = 0, 1, 2
	c := cache.NewTable[small](64*100, []cache.Section{
		known: {Share: 0.8}, garbage: {Share: 0.1, Borrows: true}, other: {Share: 0.1, Borrows: true},
	}, alive, nil)
	put := func(section, n int) {
		for i := range n {
			c.Put(hasher.Hash(strconv.Itoa(i), "s"+strconv.Itoa(section)), section, small{int64(i), 1})
		}
	}
	want := func(when string, lens ...int) {
		t.Helper()
		for section, n := range lens {
			if got := c.Len(section); got != n {
				t.Errorf("%s: section %d has %d, want %d", when, section, got, n)
			}
		}
	}
	put(garbage, 20_000)
	want("alone", 0, 6400, 0)
	put(other, 20_000)
	want("two that borrow share", 0, 3200, 3200)
	put(known, 20_000)
	want("the known come", 5120, 640, 640)
	put(garbage, 20_000)
	want("a flood", 5120, 640, 640)
	c.Resize(64 * 50)
	want("half the size", 2560, 320, 320)
}
