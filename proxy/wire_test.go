package proxy_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

// TestClientTimeout: the time for a command begins anew with each, though the socket's deadline is
// not set for each.
func TestClientTimeout(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		defer p.close()
		limit := config().ClientTimeout
		for range 5 {
			time.Sleep(limit * 3 / 5)
			p.say("NOOP", "250")
		}
		start := time.Now()
		p.want("421 4.4.2")
		if took := time.Since(start); took != limit {
			t.Errorf("timeout after %v, want %v", took, limit)
		}
	})
}

// TestMessageTimeout: the same inside a message, behind commands that came early.
func TestMessageTimeout(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		defer p.close()
		limit := config().ClientTimeout
		time.Sleep(limit / 2)
		p.envelope("bob@good.test")
		time.Sleep(limit / 2)
		p.send(strings.Repeat("a line of the message\r\n", 1<<12))
		start := time.Now()
		p.want("421 4.4.2")
		if took := time.Since(start); took != limit {
			t.Errorf("timeout after %v, want %v", took, limit)
		}
		g.messages(0)
	})
}

// TestPanic: a fault of ours ends the session that meets it, whether go-smtp sees the command or
// not, and nothing else.
func TestPanic(t *testing.T) {
	for name, commands := range map[string]string{
		"first": "RCPT TO:<panic@good.test>\r\n",
		"later": "RCPT TO:<bob@good.test>\r\nRCPT TO:<panic@good.test>\r\n" +
			"RCPT TO:<eve@good.test>\r\nDATA\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config()
				cfg.Hooks.Recipient = func(_ *policy.Transaction, d *policy.Decision, _ bool, _ esmtp.Reply, _ time.Time) {
					if d.Recipient.Local() == "panic" {
						panic("a fault")
					}
				}
				g := start(t, cfg, answers{})
				defer g.stop()
				p := g.hello()
				defer p.close()
				p.say("MAIL FROM:<anna@sender.test>", "250")
				p.send(commands)
				if strings.Contains(commands, "DATA") {
					p.want("250")
				}
				p.want("421 4.")
				p.want("EOF")
				synctest.Wait()
				log := g.log.String()
				if !strings.Contains(log, "a fault") || !strings.Contains(log, "level=ERROR") {
					t.Errorf("the log does not tell: %s", log)
				}
				other := g.hello()
				defer other.close()
				if r := other.mail("hello\r\n", "bob@good.test"); !strings.HasPrefix(r, "250") {
					t.Errorf("another client: %q", r)
				}
				g.messages(1)
			})
		})
	}
}
