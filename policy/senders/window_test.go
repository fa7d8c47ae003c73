package senders

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestWindow holds the windows against a list of events: what is in a window's length counts, what
// is older than that and 1/12 does not, and the wait is until there is room and no longer.
func TestWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for u := range unit(units) {
		length, step := u.length(), time.Duration(stepSeconds(u))*time.Second
		if 12*step != length {
			t.Fatalf("%s: a step of %s", u, step)
		}
		for range 15 {
			var w window
			var events []time.Time
			now, most := start(), uint32(1+rnd.IntN(30))
			for range 300 {
				now = now.Add(time.Duration(rnd.Int64N(int64(length) / 8)))
				c := clockAt(now)
				w.roll(c.step[u])
				least, upper := uint32(0), uint32(0)
				for _, at := range events {
					if now.Sub(at) < length {
						least++
					}
					if now.Sub(at) < length+step {
						upper++
					}
				}
				if w.sum < least || w.sum > upper {
					t.Fatalf("%s: %d, not between %d and %d", u, w.sum, least, upper)
				}
				if wait := w.wait(c, stepSeconds(u), most-1); (wait == 0) != (w.sum < most) {
					t.Fatalf("%s: a wait of %s with %d of %d", u, wait, w.sum, most)
				} else if wait > 0 {
					then, before := w, w
					then.roll(clockAt(now.Add(wait)).step[u])
					before.roll(clockAt(now.Add(wait - 1)).step[u])
					if then.sum >= most || before.sum < most {
						t.Fatalf("%s: %d and %d of %d around %s", u, before.sum, then.sum, most, wait)
					}
					continue
				}
				w.add(1)
				events = append(events, now)
			}
		}
	}
}

// TestClockSetBack: a clock that is set back does not freeze a window for longer than its length,
// and times before 1970 are no fault.
func TestClockSetBack(t *testing.T) {
	var w window
	w.roll(clockAt(start()).step[hour])
	w.add(1)
	for _, tt := range []struct {
		back time.Duration
		want uint32
	}{{time.Second, 1}, {30 * time.Minute, 1}, {59 * time.Minute, 1}, {61 * time.Minute, 0}, {1e6 * time.Hour, 0}} {
		back := w
		back.roll(clockAt(start().Add(-tt.back)).step[hour])
		if back.sum != tt.want {
			t.Errorf("set back by %s: %d, want %d", tt.back, back.sum, tt.want)
		}
	}
	w.roll(clockAt(time.Time{}).step[hour])
	w.add(1)
	if w.sum != 1 {
		t.Errorf("%d at the zero time", w.sum)
	}
}
