package verify

import (
	"net/netip"
	"testing"
)

func TestNetworkOf(t *testing.T) {
	for addr, network := range map[string]string{
		"192.0.2.77":            "192.0.2.0/24",
		"::ffff:192.0.2.77":     "192.0.2.0/24",
		"2001:db8:1:2::3":       "2001:db8:1::/48",
		"2001:db8:1:ffff::3%e0": "2001:db8:1::/48",
	} {
		got, ok := networkOf(netip.MustParseAddr(addr))
		if !ok || got.String() != network {
			t.Errorf("networkOf(%s) = %v, %t; want %s", addr, got, ok, network)
		}
	}
	if got, ok := networkOf(netip.Addr{}); ok {
		t.Errorf("no address is in %v", got)
	}
}
