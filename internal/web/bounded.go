package web

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are those of one metric by its label values, which a plain map finds faster than the
// metric itself. There are at most most of them; who comes then is counted by what rest makes of it,
// which must be of a small set. So a metric stays bounded though a configuration may be reloaded
// with new names for ever.
type counters[K comparable] struct {
	vec    *prometheus.CounterVec
	most   int
	labels func(K) []string
	rest   func(K) K // nil: the set is closed

	known  atomic.Pointer[map[K]prometheus.Counter] // it is replaced, not changed
	widens sync.Mutex
}

func newCounters[K comparable](
	vec *prometheus.CounterVec, most int, labels func(K) []string, rest func(K) K,
) *counters[K] {
	c := &counters[K]{vec: vec, most: most, labels: labels, rest: rest}
	c.known.Store(&map[K]prometheus.Counter{})
	return c
}

func (c *counters[K]) of(k K) prometheus.Counter {
	if found, ok := (*c.known.Load())[k]; ok {
		return found
	}
	c.widens.Lock()
	defer c.widens.Unlock()
	known := *c.known.Load()
	if found, ok := known[k]; ok {
		return found
	}
	if c.rest != nil && len(known) >= c.most {
		return c.vec.WithLabelValues(c.labels(c.rest(k))...)
	}
	wider := maps.Clone(known)
	wider[k] = c.vec.WithLabelValues(c.labels(k)...)
	c.known.Store(&wider)
	return wider[k]
}
