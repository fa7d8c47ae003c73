package main

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// postfixPlace is where something listens or connects.
type postfixPlace struct {
	path       string // of a Unix socket
	port       int
	addrs      []netip.Addr
	everywhere bool
}

// same tells whether a connection to one place arrives at the other.
func (p postfixPlace) same(other postfixPlace, own []netip.Addr) bool {
	if p.path != "" || other.path != "" {
		return p.path == other.path
	}
	if p.port == 0 || p.port != other.port {
		return false
	}
	here := func(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(own, a) }
	switch {
	case p.everywhere && other.everywhere:
		return true
	case p.everywhere:
		return slices.ContainsFunc(other.addrs, here)
	case other.everywhere:
		return slices.ContainsFunc(p.addrs, here)
	}
	return slices.ContainsFunc(p.addrs, func(a netip.Addr) bool {
		return slices.Contains(other.addrs,
			a)
	})
}

// places finds places; names of hosts are looked up unless nothing may leave this machine.
type postfixPlaces struct {
	offline bool
	queue   string // queue_directory
	inside  []string
}

// target reads "host:port", "inet:host:port" or "unix:path" as smtpd_proxy_filter and
// check_policy_service have it.
func (p postfixPlaces) target(ctx context.Context, text string) postfixPlace {
	text = strings.TrimSpace(text)
	if name, ok := strings.CutPrefix(text, "unix:"); ok {
		if !strings.HasPrefix(name, "/") {
			name = filepath.Join(p.queue, name)
		}
		return postfixPlace{path: filepath.Clean(name)}
	}
	return p.inet(ctx, strings.TrimPrefix(text, "inet:"))
}

// endpoint is a place of the gate's configuration.
func (p postfixPlaces) endpoint(ctx context.Context, e config.Endpoint) postfixPlace {
	if name, ok := e.Unix(); ok {
		return postfixPlace{path: filepath.Clean(name)}
	}
	return p.inet(ctx, string(e))
}

// service is where a service of master.cf listens.
func (p postfixPlaces) service(ctx context.Context, s *postfixService) postfixPlace {
	switch s.kind {
	case "inet":
		return p.inet(ctx, s.name)
	case "unix":
		dir := "public"
		if s.private {
			dir = "private"
		}
		return postfixPlace{path: filepath.Join(p.queue, dir, s.name)}
	}
	return postfixPlace{} // pass: postscreen hands connections over
}

// inet reads "host:port", "[host]:port" or "port", where a port may have a name.
func (p postfixPlaces) inet(ctx context.Context, text string) postfixPlace {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		host, service = "", text
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service) // of /etc/services
	if err != nil {
		return postfixPlace{}
	}
	place := postfixPlace{port: port}
	hosts := []string{host}
	if host == "" {
		hosts = p.inside
	}
	for _, h := range hosts {
		place.add(ctx, h, p.offline)
	}
	return place
}

func (p *postfixPlace) add(ctx context.Context, host string, offline bool) {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case err == nil && addr.IsUnspecified(), host == "all", host == "":
		p.everywhere = true
	case err == nil:
		p.addrs = append(p.addrs, addr.Unmap())
	case host == "loopback-only", config.Endpoint(net.JoinHostPort(host, "1")).Loopback():
		p.addrs = append(p.addrs, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	case !offline:
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return
		}
		for _, a := range found {
			p.addrs = append(p.addrs, a.Unmap())
		}
	}
}

// answer is yes, no, or not known.
type postfixAnswer int

const (
	postfixUnknown postfixAnswer = iota
	postfixYes
	postfixNo
)

// postfixListed tells whether a list of networks (mynetworks, smtpd_authorized_xforward_hosts) has an
// address. Tables, files and names of hosts are not looked into.
func postfixListed(list string, addr netip.Addr) postfixAnswer {
	unknown := false
	for _, item := range mx.PostfixItems(list) {
		excluded := strings.HasPrefix(item, "!")
		text := strings.NewReplacer("[", "", "]", "").Replace(strings.TrimPrefix(item, "!"))
		network, err := netip.ParsePrefix(text)
		if err != nil {
			one, bad := netip.ParseAddr(text)
			if bad != nil {
				unknown = true
				continue
			}
			network = netip.PrefixFrom(one, one.BitLen())
		}
		switch {
		case !network.Contains(addr):
		case unknown:
			return postfixUnknown // what stands before it may decide
		case excluded:
			return postfixNo
		default:
			return postfixYes
		}
	}
	if unknown {
		return postfixUnknown
	}
	return postfixNo
}
