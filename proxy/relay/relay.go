// Package relay passes accepted mail to the outbound relay: a pool of SMTP sessions to the
// upstream servers, and the transactions on them.
//
// One client transaction is one relay transaction ([Tx]). The session is taken when the
// first recipient is accepted and given back, after the relay's answer to the message, for
// the next client: re-injection processes are few. Nothing is queued and nothing is tried
// again once an octet of a message was sent, so the relay's 250 is the only 250 there is.
//
// A session that surprised us (a reply missing or too many, a broken line, a timeout) is
// closed and never used again.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Config says where the relay is and how patient we are with it.
type Config struct {
	Upstreams   []string       // "host:port" or "unix:/path", tried in order
	Hostname    string         // our EHLO name
	Timeout     time.Duration  // absolute, for everything behind one reply of ours
	MaxIdle     int            // sessions kept between transactions; 0 = 10
	IdleTimeout time.Duration  // for how long; 0 = 1 s
	Dial        esmtp.DialFunc // nil = net.Dialer
}

// Pool is the sessions to the relay. It is safe for concurrent use.
type Pool struct {
	cfg Config
	log *slog.Logger
	bg  sync.WaitGroup // clean-up of sessions, beside any client
	// background is what the clean-up runs under: it is nobody's request.
	background context.Context

	mu      sync.Mutex
	idle    []*session // the last used is at the end
	offered []string   // keywords of the relay's last EHLO reply; nil before the first
	warned  map[string]bool
	closed  bool
}

// Error is a failure of the relay or of the way to it, with the reply that the client gets:
// always 4yz, so that the client tries again.
type Error struct {
	Reply   esmtp.Reply
	Unknown bool // the message was sent but its reply did not come: it may have been taken
	Err     error
}

// Error says what happened, for the log.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

func failure(e esmtp.EnhancedCode, text string, err error) *Error {
	return &Error{Reply: esmtp.NewReply(451, e, text), Err: err}
}

// New makes a pool. It does not connect.
func New(cfg Config, log *slog.Logger) *Pool {
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = 10
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	return &Pool{
		cfg: cfg, log: log, background: context.Background(), warned: map[string]bool{},
	}
}

// wanted are the extensions without which something is lost, and what.
var wanted = [...]struct{ keyword, loss string }{
	{"PIPELINING", "each recipient costs a round trip to the relay"},
	{"XFORWARD", "the relay's log shows this host instead of the client; see smtpd_authorized_xforward_hosts"},
	{"DSN", "RET, ENVID, NOTIFY and ORCPT are dropped"},
	{"8BITMIME", "BODY is dropped"},
	{"SMTPUTF8", "mail that needs it is refused with 550 5.6.7"},
}

// Check connects once and logs a warning for each extension that the relay lacks.
func (p *Pool) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	s, err := p.dial(ctx)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		if _, ok := s.cl.Extension(w.keyword); !ok {
			p.log.Warn("relay lacks an extension", "upstream", s.upstream,
				"extension", w.keyword, "consequence", w.loss)
		}
	}
	p.put(s) //nolint:contextcheck // the clean-up is nobody's request
	return nil
}

// Offers says whether the relay offered an extension in its last EHLO reply. Before the
// first one everything counts as offered.
func (p *Pool) Offers(keyword string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered == nil {
		return true
	}
	return slices.Contains(p.offered, keyword)
}

// Close ends the idle sessions with QUIT and waits for the clean-up of the others.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, s := range idle {
		s.expire.Stop()
		p.quit(s)
	}
	p.bg.Wait()
	return nil
}

// session is one connection to an upstream, ready for MAIL.
type session struct {
	cl       *esmtp.Client
	upstream string
	expire   *time.Timer
}

// get takes an idle session that is still in step, or opens one.
func (p *Pool) get(ctx context.Context) (s *session, reused bool, err error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			break
		}
		s = p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if s.expire.Stop() && s.cl.Clean() {
			return s, true, nil
		}
		_ = s.cl.Close()
	}
	s, err = p.dial(ctx)
	return s, false, err
}

// put gives a session back that is in step. One too many is ended.
func (p *Pool) put(s *session) {
	if !s.cl.Clean() {
		_ = s.cl.Close()
		return
	}
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < p.cfg.MaxIdle
	if keep {
		s.expire = time.AfterFunc(p.cfg.IdleTimeout, func() { p.expired(s) })
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if !keep {
		p.quit(s)
	}
}

func (p *Pool) expired(s *session) {
	p.mu.Lock()
	found := false
	for i := range p.idle {
		if p.idle[i] == s {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			found = true
			break
		}
	}
	p.mu.Unlock()
	if found {
		p.quit(s)
	}
}

// cleanup is how long we wait for the relay when nobody waits for us.
const cleanup = 5 * time.Second

func (p *Pool) quit(s *session) {
	p.bg.Go(func() {
		ctx, cancel := context.WithTimeout(p.background, cleanup)
		defer cancel()
		_, _ = s.cl.Quit(ctx)
	})
}

// giveBack ends a transaction that did not come to DATA, beside the client's session.
func (p *Pool) giveBack(s *session) {
	p.bg.Go(func() {
		ctx, cancel := context.WithTimeout(p.background, cleanup)
		defer cancel()
		if r, err := s.cl.Reset(ctx); err != nil || !r.Positive() {
			_ = s.cl.Close()
			return
		}
		p.put(s)
	})
}

// dial opens a session to the first upstream that answers.
func (p *Pool) dial(ctx context.Context) (*session, error) {
	var all []error
	for i, u := range p.cfg.Upstreams {
		s, err := p.dialOne(ctx, u, len(p.cfg.Upstreams)-i)
		if err == nil {
			return s, nil
		}
		all = append(all, fmt.Errorf("relay %s: %w", u, err))
		p.log.Warn("relay cannot be used", "upstream", u, "error", err.Error())
	}
	return nil, failure(esmtp.EnhancedCode{4, 4, 1},
		"The mail relay cannot be reached, try again later", errors.Join(all...))
}

// dialOne connects to u with an equal share of the time that is left for n upstreams.
func (p *Pool) dialOne(ctx context.Context, u string, n int) (*session, error) {
	if end, ok := ctx.Deadline(); ok && n > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
		defer cancel()
	}
	network, address := "tcp", u
	if path, ok := strings.CutPrefix(u, "unix:"); ok {
		network, address = "unix", path
	}
	nc, err := p.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cl := esmtp.NewClient(nc)
	cl.Timeout = p.cfg.Timeout
	if err := hello(ctx, cl, p.cfg.Hostname); err != nil {
		_ = cl.Close()
		return nil, err
	}
	p.learn(cl)
	return &session{cl: cl, upstream: u}, nil
}

func hello(ctx context.Context, cl *esmtp.Client, name string) error {
	r, err := cl.Greeting(ctx)
	if err != nil {
		return fmt.Errorf("waiting for its banner: %w", err)
	}
	if r.Code != 220 {
		return fmt.Errorf("its banner is %s", r)
	}
	r, err = cl.Hello(ctx, name)
	if err != nil {
		return fmt.Errorf("waiting for its answer to EHLO: %w", err)
	}
	if r.Code != 250 {
		return fmt.Errorf("its answer to EHLO %s is %s", name, r)
	}
	return nil
}

// learn remembers what the relay offers, for our own EHLO reply.
func (p *Pool) learn(cl *esmtp.Client) {
	offered := []string{}
	for _, k := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE", "XFORWARD"} {
		if _, ok := cl.Extension(k); ok {
			offered = append(offered, k)
		}
	}
	p.mu.Lock()
	p.offered = offered
	p.mu.Unlock()
}

// warnOnce logs a fault of the relay that would otherwise fill the log.
func (p *Pool) warnOnce(what, upstream string, r esmtp.Reply) {
	p.mu.Lock()
	known := p.warned[what]
	p.warned[what] = true
	p.mu.Unlock()
	if !known {
		p.log.Warn("relay refuses a command that it offers", "command", what,
			"upstream", upstream, "reply", r.String())
	}
}
