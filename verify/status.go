package verify

import (
	"net/netip"
	"slices"
)

// Egress lists the addresses that probes leave from, as far as they are known: those of
// Config.Sources or, where it has none, the public ones that connections were seen to leave from.
func (v *Verifier) Egress() []netip.Addr {
	if configured := v.settings.Load().cfg.Sources; len(configured) > 0 {
		return slices.Clone(configured)
	}
	return v.senders.egress(nil)
}

// Connections counts the open connections to mail servers by the group of the latter: a provider, or
// the site of mail servers.
func (v *Verifier) Connections() map[string]int {
	pool := v.settings.Load().pool
	if pool == nil {
		return nil
	}
	return pool.Connections()
}

// Slowed lists the groups of mail servers that said that they want less of us and get less for now,
// with the part of their usual rate that they get, above 0 and below 1. Those that are paused are not
// among them: see [Verifier.Pauses].
func (v *Verifier) Slowed() map[string]float64 {
	s := v.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	slowed := make(map[string]float64)
	for key, f := range s.groups {
		if !f.open && f.pace < 1 {
			slowed[key] = f.pace
		}
	}
	return slowed
}
