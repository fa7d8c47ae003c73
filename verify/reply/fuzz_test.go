package reply_test

import (
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/verify/reply"
)

// FuzzClassify holds what is true of every judgement (check), that the end of a line may be
// written in any way, and that it does not matter whose address a reply names.
func FuzzClassify(f *testing.F) {
	f.Add("rcpt", 550, "5.1.1 no such user", "spam")
	f.Add("rcpt", 550, "5.7.1 a\n5.1.1 b", "full")
	f.Add("mail", 450, "4.7.1 later", "blocked")
	f.Add("dot", 554, "delivery error: dd This user doesn't have a example.com account", "a.b")
	f.Add("rcpt", 450, "4.2.0 <x@example.com>: Greylisted, see http://example.com/ in 00:05:00", "no.such.user")
	f.Add("rcpt", 550, "Empfänger unbekannt 用户不存在\r\n550-more", "user-unknown")
	f.Add("connect", 554, "192.0.2.1:25 listed at bl.example.com (2001:db8::1)", "unknown")
	f.Fuzz(func(t *testing.T, stage string, code int, text, local string) {
		input := in(t, reply.Stage(stage), code, text)
		check(t, input)

		lines := input
		lines.Text = strings.ReplaceAll(input.Text, "\n", "\r\n")
		if a, b := reply.Classify(input), reply.Classify(lines); a != b {
			t.Errorf("%q: %+v with LF, %+v with CRLF", input.Text, a, b)
		}

		local = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' || r == '+' {
				return r
			}
			return -1
		}, local)
		if local == "" {
			return
		}
		named, masked := input, input
		named.Text = input.Text + " <" + local + "@example.com> x"
		masked.Text = input.Text + " <user@example.org> x"
		if a, b := reply.Classify(named), reply.Classify(masked); a != b {
			t.Errorf("%q: %+v, but %+v for another address", named.Text, a, b)
		}

		// A veto cannot be talked away.
		vetoed := input
		vetoed.Text = "Client host [192.0.2.1] blocked using zen.example.com.\n" + input.Text
		if c := reply.Classify(vetoed); c.Proof && !strings.HasPrefix(c.Rule, "ticket/") {
			t.Errorf("%q: proof by %s in spite of a block", vetoed.Text, c.Rule)
		}
	})
}
