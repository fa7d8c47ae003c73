package mx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// newResolver returns a Resolver that asks the name server of a simulated world. Call it inside a
// bubble.
func newResolver(t *testing.T, w *mxsim.World) *Resolver {
	t.Helper()
	r, err := dns.New(dns.Config{Servers: []string{"5.255.255.53:53"}, Dial: w.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	internal, err := NewDomains([]string{"internal.example.com", ".branch.example.com", "[192.0.2.9]"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &Resolver{
		DNS: r, Internal: internal,
		Filter: NewFilter(FilterConfig{
			Interfaces: elsewhere,
			Relay:      []netip.AddrPort{netip.MustParseAddrPort("5.9.88.1:25")},
		}),
		OwnNames: []string{"Gate.Example.com.", ""}, RelayHosts: []string{"relay.example.com"},
	}
}

func records(t *testing.T, w *mxsim.World, lines ...string) {
	t.Helper()
	if err := w.Record(lines...); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	tests := []struct {
		name    string
		records []string
		want    Kind
		hosts   string
		detail  string // part of it
	}{
		{
			"sorted by preference",
			[]string{
				"x.test. 300 IN MX 20 b.test.", "x.test. 300 IN MX 10 A.test.",
				"a.test. 300 IN A 5.9.0.1", "b.test. 300 IN AAAA 2a01::1",
			},
			Hosts, "a.test b.test", "",
		},
		{"null MX", []string{"x.test. 300 IN MX 0 ."}, NullMX, "", "null MX"},
		{"null MX of any preference", []string{"x.test. 300 IN MX 77 ."}, NullMX, "", "null MX"},
		{
			"null MX beside another",
			[]string{"x.test. 300 IN MX 0 .", "x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 5.9.0.1"},
			Hosts, "a.test", "",
		},
		{
			"null MX beside a dead one",
			[]string{"x.test. 300 IN MX 0 .", "x.test. 300 IN MX 10 none.test."},
			NoHosts, "", "no MX host has an address",
		},
		{"no such domain", nil, NXDomain, "", "does not exist"},
		{"no records at all", []string{`x.test. 300 IN TXT "x"`}, NoHosts, "", "no MX, A or AAAA"},
		{"implicit MX", []string{"x.test. 300 IN A 5.9.0.1"}, Hosts, "x.test", ""},
		{"implicit MX, IPv6", []string{"x.test. 300 IN AAAA 2a01::1"}, Hosts, "x.test", ""},
		{
			"implicit MX by an alias",
			[]string{"x.test. 300 IN CNAME y.test.", "y.test. 300 IN A 5.9.0.1"},
			Hosts, "x.test", "",
		},
		{"implicit MX at loopback", []string{"x.test. 300 IN A 127.0.0.1"}, NotProbed, "", "loopback"},
		{"implicit MX at this host", []string{"x.test. 300 IN A 5.9.77.1"}, NotProbed, "", "this host"},
		{
			"an alias as MX host",
			[]string{
				"x.test. 300 IN MX 10 alias.test.", "alias.test. 300 IN CNAME a.test.",
				"a.test. 300 IN A 5.9.0.1",
			},
			Hosts, "alias.test", "",
		},
		{
			"a dead MX host beside a live one",
			[]string{
				"x.test. 300 IN MX 10 none.test.", "x.test. 300 IN MX 20 a.test.",
				"a.test. 300 IN A 5.9.0.1",
			},
			Hosts, "a.test", "",
		},
		{
			"MX hosts without addresses",
			[]string{
				"x.test. 300 IN MX 10 none.test.", "x.test. 300 IN MX 20 empty.test.",
				`empty.test. 300 IN TXT "x"`, "x.test. 300 IN A 5.9.0.1", // no implicit MX beside MX
			},
			NoHosts, "", "no MX host has an address",
		},
		{
			"an MX host in a broken zone",
			[]string{"x.test. 300 IN MX 10 mx.broken.test.", "x.test. 300 IN MX 20 none.test."},
			Failure, "", "SERVFAIL",
		},
		{
			"a broken and a live MX host",
			[]string{
				"x.test. 300 IN MX 10 mx.broken.test.", "x.test. 300 IN MX 20 a.test.",
				"a.test. 300 IN A 5.9.0.1",
			},
			Hosts, "mx.broken.test a.test", "",
		},
		{
			"MX to an address",
			[]string{"x.test. 300 IN MX 10 5.9.0.1."},
			NotProbed, "", `"5.9.0.1"`,
		},
		{
			"MX to what is no host",
			[]string{
				`x.test. 300 IN MX 10 a\032b.test.`, "x.test. 300 IN MX 10 localhost.",
				"x.test. 300 IN MX 10 -a.test.", "x.test. 300 IN MX 10 mx.localhost.",
				"x.test. 300 IN MX 10 0x7f000001.", `x.test. 300 IN MX 10 a\000.test.`,
			},
			NotProbed, "", "no MX record names a host",
		},
		{
			"MX to an address beside a host",
			[]string{
				"x.test. 300 IN MX 10 127.0.0.1.", "x.test. 300 IN MX 20 a.test.",
				"a.test. 300 IN A 5.9.0.1",
			},
			Hosts, "a.test", "",
		},
		{
			"MX to an address beside a dead host",
			[]string{"x.test. 300 IN MX 10 5.9.0.1.", "x.test. 300 IN MX 20 none.test."},
			NotProbed, "", "name no host",
		},
		{
			"our own name as a backup MX",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "x.test. 300 IN MX 20 GATE.example.com.",
				"a.test. 300 IN A 5.9.0.1",
			},
			NotProbed, "", "gate.example.com is this host",
		},
		{
			"the relay's name",
			[]string{"x.test. 300 IN MX 10 relay.example.com."},
			NotProbed, "", "relay.example.com is this host or the relay",
		},
		{
			"our own address under another name",
			[]string{"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 5.9.77.1"},
			NotProbed, "", "an address of this host",
		},
		{
			"the relay's address",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 5.9.0.1", "a.test. 300 IN A 5.9.88.1",
			},
			NotProbed, "", "the relay's address",
		},
		{
			"only special-purpose addresses",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 10.0.0.1", "a.test. 300 IN A 127.0.0.1",
				"a.test. 300 IN AAAA ::1", "a.test. 300 IN AAAA fe80::1", "x.test. 300 IN MX 20 b.test.",
				"b.test. 300 IN A 169.254.169.254",
			},
			NotProbed, "", "is not connected to",
		},
		{
			"special-purpose addresses beside a dead host",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 10.0.0.1",
				"x.test. 300 IN MX 20 none.test.",
			},
			NotProbed, "", "private use",
		},
		{
			"special-purpose addresses beside a broken host",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 10.0.0.1",
				"x.test. 300 IN MX 20 mx.broken.test.",
			},
			Failure, "", "SERVFAIL",
		},
		{
			"one host at a special-purpose address",
			[]string{
				"x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 10.0.0.1",
				"x.test. 300 IN MX 20 b.test.", "b.test. 300 IN A 5.9.0.1",
			},
			Hosts, "b.test", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mxsim.New(mxsim.Config{})
				w.Add(&mxsim.Site{
					Domains: []string{"broken.test"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSServFail},
				})
				records(t, w, tt.records...)
				set := newResolver(t, w).Lookup(t.Context(), "X.test.")
				if set.Kind != tt.want || names(set.Hosts) != tt.hosts ||
					!strings.Contains(set.Detail, tt.detail) || set.Domain != "x.test" {
					t.Errorf("%+v, want %v, %s, %q", set, tt.want, tt.hosts, tt.detail)
				}
				if set.Implicit != (tt.hosts == "x.test") {
					t.Errorf("implicit: %v", set.Implicit)
				}
				if (set.Kind == Hosts) != (set.Detail == "") || (set.Kind == Hosts) != (set.Hosts != nil) {
					t.Errorf("%v with hosts %v and detail %q", set.Kind, set.Hosts, set.Detail)
				}
				if set.TTL < 30*time.Second {
					t.Errorf("TTL %v", set.TTL)
				}
			})
		})
	}
}

func names(hosts []Host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return strings.Join(out, " ")
}

// What is decided without DNS must not ask it.
func TestLookupWithoutDNS(t *testing.T) {
	want := map[string]Kind{
		"": NotProbed, "example": NotProbed, "localhost": NotProbed, "a.localhost": NotProbed,
		"printer.local": NotProbed, "mail.lan": NotProbed, "a.b.internal": NotProbed,
		"home.arpa": NotProbed, "nas.home.arpa": NotProbed, "host.localdomain": NotProbed,
		"dc.corp": NotProbed, "abcdefghijklmnop.onion": NotProbed, "LOCALHOST.": NotProbed,
		"192.0.2.1": NotProbed, "1.2.3": NotProbed, "a.0x7f": NotProbed, "a..test": NotProbed,
		"2001:db8::1": NotProbed, "a b.test": NotProbed, "-a.test": NotProbed, "ü.test": NotProbed,
		"a\x00.test": NotProbed, strings.Repeat("a", 64) + ".test": NotProbed,
		strings.Repeat("abc.", 64) + "test": NotProbed,
		"gate.example.com":                  NotProbed, "relay.example.com": NotProbed,
		"[192.0.2.1]": Literal, "[IPv6:2001:db8::1]": Literal, "[127.0.0.1]": Literal,
		"internal.example.com": Internal, "Internal.Example.Com.": Internal, "[192.0.2.9]": Internal,
		"a.branch.example.com": Internal, "a.b.branch.example.com": Internal,
	}
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		r := newResolver(t, w)
		for domain, kind := range want {
			set := r.Lookup(t.Context(), domain)
			if set.Kind != kind || set.Detail == "" || set.Hosts != nil {
				t.Errorf("%q: %+v, want %v", domain, set, kind)
			}
		}
		if q := w.Queries(); len(q) != 0 {
			t.Errorf("asked: %v", q)
		}
		for _, domain := range []string{"branch.example.com", "xinternal.example.com", "a.local.test"} {
			if set := r.Lookup(t.Context(), domain); set.Kind != NXDomain {
				t.Errorf("%q: %+v", domain, set)
			}
		}
	})
}

func TestLookupFailuresAreNotNXDomain(t *testing.T) {
	for mode, detail := range map[mxsim.DNSMode]string{
		mxsim.DNSServFail: "SERVFAIL", mxsim.DNSRefused: "REFUSED", mxsim.DNSSilent: "timeout",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := mxsim.New(mxsim.Config{})
			w.Add(&mxsim.Site{Domains: []string{"x.test"}, DNS: mxsim.DNSConfig{Mode: mode}})
			set := newResolver(t, w).Lookup(t.Context(), "x.test")
			if set.Kind != Failure || !strings.Contains(set.Detail, detail) {
				t.Errorf("%+v", set)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // no implicit MX after a wait that ended
		w := mxsim.New(mxsim.Config{})
		records(t, w, "x.test. 300 IN A 5.9.0.1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if set := newResolver(t, w).Lookup(ctx, "x.test"); set.Kind != Failure || set.Hosts != nil {
			t.Errorf("%+v", set)
		}
	})
}

func TestLookupLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		for i := range 30 {
			records(t, w, fmt.Sprintf("x.test. 300 IN MX %d mx%d.test.", 10*i, i),
				fmt.Sprintf("y.test. 300 IN MX %d none%d.test.", i, i),
				fmt.Sprintf("mx0.test. 300 IN A 5.9.1.%d", i),
				fmt.Sprintf("mx0.test. 300 IN AAAA 2a01::%d", i+1),
				fmt.Sprintf("mx%d.test. 300 IN A 5.9.0.%d", i, i))
		}
		r := newResolver(t, w)
		set := r.Lookup(t.Context(), "x.test")
		if names(set.Hosts) != "mx0.test mx1.test mx2.test mx3.test mx4.test" {
			t.Errorf("%+v", set)
		}
		addrs, status := r.Addrs(t.Context(), "mx0.test")
		if len(addrs) != maxAddrs || status != dns.NoError || !addrs[0].Is6() || !addrs[1].Is4() {
			t.Errorf("%v %v", addrs, status)
		}
		// Only some of the hosts were looked at: that none has an address is not proven.
		if set := r.Lookup(t.Context(), "y.test"); set.Kind != Failure {
			t.Errorf("%+v", set)
		}
	})
}

func TestHostsOfOnePreferenceAreShuffled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		records(t, w, "x.test. 300 IN MX 10 a.test.", "x.test. 300 IN MX 10 b.test.",
			"x.test. 300 IN MX 5 first.test.", "a.test. 300 IN A 5.9.0.1", "b.test. 300 IN A 5.9.0.2",
			"first.test. 300 IN A 5.9.0.3")
		r := newResolver(t, w)
		seen := make(map[string]bool)
		for range 100 {
			seen[names(r.Lookup(t.Context(), "x.test").Hosts)] = true
		}
		want := map[string]bool{"first.test a.test b.test": true, "first.test b.test a.test": true}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSlowBackupMXDoesNotHoldUpTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		w.Add(&mxsim.Site{
			Domains: []string{"silent.test"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSSilent},
		})
		records(t, w, "x.test. 300 IN MX 10 a.test.", "x.test. 300 IN MX 20 mx.silent.test.",
			"a.test. 300 IN A 5.9.0.1")
		start := time.Now()
		set := newResolver(t, w).Lookup(t.Context(), "x.test")
		if set.Kind != Hosts || names(set.Hosts) != "a.test mx.silent.test" {
			t.Errorf("%+v", set)
		}
		if took := time.Since(start); took != hostsGrace {
			t.Errorf("took %v", took)
		}
	})
}

func TestAddrs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		w.Add(&mxsim.Site{
			Domains: []string{"broken.test"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSServFail},
		})
		records(t, w, "a.test. 300 IN A 10.0.0.1", "a.test. 300 IN A 5.9.0.1",
			"a.test. 300 IN AAAA 2a01::1", "a.test. 300 IN AAAA fd00::1",
			"b.test. 300 IN A 127.0.0.1", `c.test. 300 IN TXT "x"`)
		r := newResolver(t, w)
		for _, tt := range []struct {
			host   string
			want   []netip.Addr
			status dns.Status
		}{
			{"a.test", []netip.Addr{ip("2a01::1"), ip("5.9.0.1")}, dns.NoError},
			{"b.test", nil, dns.NoError},
			{"c.test", nil, dns.NoData},
			{"d.test", nil, dns.NXDomain},
			{"mx.broken.test", nil, dns.Failure},
		} {
			got, status := r.Addrs(t.Context(), tt.host)
			if !slices.Equal(got, tt.want) || status != tt.status {
				t.Errorf("%s: %v, %v", tt.host, got, status)
			}
		}
		// Without a filter, the strict one holds.
		bare := &Resolver{DNS: r.DNS}
		if got, _ := bare.Addrs(t.Context(), "b.test"); got != nil {
			t.Errorf("without a filter: %v", got)
		}
		if set := bare.Lookup(t.Context(), "b.test"); set.Kind != NotProbed {
			t.Errorf("without a filter: %+v", set)
		}
	})
}

func TestKindNames(t *testing.T) {
	seen := make(map[string]bool)
	for k := Failure; k <= NotProbed; k++ {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("kind %d is called %q", k, s)
		}
		seen[k.String()] = true
	}
	if Kind(99).String() != "failure" {
		t.Error("an unknown kind must read as a failure")
	}
}

func BenchmarkLookupCached(b *testing.B) {
	w := mxsim.New(mxsim.Config{})
	defer w.Close()
	if err := w.Record("x.test. 300 IN MX 10 a.test.", "a.test. 300 IN A 5.9.0.1"); err != nil {
		b.Fatal(err)
	}
	resolver, err := dns.New(dns.Config{Servers: []string{"5.255.255.53:53"}, Dial: w.DialContext})
	if err != nil {
		b.Fatal(err)
	}
	defer resolver.Close()
	r := &Resolver{DNS: resolver, Filter: NewFilter(FilterConfig{Interfaces: elsewhere})}
	b.ReportAllocs()
	for b.Loop() {
		if set := r.Lookup(b.Context(), "x.test"); set.Kind != Hosts {
			b.Fatal(set)
		}
	}
}
