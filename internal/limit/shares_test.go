package limit

import (
	"math"
	"strconv"
	"testing"
	"time"
)

// TestLowerBound holds the bound against numbers worked out by hand (Wilson 1927, z = 1.645).
func TestLowerBound(t *testing.T) {
	for _, tt := range []struct {
		bad, all int
		want     float64
	}{
		{0, 0, 0},
		{0, 20, 0},
		{20, 20, 0.8808},
		{5, 5, 0.6488},
		{10, 20, 0.3274},
		{9, 20, 0.2842},
		{200, 600, 0.3025},
	} {
		if got := LowerBound(tt.bad, tt.all); math.Abs(got-tt.want) > 0.002 {
			t.Errorf("%d of %d: %.4f, want %.4f", tt.bad, tt.all, got, tt.want)
		}
	}
}

// TestSharesStop: 20 events that go wrong are all there is, however many are asked for at a time.
func TestSharesStop(t *testing.T) {
	for _, crowd := range []int{1, 7, 1000} {
		t.Run(strconv.Itoa(crowd), func(t *testing.T) {
			s := NewShares(ShareConfig{}, 10)
			now := time.Unix(1e9, 0)
			passed, stopped := 0, 0
			for range 50 {
				under := 0
				for range crowd {
					switch s.Enter("a", now) {
					case Pass:
						under++
						passed++
					case Stop:
						stopped++
					case Hold:
					}
				}
				for range under {
					if began, d := s.Leave("a", Bad, now); began && d != 10*time.Minute {
						t.Errorf("rests for %v", d)
					}
				}
				now = now.Add(time.Second)
			}
			if passed != 20 || stopped == 0 {
				t.Errorf("%d passed, want 20; %d were stopped", passed, stopped)
			}
			if s.Enter("b", now) != Pass {
				t.Error("another key is stopped too")
			}
		})
	}
}

// TestSharesGood: a crowd that goes well is not held back for long, and one of which a quarter goes
// wrong is never stopped.
func TestSharesGood(t *testing.T) {
	s := NewShares(ShareConfig{}, 10)
	now := time.Unix(1e9, 0)
	passed := 0
	for range 30 {
		under := 0
		for range 100 {
			if s.Enter("a", now) == Pass {
				under++
			}
		}
		for range under {
			o := Good
			if passed++; passed%4 == 0 {
				o = Bad
			}
			if began, _ := s.Leave("a", o, now); began {
				t.Fatalf("stopped behind %d", passed)
			}
		}
		now = now.Add(time.Second)
	}
	if passed < 500 {
		t.Errorf("only %d passed", passed)
	}
}

// TestSharesRests: behind each rest there is a short trial; rests grow while trials fail, and one
// that goes well ends them.
func TestSharesRests(t *testing.T) {
	s := NewShares(ShareConfig{}, 10)
	now := time.Unix(1e9, 0)
	fail := func() (n int, rest time.Duration) {
		for s.Enter("a", now) == Pass {
			n++
			if began, d := s.Leave("a", Bad, now); began {
				return n, d
			}
		}
		return n, 0
	}
	want := 10 * time.Minute
	for i := range 8 {
		n, rest := fail()
		if first := i == 0; first && n != 20 || !first && n != trialEvents || rest != want {
			t.Fatalf("rest %d behind %d events lasts %v, want %v", i, n, rest, want)
		}
		if s.Look("a", now.Add(rest-1)) != Stop {
			t.Error("the rest is over too early")
		}
		now = now.Add(rest)
		want = min(2*want, 6*time.Hour)
	}
	for range 20 {
		if s.Enter("a", now) != Pass {
			t.Fatal("stopped in a good trial")
		}
		s.Leave("a", Good, now)
	}
	now = now.Add(time.Hour)
	if n, rest := fail(); n != 20 || rest != 10*time.Minute {
		t.Errorf("behind a good trial %d events and %v", n, rest)
	}
}

// TestSharesWindow: what is older than the window does not count, nor does what taught nothing.
func TestSharesWindow(t *testing.T) {
	s := NewShares(ShareConfig{}, 10)
	now := time.Unix(1e9, 0)
	for i := range 200 {
		if s.Enter("a", now) != Pass {
			t.Fatalf("event %d is stopped", i)
		}
		o := Bad
		if i%2 == 0 {
			o = Void
		}
		if began, _ := s.Leave("a", o, now); began {
			t.Fatalf("stopped behind %d", i)
		}
		now = now.Add(time.Minute)
	}
}

// TestSharesBounded: a flood of keys frees none that rests.
func TestSharesBounded(t *testing.T) {
	s := NewShares(ShareConfig{}, 100)
	now := time.Unix(1e9, 0)
	for range 20 {
		s.Enter("victim", now)
		s.Leave("victim", Bad, now)
	}
	for i := range 1000 {
		key := strconv.Itoa(i)
		s.Enter(key, now)
		s.Leave(key, Good, now)
	}
	if s.Len() > 100 {
		t.Errorf("%d keys, at most 100", s.Len())
	}
	if s.Look("victim", now) != Stop {
		t.Error("the flood ended the rest of a key")
	}
}

func TestDistinct(t *testing.T) {
	d := NewDistinct(3, time.Hour, 2)
	now := time.Unix(1e9, 0)
	add := func(key, item string, want bool) {
		t.Helper()
		if got := d.Add(key, item, now); got != want {
			t.Errorf("Add(%s, %s) = %v", key, item, got)
		}
	}
	add("a", "1", true)
	add("a", "1", true)
	add("a", "2", true)
	if _, full := d.Full("a", now); full {
		t.Error("full with 2 of 3")
	}
	add("a", "3", true)
	add("a", "4", false)
	add("a", "2", true)
	if left, full := d.Full("a", now.Add(time.Minute)); !full || left != 59*time.Minute {
		t.Errorf("Full = %v, %v", left, full)
	}
	now = now.Add(time.Second)
	add("b", "4", true)
	add("c", "4", true) // a is forgotten
	if d.Len() != 2 {
		t.Errorf("%d keys", d.Len())
	}
	now = now.Add(time.Hour)
	if _, full := d.Full("b", now); full {
		t.Error("full behind its window")
	}
	add("b", "5", true)
}
