package probe_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

const helo = "gate.example.com"

// world is a simulated internet and the pool that probes it.
type world struct {
	*mxsim.World
	t    *testing.T
	pool *probe.Pool
	res  *mx.Resolver
	dial *counter
}

// counter counts the connections that are open on our side: a host may notice late that one ended.
type counter struct {
	next esmtp.DialFunc

	mu         sync.Mutex
	open, peak map[string]int // by address
	now, most  int            // to all
}

func (c *counter) dial(ctx context.Context, network, to string) (net.Conn, error) {
	c.add(to, 1)
	conn, err := c.next(ctx, network, to)
	if err != nil {
		c.add(to, -1)
		return nil, err
	}
	return &counted{Conn: conn, closed: sync.OnceFunc(func() { c.add(to, -1) })}, nil
}

func (c *counter) add(to string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[to] += n
	c.now += n
	c.most = max(c.most, c.now)
	c.peak[to] = max(c.peak[to], c.open[to])
}

type counted struct {
	net.Conn
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}

// atMost fails the test if an address ever had more than n connections at a time.
func (w *world) atMost(n int) {
	w.t.Helper()
	w.dial.mu.Lock()
	defer w.dial.mu.Unlock()
	for to, peak := range w.dial.peak {
		if peak > n {
			w.t.Errorf("%s: %d connections at a time, at most %d", to, peak, n)
		}
	}
}

// inBubble runs f with a world in a bubble of fake time. The bubble fails the test if a goroutine
// is left at its end.
func inBubble(t *testing.T, cfg probe.Config, f func(w *world), sites ...*mxsim.Site) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mxsim.New(mxsim.Config{}), cfg, sites...)
		f(w)
		w.close()
	})
}

func newWorld(t *testing.T, sim *mxsim.World, cfg probe.Config, sites ...*mxsim.Site) *world {
	t.Helper()
	sim.Add(sites...)
	resolver, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: sim.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	filter := mx.NewFilter(mx.FilterConfig{})
	w := &world{World: sim, t: t, res: &mx.Resolver{DNS: resolver, Filter: filter}}
	w.dial = &counter{next: sim.DialContext, open: make(map[string]int), peak: make(map[string]int)}
	cfg.Dial, cfg.Resolver = filter.Dial(w.dial.dial), w.res
	w.pool = probe.NewPool(cfg)
	return w
}

// close ends the pool and the world. Whatever the pool had open must have ended politely.
func (w *world) close() {
	w.t.Helper()
	if err := w.pool.Close(w.t.Context()); err != nil {
		w.t.Errorf("Close: %v", err)
	}
	if slots, idle := w.pool.Held(); slots != 0 || idle != 0 {
		w.t.Errorf("after Close %d slots are held and %d sessions wait", slots, idle)
	}
	w.Close()
}

// request is the question for one address.
func (w *world) request(rcpt string) probe.Request {
	w.t.Helper()
	to := address(w.t, rcpt)
	return probe.Request{
		Set:    w.res.Lookup(w.t.Context(), to.ASCIIDomain()),
		Sender: address(w.t, "sender@example.net"), Rcpt: to, Helo: helo,
	}
}

func (w *world) probe(rcpt string) probe.Outcome {
	w.t.Helper()
	return w.probeCtx(w.t.Context(), rcpt)
}

func (w *world) probeCtx(ctx context.Context, rcpt string) probe.Outcome {
	w.t.Helper()
	out := w.pool.Probe(ctx, w.request(rcpt)) //nolint:contextcheck // DNS is not what is timed
	for _, step := range out.Steps {
		if strings.ContainsFunc(step, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			w.t.Errorf("control octets in step %q", step)
		}
	}
	if out.Err != nil && strings.ContainsFunc(out.Err.Error(), func(r rune) bool { return r < ' ' }) {
		w.t.Errorf("control octets in error %q", out.Err)
	}
	if out.Err == nil == (out.Reply.IsZero() && !out.NoUTF8) {
		w.t.Errorf("want either a reply or an error: %+v", out)
	}
	return out
}

// wantReply checks that the outcome is a reply of this beginning at this stage.
func (w *world) wantReply(out probe.Outcome, stage, reply string) {
	w.t.Helper()
	got := out.Reply.String()
	if string(out.Stage) != stage || !strings.HasPrefix(got, reply) || got == "" {
		w.t.Errorf("got %s %q (%v), want %s %q\n%s",
			out.Stage, out.Reply, out.Err, stage, reply, strings.Join(out.Steps, "\n"))
	}
}

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// site is a domain with one host, where anna exists and nobody else.
func site(domain string, behaviours ...mxsim.Behaviour) *mxsim.Site {
	return &mxsim.Site{
		Domains:    []string{domain},
		Hosts:      []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
		Mailboxes:  map[string]mxsim.Mailbox{"anna": mxsim.Active},
		Behaviours: behaviours,
	}
}

// settled waits until the sessions of answered probes are kept or ended.
func settled() { synctest.Wait() }

// polite fails the test if a host saw a connection of ours end without QUIT.
func (w *world) polite() {
	w.t.Helper()
	for _, s := range w.Sites() {
		for _, h := range s.Hosts {
			for _, c := range h.Record().WithoutQuit() {
				w.t.Errorf("%s: a connection ended without QUIT: %+v", h.Name, c.Commands)
			}
		}
	}
}

// verbs returns the commands of a connection, without what is behind the verb.
func verbs(c mxsim.Conn) string {
	var out []string
	for _, cmd := range c.Commands {
		if cmd.Stage != mxsim.Connect {
			out = append(out, strings.ToUpper(cmd.Line[:min(4, len(cmd.Line))]))
		}
	}
	return strings.Join(out, " ")
}
