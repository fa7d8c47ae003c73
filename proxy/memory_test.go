package proxy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// TestRefusedRecipientsTakeNoMemory: a client may name any number of recipients beyond those that a
// message may have. What is known of them goes with their replies, also while the next ones wait.
func TestRefusedRecipientsTakeNoMemory(t *testing.T) {
	const rounds, group = 100, 200
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.MaxRecipients = 1
		g := start(t, cfg, answers{})
		defer g.stop()
		p := g.hello()
		defer p.close()
		p.say("MAIL FROM:<anna@sender.test>", "250")
		p.say("RCPT TO:<b@example.com>", "250")
		var commands strings.Builder
		for i := range group {
			fmt.Fprintf(&commands, "RCPT TO:<c%d@example.com>\r\n", i)
		}
		heap := func() uint64 {
			g.log.mu.Lock()
			g.log.b.Reset()
			g.log.mu.Unlock()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		var before uint64
		for i := range rounds {
			if i == 1 {
				before = heap()
			}
			p.send(commands.String())
			for range group {
				p.want("452 4.5.3")
			}
		}
		if after := heap(); after > before+(2<<20) {
			t.Errorf("%d octets for each of them stay", (after-before)/(rounds*group))
		}
		p.say("DATA", "354")
		p.send("Subject: hello\r\n\r\nx\r\n.\r\n")
		p.want("250")
		if got := g.messages(1)[0].Rcpts; len(got) != 1 {
			t.Errorf("%d recipients", len(got))
		}
	})
}
