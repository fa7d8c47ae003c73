package policy

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/verify"
)

// PresetInfo is a ready-made policy: rules to read and to copy, and what else of the configuration
// begins with another value.
type PresetInfo struct {
	Name string // as in the configuration
	Doc  string // what it is for, in a sentence or two

	// Rules are complete: the last one decides whatever is left. They follow the configured ones.
	Rules []Rule

	// Hygiene is the mode of the list-hygiene breaker: "off", "warn" or "enforce".
	Hygiene string
	// BulkMessages has the checks at the end of a message on, at the levels that suit bulk senders.
	BulkMessages bool
	// LearnBounces and LearnComplaints have the suppression list learn from real deliveries.
	LearnBounces, LearnComplaints bool
}

// The presets. Config.Preset "" is PresetCautious.
const (
	PresetCautious = "cautious"
	PresetStrict   = "strict"
	PresetBulk     = "bulk"
)

// mayStillBeKnown are the reasons of a verdict unknown that another try may change soon: no answer,
// one for the moment, or our own limits. The others stay: nobody is asked (internal domains,
// passive providers), the answer is about us (blocked_ip, policy) or there is none to be had
// (breaker: our own network). Read only.
var mayStillBeKnown = []verify.Reason{
	verify.Timeout, verify.Unreachable, verify.DNSFailure, verify.TLSFailure, verify.ProtocolError,
	verify.Temporary, verify.Greylisted, verify.RateLimited, verify.Incident, verify.BudgetSpent,
	verify.LocalLimit, verify.Closing,
}

// unreadMailboxes are local parts at which bulk mail reaches those who judge senders, or nobody.
// Read only.
var unreadMailboxes = []string{
	"abuse", "postmaster", "mailer-daemon", "spam", "spamtrap", "nobody", "noreply", "no-reply",
}

// Presets are the ready-made policies, the default one first.
func Presets() []PresetInfo {
	proven := Rule{
		Name:   "refuse what is proven undeliverable",
		When:   `verdict == "undeliverable" && proof`,
		Action: Reject.String(),
	}
	rest := Rule{Name: "accept everything else", When: "true", Action: Accept.String()}
	return []PresetInfo{
		{
			Name: PresetCautious,
			Doc: "For every relay: refuses what is proven undeliverable, and nothing else. Bad lists " +
				"are told, but hold nobody.",
			Rules:   []Rule{proven, rest},
			Hygiene: "warn",
		},
		{
			Name: PresetStrict,
			Doc: "For relays whose clients try again: defers also what is not known yet but may soon be, " +
				"and marks what is risky. Senders with bad lists are slowed down and held.",
			Rules: []Rule{
				{
					Name: "mark what is risky", When: `verdict == "risky"`,
					Action: Continue.String(), Mark: "risky",
				},
				proven,
				{
					Name:   "try again what may soon be known",
					When:   `verdict == "unknown" && reason in ` + quotedList(mayStillBeKnown),
					Action: Defer.String(),
				},
				rest,
			},
			Hygiene: "enforce",
		},
		{
			Name: PresetBulk,
			Doc: "For relays that send newsletters and campaigns: no mail to mailboxes that judge senders " +
				"or that are to be thrown away, the checks of messages that large receivers ask of bulk " +
				"senders, held senders, and a suppression list that learns. A rule of your own exempts mail " +
				`from the first two by the mark "transactional".`,
			Rules: []Rule{
				{
					Name: "no bulk mail to those who judge senders",
					When: `!null_sender && !("transactional" in marks) && lower(recipient.local) in ` +
						quotedList(unreadMailboxes),
					Action: Reject.String(), Code: 550, EnhancedCode: "5.7.1",
					Text: "<{recipient}>: takes no bulk mail; remove it from your list",
				},
				{
					Name:   "no bulk mail to disposable mailboxes",
					When:   `!null_sender && !("transactional" in marks) && recipient.disposable`,
					Action: Reject.String(), Code: 550, EnhancedCode: "5.7.1",
					Text: "<{recipient}>: {domain} gives out mailboxes to be thrown away; " +
						"remove it from your list",
				},
				proven,
				rest,
			},
			Hygiene:      "enforce",
			BulkMessages: true,
			LearnBounces: true, LearnComplaints: true,
		},
	}
}

func quotedList[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, word := range list {
		words[i] = `"` + string(word) + `"`
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// Preset returns the rules of a preset, by its name; "" is PresetCautious.
func Preset(name string) (rules []Rule, ok bool) {
	presets := Presets()
	if name == "" {
		return presets[0].Rules, true
	}
	i := slices.IndexFunc(presets, func(p PresetInfo) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return presets[i].Rules, true
}

// PresetNames are the names of the presets, the default one first.
func PresetNames() []string { return []string{PresetCautious, PresetStrict, PresetBulk} }

// builtinRules are the rules of a preset as they follow the configured ones: their names tell them
// apart.
func builtinRules(preset string) ([]Rule, RuleErrors) {
	rules, ok := Preset(preset)
	if !ok {
		return nil, RuleErrors{{
			Index: -1, Field: "preset", Detail: fmt.Sprintf("unknown preset %q", preset),
			Hint: oneOf(preset, PresetNames()),
		}}
	}
	for i := range rules {
		rules[i].Name = builtinPrefix + rules[i].Name
	}
	return rules, nil
}

// BuiltinRules are the rules that follow the configured ones without a preset: those of
// PresetCautious. They are rules like all others.
func BuiltinRules() []Rule {
	rules, _ := builtinRules(PresetCautious)
	return rules
}

// WriteRules writes rules as [[policy.rules]] tables of the configuration.
func WriteRules(w io.Writer, rules []Rule) error {
	var b strings.Builder
	for i, rule := range rules {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[[policy.rules]]\n")
		keys := []struct{ key, value string }{
			{"name", rule.Name},
			{"when", rule.When},
			{"action", rule.Action},
			{"mark", rule.Mark},
			{"header", rule.Header},
			{"enhanced_code", rule.EnhancedCode},
			{"text", rule.Text},
		}
		for _, k := range keys {
			if k.value != "" {
				b.WriteString(k.key + " = " + tomlString(k.value) + "\n")
			}
			if k.key == "action" && rule.Code != 0 {
				fmt.Fprintf(&b, "code = %d\n", rule.Code)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tomlString writes a string as a value of TOML: a literal one in single quotes, where conditions
// read best, or else a basic one.
func tomlString(s string) string {
	plain := func(r rune) bool { return r >= ' ' && r != 0x7f && r != '\ufffd' }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		if !strings.ContainsAny(s, `"\`) {
			return `"` + s + `"`
		}
		if !strings.Contains(s, "'") {
			return "'" + s + "'"
		}
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case plain(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
