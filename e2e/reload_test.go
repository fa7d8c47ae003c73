package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestReload changes the configuration again and again under load: nobody notices.
func TestReload(t *testing.T) {
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	relay, other, gateAddr, more := freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1))
	config := fragment(t, "front/rcptgate.toml",
		"0.0.0.0:25", gateAddr,
		"127.0.0.1:10026", relay) + verifyConfig(listening)
	c := &chain{t: t, entry: entry{address: gateAddr}, world: world, sink: sink}
	c.gate = newGate(t, gateAddr, config)
	c.postfix = newPostfix(t, fragment(t, "front/master.cf", "127.0.0.1:10026", relay)+
		fragment(t, "front/master.cf", "127.0.0.1:10026", other), sinkAddr)
	c.start()

	good := []string{
		strings.Replace(config, `listen = ["`, `listen = ["`+more+`", "`, 1),
		strings.Replace(config, relay, other, 1),
		config + "\n[log]\nlevel = \"debug\"\n",
		config,
	}
	bad := []struct {
		config string
		says   []string
	}{
		{config + "\n[nonsense]\nkey = 1\n", []string{"rcptgate.toml:", "nonsense"}},
		{strings.Replace(config, relay, gateAddr, 1), []string{"relay.upstreams", "this gate itself"}},
		{strings.Replace(config, "[relay]", "[relay", 1), []string{"rcptgate.toml:"}},
		{strings.Replace(config, "[relay]", "[relay]\ntls_ca_file = \"/nonexistent/ca.pem\"", 1), []string{"relay.tls_ca_file", "/nonexistent/ca.pem"}},
		{strings.Replace(config, "[relay]", "[relay]\ntimeout = \"soon\"", 1), []string{"rcptgate.toml:", "soon"}},
		{strings.Replace(config, `listen = ["`, `listen = ["`+sinkAddr+`", "`, 1), []string{sinkAddr, "in use"}},
		{config + "\n[policy]\n[[policy.rules]]\nname = \"broken\"\nwhen = \"verdict ==\"\naction = \"reject\"\n", []string{"policy.rules[0].when"}},
	}
	l := c.load("reload", c.entry)
	l.flow(15)
	for n := range max(len(good), len(bad)) {
		c.gate.refuse(bad[n%len(bad)].config, append(bad[n%len(bad)].says, "level=ERROR", "the old configuration stays")...)
		l.flow(5)
		c.gate.reload(good[n%len(good)])
		l.flow(5)
		if n%len(good) == 0 {
			client := c.dialAt(entry{address: more})
			client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<user1@site1.example>"},
				message(fmt.Sprintf("more-%d", n), "hello\r\n"))
		}
	}
	l.balance()
	wantNone(t, l)
	if _, err := (entry{address: more}).dial(t.Context()); err == nil {
		t.Error("a listener that is not in the configuration any more takes clients")
	}

	// A transaction ends as it began, also when everything around it is exchanged.
	c.run("open transaction", func(c *chain) {
		client := c.dial()
		client.want(250, "MAIL FROM:<sender@example.org>")
		client.want(250, "RCPT TO:<user1@site1.example>")
		c.gate.reload(good[1])
		client.want(250, "RCPT TO:<user2@site2.example>")
		client.want(354, "DATA")
		c.gate.reload(config)
		if _, err := client.conn.Write(dotStuffed(message("open", "hello\r\n"))); err != nil {
			c.t.Fatal(err)
		}
		if r, err := client.read(); err != nil || r.code != 250 {
			c.t.Fatalf("%q, %v", r.text, err)
		}
		c.delivered("open", "user1@site1.example", "user2@site2.example")
	})
}
