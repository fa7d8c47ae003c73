package web

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rcptgate/rcptgate/verify"
)

// askingMetrics are those of questions to mail servers and to DNS.
type askingMetrics struct {
	probes  *counters[askedLabels]
	time    prometheus.Histogram
	queries *prometheus.CounterVec
}

func newAskingMetrics() askingMetrics {
	m := askingMetrics{
		probes: newCounters(counter("probes_total",
			"Questions to mail servers about a recipient, by provider and how they ended.",
			"provider", "result"), mostAsked,
			func(l askedLabels) []string { return []string{l.provider, l.result} },
			func(l askedLabels) askedLabels { return askedLabels{other, l.result} }),
		time: histogram("probe_duration_seconds",
			"Time of a question to mail servers, waiting for its turn included.",
			prometheus.ExponentialBuckets(5e-3, 3, 9)), // 5 ms to 33 s
		queries: counter("dns_queries_total",
			"Questions that the resolver was asked, by type and how they ended.", "type", "status"),
	}
	for _, qtype := range []string{"A", "AAAA", "MX", "PTR", "TXT"} {
		for _, status := range []string{"NOERROR", "NODATA", "NXDOMAIN", "failure"} {
			m.queries.WithLabelValues(qtype, status)
		}
	}
	return m
}

func (m *askingMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.probes.vec, m.time, m.queries}
}

// Asked counts a question to mail servers.
func (m *Metrics) Asked(a verify.Asked) {
	m.asking.probes.of(askedLabels{cmp.Or(a.Provider, other), a.Result}).Inc()
	m.asking.time.Observe(a.Elapsed.Seconds())
}

// Resolved counts a question to DNS, by its type and status.
func (m *Metrics) Resolved(qtype, status string) {
	m.asking.queries.WithLabelValues(qtype, status).Inc()
}
