package main

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"strings"
	"syscall"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// relayStates is the relay for the API.
func relayStates(parts *gateParts) []web.RelayState {
	var list []web.RelayState
	for _, u := range parts.relay.Status() {
		state := "up"
		if !u.Up {
			state = "down"
		}
		list = append(list, web.RelayState{
			Address: u.Address, State: state, Sessions: u.Open, Idle: u.Idle, Since: u.Since,
			Error: escaped(u.LastError),
		})
	}
	return list
}

// ownAnswer is what is known of the addresses that probes leave from.
func (s *service) ownAnswer() web.OwnState {
	var own web.OwnState
	for _, addr := range s.gate.egress() {
		own.Addresses = append(own.Addresses, addr.String())
	}
	findings, last, _ := s.gate.own.report()
	own.Checked = last
	for _, f := range findings {
		own.Findings = append(own.Findings, web.OwnFinding{
			Kind: string(f.Kind), Severity: string(f.Severity), Subject: f.Subject, What: f.What,
			Fix: f.Fix, Since: f.Since,
		})
	}
	return own
}

// fileLimit counts open files where the system tells them (Linux).
func fileLimit() web.FileLimit {
	var files web.FileLimit
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		files.Limit = uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return files
	}
	defer func() { _ = dir.Close() }() // only read
	if names, err := dir.Readdirnames(-1); err == nil {
		files.Open = len(names) - 1 // without dir
	}
	return files
}

// configuration is the one in use, for the API.
func (s *service) configuration() web.Configuration {
	cfg, since, _ := s.health.configuration()
	return web.Configuration{
		File: cfg.Name(), Loaded: since, TOML: newShown(cfg).toml(), Changed: changedKeys(cfg),
	}
}

// changedKeys are those whose values are not the defaults.
func changedKeys(cfg *config.Config) []string {
	standard := make(map[string]any)
	newShown(config.Default()).root.walk(func(path string, v shownValue) { standard[path] = v.value })
	var keys []string
	newShown(cfg).root.walk(func(path string, v shownValue) {
		usual, known := standard[path]
		if cfg.IsSet(path) && (!known || !reflect.DeepEqual(v.value, usual)) {
			keys = append(keys, path)
		}
	})
	return keys
}

// providerStates lists the providers that have a profile, and all other sites as one.
func providerStates(v *verification) []web.Provider {
	table := v.settings.Providers
	rows := make(map[string]*web.Provider)
	for _, name := range append(table.Names(), otherSites) {
		if name == provider.Generic {
			continue
		}
		p, ok := table.Get(name)
		if !ok {
			p, _ = table.Get(provider.Generic)
		}
		row := &web.Provider{
			Name: name, Title: p.Title, Trust: trust(p), Limit: limitWords(p), State: web.ProviderOK,
		}
		if name == otherSites {
			row.Title = "all other mail servers"
			row.Limit = "each site: " + row.Limit
		}
		rows[name] = row
	}
	for group, n := range v.verifier.Connections() {
		rows[providerOf(table, group)].Connections += n
	}
	slow(rows, v)
	pauseRows(rows, v)
	list := make([]web.Provider, 0, len(rows))
	for _, row := range rows {
		list = append(list, *row)
	}
	return list
}

// slow tells who gets less of us because it said so.
func slow(rows map[string]*web.Provider, v *verification) {
	sites := 0
	for group, part := range v.verifier.Slowed() {
		name := providerOf(v.settings.Providers, group)
		if name == otherSites {
			sites++
			continue
		}
		row := rows[name]
		row.State = web.ProviderSlowed
		row.Why = fmt.Sprintf("it wanted less of us, and gets %.0f %% of the usual rate", 100*part)
		row.Hint = "nothing to do: the rate comes back by itself with each answer"
	}
	if sites > 0 {
		row := rows[otherSites]
		row.State = web.ProviderSlowed
		row.Why = counted(sites, "site", "sites") + " wanted less of us"
		row.Hint = "nothing to do: the rate comes back by itself with each answer"
	}
}

// pauseRows tells who is not asked for a while. Sites of nobody in particular are only counted, and
// until when is that of the last of them.
func pauseRows(rows map[string]*web.Provider, v *verification) {
	sites := 0
	for _, p := range v.verifier.Pauses() {
		name := providerOf(v.settings.Providers, p.Group)
		row := rows[name]
		row.State = web.ProviderPaused
		if p.Until.After(row.PausedUntil) {
			row.PausedUntil = p.Until
		}
		row.Hint = pauseHint(p.Reason)
		if name == otherSites {
			sites++
			row.Why = counted(sites, "site does", "sites do") + " not want to be asked"
			continue
		}
		row.Why = escaped(saidBy(p))
	}
}

func pauseHint(reason verify.Reason) string {
	if reason == verify.BlockedIP {
		return "it refuses this host: check reverse DNS, the name in EHLO and block lists " +
			"(rcptgate doctor); its unknown recipients pass until then"
	}
	return "it wants less of us: it is asked again by itself, and its unknown recipients pass until then"
}

// trust says what a provider's answers to RCPT are worth.
func trust(p *provider.Profile) string {
	switch {
	case p.Passive:
		return "never asked: its answer would tell nothing; what is known comes from deliveries"
	case p.AcceptAll:
		return "accepts every recipient and refuses after the message: its answer says nothing"
	}
	words := []string{believed("a refusal", p.Refusal), believed("an acceptance", p.Acceptance)}
	if p.CatchAll == provider.CatchAllNever && len(p.Domains) == 0 {
		words = append(words, "never tested for domains that accept everything")
	}
	if p.Greylists {
		words = append(words, "often defers strangers at first")
	}
	return strings.Join(words, "; ")
}

func believed(what string, part float64) string {
	how := "means little"
	switch {
	case part >= 0.95:
		how = "can be believed"
	case part >= 0.8:
		how = "is mostly right"
	case part >= 0.5:
		how = "is often right"
	}
	return fmt.Sprintf("%s %s (%.0f %%)", what, how, 100*part)
}

// limitWords says what a provider gets of us at most.
func limitWords(p *provider.Profile) string {
	l := p.Limits
	return fmt.Sprintf("%s, %s a minute, %d at once",
		counted(l.Connections, "connection", "connections"),
		counted(l.PerMinute, "recipient", "recipients"), cmp.Or(l.Burst, 1))
}
