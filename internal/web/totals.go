package web

import "slices"

// totals are sums of the metrics at one moment, since the start.
type totals struct {
	accepted, rejected, deferred float64 // recipients
	messages, relayFailures      float64
	hits, misses                 float64 // recipients whose verdict was in memory, or had to be found
	probes, blocked              float64
	times                        []bucket // of decisions about recipients
	providers                    map[string]*providerTotals
}

// providerTotals are those of one provider; other stands for all that no profile knows.
type providerTotals struct {
	probes, blocked                     float64
	deliverable, undeliverable, unknown float64 // recipients
}

// bucket counts what took at most so many seconds, as histograms of Prometheus do.
type bucket struct{ most, count float64 }

// unasked are the results of probes for which nobody was asked.
func unasked(result string) bool { return result == "local_limit" || result == "declined" }

// totals sums up. What a metric cannot tell is left out.
func (m *Metrics) totals() *totals {
	t := &totals{providers: make(map[string]*providerTotals)}
	families, _ := m.registry.Gather() // a part that fails leaves the others
	for _, family := range families {
		name := family.GetName()
		for _, metric := range family.GetMetric() {
			label := make(map[string]string, len(metric.GetLabel()))
			for _, pair := range metric.GetLabel() {
				label[pair.GetName()] = pair.GetValue()
			}
			t.counter(name, label, metric.GetCounter().GetValue())
			if name != namespace+"_decision_duration_seconds" {
				continue
			}
			h := metric.GetHistogram()
			t.source(label["source"], float64(h.GetSampleCount()))
			for i, b := range h.GetBucket() {
				if i == len(t.times) {
					t.times = append(t.times, bucket{most: b.GetUpperBound()})
				}
				t.times[i].count += float64(b.GetCumulativeCount())
			}
		}
	}
	return t
}

// counter takes one series of a counter.
func (t *totals) counter(name string, label map[string]string, n float64) {
	switch name {
	case namespace + "_decisions_total":
		switch label["action"] {
		case "accept":
			t.accepted += n
		case "reject":
			t.rejected += n
		case "defer":
			t.deferred += n
		}
	case namespace + "_messages_total":
		t.messages += n
		if label["outcome"] == "relay_failed" {
			t.relayFailures += n
		}
	case namespace + "_probes_total":
		if !unasked(label["result"]) {
			t.probe(t.provider(label["provider"]), label["result"], n)
		}
	case namespace + "_provider_verdicts_total":
		p := t.provider(label["provider"])
		switch label["verdict"] {
		case "deliverable", "risky":
			p.deliverable += n
		case "undeliverable":
			p.undeliverable += n
		default:
			p.unknown += n
		}
	}
}

func (t *totals) probe(p *providerTotals, result string, n float64) {
	t.probes += n
	p.probes += n
	if result == "blocked_ip" || result == "blocked_sender" {
		t.blocked += n
		p.blocked += n
	}
}

func (t *totals) provider(name string) *providerTotals {
	p := t.providers[name]
	if p == nil {
		p = new(providerTotals)
		t.providers[name] = p
	}
	return p
}

// source counts recipients by where their verdict came from; rules alone need none.
func (t *totals) source(name string, n float64) {
	switch name {
	case sourceNames[fromMemory]:
		t.hits += n
	case sourceNames[fromDNS], sourceNames[fromAsking]:
		t.misses += n
	}
}

// quantile is the time in milliseconds that the share q of the decisions between before and t took
// at most, 0 without any. It is read off the buckets as Prometheus does, which is as exact as they
// are.
func (t *totals) quantile(before *totals, q float64) float64 {
	counts := slices.Clone(t.times)
	for i := range min(len(counts), len(before.times)) {
		counts[i].count -= before.times[i].count
	}
	if len(counts) == 0 || counts[len(counts)-1].count <= 0 {
		return 0
	}
	want := q * counts[len(counts)-1].count
	least, below := 0.0, 0.0
	for _, b := range counts {
		if b.count >= want && b.count > below {
			return 1000 * (least + (b.most-least)*(want-below)/(b.count-below))
		}
		least, below = b.most, b.count
	}
	return 1000 * least
}
