// Package mx finds out which hosts receive a domain's mail, and which addresses a probe may
// connect to.
//
// # Which hosts
//
// [Resolver.Lookup] follows RFC 5321 section 5.1 and RFC 7505, and gives a [Set] whose [Kind] says
// what may be concluded. Three kinds are facts about the domain: NullMX, NXDomain and NoHosts.
// Failure is temporary. Internal, Literal and NotProbed mean that nobody may be asked, and nothing
// follows for the address:
//
//   - the domain is delivered or routed by the relay itself (internal_domains; [Domains]),
//   - it has no place in the public DNS: single labels, localhost, .local and the like, literals,
//   - its mail comes to us: an MX is our own host name or the relay's, or has our address,
//   - its hosts are all at special-purpose addresses, or MX records name what is no host.
//
// The first two are decided without a DNS query.
//
// # Which addresses
//
// DNS is under the control of whoever owns the domain, and may point at our own network. So the
// decision is not made where names are resolved, but on every connect, on the final IP address: a
// [Filter] refuses all special-purpose ranges, this host's own addresses and the relay's, and
// [Dialer] asks it in the socket's control function. Only allow_networks lifts a refusal.
//
// # Use
//
//	filter := mx.NewFilter(mx.FilterConfig{Allow: allow, Relay: relay})
//	r := &mx.Resolver{DNS: resolver, Internal: domains, Filter: filter, OwnNames: names}
//	set := r.Lookup(ctx, "example.com")
//	for _, host := range set.Hosts {
//		addrs, status := r.Addrs(ctx, host.Name)
//	}
//
// # Limits
//
// At most 5 hosts of a domain and 10 addresses of a host. A NAT64 prefix that a network chose for
// itself (not 64:ff9b::/96) is not recognised: IPv4 addresses inside it are not checked.
package mx

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// Limits on what one domain may make us do.
const (
	maxHosts = 5
	maxAddrs = 10

	// hostsGrace is how long Lookup waits for the addresses of further hosts once one is known to
	// be usable: a dead name server of a backup MX must not hold up the probe of the first.
	hostsGrace = 500 * time.Millisecond
)

// Host is a mail exchanger.
type Host struct {
	Name string // lower case, without the trailing dot
	Pref uint16 // lower is preferred
}

// Kind says what a Lookup found. The zero value is Failure: nothing is known.
type Kind int

// The kinds of a Set. See each for what may be concluded.
const (
	// Failure is temporary: SERVFAIL, a timeout, a contradiction. It says nothing of the domain.
	Failure Kind = iota
	// Hosts means that Set.Hosts may be probed.
	Hosts
	// NullMX: the domain declares that it receives no mail (RFC 7505). Proof.
	NullMX
	// NXDomain: the MX query was answered NXDOMAIN, the domain does not exist. Proof.
	NXDomain
	// NoHosts: the domain exists and no host receives its mail: no MX, A or AAAA record, or MX
	// records whose hosts all have no address.
	NoHosts
	// Internal: the domain is in internal_domains.
	Internal
	// Literal: an address literal such as [192.0.2.1]. Never probed.
	Literal
	// NotProbed: nobody may be asked, for the reason in Set.Detail.
	NotProbed
)

// String gives the kind in the words of logs and explanations.
func (k Kind) String() string {
	switch k {
	case Hosts:
		return "hosts"
	case NullMX:
		return "null MX"
	case NXDomain:
		return "NXDOMAIN"
	case NoHosts:
		return "no hosts"
	case Internal:
		return "internal"
	case Literal:
		return "literal"
	case NotProbed:
		return "not probed"
	default:
		return "failure"
	}
}

// Set is what is known of where a domain's mail goes.
type Set struct {
	Domain string // as asked, folded
	Kind   Kind
	// Hosts are to be tried in this order: by preference, shuffled within one (RFC 5321 section
	// 5.1). At least one for the Kind Hosts, none for every other.
	Hosts []Host
	// Implicit is set when the domain has no MX record and is its own host.
	Implicit bool
	// Detail explains the Kind to people, and is printable.
	Detail string
	// TTL is how long DNS lets this be believed; zero for what did not come from DNS.
	TTL time.Duration
}

// Resolver finds the hosts of domains. DNS is needed; the other fields may be left out. It is safe
// for concurrent use as long as the fields stay as they are.
type Resolver struct {
	DNS *dns.Resolver
	// Internal are the domains that the relay delivers or routes itself.
	Internal *Domains
	// Filter removes addresses that may not be connected to. nil is the zero Filter.
	Filter *Filter
	// OwnNames are the names that this host goes by: proxy.hostname, the HELO name.
	OwnNames []string
	// RelayHosts are the names of the relay, where relay.upstreams gives names.
	RelayHosts []string

	strict Filter // stands in for a nil Filter
}

// Addrs resolves a host of a Set: at most 10 addresses that may be connected to, IPv6 and IPv4 in
// turn. Without any, the status is that of the DNS answer: NoError then means that the host has
// addresses and all are forbidden.
func (r *Resolver) Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Status) {
	a := r.hostAddrs(ctx, host)
	return a.usable, a.answer.Status
}

// hostAnswer is what is known of the addresses of one host.
type hostAnswer struct {
	answer    dns.Answer
	usable    []netip.Addr
	forbidden error // why the last forbidden address is
	own       bool  // an address is ours or the relay's
}

func (r *Resolver) hostAddrs(ctx context.Context, host string) hostAnswer {
	h := hostAnswer{answer: r.DNS.Addrs(ctx, host)}
	filter := r.Filter
	if filter == nil {
		filter = &r.strict
	}
	var v4, v6 []netip.Addr
	for _, addr := range h.answer.Addrs {
		addr = addr.Unmap()
		if err := filter.Check(addr); err != nil {
			h.forbidden, h.own = err, h.own || isOwn(err)
			continue
		}
		if addr.Is4() {
			v4 = append(v4, addr)
		} else {
			v6 = append(v6, addr)
		}
	}
	h.usable = alternate(v6, v4)
	return h
}

// alternate takes from a and b in turn, so that neither family hides the other (RFC 8305 section
// 4), up to the limit.
func alternate(a, b []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for i := 0; len(out) < maxAddrs && (i < len(a) || i < len(b)); i++ {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) && len(out) < maxAddrs {
			out = append(out, b[i])
		}
	}
	return out
}

// fold brings a host or domain name into the form that names are compared in.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
