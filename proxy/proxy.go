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

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/proxy/wire"
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
}

// maxBehind is how many questions of one message may go on behind its used-up budget.
const maxBehind = 200

// Server is the front. Make it with New.
type Server struct {
	cfg    Config
	policy *policy.Engine
	relay  *relay.Pool
	log    *slog.Logger

	smtp     *smtp.Server
	wire     wire.Config
	sessions atomic.Uint64
	start    uint32 // makes session names differ between runs
	ownName  sync.Once

	mu        sync.Mutex
	listeners []*wire.Listener
	stopped   bool
}

// New makes a front. It listens on nothing before Serve.
func New(cfg Config, engine *policy.Engine, pool *relay.Pool, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, policy: engine, relay: pool, log: log}
	s.start = uint32(time.Now().Unix()) //nolint:gosec // only the low bits are wanted
	s.wire = wire.Config{
		Hostname: cfg.Hostname, Extensions: s.extensions,
		ClientNetworks: cfg.ClientNetworks, XForwardNetworks: cfg.XForwardNetworks,
		Timeout: cfg.ClientTimeout, MinDataRate: cfg.MinDataRate,
		MaxMessageSize: cfg.MaxMessageSize,
		MaxConnections: cfg.MaxConnections, MaxPerClient: cfg.MaxClientConnections,
		SoftErrorLimit: cfg.SoftErrorLimit, HardErrorLimit: cfg.HardErrorLimit,
		ErrorDelay: cfg.ErrorDelay, Event: s.refusedConnection,
	}
	if cfg.BareNewline == "normalize" {
		s.wire.Bare = wire.NormalizeBare
	}
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.Domain = cfg.Hostname
	s.smtp.MaxLineLength = 0 // the wire has its own
	s.smtp.ErrorLog = errorLog{log}
	return s
}

// extensions is what we offer: what we can do ourselves, and of the rest what the relay
// offered last.
func (s *Server) extensions() []string {
	all := []string{"PIPELINING"}
	if s.cfg.MaxMessageSize > 0 {
		all = append(all, "SIZE "+strconv.FormatInt(s.cfg.MaxMessageSize, 10))
	} else {
		all = append(all, "SIZE")
	}
	for _, k := range []string{"8BITMIME", "SMTPUTF8", "DSN"} {
		if s.relay.Offers(k) {
			all = append(all, k)
		}
	}
	return append(all, "ENHANCEDSTATUSCODES")
}

// Serve takes connections from l until Shutdown. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	wl := wire.NewListener(l, &s.wire)
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		_ = l.Close()
		return smtp.ErrServerClosed
	}
	s.listeners = append(s.listeners, wl)
	s.mu.Unlock()
	return s.smtp.Serve(wl)
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
	id := fmt.Sprintf("%x.%x", s.start, s.sessions.Add(1))
	addr, _ := conn.Client()
	s.log.Debug("session", "session", id, "client", addr.String())
	return &session{srv: s, conn: conn, id: id}, nil
}

func (s *Server) refusedConnection(e wire.Event) {
	s.log.Warn("connection refused", "why", e.Kind, "client", e.Remote.String())
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
