package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are 1.6 % wide. It is not safe for concurrent use:
// give each session one and Merge them. The zero value is empty.
type Histogram struct {
	n       int64
	max     time.Duration
	buckets [64 * 59]int64
}

const steps = 64 // buckets for each power of two

// Add counts one duration; a negative one is zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.n++
	h.max = max(h.max, d)
	h.buckets[bucket(d)]++
}

// bucket is exact below 64 ns; above, the leading seven bits count.
func bucket(d time.Duration) int {
	if d < steps {
		return int(d)
	}
	shift := bits.Len64(uint64(d)) - 7
	return shift*steps + int(d>>shift)
}

// middle is the duration in the middle of a bucket.
func middle(i int) time.Duration {
	if i < 2*steps {
		return time.Duration(i)
	}
	shift := i/steps - 1
	low := time.Duration(i-shift*steps) << shift
	return low + time.Duration(1)<<shift/2
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	h.n += o.n
	h.max = max(h.max, o.max)
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// Count is how many were counted.
func (h *Histogram) Count() int64 { return h.n }

// Max is the longest, exactly; 0 if there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the duration that a share q (0 to 1) of those counted does not exceed, within the
// width of a bucket; 0 if nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := int64(q*float64(h.n-1)) + 1
	var seen int64
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			return min(middle(i), h.max)
		}
	}
	return h.max
}
