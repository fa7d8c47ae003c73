package mxsim

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/miekg/dns"
)

// Config of a World. The zero value is for tests in memory.
type Config struct {
	// Loopback gives hosts addresses of 127.0.0.0/8, for Listen; otherwise they are of 5.0.0.0/8.
	Loopback bool
}

// World is a simulated internet. It is safe for concurrent use.
type World struct {
	config Config
	tls    certFn

	mu        sync.Mutex
	sites     []*Site
	domains   map[string]*Site
	hosts     map[netip.Addr]*Host
	names     map[string]*Host
	endpoints map[netip.AddrPort]*Host // attached ones
	resolvers map[netip.Addr]HostState // those that are not Up
	records   map[string][]dns.RR      // by lower-case owner name
	override  func(network string, query *dns.Msg) *dns.Msg
	queries   []Query

	clientPort atomic.Uint32
	group      // of the DNS server
}

// New returns an empty World. Under testing/synctest call it inside the bubble.
func New(c Config) *World {
	w := &World{
		config:    c,
		tls:       newCert(),
		domains:   make(map[string]*Site),
		hosts:     make(map[netip.Addr]*Host),
		names:     make(map[string]*Host),
		endpoints: make(map[netip.AddrPort]*Host),
		resolvers: make(map[netip.Addr]HostState),
		records:   make(map[string][]dns.RR),
	}
	w.start()
	return w
}

// Add adds sites. A domain or an address that was there before goes to the site added last, as
// when a domain moves. A *Host that is in several sites, as the hosts of a large provider are, answers
// each recipient as the site of its domain would, and all else as the first of them.
func (w *World) Add(sites ...*Site) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range sites {
		for _, d := range s.Domains {
			w.domains[strings.ToLower(d)] = s
		}
		lower := make(map[string]Mailbox, len(s.Mailboxes))
		for local, m := range s.Mailboxes {
			lower[strings.ToLower(local)] = m
		}
		s.Mailboxes = lower
		n := len(w.sites)
		w.sites = append(w.sites, s)
		for i, h := range s.Hosts {
			w.addHost(s, h, n, i)
		}
	}
}

func (w *World) addHost(s *Site, h *Host, site, host int) {
	if h.site != nil {
		h.join(s)
		return
	}
	h.site = s
	h.join(s)
	h.tls = w.tls
	h.start()
	if len(h.Addrs) == 0 {
		h.Addrs = []netip.Addr{w.address(site, host)}
	}
	for _, a := range h.Addrs {
		w.hosts[a] = h
	}
	w.names[strings.ToLower(h.Name)] = h
}

// address returns the address of a host: each site has a /16 of its own as long as there are
// enough of them, so that limits and breakers that go by network see different ones.
func (w *World) address(site, host int) netip.Addr {
	first, second := 5, site%240
	if w.config.Loopback {
		first, second = 127, 10+site%240
	}
	third, fourth := site/240&0xff, (1+host)&0xff
	return netip.AddrFrom4([4]byte{byte(first), byte(second), byte(third), byte(fourth)}) //nolint:gosec // all < 256
}

// Attach makes a host that belongs to no site (a Relay's) answer at an address and port.
func (w *World) Attach(at netip.AddrPort, h *Host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoints[at] = h
}

// Host returns the host of that name, or nil.
func (w *World) Host(name string) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[strings.ToLower(strings.TrimSuffix(name, "."))]
}

// Sites returns all sites in the order in which they were added.
func (w *World) Sites() []*Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*Site(nil), w.sites...)
}

func (w *World) siteOf(domain string) *Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.domains[strings.ToLower(strings.TrimSuffix(domain, "."))]
}

// DialContext connects to a host or to the DNS server in memory. The network is "tcp", "tcp4",
// "tcp6", or "udp" and its like for DNS; the address is IP:port. What is not in this World is
// unreachable.
func (w *World) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		err = fmt.Errorf("mxsim: want IP:port, have %q", address)
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	remote := net.TCPAddrFromAddrPort(target)
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
	}
	w.mu.Lock()
	host := w.endpoints[target]
	if host == nil && target.Port() != 53 {
		host = w.hosts[target.Addr()]
	}
	state, isDNS := w.resolvers[target.Addr()], host == nil && target.Port() == 53
	w.mu.Unlock()
	if !isDNS {
		if host == nil {
			return fail(syscall.EHOSTUNREACH)
		}
		state = host.State
		if !pause(ctx, host.Latency) {
			return fail(ctx.Err())
		}
	}
	if err := connectState(ctx, state); err != nil {
		return fail(err)
	}
	client, server := newPipe(w.clientAddr(), remote)
	if isDNS {
		dialled := strings.TrimRight(network, "46")
		w.serve(server, func(ctx context.Context) { w.serveStream(ctx, server, dialled) })
	} else {
		host.Serve(server)
	}
	return client, nil
}

// connectState returns how a connection attempt fails, or nil.
func connectState(ctx context.Context, state HostState) error {
	switch state {
	case Down:
		return syscall.ECONNREFUSED
	case BlackHole:
		<-ctx.Done()
	case Up:
	}
	return ctx.Err()
}

// clientAddr returns a new address for the near end of a connection.
func (w *World) clientAddr() net.Addr {
	port := 20000 + w.clientPort.Add(1)%40000
	return &net.TCPAddr{IP: net.IPv4(5, 255, 255, 1), Port: int(port)}
}

// Close ends all servers and connections, and waits for them.
func (w *World) Close() {
	w.mu.Lock()
	hosts := make([]*Host, 0, len(w.hosts)+len(w.endpoints))
	for _, h := range w.hosts {
		hosts = append(hosts, h)
	}
	for _, h := range w.endpoints {
		hosts = append(hosts, h)
	}
	w.mu.Unlock()
	w.stop()
	for _, h := range hosts {
		h.Close()
	}
}
