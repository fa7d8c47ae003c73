package mx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ownEvery is how long the list of this host's addresses is believed.
const ownEvery = 30 * time.Second

// ForbiddenError says why an address must not be connected to.
type ForbiddenError struct {
	Addr netip.Addr
	// Why names the range or the role of the address.
	Why string
	// Own is set when the address is this host's or the relay's: a domain whose mail goes there is
	// ours, and not merely badly set up.
	Own bool
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%s is not connected to: %s (verify.allow_networks lifts this)",
		e.Addr, e.Why)
}

// FilterConfig says which addresses are ours and which may be reached all the same.
type FilterConfig struct {
	// Allow lifts the refusal of exactly these networks (verify.allow_networks). A prefix of IPv4
	// holds for v4-mapped forms too, as they are the same on the wire; it does not reach into
	// NAT64, 6to4 or Teredo addresses.
	Allow []netip.Prefix
	// Relay is where the relay listens; see [RelayAddrs]. Its IP addresses are refused on every
	// port, and with these ports even if Allow holds them: no probe reaches the relay.
	Relay []netip.AddrPort
	// Interfaces lists the addresses of this host. nil: the system is asked, every 30 s.
	Interfaces func() ([]netip.Addr, error)
}

// Filter decides which addresses may be connected to. It is safe for concurrent use, and the zero
// value refuses all special-purpose ranges and this host's own addresses.
type Filter struct {
	allow      []netip.Prefix
	relay      []netip.AddrPort
	interfaces func() ([]netip.Addr, error)

	mu     sync.Mutex
	own    []netip.Addr
	ownAt  time.Time
	ownErr error
}

// NewFilter returns a Filter for c.
func NewFilter(c FilterConfig) *Filter {
	f := &Filter{interfaces: c.Interfaces}
	for _, p := range c.Allow {
		if p = unmapPrefix(p); p.IsValid() {
			f.allow = append(f.allow, p)
		}
	}
	for _, r := range c.Relay {
		f.relay = append(f.relay, netip.AddrPortFrom(r.Addr().Unmap().WithZone(""), r.Port()))
	}
	return f
}

// unmapPrefix turns a prefix within ::ffff:0:0/96 into the IPv4 prefix it stands for.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// Check says whether addr may be connected to; nil means yes. The error is a [*ForbiddenError], or
// tells that the addresses of this host are not known, and then everything is refused.
func (f *Filter) Check(addr netip.Addr) error {
	return f.CheckPort(netip.AddrPortFrom(addr, 0))
}

// CheckPort is Check for a connection to a port: the relay's own address and port stay forbidden
// even where Allow lifts the rest.
func (f *Filter) CheckPort(to netip.AddrPort) error {
	addr := to.Addr().Unmap()
	if !addr.IsValid() {
		return &ForbiddenError{Addr: addr, Why: "it is no IP address"}
	}
	if addr.Zone() != "" {
		return &ForbiddenError{Addr: addr, Why: "it is bound to one network interface"}
	}
	if slices.Contains(f.relay, netip.AddrPortFrom(addr, to.Port())) {
		return &ForbiddenError{Addr: addr, Why: "it is the relay", Own: true}
	}
	if slices.ContainsFunc(f.allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return nil
	}
	if slices.ContainsFunc(f.relay, func(r netip.AddrPort) bool { return r.Addr() == addr }) {
		return &ForbiddenError{Addr: addr, Why: "it is the relay's address", Own: true}
	}
	if why := special(addr); why != "" {
		return &ForbiddenError{Addr: addr, Why: why}
	}
	return f.checkOwn(addr)
}

// checkOwn refuses the addresses of this host's interfaces, also as seen through NAT64.
func (f *Filter) checkOwn(addr netip.Addr) error {
	own, err := f.ownAddrs(time.Now())
	if err != nil {
		return err
	}
	embedded, _ := nat64(addr)
	for _, o := range own {
		if o == addr || o == embedded {
			return &ForbiddenError{Addr: addr, Why: "it is an address of this host", Own: true}
		}
	}
	return nil
}

func (f *Filter) ownAddrs(now time.Time) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ownAt.IsZero() && now.Sub(f.ownAt) < ownEvery {
		return f.own, f.ownErr
	}
	list := f.interfaces
	if list == nil {
		list = interfaceAddrs
	}
	own, err := list()
	f.ownAt = now
	switch {
	case err == nil:
		f.own, f.ownErr = own, nil
	case f.own == nil:
		f.ownErr = fmt.Errorf("cannot read this host's own addresses, which probes must avoid: "+
			"%w (under systemd, RestrictAddressFamilies needs AF_NETLINK)", err)
	}
	return f.own, f.ownErr
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ipnet.IP); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs, nil
}

// isOwn reports whether err says that an address is ours.
func isOwn(err error) bool {
	forbidden, ok := errors.AsType[*ForbiddenError](err)
	return ok && forbidden.Own
}
