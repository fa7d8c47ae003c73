package senders

import "time"

// slots is how many steps a window keeps: twelve that make up its length, and the current one. As
// all of them count, an event counts for at least the length and at most 1/12 longer.
const (
	steps = 12
	slots = steps + 1
)

// clock is a time as windows see it: the number of the step that it lies in, for each unit.
type clock struct {
	now  int64 // nanoseconds since 1970
	sec  int64
	step [units]int64
}

// stepSeconds is the length of a step.
func stepSeconds(u unit) int64 {
	switch u {
	case minute:
		return 60 / steps
	case hour:
		return 3600 / steps
	default:
		return 86400 / steps
	}
}

func clockAt(now time.Time) clock {
	sec := max(now.Unix(), 0) // a negative step would have no slot
	return clock{
		now: sec*1e9 + int64(now.Nanosecond()), sec: sec,
		step: [units]int64{
			sec / stepSeconds(minute), sec / stepSeconds(hour), sec / stepSeconds(day),
		},
	}
}

func (c clock) time() time.Time { return time.Unix(0, c.now) }

// window counts the events of the last steps. The zero value is empty.
type window struct {
	at  int64 // the newest step
	sum uint32
	n   [slots]uint32 // of step s at s % slots
}

// roll lets go what is older than the window is long at step.
func (w *window) roll(step int64) {
	switch gone := step - w.at; {
	case gone == 0:
	case gone >= slots, gone <= -slots: // all of it, or a clock that was set back by far
		*w = window{at: step}
	case gone > 0:
		for ; w.at < step; w.at++ {
			n := &w.n[(w.at+1)%slots]
			w.sum -= *n
			*n = 0
		}
	default: // a little behind: other callers were faster, or the clock was set
	}
}

// add counts n events now, to which the window is rolled.
func (w *window) add(n int) {
	more := min(uint32(n), mostNumber-w.sum) //nolint:gosec // a few
	w.n[w.at%slots] += more
	w.sum += more
}

// wait is the time, from now, until so much has left the window that at most most remain; 0 if that
// is so now. step is in seconds; the window is rolled to now.
func (w *window) wait(c clock, step int64, most uint32) time.Duration {
	left := w.sum
	if left <= most {
		return 0
	}
	for s := w.at - steps; s <= w.at; s++ {
		if s < 0 {
			continue
		}
		if left -= w.n[s%slots]; left <= most {
			return time.Duration((s+slots)*step*int64(time.Second) - c.now)
		}
	}
	return 0
}
