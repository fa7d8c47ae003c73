package policy

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of docs/rules.md")

const referencePage = "../docs/rules.md"

// TestReference holds the reference of the rules to the code. After a change:
//
//	go test ./policy -run Reference -update
func TestReference(t *testing.T) {
	data, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for name, generate := range map[string]func() string{
		"codes": referenceCodes, "free names": func() string { return referenceNames(false) },
		"lazy names": func() string { return referenceNames(true) }, "operators": referenceOperators,
		"placeholders": referencePlaceholders, "headers": referenceHeaders, "gates": referenceGates,
		"presets": referencePresets, "cases": referenceCases,
	} {
		begin := "<!-- generated: " + name + " -->\n"
		before, rest, found := strings.Cut(page, begin)
		old, after, closed := strings.Cut(rest, "<!-- end -->")
		if !found || !closed {
			t.Errorf("%s has no part %q", referencePage, name)
			continue
		}
		now := "\n" + generate() + "\n"
		if old != now && !*update {
			t.Errorf("%s: the part %q is not what the code says; run go test ./policy -run Reference -update", referencePage, name)
		}
		page = before + begin + now + "<!-- end -->" + after
	}
	if n := strings.Count(page, "<!-- generated: "); n != 9 {
		t.Errorf("%d generated parts", n)
	}
	if *update {
		if err := os.WriteFile(referencePage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// cell is a text within a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`).Replace(s)
}

func code(words ...string) string {
	list := make([]string, len(words))
	for i, word := range words {
		if word == "" {
			word = `""`
		}
		list[i] = "`" + word + "`"
	}
	return strings.Join(list, ", ")
}

func referenceNames(lazy bool) string {
	var b strings.Builder
	b.WriteString("| name | type | |\n|---|---|---|\n")
	for _, n := range Names() {
		if n.Lazy != lazy {
			continue
		}
		doc := n.Doc
		if len(n.Values) > 0 {
			doc += ": " + code(n.Values...)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", n.Name, n.Type, cell(doc))
	}
	return b.String()
}

func referenceOperators() string {
	functions := slices.Sorted(slices.Values(append([]string{inNetworkName}, builtinFunctions...)))
	return "Operators: " + code(slices.Concat(operators, []string{"!", "not", "c ? a : b"})...) + ".\n\n" +
		"Functions: " + code(functions...) + ".\n"
}

func referencePlaceholders() string {
	braces := func(list []string) string {
		var words []string
		for _, word := range list {
			words = append(words, "{"+word+"}")
		}
		return code(words...)
	}
	return "In `text`: " + braces(placeholders) + ".\n\nIn `header`: " + braces(headerPlaceholders) + ".\n"
}

func referenceHeaders() string {
	var prefixes []string
	for _, prefix := range takenPrefixes {
		prefixes = append(prefixes, prefix+"*")
	}
	return "A header must not have a name that means something to others: " +
		code(slices.Concat(takenFields, prefixes)...) + ".\n"
}

func referenceCodes() string {
	numbers := func(codes []int) string {
		var words []string
		for _, c := range codes {
			words = append(words, strconv.Itoa(c))
		}
		return code(words...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Codes of `defer`: %s. Codes of `reject`: %s. 421 is none of them: it would end the "+
		"client's session with all its other recipients.\n\n", numbers(deferCodes), numbers(rejectCodes))
	b.WriteString("| what the condition found | `reject` | `defer` |\n|---|---|---|\n")
	row := func(what string, reject, later phrase) {
		answer := func(p phrase) string { return fmt.Sprintf("%d %s %s", p.code, p.enhanced, cell(p.text)) }
		fmt.Fprintf(&b, "| %s | %s | %s |\n", what, answer(reject), answer(later))
	}
	row("asked nothing", plainReject, plainDefer)
	for _, p := range proofs {
		row("proof, `"+string(p.reason)+"`", p, find(doubts, p.reason, generalDoubt))
	}
	for _, p := range doubts {
		fmt.Fprintf(&b, "| `%s` | as defer | %d %s %s |\n", p.reason, p.code, p.enhanced, cell(p.text))
	}
	return b.String()
}

func referenceGates() string {
	docs := map[string]string{
		gateOverride: "an administrator allowed the address or the domain (`rcptgate override`): accepts, " +
			"without a probe, whatever the other gates say. An override of a provider is no gate: rules that " +
			"would refuse because of a verdict about its mailboxes are passed over, and these verdicts do not " +
			"count for list hygiene; all other rules, the suppression list and the limits hold",
		gateSuppression: "the recipient is on the suppression list (`rcptgate suppress`) for this sender: " +
			"rejects, a hard bounce as its mail server did (550 5.1.1), everything else with 550 5.7.1",
		gateLimits: "the sender is over one of `policy.limits`: defers with 450 4.7.1 and the time to wait",
		gateHygiene: "too many of the sender's recipients do not exist: defers with 450 4.7.1. While it is " +
			"held, recipients that memory has as deliverable pass",
	}
	var b strings.Builder
	b.WriteString("| gate | |\n|---|---|\n")
	for _, gate := range []string{gateOverride, gateSuppression, gateLimits, gateHygiene} {
		fmt.Fprintf(&b, "| `%s` | %s |\n", gate, docs[gate])
	}
	return b.String()
}

func referencePresets() string {
	var b strings.Builder
	for i, p := range Presets() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "### %s\n\n%s\n\n", p.Name, cell(p.Doc))
		settings := []string{"`policy.hygiene.mode = \"" + p.Hygiene + "\"`"}
		if p.BulkMessages {
			settings = append(settings, "the message checks of bulk mail")
		}
		if p.LearnBounces {
			settings = append(settings, "a suppression list that learns from hard bounces")
		}
		fmt.Fprintf(&b, "Besides the rules, unless the configuration says otherwise: %s.\n\n```toml\n",
			strings.Join(settings, ", "))
		if err := WriteRules(&b, p.Rules); err != nil {
			return err.Error()
		}
		b.WriteString("```\n")
	}
	return b.String()
}

func referenceCases() string {
	keys := func(of any) string {
		var words []string
		for field := range reflect.TypeOf(of).Fields() {
			if key := field.Tag.Get("toml"); key != "-" {
				words = append(words, key)
			}
		}
		return code(words...)
	}
	return "Keys of a case: " + keys(Case{}) + ".\n\nKeys of `[cases.counters]`, the names `sender.*`: " +
		keys(CaseCounters{}) + ".\n\nKeys of `[cases.expect]`: " + keys(Expected{}) + ".\n"
}
