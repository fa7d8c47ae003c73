package proxy_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// gate is a whole front in memory: clients, the proxy, a relay.
type gate struct {
	t      *testing.T
	l      *mxsim.Listener
	relay  *mxsim.Relay
	pool   *relay.Pool
	server *proxy.Server
	engine *policy.Engine
	log    *logBuffer
	done   chan error
}

// answers is a verifier that knows the recipients by their local parts: "unknown…" is proved
// not to exist, everything else is accepted.
type answers struct{ delay time.Duration }

func (a answers) Verify(ctx context.Context, q verify.Question) verify.Result {
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-ctx.Done():
		}
	}
	r := verify.Result{Address: q.Address, Verdict: verify.Deliverable, Reason: verify.MailboxExists}
	if strings.HasPrefix(q.Address.Local(), "unknown") {
		r.Verdict, r.Reason, r.Proof = verify.Undeliverable, verify.MailboxUnknown, true
		r.Stage, r.MX = reply.StageRcpt, "mx."+q.Address.Domain()
		r.Reply = esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no such user")
	}
	return r
}

// Recall knows at once what takes no time.
func (a answers) Recall(q *verify.Question, _ time.Time, r *verify.Result) bool {
	if a.delay > 0 {
		return false
	}
	*r = a.Verify(context.Background(), *q)
	return true
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func config() proxy.Config {
	return proxy.Config{
		Hostname: "gate.example.com", ClientNetworks: loopback(), XForwardNetworks: loopback(),
		ClientTimeout: 5 * time.Minute, MinDataRate: 500, MaxMessageSize: 1 << 20, MaxRecipients: 1000,
		SoftErrorLimit: 10, HardErrorLimit: 20, ErrorDelay: time.Second,
		TransactionBudget: 25 * time.Second,
	}
}

// start runs a gate until the test ends. Call it inside a synctest bubble.
func start(t *testing.T, cfg proxy.Config, v policy.Verifier, faults ...mxsim.Behaviour) *gate {
	t.Helper()
	g := &gate{t: t, l: mxsim.NewListener(10025), log: &logBuffer{}, done: make(chan error, 1)}
	g.relay = mxsim.NewRelay("relay.example.com", faults...)
	logger := slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	engine, err := policy.New(policy.Config{}, v, logger)
	if err != nil {
		t.Fatal(err)
	}
	g.pool = relay.New(relay.Config{
		Upstreams: relay.InOrder("127.0.0.1:10026"), Hostname: cfg.Hostname, Timeout: 90 * time.Second,
		Dial: g.relay.DialContext,
	}, logger)
	g.engine = engine
	g.server = proxy.New(cfg, engine, g.pool, logger)
	go func() { g.done <- g.server.Serve(g.l) }()
	return g
}

// stop ends everything, so that the bubble can end.
func (g *gate) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = g.server.Shutdown(ctx)
	if err := <-g.done; err != nil {
		g.t.Errorf("Serve: %v", err)
	}
	_ = g.pool.Close()
	g.relay.Close()
}

// run is a test in a bubble with a gate of the usual configuration.
func run(t *testing.T, f func(g *gate), faults ...mxsim.Behaviour) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, config(), answers{}, faults...)
		defer g.stop()
		f(g)
	})
}

// peer is a raw SMTP client.
type peer struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

var client = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 40000}

func (g *gate) connect() *peer {
	g.t.Helper()
	nc, err := g.l.DialFrom(g.t.Context(), client)
	if err != nil {
		g.t.Fatal(err)
	}
	return &peer{t: g.t, nc: nc, br: bufio.NewReader(nc)}
}

// hello connects and says EHLO.
func (g *gate) hello() *peer {
	g.t.Helper()
	p := g.connect()
	p.want("220")
	p.say("EHLO client.example.org", "250")
	return p
}

func (p *peer) close() { _ = p.nc.Close() }

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.t.Fatalf("sending %.60q: %v", s, err)
	}
}

// line reads one line; "EOF" when the connection is closed.
func (p *peer) line() string {
	p.t.Helper()
	if err := p.nc.SetReadDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		p.t.Fatal(err)
	}
	s, err := p.br.ReadString('\n')
	switch {
	case err == nil && strings.HasSuffix(s, "\r\n"):
		return strings.TrimSuffix(s, "\r\n")
	case err == nil:
		p.t.Fatalf("reply line without CR LF: %q", s)
	case os.IsTimeout(err):
		p.t.Fatalf("no reply within 10 minutes, got %q", s)
	case s != "":
		p.t.Fatalf("reply cut: %q, %v", s, err)
	}
	return "EOF"
}

// reply reads one reply, its lines joined by "|".
func (p *peer) reply() string {
	p.t.Helper()
	var lines []string
	for {
		l := p.line()
		lines = append(lines, l)
		if len(l) < 4 || l[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

func (p *peer) want(prefix string) string {
	p.t.Helper()
	r := p.reply()
	if !strings.HasPrefix(r, prefix) {
		p.t.Fatalf("reply %q, want %q", r, prefix)
	}
	return r
}

func (p *peer) say(command, prefix string) string {
	p.t.Helper()
	p.send(command + "\r\n")
	r := p.reply()
	if !strings.HasPrefix(r, prefix) {
		p.t.Fatalf("%.80q: reply %q, want %q", command, r, prefix)
	}
	return r
}

// envelope opens a transaction and comes to 354.
func (p *peer) envelope(recipients ...string) {
	p.t.Helper()
	p.say("MAIL FROM:<anna@sender.test>", "250 2.1.0")
	for _, r := range recipients {
		p.say("RCPT TO:<"+r+">", "250")
	}
	p.say("DATA", "354")
}

// mail sends a message and returns the reply to its end.
func (p *peer) mail(body string, recipients ...string) string {
	p.t.Helper()
	p.envelope(recipients...)
	p.send(body + ".\r\n")
	return p.reply()
}

func (g *gate) messages(want int) []mxsim.Message {
	g.t.Helper()
	m := g.relay.Messages()
	if len(m) != want {
		g.t.Fatalf("the relay has %d messages, want %d", len(m), want)
	}
	return m
}

// logBuffer keeps the log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
