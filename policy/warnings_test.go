package policy_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

func TestWarnings(t *testing.T) {
	accept := func(when string) policy.Rule { return policy.Rule{When: when, Action: "accept"} }
	mark := func(when, mark string) policy.Rule {
		return policy.Rule{When: when, Action: "continue", Mark: mark}
	}
	cases := []struct {
		rules []policy.Rule
		want  string // rule, column and the beginning of the detail; "" none
	}{
		{[]policy.Rule{accept("trusted"), accept("true")}, ""},
		{[]policy.Rule{accept("true"), accept("trusted")}, `2/0 is never reached: rule 1`},
		{[]policy.Rule{accept("trusted || !(1 == 2)"), accept("proof")}, `2/0 is never reached: rule 1`},
		{[]policy.Rule{mark("true", "m"), accept("trusted")}, ""},
		{[]policy.Rule{accept("false")}, `1/0 the condition is never true`},
		{[]policy.Rule{accept("trusted && false || 1 != 1")}, `1/0 the condition is never true`},
		{[]policy.Rule{accept(`true ? false : trusted`)}, `1/0 the condition is never true`},
		{[]policy.Rule{accept("trusted ? true : false")}, ""},
		{[]policy.Rule{accept("trusted"), accept("null_sender"), accept("(trusted)")}, `3/0 never matters: rule 1 decides`},
		{[]policy.Rule{accept("trusted and proof"), accept("trusted && proof")}, `2/0 never matters: rule 1`},
		{[]policy.Rule{accept("trusted || proof"), accept("null_sender && proof")}, `2/0 never matters: rule 1`},
		{[]policy.Rule{accept("trusted && proof"), accept("trusted")}, ""},
		{[]policy.Rule{accept("trusted"), accept("proof"), accept("proof || trusted")}, `3/0 never matters: rule 2`},
		{[]policy.Rule{accept("trusted"), accept("null_sender || trusted")}, ""},
		{[]policy.Rule{mark("trusted", "m"), accept("trusted")}, ""},
		{
			[]policy.Rule{accept(`recipient.domain in ["a.example", "b.example"]`), accept(`recipient.domain == "b.example" && trusted`)},
			`2/0 never matters: rule 1`,
		},
		{
			[]policy.Rule{accept(`verdict == "risky"`), accept(`verdict == "unknown"`), accept(`verdict in ["unknown", "risky"]`)},
			`3/0 never matters: rule 2`,
		},
		{[]policy.Rule{accept(`verdict == "risky"`), accept(`verdict in ["unknown", "risky"]`)}, ""},
		{[]policy.Rule{accept(`verdict == "risky" && verdict == "unknown"`)}, `1/23 the parts about verdict exclude`},
		{[]policy.Rule{accept(`size > 5 && verdict == "risky" and ("risky" != verdict)`)}, `1/37 the parts about verdict`},
		{[]policy.Rule{accept(`verdict in ["risky", "unknown"] && verdict not in ["unknown", "risky"]`)}, `1/36 the parts`},
		{[]policy.Rule{accept(`verdict in ["risky", "unknown"] && verdict != "risky"`)}, ""},
		{[]policy.Rule{accept(`trusted && size > 1 && !trusted`)}, `1/24 the parts about trusted`},
		{[]policy.Rule{accept(`size > 10 && size < 5`)}, `1/14 the parts about size`},
		{[]policy.Rule{accept(`size >= 10 && 10 >= size`)}, ""},
		{[]policy.Rule{accept(`size > 10 && 10.0 >= size`)}, `1/14 the parts about size`},
		{[]policy.Rule{accept(`confidence == 0.5 && confidence < 0.4`)}, `1/22 the parts about confidence`},
		{[]policy.Rule{accept(`null_sender || trusted && not trusted`)}, `1/27 the parts about trusted`},
		{[]policy.Rule{accept(`recipient.domain == "a.example" && sender.domain == "b.example"`)}, ""},
		{[]policy.Rule{accept(`recipient.local == "a" || recipient.local == "b"`)}, ""},
		{[]policy.Rule{accept(`recipient.local in []`)}, `1/20 nothing is in an empty list`},
		{[]policy.Rule{accept(`trusted || recipient.local in []`)}, `1/31 nothing is in an empty list`},
		{[]policy.Rule{accept(`"m" in marks`)}, `1/1 no rule sets the mark "m"`},
		{[]policy.Rule{mark("trusted", "m"), accept(`"m" in marks`)}, ""},
		{[]policy.Rule{accept(`"m" in marks`), mark("trusted", "m")}, `1/1 the mark "m" is set by rule 2`},
		{[]policy.Rule{mark(`"m" in marks`, "m")}, `1/1 the mark "m" is set by rule 1`},
		{[]policy.Rule{mark("trusted", "m"), accept(`"m" in marks`), mark("proof", "m"), accept(`"m" in marks`)}, ""},
		{[]policy.Rule{accept("broken ==")}, ""},
	}
	for _, c := range cases {
		var got []string
		for _, w := range policy.Warnings(policy.Config{Rules: c.rules}) {
			got = append(got, strings.Join([]string{strconv.Itoa(w.Index + 1), "/", strconv.Itoa(w.Column), " ", w.Detail}, ""))
			if w.Hint == "" || w.Field != "when" {
				t.Errorf("%+v", w)
			}
		}
		if c.want == "" && got != nil || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
			t.Errorf("%+v:\n got %v\nwant %s", c.rules, got, c.want)
		}
	}
}

func TestWarningsInWords(t *testing.T) {
	w := policy.Warnings(policy.Config{Rules: []policy.Rule{
		{Name: "own", When: "trusted", Action: "continue", Mark: "risky", File: "gate.toml", Line: 3},
		{Name: "it", When: "null_sender ||\n  \"risk\" in marks", Action: "defer", File: "gate.toml", Line: 8},
	}})
	const want = `gate.toml:8: rule 2 "it": when (line 2, column 3): no rule sets the mark "risk"; ` +
		`did you mean "risky"? or set it in a rule before: action = "continue", mark = "risk"`
	if w.Error() != want {
		t.Errorf("got  %s\nwant %s", w.Error(), want)
	}
}

// FuzzWarnings: a rule that is said to be never true, reached or of matter does not decide, whatever
// the mail.
func FuzzWarnings(f *testing.F) {
	for _, when := range []string{
		`trusted && proof or size > 3`, `verdict in ["risky", "unknown"] and size < 3 && size >= 2`,
		`recipient.domain == "example.net" && not (recipient.domain in ["example.net"])`, `proof ? trusted : 1 == 2`,
		`confidence <= 0.5 and 0.5 <= confidence`, `"m" in marks || null_sender`, `size != 2 && size == 2.0`,
	} {
		f.Add(when, "trusted || proof", uint64(2), true, uint8(1))
		f.Add("size == 2", when, uint64(3), false, uint8(0))
	}
	f.Fuzz(func(t *testing.T, first, second string, size uint64, yes bool, verdict uint8) {
		cfg := policy.Config{Rules: []policy.Rule{
			{Name: "mark", When: "size > 1", Action: "continue", Mark: "m"},
			{Name: "first", When: first, Action: "accept"},
			{Name: "second", When: second, Action: "accept"},
		}}
		r := unknownMailbox()
		r.Proof, r.Verdict = yes, verify.Verdict(valuesOf(t, "verdict")[verdict%4])
		e, err := policy.New(cfg, &known{result: r}, nil)
		if err != nil {
			return
		}
		tx := from(t, "a@example.com")
		tx.Mail.Size, tx.Client.Trusted = size, yes
		d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
		for _, w := range policy.Warnings(cfg) {
			for _, never := range []string{"never matters", "is never reached", "the condition is never true"} {
				if strings.HasPrefix(w.Detail, never) && d.Rule == w.Rule {
					t.Fatalf("%q then %q: %s decides, %s", first, second, d.Rule, w.Detail)
				}
			}
		}
	})
}
