package policyd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/policyd"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// answers is a verifier that knows the recipients by their local parts: "unknown…" is proved not to
// exist, everything else is accepted. What begins with "slow" takes a while.
type answers struct{ delay time.Duration }

func (a answers) Verify(ctx context.Context, q verify.Question) verify.Result {
	if a.slow(q) {
		limit := time.NewTimer(min(a.delay, q.Budget.Left(time.Now())))
		defer limit.Stop()
		select {
		case <-limit.C:
		case <-ctx.Done():
			return verify.Result{Address: q.Address, Verdict: verify.Unknown, Reason: verify.Timeout}
		}
	}
	return a.know(q)
}

func (a answers) slow(q verify.Question) bool { return strings.Contains(q.Address.Local(), "slow") }

func (answers) know(q verify.Question) verify.Result {
	r := verify.Result{Address: q.Address, Verdict: verify.Deliverable, Reason: verify.MailboxExists}
	if strings.Contains(q.Address.Local(), "grey") {
		r.Verdict, r.Reason = verify.Unknown, verify.Greylisted
	}
	if strings.HasPrefix(q.Address.Local(), "unknown") {
		r.Verdict, r.Reason, r.Proof = verify.Undeliverable, verify.MailboxUnknown, true
		r.Stage, r.MX = reply.StageRcpt, "mx."+q.Address.Domain()
		r.Reply = esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no such user")
	}
	return r
}

// Recall knows at once what takes no time.
func (a answers) Recall(q *verify.Question, _ time.Time, r *verify.Result) bool {
	if a.slow(*q) {
		return false
	}
	*r = a.know(*q)
	return true
}

// Schedule has a fault.
func (answers) Schedule(verify.Question, verify.Result) bool { panic("a fault of ours") }

// door is a server with its client side.
type door struct {
	t      *testing.T
	server *policyd.Server
	engine *policy.Engine
	l      *mxsim.Listener
	log    *logBuffer
	events *events
	done   chan error
	most   int // connections
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// newEngine makes an engine whose verifier takes 4 s for slow recipients.
func newEngine(tb testing.TB, cfg policy.Config) *policy.Engine {
	tb.Helper()
	return slowEngine(tb, cfg, 4*time.Second)
}

func slowEngine(tb testing.TB, cfg policy.Config, delay time.Duration) *policy.Engine {
	tb.Helper()
	engine, err := policy.New(cfg, answers{delay}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return engine
}

// inBubble runs a test with a server in memory. Its clients are at 127.0.0.9.
func inBubble(t *testing.T, cfg policyd.Config, rules policy.Config, f func(*door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &door{
			t: t, l: mxsim.NewListener(10040), log: &logBuffer{}, events: &events{},
			done: make(chan error, 1), engine: newEngine(t, rules), most: cfg.MaxConnections,
		}
		if cfg.Networks == nil {
			cfg.Networks = loopback()
		}
		cfg.Hooks = d.events.hooks()
		d.server = policyd.New(cfg, d.engine, slog.New(slog.NewTextHandler(d.log, nil)))
		go func() { d.done <- d.server.Serve(d.l) }()
		defer d.stop()
		f(d)
	})
}

// config is the server's when it is to be changed.
func (d *door) config() policyd.Config {
	return policyd.Config{Networks: loopback(), MaxConnections: d.most, Hooks: d.events.hooks()}
}

func (d *door) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.t.Errorf("Shutdown: %v", err)
	}
	if err := <-d.done; err != policyd.ErrClosed { //nolint:errorlint // it is returned as it is
		d.t.Errorf("Serve: %v", err)
	}
	if n := d.server.Open(); n != 0 {
		d.t.Errorf("%d connections are open", n)
	}
}

// logged counts the lines of the log with all these texts.
func (d *door) logged(texts ...string) (n int) {
	for line := range strings.Lines(d.log.String()) {
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			n++
		}
	}
	return n
}

// peer is a raw client.
type peer struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func (d *door) connect() *peer { return d.connectFrom("127.0.0.9") }

func (d *door) connectFrom(ip string) *peer {
	d.t.Helper()
	nc, err := d.l.DialFrom(d.t.Context(), &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: d.t, nc: nc, br: bufio.NewReader(nc)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.t.Fatalf("sending %.60q: %v", s, err)
	}
}

// answer reads one answer, without "action="; "EOF" when the connection is closed.
func (p *peer) answer() string {
	p.t.Helper()
	if err := p.nc.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.br.ReadString('\n')
	if err == nil {
		var end string
		if end, err = p.br.ReadString('\n'); err == nil && end != "\n" {
			p.t.Fatalf("behind the answer %q: %q", line, end)
		}
	}
	switch {
	case os.IsTimeout(err):
		p.t.Fatalf("no answer within an hour, got %q", line)
	case err != nil && line != "":
		p.t.Fatalf("answer cut: %q, %v", line, err)
	case err != nil:
		return "EOF"
	}
	action, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "action=")
	if !ok {
		p.t.Fatalf("answer %q", line)
	}
	return action
}

// want reads one answer that must begin so.
func (p *peer) want(prefix string) string {
	p.t.Helper()
	got := p.answer()
	if !strings.HasPrefix(got, prefix) {
		p.t.Fatalf("answer %q, want %q", got, prefix)
	}
	return got
}

func (p *peer) say(request, prefix string) string {
	p.t.Helper()
	p.send(request)
	return p.want(prefix)
}

// ask is a request as Postfix makes it, all its attributes in its order, with others added or changed.
func ask(state, instance, rcpt string, others ...string) string {
	list := []string{
		"request=smtpd_access_policy", "protocol_state=" + state, "protocol_name=ESMTP",
		"client_address=192.0.2.7", "client_name=client.example.org", "client_port=4711",
		"reverse_client_name=client.example.org", "server_address=127.0.0.1", "server_port=25",
		"helo_name=helo.example.org", "sender=anna@example.org", "recipient=" + rcpt,
		"recipient_count=0", "queue_id=", "instance=" + instance, "size=1000", "etrn_domain=",
		"stress=", "sasl_method=", "sasl_username=", "sasl_sender=", "ccert_subject=", "ccert_issuer=",
		"ccert_fingerprint=", "ccert_pubkey_fingerprint=", "encryption_protocol=", "encryption_cipher=",
		"encryption_keysize=0", "policy_context=",
	}
	for _, other := range others {
		name, _, _ := strings.Cut(other, "=")
		i := slices.IndexFunc(list, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		if i < 0 {
			list = append(list, other)
		} else {
			list[i] = other
		}
	}
	return strings.Join(list, "\n") + "\n\n"
}

func rcpt(instance, to string, others ...string) string {
	return ask("RCPT", instance, to, others...)
}

// events keeps what the hooks were told.
type events struct {
	mu       sync.Mutex
	all      []string
	tx       []*policy.Transaction
	messages []policyd.Message
	relayed  []string
}

func (e *events) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf(format, args...))
}

func (e *events) count(what string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.all {
		if s == what {
			n++
		}
	}
	return n
}

func (e *events) hooks() policyd.Hooks {
	return policyd.Hooks{
		Connection: func(event string) { e.note("connection %s", event) },
		Request:    func(kind string) { e.note("request %s", kind) },
		Recipient: func(tx *policy.Transaction, d *policy.Decision, a policyd.Answer) {
			e.note("recipient %s %s %s", d.Recipient, d.Action, a)
			e.mu.Lock()
			defer e.mu.Unlock()
			e.tx = append(e.tx, tx)
		},
		Message: func(_ *policy.Transaction, m policyd.Message) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.messages = append(e.messages, m)
		},
		Relayed: func(queueID string, rcpts []*verify.Result) {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, r := range rcpts {
				e.relayed = append(e.relayed, fmt.Sprintf("%s %s %s", queueID, r.Address, r.Verdict))
			}
		},
	}
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
