package policy_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// FuzzRules: whatever a configuration says is either a fault with its place or a rule that can be
// evaluated for whatever a client and a mail server say; the verifier is asked only for names that
// need it; what comes out is one clean reply line.
func FuzzRules(f *testing.F) {
	for _, when := range []string{
		"true", `verdict == "undeliverable" && proof`, `recipient.domain in ["example.com", "b.example"]`,
		`any(split(recipient.domain, "."), # startsWith "x") ? size > 1 : trusted`, `1 % size == 0`,
		`inNetwork(client.addr, "10.0.0.0/8", "::1/128")`, `client.helo matches "^a+$"`, "$env", "let x = 1; x",
		`"a" + client.helo in ["b"]`, `{"a": [1, 2]}.a`, `1..2`, `size / 0 > 1`, `not (confidence >= 0.5)`,
		`if trusted { proof } else { catch_all }`, "\"\\u0000\" == mx", `len(lower(reason)) in [1, 2.5, "x"]`,
	} {
		f.Add(when, uint8(1), 0, "", "", "mx.example.net", "5.1.1 no such user")
	}
	f.Add("proof", uint8(1), 550, "5.1.1", "no {recipient} at {mx}: {code} {enhanced} {ref}", "m\r\n250 x", "\x00\r\n")
	f.Add(`verdict == "undeliverable"`, uint8(3), 1, "", "X-A: {verdict} {marks}", "", "")
	f.Add("true", uint8(3), 0, "", "Bcc: x", "", "")
	f.Add("true", uint8(2), 451, "4.7.1", "{}}{", "", "")
	f.Fuzz(func(t *testing.T, when string, action uint8, code int, enhanced, text, mx, words string) {
		rule := policy.Rule{
			Name: "it", When: when, Action: []string{"accept", "reject", "defer", "continue"}[action%4],
			Code: code, EnhancedCode: enhanced, Text: text,
		}
		rules := []policy.Rule{rule}
		if rule.Action == "continue" {
			rule.Code, rule.EnhancedCode, rule.Text, rule.Mark, rule.Header = 0, "", "", "m", text
			rules = []policy.Rule{rule, {Name: "marked", When: `"m" in marks`, Action: "reject"}}
		}
		v := &known{result: verify.Result{
			Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Proof: code%2 == 0, MX: mx,
			Stage: reply.StageRcpt, Reply: esmtp.Reply{Code: 550, Lines: []string{words}},
		}}
		e, err := policy.New(policy.Config{Rules: rules}, v, nil)
		if err != nil {
			checkFaults(t, rule, err)
			return
		}
		tx := &policy.Transaction{
			Client: policy.Client{Helo: words, Name: mx, Addr: netip.MustParseAddr("192.0.2.7")},
			Mail:   esmtp.Mail{From: address(t, "a@example.com"), Size: uint64(len(words)), HasSize: true},
		}
		d := e.Explain(t.Context(), tx, to(t, "bob@example.net"))
		again := e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
		if d.Rule != again.Rule || d.Action != again.Action || d.Reply.Code != again.Reply.Code {
			t.Fatalf("%+v\n%+v\n%+v", rule, d, again)
		}
		if d.Steps[0].Asked && !mentionsLazyName(when) {
			t.Fatalf("%q asks the verifier", when)
		}
		if d.Rule == "marked" && d.Steps[0].Asked && !v.result.Proof && d.Action == policy.Reject {
			t.Fatalf("%q marks because of a verdict, and that refuses without proof", when)
		}
		checkDecision(t, d)
	})
}

func checkFaults(t *testing.T, rule policy.Rule, err error) {
	t.Helper()
	faults, ok := errors.AsType[policy.RuleErrors](err)
	if !ok || len(faults) == 0 {
		t.Fatalf("error %v", err)
	}
	for _, fault := range faults {
		written := map[string]string{
			"when": rule.When, "text": rule.Text, "header": rule.Header,
		}[fault.Field]
		lines := strings.Split(written, "\n")
		if fault.Detail == "" || fault.Rule != "it" || fault.Row < 0 || fault.Row > len(lines) ||
			(fault.Row == 0) != (fault.Column == 0) ||
			fault.Row > 0 && fault.Column > utf8.RuneCountInString(lines[fault.Row-1])+1 {
			t.Fatalf("%+v: %+v", rule, fault)
		}
	}
}

func mentionsLazyName(when string) bool {
	for _, n := range policy.Names() {
		if n.Lazy && strings.Contains(when, n.Name) {
			return true
		}
	}
	return false
}

func checkDecision(t *testing.T, d policy.Decision) {
	t.Helper()
	if d.Action == policy.Accept {
		if !d.Reply.IsZero() {
			t.Fatalf("accepted with %v", d.Reply)
		}
		return
	}
	wire := string(d.Reply.Append(nil, false))
	if len(wire) > 512 || len(d.Reply.Lines) != 1 || d.Reply.Enhanced()[0] != d.Reply.Code/100 ||
		d.Reply.Code == 421 ||
		strings.ContainsFunc(d.Reply.Lines[0], func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("reply %q", wire)
	}
}

// FuzzText: a text that is accepted keeps every literal octet, in order, around its values.
func FuzzText(f *testing.F) {
	f.Add("no {recipient} at {mx}, {ref}")
	f.Add("{{ref}}")
	f.Add("{ref}{ref}")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := policy.New(policy.Config{Rules: []policy.Rule{
			{When: "true", Action: "reject", Text: text},
		}}, nil, nil)
		if err != nil || text == "" {
			return
		}
		d := e.Rcpt(t.Context(), &policy.Transaction{}, to(t, "bob@example.net"))
		want := strings.NewReplacer(
			"{recipient}", "bob@example.net", "{domain}", "example.net", "{sender}", "<>", "{client}", "none",
			"{verdict}", "none", "{reason}", "none", "{mx}", "none", "{code}", "none", "{enhanced}", "none",
			"{stage}", "none", "{rule}", "rule 1", "{ref}", d.Ref,
		).Replace(text)
		if !strings.Contains(text, "{ref}") {
			want += " (ref " + d.Ref + ")"
		}
		got := strings.TrimPrefix(d.Reply.Lines[0], "5.7.1 ")
		if got != want && (!strings.HasPrefix(want, strings.TrimSuffix(got, "...")) || len(got) < 480) {
			t.Fatalf("%q gave\n%q, want\n%q", text, got, want)
		}
	})
}

// pieces of conditions: as written, and with the lazy names replaced by what they stand for.
var pieces = [][2]string{
	{"verdict", `"undeliverable"`},
	{"proof", "true"},
	{"reason", `"mailbox_unknown"`},
	{"confidence", "0.99"},
	{"catch_all", "false"},
	{"stage", `"rcpt"`},
	{"mx", `"mx.example.net"`},
	{"recipient.domain", "recipient.domain"},
	{"size", "size"},
	{"trusted", "trusted"},
	{"null_sender", "null_sender"},
	{"true", "true"},
	{"0", "0"},
	{"1", "1"},
	{`"rcpt"`, `"rcpt"`},
	{`"undeliverable"`, `"undeliverable"`},
	{`"mx.example.net"`, `"mx.example.net"`},
	{`["rcpt", "risky"]`, `["rcpt", "risky"]`},
	{"#", "#"},
	{"==", "=="},
	{"!=", "!="},
	{"<", "<"},
	{"in", "in"},
	{"not in", "not in"},
	{"startsWith", "startsWith"},
	{"&&", "&&"},
	{"||", "||"},
	{"!", "!"},
	{"%", "%"},
	{"+", "+"},
	{"?", "?"},
	{":", ":"},
	{"(", "("},
	{")", ")"},
	{",", ","},
	{"len(", "len("},
	{"lower(", "lower("},
	{"any(", "any("},
	{"all(", "all("},
	{"split(", "split("},
	{"inNetwork(client.addr,", "inNetwork(client.addr,"},
	{`"192.0.2.0/24"`, `"192.0.2.0/24"`},
}

// FuzzLazy: a condition over lazy names has the outcome of the same condition over their values.
func FuzzLazy(f *testing.F) {
	index := make(map[string]byte)
	for i, piece := range pieces {
		index[piece[0]] = byte(i)
	}
	for _, seed := range []string{ // pieces with ~ between them
		`verdict~==~"undeliverable"~&&~proof`, `!~trusted~||~stage~in~["rcpt", "risky"]`,
		`any(~["rcpt", "risky"]~,~stage~==~#~)`, "confidence~<~1~?~proof~:~catch_all",
		`all(~split(~mx~,~reason~)~,~len(~#~)~!=~size~%~1~)`, "lower(~mx~+~reason~)~startsWith~verdict",
		`inNetwork(client.addr,~"192.0.2.0/24"~)~&&~verdict~not in~["rcpt", "risky"]`,
	} {
		var program []byte
		for piece := range strings.SplitSeq(seed, "~") {
			program = append(program, index[piece])
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		var lazy, eager strings.Builder
		for _, b := range program {
			piece := pieces[int(b)%len(pieces)]
			lazy.WriteString(piece[0] + " ")
			eager.WriteString(piece[1] + " ")
		}
		run := func(when string) (policy.Outcome, bool) {
			e, err := policy.New(policy.Config{Rules: []policy.Rule{
				{Name: "it", When: when, Action: "accept"},
			}}, &known{result: unknownMailbox()}, nil)
			if err != nil {
				return 0, false
			}
			tx := &policy.Transaction{Client: policy.Client{Addr: netip.MustParseAddr("192.0.2.7")}}
			return e.Explain(t.Context(), tx, to(t, "bob@example.net")).Steps[0].Outcome, true
		}
		asked, compiled := run(lazy.String())
		if !compiled {
			return
		}
		if stated, ok := run(eager.String()); ok && stated != asked {
			t.Fatalf("%s: %v\n%s: %v", lazy.String(), asked, eager.String(), stated)
		}
	})
}
