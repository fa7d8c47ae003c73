package dns

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// Lookups is a Resolver with the types of package net, which the SPF library (RFC 7208) asks by. Its
// errors are bare *net.DNSError, which tell what is missing from what cannot be known.
type Lookups struct{ names *Resolver }

// Lookups returns r with the types of package net.
func (r *Resolver) Lookups() Lookups { return Lookups{r} }

func netError(name string, a Answer) error {
	switch a.Status {
	case NoError:
		return nil
	case NoData, NXDomain:
		return &net.DNSError{Err: a.Status.String(), Name: name, IsNotFound: true}
	default:
		return &net.DNSError{Err: a.Detail, Name: name, IsTemporary: true}
	}
}

// LookupTXT returns the texts of a name.
func (l Lookups) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := l.names.TXT(ctx, undotted(name))
	return a.Txt, netError(name, a)
}

// LookupMX returns the mail exchangers of a domain.
func (l Lookups) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := l.names.MX(ctx, undotted(name))
	var out []*net.MX
	for _, m := range a.MX {
		out = append(out, &net.MX{Host: m.Host, Pref: m.Pref})
	}
	return out, netError(name, a)
}

// LookupIPAddr returns the addresses of a host.
func (l Lookups) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	a := l.names.Addrs(ctx, undotted(name))
	var out []net.IPAddr
	for _, addr := range a.Addrs {
		out = append(out, net.IPAddr{IP: addr.AsSlice()})
	}
	return out, netError(name, a)
}

// LookupAddr returns the names of an address.
func (l Lookups) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an IP address", Name: addr, IsNotFound: true}
	}
	a := l.names.PTR(ctx, ip)
	return a.Names, netError(addr, a)
}

func undotted(name string) string { return strings.TrimSuffix(name, ".") }
