package mx

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// elsewhere is a host whose addresses are in none of the tested ranges.
func elsewhere() ([]netip.Addr, error) {
	return []netip.Addr{ip("5.9.77.1"), ip("2a01:4f8::77")}, nil
}

// specialAddresses has the first and the last address of every block of the two IANA registries
// (as of 2026), of multicast, and the forms that carry an IPv4 address.
func specialAddresses() []string {
	return []string{
		// IPv4 Special-Purpose Address Registry
		"0.0.0.0", "0.0.0.1", "0.255.255.255",
		"10.0.0.0", "10.255.255.255",
		"100.64.0.0", "100.100.100.200", "100.127.255.255",
		"127.0.0.0", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255",
		"172.16.0.0", "172.31.255.255",
		"192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.171",
		"192.0.0.192", "192.0.0.255",
		"192.0.2.0", "192.0.2.255",
		"192.31.196.0", "192.31.196.255",
		"192.52.193.0", "192.52.193.255",
		"192.88.99.0", "192.88.99.255",
		"192.168.0.0", "192.168.255.255",
		"192.175.48.0", "192.175.48.255",
		"198.18.0.0", "198.19.255.255",
		"198.51.100.0", "198.51.100.255",
		"203.0.113.0", "203.0.113.255",
		"240.0.0.0", "255.255.255.254", "255.255.255.255",
		// multicast and cloud agents
		"224.0.0.0", "239.255.255.255", "168.63.129.16",
		// IPv6 Special-Purpose Address Registry
		"::", "::1",
		"::ffff:0.0.0.0", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
		"64:ff9b::", "64:ff9b::127.0.0.1", "64:ff9b::10.1.2.3", "64:ff9b::169.254.169.254",
		"64:ff9b::255.255.255.255",
		"64:ff9b:1::", "64:ff9b:1::5.9.0.1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
		"100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff",
		"2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2001:0:5909:1::f5ff:fefe", "2001:1::1", "2001:1::2", "2001:1::3",
		"2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "2001:3::", "2001:4:112::",
		"2001:10::", "2001:1f:ffff::", "2001:20::", "2001:2f:ffff::", "2001:30::", "2001:3f:ffff::",
		"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
		"2002::", "2002:7f00:1::", "2002:a00:1::1", "2002:509:1::1",
		"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
		"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
		"5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"fc00::", "fd00::1", "fd00:ec2::254", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1%lo",
		// IPv4-compatible, IPv4-translated, site local, multicast, never allocated
		"::127.0.0.1", "::10.0.0.1", "::5.9.0.1", "::ffff:0:127.0.0.1", "::ffff:0:5.9.0.1",
		"fec0::1", "feff::1", "ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"1::1", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "fbff::1", "200::1", "fe00::1",
		// a zone makes any address one of the local network
		"2a01::1%eth0",
	}
}

// publicAddresses are real networks, among them the neighbours of every special range.
func publicAddresses() []string {
	return []string{
		"1.0.0.0", "1.1.1.1", "5.9.0.1", "8.8.8.8", "9.255.255.255", "11.0.0.0",
		"100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
		"172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0",
		"192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0",
		"192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0",
		"192.175.47.255", "192.175.49.0", "198.17.255.255", "198.20.0.0",
		"198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
		"::ffff:5.9.0.1", "64:ff9b::5.9.0.1", "64:ff9b::8.8.8.8",
		"2000::", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::",
		"2001:4860:4860::8888", "2003::", "2606:4700::1111",
		"2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::", "2a01:4f8::1",
		"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "3fff:ffff::",
	}
}

func TestFilterSpecialPurpose(t *testing.T) {
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	for _, s := range specialAddresses() {
		err := f.Check(ip(s))
		forbidden, ok := errors.AsType[*ForbiddenError](err)
		if !ok || forbidden.Why == "" || forbidden.Own {
			t.Errorf("%s: %v", s, err)
		}
		if addr := ip(s); addr.Is4() { // the same on the wire, in every form
			mapped := netip.AddrFrom16(addr.As16())
			compatible := addr.As16()
			compatible[10], compatible[11] = 0, 0
			for _, a := range []netip.Addr{mapped, netip.AddrFrom16(compatible), embed(addr)} {
				if f.Check(a) == nil {
					t.Errorf("%s may be connected to", a)
				}
			}
		}
	}
	for _, s := range publicAddresses() {
		if err := f.Check(ip(s)); err != nil {
			t.Error(err)
		}
		if a := ip(s); a.Is4() && f.Check(embed(a)) != nil {
			t.Errorf("NAT64 of %s: %v", s, f.Check(embed(a)))
		}
	}
	if f.Check(netip.Addr{}) == nil {
		t.Error("the invalid address may be connected to")
	}
}

// embed gives the NAT64 address of v4.
func embed(v4 netip.Addr) netip.Addr {
	b := nat64WellKnown.Addr().As16()
	a := v4.As4()
	copy(b[12:], a[:])
	return netip.AddrFrom16(b)
}

func TestFilterNamesTheCarriedAddress(t *testing.T) {
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	for addr, want := range map[string]string{
		"2002:a00:1::1":            "carries 10.0.0.1",
		"2001:0:5909:1::f5ff:fefe": "carries 10.0.1.1",
		"::10.0.0.1":               "carries 10.0.0.1",
		"64:ff9b::10.0.0.1":        "NAT64 of 10.0.0.1",
		"::1":                      "loopback",
		"fe80::1":                  "link local",
		"100:0:0:1::1":             "not in global unicast",
	} {
		if err := f.Check(ip(addr)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
}

func TestFilterOwnAddresses(t *testing.T) {
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	for _, s := range []string{
		"5.9.77.1", "::ffff:5.9.77.1", "64:ff9b::5.9.77.1", "2a01:4f8::77",
	} {
		if err := f.Check(ip(s)); !isOwn(err) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := f.Check(ip("5.9.77.2")); err != nil {
		t.Error(err)
	}
}

func TestFilterZeroValueKnowsTheSystemsAddresses(t *testing.T) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var f Filter
	seen := 0
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.(*net.IPNet).IP); ok {
			seen++
			if f.Check(addr) == nil {
				t.Errorf("%s of this host may be connected to", addr)
			}
		}
	}
	if own, err := interfaceAddrs(); err != nil || len(own) != seen {
		t.Errorf("%v, %v of %d addresses", err, own, seen)
	}
}

func TestFilterOwnAddressesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, failing, reads := "5.9.77.1", true, 0
		f := NewFilter(FilterConfig{Interfaces: func() ([]netip.Addr, error) {
			reads++
			if failing {
				return nil, errors.New("netlink: permission denied")
			}
			return []netip.Addr{ip(now)}, nil
		}})
		if err := f.Check(ip("5.9.0.1")); err == nil || !strings.Contains(err.Error(), "AF_NETLINK") {
			t.Errorf("without knowing our own addresses: %v", err)
		}
		failing = false
		time.Sleep(ownEvery)
		if err := f.Check(ip("5.9.0.1")); err != nil {
			t.Error(err)
		}
		now = "5.9.77.9" // a new lease
		if f.Check(ip("5.9.77.9")) != nil || reads != 2 {
			t.Errorf("read %d times", reads)
		}
		time.Sleep(ownEvery)
		if f.Check(ip("5.9.77.9")) == nil || f.Check(ip("5.9.77.1")) != nil {
			t.Error("the change was not seen")
		}
		failing = true
		time.Sleep(ownEvery)
		if f.Check(ip("5.9.77.9")) == nil || f.Check(ip("5.9.0.1")) != nil {
			t.Error("a failure to read must leave what was known")
		}
	})
}

func TestFilterRelay(t *testing.T) {
	relay := []netip.AddrPort{
		netip.MustParseAddrPort("5.9.1.1:10026"), netip.MustParseAddrPort("[::ffff:5.9.1.2]:25"),
		netip.MustParseAddrPort("[2a01::25]:25"),
	}
	f := NewFilter(FilterConfig{Relay: relay, Interfaces: elsewhere})
	for _, to := range []string{
		"5.9.1.1:10026", "5.9.1.1:25", "5.9.1.1:1", "[::ffff:5.9.1.1]:25", "5.9.1.2:25", "5.9.1.2:26",
		"[2a01::25]:25", "[2a01::25]:2525",
	} {
		if err := f.CheckPort(netip.MustParseAddrPort(to)); !isOwn(err) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := f.CheckPort(netip.MustParseAddrPort("5.9.1.3:10026")); err != nil {
		t.Error(err)
	}

	// allow_networks lifts the address, but never the very socket of the relay.
	f = NewFilter(FilterConfig{
		Relay: relay, Interfaces: elsewhere, Allow: []netip.Prefix{netip.MustParsePrefix("5.9.1.0/24")},
	})
	if err := f.CheckPort(netip.MustParseAddrPort("5.9.1.1:25")); err != nil {
		t.Error(err)
	}
	for _, to := range []string{"5.9.1.1:10026", "[::ffff:5.9.1.1]:10026", "5.9.1.2:25"} {
		if err := f.CheckPort(netip.MustParseAddrPort(to)); !isOwn(err) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestFilterAllowLiftsExactlyWhatItSays(t *testing.T) {
	tests := []struct {
		allow  string
		may    []string
		mayNot []string
	}{
		{
			"10.1.0.0/16",
			[]string{"10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "5.9.0.1"},
			[]string{
				"10.0.255.255", "10.2.0.0", "127.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::", "::10.1.2.3",
			},
		},
		{"127.0.0.2/32", []string{"127.0.0.2"}, []string{"127.0.0.1", "127.0.0.3", "::1"}},
		{"::1/128", []string{"::1"}, []string{"127.0.0.1", "::2", "::"}},
		{"fd00:1::/32", []string{"fd00:1::5"}, []string{"fd00:2::5", "fe80::1"}},
		{"64:ff9b::a01:0/112", []string{"64:ff9b::10.1.2.3"}, []string{"10.1.2.3", "64:ff9b::10.2.0.1"}},
		{"::ffff:10.1.0.0/112", []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"10.2.0.1"}},
		{"10.1.2.3/16", []string{"10.1.0.1"}, []string{"10.2.0.1"}}, // host bits set
		{"5.9.77.1/32", []string{"5.9.77.1"}, []string{"2a01:4f8::77"}},
		{"0.0.0.0/0", []string{"10.1.2.3", "127.0.0.1"}, []string{"::1", "fd00::1"}},
		{"::/0", []string{"::1", "fd00::1"}, []string{"10.1.2.3", "::ffff:10.1.2.3"}},
	}
	for _, tt := range tests {
		f := NewFilter(FilterConfig{
			Interfaces: elsewhere, Allow: []netip.Prefix{netip.MustParsePrefix(tt.allow)},
		})
		for _, s := range tt.may {
			if err := f.Check(ip(s)); err != nil {
				t.Errorf("allow %s: %v", tt.allow, err)
			}
		}
		for _, s := range tt.mayNot {
			if f.Check(ip(s)) == nil {
				t.Errorf("allow %s lifts %s", tt.allow, s)
			}
		}
	}
	f := NewFilter(FilterConfig{Interfaces: elsewhere, Allow: []netip.Prefix{{}}})
	if f.Check(ip("127.0.0.1")) == nil {
		t.Error("an invalid prefix lifts everything")
	}
}

// FuzzFilter compares the filter with an oracle that knows addresses by what they can reach: no
// form of an address that ends at a special-purpose IPv4 address passes.
func FuzzFilter(f *testing.F) {
	for _, s := range append(specialAddresses(), publicAddresses()...) {
		if a := ip(s); a.Is4() {
			b := a.As4()
			f.Add(b[:])
		} else {
			b := a.As16()
			f.Add(b[:])
		}
	}
	filter := NewFilter(FilterConfig{Interfaces: elsewhere})
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok || filter.Check(addr) != nil {
			return
		}
		if addr != addr.Unmap() && filter.Check(addr.Unmap()) != nil {
			t.Errorf("%s passes, %s does not", addr, addr.Unmap())
		}
		plain := addr.Unmap()
		if !plain.IsGlobalUnicast() || plain.IsPrivate() || plain.IsLoopback() ||
			plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified() {
			t.Errorf("%s passes", addr)
		}
		if v4, ok := nat64(plain); ok && filter.Check(v4) != nil {
			t.Errorf("%s passes, %s does not", addr, v4)
		}
	})
}

func BenchmarkFilterCheck(b *testing.B) {
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	addr := ip("5.9.0.1")
	b.ReportAllocs()
	for b.Loop() {
		if f.Check(addr) != nil {
			b.Fatal("refused")
		}
	}
}
