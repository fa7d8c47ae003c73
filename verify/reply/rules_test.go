package reply

import (
	"strconv"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// example parses "550 5.1.1 text" with further lines after "\n", for the rule that it is of.
func example(tb testing.TB, raw rawRule, s string) Input {
	tb.Helper()
	code, err := strconv.Atoi(s[:3])
	if err != nil {
		tb.Fatalf("%s: example %q does not begin with a code", raw.Name, s)
	}
	in := Input{Code: code, Text: s[4:], Stage: StageUnknown}
	if len(raw.Stages) > 0 {
		in.Stage = raw.Stages[0]
	}
	if len(raw.Providers) > 0 {
		in.Provider = raw.Providers[0]
	}
	in.Enhanced = esmtp.Reply{Code: code, Lines: strings.Split(in.Text, "\n")}.Enhanced()
	return in
}

// TestRules holds that every rule is complete, has a source, and decides its own examples: a
// rule that cannot be reached has none that it decides.
func TestRules(t *testing.T) {
	files, err := readRules()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compile(files); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		for _, raw := range file.Rule {
			t.Run(raw.Name, func(t *testing.T) {
				switch {
				case names[raw.Name]:
					t.Error("a second rule of that name")
				case raw.Source == "" || len(raw.Examples) == 0:
					t.Error("a source and an example are needed")
				case raw.Confidence <= 0 || raw.Confidence > 1:
					t.Errorf("confidence is %v; want (0,1]", raw.Confidence)
				case raw.Proof && raw.Subject != SubjectRecipient && raw.Subject != SubjectDomain:
					t.Errorf("proof by a rule about the %s", raw.Subject)
				case raw.Exists && (raw.Proof || raw.Subject != SubjectRecipient):
					t.Error("a mailbox cannot both exist and be refused")
				}
				names[raw.Name] = true
				for _, s := range raw.Examples {
					in := example(t, raw, s)
					class, why := Explain(in)
					if class.Rule != raw.Name {
						t.Errorf("%q is decided by %s; found %q", s, class.Rule, why.Phrases)
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		rs, err := loadRules()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(rs.auto.nodes)), "nodes")
		b.ReportMetric(float64(len(rs.rules)), "rules")
	}
}
