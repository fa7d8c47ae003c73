package policy_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

func site(domain string, behaviours ...mxsim.Behaviour) *mxsim.Site {
	return &mxsim.Site{
		Domains:    []string{domain},
		Hosts:      []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
		Mailboxes:  map[string]mxsim.Mailbox{"anna": mxsim.Active, "dora": mxsim.Disabled},
		Behaviours: behaviours,
	}
}

// TestRealVerifier decides recipients of simulated mail servers through everything that asks them.
func TestRealVerifier(t *testing.T) {
	cases := []struct {
		rcpt   string
		action policy.Action
		reply  string // a part of it
		asks   string // the host that has to be asked; "" none
	}{
		{"anna@example.com", policy.Accept, "", "mx.example.com"},
		{"nobody@example.com", policy.Reject, "550 5.1.1 <nobody@example.com>: mailbox does not exist " +
			"(mx.example.com answered 550 5.1.1 to RCPT)", "mx.example.com"},
		{"dora@example.com", policy.Reject, "550 5.2.1 <dora@example.com>: mailbox is disabled", "mx.example.com"},
		{"anna@null.example.com", policy.Reject, "556 5.1.10 <anna@null.example.com>: domain declares", ""},
		{"anna@nowhere.example.com", policy.Reject, "550 5.1.2 <anna@nowhere.example.com>: domain does not exist", ""},
		{"nobody@blocks.example.com", policy.Accept, "", "mx.blocks.example.com"},
		{"nobody@grey.example.com", policy.Defer, "450 4.2.0 <nobody@grey.example.com>: greylisted", "mx.grey.example.com"},
		{"nobody@own.example.com", policy.Accept, "", ""},
		{"nobody@closed.example.com", policy.Reject, "550 5.7.1 <nobody@closed.example.com>: refused by local policy", ""},
	}
	synctest.Test(t, func(t *testing.T) {
		world := mxsim.New(mxsim.Config{})
		defer world.Close()
		null, nowhere := site("null.example.com"), site("nowhere.example.com")
		null.DNS.NullMX = true
		nowhere.Hosts, nowhere.DNS.Mode = nil, mxsim.DNSNXDomain
		world.Add(
			site("example.com"), null, nowhere, site("own.example.com"), site("closed.example.com"),
			site("blocks.example.com", mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 you are listed")),
			site("grey.example.com", mxsim.GreylistAll(time.Minute)),
		)
		names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: world.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		filter := mx.NewFilter(mx.FilterConfig{})
		resolver := &mx.Resolver{DNS: names, Filter: filter}
		pool := probe.NewPool(probe.Config{Dial: filter.Dial(world.DialContext), Resolver: resolver})
		verifier := verify.New(verify.Config{Helo: "gate.example.org"}, resolver, pool)
		defer func() {
			if err := verifier.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if err := pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		e := engine(
			t, verifier,
			policy.Rule{Name: "closed", When: `recipient.domain == "closed.example.com"`, Action: "reject"},
			policy.Rule{Name: "own", When: `recipient.domain == "own.example.com" || catch_all`, Action: "accept"},
			policy.Rule{Name: "grey", When: `reason == "greylisted"`, Action: "reject"},
		)
		for _, c := range cases {
			before := asked(world)
			d := e.Explain(t.Context(), from(t, "news@shop.example.org"), to(t, c.rcpt))
			if d.Action != c.action || !strings.HasPrefix(d.Reply.String(), c.reply) {
				t.Errorf("%s: %v %v, want %v %s", c.rcpt, d.Action, d.Reply, c.action, c.reply)
			}
			for host, n := range asked(world) {
				if host != c.asks && n != before[host] {
					t.Errorf("%s: asked %s", c.rcpt, host)
				}
			}
			if c.asks != "" && d.Result.MX != c.asks {
				t.Errorf("%s: the answer is from %q, not %s", c.rcpt, d.Result.MX, c.asks)
			}
		}
	})
}

// asked counts the recipients that each host was asked about.
func asked(w *mxsim.World) map[string]int {
	counts := make(map[string]int)
	for _, name := range []string{
		"", "null.", "own.", "closed.", "blocks.", "grey.",
	} {
		host := "mx." + name + "example.com"
		counts[host] = w.Host(host).Record().Count(mxsim.Rcpt)
	}
	return counts
}
