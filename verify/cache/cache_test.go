package cache_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

func start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func entry(v int, life time.Duration) cache.Entry[int] {
	return cache.Entry[int]{Value: v, Stored: start(), Refresh: start(), Expire: start().Add(life)}
}

func TestExpire(t *testing.T) {
	c := cache.New[int](100)
	c.Put("a", entry(1, time.Minute))
	if e, ok := c.Get("a", start().Add(time.Minute-1)); !ok || e.Value != 1 {
		t.Errorf("just before its end: %v, %v", e, ok)
	}
	if e, ok := c.Get("a", start().Add(time.Minute)); ok {
		t.Errorf("at its end: %v", e)
	}
	if n := c.Len(); n != 0 {
		t.Errorf("Len() = %d after the expired entry was touched", n)
	}
}

func TestPutReplaces(t *testing.T) {
	c := cache.New[int](100)
	c.Put("a", entry(1, time.Hour))
	c.Put("a", entry(2, time.Minute))
	if e, ok := c.Get("a", start()); !ok || e.Value != 2 || !e.Expire.Equal(start().Add(time.Minute)) {
		t.Errorf("Get = %v, %v", e, ok)
	}
	c.Delete("a")
	c.Delete("a")
	if _, ok := c.Get("a", start()); ok {
		t.Error("deleted entry is still there")
	}
}

func TestBounded(t *testing.T) {
	for _, size := range []int{-1, 0, 1, 16, 1000} {
		c := cache.New[int](size)
		for i := range 20_000 {
			c.Put(strconv.Itoa(i), entry(i, time.Hour))
		}
		if n, most := c.Len(), max(16, size+15); n > most {
			t.Errorf("size %d: Len() = %d, want at most %d", size, n, most)
		}
		if _, ok := c.Get("19999", start()); !ok {
			t.Errorf("size %d: the newest entry is gone", size)
		}
	}
}

func TestSweep(t *testing.T) {
	c := cache.New[int](1000)
	for i := range 100 {
		c.Put(strconv.Itoa(i), entry(i, time.Duration(i)*time.Minute))
	}
	c.Sweep(start().Add(49 * time.Minute))
	if n := c.Len(); n != 50 {
		t.Errorf("Len() = %d after the sweep, want 50", n)
	}
	if _, ok := c.Get("50", start()); !ok {
		t.Error("the sweep took an entry that lives")
	}
}

// TestModel compares the cache, large enough to push nothing out, with a map.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := cache.New[int](16 * 100)
	model := map[string]cache.Entry[int]{}
	now := start()
	for i := range 50_000 {
		key := strconv.Itoa(r.IntN(100))
		switch r.IntN(5) {
		case 0, 1:
			e := cache.Entry[int]{Value: i, Expire: now.Add(time.Duration(r.IntN(100)) * time.Second)}
			c.Put(key, e)
			model[key] = e
		case 2:
			c.Delete(key)
			delete(model, key)
		case 3:
			now = now.Add(time.Duration(r.IntN(3)) * time.Second)
		case 4:
			c.Sweep(now)
		}
		want, ok := model[key]
		ok = ok && now.Before(want.Expire)
		got, gotOK := c.Get(key, now)
		if gotOK != ok || ok && got != want {
			t.Fatalf("step %d: Get(%q) = %v, %v; want %v, %v", i, key, got, gotOK, want, ok)
		}
	}
}

func TestConcurrent(*testing.T) {
	c := cache.New[int](64)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				key := strconv.Itoa(i % 100)
				c.Put(key, entry(g, time.Duration(i%3)*time.Minute))
				c.Get(key, start().Add(time.Minute))
				if i%500 == 0 {
					c.Sweep(start().Add(time.Minute))
					c.Len()
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	c := cache.New[int](100_000)
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = "user" + strconv.Itoa(i) + "@example.com"
		c.Put(keys[i], entry(i, time.Hour))
	}
	now := start()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(keys)); pb.Next(); i++ {
			c.Get(keys[i%len(keys)], now)
		}
	})
}

func TestResize(t *testing.T) {
	c := cache.New[int](1600)
	for i := range 1000 {
		c.Put(strconv.Itoa(i), entry(i, time.Hour))
	}
	c.Resize(160)
	if n := c.Len(); n == 0 || n > 160 {
		t.Errorf("Len() = %d after Resize(160)", n)
	}
	c.Resize(1600)
	for i := range 1000 {
		c.Put(strconv.Itoa(i), entry(i, time.Hour))
	}
	if n := c.Len(); n < 900 {
		t.Errorf("Len() = %d after 1000 entries into 1600", n)
	}
}
