package web

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// Metrics counts what the gate does. Its methods fit the hooks of package proxy: they may be called
// from many goroutines and do not wait. docs/metrics.md lists all metrics.
type Metrics struct {
	registry *prometheus.Registry
	state    *stateCollector

	connections *prometheus.CounterVec
	decisions   *decisions
	messages    *prometheus.CounterVec
	size        prometheus.Histogram
	taking      prometheus.Histogram
	relaying    prometheus.Histogram
	reloads     *prometheus.CounterVec
	policyd     struct{ connections, requests, answers *prometheus.CounterVec }
	policy      policyMetrics
	asking      askingMetrics
}

// Build says what program this is.
type Build struct{ Version, Commit, GoVersion string }

// NewMetrics makes the metrics of one gate, in a registry of their own. The error is a fault of
// this package: two metrics that exclude each other.
func NewMetrics(build Build, sources Sources) (*Metrics, error) {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		state:    newStateCollector(build, sources),
		connections: counter("connections_total",
			"Client connections and what happened to them.", "event"),
		messages: counter("messages_total", "Messages that came to DATA, by what became of them.",
			"outcome"),
		size: histogram("message_size_bytes", "Size of messages.",
			prometheus.ExponentialBuckets(1024, 4, 9)), // 1 KiB to 64 MiB
		taking: histogram("message_duration_seconds", "Time from MAIL to the answer to the message.",
			prometheus.ExponentialBuckets(1e-3, 4, 10)), // 1 ms to 262 s
		relaying: histogram("relay_answer_duration_seconds",
			"Time that the relay took to answer a whole message.",
			prometheus.ExponentialBuckets(1e-3, 4, 9)), // 1 ms to 65 s
		reloads: counter("config_reloads_total", "Reloads of the configuration.", "result"),
		policy:  newPolicyMetrics(),
		asking:  newAskingMetrics(),
	}
	m.decisions = newDecisions(&m.policy)
	m.policyd.connections = counter("policyd_connections_total",
		"Connections of Postfix to the policy delegation server, and what happened to them.", "event")
	m.policyd.requests = counter("policyd_requests_total",
		"Requests of Postfix, by what they were about.", "kind")
	m.policyd.answers = counter("policyd_answers_total",
		"Recipients that Postfix asked about, by what it was told.", "answer")
	m.zero()
	all := append(m.policy.collectors(), m.asking.collectors()...)
	all = append(all, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.state, m.connections,
		m.decisions, m.messages, m.size, m.taking, m.relaying, m.reloads,
		m.policyd.connections, m.policyd.requests, m.policyd.answers)
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

const namespace = "rcptgate"

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(
		prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	})
}

// zero makes the series whose absence would be mistaken for a fault of the scrape: an alert on the
// rate of something that never happened must see 0.
func (m *Metrics) zero() {
	for _, event := range []string{
		"accepted", "closed", "not_allowed", "too_many", "too_many_client", "tls", "tls_failed",
		"proxy_header", "panic",
	} {
		m.connections.WithLabelValues(event)
	}
	for _, outcome := range []string{
		"passed", "refused", "deferred", "relay_failed", "unknown", "client_lost", "bad_content",
		"too_big", "check_refused", "check_deferred",
	} {
		m.messages.WithLabelValues(outcome)
	}
	for _, result := range []string{"taken", "refused"} {
		m.reloads.WithLabelValues(result)
	}
	for _, event := range []string{
		"accepted", "closed", "not_allowed", "too_many", "timeout", "panic",
	} {
		m.policyd.connections.WithLabelValues(event)
	}
	for _, kind := range []string{"rcpt", "data", "end_of_message", "other", "malformed"} {
		m.policyd.requests.WithLabelValues(kind)
	}
}

// Connection counts an event of a client connection.
func (m *Metrics) Connection(event string) { m.connections.WithLabelValues(event).Inc() }

// answerer is whose answer a client got to RCPT.
type answerer uint8

const (
	byGate answerer = iota
	byRelay
	noAnswerer // it was not asked by SMTP
)

var answerers = [...]string{byGate: "gate", byRelay: "relay"}

// classes are the classes of replies, by the first digit of the code where there is one.
var classes = [...]string{0: "none", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

// Where a verdict came from.
const (
	fromRules  = iota // no verdict was needed, or there was nobody to ask
	fromMemory        // what was asked earlier
	fromDNS           // that alone said it
	fromAsking        // a mail server, whether it answered or not
)

var sourceNames = [...]string{
	fromRules: "rules", fromMemory: "memory", fromDNS: "dns", fromAsking: "asked",
}

// Recipient counts a decision and the reply that the client got.
func (m *Metrics) Recipient(d *policy.Decision, relayed bool, reply esmtp.Reply) {
	by := byGate
	if relayed {
		by = byRelay
	}
	class := reply.Code / 100
	if class < 0 || class >= len(classes) {
		class = 0
	}
	m.decided(d, by, class)
}

// decided counts a decision by whatever door it was asked for.
func (m *Metrics) decided(d *policy.Decision, by answerer, class int) {
	m.decisions.count(d, by, class)
	if d.Hold != nil || d.Override != nil {
		m.policy.gates(d)
	}
}

// sourceOf tells where a verdict came from; r may be nil.
func sourceOf(r *verify.Result) int {
	switch {
	case r == nil:
		return fromRules
	case r.Cached:
		return fromMemory
	case r.Stage != "":
		return fromAsking
	}
	switch r.Reason { //nolint:exhaustive // those that DNS alone gives
	case verify.NullMX, verify.DomainUnknown, verify.NoMailHost, verify.DNSFailure:
		return fromDNS
	case verify.Timeout, verify.BudgetSpent, verify.Unreachable:
		return fromAsking
	}
	return fromRules
}

// Message counts a message that came to DATA: its octets, the time since MAIL, and the time that
// the relay took to answer it, 0 if it was not asked.
func (m *Metrics) Message(outcome string, octets int64, total, relay time.Duration) {
	m.messages.WithLabelValues(outcome).Inc()
	m.size.Observe(float64(octets))
	m.taking.Observe(total.Seconds())
	if relay > 0 {
		m.relaying.Observe(relay.Seconds())
	}
}

// PolicydConnection counts what happens to connections of the policy delegation server.
func (m *Metrics) PolicydConnection(event string) { m.policyd.connections.WithLabelValues(event).Inc() }

// PolicydRequest counts a request.
func (m *Metrics) PolicydRequest(kind string) { m.policyd.requests.WithLabelValues(kind).Inc() }

// PolicydRecipient counts a decision and what Postfix was told.
func (m *Metrics) PolicydRecipient(d *policy.Decision, answer string) {
	m.policyd.answers.WithLabelValues(answer).Inc()
	m.decided(d, noAnswerer, 0)
}

// Reload counts a reload and whether it was taken over.
func (m *Metrics) Reload(taken bool) {
	result := "refused"
	if taken {
		result = "taken"
	}
	m.reloads.WithLabelValues(result).Inc()
}

func (m *Metrics) watchReady(ready func() []Check) { m.state.ready = ready }

func (m *Metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, Timeout: requestTime / 2,
	})
}

// errorLog is where promhttp tells of metrics that do not fit together.
type errorLog struct{ log *slog.Logger }

// Println logs what promhttp says.
func (l errorLog) Println(v ...any) { l.log.Error("metrics", "error", v) }
