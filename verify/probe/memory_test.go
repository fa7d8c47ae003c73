package probe

import (
	"net/netip"
	"testing"
	"time"
)

func TestMemory(t *testing.T) {
	m := newMemory[int](time.Minute, 100)
	now := time.Unix(1e9, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{5, 9, byte(i >> 8), byte(i)}) }
	for i := range 50 {
		m.put(addr(i), i, now)
	}
	later := now.Add(30 * time.Second)
	for i := 50; i < 100; i++ {
		m.put(addr(i), i, later)
	}
	if v, ok := m.get(addr(7), now.Add(time.Minute-1)); !ok || v != 7 {
		t.Errorf("get = %d, %v before its time is over", v, ok)
	}
	if _, ok := m.get(addr(7), now.Add(time.Minute)); ok {
		t.Error("remembered for too long")
	}
	m.forget(addr(60))
	if _, ok := m.get(addr(60), later); ok {
		t.Error("remembered after forget")
	}
	// Full of the old and the new: the old go first.
	m.put(addr(7), 7, now)
	m.put(addr(60), 60, later)
	m.put(addr(100), 100, now.Add(time.Minute))
	for i := 50; i <= 100; i++ {
		if _, ok := m.get(addr(i), now.Add(time.Minute)); !ok {
			t.Errorf("%d was forgotten though others were over", i)
		}
	}
	// Full of the new: one of them goes for each that comes.
	for i := range 1000 {
		m.put(addr(1000+i), i, later)
		if v, ok := m.get(addr(1000+i), later); !ok || v != i {
			t.Errorf("get = %d, %v right after put", v, ok)
		}
	}
	if len(m.m) > 100 {
		t.Errorf("%d entries, at most 100", len(m.m))
	}
}
