package health

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	helo = "gate.example.com"
	zone = "bl.example.net"
)

// good are the records of a host whose names fit together, and of a block list that works.
var good = []string{
	"gate.example.com. 300 IN A 5.9.0.1",
	"gate.example.com. 300 IN AAAA 2a01:4f8::1",
	"1.0.9.5.in-addr.arpa. 300 IN PTR gate.example.com.",
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.f.4.0.1.0.a.2.ip6.arpa. 300 IN PTR gate.example.com.",
	"2.0.0.127.bl.example.net. 300 IN A 127.0.0.2",
	"2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example.net. 300 IN A 127.0.0.2",
}

// with returns good with the records whose owners are named left out, and others in their places.
func with(records []string, without ...string) []string {
	out := slices.DeleteFunc(slices.Clone(good), func(r string) bool {
		return slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(r, w) })
	})
	return append(out, records...)
}

func addrs(s ...string) func() []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return func() []netip.Addr { return out }
}

func newWorld(t *testing.T, records []string) (*mxsim.World, *dns.Resolver) {
	t.Helper()
	w := mxsim.New(mxsim.Config{})
	t.Cleanup(w.Close)
	if err := w.Record(records...); err != nil {
		t.Fatal(err)
	}
	r, err := dns.New(dns.Config{Servers: []string{"192.0.2.53"}, Dial: w.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return w, r
}

func TestFindings(t *testing.T) {
	const v4, v6 = "1.0.9.5", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.f.4.0.1.0.a.2"
	both := addrs("5.9.0.1", "2a01:4f8::1")
	for name, tt := range map[string]struct {
		records []string
		config  Config
		// want has for each finding "kind severity subject" and, after a colon, words of it.
		want []string
	}{
		"all is well": {records: good, config: Config{Addrs: both, Zones: []string{zone}}},
		"mapped":      {records: good, config: Config{Addrs: addrs("::ffff:5.9.0.1")}},
		"no PTR": {
			records: with(nil, v4), config: Config{Addrs: both},
			want: []string{"ptr warning 5.9.0.1: no PTR record (NXDOMAIN)"},
		},
		"PTR of another host": {
			records: with([]string{v6 + ".ip6.arpa. 9 IN PTR other.example.com.", "other.example.com. 9 IN A 5.9.0.9"}, v6),
			config:  Config{Addrs: both},
			want:    []string{"ptr warning 2a01:4f8::1: names other.example.com, which does not lead back"},
		},
		"PTR to nowhere": {
			records: with([]string{v4 + ".in-addr.arpa. 9 IN PTR gone.example.com."}, v4),
			config:  Config{Addrs: both},
			want:    []string{"ptr warning 5.9.0.1: names gone.example.com, which does not lead back"},
		},
		"two names, one confirmed": {
			records: append([]string{v4 + ".in-addr.arpa. 9 IN PTR gone.example.com."}, good...),
			config:  Config{Addrs: both},
		},
		"a provider's name": {
			records: with([]string{
				v4 + ".in-addr.arpa. 9 IN PTR static.1-0-9-5.example.net.", "static.1-0-9-5.example.net. 9 IN A 5.9.0.1",
			}, v4),
			config: Config{Addrs: both},
			want: []string{
				"ptr notice 5.9.0.1: names static.1-0-9-5.example.net; the EHLO name is gate.example.com",
				"ptr notice 5.9.0.1: is made of the address",
			},
		},
		"EHLO name unknown": {
			records: good, config: Config{Addrs: addrs("5.9.0.1"), Helo: "nowhere.example.com"},
			want: []string{
				"helo warning nowhere.example.com: has no address (NXDOMAIN)",
				"ptr notice 5.9.0.1: the EHLO name is nowhere.example.com",
			},
		},
		"EHLO name leads elsewhere": {
			records: append([]string{"9.0.9.5.in-addr.arpa. 9 IN PTR b.example.com.", "b.example.com. 9 IN A 5.9.0.9"}, good...),
			config:  Config{Addrs: addrs("5.9.0.1", "5.9.0.9")},
			want: []string{
				"helo warning gate.example.com: leads to 5.9.0.1, 2a01:4f8::1, not to 5.9.0.9",
				"ptr notice 5.9.0.9: names b.example.com; the EHLO name is gate.example.com",
			},
		},
		"EHLO name of the lan": {
			records: good, config: Config{Addrs: addrs("5.9.0.1"), Helo: "gate.local"},
			want: []string{"helo warning gate.local: is not one of the public DNS"},
		},
		"EHLO name short": {
			records: good, config: Config{Addrs: addrs("5.9.0.1"), Helo: "gate"},
			want: []string{"helo warning gate: has no domain"},
		},
		"EHLO name is an address": {
			records: good, config: Config{Addrs: addrs("5.9.0.1"), Helo: "[5.9.0.1]"},
			want: []string{"helo warning [5.9.0.1]: is an address"},
		},
		"behind NAT": {
			records: with(nil, v4), config: Config{Addrs: addrs("10.0.0.5")},
			want: []string{
				"ptr warning 5.9.0.1: no PTR record",
				"address notice 10.0.0.5: mail servers see another one, which is not known here (NAT); looked at " +
					"instead is where the EHLO name gate.example.com leads: 5.9.0.1, 2a01:4f8::1",
			},
		},
		"behind NAT, told": {
			records: good, config: Config{Addrs: addrs("100.64.0.5"), Public: addrs("5.9.0.1")()},
		},
		"not seen yet": {
			records: good, config: Config{},
			want: []string{"address notice address: it is not known yet which address probes leave from; looked at"},
		},
		"listed": {
			records: append([]string{
				v4 + ".bl.example.net. 9 IN A 127.0.0.3", v4 + `.bl.example.net. 9 IN TXT "see\001 https://bl.example.net/?5.9.0.1"`,
				v6 + ".bl.example.net. 9 IN A 127.0.0.4",
			}, good...),
			config: Config{Addrs: both, Zones: []string{"BL.example.net."}},
			want: []string{
				`dnsbl warning 2a01:4f8::1: 2a01:4f8::1 is on the block list bl.example.net (127.0.0.4)`,
				`dnsbl warning 5.9.0.1: (127.0.0.3); it says "see\x01 https://bl.example.net/?5.9.0.1"`,
			},
		},
		"what Spamhaus means": {
			records: append([]string{
				"2.0.0.127.k3y.zen.dq.spamhaus.net. 9 IN A 127.0.0.2", v4 + ".k3y.zen.dq.spamhaus.net. 9 IN A 127.0.0.11",
			}, good...),
			config: Config{Addrs: both, Zones: []string{"k3y.zen.dq.spamhaus.net"}},
			want: []string{
				"dnsbl warning 5.9.0.1: on the block list ….zen.dq.spamhaus.net (127.0.0.11): PBL, its provider says",
			},
		},
		"a public resolver": {
			records: append([]string{
				"2.0.0.127.zen.spamhaus.org. 9 IN A 127.255.255.254", "1.0.0.127.zen.spamhaus.org. 9 IN A 127.255.255.254",
				v4 + ".zen.spamhaus.org. 9 IN A 127.255.255.254",
			}, good...),
			config: Config{Addrs: addrs("5.9.0.1"), Zones: []string{"zen.spamhaus.org"}},
			want:   []string{"zone notice zen.spamhaus.org: cannot be believed: it does not answer public resolvers (127.255.255.254)"},
		},
		"a list that lists the world": {
			records: append([]string{"*.dead.example.net. 9 IN A 127.0.0.2"}, append([]string{
				"2.0.0.127.dead.example.net. 9 IN A 127.0.0.2", "1.0.0.127.dead.example.net. 9 IN A 127.0.0.2",
				v4 + ".dead.example.net. 9 IN A 127.0.0.2",
			}, good...)...),
			config: Config{Addrs: addrs("5.9.0.1"), Zones: []string{"dead.example.net"}},
			want:   []string{"zone notice dead.example.net: it lists everything"},
		},
		"a list that was parked": {
			records: append([]string{
				"2.0.0.127.dead.example.net. 9 IN A 5.9.7.7", "1.0.0.127.dead.example.net. 9 IN A 5.9.7.7",
				v4 + ".dead.example.net. 9 IN A 5.9.7.7",
			}, good...),
			config: Config{Addrs: addrs("5.9.0.1"), Zones: []string{"dead.example.net"}},
			want:   []string{"zone notice dead.example.net: outside 127.0.0.0/8 (5.9.7.7), as a parked domain does"},
		},
		"no list at all": {
			records: append([]string{v4 + ".none.example.net. 9 IN A 127.0.0.2"}, good...),
			config:  Config{Addrs: addrs("5.9.0.1"), Zones: []string{"none.example.net"}},
			want:    []string{"zone notice none.example.net: does not list the test entry 127.0.0.2"},
		},
		"a list without IPv6": {
			records: append([]string{"2.0.0.127.four.example.net. 9 IN A 127.0.0.2"}, good...),
			config:  Config{Addrs: both, Zones: []string{"four.example.net"}},
		},
		"an error for our address only": {
			records: append([]string{v4 + ".bl.example.net. 9 IN A 127.255.255.255"}, good...),
			config:  Config{Addrs: addrs("5.9.0.1"), Zones: []string{zone}},
			want:    []string{"zone notice bl.example.net: has had too many questions"},
		},
		"what was learned": {
			records: good,
			config: Config{
				Addrs:  both,
				Port25: func() (bool, time.Time, string) { return true, time.Time{}, "connects timed out" },
				Blocks: func() []Block {
					return []Block{
						{Provider: "google", Addr: netip.MustParseAddr("5.9.0.1"), Detail: "550 5.7.1 no"}, {Provider: "yahoo"},
					}
				},
			},
			want: []string{
				"port25 critical port 25: mail servers cannot be reached: connects timed out",
				"blocked warning google: google refuses 5.9.0.1: 550 5.7.1 no",
				"blocked warning yahoo: yahoo refuses this host",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tt.config.DNS = newWorld(t, tt.records)
				if tt.config.Helo == "" {
					tt.config.Helo = helo
				}
				got := New(tt.config).Check(t.Context())
				matches := len(got) == len(tt.want)
				for i := 0; matches && i < len(got); i++ {
					head, words, _ := strings.Cut(tt.want[i], ": ")
					f := got[i]
					matches = head == string(f.Kind)+" "+string(f.Severity)+" "+f.Subject &&
						strings.Contains(f.What, words) && f.Fix != "" && !f.Since.IsZero()
				}
				if !matches {
					t.Errorf("got %+v\nwant %q", got, tt.want)
				}
			})
		})
	}
}

// DNS that fails is no news: what was found stays, and a notice says that it could not be asked.
func TestFailuresEndNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t, with([]string{"1.0.9.5.bl.example.net. 9 IN A 127.0.0.2"}, "1.0.9.5"))
		var fails atomic.Bool
		w.HandleDNS(func(_ string, q *mdns.Msg) *mdns.Msg {
			if fails.Load() {
				return new(mdns.Msg).SetRcode(q, mdns.RcodeServerFailure)
			}
			return nil
		})
		m := New(Config{DNS: r, Helo: helo, Addrs: addrs("5.9.0.1"), Zones: []string{zone}})
		first := m.Check(t.Context())
		if len(first) != 2 {
			t.Fatalf("%+v", first)
		}
		began := time.Now()
		time.Sleep(2 * time.Hour)
		fails.Store(true)
		kinds := func(fs []Finding) (s []string) {
			for _, f := range fs {
				s = append(s, string(f.Kind)+" "+string(f.Severity))
			}
			return s
		}
		second := m.Check(t.Context())
		if got := kinds(second); !slices.Equal(got, []string{
			"dnsbl warning", "ptr warning", "helo notice", "ptr notice", "zone notice",
		}) || !second[0].Since.Equal(began) {
			t.Errorf("%q %+v", got, second)
		}
		time.Sleep(2 * time.Hour)
		fails.Store(false)
		if got := m.Check(t.Context()); !slices.Equal(kinds(got), kinds(first)) {
			t.Errorf("%+v", got)
		}
		// A look that was interrupted says nothing.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(2 * time.Hour)
		if got := m.Check(ctx); !slices.Equal(kinds(got), kinds(first)) {
			t.Errorf("%+v", got)
		}
	})
}

// Each finding is logged when it begins and when it is over.
func TestRunTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t, good)
		var log bytes.Buffer
		var closed, unnamed atomic.Bool
		unnamed.Store(true)
		w.HandleDNS(func(_ string, q *mdns.Msg) *mdns.Msg {
			if unnamed.Load() && q.Question[0].Qtype == mdns.TypePTR {
				return new(mdns.Msg).SetRcode(q, mdns.RcodeNameError)
			}
			return nil
		})
		m := New(Config{
			DNS: r, Helo: helo, Addrs: addrs("5.9.0.1"), Log: slog.New(slog.NewTextHandler(&log, nil)),
			Port25: func() (bool, time.Time, string) { return closed.Load(), time.Now(), "x" },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		time.Sleep(10*time.Hour + time.Second)
		synctest.Wait()
		asked := 0
		for _, q := range w.Queries() {
			if q.Type == "PTR" {
				asked++
			}
		}
		if asked < 9 || asked > 12 {
			t.Errorf("looked %d times in 10 hours", asked)
		}
		closed.Store(true)
		unnamed.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := m.Report(); len(got) == 0 || got[0].Kind != KindPort25 {
			t.Errorf("%+v", got)
		}
		time.Sleep(3 * time.Hour)
		closed.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := m.Report(); len(got) != 0 || time.Since(m.Last()) > 2*time.Hour {
			t.Errorf("%+v %v", got, m.Last())
		}
		cancel()
		<-done
		for _, words := range []string{"level=WARN", "no PTR record", "port 25", "is over"} {
			want := 2
			if n := strings.Count(log.String(), words); n < want || words != "port 25" && n > want {
				t.Errorf("%d times %q in\n%s", n, words, log.String())
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 4 {
			t.Errorf("%d lines in\n%s", lines, log.String())
		}
	})
}

func TestEntryName(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.99": "99.2.0.192.z",
		// RFC 5782 section 2.4
		"2001:db8:1:2:3:4:567:89ab": "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.z",
	} {
		if got := entryName(netip.MustParseAddr(a), "z"); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if got := listed6.String() + " " + unlisted6.String(); got != "::ffff:127.0.0.2 ::ffff:127.0.0.1" {
		t.Errorf("the IPv6 test entries are %s", got)
	}
}

func TestLooksDynamic(t *testing.T) {
	for name, want := range map[string]bool{
		"1-0-9-5.example.net": true, "host5.9.000.001.example.net": true, "mail.example.net": false,
		"mx1.example.net": false, "mx1-59.example.net": false,
	} {
		if got := looksDynamic(name, netip.MustParseAddr("5.9.0.1")); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
