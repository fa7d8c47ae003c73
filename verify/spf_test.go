package verify

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestSenderSPF: a sender is used where SPF lets each of our addresses send for its domain, or does
// not say that it may not.
func TestSenderSPF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		for domain, record := range map[string]string{
			"pass.example":     "v=spf1 ip4:5.9.0.1 -all",
			"fail.example":     "v=spf1 ip4:5.9.9.9 -all",
			"softfail.example": "v=spf1 ~all",
			"neutral.example":  "v=spf1 ?all",
			"include.example":  "v=spf1 include:pass.example -all",
			"mx.example":       "v=spf1 mx -all",
			"broken.example":   "v=spf1 nonsense:x -all",
			"loop.example":     "v=spf1 include:loop.example -all",
			"silent.example":   "v=spf1 include:down.example -all",
		} {
			if err := w.Record(domain + `. 300 IN TXT "` + record + `"`); err != nil {
				t.Fatal(err)
			}
		}
		w.Add(&mxsim.Site{
			Domains: []string{"down.example"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSSilent},
		}, &mxsim.Site{
			Domains: []string{"mx.example"},
			Hosts:   []*mxsim.Host{{Name: "out.mx.example", Addrs: []netip.Addr{netip.MustParseAddr("5.9.0.1")}}},
		})
		names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		s := newSenders()
		ok := func(domain string, configured ...netip.Addr) bool {
			sender, err := esmtp.ParseAddress("news@"+domain, false)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			ok, why := s.usable(t.Context(), names, configured, "gate.example", sender)
			if ok == (why != "") {
				t.Errorf("%s: %t because of %q", domain, ok, why)
			}
			if d := time.Since(start); d > spfTimeout {
				t.Errorf("%s took %v", domain, d)
			}
			return ok
		}
		ours := netip.MustParseAddr("5.9.0.1")
		for domain, want := range map[string]bool{
			"pass.example": true, "fail.example": false, "softfail.example": false,
			"neutral.example": true, "include.example": true, "mx.example": true,
			"broken.example": true, "loop.example": true, "silent.example": true, "none.example": true,
		} {
			if got := ok(domain, ours); got != want {
				t.Errorf("%s: usable %t", domain, got)
			}
		}
		if ok("pass.example", ours, netip.MustParseAddr("5.9.0.2")) {
			t.Error("usable though it fails for one of two addresses")
		}
		queries := len(w.Queries())
		ok("fail.example", ours)
		if n := len(w.Queries()); n != queries {
			t.Errorf("%d queries for what is known", n-queries)
		}

		// Without addresses in the configuration: what connections leave from.
		if !ok("fail.example") {
			t.Error("refused without knowing our address")
		}
		for _, private := range []string{"10.0.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "fe80::1", "fd00::1"} {
			s.saw(netip.MustParseAddr(private))
		}
		if !ok("fail.example") {
			t.Error("refused by a private address")
		}
		s.saw(netip.MustParseAddr("::ffff:5.9.0.1"))
		if ok("fail.example") || !ok("pass.example") {
			t.Error("what was learned is not used")
		}
	})
}

func TestClients(t *testing.T) {
	c, now := newClients(), time.Unix(1e9, 0)
	var leave []func()
	for range clientFlights {
		l, why := c.enter("a", now)
		if l == nil {
			t.Fatal(why)
		}
		leave = append(leave, l)
	}
	if l, why := c.enter("a", now); l != nil || why == "" {
		t.Error("more than its share at a time")
	}
	if l, _ := c.enter("b", now); l == nil {
		t.Error("another client waits for it")
	}
	leave[0]()
	if l, _ := c.enter("a", now); l == nil {
		t.Error("what is over still counts")
	}
	c = newClients()
	for i := range clientUnknown {
		key := string(rune(i)) + "@example.com"
		c.learn("a", key, because(MailboxExists), now)
		for range 2 {
			c.learn("a", key, because(MailboxUnknown), now)
		}
		l, why := c.enter("a", now)
		if (why != "") != (i == clientUnknown-1) {
			t.Fatalf("after %d: %q", i+1, why)
		}
		if l != nil {
			l()
		}
	}
	if l, _ := c.enter("a", now.Add(clientWindow)); l == nil {
		t.Error("not let in behind the window")
	}
	if l, _ := c.enter("", now); l == nil {
		t.Error("the command line is bounded")
	}
}
