package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are asked at each scrape for what is so at that moment. They must not wait. A nil one
// leaves its metrics out.
type Sources struct {
	Connections func() int // open client connections
	// Commands calls fn with each count of commands since the start, by name and class of the reply.
	Commands  func(fn func(command, class string, n uint64))
	Upstreams func() []Upstream // of the relay
	Breaker   func() bool       // probing is off
	Verifier  func() Verifier   // what it holds
	Pauses    func() []Pause    // who is not asked now
	// Own is what is wrong with the addresses that probes leave from; false: nobody looks.
	Own func() (Own, bool)
	// RelayLog is how the relay's log is read; false: none is.
	RelayLog func() (RelayLog, bool)
	// Store is the cache on disk; false: there is none.
	Store func() (Store, bool)
	// Kept is what the policy keeps; false: nothing.
	Kept func() (Kept, bool)
	// RuleFailures counts the conditions that broke at run time, by rule, since the last reload.
	RuleFailures func() map[string]uint64
	// Config tells whether the last reload was taken over, and when one last was.
	Config func() (bool, time.Time)
	// Certificate is the end of the one in use, if there is one.
	Certificate func() (time.Time, bool)
}

// Upstream is the state of one server of the relay.
type Upstream struct {
	Address    string
	Up         bool
	Open, Idle int // sessions; Open has the idle ones in it
}

// Verifier is what the verifier holds.
type Verifier struct {
	Flights int            // recipients that are being asked about
	Memory  map[string]int // entries by verdict

	Domains   int // whose behaviour is known
	Histories int // addresses that mail was seen to arrive at
	Incidents int // providers whose refusals are not believed
	Scheduled int // greylisted recipients that are asked about again

	// StoreLookups are what memory lacked and was looked for on disk, by whether it was there; nil:
	// there is no disk.
	StoreLookups map[string]uint64

	Tests      uint64            // invented recipients asked for
	Deliveries map[string]uint64 // by what the relay's log said of them
	Checks     map[string]uint64 // deliveries held against verdicts, by the result
}

// Pause counts mail servers that are not asked now.
type Pause struct {
	Provider, Reason string // of closed sets
	Count            int
}

// Own is the health of the addresses that probes leave from.
type Own struct {
	Checked  time.Time // zero: not yet
	Findings map[Finding]int
}

// Finding is what findings are counted by; both of closed sets.
type Finding struct{ Kind, Severity string }

// RelayLog is how the relay's log is read.
type RelayLog struct {
	Readable bool
	Lines    uint64
}

// Store is the cache on disk.
type Store struct {
	OK      bool
	Octets  int64
	Dropped int64            // entries that could not be taken
	Entries map[string]int64 // by bucket
}

// stateCollector turns Sources into gauges.
type stateCollector struct {
	sources Sources
	ready   func() []Check
	build   prometheus.Gauge

	connections, commands, up, sessions, breaker, flights, memory, ruleFailures *prometheus.Desc
	reloaded, reloadTime, certificate, isReady                                  *prometheus.Desc
	learned                                                                     learnedDescs
	kept                                                                        keptDescs
}

func newStateCollector(build Build, sources Sources) *stateCollector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "What program this is; always 1.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "commit": build.Commit, "goversion": build.GoVersion,
		},
	})
	info.Set(1)
	return &stateCollector{
		sources: sources, build: info,
		connections: desc("open_connections", "Open client connections."),
		commands: desc("commands_total",
			"SMTP commands of clients, by the class of the reply.", "command", "code"),
		up:           desc("relay_up", "1 if the upstream answers, as far as known.", "upstream"),
		sessions:     desc("relay_sessions", "Open sessions to the upstream.", "upstream", "state"),
		breaker:      desc("probing_off", "1 while no mail server at all can be reached."),
		flights:      desc("questions", "Recipients that are being asked about."),
		memory:       desc("remembered_recipients", "Recipients in memory.", "verdict"),
		ruleFailures: desc("rule_failures_total", "Conditions that broke at run time.", "rule"),
		reloaded: desc("config_last_reload_successful",
			"1 if the configuration in use is the last one that was asked for."),
		reloadTime: desc("config_last_reload_success_timestamp_seconds",
			"When the configuration in use was read."),
		certificate: desc("tls_certificate_not_after_timestamp_seconds",
			"The end of the certificate in use."),
		isReady: desc("ready", "1 if /readyz answers 200."),
		learned: newLearnedDescs(), kept: newKeptDescs(),
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// Describe lists the metrics.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build.Desc(), c.connections, c.commands, c.up, c.sessions, c.breaker, c.flights, c.memory, c.ruleFailures,
		c.reloaded, c.reloadTime, c.certificate, c.isReady,
	} {
		ch <- d
	}
	for _, d := range c.learned {
		ch <- d
	}
	for _, d := range c.kept {
		ch <- d
	}
}

// Collect asks the sources.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- constant(d, prometheus.GaugeValue, value, labels...)
	}
	s := c.sources
	ch <- c.build
	if s.Connections != nil {
		gauge(c.connections, float64(s.Connections()))
	}
	if s.Breaker != nil {
		gauge(c.breaker, number(s.Breaker()))
	}
	if s.Config != nil {
		taken, at := s.Config()
		gauge(c.reloaded, number(taken))
		gauge(c.reloadTime, float64(at.UnixMilli())/1000)
	}
	if s.Certificate != nil {
		if end, ok := s.Certificate(); ok {
			gauge(c.certificate, float64(end.Unix()))
		}
	}
	if c.ready != nil {
		gauge(c.isReady, number(worst(c.ready()) != Failed))
	}
	c.collectParts(ch, gauge)
}

// collectParts is the part of Collect with labels.
func (c *stateCollector) collectParts(
	ch chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string),
) {
	s := c.sources
	if s.Commands != nil {
		s.Commands(func(command, class string, n uint64) {
			ch <- constant(c.commands, prometheus.CounterValue, float64(n), command, class)
		})
	}
	if s.Upstreams != nil {
		for _, u := range s.Upstreams() {
			gauge(c.up, number(u.Up), u.Address)
			gauge(c.sessions, float64(u.Open-u.Idle), u.Address, "busy")
			gauge(c.sessions, float64(u.Idle), u.Address, "idle")
		}
	}
	if s.Verifier != nil {
		held := s.Verifier()
		gauge(c.flights, float64(held.Flights))
		for verdict, n := range held.Memory {
			gauge(c.memory, float64(n), verdict)
		}
		c.learned.verifier(ch, held)
	}
	c.learned.collect(ch, s)
	if s.Kept != nil {
		if kept, ok := s.Kept(); ok {
			c.kept.collect(ch, kept)
		}
	}
	if s.RuleFailures != nil {
		for rule, n := range s.RuleFailures() {
			ch <- constant(c.ruleFailures, prometheus.CounterValue, float64(n), rule)
		}
	}
}

// constant is a metric of this one scrape; a label that cannot be shown fails the scrape only.
func constant(
	d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string,
) prometheus.Metric {
	metric, err := prometheus.NewConstMetric(d, kind, value, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, err)
	}
	return metric
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
