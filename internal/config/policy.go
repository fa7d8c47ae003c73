package config

import (
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/proxy/policyd"
)

// preset is what policy.preset names.
func (c *Config) preset() (policy.PresetInfo, bool) {
	presets := policy.Presets()
	i := slices.IndexFunc(presets, func(p policy.PresetInfo) bool { return p.Name == c.Policy.Preset })
	if i < 0 {
		return policy.PresetInfo{}, false
	}
	return presets[i], true
}

// fillPreset sets what the preset says and the file leaves out.
func (c *Config) fillPreset() {
	preset, ok := c.preset()
	if !ok {
		return
	}
	if !c.IsSet("policy.hygiene.mode") {
		c.Policy.Hygiene.Mode = preset.Hygiene
	}
	if !c.IsSet("policy.suppression.learn") && preset.LearnBounces {
		c.Policy.Suppression.Learn = "bounces"
	}
}

// PolicyConfig is the configuration of the policy engine, without the parts that have a state.
func (c *Config) PolicyConfig() policy.Config {
	rules := make([]policy.Rule, len(c.Policy.Rules))
	for i, rule := range c.Policy.Rules {
		rules[i] = policy.Rule{
			Name: rule.Name, When: rule.When, Action: rule.Action, Mark: rule.Mark, Header: rule.Header,
			Code: rule.Code, EnhancedCode: rule.EnhancedCode, Text: rule.Text,
		}
	}
	return policy.Config{
		Mode: c.Policy.Mode, Preset: c.Policy.Preset, Rules: rules, Lists: c.Policy.Lists, RedactLog: c.Log.Redact,
		Suppression: c.Policy.Suppression.Mode,
	}
}

// SendersConfig is the configuration of the limits and of the breaker of list hygiene.
func (c *Config) SendersConfig(log *slog.Logger) senders.Config {
	h := c.Policy.Hygiene
	cfg := senders.Config{
		Hygiene: senders.Hygiene{
			Mode: h.Mode, Minimum: h.Minimum, Warn: h.Warn, Throttle: h.Throttle, Hold: h.Hold,
			Distinct: h.Distinct,
		},
		Log: log,
	}
	for _, l := range c.Policy.Limits {
		cfg.Limits = append(cfg.Limits, senders.Limit{
			Name: l.Name, Per: l.Per, Messages: l.Messages, Recipients: l.Recipients,
		})
	}
	return cfg
}

// RegisterConfig is the configuration of the suppression list.
func (c *Config) RegisterConfig(log *slog.Logger) register.Config {
	s := c.Policy.Suppression
	return register.Config{
		MaxEntries: s.MaxEntries, LearnBounces: s.Learn == "bounces", LearnComplaints: true, Log: log,
	}
}

// MessageConfig is the configuration of the checks of messages, without the addresses that mail leaves
// from where the file does not name them.
func (c *Config) MessageConfig() message.Config {
	m := c.Policy.Message
	cfg := message.Config{
		Levels: make(map[message.Check]message.Level), Position: m.Position, BulkAuto: m.BulkAuto,
		Timeout: time.Duration(m.Timeout), Helo: c.Helo(),
	}
	if preset, ok := c.preset(); ok && preset.BulkMessages {
		cfg.Levels = message.BulkLevels()
	}
	if len(m.Egress) > 0 {
		cfg.Egress = func() []netip.Addr { return m.Egress }
	}
	for name, word := range m.Checks {
		var level message.Level
		if level.UnmarshalText([]byte(word)) == nil { // check has refused the others
			cfg.Levels[message.Check(name)] = level
		}
	}
	return cfg
}

// JournalConfig is the configuration of the journal. secret is for redact = "hash".
func (c *Config) JournalConfig(secret []byte) journal.Config {
	j, w := c.Policy.Journal, c.Policy.Webhook
	return journal.Config{
		Path: j.Path, MaxSize: int64(j.MaxSize), Keep: j.Keep, MaxAge: time.Duration(j.MaxAge),
		RotateEvery: time.Duration(j.RotateEvery), Queue: j.Queue,
		Redact: j.Redact, Secret: secret, Recent: j.Memory, Refusals: j.Refusals,
		Webhook: journal.Webhook{
			URL: w.URL, User: c.also.webhook.user, Password: c.also.webhook.password,
			Timeout: time.Duration(w.Timeout), Deferred: w.Deferred, Source: w.Source, Queue: w.Queue,
		},
	}
}

// PolicydConfig is the configuration of the policy delegation server, without its hooks.
func (c *Config) PolicydConfig() policyd.Config {
	return policyd.Config{
		Networks: prefixes(c.Policyd.ClientNetworks), MaxConnections: c.Policyd.MaxConnections,
		IdleTimeout:       time.Duration(c.Policyd.Timeout),
		TransactionBudget: time.Duration(c.Verify.TransactionBudget), RedactLog: c.Log.Redact,
		DeferMalformed: c.Policyd.Malformed == "defer",
	}
}

// limits lets the senders' table look at its limits and the breaker.
func (k *checker) limits() {
	faults, _ := errors.AsType[senders.ConfigErrors](senders.Check(k.SendersConfig(nil)))
	for _, fault := range faults {
		field := strings.NewReplacer("[", ".", "]", "").Replace(fault.Field)
		key := "policy." + field
		if fault.Index >= 0 {
			key = "policy.limits." + strconv.Itoa(fault.Index) + "." + field
		}
		k.put(key, fault.Detail, fault.Hint)
	}
}

// messageChecks: each must be one that there is, at a level that there is.
func (k *checker) messageChecks() {
	const table = "policy.message.checks."
	for _, name := range slices.Sorted(maps.Keys(k.Policy.Message.Checks)) {
		var level message.Level
		if word := k.Policy.Message.Checks[name]; level.UnmarshalText([]byte(word)) != nil {
			k.add(table+printable(name), quote(word)+" is no level", "write off, log, warn, defer or reject")
		}
	}
	faults, _ := errors.AsType[message.ConfigErrors](message.CheckConfig(k.MessageConfig()))
	for _, fault := range faults {
		if fault.Field == "helo" {
			continue // it is proxy.hostname or verify.helo, which names has looked at
		}
		key := "policy.message." + fault.Field
		if fault.Field == "levels" {
			key = table + printable(fault.Name)
		}
		k.add(key, fault.Detail, fault.Hint)
	}
}

// state: what outlives the gate needs a place.
func (k *checker) state() {
	const fix = `write an absolute path, such as "/var/lib/rcptgate"`
	for key, path := range map[string]string{
		"policy.state_directory": k.Policy.StateDirectory, "policy.journal.path": k.Policy.Journal.Path,
	} {
		if path != "" && !filepath.IsAbs(path) {
			k.add(key, quote(path)+" is no absolute path", fix)
		}
	}
	if k.Policy.Journal.Redact == journal.RedactHash && k.Policy.StateDirectory == "" {
		k.add("policy.journal.redact", `"hash" needs a secret that outlives the gate`,
			"set policy.state_directory, where it is kept")
	}
	if socket := k.HTTP.ControlSocket; socket != "" {
		if _, ok := socket.Unix(); !ok {
			k.add("http.control_socket", quote(string(socket))+" is no Unix socket",
				`write "unix:/path": whoever may open it controls the gate`)
		}
	}
	hook := k.JournalConfig(nil).Webhook
	if err := hook.Check(); err != nil {
		key := "policy.webhook.url"
		k.add(key, escaped(err.Error()), "see docs/operations.md for the webhook")
	}
}
