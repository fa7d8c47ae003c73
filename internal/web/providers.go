package web

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// The states of a provider.
const (
	ProviderOK     = "ok"
	ProviderSlowed = "slowed" // it said that it wants less of us
	ProviderPaused = "paused" // it is not asked before a time
)

// Provider is one mail provider, or all mail servers that belong to none: "other".
type Provider struct {
	Name  string `json:"name"`
	Title string `json:"title"`

	// Since the start: questions to its mail servers, those that it refused for our or the sender's
	// sake, and recipients by their verdict, whether it was asked for or known. Risky ones are
	// deliverable here.
	Probes        uint64 `json:"probes"`
	Deliverable   uint64 `json:"deliverable"`
	Undeliverable uint64 `json:"undeliverable"`
	Unknown       uint64 `json:"unknown"`
	Blocked       uint64 `json:"blocked"`

	Trust string `json:"trust"` // what its answers are worth, in words
	State string `json:"state"`
	// PausedUntil is when it is asked again; Why and Hint say why it is not ok, and what to do.
	PausedUntil time.Time `json:"paused_until,omitzero"`
	Why         string    `json:"why,omitempty"`
	Hint        string    `json:"hint,omitempty"`

	Connections int    `json:"connections"` // open now
	Limit       string `json:"limit"`       // what it gets of us at most, in words
}

// Providers are those with traffic since the start first, the most asked first, then the others.
type Providers struct {
	Providers []Provider `json:"providers"`
}

func (c *call) providers() error {
	if c.parts.Providers == nil || c.parts.Metrics == nil {
		return missing("gate that runs", "start it: systemctl start rcptgate")
	}
	list := c.parts.Providers()
	sums := c.parts.Metrics.totals()
	for i := range list {
		p := &list[i]
		if n := sums.providers[p.Name]; n != nil {
			p.Probes, p.Blocked = uint64(n.probes), uint64(n.blocked)
			p.Deliverable, p.Undeliverable = uint64(n.deliverable), uint64(n.undeliverable)
			p.Unknown = uint64(n.unknown)
		}
	}
	slices.SortFunc(list, func(a, b Provider) int {
		return cmp.Or(cmp.Compare(b.Probes, a.Probes), cmp.Compare(b.decided(), a.decided()),
			strings.Compare(a.Name, b.Name))
	})
	return c.reply(Providers{Providers: list})
}

// decided are the recipients that were decided.
func (p *Provider) decided() uint64 { return p.Deliverable + p.Undeliverable + p.Unknown }

// Configuration is the one in use.
type Configuration struct {
	File   string    `json:"file"`
	Loaded time.Time `json:"loaded"`
	// TOML is all of it, without secrets, as `rcptgate config show` prints it.
	TOML    string   `json:"toml"`
	Changed []string `json:"changed"` // the keys that are not as by default
}

func (c *call) config() error {
	if c.parts.Config == nil {
		return missing("gate that runs", "start it: systemctl start rcptgate")
	}
	answer := c.parts.Config()
	if answer.Changed == nil {
		answer.Changed = []string{}
	}
	return c.reply(answer)
}
