package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHistogram compares quantiles with those of the sorted values.
func TestHistogram(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]time.Duration, 5000)
	var all, a, b Histogram
	for i := range values {
		values[i] = time.Duration(r.Int64N(1 << (1 + r.IntN(40))))
		all.Add(values[i])
		if i%2 == 0 {
			a.Add(values[i])
		} else {
			b.Add(values[i])
		}
	}
	a.Merge(&b)
	if a != all {
		t.Error("two halves merged are not the whole")
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 1} {
		want := values[int(q*float64(len(values)-1))]
		got := all.Quantile(q)
		if off := (got - want).Abs(); off > want/50+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if all.Max() != values[len(values)-1] || all.Count() != int64(len(values)) {
		t.Errorf("max %v of %d, want %v of %d", all.Max(), all.Count(), values[len(values)-1], len(values))
	}
	all.Add(-time.Second)
	all.Add(1<<63 - 1)
	if got := all.Quantile(1); got != 1<<63-1 && got < 1<<62 {
		t.Errorf("the longest duration is counted as %v", got)
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	s := Samples{
		"a": {{Rate: 10}, {Rate: 30}, {Rate: 20}},
		"b": {{Rate: 10}, {Rate: 10}, {Rate: 10}, {Rate: 99}},
	}
	if got, want := s.Ratio("a", "b", ByRate), (Ratio{Median: 2, Min: 1, Max: 3}); got != want {
		t.Errorf("ratio %+v, want %+v", got, want)
	}
	if got := s.Ratio("a", "nobody", ByRate); got != (Ratio{}) {
		t.Errorf("a ratio to nobody is %+v", got)
	}
	if got := s.Median("b", ByRate); got != 10 {
		t.Errorf("median %v, want 10", got)
	}
	if got := Median([]float64{4, 1}); got != 2.5 {
		t.Errorf("median of 1 and 4 is %v", got)
	}
}
