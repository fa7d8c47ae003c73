package e2e

import (
	"strings"
	"testing"
)

// TestTLS runs mail through the gate in front of Postfix, in TLS on both sides, while the way to the
// relay changes under load.
func TestTLS(t *testing.T) {
	needPostfix(t)
	certs := newCertificates(t)
	certs.issue("mail.example.com", inDays(30))
	certs.issue("relay.example.com", inDays(30))
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	gateAddr, tlsAddr := freePort(t, host(1)), freePort(t, host(1))
	relay, plain := freePort(t, host(1)), freePort(t, host(1))
	config := fragment(t, "tls/rcptgate.toml",
		"0.0.0.0:25", gateAddr,
		"0.0.0.0:465", tlsAddr,
		"/etc/rcptgate", certs.dir,
		`tls = "verify"`, "tls = \"verify\"\ntls_server_name = \"relay.example.com\"",
		"relay.example.com:10026", relay) + verifyConfig(listening)
	change := func(oldnew ...string) string { return strings.NewReplacer(oldnew...).Replace(config) }

	c := &chain{t: t, world: world, sink: sink, entry: entry{
		address: gateAddr, tls: certs.client("mail.example.com"),
	}}
	implicit := entry{address: tlsAddr, tls: certs.client("mail.example.com"), implicit: true}
	c.gate = newGate(t, gateAddr, config)
	c.postfix = newPostfix(t, fragment(t, "tls/master.cf",
		"192.0.2.26:10026", relay,
		"192.0.2.25", "127.0.0.0/8",
		"/etc/postfix", certs.dir)+fragment(t, "front/master.cf", "127.0.0.1:10026", plain), sinkAddr,
		"smtpd_tls_loglevel=1")
	c.start()
	tlsSessions := func() int {
		return len(c.postfix.logged("TLS connection established from"))
	}

	c.run("octets", func(c *chain) { checkPayloads(c, 1) })
	c.run("pipelining, implicit", func(c *chain) {
		c.entry = implicit
		checkPipelining(c)
	})
	c.run("200 messages", checkConcurrent)
	c.run("modes under load", func(c *chain) {
		l := c.load("modes", c.entry, implicit, entry{address: gateAddr})
		for _, mode := range []string{"encrypt", "may", "verify"} {
			before := tlsSessions()
			c.gate.reload(change(`tls = "verify"`, `tls = "`+mode+`"`))
			until(c.t, "TLS to the relay with "+mode, func() bool { return tlsSessions() > before })
			l.flow(20)
		}
		// In mode may a relay without TLS will do.
		c.gate.reload(change(`tls = "verify"`, `tls = "may"`, relay, plain))
		l.flow(20)
		l.balance()
		wantNone(c.t, l)
	})
	c.run("ended", checkEnded)

	// What cannot be: mail waits at the client, and the log says why.
	for _, fault := range []struct {
		name   string
		change []string
		says   []string
	}{
		{"no TLS at the relay", []string{`tls = "verify"`, `tls = "encrypt"`, relay, plain}, []string{"STARTTLS", "relay.tls"}},
		{"wrong name", []string{"relay.example.com", "other.example.com"}, []string{"other.example.com", "relay.tls_server_name"}},
		{"unknown authority", []string{"ca.pem", "mail.example.com.pem"}, []string{"unknown authority", "relay.tls_ca_file"}},
	} {
		c.run(fault.name, func(c *chain) {
			c.gate.reload(change(fault.change...))
			client := c.dial()
			client.want(250, "MAIL FROM:<sender@example.org>")
			client.want(451, "RCPT TO:<%s>", good(1))
			c.gate.awaitLog(1, append(fault.says, "level=WARN", "relay cannot be used")...)
		})
	}
	c.run("mended", func(c *chain) {
		c.gate.reload(config)
		c.dial().wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"}, message("mended", "hello\r\n"))
		c.delivered("mended", good(1))
	})
}

// wantNone: nothing at all went wrong, as far as the clients could see.
func wantNone(t *testing.T, l *load) {
	t.Helper()
	if lost := l.lost(); len(lost) > 0 {
		t.Errorf("%d failures, the last ones: %q", len(lost), last(lost, 3))
	}
}
