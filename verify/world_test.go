package verify_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
)

const (
	gate   = "gate.example.org"
	sender = "news@shop.example.org"
)

// world is a simulated internet with a real resolver, probe pool and Verifier.
type world struct {
	*mxsim.World
	t        testing.TB
	v        *verify.Verifier
	pool     *probe.Pool
	resolver *mx.Resolver
	logger   *slog.Logger
	log      *strings.Builder // what the Verifier logged, warnings and worse
}

// inBubble runs f with a world in a bubble of fake time, which fails the test if a
// goroutine is left at the end.
func inBubble(t *testing.T, cfg verify.Config, f func(w *world), sites ...*mxsim.Site) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg, mxsim.Config{}, sites...)
		defer w.close()
		f(w)
	})
}

func newWorld(tb testing.TB, cfg verify.Config, sim mxsim.Config, sites ...*mxsim.Site) *world {
	tb.Helper()
	w := &world{World: mxsim.New(sim), t: tb, log: new(strings.Builder)}
	w.Add(sites...)
	names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
	if err != nil {
		tb.Fatal(err)
	}
	internal, err := mx.NewDomains([]string{"internal.example.com"})
	if err != nil {
		tb.Fatal(err)
	}
	filter := mx.NewFilter(mx.FilterConfig{})
	w.resolver = &mx.Resolver{DNS: names, Filter: filter, Internal: internal, OwnNames: []string{gate}}
	w.pool = probe.NewPool(probe.Config{
		Dial: filter.Dial(w.DialContext), Resolver: w.resolver, OwnNames: []string{gate},
	})
	cfg.Helo = gate
	if cfg.Providers == nil {
		cfg.Providers = hurried()
	}
	cfg.NoInvented = cfg.NoInvented || cfg.Secret == nil // tests of it bring a secret
	w.logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.Log = w.logger
	w.v = verify.New(cfg, w.resolver, w.pool)
	return w
}

// hurried are the profiles without the manners, which are for tests of their own.
var hurried = sync.OnceValue(func() *provider.Table {
	var b strings.Builder
	for _, name := range []string{"generic", "postfix", "exim"} {
		fmt.Fprintf(&b, "[%s]\nlimits = { connections = 40, rcpt_per_session = 20, per_minute = 100000, burst = 100000 }\n", name)
	}
	table, err := provider.Load([]byte(b.String()))
	if err != nil {
		panic(err)
	}
	return table
})

func (w *world) close() {
	w.t.Helper()
	if err := w.v.Close(w.t.Context()); err != nil {
		w.t.Errorf("Verifier.Close: %v", err)
	}
	if err := w.pool.Close(w.t.Context()); err != nil {
		w.t.Errorf("Pool.Close: %v", err)
	}
	w.Close()
}

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatalf("ParseAddress(%q): %v", s, err)
	}
	return a
}

func (w *world) question(rcpt string) verify.Question {
	w.t.Helper()
	return verify.Question{
		Address: address(w.t, rcpt), Sender: address(w.t, sender), Helo: "client.example.net",
	}
}

func (w *world) verify(rcpt string) verify.Result {
	w.t.Helper()
	return w.v.Verify(w.t.Context(), w.question(rcpt))
}

// want fails the test unless r has this verdict and reason, and reports the rest of r.
func want(tb testing.TB, r verify.Result, verdict verify.Verdict, reason verify.Reason) {
	tb.Helper()
	if r.Verdict != verdict || r.Reason != reason {
		tb.Errorf("%s: %s, %s (stage %q, reply %q); want %s, %s",
			r.Address, r.Verdict, r.Reason, r.Stage, r.Reply, verdict, reason)
	}
}

// asked returns how many RCPT commands a host saw.
func (w *world) asked(host string) int { return w.Host(host).Record().Count(mxsim.Rcpt) }

// site is a site with one host mx.DOMAIN and the mailbox anna.
func site(domain string, behaviours ...mxsim.Behaviour) *mxsim.Site {
	return &mxsim.Site{
		Domains:    []string{domain},
		Hosts:      []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
		Mailboxes:  map[string]mxsim.Mailbox{"anna": mxsim.Active},
		Behaviours: behaviours,
	}
}

// hanging is a site whose host never answers a connect.
func hanging(domain string) *mxsim.Site {
	s := site(domain)
	s.Hosts[0].State = mxsim.BlackHole
	return s
}

// sleep lets fake time pass.
func sleep(d time.Duration) { time.Sleep(d) }
