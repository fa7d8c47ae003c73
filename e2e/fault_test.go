package e2e

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestSmarthost sends through a relay that wants a login, with the right and with the wrong one, and
// through a Postfix that offers none.
func TestSmarthost(t *testing.T) {
	world, listening := newWorld(t)
	smarthost := mxsim.NewRelay("smtp.example.net")
	smarthost.TLS = mxsim.TLS
	smarthost.Accounts = &mxsim.Accounts{
		Users: map[string]string{"user@example.com": "the password"}, Required: true,
	}
	t.Cleanup(smarthost.Close)
	addr, err := smarthost.Listen(t.Context(), host(2).String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	gateAddr := freePort(t, host(1))
	files := newCertificates(t)
	line := func(oldnew ...string) string {
		return fragment(t, "smarthost/passwords", append(oldnew, "[smtp.example.net]:587", "["+host(2).String()+"]:"+portOf(addr))...)
	}
	files.write("passwords", line())
	config := fragment(t, "smarthost/rcptgate.toml",
		"127.0.0.1:10025", gateAddr,
		"smtp.example.net:587", addr,
		`"verify"`, `"encrypt"`,
		"/etc/rcptgate", files.dir) + verifyConfig(listening)
	c := &chain{t: t, entry: entry{address: gateAddr}, world: world, sink: smarthost}
	c.gate = newGate(t, gateAddr, config)
	c.gate.start()
	mail := func(id string) {
		c.t.Helper()
		c.dial().wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"}, message(id, "hello\r\n"))
		c.delivered(id, good(1))
	}
	deferred := func() {
		c.t.Helper()
		client := c.dial()
		client.want(250, "MAIL FROM:<sender@example.org>")
		client.want(451, "RCPT TO:<%s>", good(1))
	}

	mail("login")
	// The wrong password is not seen before it is used. Mail waits; nothing is lost.
	files.write("passwords", line("the password", "another one"))
	c.gate.reload(config)
	deferred()
	c.gate.awaitLog(1, "level=WARN", "relay cannot be used", "upstream="+addr, "535 5.7.8", "user@example.com", "relay.password_file")
	for _, password := range []string{"the password", "another one"} {
		if lines := c.gate.logged(password); len(lines) > 0 {
			t.Errorf("the log has a password: %q", lines)
		}
	}
	files.write("passwords", line())
	c.gate.reload(config)
	mail("mended")

	files.write("passwords", "this is no login\n")
	c.gate.refuse(config, "level=ERROR", "relay.password_file", "passwords:1", "user:password")
	files.write("passwords", "[other.example.net]:587 user:secret\n")
	c.gate.refuse(config, "level=ERROR", "relay.password_file", "has no login for any upstream", addr)
	mail("in spite of that")

	t.Run("no AUTH", func(t *testing.T) {
		needPostfix(t)
		relay := freePort(t, host(1))
		p := newPostfix(t, fragment(t, "front/master.cf", "127.0.0.1:10026", relay), addr)
		p.start()
		files.write("passwords", "["+host(1).String()+"]:"+portOf(relay)+" user:secret\n")
		c.gate.reload(fragment(t, "smarthost/rcptgate.toml",
			"127.0.0.1:10025", gateAddr,
			"smtp.example.net:587", relay,
			`"verify"`, `"none"`,
			"/etc/rcptgate", files.dir) + verifyConfig(listening))
		deferred()
		c.gate.awaitLog(1, "level=WARN", "relay cannot be used", "upstream="+relay, "offers no AUTH", "relay.password_file")
	})
}

// TestExpiredCertificate: an expired certificate never replaces a good one, is better than none at
// all, and the log says what to do.
func TestExpiredCertificate(t *testing.T) {
	world, listening := newWorld(t)
	relay, addr := newSink(t)
	certs := newCertificates(t)
	certs.issue("mail.example.com", inDays(30))
	gateAddr := freePort(t, host(1))
	config := "[proxy]\nlisten = [\"" + gateAddr + "\"]\nhostname = \"mail.example.com\"\n" +
		"tls_cert_file = \"" + certs.path("mail.example.com.pem") + "\"\n" +
		"tls_key_file = \"" + certs.path("mail.example.com.key") + "\"\n" +
		"[relay]\nupstreams = [\"" + addr + "\"]\n" + verifyConfig(listening)
	strict := certs.client("mail.example.com")
	c := &chain{t: t, world: world, sink: relay, entry: entry{address: gateAddr, tls: strict}}
	c.gate = newGate(t, gateAddr, config)
	c.gate.start()
	mail := func(id string) {
		t.Helper()
		c.dial().wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"}, message(id, "hello\r\n"))
		c.delivered(id, good(1))
	}
	warns := func(n int, texts ...string) {
		t.Helper()
		c.gate.awaitLog(n, append(texts, "level=WARN", certs.path("mail.example.com.pem"), "fix=")...)
	}
	mail("good")
	certs.issue("mail.example.com", inDays(-3))
	c.gate.reload(config)
	warns(1, "expired", inDays(-3).UTC().Format(time.DateOnly), "the old one stays")
	mail("old one") // with a client that looks at the dates

	c.gate.end(15)
	c.gate.start()
	warns(2, "expired", inDays(-3).UTC().Format(time.DateOnly))
	c.entry.tls = &tls.Config{InsecureSkipVerify: true} // as mail servers do
	mail("better than none")

	certs.issue("mail.example.com", inDays(30))
	c.gate.reload(config)
	c.entry.tls = strict
	mail("renewed")
}
