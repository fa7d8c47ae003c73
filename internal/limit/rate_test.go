package limit

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestRateNext(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	perSecond := Rate{Count: 1, Per: time.Second, Burst: 3}
	tests := []struct {
		rate   Rate
		credit time.Duration // tat - now
		cost   int
		tat    time.Duration // next - now
		wait   time.Duration
		ok     bool
	}{
		{perSecond, -time.Hour, 1, time.Second, 0, true},
		{perSecond, time.Second, 1, 2 * time.Second, 0, true},
		{perSecond, 2 * time.Second, 1, 3 * time.Second, 0, true},
		{perSecond, 3 * time.Second, 1, 3 * time.Second, time.Second, false},
		{perSecond, 2500 * time.Millisecond, 1, 2500 * time.Millisecond, 500 * time.Millisecond, false},
		{perSecond, 0, 3, 3 * time.Second, 0, true},
		{perSecond, time.Second, 3, time.Second, time.Second, false},
		{perSecond, 0, 4, 0, -1, false},
		{perSecond, 0, 0, time.Second, 0, true},
		{Rate{Count: 10, Per: time.Second}, 0, 1, 100 * time.Millisecond, 0, true},
		{Rate{Count: 10, Per: time.Second}, time.Millisecond, 1, time.Millisecond, time.Millisecond, false},
		{Rate{}, time.Hour, 100, time.Hour, 0, true},
		{Rate{Count: 5, Burst: 1}, time.Hour, 1, time.Hour, 0, true},
		{Rate{Count: 2, Per: 1, Burst: 1}, 0, 1, 1, 0, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.rate, tt.credit, tt.cost), func(t *testing.T) {
			next, wait, ok := tt.rate.Next(now.Add(tt.credit), now, tt.cost)
			if next.Sub(now) != tt.tat || wait != tt.wait || ok != tt.ok {
				t.Errorf("= %v, %v, %v; want %v, %v, %v", next.Sub(now), wait, ok, tt.tat, tt.wait, tt.ok)
			}
		})
	}
}

// TestRateProperty: over any stretch of time no more than Burst + Count*stretch/Per events pass,
// and whoever waits as told gets through.
func TestRateProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		r := Rate{
			Count: 1 + rnd.IntN(20), Per: time.Duration(1+rnd.IntN(10)) * time.Second, Burst: 1 + rnd.IntN(30),
		}
		start := time.Unix(0, 0)
		now, tat, passed := start, time.Time{}, 0
		for range 500 {
			now = now.Add(time.Duration(rnd.Int64N(int64(r.Per))))
			next, wait, ok := r.Next(tat, now, 1)
			if !ok {
				if wait <= 0 {
					t.Fatalf("%+v: refused with wait %v", r, wait)
				}
				if _, _, later := r.Next(next, now.Add(wait-1), 1); later {
					t.Fatalf("%+v: passes before the wait is over", r)
				}
				now = now.Add(wait)
				if next, _, ok = r.Next(next, now, 1); !ok {
					t.Fatalf("%+v: refused after the wait", r)
				}
			}
			tat = next
			passed++
			most := r.Burst + int(int64(now.Sub(start))*int64(r.Count)/int64(r.Per)) + 1
			if passed > most {
				t.Fatalf("%+v: %d events in %v, at most %d", r, passed, now.Sub(start), most)
			}
		}
	}
}

func TestLimiterKeys(t *testing.T) {
	l := NewLimiter(Rate{Count: 1, Per: time.Second, Burst: 2}, 3)
	now := time.Unix(1e9, 0)
	take := func(key string, want bool) {
		t.Helper()
		if _, ok := l.Take(key, now); ok != want {
			t.Errorf("Take(%q) = %v, want %v", key, ok, want)
		}
	}
	take("a", true)
	take("a", true)
	take("a", false)
	take("b", true)
	take("c", true)
	if l.Len() != 3 {
		t.Errorf("Len = %d, want 3", l.Len())
	}
	take("d", true) // full: b or c goes, not a, which has used most
	if l.Len() != 3 {
		t.Errorf("Len = %d, want 3", l.Len())
	}
	take("a", false)
	now = now.Add(time.Second)
	take("a", true)
	if l.Len() != 1 {
		t.Errorf("Len = %d, want 1: the others are whole again", l.Len())
	}
	take("a", false)
	now = now.Add(2 * time.Second)
	take("a", true)
}

func TestLimiterUnlimited(t *testing.T) {
	l := NewLimiter(Rate{}, 10)
	for i := range 100 {
		if _, ok := l.Take(strconv.Itoa(i), time.Unix(0, 0)); !ok {
			t.Fatal("refused without a rate")
		}
	}
	if l.Len() != 0 {
		t.Errorf("%d keys kept without need", l.Len())
	}
}

// TestLimiterBounded floods a Limiter with keys: it stays within its bound, and the flood does not
// free a key that has used up its burst.
func TestLimiterBounded(t *testing.T) {
	l := NewLimiter(Rate{Count: 1, Per: time.Minute, Burst: 5}, 1000)
	now := time.Unix(1e9, 0)
	for range 5 {
		l.Take("victim", now)
	}
	for i := range 20_000 {
		l.Take("flood-"+strconv.Itoa(i), now)
		now = now.Add(time.Millisecond)
	}
	if l.Len() > 1000 {
		t.Errorf("%d keys, at most 1000", l.Len())
	}
	if _, ok := l.Take("victim", now); ok {
		t.Error("the flood gave the key a fresh burst")
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := NewLimiter(Rate{Count: 1000, Per: time.Second, Burst: 50}, 10_000)
	keys := make([]string, 5000)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	now, i := time.Unix(1e9, 0), 0
	b.ReportAllocs()
	for b.Loop() {
		l.Take(keys[i%len(keys)], now)
		now = now.Add(time.Microsecond)
		i++
	}
}

// TestLimiterCharge: what is charged counts, allowed or not; what is given back may be taken again,
// and no more than was taken.
func TestLimiterCharge(t *testing.T) {
	l := NewLimiter(Rate{Count: 1, Per: time.Second, Burst: 3}, 10)
	now := time.Unix(1e9, 0)
	took := func() (n int) {
		t.Helper()
		for {
			want := l.Wait("a", now, 1)
			wait, ok := l.Take("a", now)
			if wait != want || ok != (want == 0) {
				t.Fatalf("Take = %v, %v behind Wait = %v", wait, ok, want)
			}
			if !ok {
				return n
			}
			n++
		}
	}
	l.Charge("a", now, -1) // nothing was taken
	if n := took(); n != 3 {
		t.Errorf("%d of 3", n)
	}
	l.Charge("a", now, -1)
	l.Charge("b", now, -1)
	if n := took(); n != 1 {
		t.Errorf("%d behind one given back", n)
	}
	l.Charge("a", now, 2)
	if wait := l.Wait("a", now, 1); wait != 3*time.Second {
		t.Errorf("wait of %v with 2 beyond the rate", wait)
	}
	if wait := l.Wait("a", now, 2); wait != 4*time.Second {
		t.Errorf("wait of %v for an event of 2", wait)
	}
	l.Charge("a", now, -10)
	if l.Len() != 0 {
		t.Errorf("%d keys that are whole", l.Len())
	}
	if n := took(); n != 3 {
		t.Errorf("%d behind all given back, of 3", n)
	}
	if wait := l.Wait("a", now, 4); wait >= 0 {
		t.Errorf("wait of %v for more than the burst", wait)
	}
	none := NewLimiter(Rate{}, 10)
	none.Charge("a", now, 5)
	if none.Wait("a", now, 1) != 0 || none.Len() != 0 {
		t.Error("a wait without a rate")
	}
}
