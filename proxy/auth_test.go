package proxy_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const password = "hunter2-correct-horse"

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// submission is a gate whose relay asks clients to log in.
func submission(t *testing.T, f func(g *gate)) {
	t.Helper()
	tlsConfig := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.TLS, cfg.Auth = tlsConfig, true
		g := start(t, cfg, answers{})
		defer g.stop()
		g.relay.Accounts = &mxsim.Accounts{Users: map[string]string{"anna": password}, Plaintext: true}
		if err := g.pool.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		f(g)
		if strings.Contains(g.log.String(), password) || strings.Contains(g.log.String(), b64(password)) {
			t.Error("the password is in the log")
		}
	})
}

// TestAuth: a client logs in at the relay, through the gate, and its mail goes over a session of
// its own; the next client's does not.
func TestAuth(t *testing.T) {
	submission(t, func(g *gate) {
		p := g.connect()
		p.want("220")
		if r := p.say("EHLO c.example.org", "250"); strings.Contains(r, "AUTH") {
			t.Errorf("offered in plaintext: %q", r)
		}
		p.say("AUTH PLAIN "+b64("\x00anna\x00"+password), "538 5.7.11")
		p.say("STARTTLS", "220")
		p.startTLS()
		if r := p.say("EHLO c.example.org", "250"); !strings.Contains(r, "AUTH PLAIN LOGIN") {
			t.Errorf("not offered: %q", r)
		}
		p.say("AUTH CRAM-MD5", "504")
		p.say("AUTH PLAIN !", "501")
		p.say("AUTH PLAIN "+b64("anna\x00"+password), "535")
		p.say("AUTH PLAIN "+b64("\x00anna\x00wrong"), "535 5.7.8")
		p.say("AUTH LOGIN", "334 VXNlcm5hbWU6")
		p.say(b64("anna"), "334 UGFzc3dvcmQ6")
		p.say("*", "501")
		p.say("AUTH PLAIN", "334 ")
		p.say(b64("\x00anna\x00"+password), "235")
		p.say("AUTH PLAIN "+b64("\x00anna\x00"+password), "503")
		if r := p.say("EHLO c.example.org", "250"); strings.Contains(r, "AUTH") {
			t.Errorf("offered again: %q", r)
		}
		for range 2 {
			p.mail("x\r\n", "b@example.com")
		}
		q := g.hello()
		q.mail("x\r\n", "b@example.com")
		p.say("QUIT", "221")
		for i, m := range g.messages(3) {
			if want := []string{"anna", "anna", ""}[i]; m.User != want {
				t.Errorf("message %d as %q, want %q", i, m.User, want)
			}
		}
		if !strings.Contains(g.log.String(), "login=anna") {
			t.Error("the login is not in the log")
		}
	})
}

// TestAuthForgotten: a login in plaintext is void behind STARTTLS, and one is not offered to a
// mail server that speaks for others.
func TestAuthForgotten(t *testing.T) {
	submission(t, func(g *gate) {
		cfg := config()
		cfg.TLS, cfg.Auth, cfg.AuthWithoutTLS = certificate(g.t), true, true
		g.server.Reconfigure(cfg, g.engine, g.pool)
		p := g.hello()
		p.say("AUTH PLAIN "+b64("\x00anna\x00"+password), "235")
		p.say("STARTTLS", "220")
		p.startTLS()
		p.say("EHLO c.example.org", "250")
		p.mail("x\r\n", "b@example.com")
		if m := g.messages(1)[0]; m.User != "" {
			t.Errorf("sent as %q", m.User)
		}
		q := g.hello()
		q.say("XFORWARD ADDR=192.0.2.1", "250")
		q.say("AUTH PLAIN "+b64("\x00anna\x00"+password), "502")
	})
}
