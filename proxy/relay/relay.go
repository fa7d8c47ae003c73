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
//
// # Several upstreams
//
// Those of the lowest Priority share the transactions by Weight; the next ones serve while
// these are down. An upstream is down from the first connection that fails (the TCP
// connection, the banner, EHLO, TLS, AUTH); the transaction at hand goes to the next one.
// It is tried again beside the mail, after 1 s, then 2 s, 4 s, up to 30 s. When all are
// down, each transaction tries them all anyway. A transaction that breaks has its upstream
// tried at once, and prefers the others until then. While there are others, one upstream
// gets 10 s to be ready.
//
// # TLS and AUTH
//
// See [TLSMode]. Our own login at an upstream comes from Config.Credentials; one that is
// refused is not tried again for a minute, for more tries lock accounts. Clients log in
// through [Pool.Login], on a session of their own, and nothing they do there takes an
// upstream out of use. A password goes out in plaintext only over a Unix socket or where
// Config.TLS is [None]. No password is in an error, a log line or the printed form of a
// value.
//
// # Faults
//
// Whatever happens to the relay, the client gets 4yz ([Error.Reply]). What is wrong and
// what to do about it is the text of the [Error], for the log.
package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Upstream is one server of the relay.
type Upstream struct {
	Address  string // "host:port" or "unix:/path"
	Priority int    // lower ones first
	Weight   int    // share among those of one priority; less than 1 is 1
}

// InOrder makes upstreams that are tried in this order.
func InOrder(addresses ...string) []Upstream {
	all := make([]Upstream, len(addresses))
	for i, a := range addresses {
		all[i] = Upstream{Address: a, Priority: i, Weight: 1}
	}
	return all
}

// Config says where the relay is and how patient we are with it.
type Config struct {
	Upstreams []Upstream
	Hostname  string        // our EHLO name
	Timeout   time.Duration // absolute, for everything behind one reply of ours
	// DataDoneTimeout is Timeout for the answer to a whole message; 0 = Timeout.
	DataDoneTimeout time.Duration
	// MaxIdle is how many sessions are kept at each upstream between transactions; 0 = 10. More,
	// if they were in use at one time, wait for 1 s at the most.
	MaxIdle     int
	IdleTimeout time.Duration  // for how long; 0 = 1 s
	Dial        esmtp.DialFunc // nil = net.Dialer

	TLS     TLSMode
	Wrapper bool // TLS from the first octet (port 465) instead of STARTTLS; None counts as Encrypt
	// RootCAs is who may sign the relay's certificate; nil = the system's.
	RootCAs *x509.CertPool
	// ServerName is the name that the certificate must have; "" = the upstream's host.
	ServerName string
	// Credentials of our own for an upstream, by its address; nil = none.
	Credentials func(upstream string) (user, password string, ok bool)
}

// Addresses returns the addresses of the upstreams.
func (c Config) Addresses() []string {
	all := make([]string, len(c.Upstreams))
	for i, u := range c.Upstreams {
		all[i] = u.Address
	}
	return all
}

// Pool is the sessions to the relay. It is safe for concurrent use.
type Pool struct {
	cfg       Config
	log       *slog.Logger
	upstreams []*upstream // by priority
	sessions  tls.ClientSessionCache
	// trials is what trials run under: they are nobody's request. It ends with Close.
	trials     context.Context
	stopTrials context.CancelFunc

	// mu also guards what the upstreams say it does. It is never held across I/O.
	mu     sync.Mutex
	warned map[string]bool
	closed bool
	jobs   int       // clean-up and trials, beside any client
	ended  sync.Cond // a job ended
}

// New makes a pool. It does not connect; see [Pool.Check].
func New(cfg Config, log *slog.Logger) *Pool {
	if cfg.MaxIdle == 0 {
		cfg.MaxIdle = 10
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Second
	}
	if cfg.DataDoneTimeout == 0 {
		cfg.DataDoneTimeout = cfg.Timeout
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Wrapper && cfg.TLS == None {
		cfg.TLS = Encrypt
	}
	p := &Pool{
		cfg: cfg, log: log, warned: map[string]bool{},
		sessions: tls.NewLRUClientSessionCache(len(cfg.Upstreams)),
	}
	p.ended.L = &p.mu
	p.trials, p.stopTrials = context.WithCancel(context.Background())
	for _, u := range cfg.Upstreams {
		p.upstreams = append(p.upstreams, newUpstream(u))
	}
	slices.SortStableFunc(p.upstreams, func(a, b *upstream) int { return a.Priority - b.Priority })
	return p
}

// wanted are the extensions without which something is lost, and what.
var wanted = [...]struct{ keyword, loss string }{
	{"PIPELINING", "each recipient costs a round trip to the relay"},
	{"XFORWARD", "the relay's log shows this host instead of the client; see smtpd_authorized_xforward_hosts"},
	{"DSN", "RET, ENVID, NOTIFY and ORCPT are dropped"},
	{"8BITMIME", "BODY is dropped"},
	{"SMTPUTF8", "mail that needs it is refused with 550 5.6.7"},
}

// Check connects once to every upstream and logs a warning for each fault and for each
// extension that one lacks. The error is that none can be used. Before it is known what the
// relay offers, [Pool.Offers] says yes to everything and [Pool.Auth] names nothing.
func (p *Pool) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	errs := make([]error, len(p.upstreams))
	var wg sync.WaitGroup
	for i, u := range p.upstreams {
		wg.Go(func() { errs[i] = p.check(ctx, u) })
	}
	wg.Wait()
	if slices.Contains(errs, nil) {
		return nil
	}
	return unreachable(errs)
}

func (p *Pool) check(ctx context.Context, u *upstream) error {
	if p.cfg.Credentials != nil {
		if _, _, ok := p.cfg.Credentials(u.Address); !ok {
			p.log.Warn("relay has no credentials", "upstream", u.Address, "hint",
				"add a line for this host to relay.password_file, or leave it if this host needs none")
		}
	}
	s, err := p.connect(ctx, u, nil)
	if err != nil {
		p.failed(u, err)
		return err
	}
	p.alive(u)
	for _, w := range wanted {
		if _, ok := s.cl.Extension(w.keyword); !ok {
			p.log.Warn("relay lacks an extension", "upstream", u.Address,
				"extension", w.keyword, "consequence", w.loss)
		}
	}
	p.put(s)
	return nil
}

// Offers says whether every upstream offered an extension in its last EHLO reply. Those
// that were never reached do not count.
func (p *Pool) Offers(keyword string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.upstreams {
		if u.offered != nil && !slices.Contains(u.offered, keyword) {
			return false
		}
	}
	return true
}

// Auth returns which of PLAIN and LOGIN an upstream offered in its last EHLO reply, for the
// clients. It is none where we have credentials of our own, and where the password would go
// to the relay in plaintext though TLS is asked for.
func (p *Pool) Auth() []string {
	if p.cfg.Credentials != nil {
		return nil
	}
	var all []string
	var unknown []*upstream
	p.mu.Lock()
	for _, u := range p.upstreams {
		if u.offered == nil && u.state == up {
			unknown = append(unknown, u)
		}
	}
	for _, mechanism := range mechanisms {
		for _, u := range p.upstreams {
			if slices.Contains(u.auth, mechanism) {
				all = append(all, mechanism)
				break
			}
		}
	}
	p.mu.Unlock()
	for _, u := range unknown { // or clients that must log in would wait for mail of others
		p.try(u)
	}
	return all
}

// Close ends the idle sessions with QUIT, the trials at once, and waits for that, at most
// some seconds. Open transactions go on; their sessions end with them.
func (p *Pool) Close() error {
	p.stopTrials()
	p.mu.Lock()
	p.closed = true
	var idle []*session
	for _, u := range p.upstreams {
		u.retire()
		idle = append(idle, u.idle...)
		u.idle = nil
	}
	p.mu.Unlock()
	for _, s := range idle {
		p.quit(s)
	}
	p.mu.Lock()
	for p.jobs > 0 {
		p.ended.Wait()
	}
	p.mu.Unlock()
	return nil
}

// run does a job beside any client. Close waits for it.
func (p *Pool) run(job func()) {
	p.mu.Lock()
	p.jobs++
	p.mu.Unlock()
	go func() {
		defer func() {
			p.mu.Lock()
			p.jobs--
			p.mu.Unlock()
			p.ended.Broadcast()
		}()
		job()
	}()
}

// warnOnce logs a fault that would otherwise fill the log.
func (p *Pool) warnOnce(what string, args ...any) {
	p.mu.Lock()
	known := p.warned[what]
	p.warned[what] = true
	p.mu.Unlock()
	if !known {
		p.log.Warn("relay: "+what, args...) //nolint:sloglint // what is one of our own constants
	}
}
