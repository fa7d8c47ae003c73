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
