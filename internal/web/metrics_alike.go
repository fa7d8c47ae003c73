package web

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// alike is all that tells decisions apart in the metrics, but for what few of them have: those that
// are alike count in one place, and from there into all metrics when these are read.
type alike struct {
	action, shadow policy.Action
	rule           string
	by             answerer
	class          uint8 // of classes, if by is gate or relay
	asked          bool  // the verifier was:
	source         uint8 // of sourceNames
	verdict        verify.Verdict
	reason         verify.Reason
	provider       string
}

func alikeOf(d *policy.Decision, by answerer, class int) alike {
	k := alike{
		action: d.Action, shadow: d.Shadow, rule: d.Rule, by: by,
		class: uint8(class), source: uint8(sourceOf(d.Result)), //nolint:gosec // a few
	}
	if r := d.Result; r != nil {
		k.asked, k.verdict, k.reason, k.provider = true, r.Verdict, r.Reason, r.Provider
	}
	return k
}

// hash tells most of them apart.
func (k *alike) hash() uint {
	h := uint(k.class)<<4 | uint(k.source)<<2 | uint(k.action)
	for _, s := range [...]string{k.rule, string(k.reason), k.provider} {
		h *= 0x9e3779b1
		if n := len(s); n > 0 {
			h += uint(n) + uint(s[n-1])<<8 + uint(s[n/2])<<16
		}
	}
	return h ^ h>>15
}

// place is where decisions that are alike count.
type place struct {
	alike

	instant, timed atomic.Uint64 // those that took no time, and the others
	into           []prometheus.Counter

	// What of that has been added to the metrics. decisions.settling guards it.
	instantDone, timedDone uint64
}

// How many places there are, and in how many of them decisions that are alike may be found. Those
// that find theirs taken count into the metrics at once.
const (
	places = 1024
	probes = 4
)

// decisions counts what every recipient counts into.
type decisions struct {
	recipients *prometheus.CounterVec
	shadowed   *prometheus.CounterVec
	times      [len(sourceNames)]times
	timesDesc  *prometheus.Desc
	policy     *policyMetrics
	since      time.Time

	places   [places]atomic.Pointer[place] // each is set once
	settling sync.Mutex
}

func newDecisions(others *policyMetrics) *decisions {
	m := &decisions{
		policy: others, since: time.Now(),
		recipients: counter("recipients_total",
			"Recipients, by whose answer the client got and the class of its code.", "by", "code"),
		shadowed: counter("shadowed_recipients_total",
			"Recipients accepted in shadow mode that would have been refused.", "action"),
		timesDesc: prometheus.NewDesc(
			prometheus.BuildFQName(namespace, "", "decision_duration_seconds"),
			"Time to decide a recipient, by where the verdict came from.", []string{"source"}, nil),
	}
	for _, name := range answerers {
		for _, code := range classes {
			m.recipients.WithLabelValues(name, code)
		}
	}
	return m
}

// count counts a decision.
func (m *decisions) count(d *policy.Decision, by answerer, class int) {
	k := alikeOf(d, by, class)
	p := m.place(&k)
	switch {
	case p == nil:
		for _, c := range m.counters(&k) {
			c.Inc()
		}
		m.times[k.source].add(d.Elapsed, 1)
	case d.Elapsed <= 0:
		p.instant.Add(1)
	default:
		p.timed.Add(1)
		m.times[k.source].add(d.Elapsed, 1)
	}
}

// place finds where to count, and makes it for the first; nil: there is none.
func (m *decisions) place(k *alike) *place {
	h := k.hash()
	for i := range uint(probes) {
		at := &m.places[(h+i)%places]
		p := at.Load()
		if p == nil {
			made := &place{alike: *k, into: m.counters(k)}
			if at.CompareAndSwap(nil, made) {
				return made
			}
			p = at.Load()
		}
		if p.alike == *k {
			return p
		}
	}
	return nil
}

// counters are all that a decision counts into.
func (m *decisions) counters(k *alike) []prometheus.Counter {
	into := []prometheus.Counter{
		m.policy.rules.of(ruleLabels{k.action.String(), cmp.Or(k.rule, "none")}),
	}
	if k.by < noAnswerer {
		into = append(into, m.recipients.WithLabelValues(answerers[k.by], classes[k.class]))
	}
	if k.shadow != policy.Continue {
		into = append(into, m.shadowed.WithLabelValues(k.shadow.String()))
	}
	if !k.asked {
		return append(into, m.policy.verdicts.of(verdictLabels{"none", "not_asked"}))
	}
	verdict := cmp.Or(string(k.verdict), "unknown")
	return append(into, m.policy.verdicts.of(verdictLabels{verdict, string(k.reason)}),
		m.policy.providers.of(providerLabels{cmp.Or(k.provider, other), verdict}))
}

// settle adds to the metrics what was counted since it was last called.
func (m *decisions) settle() {
	m.settling.Lock()
	defer m.settling.Unlock()
	for i := range m.places {
		p := m.places[i].Load()
		if p == nil {
			continue
		}
		instant, timed := p.instant.Load(), p.timed.Load()
		more := instant - p.instantDone
		m.times[p.source].add(0, more)
		if more += timed - p.timedDone; more > 0 {
			for _, c := range p.into {
				c.Add(float64(more))
			}
		}
		p.instantDone, p.timedDone = instant, timed
	}
}

// collectors are the metrics that settle fills.
func (m *decisions) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.recipients, m.shadowed, m.policy.rules.vec, m.policy.verdicts.vec, m.policy.providers.vec,
	}
}

// Describe is for the registry.
func (m *decisions) Describe(to chan<- *prometheus.Desc) {
	to <- m.timesDesc
	for _, c := range m.collectors() {
		c.Describe(to)
	}
}

// Collect is for the registry.
func (m *decisions) Collect(to chan<- prometheus.Metric) {
	m.settle()
	for source, name := range sourceNames {
		to <- m.times[source].metric(m.timesDesc, m.since, name)
	}
	for _, c := range m.collectors() {
		c.Collect(to)
	}
}

// decisionTimes are the bounds of the times to decide, in seconds: 10 µs to 10 s.
func decisionTimes() []float64 { return prometheus.ExponentialBuckets(10e-6, 4, timesBounds) }

const timesBounds = 11

// times is a histogram that takes many of one time at once.
type times struct {
	counts [timesBounds + 1]atomic.Uint64 // up to each bound, and above
	sum    atomic.Int64                   // nanoseconds
}

func (t *times) add(took time.Duration, n uint64) {
	if n == 0 {
		return
	}
	i := 0
	if took > 0 {
		for most := 10 * time.Microsecond; i < timesBounds && took > most; most *= 4 {
			i++
		}
		t.sum.Add(int64(took))
	}
	t.counts[i].Add(n)
}

func (t *times) metric(desc *prometheus.Desc, since time.Time, source string) prometheus.Metric {
	upTo := make(map[float64]uint64, timesBounds)
	var n uint64
	for i, bound := range decisionTimes() {
		n += t.counts[i].Load()
		upTo[bound] = n
	}
	n += t.counts[timesBounds].Load()
	return prometheus.MustNewConstHistogramWithCreatedTimestamp(
		desc, n, time.Duration(t.sum.Load()).Seconds(), upTo, since, source)
}
