package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/policy"
)

func onlyFault(t *testing.T, what string, err error) *policy.RuleError {
	t.Helper()
	faults, ok := errors.AsType[policy.RuleErrors](err)
	if !ok || len(faults) != 1 {
		t.Errorf("%s: error %v, want one fault", what, err)
		return nil
	}
	return faults[0]
}

func TestRuleFaults(t *testing.T) {
	long := strings.Repeat("x", 401)
	cases := []struct {
		rule         policy.Rule
		field        string
		column       int
		detail, hint string
	}{
		{policy.Rule{}, "action", 0, "the action is missing", "valid: accept, reject, defer, continue"},
		{policy.Rule{Action: "rejekt"}, "action", 0, `unknown action "rejekt"`, `did you mean "reject"?`},
		{policy.Rule{Action: "continue"}, "action", 0, "does nothing", `mark = "NAME"`},
		{policy.Rule{Action: "continue", Mark: "m", Code: 250}, "code", 0, "a later rule decides", "remove it"},
		{policy.Rule{Action: "continue", Mark: "m", Text: "x"}, "text", 0, "a later rule decides", ""},
		{policy.Rule{Action: "continue", Mark: "Risky"}, "mark", 0, `"Risky" is no name of a mark`, "small letters"},
		{policy.Rule{Action: "continue", Mark: strings.Repeat("m", 41)}, "mark", 0, "no name of a mark", "40"},
		{policy.Rule{Action: "reject", Mark: "m"}, "mark", 0, "has no marks", "accept or continue"},
		{policy.Rule{Action: "defer", Header: "X-A: b"}, "header", 0, "gets no message", "accept or continue"},
		{policy.Rule{Action: "accept", Code: 250}, "code", 0, "the relay answers", "remove it"},
		{policy.Rule{Action: "accept", EnhancedCode: "2.1.5"}, "enhanced_code", 0, "the relay answers", ""},
		{policy.Rule{Action: "accept", Text: "ok"}, "text", 0, "the relay answers", ""},
		{policy.Rule{Action: "reject", Code: 450}, "code", 0, "450 is no code of reject", "550, 551"},
		{policy.Rule{Action: "reject", Code: 521}, "code", 0, "521 is no code of reject", ""},
		{policy.Rule{Action: "defer", Code: 550}, "code", 0, "550 is no code of defer", "450, 451, 452"},
		{policy.Rule{Action: "defer", Code: 421}, "code", 0, "421 is no code of defer", "end the client's session"},
		{policy.Rule{Action: "defer", Code: -1}, "code", 0, "-1 is no code of defer", ""},
		{policy.Rule{Action: "reject", EnhancedCode: "5.7"}, "enhanced_code", 0, "no enhanced code", `"5.7.1"`},
		{policy.Rule{Action: "defer", EnhancedCode: "5.7.1"}, "enhanced_code", 0, "does not fit defer", `write "4.7.1"`},
		{policy.Rule{Action: "reject", EnhancedCode: "2.0.0"}, "enhanced_code", 0, "does not fit reject", `"5.0.0"`},
		{policy.Rule{Action: "reject", Text: long}, "text", 0, "401 octets, more than 400", "shorten"},
		{policy.Rule{Action: "reject", Text: " "}, "text", 0, "blank", "leave text out"},
		{policy.Rule{Action: "reject", Text: "a\r\n250 ok"}, "text", 2, `'\r'`, "printable ASCII"},
		{policy.Rule{Action: "reject", Text: "grüß Gott"}, "text", 3, "'ü'", "printable ASCII"},
		{policy.Rule{Action: "reject", Text: "no {recipent}"}, "text", 4, "unknown placeholder", `did you mean "recipient"?`},
		{policy.Rule{Action: "reject", Text: "{ref} no {text}"}, "text", 10, "unknown placeholder {text}", "valid:"},
		{policy.Rule{Action: "reject", Text: "no {recipient"}, "text", 4, "no partner", "{mx}"},
		{policy.Rule{Action: "reject", Text: "no }"}, "text", 4, "no partner", ""},
		{policy.Rule{Action: "accept", Name: "built-in: mine"}, "name", 0, "taken", "another name"},
		{policy.Rule{Action: "accept", Name: long}, "name", 0, "longer than 100", ""},
		{policy.Rule{Action: "accept", Name: "a\tb"}, "name", 0, "printable ASCII", ""},
	}
	for _, c := range cases {
		c.rule.When, c.rule.File, c.rule.Line = "true", "gate.toml", 12
		_, err := policy.New(policy.Config{Rules: []policy.Rule{c.rule}}, nil, nil)
		fault := onlyFault(t, fmt.Sprintf("%+v", c.rule), err)
		if fault == nil {
			continue
		}
		if fault.Field != c.field || fault.Column != c.column || fault.File != "gate.toml" ||
			fault.Line != 12 || !strings.Contains(fault.Detail, c.detail) ||
			!strings.Contains(fault.Hint, c.hint) {
			t.Errorf("%+v: %+v", c.rule, fault)
		}
	}
}

// TestAllFaults: every fault of every rule in one go, each with its rule.
func TestAllFaults(t *testing.T) {
	_, err := policy.New(policy.Config{Mode: "shadows", Rules: []policy.Rule{
		{Name: "a", When: "true", Action: "accept"},
		{Name: "a", When: `verdict == "no"`, Action: "defer", Code: 1, EnhancedCode: "x", Text: "{x}"},
		{When: "1", Action: "nothing", File: "gate.toml", Line: 7},
	}}, nil, nil)
	want := `rule 2 "a": name: rule 1 has the same name; give each rule its own name: the log tells rules apart by it
rule 2 "a": when (column 12): verdict is never "no"; valid: unknown, deliverable, undeliverable, risky
rule 2 "a": code: 1 is no code of defer; the codes of defer: 450, 451, 452
rule 2 "a": enhanced_code: "x" is no enhanced code; write class.subject.detail, such as "4.7.1" (RFC 3463)
rule 2 "a": text (column 1): unknown placeholder {x}; valid: recipient, domain, sender, client, verdict, reason, mx, code, enhanced, stage, rule, marks, ref
gate.toml:7: rule 3 "rule 3": when: the condition must be true or false: expected bool, but got int; compare with something: verdict == "undeliverable"
gate.toml:7: rule 3 "rule 3": action: unknown action "nothing"; valid: accept, reject, defer, continue
mode: unknown mode "shadows"; did you mean "shadow"? valid: enforce, shadow`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if first, ok := errors.AsType[*policy.RuleError](err); !ok || first.Index != 1 {
		t.Errorf("first fault %v", first)
	}
}

func TestTooManyRules(t *testing.T) {
	rules := make([]policy.Rule, 1001)
	for i := range rules {
		rules[i] = policy.Rule{When: "true", Action: "accept"}
	}
	if _, err := policy.New(policy.Config{Rules: rules}, nil, nil); err == nil {
		t.Error("1001 rules are accepted")
	}
	if _, err := policy.New(policy.Config{Rules: rules[:1000]}, nil, nil); err != nil {
		t.Errorf("1000 rules: %v", err)
	}
}
