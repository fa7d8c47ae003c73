package feedback

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// routeKind is where a delivery line says that the mail went.
type routeKind byte

const (
	serverRoute   routeKind = iota // a mail server on the Internet
	unsentRoute                    // no server was reached
	internalRoute                  // this host's mailboxes and filters, internal networks
	excludedRoute                  // a smarthost, by configuration
)

// route is what the relay= field says.
type route struct {
	kind routeKind
	keep bool
	name string
	addr netip.Addr
}

// routes are the rules about which servers are the recipients' own.
type routes struct {
	excluded         []relayRule
	networks         []netip.Prefix
	internal, unsent bool
}

// relayRule is one entry of Config.Relays. The zero value of each part matches everything.
type relayRule struct {
	name    string // lower case; ".example.com" matches what is below it
	network netip.Prefix
	port    uint16
}

func newRoutes(c Config) (routes, error) {
	r := routes{networks: c.Networks, internal: c.Internal, unsent: c.Unsent}
	for _, s := range c.Relays {
		rule, ok := parseRelayRule(s)
		if !ok {
			return routes{}, &ConfigError{
				Field: "Relays", Value: s,
				Fix: `write a host name ("smarthost.example.com", ".example.com" for all below it), an ` +
					`address or a network; ":587" behind a name or an address ("[2001:db8::1]:587") ` +
					`restricts it to a port`,
			}
		}
		r.excluded = append(r.excluded, rule)
	}
	return r, nil
}

func parseRelayRule(s string) (rule relayRule, ok bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return relayRule{network: p.Masked()}, true
	}
	host := s
	// One colon parts a port from a name or IPv4 address; IPv6 addresses with a port are in brackets.
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		colon := strings.LastIndexByte(s, ':')
		if colon > strings.LastIndexByte(s, ']') {
			port, err := strconv.ParseUint(s[colon+1:], 10, 16)
			if err != nil || port == 0 {
				return relayRule{}, false
			}
			rule.port, host = uint16(port), s[:colon]
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		rule.network = netip.PrefixFrom(a, a.BitLen())
		return rule, true
	}
	rule.name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "*"), "."))
	return rule, rule.name != "" && !strings.ContainsAny(rule.name, "*[]/: \t")
}

func (rule relayRule) matches(name string, addr netip.Addr, port uint16) bool {
	switch {
	case rule.port != 0 && rule.port != port:
		return false
	case rule.network.IsValid():
		return rule.network.Contains(addr)
	case strings.HasPrefix(rule.name, "."):
		return strings.HasSuffix(name, rule.name)
	}
	return name == rule.name
}

// of reads "host[ip]:port", "none", or the name of a transport.
func (r *routes) of(relay []byte) route {
	open := bytes.IndexByte(relay, '[')
	end := bytes.IndexByte(relay, ']')
	if open <= 0 || end < open {
		if string(relay) == "none" {
			return route{kind: unsentRoute, keep: r.unsent}
		}
		return route{kind: internalRoute, keep: r.internal}
	}
	name := strings.ToLower(string(relay[:open]))
	addr, err := netip.ParseAddr(string(relay[open+1 : end]))
	if err != nil { // "host[private/lmtp]"
		return route{kind: internalRoute, keep: r.internal, name: name}
	}
	addr = addr.Unmap()
	port := uint64(0)
	if digits, ok := bytes.CutPrefix(relay[end+1:], []byte(":")); ok {
		if port, err = strconv.ParseUint(string(digits), 10, 16); err != nil {
			port = 0
		}
	}
	to := route{name: name, addr: addr, keep: true}
	for _, rule := range r.excluded {
		if rule.matches(name, addr, uint16(port)) {
			to.kind, to.keep = excludedRoute, false
			return to
		}
	}
	if isInternal(addr) && !r.expected(addr) {
		to.kind, to.keep = internalRoute, r.internal
	}
	return to
}

// expected reports that recipients' servers may be at addr.
func (r *routes) expected(addr netip.Addr) bool {
	for _, n := range r.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// sharedSpace is the address space of carriers' NATs (RFC 6598).
var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// isInternal reports an address that no mail server on the Internet has.
func isInternal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() ||
		a.IsMulticast() || sharedSpace.Contains(a)
}

// ConfigError is a fault of a [Config].
type ConfigError struct {
	Field, Value, Fix string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s: %q cannot be used: %s", e.Field, e.Value, e.Fix)
}
