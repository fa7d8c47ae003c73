package limit

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlotsTryAcquire(t *testing.T) {
	s := NewSlots(2)
	r1, ok1 := s.TryAcquire("a")
	_, ok2 := s.TryAcquire("a")
	if _, ok := s.TryAcquire("a"); !ok1 || !ok2 || ok {
		t.Fatalf("three at a key of two: %v %v %v", ok1, ok2, ok)
	}
	if _, ok := s.TryAcquire("b"); !ok {
		t.Error("another key is full too")
	}
	r1()
	r1() // gives back once only
	if s.Held("a") != 1 {
		t.Errorf("Held = %d after one release, want 1", s.Held("a"))
	}
	if _, ok := s.TryAcquire("a"); !ok {
		t.Error("a released slot is not free")
	}
	if _, ok := s.TryAcquire("a"); ok {
		t.Error("the second release of one holder freed a slot of another")
	}
}

func TestSlotsZeroMeansOne(t *testing.T) {
	s := NewSlots(0)
	if _, ok := s.TryAcquire("a"); !ok {
		t.Error("no slot at all")
	}
	if _, ok := s.TryAcquire("a"); ok {
		t.Error("two slots")
	}
}

// TestSlotsOrder: waiters are served as they came, and TryAcquire does not overtake them.
func TestSlotsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		release, _ := s.TryAcquire("a")
		var served []int
		for i := range 5 {
			go func() {
				r, err := s.Acquire(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				served = append(served, i)
				if _, ok := s.TryAcquire("a"); ok {
					t.Error("overtook the waiters")
				}
				r()
			}()
			synctest.Wait() // it waits now, behind the earlier ones
		}
		release()
		synctest.Wait()
		for i, got := range served {
			if i != got {
				t.Fatalf("served in order %v", served)
			}
		}
		if len(served) != 5 || s.Len() != 0 {
			t.Errorf("%d served, %d keys left", len(served), s.Len())
		}
	})
}

func TestSlotsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		release, _ := s.TryAcquire("a")
		cause := errors.New("out of budget")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		start := time.Now()
		if _, err := s.Acquire(ctx, "a"); !errors.Is(err, cause) {
			t.Errorf("error %v, want the cause", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v, want 1s", d)
		}
		release()
		if _, err := s.Acquire(ctx, "a"); err == nil {
			t.Error("an ended ctx took a free slot")
		}
		if s.Len() != 0 {
			t.Errorf("%d keys left", s.Len())
		}
		if _, ok := s.TryAcquire("a"); !ok {
			t.Error("the waiter that gave up kept the slot")
		}
	})
}

// TestSlotsRace lets many holders and impatient waiters run at once: never more than perKey hold a
// key, and nothing is left at the end.
func TestSlotsRace(t *testing.T) {
	const perKey, keys, workers = 3, 4, 64
	s := NewSlots(perKey)
	var held [keys]atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range 200 {
				k := rand.IntN(keys)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(50))*time.Microsecond)
				release, err := s.Acquire(ctx, strconv.Itoa(k))
				cancel()
				if err != nil {
					continue
				}
				if n := held[k].Add(1); n > perKey {
					t.Errorf("%d hold key %d", n, k)
				}
				held[k].Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if s.Len() != 0 {
		t.Errorf("%d keys left", s.Len())
	}
}

func BenchmarkSlots(b *testing.B) {
	s := NewSlots(2)
	b.ReportAllocs()
	for b.Loop() {
		release, ok := s.TryAcquire("5.9.0.1")
		if !ok {
			b.Fatal("no slot")
		}
		release()
	}
}
