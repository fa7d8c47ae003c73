// Package wire is the line discipline under the SMTP server: a net.Listener whose
// connections own every octet that passes between the client and go-smtp.
//
// go-smtp's server is strictly serial: when it calls Read, its reply to the previous
// command is complete. A [Conn] therefore hands it exactly one validated command line
// for each Read and keeps everything else to itself: strict CRLF, line and error limits,
// the framing of DATA, XFORWARD, reply batching (RFC 2920 section 3.2), verbatim replies,
// a 421 that closes, and a look ahead at pipelined RCPT commands.
//
// MAIL and RCPT are parsed here, once, by package esmtp. go-smtp sees a constant line
// (RCPT TO:<r@x>); the session reads the parsed command with [Conn.Mail] and [Conn.Rcpt]
// and says its answer with [Conn.SetReply]. go-smtp's own reply only means "done".
//
// The message does not pass through go-smtp either: [Conn.ReadBody] takes it from the
// socket in large pieces, still dot-stuffed, and go-smtp is shown an empty message.
//
// SECURITY: only CR LF ends a line and only CR LF "." CR LF ends a message. Leaving DATA
// in any other way (timeout, lost connection) makes the connection dead: no octet of a
// message is ever read as a command. BDAT is not offered; a client that sends it all the
// same is disconnected, because its chunk cannot be told from commands.
package wire

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// BarePolicy says what happens to a bare CR, a bare LF or a NUL in a message. There is one
// policy for the three: to normalise only one of them creates new end-of-data sequences.
type BarePolicy int

const (
	// RejectBare refuses the message with 550 5.5.2 at its end. The safe zero value.
	RejectBare BarePolicy = iota
	// NormalizeBare turns a bare CR or a bare LF into CR LF and drops NUL.
	NormalizeBare
)

// MaxLine is the longest command line in octets, CR LF included: Postfix's
// line_length_limit (2048), which is more than RFC 5321 section 4.5.3.1.4 with every
// extension of ours asks for.
const MaxLine = 2048

// Config is what the connections of a listener share. It must not change once used.
type Config struct {
	Hostname         string          // banner and EHLO name
	Extensions       func() []string // EHLO keywords with their arguments, without XFORWARD
	ClientNetworks   []netip.Prefix  // who may connect; others get 554 5.7.1
	XForwardNetworks []netip.Prefix  // who is offered XFORWARD
	Timeout          time.Duration   // for one command line, and rolling for each read in DATA
	MinDataRate      int64           // octets/s that a message must keep up after Timeout; 0 = none
	MaxMessageSize   int64           // octets; 0 = no limit
	Bare             BarePolicy      // bare CR, bare LF and NUL in a message
	MaxConnections   int             // in all; 0 = no limit
	MaxPerClient     int             // for each client address; 0 = no limit
	SoftErrorLimit   int             // errors of a direct client before each costs ErrorDelay
	HardErrorLimit   int             // errors of a direct client before 421
	ErrorDelay       time.Duration   // Postfix's smtpd_error_sleep_time
	TLS              *tls.Config     // of STARTTLS and implicit TLS; nil = not offered
	// Auth is the mechanisms (PLAIN, LOGIN) that direct clients are offered now, without TLS only
	// if AuthWithoutTLS; nil = none. The session answers: see Conn.OnAuth.
	Auth           func() []string
	AuthWithoutTLS bool
	Event          func(Event) // told about connections; may be nil
	Commands       *Commands   // counts; may be nil
}

// Login is a client's AUTH command, complete: to be tried at the relay. String hides the
// password, so that it gets into no log.
type Login struct {
	Mechanism      string // PLAIN or LOGIN
	User, Password string
}

// String names the user only.
func (l Login) String() string { return l.Mechanism + " of " + l.User }

// Event is something that happened to a connection, for the log and the counters.
type Event struct {
	// Kind is "accepted", "closed", "tls", "tls_failed", "panic" (a fault of ours, which ends the
	// connection), or why it was refused: "not_allowed", "too_many", "too_many_client".
	Kind   string
	Remote net.Addr
	Detail string
}

// Listener accepts SMTP connections and tracks them for limits and for Drain.
type Listener struct {
	net.Listener
	cfg      atomic.Pointer[Config]
	implicit bool // clients begin with TLS

	mu       sync.Mutex
	conns    map[*Conn]struct{}
	byClient map[netip.Addr]int
	draining atomic.Bool
}

// NewListener puts the line discipline on l. With implicitTLS the clients begin with TLS.
func NewListener(l net.Listener, cfg *Config, implicitTLS bool) *Listener {
	wl := &Listener{
		Listener: l, implicit: implicitTLS,
		conns: map[*Conn]struct{}{}, byClient: map[netip.Addr]int{},
	}
	wl.cfg.Store(cfg)
	return wl
}

// SetConfig changes what connections accepted from now on are held to.
func (l *Listener) SetConfig(cfg *Config) { l.cfg.Store(cfg) }

// Accept returns the next connection that the client networks and the limits admit. The
// others are told why and closed here.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := newConn(nc, l)
		if kind, refusal := l.admit(c); kind != "" {
			c.event(kind, "")
			go refuse(nc, refusal)
			continue
		}
		c.event("accepted", "")
		return c, nil
	}
}

// admit registers c, or says why not.
func (l *Listener) admit(c *Conn) (string, esmtp.Reply) {
	if !contains(c.cfg.ClientNetworks, c.remote) {
		return "not_allowed", esmtp.NewReply(554, esmtp.EnhancedCode{5, 7, 1},
			"Access denied: this address is not in proxy.client_networks")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.cfg.MaxConnections > 0 && len(l.conns) >= c.cfg.MaxConnections {
		return "too_many", esmtp.NewReply(421, esmtp.EnhancedCode{4, 3, 2},
			"Too many connections, try again later")
	}
	if c.cfg.MaxPerClient > 0 && l.byClient[c.remote] >= c.cfg.MaxPerClient {
		return "too_many_client", esmtp.NewReply(421, esmtp.EnhancedCode{4, 7, 0},
			"Too many connections from your address, try again later")
	}
	l.conns[c] = struct{}{}
	l.byClient[c.remote]++
	return "", esmtp.Reply{}
}

func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; !ok {
		return
	}
	delete(l.conns, c)
	if l.byClient[c.remote]--; l.byClient[c.remote] <= 0 {
		delete(l.byClient, c.remote)
	}
}

// Drain tells the connections that the server is shutting down. Those that wait for a
// command outside a transaction get 421 4.3.2 and are closed, the others when their
// transaction is over. A session with XFORWARD never gets 421 (Postfix would pass it on
// and drop its own client): it is closed without a word once it is idle after a message.
func (l *Listener) Drain() {
	l.draining.Store(true)
	for _, c := range l.snapshot() {
		c.wake()
	}
}

// Draining says whether Drain was called: new transactions are then to be refused.
func (l *Listener) Draining() bool { return l.draining.Load() }

// CloseAll closes the connections that are still open, without a reply.
func (l *Listener) CloseAll() {
	for _, c := range l.snapshot() {
		_ = c.kill()
	}
}

// Len is the number of open connections.
func (l *Listener) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *Listener) snapshot() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// refuse sends the only reply that a refused connection gets. It runs beside Accept, with
// a short deadline, so that a client that does not read cannot hold up the others.
func refuse(nc net.Conn, r esmtp.Reply) {
	defer func() { _ = nc.Close() }()
	if nc.SetDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = nc.Write(r.Append(nil, false))
	}
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// remoteAddr is the client's address, unmapped and without zone. A unix socket counts as
// 127.0.0.1: only processes of this machine reach it.
func remoteAddr(a net.Addr) (netip.Addr, uint16) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return ap.Addr().Unmap().WithZone(""), ap.Port()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
}
