package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// TestMarks: marks are seen by later rules only, once each, and come out with the decision.
func TestMarks(t *testing.T) {
	e := engine(
		t, &known{result: existing()},
		policy.Rule{Name: "early", When: `"m" in marks`, Action: "reject"},
		policy.Rule{Name: "m", When: "size > 5", Action: "continue", Mark: "m", Header: "X-Big: {rule}/{marks}"},
		policy.Rule{Name: "m again", When: "true", Action: "continue", Mark: "m"},
		policy.Rule{Name: "both", When: `"m" in marks && "n" not in marks`, Action: "accept", Mark: "n", Header: "X-Gate: {marks} {reason}"},
	)
	tx := from(t, "a@example.com")
	tx.Mail.Size = 10
	d := e.Explain(t.Context(), tx, to(t, "bob@example.net"))
	if d.Rule != "both" || !slices.Equal(d.Marks, []string{"m", "n"}) ||
		!slices.Equal(d.Headers, []string{"X-Big: m/m", "X-Gate: m,n none"}) {
		t.Errorf("%+v", d)
	}
	if d.Steps[1].Outcome != policy.Match || d.Steps[1].Detail != "marks m; adds X-Big: m/m" {
		t.Errorf("step %+v", d.Steps[1])
	}
	if d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net")); d.Rule != "both" || len(d.Marks) != 2 || len(d.Headers) != 2 {
		t.Errorf("without a trace: %+v", d)
	}
}

// TestMarksCarryVerdicts: what a rule made of a verdict refuses for good only by proof, also when a
// later rule does so for its mark, or because it is not there.
func TestMarksCarryVerdicts(t *testing.T) {
	for when, want := range map[string]policy.Action{
		`"risky" in marks`: policy.Defer, `"good" not in marks`: policy.Defer,
		`"own" in marks`: policy.Reject, `"own" in marks && "other" not in marks`: policy.Reject,
		`"second" in marks`: policy.Defer,
	} {
		e := engine(
			t, &known{result: verify.Result{Verdict: verify.Risky, Reason: verify.AcceptAll}},
			policy.Rule{Name: "own", When: "true", Action: "continue", Mark: "own"},
			policy.Rule{Name: "free", When: `trusted || recipient.free`, Action: "continue", Mark: "other"},
			policy.Rule{Name: "risky", When: `verdict == "risky"`, Action: "continue", Mark: "risky"},
			policy.Rule{Name: "good", When: `verdict == "deliverable"`, Action: "continue", Mark: "good"},
			policy.Rule{Name: "second", When: `"risky" in marks`, Action: "continue", Mark: "second"},
			policy.Rule{Name: "it", When: when, Action: "reject"},
		)
		d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
		if d.Rule != "it" || d.Action != want || d.Headers != nil {
			t.Errorf("%s: %v by %s, want %v", when, d.Action, d.Rule, want)
		}
	}
}

// TestHeaderIsOneLine: whatever client and mail server say, a field is one line of printable ASCII.
func TestHeaderIsOneLine(t *testing.T) {
	r := unknownMailbox()
	r.MX, r.Reason = "mx\r\nEvil: x", "new\r\n\treason"
	e := engine(t, &known{result: r}, policy.Rule{
		When: "proof", Action: "accept", Header: "X-Rcptgate: {verdict} {reason} {sender} {client} {code} {enhanced} {stage} {rule}",
	})
	tx := &policy.Transaction{Mail: esmtp.Mail{From: address(t, `"a\ b"@bücher.example`), UTF8: true}}
	d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
	if len(d.Headers) != 1 || strings.ContainsFunc(d.Headers[0], func(r rune) bool { return r < ' ' || r > '~' }) ||
		!strings.HasPrefix(d.Headers[0], "X-Rcptgate: undeliverable new") {
		t.Errorf("%q", d.Headers)
	}
	e = engine(t, nil, policy.Rule{When: "true", Action: "accept", Header: "X-A: " + strings.Repeat("{sender}", 49)})
	tx.Mail.From = address(t, strings.Repeat("a", 64)+"@example.com")
	if d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net")); len(d.Headers[0]) > 998 || len(d.Headers[0]) < 990 {
		t.Errorf("%d octets", len(d.Headers[0]))
	}
}

func TestHeaderFaults(t *testing.T) {
	for header, want := range map[string]struct {
		column       int
		detail, hint string
	}{
		"X-Rcptgate":                       {0, "no colon", "X-Rcptgate: {verdict}"},
		"X-Rcptgate: ":                     {0, "no value", ""},
		": x":                              {1, "1 to 64", "X-Rcptgate"},
		"X Gate: x":                        {2, `" " cannot stand`, ""},
		"X-Gaté: x":                        {6, "cannot stand", ""},
		strings.Repeat("x", 65) + ": x":    {1, "1 to 64", ""},
		"From: a@example.com":              {1, "means something to others", "of your own"},
		"DKIM-Signature: x":                {1, "means something", ""},
		"authentication-results: x":        {1, "means something", ""},
		"RECEIVED: x":                      {1, "means something", ""},
		"Return-Path: x":                   {1, "means something", ""},
		"bcc: x":                           {1, "means something", ""},
		"List-Unsubscribe: x":              {1, "means something", ""},
		"Resent-To: x":                     {1, "means something", ""},
		"Content-Type: x":                  {1, "means something", ""},
		"ARC-Seal: x":                      {1, "means something", ""},
		"X-A: a\r\nBcc: x":                 {7, `'\r'`, "printable ASCII"},
		"X-A: {recipient}":                 {6, "cannot hold {recipient}", "every recipient"},
		"X-A: x {ref}":                     {8, "cannot hold {ref}", ""},
		"X-A: {verdikt}":                   {6, "unknown placeholder", `did you mean "verdict"?`},
		"X-A: " + strings.Repeat("x", 401): {0, "401 octets", "shorten"},
	} {
		_, err := policy.New(policy.Config{Rules: []policy.Rule{
			{When: "true", Action: "accept", Header: header},
		}}, nil, nil)
		fault := onlyFault(t, header, err)
		if fault != nil && (fault.Field != "header" || fault.Column != want.column ||
			!strings.Contains(fault.Detail, want.detail) || !strings.Contains(fault.Hint, want.hint)) {
			t.Errorf("%q: %+v", header, fault)
		}
	}
}

// FuzzHeader: a header is a fault or one clean line that begins with its name.
func FuzzHeader(f *testing.F) {
	f.Add("X-Rcptgate: {verdict} {reason}", "greylisted", "mx")
	f.Add("X-A:{sender}{client}{marks}", "\r\n", "\x00\xff")
	f.Fuzz(func(t *testing.T, header, reason, helo string) {
		e, err := policy.New(policy.Config{Rules: []policy.Rule{
			{When: "confidence >= 0", Action: "accept", Header: header},
		}}, &known{result: verify.Result{Reason: verify.Reason(reason), MX: helo}}, nil)
		if err != nil || header == "" {
			return
		}
		tx := from(t, "a@example.com")
		tx.Client.Helo = helo
		d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
		name, _, _ := strings.Cut(header, ":")
		if len(d.Headers) != 1 || !strings.HasPrefix(d.Headers[0], name+": ") || len(d.Headers[0]) > 998 {
			t.Fatalf("%q", d.Headers)
		}
		for _, c := range []byte(d.Headers[0]) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q", d.Headers)
			}
		}
	})
}
