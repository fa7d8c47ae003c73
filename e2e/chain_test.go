package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// chain is one whole set-up: an Internet, the gate, Postfix, and the sink that it delivers to.
type chain struct {
	t       *testing.T
	entry   entry // where clients connect
	gate    *gate
	postfix *postfix
	second  *postfix // of two relays; else nil
	world   *mxsim.World
	sink    *mxsim.Relay
}

// The recipients of the tests: at every domain there are mailboxes that exist and others.
//
// There are so many that no domain has 20 unknown recipients in one test: that would be a harvest.
const domains = 40

func good(n int) string { return fmt.Sprintf("user%d@site%d.example", n, n%domains) }
func bad(n int) string  { return fmt.Sprintf("nobody%d@site%d.example", n, n%domains) }

// newWorld makes the simulated Internet and the sink. Its mail servers have own addresses.
func newWorld(t *testing.T) (*mxsim.World, mxsim.Listening) {
	t.Helper()
	w := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(w.Close)
	for i := range domains {
		domain := fmt.Sprintf("site%d.example", i)
		site := &mxsim.Site{
			Domains:   []string{domain},
			Hosts:     []*mxsim.Host{{Name: "mx." + domain, Pref: 10, Addrs: []netip.Addr{host(10 + i)}}},
			Mailboxes: map[string]mxsim.Mailbox{"jörg": mxsim.Active},
		}
		for n := i; n < 1000; n += domains {
			local, _, _ := strings.Cut(good(n), "@")
			site.Mailboxes[local] = mxsim.Active
		}
		w.Add(site)
	}
	listening, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w, listening
}

// newSink makes the server that Postfix delivers to.
func newSink(t *testing.T) (*mxsim.Relay, string) {
	t.Helper()
	sink := mxsim.NewRelay("sink.example.net")
	t.Cleanup(sink.Close)
	addr, err := sink.Listen(t.Context(), netip.AddrPortFrom(host(2), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	return sink, addr
}

// verifyConfig points the verifier to the simulated Internet. A thousand recipients that come one
// by one must not run out of their budget on a busy machine.
func verifyConfig(l mxsim.Listening) string {
	return fmt.Sprintf(`
[verify]
rcpt_budget = "8s"
transaction_budget = "10m"
probe_port = %d
allow_networks = ["127.0.0.0/8"]

[verify.dns]
servers = [%q]
`, l.Port, l.DNS)
}

// newFilterChain starts Postfix with the gate as its before-queue filter.
func newFilterChain(t *testing.T) *chain {
	t.Helper()
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	front, relay, gateAddr := freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1))
	c := &chain{t: t, entry: entry{address: front}, world: world, sink: sink}
	c.gate = newGate(t, gateAddr, fragment(t, "filter/rcptgate.toml",
		"127.0.0.1:10025", gateAddr,
		"127.0.0.1:10026", relay,
		// So that a slow machine reuses connections too.
		"[relay]\n", "[relay]\nidle_timeout = \"30s\"\n")+verifyConfig(listening))
	c.postfix = newPostfix(t, fragment(t, "filter/master.cf",
		"\nsmtp      inet", "\n"+front+" inet",
		"127.0.0.1:10025", gateAddr,
		"127.0.0.1:10026", relay), sinkAddr,
		// Clients that XCLIENT makes up may send too.
		"smtpd_authorized_xclient_hosts=127.0.0.0/8", "mynetworks=127.0.0.0/8, 192.0.2.0/24")
	c.start()
	return c
}

// newFrontChain starts the gate in front of a plain Postfix.
func newFrontChain(t *testing.T) *chain {
	t.Helper()
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	relay, gateAddr := freePort(t, host(1)), freePort(t, host(1))
	c := &chain{t: t, entry: entry{address: gateAddr}, world: world, sink: sink}
	c.gate = newGate(t, gateAddr, fragment(t, "front/rcptgate.toml",
		"0.0.0.0:25", gateAddr,
		"127.0.0.1:10026", relay)+verifyConfig(listening))
	c.postfix = newPostfix(t, fragment(t, "front/master.cf",
		"127.0.0.1:10026", relay), sinkAddr)
	c.start()
	return c
}

// run runs a check of this chain as a subtest.
func (c *chain) run(name string, check func(*chain)) {
	c.t.Run(name, func(t *testing.T) {
		here := *c
		set := func(t *testing.T) {
			t.Helper()
			c.gate.t = t
			for _, p := range c.relays() {
				p.t = t
			}
		}
		here.t = t
		set(t)
		defer set(c.t)
		check(&here)
	})
}

// dial connects to the entry of the chain.
func (c *chain) dial() testClient {
	c.t.Helper()
	return c.dialAt(c.entry)
}

func (c *chain) dialAt(e entry) testClient {
	c.t.Helper()
	client, err := e.dial(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.close)
	return testClient{client, c.t}
}

func (c *chain) start() {
	for _, p := range c.relays() {
		p.start()
	}
	c.gate.start()
}

// relays are the Postfix instances.
func (c *chain) relays() []*postfix {
	if c.second == nil {
		return []*postfix{c.postfix}
	}
	return []*postfix{c.postfix, c.second}
}

// message is mail with a Message-ID and all that Postfix would otherwise add to a local client's.
func message(id string, body string) []byte {
	return []byte("From: <sender@example.org>\r\nTo: <list@example.org>\r\nSubject: " + id +
		"\r\nDate: Tue, 24 Nov 2026 08:00:00 +0000\r\nMessage-ID: <" + id + "@example.org>\r\n\r\n" + body)
}

// idOf returns the id of a message that message made.
func idOf(m mxsim.Message) string {
	_, rest, _ := bytes.Cut(m.Body, []byte("\r\nMessage-ID: <"))
	id, _, _ := bytes.Cut(rest, []byte("@example.org>"))
	return string(id)
}

// delivered waits until the sink has the message for all these recipients, each once, and returns
// its copies: Postfix delivers to at most 50 recipients at a time.
func (c *chain) delivered(id string, rcpts ...string) []mxsim.Message {
	c.t.Helper()
	var copies []mxsim.Message
	until(c.t, "delivery of "+id, func() bool {
		copies = nil
		var to []string
		for _, m := range c.sink.Messages() {
			if idOf(m) == id {
				copies = append(copies, m)
				to = append(to, m.Rcpts...)
			}
		}
		if len(to) < len(rcpts) {
			return false
		}
		slices.Sort(to)
		want := slices.Sorted(slices.Values(rcpts))
		if !slices.Equal(to, want) {
			c.t.Fatalf("%s was delivered to %q, want %q", id, to, want)
		}
		return true
	})
	return copies
}

// added checks that a delivered message is the original, octet for octet, below n header fields
// "Received:" that Postfix instances added, and nothing else.
func added(t *testing.T, got, original []byte, n int) {
	t.Helper()
	header, ok := bytes.CutSuffix(got, original)
	if !ok {
		t.Fatalf("not delivered as sent (%d octets of %d):\n%.600q", len(got), len(original), got)
	}
	fields := 0
	for line := range bytes.Lines(header) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		fields++
		if !bytes.HasPrefix(line, []byte("Received:")) {
			t.Errorf("added to the header: %q", line)
		}
	}
	if fields != n {
		t.Errorf("%d header fields added, want %d:\n%s", fields, n, header)
	}
}
