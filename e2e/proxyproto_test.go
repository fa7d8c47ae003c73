package e2e

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
)

// TestProxyProtocol runs mail through a load balancer, which tells who the client is.
func TestProxyProtocol(t *testing.T) {
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	relay, gateAddr := freePort(t, host(1)), freePort(t, host(1))
	balancer := host(66)
	config := fragment(t, "proxy/rcptgate.toml",
		"192.0.2.25:25", gateAddr,
		"192.0.2.2/32", balancer.String()+"/32",
		"192.0.2.0/24", "127.0.0.0/8\", \"192.0.2.0/24",
		"127.0.0.1:10026", relay) + verifyConfig(listening)
	c := &chain{t: t, entry: entry{address: gateAddr}, world: world, sink: sink}
	c.gate = newGate(t, gateAddr, config)
	c.postfix = newPostfix(t, fragment(t, "front/master.cf", "127.0.0.1:10026", relay), sinkAddr,
		// With ipv4 alone Postfix takes no IPv6 address in XFORWARD either.
		"inet_protocols=all")
	c.start()
	four, six := netip.MustParseAddrPort("192.0.2.77:4711"), netip.MustParseAddrPort("[2001:db8::77]:4712")
	through := func(header []byte) entry {
		return entry{address: gateAddr, from: balancer, header: header}
	}

	c.run("told clients", func(c *chain) {
		for id, at := range map[string]struct {
			entry entry
			shown string
		}{
			"v1-inet":  {through(proxyV1(four)), "192.0.2.77"},
			"v1-inet6": {through(proxyV1(six)), "2001:db8::77"},
			"v2-inet":  {through(proxyV2(netip.MustParseAddrPort("192.0.2.78:4711"))), "192.0.2.78"},
			"v2-inet6": {through(proxyV2(netip.MustParseAddrPort("[2001:db8::78]:4712"))), "2001:db8::78"},
			"direct":   {entry{address: gateAddr, from: host(67)}, host(67).String()},
		} {
			c.dialAt(at.entry).wantSent("MAIL FROM:<sender@example.org>",
				[]string{"RCPT TO:<" + good(1) + ">"}, message("proxy-"+id, "hello\r\n"))
			c.delivered("proxy-"+id, good(1))
			if lines := c.postfix.logged(": client=", "orig_client=unknown["+at.shown+"]"); len(lines) != 1 {
				c.t.Errorf("%s: not one line of the relay's log has %s: %q", id, at.shown,
					c.postfix.logged("/smtpd["))
			}
			c.gate.awaitLog(1, "msg=message", "client="+at.shown+" ")
		}
	})
	c.run("refused", func(c *chain) {
		for what, e := range map[string]entry{
			"told a client that may not connect":    through(proxyV1(netip.MustParseAddrPort("198.51.100.9:4711"))),
			"no header from the balancer":           {address: gateAddr, from: balancer, header: []byte("EHLO client.example.net\r\n")},
			"a header from somebody else":           {address: gateAddr, from: host(67), header: proxyV1(four)},
			"a broken header":                       through([]byte("PROXY TCP4 192.0.2.77 nonsense 4711 25\r\n")),
			"a header of the other version's start": through([]byte("\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c")),
		} {
			if client, err := e.dial(c.t.Context()); err == nil {
				r, err := client.cmd("MAIL FROM:<sender@example.org>")
				client.close()
				if err == nil && r.code == 250 {
					c.t.Errorf("%s: MAIL is answered %s", what, r.text)
				}
			}
		}
		c.gate.awaitLog(1, "level=WARN", "event=proxy_header", "client="+balancer.String(), "proxy.proxy_protocol_networks")
	})
	c.run("octets", func(c *chain) {
		c.entry = through(proxyV2(four))
		checkPayloads(c, 1)
	})
	c.run("killed", func(c *chain) {
		l := c.load("killed", through(proxyV1(four)), through(proxyV2(six)), c.entry)
		l.crash(syscall.SIGKILL)
		l.balance()
	})
}

// proxyV1 is a header of the PROXY protocol, version 1: text.
func proxyV1(client netip.AddrPort) []byte {
	family, server := "TCP4", "192.0.2.2"
	if client.Addr().Is6() {
		family, server = "TCP6", "2001:db8::2"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d 25\r\n", family, client.Addr(), server, client.Port())
}

// proxyV2 is a header of version 2: signature, version and command, family, length, addresses, ports,
// and here a TLV of type NOOP.
func proxyV2(client netip.AddrPort) []byte {
	family, server := byte(0x11), netip.MustParseAddr("192.0.2.2")
	if client.Addr().Is6() {
		family, server = 0x21, netip.MustParseAddr("2001:db8::2")
	}
	body := append(client.Addr().AsSlice(), server.AsSlice()...)
	body = append(body, byte(client.Port()>>8), byte(client.Port()), 0, 25, 0x04, 0, 2, 'n', 'o')
	header := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family)
	return append(append(header, 0, byte(len(body))), body...)
}
