package wire

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// keepOut is the largest buffer for replies that a connection keeps while it waits inside of a
// transaction. Between transactions it keeps none: it may be idle for long.
const keepOut = 512

// flushAt is how many octets of replies are held back at most while more commands wait.
const flushAt = 16 << 10

// Conn is one client connection as go-smtp sees it. Read and Write belong to go-smtp, the
// methods documented for the session to the session that go-smtp calls; both run in the
// connection's one goroutine. Only wake, kill and Close may be called from others.
type Conn struct {
	net.Conn          // the socket, or TLS on it
	raw      net.Conn // the socket

	cfg    *Config
	l      *Listener
	remote netip.Addr
	port   uint16

	in   input
	out  []byte // complete replies that were not sent yet
	rep  []byte // go-smtp's reply to the command in hand, complete when it calls Read
	pend string // what go-smtp's next Reads are given

	verb     verb
	command  int         // the place of its name, for Config.Commands
	begun    bool        // the client was told 354
	dotGiven bool        // go-smtp was shown the end of its empty message
	override esmtp.Reply // the session's reply; replaces go-smtp's
	early    bool        // the command in hand came before the one that it needs
	closing  bool        // close once the replies are sent

	tls      *tls.Conn // nil: plaintext
	onAuth   func(Login) esmtp.Reply
	onRcpt   func(*esmtp.Rcpt) esmtp.Reply
	login    string // of the AUTH that succeeded
	helo     string
	extended bool            // EHLO, not HELO
	xforward *esmtp.XForward // nil: none
	trusted  bool            // sent XFORWARD from a network that may

	mail  *esmtp.Mail
	rcpt  *esmtp.Rcpt
	ahead []*esmtp.Rcpt // RCPT commands behind the one in hand, already parsed

	inTx     bool // MAIL was accepted, the transaction is not over
	named    bool // go-smtp has taken a RCPT of it, and so will take DATA
	messages int  // transactions that reached DATA
	errs     int  // protocol errors
	refused  int  // recipients refused with 5yz
	delay    bool // the reply in hand costs ErrorDelay

	readSet  time.Time // the deadline that the socket has; zero: not known, or none
	writeSet time.Time

	mu      sync.Mutex
	waiting bool // blocked on a command line, outside a transaction
	dead    bool
	gone    chan struct{} // closed with the connection; nil until somebody waits for that
}

func newConn(nc net.Conn, l *Listener) *Conn {
	nc = esmtp.Direct(nc)
	c := &Conn{Conn: nc, raw: nc, cfg: l.cfg.Load(), l: l}
	c.remote, c.port = remoteAddr(nc.RemoteAddr())
	c.in.attach(nc)
	return c
}

// Client is the address and port of the socket's other end.
func (c *Conn) Client() (netip.Addr, uint16) { return c.remote, c.port }

// Helo is what the client called itself, and whether it did so with EHLO.
func (c *Conn) Helo() (name string, extended bool) { return c.helo, c.extended }

// XForward is the original client as the trusted client told it for the transaction in
// hand. Like Postfix, it is forgotten after each message, RSET and EHLO.
func (c *Conn) XForward() esmtp.XForward {
	if c.xforward == nil {
		return esmtp.XForward{}
	}
	return *c.xforward
}

// Trusted says whether the client sent XFORWARD and was allowed to. Such a client is a
// mail server's filter connection: it is never delayed nor answered 421.
func (c *Conn) Trusted() bool { return c.trusted }

// Mail is the MAIL command in hand or of the transaction, nil before the first.
func (c *Conn) Mail() *esmtp.Mail { return c.mail }

// Rcpt is the RCPT command in hand.
func (c *Conn) Rcpt() *esmtp.Rcpt { return c.rcpt }

// OnAuth sets what answers AUTH, with the relay's reply; 235 means that the client is who
// it says. The session sets it when it begins.
func (c *Conn) OnAuth(f func(Login) esmtp.Reply) { c.onAuth = f }

// OnRcpt sets what answers the RCPT commands of a transaction behind the first, which is all that
// go-smtp has to see: it would take as long for each as the rest of the gate. The session sets it
// when it begins; the command in hand is the argument, as [Conn.Rcpt] tells it.
func (c *Conn) OnRcpt(f func(*esmtp.Rcpt) esmtp.Reply) { c.onRcpt = f }

// User is the login name that AUTH proved, "" without.
func (c *Conn) User() string { return c.login }

// Draining says whether the server is shutting down.
func (c *Conn) Draining() bool { return c.l.Draining() }

// HarvestLimit says whether a direct client has had so many recipients refused that the
// next unknown one is to be answered 452 instead of telling it more.
func (c *Conn) HarvestLimit() bool {
	return !c.trusted && c.cfg.HardErrorLimit > 0 && c.refused >= c.cfg.HardErrorLimit
}

// SetReply sets the reply to the command in hand, whatever go-smtp says to it. A 421
// closes the connection behind it.
func (c *Conn) SetReply(r esmtp.Reply) { c.override = r }

// Write takes go-smtp's reply. Nothing is sent here.
func (c *Conn) Write(p []byte) (int, error) {
	c.rep = append(c.rep, p...)
	return len(p), nil
}

// Read gives go-smtp the next command line. Replies are sent when the client's pipelined
// commands are used up, in one write.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.pend) == 0 {
		if err := c.next(); err != nil {
			c.in.discard()
			return 0, err
		}
	}
	n := copy(p, c.pend)
	c.pend = c.pend[n:]
	return n, nil
}

// SetReadDeadline does nothing: go-smtp's deadlines are absolute for a whole message.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, see SetReadDeadline.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline does nothing, see SetReadDeadline.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// Close sends what was not sent yet and closes the socket.
func (c *Conn) Close() error {
	c.settle()
	_ = c.flushWithin(5 * time.Second)
	return c.kill()
}

// ending returns a channel that is closed with the connection.
func (c *Conn) ending() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.gone = make(chan struct{})
		if c.dead {
			close(c.gone)
		}
	}
	return c.gone
}

// kill closes the socket at once.
func (c *Conn) kill() error {
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return nil
	}
	c.dead = true
	gone := c.gone
	c.mu.Unlock()
	// The socket first: what else ends must find nobody to tell.
	err := c.raw.Close()
	if gone != nil {
		close(gone)
	}
	c.l.forget(c)
	c.event("closed", "")
	return err
}

func (c *Conn) event(kind, detail string) {
	if c.cfg.Event != nil {
		c.cfg.Event(Event{Kind: kind, Remote: c.raw.RemoteAddr(), Detail: detail})
	}
}

// wake ends the wait for a command of a connection that has nothing to lose.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting && !c.dead {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// next brings c.pend to hold the next line for go-smtp. Its only error is io.EOF: what
// there was to say to the client has been said here.
func (c *Conn) next() error {
	if c.verb == verbData && !c.dotGiven && bytes.HasPrefix(c.rep, []byte("354")) {
		// The session is done with the message, or refused DATA: go-smtp asks for the
		// message, which it is to find empty.
		c.rep, c.dotGiven = c.rep[:0], true
		c.pend = ".\r\n"
		return nil
	}
	if c.l.implicit && c.tls == nil {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	for {
		c.settle()
		if err := c.penalty(); err != nil {
			return err
		}
		if c.closing {
			_ = c.flush()
			return io.EOF
		}
		if len(c.out) > flushAt {
			if c.flush() != nil {
				return io.EOF
			}
		}
		c.endCommand()
		if len(c.ahead) > 0 {
			next := c.ahead[0]
			if c.ahead = c.ahead[1:]; len(c.ahead) == 0 {
				c.ahead = nil
			}
			c.recipient(next)
		} else {
			line, err := c.readLine()
			if err != nil {
				return err
			}
			c.dispatch(line)
		}
		if len(c.pend) > 0 {
			return nil
		}
	}
}

// endCommand forgets the command in hand and, where it ended one, the transaction.
func (c *Conn) endCommand() {
	ended := c.verb == verbRset || c.verb == verbEhlo || c.verb == verbHelo ||
		c.verb == verbData && c.dotGiven
	if ended {
		c.inTx, c.named, c.mail, c.xforward = false, false, nil, nil
	}
	c.verb, c.rcpt, c.begun, c.dotGiven, c.early = verbNone, nil, false, false, false
}

// hand gives go-smtp a line.
func (c *Conn) hand(v verb, line string) {
	c.verb, c.pend = v, line
}

// flush sends the replies.
func (c *Conn) flush() error { return c.flushWithin(c.cfg.Timeout) }

func (c *Conn) flushWithin(d time.Duration) error {
	if len(c.out) == 0 {
		return nil
	}
	if now := time.Now(); d > 0 && (c.writeSet.Before(now.Add(d/2)) || c.writeSet.After(now.Add(d))) {
		c.writeSet = now.Add(d)
		if err := c.raw.SetWriteDeadline(c.writeSet); err != nil {
			return err
		}
	}
	_, err := c.Conn.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > 2*flushAt {
		c.out = nil
	}
	if err != nil {
		_ = c.kill()
	}
	return err
}

// readLine returns the next command line without its CR LF. The line is valid until the
// next read.
func (c *Conn) readLine() ([]byte, error) {
	if line, ok := c.in.line(); ok {
		return c.checkLine(line)
	}
	c.in.shrink()
	if err := c.flush(); err != nil {
		return nil, io.EOF
	}
	deadline := time.Time{}
	if c.cfg.Timeout > 0 {
		deadline = time.Now().Add(c.cfg.Timeout) // absolute: for the whole line
	}
	for {
		if c.in.len() > MaxLine {
			return nil, c.bye(500, esmtp.EnhancedCode{5, 5, 2}, "Line too long")
		}
		if err := c.wait(deadline); err != nil {
			return nil, c.lost(err)
		}
		if line, ok := c.in.line(); ok {
			return c.checkLine(line)
		}
	}
}

// wait reads once, so that Drain can end it where the connection is idle.
func (c *Conn) wait(deadline time.Time) error {
	idle := !c.inTx && (!c.trusted || c.messages > 0)
	if len(c.out) == 0 && (!c.inTx || cap(c.out) > keepOut) {
		c.out = nil
	}
	if len(c.rep) == 0 && !c.inTx {
		c.rep = nil
	}
	c.mu.Lock()
	c.waiting = idle
	c.mu.Unlock()
	err := c.fillBy(deadline)
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	return err
}

// lost ends a connection that gave no command: shut down, too slow, or gone.
func (c *Conn) lost(err error) error {
	if !isTimeout(err) {
		c.in.reset() // a line without its CR LF is not a command
		_ = c.kill()
		return io.EOF
	}
	if c.Draining() && !c.inTx {
		return c.bye(421, esmtp.EnhancedCode{4, 3, 2}, "Service shutting down, try again later")
	}
	return c.bye(421, esmtp.EnhancedCode{4, 4, 2}, "Timeout waiting for a command")
}

// bye sends a last reply and ends the connection. A trusted client is told nothing with
// 421: it would pass it on and drop its own client.
func (c *Conn) bye(code int, e esmtp.EnhancedCode, text string) error {
	c.closing = true
	if code != 421 || !c.trusted {
		c.out = esmtp.NewReply(code, e, text).Append(c.out, false)
	}
	_ = c.flush()
	return io.EOF
}

// checkLine refuses what is not a line of RFC 5321 section 2.3.8: only CR LF ends it, and
// no bare CR, no NUL and no other control octet but a tab stands in it.
func (c *Conn) checkLine(line []byte) ([]byte, error) {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, c.bye(500, esmtp.EnhancedCode{5, 5, 2},
			"Bare LF received: a command ends with CR LF")
	}
	line = line[:len(line)-2]
	if len(line)+2 > MaxLine {
		return nil, c.bye(500, esmtp.EnhancedCode{5, 5, 2}, "Line too long")
	}
	for _, b := range line {
		if b < ' ' && b != '\t' || b == 0x7f {
			return nil, c.bye(500, esmtp.EnhancedCode{5, 5, 2},
				"Control octet or bare CR in a command")
		}
	}
	return line, nil
}
