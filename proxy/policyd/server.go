package policyd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// Config is the server's part of the configuration, section [policyd].
type Config struct {
	Networks       []netip.Prefix // who may connect over TCP; over a unix socket, whoever gets at it
	MaxConnections int            // in all; 0 = no limit. Each smtpd process has one
	// IdleTimeout is how long a connection may be silent; 0 = 10 minutes. Longer than Postfix's
	// smtpd_policy_service_max_idle (300 s): it should be Postfix that closes.
	IdleTimeout time.Duration
	// TransactionBudget is the waiting for the verdicts of one message; 0 = 25 s.
	TransactionBudget time.Duration
	// DeferMalformed defers a recipient if the request cannot be understood; else it may pass.
	DeferMalformed bool
	RedactLog      bool // shorten addresses in the log

	Hooks Hooks
}

// Hooks tell of what happens, for counters and the journal. They are called from many goroutines and
// must not wait. Each may be nil.
type Hooks struct {
	// Connection: "accepted", "closed", "not_allowed", "too_many", "timeout", "panic".
	Connection func(event string)
	// Request is told each request: "rcpt", "data", "end_of_message", "other", "malformed".
	Request func(kind string)
	// Recipient is told every decision with what Postfix was told. d is good for the call only.
	Recipient func(tx *policy.Transaction, d *policy.Decision, answer Answer)
	// Message is told of each END-OF-MESSAGE.
	Message func(tx *policy.Transaction, m Message)
	// Relayed is told of each END-OF-MESSAGE with what was known of the accepted recipients that the
	// verifier was asked about, as in package proxy.
	Relayed func(queueID string, rcpts []*verify.Result)
}

// Message is the end of a message, as Postfix tells it before it takes it.
type Message struct {
	QueueID                     string // Postfix's name for it, "" if it has none
	Recipients                  int    // those that Postfix accepted
	Octets                      uint64
	Accepted, Deferred, Refused int // recipients by our decisions
	Elapsed                     time.Duration
}

// The defaults of a Config.
const (
	defaultIdle   = 10 * time.Minute
	defaultBudget = 25 * time.Second
)

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("policyd: server closed")

// Server serves policy delegation. Make it with New.
type Server struct {
	log      *slog.Logger
	state    atomic.Pointer[state]
	seed     maphash.Seed
	runID    string // what session names begin with: differs between runs
	sessions atomic.Uint64
	table    table
	draining atomic.Bool
	ends     atomic.Bool // Postfix also tells of END-OF-MESSAGE

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	lost      map[*conn]struct{} // of conns, those whose client has gone
	empty     chan struct{}      // made by Shutdown, closed when conns is empty
}

// state is what Reconfigure changes. A message keeps the one that it began with.
type state struct {
	cfg          Config
	policy       *policy.Engine
	idle, budget time.Duration
}

// New makes a server. It listens on nothing before Serve. A nil logger discards.
func New(cfg Config, engine *policy.Engine, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log: log, seed: maphash.MakeSeed(),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		lost: map[*conn]struct{}{},
	}
	s.runID = strconv.FormatUint(uint64(uint32(time.Now().Unix())), 16) + ".p" //nolint:gosec // low bits
	s.Reconfigure(cfg, engine)
	return s
}

// Reconfigure takes effect for new connections and new messages.
func (s *Server) Reconfigure(cfg Config, engine *policy.Engine) {
	s.state.Store(&state{
		cfg: cfg, policy: engine,
		idle:   cmp.Or(cfg.IdleTimeout, defaultIdle),
		budget: cmp.Or(cfg.TransactionBudget, defaultBudget),
	})
}

// Serve takes connections from l, TCP or unix, until l is closed or Shutdown; it closes l. It may be
// called for several listeners. The error says why it ended; after Shutdown it is ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }()
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
	}()
	for {
		nc, err := accept(l)
		switch {
		case err == nil:
			s.begin(nc)
		case s.draining.Load():
			return ErrClosed
		default:
			return err
		}
	}
}

// accept waits for a connection, and out a lack of descriptors or memory.
func accept(l net.Listener) (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		nc, err := l.Accept()
		if err == nil || !passes(err) {
			return nc, err
		}
		<-time.After(pause)
	}
}

func passes(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// begin serves a connection, if it is admitted.
func (s *Server) begin(nc net.Conn) {
	peer, local := remoteAddr(nc.RemoteAddr())
	c := &conn{
		srv: s, io: esmtp.Direct(nc), raw: nc, peer: peer,
		id:   s.runID + strconv.FormatUint(s.sessions.Add(1), 16),
		link: &link{closed: make(chan struct{})},
	}
	c.ctx, c.gone = context.WithCancel(context.Background())
	if refusal := s.admit(c, local); refusal != "" {
		c.gone()
		_ = nc.Close()
		s.log.Warn("policy connection", "event", refusal, "client", peer.String(), "hint", hints[refusal])
		s.event(refusal)
		return
	}
	s.log.Debug("policy connection", "session", c.id, "client", peer.String())
	s.event("accepted")
	go c.serve()
}

// hints say what to do about a refused connection. Read only.
var hints = map[string]string{
	"not_allowed": "add its network to policyd.networks if it is a mail server of yours",
	"too_many":    "raise policyd.max_connections above the number of smtpd processes",
}

// admit registers a connection, or says why not.
func (s *Server) admit(c *conn, local bool) (refusal string) {
	cfg := &s.state.Load().cfg
	if !local && !contains(cfg.Networks, c.peer) {
		return "not_allowed"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg.MaxConnections > 0 && len(s.conns)-len(s.lost) >= cfg.MaxConnections {
		return "too_many"
	}
	s.conns[c] = struct{}{}
	return ""
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// lose notes that the client of a connection has gone, which takes no room of another then. It
// reports whether the waits of the connection may go on.
func (s *Server) lose(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost[c] = struct{}{}
	return len(s.lost) <= maxLost
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	delete(s.lost, c)
	if s.empty != nil && len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
	s.mu.Unlock()
	s.event("closed")
}

// Open is the number of open connections.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) - len(s.lost)
}

// Shutdown closes the listeners and the connections on which nothing is under way; the others when
// what they asked has been answered. When ctx ends first, what is left is closed without an answer,
// its waits end, and the error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for l := range s.listeners {
		_ = l.Close()
	}
	empty := make(chan struct{})
	if s.empty = empty; len(s.conns) == 0 {
		close(empty)
		s.empty = nil
	}
	for c := range s.conns {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // see conn.fill
	}
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.gone()
		_ = c.raw.Close()
	}
	s.mu.Unlock()
	<-empty
	return ctx.Err()
}

// panicked tells of a fault of ours.
func (s *Server) panicked(session string, p any) {
	s.log.Error("policy server", "session", session, "error", fmt.Sprint(p),
		"stack", string(debug.Stack()))
	s.event("panic")
}

func (s *Server) event(kind string) {
	if hook := s.state.Load().cfg.Hooks.Connection; hook != nil {
		hook(kind)
	}
}

func (s *Server) request(kind string) {
	if hook := s.state.Load().cfg.Hooks.Request; hook != nil {
		hook(kind)
	}
}
