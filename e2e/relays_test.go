package e2e

import (
	"testing"
)

// TestTwoRelays kills one of two relays under load, and brings it back.
func TestTwoRelays(t *testing.T) {
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	gateAddr, first, second, third := freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1))
	c := &chain{t: t, entry: entry{address: gateAddr}, world: world, sink: sink}
	c.gate = newGate(t, gateAddr, fragment(t, "two/rcptgate.toml",
		"0.0.0.0:25", gateAddr,
		"192.0.2.26:10026", first,
		"192.0.2.27:10026", second,
		"192.0.2.28:10026", third)+verifyConfig(listening))
	c.postfix = newPostfix(t, fragment(t, "front/master.cf", "127.0.0.1:10026", first), sinkAddr,
		// It delivers nothing until it is told to, so that no delivery is cut off in the middle, which
		// Postfix would repeat: what the sink has is what the gate sent.
		"defer_transports=smtp")
	c.second = newPostfix(t, fragment(t, "front/master.cf", "127.0.0.1:10026", second)+
		fragment(t, "front/master.cf", "127.0.0.1:10026", third), sinkAddr)
	c.start()

	took := func(p *postfix) int { return len(p.logged("/smtpd[", ": client=")) }
	l := c.load("relays", c.entry)
	l.flow(30)
	if took(c.postfix) == 0 || took(c.second) == 0 {
		t.Errorf("the relays took %d and %d messages", took(c.postfix), took(c.second))
	}
	failed := len(l.lost())
	c.postfix.kill()
	l.flow(30)
	// Each client may have been in the middle of one message, and no more.
	if lost := l.lost()[failed:]; len(lost) > loadClients {
		t.Errorf("%d messages failed with one relay of two: %q", len(lost), last(lost, 3))
	}
	c.gate.awaitLog(1, "level=WARN", "relay cannot be used", "upstream="+first)
	c.postfix.start()
	c.gate.awaitLog(1, "relay can be used again", "upstream="+first)
	before := took(c.postfix)
	until(t, "mail at the relay that came back", func() bool { return took(c.postfix) > before })
	l.end()
	c.postfix.stop()
	c.postfix.set("defer_transports", "")
	c.postfix.start()
	l.balance()

	// Without any relay mail waits at the client, and needs nobody's help afterwards.
	c.run("both down", func(c *chain) {
		c.postfix.stop()
		c.second.stop()
		client := c.dial()
		client.want(250, "MAIL FROM:<sender@example.org>")
		client.want(451, "RCPT TO:<%s>", good(1))
		c.gate.awaitLog(1, "level=WARN", "relay cannot be used", "upstream="+third, "check that it runs")
		client.want(250, "RSET")
		c.second.start()
		client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"},
			message("back", "hello\r\n"))
		c.delivered("back", good(1))
	})
}
