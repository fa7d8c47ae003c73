package policy

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// Report is what became of cases.
type Report struct {
	Results []CaseResult // in their order
}

// CaseResult is what became of one case.
type CaseResult struct {
	Case        Case
	Decision    Decision // with its steps
	Asked       bool     // the rules asked the verifier
	Differences []string // from what was expected, one line each; none: the case holds
}

// RunCases decides each case by the rules of cfg, as in the mode "enforce", and compares. Nothing
// is asked of the network, and what the register and the senders have is left out. The error is
// that of New.
func RunCases(cfg Config, cases []Case) (Report, error) {
	cfg.Mode, cfg.Register, cfg.Senders, cfg.Suppression = ModeEnforce, nil, nil, SuppressionRules
	var answers caseVerifier
	engine, err := New(cfg, &answers, nil)
	if err != nil {
		return Report{}, err
	}
	var report Report
	for _, c := range cases {
		result, err := engine.runCase(c, &answers)
		if err != nil {
			return report, fmt.Errorf("%s:%d: %s: %w", c.File, c.Line, c.Name, err)
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// caseVerifier answers what the case in hand says.
type caseVerifier struct {
	result verify.Result
	asked  bool
}

func (v *caseVerifier) Verify(_ context.Context, _ verify.Question) verify.Result {
	v.asked = true
	return v.result
}

func (e *Engine) runCase(c Case, answers *caseVerifier) (CaseResult, error) {
	recipient, err := esmtp.ParseAddress(c.Recipient, true)
	if err != nil {
		return CaseResult{}, err
	}
	from, err := c.from()
	if err != nil {
		return CaseResult{}, err
	}
	tx := &Transaction{
		Session: "case", ID: "case", Door: c.Door,
		Client: Client{Name: c.ClientName, Helo: c.Helo, Login: c.Login, Trusted: c.Trusted},
		Mail: esmtp.Mail{
			From: from, Size: uint64(max(c.Size, 0)), HasSize: c.Size > 0,
			UTF8: from.NeedsUTF8() || recipient.NeedsUTF8(),
		},
	}
	if c.Client != "" {
		if tx.Client.Addr, err = netip.ParseAddr(c.Client); err != nil {
			return CaseResult{}, err
		}
	}
	tx.given = &given{suppressed: c.Suppressed, counters: c.Counters.counters()}
	answers.result, answers.asked = c.result(recipient), false
	result := CaseResult{Case: c}
	result.Decision = e.Explain(context.Background(), tx, esmtp.Rcpt{To: recipient})
	result.Asked = answers.asked
	result.compare()
	return result, nil
}

// compare fills Differences.
func (r *CaseResult) compare() {
	want, got := r.Case.Expect, &r.Decision
	differ := func(what, want, got string) {
		if want != "" && want != got {
			if got == "" {
				got = "none"
			}
			r.Differences = append(r.Differences, fmt.Sprintf("%s: want %s, got %s", what, want, got))
		}
	}
	differ("action", want.Action, got.Action.String())
	differ("rule", want.Rule, got.Rule)
	if want.Code != 0 && want.Code != got.Reply.Code {
		differ("code", strconv.Itoa(want.Code), strconv.Itoa(got.Reply.Code))
	}
	differ("enhanced code", want.EnhancedCode, got.Reply.Enhanced().String())
	if text := got.Reply.String(); !strings.Contains(text, want.Text) {
		differ("text", fmt.Sprintf("a part %q", want.Text), fmt.Sprintf("%q", text))
	}
	differList("marks", want.Marks, got.Marks, differ)
	differList("headers", want.Headers, got.Headers, differ)
	if r.Asked && r.Case.Verdict == "" {
		asked := ""
		for _, step := range got.Steps {
			if step.FirstAsked {
				asked = step.Rule
			}
		}
		r.Differences = append(r.Differences,
			fmt.Sprintf("probe: want none, but rule %q needs the verdict", asked))
	}
}

// differList compares without regard to order; nil wants nothing.
func differList(what string, want, got []string, differ func(what, want, got string)) {
	if want == nil {
		return
	}
	want, got = slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))
	if !slices.Equal(want, got) {
		differ(what, fmt.Sprintf("%q", want), fmt.Sprintf("%q", got))
	}
}

// Failed is the number of cases that differ from what is expected.
func (r Report) Failed() int {
	n := 0
	for i := range r.Results {
		if len(r.Results[i].Differences) > 0 {
			n++
		}
	}
	return n
}

// WriteText writes the report for people: each case that differs with its place, every difference,
// and the way through the rules; then the numbers.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for i := range r.Results {
		result := &r.Results[i]
		if len(result.Differences) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:%d: %s\n", result.Case.File, result.Case.Line, printable(result.Case.Name))
		for _, difference := range result.Differences {
			b.WriteString("    " + printable(difference) + "\n")
		}
		for _, step := range result.Decision.Steps {
			if step.Outcome == Match || step.Outcome == Failed {
				fmt.Fprintf(&b, "    %s: rule %q: if %s then %s\n", step.Outcome, step.Rule,
					printable(step.When), step.Action)
			}
		}
	}
	failed := r.Failed()
	fmt.Fprintf(&b, "%d of %d cases hold", len(r.Results)-failed, len(r.Results))
	if failed > 0 {
		fmt.Fprintf(&b, ", %d differ", failed)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// printable is a text of the configuration on one line.
func printable(s string) string { return string(esmtp.AppendEscaped(nil, s, true)) }
