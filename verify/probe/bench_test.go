package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// BenchmarkList asks for the recipients of a list, over loopback sockets and DNS, with at most 2
// connections to a domain: in the pool, without and with its manners, and beside it with a
// connection for each address. The latency is that of a round trip. The other end is a process of
// its own on the same machine.
func BenchmarkList(b *testing.B) {
	for _, c := range []struct {
		rtt                   time.Duration
		domains, list, atOnce int
	}{
		{0, 1, 20_000, 1000},
		{0, 50, 20_000, 2000},
		{20 * time.Millisecond, 50, 5000, 50},
		{50 * time.Millisecond, 1, 2000, 500},
		{50 * time.Millisecond, 50, 5000, 2000},
	} {
		for _, way := range []string{"pool", "polite", "single"} {
			b.Run(fmt.Sprintf("rtt=%v/domains=%d/%s", c.rtt, c.domains, way), func(b *testing.B) {
				l := newList(b, c.rtt, c.domains)
				ask := l.single
				if way != "single" {
					cfg := probe.Config{}
					if way == "pool" {
						cfg.Refusals, cfg.RcptPerSession = -1, -1
						cfg.Harvest = limit.ShareConfig{Least: -1}
					}
					ask = l.pooled(cfg)
				}
				n := c.list
				if way == "single" && c.rtt > 0 { // it takes its time
					n = min(n, 40*c.domains)
				}
				for b.Loop() {
					l.run(n, c.atOnce, ask)
				}
				l.report(b, n)
			})
		}
	}
}

// list is a world with a number of domains, and a way to ask.
type list struct {
	b     *testing.B
	at    mxsim.Listening
	res   *mx.Resolver
	names []string // of the domains
	dial  esmtp.DialFunc
	conns atomic.Int64
	slots *limit.Slots
}

func newList(b *testing.B, rtt time.Duration, domains int) *list {
	b.Helper()
	end := farEnd{RTT: rtt, Domains: domains}
	l := &list{b: b, at: end.start(b), slots: limit.NewSlots(2)}
	for i := range domains {
		l.names = append(l.names, end.domain(i))
	}
	l.res = resolverAt(b, l.at.DNS)
	next := mx.Dialer(loopbackFilter(), nil)
	l.dial = func(ctx context.Context, network, to string) (net.Conn, error) {
		l.conns.Add(1)
		return next(ctx, network, to)
	}
	return l
}

// run asks for n recipients, one in ten of whom does not exist.
func (l *list) run(n, atOnce int, ask func(domain, local string, code int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				local, code := "anna", 250
				if i/int64(len(l.names))%10 == 0 {
					local, code = "n"+strconv.FormatInt(i, 10), 550
				}
				ask(l.names[i%int64(len(l.names))], local, code)
			}
		})
	}
	wg.Wait()
}

func (l *list) report(b *testing.B, n int) {
	b.Helper()
	all := float64(n) * float64(b.N)
	b.ReportMetric(all/b.Elapsed().Seconds(), "addresses/s")
	b.ReportMetric(float64(l.conns.Load())/all, "connections/address")
}

// pooled asks through a pool.
func (l *list) pooled(cfg probe.Config) func(domain, local string, code int) {
	cfg.Resolver, cfg.Dial, cfg.Port = l.res, l.dial, l.at.Port
	pool := probe.NewPool(cfg)
	l.b.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			l.b.Error(err)
		}
	})
	sender := address(l.b, "sender@example.net")
	return func(domain, local string, code int) {
		out := pool.Probe(l.b.Context(), probe.Request{
			Set: l.res.Lookup(l.b.Context(), domain), Sender: sender,
			Rcpt: address(l.b, local+"@"+domain), Helo: helo,
		})
		if out.Reply.Code != code && !out.LocalLimit {
			l.b.Errorf("%s: %+v", local, out)
		}
	}
}

// single asks as most verifiers do: connect, EHLO, MAIL, RCPT, QUIT.
func (l *list) single(domain, local string, code int) {
	ctx := l.b.Context()
	release, err := l.slots.Acquire(ctx, domain)
	if err != nil {
		return
	}
	defer release()
	addrs, _ := l.res.Addrs(ctx, l.res.Lookup(ctx, domain).Hosts[0].Name)
	conn, err := l.dial(ctx, "tcp", netip.AddrPortFrom(addrs[0], uint16(l.at.Port)).String())
	if err != nil {
		l.b.Error(err)
		return
	}
	c := esmtp.NewClient(conn)
	defer c.Close()
	_, _ = c.Greeting(ctx)
	_, _ = c.Hello(ctx, helo)
	_, _ = c.Mail(ctx, esmtp.Mail{From: address(l.b, "sender@example.net")})
	r, err := c.Rcpt(ctx, esmtp.Rcpt{To: address(l.b, local+"@"+domain)})
	if err != nil || r.Code != code {
		l.b.Errorf("%s: %v %v", local, r, err)
	}
	_, _ = c.Quit(ctx)
}
