package policy_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// asTOML is a rule as the configuration has it.
type asTOML struct {
	Name         string `toml:"name"`
	When         string `toml:"when"`
	Action       string `toml:"action"`
	Mark         string `toml:"mark"`
	Header       string `toml:"header"`
	Code         int    `toml:"code"`
	EnhancedCode string `toml:"enhanced_code"`
	Text         string `toml:"text"`
}

// readRules reads what WriteRules wrote.
func readRules(tb testing.TB, rules []policy.Rule) []policy.Rule {
	tb.Helper()
	var written strings.Builder
	if err := policy.WriteRules(&written, rules); err != nil {
		tb.Fatal(err)
	}
	var file struct {
		Policy struct {
			Rules []asTOML `toml:"rules"`
		} `toml:"policy"`
	}
	if err := toml.NewDecoder(strings.NewReader(written.String())).DisallowUnknownFields().Decode(&file); err != nil {
		tb.Fatalf("%v\n%s", err, written.String())
	}
	var read []policy.Rule
	for _, r := range file.Policy.Rules {
		read = append(read, policy.Rule{
			Name: r.Name, When: r.When, Action: r.Action, Mark: r.Mark, Header: r.Header, Code: r.Code,
			EnhancedCode: r.EnhancedCode, Text: r.Text,
		})
	}
	return read
}

// TestPresetsAreRules: each preset is the same when its rules are copied into the configuration, and
// warns of nothing but the mark that the administrator may set.
func TestPresetsAreRules(t *testing.T) {
	var names []string
	for _, p := range policy.Presets() {
		names = append(names, p.Name)
		copied := readRules(t, p.Rules)
		if diff := cmp.Diff(p.Rules, copied); diff != "" {
			t.Errorf("%s: %s", p.Name, diff)
		}
		if _, err := policy.New(policy.Config{Rules: copied, Preset: p.Name}, nil, nil); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, w := range policy.Warnings(policy.Config{Rules: copied}) {
			if !strings.Contains(w.Detail, `"transactional"`) {
				t.Errorf("%s: %v", p.Name, w)
			}
		}
		if p.Doc == "" || !slices.Contains([]string{"off", "warn", "enforce"}, p.Hygiene) {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(names, policy.PresetNames()) {
		t.Errorf("names %v", names)
	}
	_, err := policy.New(policy.Config{Preset: "bulky"}, nil, nil)
	if fault := onlyFault(t, "preset", err); fault != nil &&
		(fault.Field != "preset" || fault.Index != -1 || !strings.Contains(fault.Hint, `did you mean "bulk"?`)) {
		t.Errorf("%+v", fault)
	}
}

func TestPresets(t *testing.T) {
	risky := verify.Result{Verdict: verify.Risky, Reason: verify.AcceptAll}
	cases := []struct {
		preset, rcpt string
		result       verify.Result
		action       policy.Action
		reply, mark  string
	}{
		{"cautious", "bob@example.net", unknownMailbox(), policy.Reject, "550 5.1.1", ""},
		{"cautious", "bob@example.net", unknown(verify.Greylisted), policy.Accept, "", ""},
		{"cautious", "abuse@mailinator.com", risky, policy.Accept, "", ""},
		{"", "bob@example.net", unknown(verify.Timeout), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknownMailbox(), policy.Reject, "550 5.1.1", ""},
		{"strict", "bob@example.net", existing(), policy.Accept, "", ""},
		{"strict", "bob@example.net", risky, policy.Accept, "", "risky"},
		{"strict", "bob@example.net", unknown(verify.Greylisted), policy.Defer, "450 4.2.0", ""},
		{"strict", "bob@example.net", unknown(verify.DNSFailure), policy.Defer, "451 4.4.3", ""},
		{"strict", "bob@example.net", unknown(verify.InternalDomain), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknown(verify.NullSender), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknown(verify.Passive), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknown(verify.ProviderPassive), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknown(verify.BlockedIP), policy.Accept, "", ""},
		{"strict", "bob@example.net", unknown(verify.Breaker), policy.Accept, "", ""},
		{"bulk", "bob@example.net", unknownMailbox(), policy.Reject, "550 5.1.1", ""},
		{"bulk", "bob@example.net", unknown(verify.Timeout), policy.Accept, "", ""},
		{"bulk", "Abuse@example.net", existing(), policy.Reject, "550 5.7.1 <Abuse@example.net>: takes no bulk mail", ""},
		{"bulk", "info@example.net", existing(), policy.Accept, "", ""},
		{"bulk", "bob@x.mailinator.com", existing(), policy.Reject, "550 5.7.1 <bob@x.mailinator.com>: x.mailinator.com gives out", ""},
	}
	for _, c := range cases {
		e, err := policy.New(policy.Config{Preset: c.preset}, &known{result: c.result}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, c.rcpt))
		if d.Action != c.action || !strings.HasPrefix(d.Reply.String(), c.reply) ||
			strings.Join(d.Marks, ",") != c.mark || !strings.HasPrefix(d.Rule, "built-in: ") {
			t.Errorf("%s %s %s: %v %v marks %v by %q", c.preset, c.rcpt, c.result.Reason, d.Action, d.Reply, d.Marks, d.Rule)
		}
	}
}

// TestBulkExempts: what a rule marks as transactional, and bounces, reach anybody.
func TestBulkExempts(t *testing.T) {
	e, err := policy.New(policy.Config{Preset: "bulk", Rules: []policy.Rule{
		{Name: "shop", When: `sender.domain == "shop.example.com"`, Action: "continue", Mark: "transactional"},
	}}, &known{result: existing()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for sender, want := range map[string]policy.Action{
		"order@shop.example.com": policy.Accept, "news@example.com": policy.Reject, "": policy.Accept,
	} {
		tx := new(policy.Transaction)
		if sender != "" {
			tx = from(t, sender)
		}
		for _, rcpt := range []string{"postmaster@example.net", "bob@mailinator.com"} {
			if d := e.Rcpt(t.Context(), tx, to(t, rcpt)); d.Action != want {
				t.Errorf("%s to %s: %v by %s", sender, rcpt, d.Action, d.Rule)
			}
		}
	}
}

// FuzzWriteRules: whatever a rule holds comes back as it was.
func FuzzWriteRules(f *testing.F) {
	f.Add("a", `recipient.domain == "example.com"`, "it's \"\\ {ref}\n\x00", 550)
	f.Fuzz(func(t *testing.T, name, when, text string, code int) {
		want := []policy.Rule{
			{Name: name, When: when, Action: "reject", Code: code, Text: text},
			{Name: text, When: name, Action: "continue", Mark: when, Header: text, EnhancedCode: name},
		}
		for _, s := range []string{name, when, text} {
			if !utf8.ValidString(s) {
				return // the configuration is UTF-8
			}
		}
		if diff := cmp.Diff(want, readRules(t, want)); diff != "" {
			t.Fatal(diff)
		}
	})
}
