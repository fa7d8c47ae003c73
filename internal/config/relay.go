package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// namedUpstream is an upstream with the key that sets its address.
type namedUpstream struct {
	Upstream
	key string
}

// upstreams are those of relay.upstream, else those of relay.upstreams, which are tried in order.
func (c *Config) upstreams() []namedUpstream {
	var list []namedUpstream
	for i, upstream := range c.Relay.Upstream {
		key := "relay.upstream." + strconv.Itoa(i) + ".address"
		list = append(list, namedUpstream{upstream, key})
	}
	if len(list) > 0 {
		return list
	}
	for i, address := range c.Relay.Upstreams {
		upstream := Upstream{Address: address, Priority: i, Weight: defaultWeight}
		list = append(list, namedUpstream{upstream, "relay.upstreams." + strconv.Itoa(i)})
	}
	return list
}

// UpstreamAddresses are the addresses of all relays, as "host:port" or "unix:/path".
func (c *Config) UpstreamAddresses() []string {
	var list []string
	for _, upstream := range c.upstreams() {
		list = append(list, string(upstream.Address))
	}
	return list
}

// Tables of relay.upstream are equal unless they say otherwise.
const (
	defaultPriority = 10
	defaultWeight   = 1
)

// fillUpstreams gives the tables of a list their defaults, which the scan cannot know.
func (c *Config) fillUpstreams() {
	for i := range c.Relay.Upstream {
		key := "relay.upstream." + strconv.Itoa(i)
		if !c.IsSet(key + ".priority") {
			c.Relay.Upstream[i].Priority = defaultPriority
		}
		if !c.IsSet(key + ".weight") {
			c.Relay.Upstream[i].Weight = defaultWeight
		}
	}
}

// relays: there must be one, and none may be this gate itself, which would loop.
func (k *checker) relays() {
	upstreams := k.upstreams()
	switch {
	case k.IsSet("relay.upstreams") && len(k.Relay.Upstream) > 0:
		k.add("relay.upstreams", "is set, and [[relay.upstream]] too", "name all relays in one of them")
	case len(upstreams) == 0:
		k.add("relay.upstreams", "is empty: accepted mail has nowhere to go",
			`write the relay's address, such as ["127.0.0.1:10026"]`)
	}
	seen := map[Endpoint]string{}
	for _, upstream := range upstreams {
		if upstream.Address == "" {
			k.add(strings.TrimSuffix(upstream.key, ".address"), "has no address",
				`write address = "host:port" or "unix:/path"`)
			continue
		}
		host, port := upstream.Address.hostPort()
		if _, ok := upstream.Address.Unix(); !ok && (host == "" || port == 0) {
			k.add(upstream.key, fmt.Sprintf("%q has no host and port to connect to", upstream.Address),
				`write "host:port" or "unix:/path"`)
			continue
		}
		if first, twice := seen[upstream.Address]; twice {
			k.add(upstream.key, "is listed twice, first as "+displayKey(first), "take one out")
		}
		seen[upstream.Address] = upstream.key
		k.loop(upstream, literalAddrs, nil)
	}
}

// loop refuses an upstream that is a listener of ours. addrs finds the addresses of a host.
func (k *checker) loop(
	upstream namedUpstream, addrs func(host string) []netip.Addr, own []netip.Addr,
) {
	host, port := upstream.Address.hostPort()
	_, isUnix := upstream.Address.Unix()
	for _, l := range k.smtpListeners() {
		lhost, lport := l.endpoint.hostPort()
		if _, lUnix := l.endpoint.Unix(); lUnix != isUnix || lport != port {
			continue // it needs no look-up
		}
		if sameEndpoint(upstream.Address, l.endpoint, place{addrs(host), addrs(lhost), own}) {
			k.add(upstream.key, fmt.Sprintf("%q is this gate itself (%s %q): mail would go round in circles",
				upstream.Address, displayKey(l.list), l.endpoint),
				"write the address of the relay behind it, such as a re-injection smtpd on port 10026")
		}
	}
}

// literalAddrs are the addresses of a host that needs no lookup.
func literalAddrs(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap().WithZone("")}
	}
	if isLocalhost(host) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

// place is what is known of the addresses of two endpoints.
type place struct {
	upstream, listener []netip.Addr
	own                []netip.Addr // of this machine's interfaces
}

// sameEndpoint tells whether a connection to upstream would arrive at listener.
func sameEndpoint(upstream, listener Endpoint, at place) bool {
	upath, isUnix := upstream.Unix()
	if lpath, ok := listener.Unix(); ok || isUnix {
		return ok && isUnix && filepath.Clean(upath) == filepath.Clean(lpath)
	}
	lhost, lport := listener.hostPort()
	uhost, uport := upstream.hostPort()
	if lport != uport || lport == 0 {
		return false
	}
	if strings.EqualFold(strings.TrimSuffix(uhost, "."), strings.TrimSuffix(lhost, ".")) {
		return true
	}
	everywhere := lhost == "" || slices.ContainsFunc(at.listener, netip.Addr.IsUnspecified)
	for _, addr := range at.upstream {
		// Linux takes a connection to the unspecified address for one to loopback.
		local := addr.IsLoopback() || addr.IsUnspecified() || slices.Contains(at.own, addr)
		switch {
		case everywhere && local, slices.Contains(at.listener, addr):
			return true
		case addr.IsUnspecified() && slices.ContainsFunc(at.listener, netip.Addr.IsLoopback):
			return true
		}
	}
	return false
}

// relayTLS refuses what cannot work together.
func (k *checker) relayTLS() {
	r := k.Relay
	if r.TLSWrapperMode && (r.TLS == "none" || r.TLS == "may") {
		k.add("relay.tls_wrappermode", fmt.Sprintf("begins with TLS, but relay.tls is %q", r.TLS),
			`write tls = "encrypt" or "verify"`)
	}
	if r.TLSServerName != "" {
		if problem := hostnameProblem(r.TLSServerName); problem != "" {
			k.add("relay.tls_server_name", quote(r.TLSServerName)+" is not a host name: it "+problem,
				"write the name in the relay's certificate, such as \"relay.example.com\"")
		}
	}
	if r.TLS != "verify" || r.TLSServerName != "" {
		return
	}
	for _, upstream := range k.upstreams() {
		if _, ok := upstream.Address.Unix(); ok {
			k.add("relay.tls_server_name", fmt.Sprintf(
				"is empty, but relay.tls is \"verify\" and %q has no name to look for", upstream.Address),
				"write the name in the relay's certificate, such as \"relay.example.com\"")
			return
		}
	}
}
