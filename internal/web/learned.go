package web

import "github.com/prometheus/client_golang/prometheus"

// The metrics of what the gate has learned, and of what it learns from.
const (
	ownFindings = iota
	ownChecked
	providerPauses
	deliveries
	verdictChecks
	greylistScheduled
	incidents
	knownDomains
	knownDeliveries
	invented
	storeLookups
	relayLogReadable
	relayLogLines
	cacheOK
	cacheOctets
	cacheEntries
	cacheDropped
	learnedCount
)

type learnedDescs [learnedCount]*prometheus.Desc

func newLearnedDescs() learnedDescs {
	return learnedDescs{
		ownFindings: desc("own_address_findings",
			"What is wrong with the addresses that probes leave from.", "kind", "severity"),
		ownChecked: desc("own_address_last_check_timestamp_seconds",
			"When DNS was last asked about the addresses that probes leave from."),
		providerPauses: desc("provider_pauses",
			"Groups of mail servers that are not asked for a while, by what they said.",
			"provider", "reason"),
		deliveries: desc("deliveries_total", "Deliveries in the relay's log, by what became of them.",
			"event"),
		verdictChecks: desc("verdict_checks_total",
			"Deliveries held against the verdicts that let them pass.", "result"),
		greylistScheduled: desc("greylist_scheduled",
			"Greylisted recipients that are asked about again."),
		incidents: desc("provider_incidents",
			"Providers whose refusals are not believed for now, because there are too many."),
		knownDomains: desc("remembered_domains", "Domains whose behaviour is known."),
		knownDeliveries: desc("remembered_deliveries",
			"Addresses that mail was seen to arrive at."),
		invented: desc("catch_all_tests_total",
			"Invented recipients that were asked for, to see whether a domain accepts all."),
		storeLookups: desc("cache_file_lookups_total",
			"Recipients that memory lacked and were looked for in the cache on disk.", "result"),
		relayLogReadable: desc("relay_log_readable", "1 if the relay's log can be read."),
		relayLogLines:    desc("relay_log_lines_total", "Lines of the relay's log that were read."),
		cacheOK:          desc("cache_file_ok", "1 if the cache on disk is in use."),
		cacheOctets:      desc("cache_file_bytes", "Size of the cache on disk."),
		cacheEntries: desc("cache_entries",
			"Entries of the cache on disk, expired ones that were not swept yet included.", "bucket"),
		cacheDropped: desc("cache_dropped_entries_total",
			"Entries that the cache on disk had no room or no time for."),
	}
}

// verifier is for what the verifier knows.
func (d *learnedDescs) verifier(ch chan<- prometheus.Metric, v Verifier) {
	for name, value := range map[int]int{
		knownDomains: v.Domains, knownDeliveries: v.Histories, incidents: v.Incidents,
		greylistScheduled: v.Scheduled,
	} {
		ch <- constant(d[name], prometheus.GaugeValue, float64(value))
	}
	ch <- constant(d[invented], prometheus.CounterValue, float64(v.Tests))
	for result, n := range v.StoreLookups {
		ch <- constant(d[storeLookups], prometheus.CounterValue, float64(n), result)
	}
	for event, n := range v.Deliveries {
		ch <- constant(d[deliveries], prometheus.CounterValue, float64(n), event)
	}
	for result, n := range v.Checks {
		ch <- constant(d[verdictChecks], prometheus.CounterValue, float64(n), result)
	}
}

// collect is for what stands beside the verifier.
func (d *learnedDescs) collect(ch chan<- prometheus.Metric, s Sources) {
	gauge := func(name int, value float64, labels ...string) {
		ch <- constant(d[name], prometheus.GaugeValue, value, labels...)
	}
	if s.Pauses != nil {
		for _, p := range s.Pauses() {
			gauge(providerPauses, float64(p.Count), p.Provider, p.Reason)
		}
	}
	if s.Own != nil {
		d.own(s, gauge)
	}
	if s.RelayLog != nil {
		if log, ok := s.RelayLog(); ok {
			gauge(relayLogReadable, number(log.Readable))
			ch <- constant(d[relayLogLines], prometheus.CounterValue, float64(log.Lines))
		}
	}
	if s.Store == nil {
		return
	}
	if store, ok := s.Store(); ok {
		gauge(cacheOK, number(store.OK))
		gauge(cacheOctets, float64(store.Octets))
		for bucket, n := range store.Entries {
			gauge(cacheEntries, float64(n), bucket)
		}
		ch <- constant(d[cacheDropped], prometheus.CounterValue, float64(store.Dropped))
	}
}

func (d *learnedDescs) own(s Sources, gauge func(int, float64, ...string)) {
	own, ok := s.Own()
	if !ok {
		return
	}
	for f, n := range own.Findings {
		gauge(ownFindings, float64(n), f.Kind, f.Severity)
	}
	if !own.Checked.IsZero() {
		gauge(ownChecked, float64(own.Checked.Unix()))
	}
}
