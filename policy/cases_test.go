package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/policy"
)

const sampleCases = `# What we promise our users.
[[cases]]
name = "the boss hears from everyone"
sender = "anna@example.com"
recipient = "boss@example.net"
probe = "never"
[cases.expect]
action = "accept"
rule = "boss"
marks = []

[[cases]]
sender = "news@example.com"
recipient = "bob@example.net"
client = "192.0.2.7"
login = "news"
verdict = "risky"
confidence = 0.9
provider = "google"
[cases.expect]
action = "accept"
marks = ["b", "a"]
headers = ["X-Rcptgate: risky accept_all"]

[[cases]]
sender = "<>"
recipient = "bob@example.net"
verdict = "undeliverable"
expect = { action = "reject", code = 550, enhanced_code = "5.1.1", text = "does not exist" }

[[cases]]
name = "wrong"
recipient = "bob@example.net"
probe = "never"
[cases.expect]
action = "defer"
rule = "boss"
code = 451
enhanced_code = "4.2.0"
text = "later"
marks = ["x"]
`

var sampleRules = []policy.Rule{
	{Name: "boss", When: `recipient.address == "boss@example.net"`, Action: "accept"},
	{Name: "a", When: `verdict == "risky"`, Action: "continue", Mark: "a", Header: "X-Rcptgate: {verdict} {reason}"},
	{Name: "b", When: `provider == "google" && confidence > 0.8 && client.login == "news"`, Action: "continue", Mark: "b"},
}

func TestCases(t *testing.T) {
	cases, err := policy.ParseCases("cases.toml", []byte(sampleCases))
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.RunCases(policy.Config{Mode: "shadow", Rules: sampleRules}, cases)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	const want = `cases.toml:31: wrong
    action: want defer, got accept
    rule: want boss, got built-in: accept everything else
    code: want 451, got 0
    enhanced code: want 4.2.0, got none
    text: want a part "later", got ""
    marks: want ["x"], got []
    probe: want none, but rule "a" needs the verdict
    match: rule "built-in: accept everything else": if true then accept
3 of 4 cases hold, 1 differ
`
	if diff := cmp.Diff(want, text.String()); diff != "" || report.Failed() != 1 {
		t.Error(diff)
	}
	if report.Results[0].Asked || !report.Results[2].Asked || report.Results[1].Case.Name != "case 2" {
		t.Errorf("%+v", report.Results)
	}
	if _, err := policy.RunCases(policy.Config{Rules: []policy.Rule{{When: "x"}}}, cases); err == nil {
		t.Error("rules with faults run")
	}
}

func TestCaseFaults(t *testing.T) {
	const sound = "[[cases]]\nname = \"it\"\nrecipient = \"bob@example.net\"\n"
	const expect = "[cases.expect]\naction = \"accept\"\n"
	for text, want := range map[string]string{
		"":                                `cases.toml: there are no cases; write [[cases]] tables`,
		"[[cases]":                        `cases.toml:1:8:`,
		"[[cases]]\nx = 1":                `cases.toml:2:1: cases.x: there is no such key; `,
		"[[case]]\nx = 1":                 `cases.toml:1:`,
		sound + "verdict=1":               `cases.toml:4:9: cases.verdict:`,
		sound + expect:                    `cases.toml:1:3: "it": verdict: the case does not say what is known of the recipient; write verdict`,
		sound + "verdict = \"unknown\"\n": `cases.toml:1:3: "it": expect.action: "" is no action to expect; valid: accept, defer, reject`,
		sound + "verdict = \"invalid\"\n" + expect:                                        `cases.toml:4:1: "it": verdict: verdict is never "invalid"; valid: unknown`,
		sound + "verdict = \"unknown\"\nreason = \"greylist\"\n" + expect:                 `cases.toml:5:1: "it": reason: reason is never "greylist"; did you mean "greylisted"?`,
		sound + "probe = \"never\"\nprovider = \"google\"\n" + expect:                     `cases.toml:4:1: "it": probe: what is known is of no use`,
		sound + "probe = \"always\"\n" + expect:                                           `cases.toml:4:1: "it": probe: probe is never "always"; valid: never`,
		sound + "verdict = \"risky\"\nconfidence = 90\n" + expect:                         `cases.toml:5:1: "it": confidence: 90 is not from 0 to 1; write 0.9`,
		sound + "verdict = \"risky\"\nclient = \"lan\"\n" + expect:                        `cases.toml:5:1: "it": client: "lan" is not an IP address`,
		sound + "verdict = \"risky\"\nsender = \"x\"\n" + expect:                          `cases.toml:5:1: "it": sender: "x" is not an address`,
		sound + "verdict = \"risky\"\n[cases.expect]\naction = \"refuse\"\n":              `cases.toml:6:1: "it": expect.action: "refuse" is no action to expect`,
		sound + "verdict = \"risky\"\nexpect = {action = \"defer\", enhanced_code=\"4\"}": `"it": expect.enhanced_code: "4" is no enhanced code`,
		"[[cases]]\nverdict = \"risky\"\n" + expect:                                       `cases.toml:1:3: "case 1": recipient: "" is not an address`,
		sound + "verdict = \"risky\"\n" + expect + sound:                                  `cases.toml:7:3: "it": verdict`,
	} {
		_, err := policy.ParseCases("cases.toml", []byte(text))
		faults, ok := errors.AsType[policy.CaseErrors](err)
		if !ok || !strings.Contains(faults[0].Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

// FuzzParseCases: a file of cases has faults, each on one line with its file, or it runs.
func FuzzParseCases(f *testing.F) {
	f.Add(sampleCases)
	f.Add("[[cases]]\nrecipient=\"a@b\"\nverdict='risky'\nexpect.action='accept'\n[cases]\n")
	f.Add("cases = [{recipient='a@example.com', probe='never', expect={action='defer'}}]")
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := policy.ParseCases("cases.toml", []byte(text))
		if err != nil {
			faults, ok := errors.AsType[policy.CaseErrors](err)
			if !ok || len(faults) == 0 || !strings.HasPrefix(err.Error(), "cases.toml:") {
				t.Fatalf("%v", err)
			}
			return
		}
		report, err := policy.RunCases(policy.Config{Rules: sampleRules}, cases)
		if err != nil || len(report.Results) != len(cases) {
			t.Fatalf("%d results, %v", len(report.Results), err)
		}
		var b strings.Builder
		if err := report.WriteText(&b); err != nil || !strings.HasSuffix(b.String(), "\n") {
			t.Fatal(err, b.String())
		}
	})
}
