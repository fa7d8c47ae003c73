package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Dial returns next with the filter in front: the network must be TCP, the address IP:port, and
// the IP one that may be connected to. next gets the unmapped address. nil is the zero Filter.
func (f *Filter) Dial(next esmtp.DialFunc) esmtp.DialFunc {
	if f == nil {
		f = &Filter{}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := f.checkAddress(network, address)
		if err != nil {
			return nil, err
		}
		return next(ctx, network, to.String())
	}
}

// checkAddress parses and checks what is about to be connected to.
func (f *Filter) checkAddress(network, address string) (netip.AddrPort, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return netip.AddrPort{}, fmt.Errorf("network %q is not dialled, only tcp", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is not dialled: it must be IP:port", address)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	return to, f.CheckPort(to)
}

// Dialer returns the DialFunc for connections to mail servers. The filter is asked twice: before,
// and by the socket's control function, which sees the address that the kernel is going to connect
// to.
//
// bind are the source addresses (verify.bind_addresses); the first one of the destination's family
// is used. With bind addresses of one family only, the other family is not dialled: mail does not
// leave from there either. Empty leaves the choice to the system.
func Dialer(f *Filter, bind []netip.Addr) esmtp.DialFunc {
	if f == nil {
		f = &Filter{}
	}
	return f.Dial(f.connect(bind))
}

// connect is the real dialler, under the control of the filter on its own.
func (f *Filter) connect(bind []netip.Addr) esmtp.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		d := net.Dialer{
			KeepAlive: -1, // sessions are shorter than any keep-alive, and have deadlines
			ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
				_, err := f.checkAddress(network, address)
				return err
			},
		}
		if len(bind) > 0 {
			from, ok := source(bind, to.Addr().Unmap())
			if !ok {
				return nil, fmt.Errorf("no source address for %s: verify.bind_addresses has none "+
					"of its family", to.Addr())
			}
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		return d.DialContext(ctx, network, address)
	}
}

// source picks the first bind address of the destination's family.
func source(bind []netip.Addr, to netip.Addr) (netip.Addr, bool) {
	for _, b := range bind {
		if b = b.Unmap(); b.Is4() == to.Is4() {
			return b, true
		}
	}
	return netip.Addr{}, false
}

// RelayAddrs finds where the relay listens, for FilterConfig.Relay: each upstream is "host:port"
// or "unix:/path" (which has no address). Names are resolved as the relay's own client does, with
// the system's resolver, so that /etc/hosts counts. Those that do not resolve are left out and
// named in the error; the addresses are good all the same.
func RelayAddrs(ctx context.Context, upstreams []string) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	var failed []string
	for _, upstream := range upstreams {
		if strings.HasPrefix(upstream, "unix:") {
			continue
		}
		found, err := relayAddrs(ctx, upstream)
		if err != nil {
			failed = append(failed, err.Error())
		}
		addrs = append(addrs, found...)
	}
	if failed != nil {
		return addrs, fmt.Errorf("probes cannot be kept away from the relay: %s; "+
			"write its IP address in relay.upstreams", strings.Join(failed, "; "))
	}
	return addrs, nil
}

func relayAddrs(ctx context.Context, upstream string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(upstream)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		p := uint16(port) //nolint:gosec // LookupPort gives no port above 65535
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), p))
	}
	return addrs, nil
}
