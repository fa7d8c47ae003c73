package web

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// Kept is what the policy keeps, at one moment.
type Kept struct {
	Senders int                   // keys that are known: logins, senders, their domains, clients
	States  map[senders.State]int // senders by what list hygiene says of them

	Suppressions map[register.Reason]int
	Suppressed   map[register.Reason]uint64 // recipients, since the start
	Overrides    map[register.OverrideKind]int
	Saved        bool // suppressions and overrides are on the disk

	Journal journal.Stats
}

// The metrics of Kept.
const (
	keptSenders = iota
	keptStates
	keptSuppressions
	keptSuppressed
	keptOverrides
	keptSaved
	journalEntries
	journalLost
	journalUnsaved
	journalOctets
	journalLines
	webhookRefusals
	webhookRetries
	webhookWaiting
	keptCount
)

type keptDescs [keptCount]*prometheus.Desc

func newKeptDescs() keptDescs {
	return keptDescs{
		keptSenders: desc("sender_keys", "Logins, senders, sender domains and clients that are counted."),
		keptStates:  desc("senders", "Senders by what list hygiene says of them.", "state"),
		keptSuppressions: desc("suppressions", "Entries of the suppression list.",
			"reason"),
		keptSuppressed: desc("suppression_hits_total", "Recipients found on the suppression list.",
			"reason"),
		keptOverrides: desc("overrides", "Overrides in force.", "kind"),
		keptSaved: desc("suppressions_saved",
			"1 if all suppressions and overrides are on the disk."),
		journalEntries: desc("journal_entries_total", "Decisions and messages that the journal took."),
		journalLost: desc("journal_lost_entries_total",
			"Decisions and messages that the journal had no room for."),
		journalUnsaved: desc("journal_unsaved_entries_total",
			"Lines that the journal's file could not take."),
		journalOctets: desc("journal_memory_bytes", "Memory that the journal's entries take."),
		journalLines:  desc("journal_memory_entries", "Entries of the journal in memory."),
		webhookRefusals: desc("webhook_refusals_total",
			"Refusals for the webhook, by what became of them.", "result"),
		webhookRetries: desc("webhook_retries_total",
			"Attempts of the webhook that failed and were followed by another."),
		webhookWaiting: desc("webhook_waiting", "Refusals that wait for the webhook."),
	}
}

func (d *keptDescs) collect(ch chan<- prometheus.Metric, k Kept) {
	gauge := func(name int, value float64, labels ...string) {
		ch <- constant(d[name], prometheus.GaugeValue, value, labels...)
	}
	count := func(name int, value uint64, labels ...string) {
		ch <- constant(d[name], prometheus.CounterValue, float64(value), labels...)
	}
	gauge(keptSenders, float64(k.Senders))
	for state, n := range k.States {
		gauge(keptStates, float64(n), string(state))
	}
	for reason, n := range k.Suppressions {
		gauge(keptSuppressions, float64(n), string(reason))
	}
	for reason, n := range k.Suppressed {
		count(keptSuppressed, n, string(reason))
	}
	for _, kind := range []register.OverrideKind{
		register.AllowAddress, register.AllowDomain, register.AllowProvider,
	} {
		gauge(keptOverrides, float64(k.Overrides[kind]), string(kind))
	}
	gauge(keptSaved, number(k.Saved))
	count(journalEntries, k.Journal.Entries)
	count(journalLost, k.Journal.Lost)
	count(journalUnsaved, k.Journal.Unsaved)
	gauge(journalOctets, float64(k.Journal.Octets))
	gauge(journalLines, float64(k.Journal.Lines))
	hook := k.Journal.Webhook
	count(webhookRefusals, hook.Sent, "sent")
	count(webhookRefusals, hook.GivenUp, "given_up")
	count(webhookRefusals, hook.Lost, "lost")
	count(webhookRetries, hook.Retried)
	gauge(webhookWaiting, float64(hook.Waiting))
}
