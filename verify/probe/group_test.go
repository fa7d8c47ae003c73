package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// names are n recipients of a domain, all of whom exist.
func names(s *mxsim.Site, n int) []string {
	var out []string
	for i := range n {
		local := fmt.Sprintf("m%d", i)
		s.Mailboxes[local] = mxsim.Active
		out = append(out, local+"@"+s.Domains[0])
	}
	return out
}

// TestBatch: who waits together is asked for together: no more than may be refused at a time, or all
// where that is lifted.
func TestBatch(t *testing.T) {
	for refusals, most := range map[int]time.Duration{0: 600 * time.Millisecond, -1: 200 * time.Millisecond} {
		s := site("example.com")
		rcpts := names(s, 40)
		s.Hosts[0].Latency = 100 * time.Millisecond
		cfg := probe.Config{Refusals: refusals, RcptPerSession: -1}
		cfg.Harvest.Least = refusals
		inBubble(t, cfg, func(w *world) {
			w.wantReply(w.probe("anna@example.com"), "rcpt", "250") // a session is open
			settled()
			start := time.Now()
			for _, out := range w.probeAll(w.t.Context(), rcpts...) {
				w.wantReply(out, "rcpt", "250")
				if !strings.Contains(strings.Join(out.Steps, "\n"), "C: RCPT") {
					w.t.Errorf("no conversation in %q", out.Steps)
				}
			}
			if d := time.Since(start); d > most {
				w.t.Errorf("refusals %d: took %v", refusals, d)
			}
			w.atMost(2)
			settled()
			w.polite()
		}, s)
	}
}

// TestTransaction: several recipients go behind one MAIL where that is wanted, of one sender each.
func TestTransaction(t *testing.T) {
	s := site("example.com")
	rcpts := names(s, 10)
	s.Hosts[0].Latency = 10 * time.Millisecond
	inBubble(t, probe.Config{PerHost: 1}, func(w *world) {
		t := w.t
		var wg sync.WaitGroup
		for i, rcpt := range rcpts {
			r := w.request(rcpt)
			r.Group, r.Limits = "g", probe.Limits{RcptPerTransaction: 3}
			if i >= 8 {
				r.Sender = address(t, "other@example.net")
			}
			wg.Go(func() { w.wantReply(w.pool.Probe(t.Context(), r), "rcpt", "250") })
			settled()
		}
		wg.Wait()
		settled()
		var said []string
		for _, c := range s.Hosts[0].Record().Conns {
			said = append(said, verbs(c))
		}
		all := strings.Join(said, "\n")
		if strings.Count(all, "RCPT") != 10 || strings.Count(all, "MAIL") > 6 ||
			strings.Contains(all, "RCPT RCPT RCPT RCPT") || !strings.Contains(all, "MAIL RCPT RCPT RCPT RSET") {
			t.Errorf("conversations:\n%s", all)
		}
		w.polite()
	}, s)
}

// TestGroupConnections: all hosts of a group share its connections; one that is idle at one host
// makes room for another.
func TestGroupConnections(t *testing.T) {
	var sites []*mxsim.Site
	for i := range 6 {
		s := site(fmt.Sprintf("d%d.test", i))
		s.Hosts[0].Latency = 50 * time.Millisecond
		sites = append(sites, s)
	}
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		var wg sync.WaitGroup
		for i := range 30 {
			r := w.request(fmt.Sprintf("anna@d%d.test", i%6))
			r.Group, r.Limits = "hoster", probe.Limits{Connections: 2}
			wg.Go(func() {
				out := w.pool.Probe(t.Context(), r)
				w.wantReply(out, "rcpt", "250")
				if out.Elapsed > 5*time.Second {
					t.Errorf("took %v", out.Elapsed)
				}
			})
		}
		wg.Wait()
		w.dial.mu.Lock()
		peak := w.dial.most
		w.dial.mu.Unlock()
		if peak > 2 {
			t.Errorf("%d connections to the group at a time", peak)
		}
		settled()
		time.Sleep(time.Minute)
		w.polite()
	}, sites...)
}

// TestGroupRate: beyond the rate of its group a probe ends at once.
func TestGroupRate(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		limited := 0
		for i := range 20 {
			r := w.request(fmt.Sprintf("anna@d%d.test", i%2))
			r.Group = "g"
			r.Limits.Rate = limit.Rate{Count: 60, Per: time.Minute, Burst: 5}
			if out := w.pool.Probe(t.Context(), r); out.LocalLimit {
				limited++
			}
		}
		if limited != 15 {
			t.Errorf("%d of 20 were over the rate, want 15", limited)
		}
		w.wantReply(w.probe("anna@d0.test"), "rcpt", "250")
	}, site("d0.test"), site("d1.test"))
}

// TestGreeted: the banner tells whom we reached: it may change the limits, or end the session.
func TestGreeted(t *testing.T) {
	s := site("example.com")
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		calls := 0
		r := w.request("anna@example.com")
		r.Group = "example.com"
		r.Greeted = func(banner string) (string, probe.Limits, bool) {
			calls++
			if !strings.Contains(banner, "ESMTP Postfix\nmx.example.com") {
				t.Errorf("banner %q", banner)
			}
			return "big", probe.Limits{RcptPerSession: 2}, true
		}
		for range 4 {
			out := w.pool.Probe(t.Context(), r)
			w.wantReply(out, "rcpt", "250")
			if !strings.Contains(out.Banner, "Postfix") || out.Source != netip.MustParseAddr("5.255.255.1") {
				t.Errorf("banner %q, source %v", out.Banner, out.Source)
			}
			settled()
		}
		if n := len(s.Hosts[0].Record().Conns); calls != 2 || n != 2 {
			t.Errorf("asked %d times in %d connections, want 2", calls, n)
		}
		r = w.request("anna@example.org")
		r.Greeted = func(string) (string, probe.Limits, bool) { return "", probe.Limits{}, false }
		out := w.pool.Probe(t.Context(), r)
		if !out.Declined || out.Err == nil || out.LocalLimit || !out.Connected {
			t.Errorf("%+v", out)
		}
		settled()
		if n := w.Host("mx.example.org").Record().Count(mxsim.Mail); n != 0 {
			t.Errorf("%d MAIL commands", n)
		}
		w.polite()
	}, s, site("example.org"))
}

// TestMidSession: a host that has enough behind some recipients is asked for the others in further
// sessions, and remembered for what it takes.
func TestMidSession(t *testing.T) {
	for name, b := range map[string]mxsim.Behaviour{
		"452": mxsim.RcptLimit(3, "452 4.5.3 Too many recipients"),
		"421": mxsim.RcptLimit(3, "421 4.7.0 Too many recipients in this session"),
	} {
		t.Run(name, func(t *testing.T) {
			s := site("example.com", b)
			rcpts := names(s, 12)
			s.Hosts[0].Latency = 10 * time.Millisecond
			inBubble(t, probe.Config{}, func(w *world) {
				for _, out := range w.probeAll(w.t.Context(), rcpts...) {
					w.wantReply(out, "rcpt", "250")
				}
				settled()
				if n := len(s.Hosts[0].Record().Conns); n > 6 {
					w.t.Errorf("%d connections for 12 recipients, 3 in each", n)
				}
				w.atMost(2)
			}, s)
		})
	}
}

// TestCrowd: a host that takes one connection only is taken at its word.
func TestCrowd(t *testing.T) {
	s := site("example.com", mxsim.ConnLimit(1))
	rcpts := names(s, 60)
	s.Hosts[0].Latency = 10 * time.Millisecond
	inBubble(t, probe.Config{}, func(w *world) {
		w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
		for _, out := range w.probeAll(w.t.Context(), rcpts...) {
			w.wantReply(out, "rcpt", "250")
		}
		settled()
		refused := 0
		for _, c := range s.Hosts[0].Record().Conns {
			if strings.HasPrefix(c.Commands[0].Reply, "421") {
				refused++
			}
		}
		if refused > 1 {
			w.t.Errorf("%d connections were refused", refused)
		}
	}, s)
}

// TestSameHost: of several hosts of the same preference the one with a session is asked.
func TestSameHost(t *testing.T) {
	s := site("example.com")
	for i := range 4 {
		s.Hosts = append(s.Hosts, &mxsim.Host{Name: fmt.Sprintf("mx%d.example.com", i), Pref: 10})
	}
	inBubble(t, probe.Config{}, func(w *world) {
		for range 15 {
			w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
			settled()
		}
		n := 0
		for _, h := range s.Hosts {
			n += len(h.Record().Conns)
		}
		if n != 1 {
			w.t.Errorf("%d connections", n)
		}
	}, s)
}

// TestBind: a group sees one source address of each family, the groups are spread over all, and a
// family without one is not asked.
func TestBind(t *testing.T) {
	bind := []netip.Addr{
		netip.MustParseAddr("5.255.255.1"), netip.MustParseAddr("5.255.255.2"), netip.MustParseAddr("5.255.255.3"),
	}
	var sites []*mxsim.Site
	for i := range 30 {
		sites = append(sites, site(fmt.Sprintf("d%d.test", i)))
	}
	six := site("six.test")
	six.Hosts[0].Addrs = []netip.Addr{netip.MustParseAddr("2a00:1450::1")}
	sim := func(w *world) map[string]map[netip.Addr]int {
		used := make(map[string]map[netip.Addr]int)
		var mu sync.Mutex
		pool := probe.NewPool(probe.Config{
			Resolver: w.res, Dial: w.dial.dial, Bind: bind,
			DialFrom: func(source netip.Addr) esmtp.DialFunc {
				return func(ctx context.Context, network, to string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					if used[to] == nil {
						used[to] = make(map[netip.Addr]int)
					}
					used[to][source]++
					return w.dial.dial(ctx, network, to)
				}
			},
		})
		for i := range 60 {
			r := w.request(fmt.Sprintf("anna@d%d.test", i%30))
			r.Group = fmt.Sprintf("g%d", i%30)
			w.wantReply(pool.Probe(w.t.Context(), r), "rcpt", "250")
			if i == 29 {
				time.Sleep(time.Minute)
			}
		}
		out := pool.Probe(w.t.Context(), w.request("anna@six.test"))
		if out.Err == nil || out.Connected || !strings.Contains(out.Err.Error(), "bind_addresses") {
			w.t.Errorf("%+v", out)
		}
		if err := pool.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		return used
	}
	inBubble(t, probe.Config{}, func(w *world) {
		perSource := make(map[netip.Addr]int)
		for to, sources := range sim(w) {
			if len(sources) != 1 {
				w.t.Errorf("%s saw %d of our addresses", to, len(sources))
			}
			for s := range sources {
				perSource[s]++
			}
		}
		for _, b := range bind {
			if n := perSource[b]; n < 3 {
				w.t.Errorf("%v is used by %d of 30 groups", b, n)
			}
		}
	}, append(sites, six)...)
}
