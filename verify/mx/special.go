package mx

import "net/netip"

// A specialRange is a network where no mail server of the public Internet can be.
type specialRange struct {
	prefix netip.Prefix
	name   string
}

// special4 holds the IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates),
// multicast, and one address that a cloud keeps its agent behind. Ranges that the registry calls
// globally reachable are here too: they are anycast or protocol machinery (AS112, AMT, PCP, TURN),
// and nothing there receives mail.
// Source: https://www.iana.org/assignments/iana-ipv4-special-registry.
var special4 = []specialRange{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "the host agent of a cloud (Azure)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link local, cloud metadata (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112 (RFC 7535)"},
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT (RFC 7450)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay anycast (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112 (RFC 7534)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, limited broadcast (RFC 1112, RFC 919)"},
}

// special6 holds what the IANA IPv6 Special-Purpose Address Registry takes out of global unicast
// space. Everything outside global6 is refused without being listed, and named6 has the names.
// Source: https://www.iana.org/assignments/iana-ipv6-special-registry.
var special6 = []specialRange{
	{netip.MustParsePrefix("2001::/32"), "Teredo (RFC 4380)"},
	{netip.MustParsePrefix("2001::/23"), "IETF protocol assignments (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112 (RFC 7534)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)"},
}

// named6 names what lies outside global6, for the error message only.
var named6 = []specialRange{
	{netip.MustParsePrefix("::/128"), "the unspecified address (RFC 4291)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)"},
	{netip.MustParsePrefix("::/96"), "IPv4-compatible (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local-use NAT64 (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "discard only (RFC 6666)"},
	{netip.MustParsePrefix("5f00::/16"), "segment routing (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "site local (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

var (
	// global6 is the only part of IPv6 that IANA allocates to networks (RFC 4291 section 2.4).
	global6 = netip.MustParsePrefix("2000::/3")
	// nat64WellKnown is the prefix under which IPv6-only hosts see IPv4 ones (RFC 6052).
	nat64WellKnown = netip.MustParsePrefix("64:ff9b::/96")
)

// special says which special-purpose range holds the unmapped addr, "" if none does.
//
// A NAT64 address is judged by the IPv4 address in it: behind DNS64 every MX without IPv6 has one.
// 6to4, Teredo and IPv4-compatible addresses are refused whatever they carry, since no MX lives
// there; the text names the IPv4 address they lead to.
func special(addr netip.Addr) string {
	if addr.Is4() {
		return within(special4, addr)
	}
	if v4, ok := nat64(addr); ok {
		if why := within(special4, v4); why != "" {
			return "NAT64 of " + v4.String() + ", " + why
		}
		return ""
	}
	if !global6.Contains(addr) {
		if why := within(named6, addr); why != "" {
			return why + carried(addr)
		}
		return "not in global unicast space (RFC 4291)"
	}
	if why := within(special6, addr); why != "" {
		return why + carried(addr)
	}
	return ""
}

func within(ranges []specialRange, addr netip.Addr) string {
	for _, r := range ranges {
		if r.prefix.Contains(addr) {
			return r.name
		}
	}
	return ""
}

// nat64 returns the IPv4 address in one of the well-known prefix. Prefixes that a network chose
// for itself cannot be told from other addresses (RFC 7050).
func nat64(addr netip.Addr) (netip.Addr, bool) {
	if !nat64WellKnown.Contains(addr) {
		return netip.Addr{}, false
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:16])), true
}

// carried tells the IPv4 address inside a 6to4, Teredo or IPv4-compatible one.
func carried(addr netip.Addr) string {
	b := addr.As16()
	var v4 [4]byte
	switch {
	case b[0] == 0x20 && b[1] == 0x02: // RFC 3056 section 2
		v4 = [4]byte(b[2:6])
	case [4]byte(b[:4]) == [4]byte{0x20, 0x01}: // RFC 4380 section 4: the client, inverted
		for i := range v4 {
			v4[i] = ^b[12+i]
		}
	case [12]byte(b[:12]) == [12]byte{} && [3]byte(b[12:15]) != [3]byte{}:
		v4 = [4]byte(b[12:16])
	default:
		return ""
	}
	return ", carries " + netip.AddrFrom4(v4).String()
}
