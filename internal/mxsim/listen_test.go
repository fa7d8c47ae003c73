package mxsim_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

func TestListenOnLoopback(t *testing.T) {
	w := mxsim.New(mxsim.Config{Loopback: true})
	defer w.Close()
	site := simple()
	down := &mxsim.Host{Name: "mx2.example.com", Pref: 20, State: mxsim.Down}
	hole := &mxsim.Host{Name: "mx3.example.com", Pref: 30, State: mxsim.BlackHole}
	site.Hosts = append(site.Hosts, down, hole)
	w.Add(site, &mxsim.Site{
		Domains: []string{"example.org"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSTruncated},
		Hosts: []*mxsim.Host{{Name: "mx.example.org"}},
	})
	at, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	for _, network := range []string{"udp", "tcp"} {
		r := ask(t, d.DialContext, network, at.DNS, "example.com", dns.TypeMX)
		if len(r.Answer) != 3 {
			t.Errorf("%s: %v", network, r)
		}
	}
	if r := ask(t, d.DialContext, "udp", at.DNS, "example.org", dns.TypeMX); !r.Truncated {
		t.Errorf("not truncated over UDP: %v", r)
	}
	of := func(h *mxsim.Host) string {
		return netip.AddrPortFrom(h.Addrs[0], uint16(at.Port)).String()
	}
	p := connect(t, d.DialContext, of(site.Hosts[0]))
	p.want("connect", "220 mx.example.com")
	p.say("HELO x.example.net", "250 mx.example.com")
	p.say("QUIT", "221")
	if _, err := d.DialContext(t.Context(), "tcp", of(down)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a host that is down: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if conn, err := d.DialContext(ctx, "tcp", of(hole)); err == nil {
		t.Errorf("a black hole took a connection from %v", conn.LocalAddr())
	}
}

func TestListenWantsLoopback(t *testing.T) {
	w := mxsim.New(mxsim.Config{})
	defer w.Close()
	w.Add(simple())
	if _, err := w.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "Config.Loopback") {
		t.Errorf("listening on a public address: %v", err)
	}
}

func TestRelayListens(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/relay"} {
		relay := mxsim.NewRelay("relay.example.net", mxsim.Refuse(mxsim.Dot, "451 4.3.0 Error: queue file write error"))
		defer relay.Close()
		at, err := relay.Listen(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		network := "tcp"
		if path, ok := strings.CutPrefix(at, "unix:"); ok {
			network, at = "unix", path
		}
		p := connect(t, func(ctx context.Context, _, a string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, a)
		}, at)
		p.want("connect", "220")
		p.say("EHLO x.example.net", "250")
		p.write("MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n")
		p.want("MAIL", "250")
		p.want("RCPT", "250")
		p.want("DATA", "354")
		p.say("Subject: x\r\n\r\ny\r\n.", "451")
		if len(relay.Messages()) != 0 || len(relay.Refused()) != 1 {
			t.Errorf("%d taken, %d refused", len(relay.Messages()), len(relay.Refused()))
		}
	}
}

// TestDiscardCommands: a host that keeps no commands still knows who left without a word.
func TestDiscardCommands(t *testing.T) {
	for _, quit := range []bool{true, false} {
		host := &mxsim.Host{Name: "mx.example.com", DiscardCommands: true}
		client, server := net.Pipe()
		host.Serve(server)
		p := &peer{t: t, conn: client, br: bufio.NewReader(client)}
		p.reply()
		p.write("NOOP\r\n")
		p.reply()
		if quit {
			p.write("QUIT\r\n")
			p.reply()
		}
		_ = client.Close()
		host.Close()
		record := host.Record()
		if len(record.Conns) != 1 || record.Conns[0].Quit != quit || len(record.Conns[0].Commands) != 0 {
			t.Errorf("QUIT said %v: %+v", quit, record)
		}
	}
}
