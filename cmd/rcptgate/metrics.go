package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/health"
)

// sources are for the metrics. They are asked only after build.
func (s *service) sources() web.Sources {
	return web.Sources{
		Connections: func() int { return s.gate.server.Open() },
		Commands:    func(fn func(command, class string, n uint64)) { s.gate.server.Commands(fn) },
		Upstreams:   func() []web.Upstream { return upstreams(s.gate.parts()) },
		Breaker: func() bool {
			open, _, _ := s.gate.parts().verification.verifier.Breaker()
			return open
		},
		Verifier: func() web.Verifier {
			return verifierState(s.gate.parts().verification.verifier, s.gate.store != nil)
		},
		Pauses:       func() []web.Pause { return pauses(s.gate.parts().verification) },
		Own:          func() (web.Own, bool) { return ownState(s.gate.own.report()) },
		RelayLog:     s.relayLog,
		Store:        func() (web.Store, bool) { return storeState(s.gate.store) },
		Kept:         func() (web.Kept, bool) { return keptState(s.gate.kept) },
		RuleFailures: func() map[string]uint64 { return s.gate.parts().engine.Faults() },
		Config: func() (bool, time.Time) {
			_, since, faults := s.health.configuration()
			return faults == "", since
		},
		Certificate: s.certs.end,
	}
}

// upstreams is the state of the relay for the metrics.
func upstreams(parts *gateParts) []web.Upstream {
	var list []web.Upstream
	for _, u := range parts.relay.Status() {
		list = append(list, web.Upstream{Address: u.Address, Up: u.Up, Open: u.Open, Idle: u.Idle})
	}
	return list
}

func verifierState(v *verify.Verifier, stored bool) web.Verifier {
	held := v.Stats()
	state := web.Verifier{
		Flights: held.Flights,
		Memory: map[string]int{
			"deliverable": held.Deliverable, "undeliverable": held.Undeliverable, "unknown": held.Unknown,
		},
		Domains: held.Domains, Histories: held.Histories, Incidents: held.Incidents,
		Scheduled: v.Scheduled(), Tests: held.Tests,
		Deliveries: map[string]uint64{
			"delivered": held.Delivered, "deferred": held.Deferred, "bounced": held.Bounced,
			"ignored": held.Ignored,
		},
		Checks: map[string]uint64{
			"agreed": held.Agreed, "deliverable_bounced": held.DeliverableBounced,
			"refused_arrived": held.RefusedArrived,
		},
	}
	if stored {
		state.StoreLookups = map[string]uint64{"hit": held.StoreHits, "miss": held.StoreMisses}
	}
	return state
}

// pauses counts who is not asked now.
func pauses(v *verification) []web.Pause {
	count := make(map[web.Pause]int)
	for _, p := range v.verifier.Pauses() {
		count[web.Pause{
			Provider: providerOf(v.settings.Providers, p.Group), Reason: string(p.Reason),
		}]++
	}
	list := make([]web.Pause, 0, len(count))
	for p, n := range count {
		p.Count = n
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b web.Pause) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Reason, b.Reason))
	})
	return list
}

func ownState(findings []health.Finding, last time.Time, ok bool) (web.Own, bool) {
	own := web.Own{Checked: last, Findings: make(map[web.Finding]int)}
	for _, f := range findings {
		own.Findings[web.Finding{Kind: string(f.Kind), Severity: string(f.Severity)}]++
	}
	return own, ok
}

func (s *service) relayLog() (web.RelayLog, bool) {
	status, ok := s.gate.learning.status()
	return web.RelayLog{Readable: status.Fault == "", Lines: status.Lines}, ok
}

func storeState(store *cache.Store) (web.Store, bool) {
	if store == nil {
		return web.Store{}, false
	}
	stats := store.Stats()
	state := web.Store{Octets: stats.Size, Dropped: stats.Dropped, Entries: make(map[string]int64)}
	state.OK, _ = store.Status()
	for _, b := range cache.Buckets() {
		state.Entries[b.String()] = stats.Entries[b]
	}
	return state, true
}

// keptState is what the policy keeps.
func keptState(k *kept) (web.Kept, bool) {
	if k == nil {
		return web.Kept{}, false
	}
	state := web.Kept{
		Senders: k.senders.Len(), States: k.senders.States(), Suppressions: k.register.Counts(),
		Suppressed: k.register.Hits(), Overrides: make(map[register.OverrideKind]int),
		Journal: k.journal.Stats(),
	}
	for _, o := range k.register.Overrides() {
		state.Overrides[o.Kind]++
	}
	state.Saved, _ = k.register.Status()
	return state, true
}

// countChecks counts what the checks of a message found; r may be nil.
func countChecks(m *web.Metrics, r *message.Report) {
	if r == nil || r.Elapsed == 0 {
		return // there were no checks
	}
	m.Checked(r.Action.String(), r.Elapsed)
	for _, f := range r.Findings {
		m.Found(string(f.Check), f.Level.String(), f.Unknown)
	}
}
