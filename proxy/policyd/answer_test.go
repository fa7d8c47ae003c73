package policyd

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

func to(t *testing.T, s string) esmtp.Address {
	t.Helper()
	rcpt, ok := parseRecipient(s)
	if !ok {
		t.Fatalf("%q is no address", s)
	}
	return rcpt.To
}

func TestRefusals(t *testing.T) {
	bob := to(t, "bob@example.net")
	reply := esmtp.NewReply
	unknown := esmtp.EnhancedCode{5, 1, 1}
	later := esmtp.EnhancedCode{4, 2, 0}
	for _, tc := range []struct {
		d    policy.Decision
		want string
		kind Answer
	}{
		{
			policy.Decision{Action: policy.Reject, Reply: reply(550, unknown, "<bob@example.net>: no (ref X)")},
			"550 5.1.1 no (ref X)", Refuse,
		},
		{
			policy.Decision{Action: policy.Reject, Reply: reply(550, unknown, "<ann@example.net>: no")},
			"550 5.1.1 <ann@example.net>: no", Refuse,
		},
		{
			policy.Decision{Action: policy.Defer, Reply: reply(452, later, "<bob@example.net>: wait")},
			"DEFER_IF_PERMIT 4.2.0 wait", Later,
		},
		{
			policy.Decision{
				Action: policy.Accept, Shadow: policy.Reject, ShadowReply: reply(556, unknown, "no"),
			},
			"WARN would reject: 556 5.1.1 no", Warn,
		},
		{
			policy.Decision{
				Action: policy.Accept, Shadow: policy.Defer, ShadowReply: reply(450, later, "wait"),
			},
			"WARN would defer: 450 4.2.0 wait", Warn,
		},
		{
			policy.Decision{Action: policy.Reject, Reply: reply(521, unknown, "go")},
			"554 5.1.1 go", Refuse,
		},
		{
			policy.Decision{Action: policy.Reject, Reply: reply(421, later, "go")},
			"451 4.2.0 go", Refuse,
		},
		{
			policy.Decision{Action: policy.Reject, Reply: reply(550, esmtp.EnhancedCode{}, "one\ntwo")},
			"550 one two", Refuse,
		},
		{
			policy.Decision{Action: policy.Reject, Reply: reply(550, unknown, "one\ntwo\r\naction=OK")},
			`550 5.1.1 one two\x0d action=OK`, Refuse,
		},
		{policy.Decision{Action: policy.Reject}, "451", Refuse},
	} {
		tc.d.Recipient = bob
		got, kind := appendRefusal(nil, &policy.Transaction{}, &tc.d)
		if want := "action=" + tc.want + "\n\n"; string(got) != want || kind != tc.kind {
			t.Errorf("%q, %s; want %q, %s", got, kind, want, tc.kind)
		}
	}
	if got := string(appendPrepend(nil, "X-Gate: a\r\n b\r\nc\n")); got != "action=PREPEND X-Gate: a bc\\x0a\n\n" {
		t.Errorf("%q", got)
	}
}

// FuzzAnswer: whatever a reply or a header field has in it, the answer is one line of printable text,
// and never an action that lets a recipient pass later restrictions.
func FuzzAnswer(f *testing.F) {
	f.Add(550, "5.1.1 no\nsuch user", "bob@example.net", true)
	f.Add(421, "\r\n\r\naction=OK\r\n", "a b@example.net", false)
	f.Add(0, "5.1.1 \u202e\x00\xff", "jörg@example.net", true)
	f.Fuzz(func(t *testing.T, code int, text, rcpt string, utf8OK bool) {
		tx := &policy.Transaction{Mail: esmtp.Mail{UTF8: utf8OK}}
		r := esmtp.Reply{Code: code, Lines: strings.Split(text, "\n")}
		cmd, _ := parseRecipient(rcpt)
		for _, d := range []policy.Decision{
			{Action: policy.Reject, Reply: r},
			{Action: policy.Defer, Reply: r},
			{Action: policy.Accept, Shadow: policy.Reject, ShadowReply: r},
		} {
			d.Recipient = cmd.To
			got, _ := appendRefusal(nil, tx, &d)
			checkAnswer(t, string(got))
		}
		checkAnswer(t, string(appendPrepend(nil, text)))
	})
}

func checkAnswer(t *testing.T, got string) {
	t.Helper()
	line, rest, _ := strings.Cut(got, "\n")
	if rest != "\n" || !utf8.ValidString(line) {
		t.Fatalf("%q", got)
	}
	for _, r := range line {
		if !unicode.IsPrint(r) {
			t.Fatalf("%q has %q", got, r)
		}
	}
	action, ok := strings.CutPrefix(line, "action=")
	word, _, _ := strings.Cut(action, " ")
	switch {
	case !ok:
		t.Fatalf("%q", got)
	case word == "PREPEND", word == "WARN", word == "DEFER_IF_PERMIT":
	case len(word) == 3 && (word[0] == '4' || word[0] == '5') && word != "421" && word != "521":
	default:
		t.Fatalf("action %q", word)
	}
}
