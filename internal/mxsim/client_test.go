package mxsim_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// dialFunc is how a test reaches a world.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// peer is a client as dumb as possible: it writes octets and reads lines.
type peer struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func connect(t *testing.T, dial dialFunc, address string) *peer {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: t, conn: conn, br: bufio.NewReader(conn)}
}

func (p *peer) write(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Fatal(err)
	}
}

// reply reads one reply, lines joined by "\n".
func (p *peer) reply() string {
	p.t.Helper()
	var lines []string
	for {
		line, err := p.br.ReadString('\n')
		if err != nil {
			p.t.Fatalf("reading a reply after %q: %v", lines, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// say sends a line and wants a reply that begins so.
func (p *peer) say(line, want string) string {
	p.t.Helper()
	p.write(line + "\r\n")
	return p.want(line, want)
}

func (p *peer) want(after, want string) string {
	p.t.Helper()
	got := p.reply()
	if !strings.HasPrefix(got, want) {
		p.t.Fatalf("%s: got %q, want %q...", after, got, want)
	}
	return got
}

// hello connects to the first host of the first site and opens a transaction.
func hello(t *testing.T, w *mxsim.World) *peer {
	t.Helper()
	p := connect(t, w.DialContext, address(w, 0))
	p.want("connect", "220 ")
	p.say("EHLO client.example.net", "250")
	p.say("MAIL FROM:<sender@example.net>", "250")
	return p
}

func address(w *mxsim.World, site int) string {
	return netip.AddrPortFrom(w.Sites()[site].Hosts[0].Addrs[0], 25).String()
}

// ask sends one DNS query.
func ask(t *testing.T, dial dialFunc, network, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	conn, err := dial(t.Context(), network, server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	response, _, err := new(dns.Client).ExchangeWithConnContext(t.Context(), m, &dns.Conn{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	return response
}
