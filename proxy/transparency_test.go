package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

var bodies = map[string]string{
	"empty":         "",
	"empty line":    "\r\n",
	"plain":         "Subject: x\r\n\r\nhello\r\n",
	"dots":          "..\r\n...\r\n..x\r\n\r\n..\r\n",
	"only dots":     strings.Repeat("..\r\n", 500),
	"dot first":     "..first\r\n",
	"line 998":      strings.Repeat("a", 998) + "\r\n",
	"line 100k":     strings.Repeat("b", 100_000) + "\r\n",
	"8bit":          "\x80\xff\xfe\xc3\xa4\r\n",
	"controls":      "\x01\x02\x07\x08\x0b\x0c\x0e\x1b\x7f\t\r\n",
	"blank ends":    "x  \t \r\n \r\n\t\r\n",
	"dots at 64 KB": strings.Repeat(strings.Repeat("q", 4093)+"\r\n..\r\n", 20),
	"many lines":    strings.Repeat("\r\n", 70_000),
}

// TestTransparent: what reaches the relay is what the client sent, octet for octet, however
// it was cut into writes.
func TestTransparent(t *testing.T) {
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			run(t, func(g *gate) {
				p := g.hello()
				p.mail(body, "anna@example.com")
				p.envelope("anna@example.com")
				for rest := body + ".\r\n"; rest != ""; {
					n := 1 + rand.IntN(1+len(rest)/7)
					p.send(rest[:n])
					rest = rest[n:]
				}
				p.want("250")
				want := bytes.TrimPrefix([]byte(strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n")), []byte("\r\n"))
				for _, m := range g.messages(2) {
					if !bytes.Equal(m.Body, want) {
						t.Errorf("the relay got %d octets, want %d: %.60q", len(m.Body), len(want), m.Body)
					}
				}
			})
		})
	}
}

// TestRelayReplies: the relay's words reach the client as they are, except for a 421, which
// speaks of the relay's connection.
func TestRelayReplies(t *testing.T) {
	for _, c := range []struct {
		stage       mxsim.Stage
		relay, want string
	}{
		{mxsim.Mail, "550 5.7.1 no\r\n", "550 5.7.1 no"},
		{mxsim.Mail, "421 4.3.2 going\r\n", "451 4.3.2 going"},
		{mxsim.Rcpt, "550-5.1.1 first\r\n550 5.1.1 second\r\n", "550-5.1.1 first|550 5.1.1 second"},
		{mxsim.Rcpt, "450 4.2.0 later\r\n", "450 4.2.0 later"},
		{mxsim.Rcpt, "421 4.3.2 going\r\n", "451 4.3.2 going"},
		{mxsim.Rcpt, "550 5.1.1 evil \x1b[2J\x07\r\n", `550 5.1.1 evil \x1b[2J\x07`},
		{mxsim.Rcpt, "250 2.1.5 " + strings.Repeat("l", 3000) + "\r\n", "250 2.1.5 " + strings.Repeat("l", 500)},
		{mxsim.Rcpt, "354 go on\r\n", "451 4.4.2"},
		{mxsim.Rcpt, "999 huh\r\n", "451 4.4.2"},
		{mxsim.Rcpt, "250-a\r\n550 b\r\n", "451 4.4.2"},
		{mxsim.Rcpt, "250 cut", "451 4.4.2"},
	} {
		t.Run(fmt.Sprintf("%s %.20q", c.stage, c.relay), func(t *testing.T) {
			cut := !strings.HasSuffix(c.relay, "\r\n")
			fault := mxsim.Act(c.stage, mxsim.Answer{Raw: c.relay, Close: cut})
			run(t, func(g *gate) {
				p := g.hello()
				p.say("MAIL FROM:<a@sender.test>", "250")
				got := p.say("RCPT TO:<b@example.com>", "")
				if !strings.HasPrefix(got, c.want) || len(got) > 510 {
					t.Errorf("got %q, want %q", got, c.want)
				}
				p.say("QUIT", "221")
			}, fault)
		})
	}
}
