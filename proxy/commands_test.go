package proxy_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rcptgate/rcptgate/verify"
)

// TestCommands: every command counts once, by its name and the class of its reply.
func TestCommands(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.say("HELP", "214")
		p.say("NOOP", "250")
		p.say("RCPT TO:<a@example.net>", "503")
		p.say("MAIL FROM:<", "501")
		p.say("FOO", "500")
		p.say("XFORWARD NAME=a.example.org", "250")
		p.mail("Subject: a\r\n\r\nb\r\n", "a@example.net", "b@example.net", "c@example.net")
		p.say("MAIL FROM:<a@example.org>", "250")
		p.say("RSET", "250")
		p.say("DATA", "503")
		p.say("QUIT", "221")
		got := map[string]uint64{}
		g.server.Commands(func(command, class string, n uint64) {
			if n > 0 {
				got[command+" "+class] = n
			}
		})
		want := map[string]uint64{
			"EHLO 2xx": 1, "HELP 2xx": 1, "NOOP 2xx": 1, "RCPT 5xx": 1, "MAIL 5xx": 1, "other 5xx": 1,
			"XFORWARD 2xx": 1, "MAIL 2xx": 2, "RCPT 2xx": 3, "DATA 2xx": 1, "RSET 2xx": 1, "DATA 5xx": 1,
			"QUIT 2xx": 1,
		}
		if !maps.Equal(got, want) {
			t.Errorf("%v, not %v", got, want)
		}
	})
}

// broken is a verifier that a recipient breaks.
type broken struct{}

func (broken) Verify(context.Context, verify.Question) verify.Result { panic("a fault") }

// TestBrokenVerifier: not knowing is no refusal, and a fault of ours ends nothing.
func TestBrokenVerifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		g := start(t, cfg, broken{})
		defer g.stop()
		p := g.hello()
		defer p.close()
		if r := p.mail("hello\r\n", "bob@good.test", "eve@good.test"); !strings.HasPrefix(r, "250") {
			t.Errorf("got %q", r)
		}
		g.messages(1)
		if log := g.log.String(); !strings.Contains(log, "a fault") {
			t.Errorf("the log does not tell: %s", log)
		}
	})
}
