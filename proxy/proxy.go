// Package proxy is the SMTP front: it takes mail from a client, has every recipient
// decided by package policy, passes accepted recipients and the message to the relay, and
// gives the client the relay's answer.
//
// The way of one command: the socket → [wire.Conn], which frames and parses it → go-smtp's
// server, which keeps the order of commands → session (Mail, Rcpt, Data) → policy and
// [relay.Tx] → the reply, set on the wire.Conn.
//
// What holds by construction:
//
//   - A 250 to a message is the relay's own complete 250. There is no queue.
//   - One client transaction is one relay transaction; after the first octet of a message
//     nothing is tried again.
//   - What breaks before the end of the message is 451 and a relay transaction without an
//     end of data; what breaks behind it is 451 4.4.2 "outcome unknown".
//   - No Received header is added: the message passes octet for octet.
package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/proxy/wire"
	"github.com/rcptgate/rcptgate/verify"
)

// Config is the front's part of the configuration, section [proxy].
type Config struct {
	Hostname         string         // banner and EHLO name
	ClientNetworks   []netip.Prefix // who may connect
	XForwardNetworks []netip.Prefix // who may use XFORWARD
	ClientTimeout    time.Duration  // for a command line, and rolling inside a message
	MinDataRate      int64          // octets/s that a message must keep up; 0 = none
	MaxMessageSize   int64          // octets; 0 = no limit
	MaxRecipients    int            // of one message, then 452 4.5.3; 0 = no limit
	BareNewline      string         // "reject" (also "") or "normalize"
	MaxConnections   int            // in all; 0 = no limit
	// MaxClientConnections is the limit for each client address; 0 = no limit.
	MaxClientConnections int
	SoftErrorLimit       int           // errors before each costs ErrorDelay
	HardErrorLimit       int           // errors before 421, refused recipients before 452
	ErrorDelay           time.Duration // as Postfix's smtpd_error_sleep_time
	TransactionBudget    time.Duration // waiting for the verdicts of one message
	RedactLog            bool          // shorten addresses in the log

	// Checks are made of each message before the relay gets its end; nil: none. With Shadow, what they
	// find is told but refuses nothing.
	Checks *message.Checker
	Shadow bool

	// TLS is what STARTTLS and ServeTLS use; nil: not offered.
	TLS *tls.Config
	// Auth passes the AUTH of direct clients on to the relay, where that offers it; without
	// TLS only if AuthWithoutTLS.
	Auth, AuthWithoutTLS bool
	// ProxyProtocolNetworks are the peers whose connections begin with a PROXY protocol
	// header (v1 or v2) that tells the client.
	ProxyProtocolNetworks []netip.Prefix

	Hooks Hooks
}

// Hooks tell of what happens, for counters. They are called from many goroutines and must
// not wait. Each may be nil.
type Hooks struct {
	// Connection: "accepted", "closed", "tls", "tls_failed", "not_allowed", "too_many",
	// "too_many_client", "proxy_header".
	Connection func(event string)
	// Recipient is told every decision, with the client's reply and when it was known. What d points
	// at is only good during the call.
	// What it is given is used again behind the call.
	Recipient func(
		tx *policy.Transaction, d *policy.Decision, relayed bool, reply esmtp.Reply, at time.Time,
	)
	// Message is told the end of every message that came to DATA.
	Message func(tx *policy.Transaction, m *Message)
	// Relayed is told every message that the relay took: the relay's name for it, "" if it said
	// none, and what was known of the recipients that the verifier was asked about, which is only
	// good during the call.
	Relayed func(queueID string, rcpts []*verify.Result)
}

// Outcome is what became of a message.
type Outcome string

// The outcomes.
const (
	Passed      Outcome = "passed"       // the relay took it
	Refused     Outcome = "refused"      // the relay refused it, 5yz
	Deferred    Outcome = "deferred"     // the relay refused it, 4yz
	RelayFailed Outcome = "relay_failed" // no relay, or it broke before the end
	Unknown     Outcome = "unknown"      // it broke behind the end: the relay may have it
	ClientLost  Outcome = "client_lost"  // the client went in the middle
	BadContent  Outcome = "bad_content"  // bare CR, bare LF or NUL
	TooBig      Outcome = "too_big"      // over the limit

	// CheckRefused and CheckDeferred: by the checks of the message. In shadow mode it was passed on.

	CheckRefused  Outcome = "check_refused"
	CheckDeferred Outcome = "check_deferred"
)

// Message is what became of a message.
type Message struct {
	Outcome                     Outcome
	Reply                       esmtp.Reply // what the client got; zero if it was gone
	Octets                      int64       // without dot-stuffing
	Accepted, Deferred, Refused int         // recipients
	Relay                       string      // the upstream
	QueueID                     string      // the relay's name for it
	Err                         error       // of the relay or the client
	Checks                      *message.Report
	Total, Relaying             time.Duration // since MAIL; that the relay took to answer
}

// maxBehind is how many questions of one message may go on behind its used-up budget.
const maxBehind = 200

// Server is the front. Make it with New.
type Server struct {
	log      *slog.Logger
	smtp     *smtp.Server
	state    atomic.Pointer[state]
	sessions atomic.Uint64
	commands wire.Commands
	runID    string // what session names begin with: differs between runs
	ownName  sync.Once

	mu        sync.Mutex
	listeners []*wire.Listener
	stopped   bool
}

// state is what Reconfigure changes. A transaction keeps the one that it began with.
type state struct {
	cfg    Config
	policy *policy.Engine
	relay  *relay.Pool
	wire   *wire.Config
}

// New makes a front. It listens on nothing before Serve.
func New(cfg Config, engine *policy.Engine, pool *relay.Pool, log *slog.Logger) *Server {
	s := &Server{log: log}
	s.runID = strconv.FormatUint(uint64(uint32(time.Now().Unix())), 16) + "." //nolint:gosec // low bits
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.Domain = cfg.Hostname
	s.smtp.MaxLineLength = 0 // the wire has its own
	s.smtp.ErrorLog = errorLog{log}
	s.Reconfigure(cfg, engine, pool)
	return s
}

// Reconfigure takes effect for new connections and new transactions. Open transactions end
// as they began, so the old pool is to be closed only behind it: its sessions in use are
// ended by its own Close or by their transactions.
func (s *Server) Reconfigure(cfg Config, engine *policy.Engine, pool *relay.Pool) {
	st := &state{cfg: cfg, policy: engine, relay: pool}
	st.wire = &wire.Config{
		Hostname: cfg.Hostname, Extensions: st.extensions,
		ClientNetworks: cfg.ClientNetworks, XForwardNetworks: cfg.XForwardNetworks,
		Timeout: cfg.ClientTimeout, MinDataRate: cfg.MinDataRate,
		MaxMessageSize: cfg.MaxMessageSize,
		MaxConnections: cfg.MaxConnections, MaxPerClient: cfg.MaxClientConnections,
		SoftErrorLimit: cfg.SoftErrorLimit, HardErrorLimit: cfg.HardErrorLimit,
		ErrorDelay: cfg.ErrorDelay, TLS: cfg.TLS, Event: s.connectionEvent,
		Commands: &s.commands,
	}
	if cfg.Auth {
		st.wire.Auth, st.wire.AuthWithoutTLS = pool.Auth, cfg.AuthWithoutTLS
	}
	if cfg.BareNewline == "normalize" {
		st.wire.Bare = wire.NormalizeBare
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Store(st)
	for _, l := range s.listeners {
		l.SetConfig(st.wire)
	}
}

// extensions is what we offer: what we can do ourselves, and of the rest what the relay
// offered last.
func (st *state) extensions() []string {
	all := []string{"PIPELINING"}
	if st.cfg.MaxMessageSize > 0 {
		all = append(all, "SIZE "+strconv.FormatInt(st.cfg.MaxMessageSize, 10))
	} else {
		all = append(all, "SIZE")
	}
	for _, k := range []string{"8BITMIME", "SMTPUTF8", "DSN"} {
		if st.relay.Offers(k) {
			all = append(all, k)
		}
	}
	return append(all, "ENHANCEDSTATUSCODES")
}

// Serve takes connections from l until l is closed or Shutdown. It may be called for several
// listeners.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, false) }

// ServeTLS is Serve for clients that begin with TLS (RFC 8314 section 3.3).
func (s *Server) ServeTLS(l net.Listener) error { return s.serve(l, true) }

func (s *Server) serve(l net.Listener, implicitTLS bool) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		_ = l.Close()
		return smtp.ErrServerClosed
	}
	networks := func() []netip.Prefix { return s.state.Load().cfg.ProxyProtocolNetworks }
	l = newHeaderListener(l, networks, func(kind string, remote net.Addr, err error) {
		s.connectionEvent(wire.Event{Kind: kind, Remote: remote, Detail: err.Error()})
	})
	wl := wire.NewListener(l, s.state.Load().wire, implicitTLS)
	s.listeners = append(s.listeners, wl)
	s.mu.Unlock()
	return s.smtp.Serve(wl)
}

// Commands calls fn with how many commands clients have given, by name and class of the reply: see
// wire.Commands.Each.
func (s *Server) Commands(fn func(command, class string, n uint64)) { s.commands.Each(fn) }

// Open is the number of open client connections.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.listeners {
		n += l.Len()
	}
	return n
}

// Shutdown closes the listeners, tells the idle clients, and waits for the open
// transactions to end. When ctx ends first, what is left is closed without a word, and
// the error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	listeners := s.listeners
	s.mu.Unlock()
	for _, l := range listeners {
		l.Drain()
	}
	err := s.smtp.Shutdown(ctx)
	for _, l := range listeners {
		l.CloseAll()
	}
	return err
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T instead of *wire.Conn", c.Conn())
	}
	id := s.runID + strconv.FormatUint(s.sessions.Add(1), 16)
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		addr, _ := conn.Client()
		s.log.Debug("session", "session", id, "client", addr.String())
	}
	session := &session{srv: s, conn: conn, id: id}
	conn.OnAuth(session.authenticate)
	conn.OnRcpt(session.recipient)
	return session, nil
}

func (s *Server) connectionEvent(e wire.Event) {
	switch e.Kind {
	case "accepted", "closed", "tls":
	case "panic":
		s.log.Error("smtp server", "error", e.Detail)
	default:
		s.log.Warn("connection", "event", e.Kind, "client", e.Remote.String(), "error", e.Detail)
	}
	if hook := s.state.Load().cfg.Hooks.Connection; hook != nil {
		hook(e.Kind)
	}
}

// errorLog is where go-smtp tells of panics and of failing listeners.
type errorLog struct{ log *slog.Logger }

// Printf logs what go-smtp formats.
func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("smtp server", "error", strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Println logs what go-smtp says.
func (l errorLog) Println(v ...any) {
	l.log.Error("smtp server", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}
