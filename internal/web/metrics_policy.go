package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// The most label values of names that a configuration chooses, since the start. What comes then is
// counted as "other".
const (
	mostRules     = 1200 // a configuration has 1,000 at most, besides the built-in ones
	mostHolds     = 200  // a configuration has 64 limits at most
	mostProviders = 1000 // pairs with a verdict; there are 200 profiles at most
	mostAsked     = 2000 // pairs of a provider and a result
)

// other stands for label values beyond the most, and for mail servers that no profile knows.
const other = "other"

type (
	verdictLabels  struct{ verdict, reason string }
	ruleLabels     struct{ action, rule string }
	holdLabels     struct{ kind, name string }
	providerLabels struct{ provider, verdict string }
	askedLabels    struct{ provider, result string }
)

// policyMetrics are those of decisions by whatever door they were asked for, and of messages.
type policyMetrics struct {
	verdicts   *counters[verdictLabels]
	rules      *counters[ruleLabels]
	holds      *counters[holdLabels]
	providers  *counters[providerLabels]
	overridden *prometheus.CounterVec
	changes    *prometheus.CounterVec
	checked    *prometheus.CounterVec
	findings   *prometheus.CounterVec
	checking   prometheus.Histogram
}

func newPolicyMetrics() policyMetrics {
	m := policyMetrics{
		verdicts: newCounters(counter("verdicts_total",
			"Recipients by what was known of them when they were decided.", "verdict", "reason"), 0,
			func(l verdictLabels) []string { return []string{l.verdict, l.reason} }, nil),
		rules: newCounters(counter("decisions_total",
			"Recipients by what was decided, and the rule that did.", "action", "rule"), mostRules,
			func(l ruleLabels) []string { return []string{l.action, l.rule} },
			func(l ruleLabels) ruleLabels { return ruleLabels{l.action, other} }),
		holds: newCounters(counter("held_recipients_total",
			"Recipients that waited because of their sender, by kind and name of the limit.",
			"kind", "name"), mostHolds,
			func(l holdLabels) []string { return []string{l.kind, l.name} },
			func(l holdLabels) holdLabels { return holdLabels{l.kind, other} }),
		providers: newCounters(counter("provider_verdicts_total",
			"Recipients by mail provider and what was known of them.", "provider", "verdict"),
			mostProviders,
			func(l providerLabels) []string { return []string{l.provider, l.verdict} },
			func(l providerLabels) providerLabels { return providerLabels{other, l.verdict} }),
		overridden: counter("overridden_recipients_total",
			"Recipients that an override of the administrator is about.", "kind"),
		changes: counter("sender_changes_total",
			"Changes of the state that list hygiene keeps of senders, by the new state.", "to"),
		checked: counter("checked_messages_total",
			"Messages whose content was checked, by what the checks decided.", "action"),
		findings: counter("message_findings_total", "What the checks of messages found.",
			"check", "level", "result"),
		checking: histogram("message_check_duration_seconds",
			"Time from the first octet of a message to the result of its checks.",
			prometheus.ExponentialBuckets(1e-3, 4, 9)), // 1 ms to 65 s
	}
	for _, action := range []string{"pass", "defer", "reject"} {
		m.checked.WithLabelValues(action)
	}
	for _, state := range []senders.State{
		senders.StateOK, senders.StateWarn, senders.StateThrottle, senders.StateHold,
	} {
		m.changes.WithLabelValues(string(state))
	}
	return m
}

// collectors are those that decisions does not collect.
func (m *policyMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.holds.vec, m.overridden, m.changes, m.checked, m.findings, m.checking,
	}
}

// gates counts what stood before the rules.
func (m *policyMetrics) gates(d *policy.Decision) {
	if d.Hold != nil {
		m.holds.of(holdLabels{d.Hold.Kind.String(), d.Hold.Name}).Inc()
	}
	if d.Override != nil {
		m.overridden.WithLabelValues(string(d.Override.Kind)).Inc()
	}
}

// SenderChanged counts a change of a sender's state.
func (m *Metrics) SenderChanged(to senders.State) {
	m.policy.changes.WithLabelValues(string(to)).Inc()
}

// Checked counts a message whose content was checked: what the checks decided ("pass", "defer" or
// "reject"), and how long they took.
func (m *Metrics) Checked(action string, elapsed time.Duration) {
	m.policy.checked.WithLabelValues(action).Inc()
	m.policy.checking.Observe(elapsed.Seconds())
}

// Found counts what a check found in a message; unknown: the DNS did not tell.
func (m *Metrics) Found(check, level string, unknown bool) {
	result := "found"
	if unknown {
		result = "unknown"
	}
	m.policy.findings.WithLabelValues(check, level, result).Inc()
}
