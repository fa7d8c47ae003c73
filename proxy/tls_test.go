package proxy_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
)

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"gate.example.com"},
		NotAfter: time.Now().AddDate(50, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		SessionTicketsDisabled: true,
		MinVersion:             tls.VersionTLS12,
	}
}

// secure is a gate with TLS.
func secure(t *testing.T, f func(g *gate)) {
	t.Helper()
	config0 := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.TLS = config0
		g := start(t, cfg, answers{})
		defer g.stop()
		f(g)
	})
}

func (p *peer) startTLS() {
	p.t.Helper()
	client := tls.Client(p.nc, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := client.HandshakeContext(p.t.Context()); err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	p.nc, p.br = client, bufio.NewReader(client)
}

// TestStartTLS: mail over STARTTLS, pipelined too; what was told before is forgotten.
func TestStartTLS(t *testing.T) {
	secure(t, func(g *gate) {
		p := g.connect()
		p.want("220")
		if r := p.say("EHLO c.example.org", "250"); !strings.Contains(r, "STARTTLS") {
			t.Errorf("not offered: %q", r)
		}
		p.say("XFORWARD ADDR=192.0.2.1 HELO=before", "250")
		p.say("STARTTLS now", "501")
		p.say("STARTTLS", "220")
		p.startTLS()
		p.say("MAIL FROM:<a@sender.test>", "503")
		if r := p.say("EHLO after.example.org", "250"); strings.Contains(r, "STARTTLS") {
			t.Errorf("offered again: %q", r)
		}
		p.say("STARTTLS", "503")
		p.send("MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<unknown@example.com>\r\nDATA\r\n")
		for _, want := range []string{"250", "250", "550 5.1.1", "354"} {
			p.want(want)
		}
		p.send(strings.Repeat("x\r\n", 100_000) + ".\r\n")
		p.want("250")
		m := g.messages(1)[0]
		if m.XForward["HELO"] != "after.example.org" || len(m.Body) != 300_000 {
			t.Errorf("relay got %v, %d octets", m.XForward, len(m.Body))
		}
		p.say("QUIT", "221")
	})
}

// TestStartTLSInjection: commands in plaintext behind STARTTLS are never carried out.
func TestStartTLSInjection(t *testing.T) {
	secure(t, func(g *gate) {
		p := g.hello()
		p.send("STARTTLS\r\nEHLO evil.example.org\r\nMAIL FROM:<evil@evil.test>\r\n")
		p.want("220")
		p.startTLS()
		p.say("RCPT TO:<b@example.com>", "503")
		p.say("EHLO c.example.org", "250")
		p.say("RCPT TO:<b@example.com>", "503")
	})
}

// TestImplicitTLS: a listener for clients that begin with TLS; others are dropped.
func TestImplicitTLS(t *testing.T) {
	secure(t, func(g *gate) {
		l := mxsim.NewListener(465)
		served := make(chan error, 1)
		go func() { served <- g.server.ServeTLS(l) }()
		for _, withTLS := range []bool{true, false} {
			nc, err := l.DialFrom(g.t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			p := &peer{t: g.t, nc: nc, br: bufio.NewReader(nc)}
			if !withTLS {
				p.send("EHLO c.example.org\r\n")
				if _, err := p.br.ReadString('\n'); err == nil {
					t.Error("answered in plaintext")
				}
				continue
			}
			p.startTLS()
			p.want("220")
			if r := p.say("EHLO c.example.org", "250"); strings.Contains(r, "STARTTLS") {
				t.Errorf("STARTTLS inside TLS: %q", r)
			}
			p.mail("x\r\n", "anna@example.com")
			p.say("QUIT", "221")
		}
		g.messages(1)
		_ = l.Close()
		if err := <-served; err == nil {
			t.Error("Serve ended without an error on a closed listener")
		}
	})
}

// TestProxyProtocol: the header tells the client; from networks that need one it must come, and
// from others it is no header.
func TestProxyProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.ProxyProtocolNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.66/32")}
		cfg.ClientNetworks = append(cfg.ClientNetworks, netip.MustParsePrefix("192.0.2.0/24"))
		cfg.ClientTimeout = time.Minute
		g := start(t, cfg, answers{})
		defer g.stop()
		dial := func(from byte) *peer {
			nc, err := g.l.DialFrom(t.Context(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, from), Port: 9})
			if err != nil {
				t.Fatal(err)
			}
			return &peer{t: t, nc: nc, br: bufio.NewReader(nc)}
		}
		v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x05\x7f\x00\x00\x01\x10\x00\x00\x19"
		for header, want := range map[string]string{
			"PROXY TCP4 192.0.2.4 127.0.0.1 4000 25\r\n": "192.0.2.4 4000",
			v2: "192.0.2.5 4096",
		} {
			p := dial(66)
			p.send(header + "EHLO c.example.org\r\n") // pipelined behind it
			p.want("220")
			p.want("250")
			p.mail("x\r\n", "anna@example.com")
			all := g.relay.Messages()
			x := all[len(all)-1].XForward
			if got := x["ADDR"] + " " + x["PORT"]; got != want {
				t.Errorf("client %q, want %q", got, want)
			}
			p.close()
		}
		for _, bad := range []string{"EHLO c.example.org\r\n", "PROXY TCP4 x y 1 2\r\n", "PROXY TCP4 203.0.113.9 127.0.0.1 4000 25\r\n"} {
			p := dial(66)
			p.send(bad)
			if r := p.line(); r != "EOF" && !strings.HasPrefix(r, "554 5.7.1") {
				t.Errorf("%q: got %q", bad, r)
			}
		}
		silent := dial(66) // says nothing, and holds up nobody
		q := dial(9)
		q.want("220")
		q.say("PROXY TCP4 192.0.2.4 127.0.0.1 4000 25", "500")
		if r := silent.line(); r != "EOF" {
			t.Errorf("without a header: %q", r)
		}
	})
}

// TestReconfigure: open transactions end as they began, new ones are held to the new settings.
func TestReconfigure(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.say("MAIL FROM:<a@sender.test>", "250")
		cfg := config()
		cfg.MaxMessageSize, cfg.MaxRecipients, cfg.Hostname = 10, 1, "new.example.com"
		var outcomes []proxy.Outcome
		cfg.Hooks.Message = func(_ *policy.Transaction, m *proxy.Message) { outcomes = append(outcomes, m.Outcome) }
		g.server.Reconfigure(cfg, g.engine, g.pool)
		p.say("RCPT TO:<b@example.com>", "250")
		p.say("RCPT TO:<c@example.com>", "250")
		p.say("DATA", "354")
		p.say("longer than ten\r\n.", "250")
		p.say("MAIL FROM:<a@sender.test> SIZE=11", "552")
		q := g.connect()
		q.want("220 new.example.com")
		q.say("EHLO c.example.org", "250")
		if got := q.mail("longer than ten\r\n", "b@example.com"); !strings.HasPrefix(got, "552") {
			t.Errorf("told %q", got)
		}
		if fmt.Sprint(outcomes) != "[too_big]" {
			t.Errorf("outcomes %v", outcomes)
		}
	})
}
