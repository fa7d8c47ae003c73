package esmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// defaultTimeout is what a call may take where Client.Timeout is zero: the longest of the minimum
// timeouts before DATA (RFC 5321 section 4.5.3.2).
const defaultTimeout = 5 * time.Minute

const (
	tlsRecord  = 16 << 10 // what a record of TLS holds
	smallWrite = 4 << 10  // what is copied rather than written in pieces
)

const outOfStep = "the peer is out of step, it sent a reply to nothing"

// DialFunc makes a connection. It is net.Dialer.DialContext, or one that checks or simulates.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Client is one SMTP client connection. It is not safe for concurrent use.
//
// Every call that uses the network has an absolute deadline: that of its context, or Timeout from its
// start, the nearer. The end of the context interrupts it at once. After the first error the client is
// dead: [Client.Err] keeps it, every call returns it, and all that is left is [Client.Close].
//
// An octet that waits to be read when a command is about to be sent, while no reply is outstanding,
// is a reply to nothing: taken for the reply to that command, everything after it would be off by
// one. It is a [*ProtocolError]. So is one behind the reply to STARTTLS, which was injected.
type Client struct {
	// Timeout bounds each call. Zero is 5 minutes. It may be over a sixteenth too early.
	Timeout time.Duration
	// Unwatched leaves out the look into the connection before each command: only what was read
	// with the replies before it shows then. Who sets it calls InStep where it matters.
	Unwatched bool

	conn    net.Conn // what is read and written: raw, or TLS over it
	raw     net.Conn
	glance  *glance   // at raw
	under   *underTLS // what TLS reads from; nil in plaintext
	br      *bufio.Reader
	out     []byte            // queued, not yet written
	queued  int               // replies to what is in out
	sent    int               // replies to what was written
	ext     map[string]string // of the last EHLO, keywords in upper case
	leaving bool              // the peer said 421: it closes
	err     error
	limit   time.Time    // see SetDeadline
	set     time.Time    // the deadline that raw has
	known   []knownReply // see readReply
}

// NewClient returns a client over conn, which it owns from now on. Call [Client.Greeting] first.
func NewClient(conn net.Conn) *Client {
	return &Client{
		conn: conn, raw: conn, glance: newGlance(conn), br: bufio.NewReader(conn), sent: 1,
	}
}

// Err returns the error that the client died of, or nil.
func (c *Client) Err() error { return c.err }

// RemoteAddr returns the address of the peer.
func (c *Client) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// LocalAddr returns our address.
func (c *Client) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// IsTLS reports whether the connection is encrypted.
func (c *Client) IsTLS() bool { return c.under != nil }

// SetDeadline bounds every call from now on, besides Timeout and the call's context, until it is set
// again; the zero time is no bound. It may be kept a sixteenth of the time that is left too early. It
// costs nothing, where a context with a deadline costs a timer: use it for many calls that have one
// deadline together.
func (c *Client) SetDeadline(t time.Time) { c.limit = t }

// Greeting reads the banner.
func (c *Client) Greeting(ctx context.Context) (Reply, error) { return c.ReadReply(ctx) }

// Hello sends EHLO with name, a host name or address literal of ours, and learns the extensions. To a
// peer that answers 500, 501, 502, 504 or 550 it says HELO instead (RFC 5321 section 3.2); the reply
// is the one to the last command.
func (c *Client) Hello(ctx context.Context, name string) (Reply, error) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Reply{}, c.fail(errors.New("the name for EHLO must be a host name in ASCII"))
	}
	c.ext = nil
	r, err := c.command(ctx, "EHLO "+name)
	if err != nil {
		return Reply{}, err
	}
	switch r.Code {
	case 500, 501, 502, 504, 550:
		return c.command(ctx, "HELO "+name)
	}
	if r.Positive() {
		c.ext = parseExtensions(r.Lines[1:])
	}
	return r, nil
}

// parseExtensions reads ehlo-lines: keyword, blank, arguments. The first of two equal keywords counts.
func parseExtensions(lines []string) map[string]string {
	ext := make(map[string]string, len(lines))
	for _, line := range lines {
		line = strings.Trim(line, " \t")
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		keyword, args := strings.ToUpper(line[:end]), line[end:]
		if _, ok := ext[keyword]; !ok && keyword != "" {
			ext[keyword] = strings.Trim(args, " \t")
		}
	}
	return ext
}

// Extension reports whether the last EHLO reply offered the extension of that keyword, in any case,
// and its arguments, octets as received.
func (c *Client) Extension(keyword string) (args string, ok bool) {
	args, ok = c.ext[strings.ToUpper(keyword)]
	return args, ok
}

// Mail sends MAIL with all parameters that m has; it is the caller who asks [Client.Extension].
func (c *Client) Mail(ctx context.Context, m Mail) (Reply, error) {
	return c.commandLine(ctx, m.Append(nil, nil))
}

// Rcpt sends RCPT with all parameters that r has.
func (c *Client) Rcpt(ctx context.Context, r Rcpt) (Reply, error) {
	return c.commandLine(ctx, r.Append(nil, nil))
}

// Reset sends RSET.
func (c *Client) Reset(ctx context.Context) (Reply, error) { return c.command(ctx, "RSET") }

// Noop sends NOOP.
func (c *Client) Noop(ctx context.Context) (Reply, error) { return c.command(ctx, "NOOP") }

// Quit sends QUIT, waits for its reply, past those that are still outstanding, and closes the
// connection whatever happens. Queued commands that were not flushed are dropped.
func (c *Client) Quit(ctx context.Context) (Reply, error) {
	defer c.Close()
	if c.err != nil {
		return Reply{}, c.err
	}
	c.out, c.queued = c.out[:0], 0
	c.Queue([]byte("QUIT\r\n"))
	done := c.begin(ctx)
	defer done()
	if err := c.flush(ctx); err != nil {
		return Reply{}, err
	}
	for {
		r, err := c.read(ctx)
		if err != nil || c.sent == 0 {
			return r, err
		}
	}
}

// Queue appends one or more complete commands to the outgoing buffer and counts one reply for each.
// A line that does not end with CRLF, or has a CR or LF elsewhere, is an error, see [Client.Err].
func (c *Client) Queue(lines []byte) {
	n := 0
	for i, b := range lines {
		switch {
		case b == '\n' && i > 0 && lines[i-1] == '\r':
			n++
		case b == '\n', i > 0 && lines[i-1] == '\r', b == '\r' && i == len(lines)-1:
			_ = c.fail(errors.New("a queued command has a CR or LF alone"))
			return
		}
	}
	if n == 0 || lines[len(lines)-1] != '\n' {
		_ = c.fail(errors.New("a queued command does not end with CRLF"))
		return
	}
	c.QueueN(lines, n)
}

// QueueN appends octets to the outgoing buffer, as they are, and counts that many replies: the end of
// a message is ".\r\n" with one.
func (c *Client) QueueN(lines []byte, replies int) {
	if c.err != nil {
		return
	}
	c.out = append(c.out, lines...)
	c.queued += max(0, replies)
}

// Flush sends what is queued in one write.
func (c *Client) Flush(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	if len(c.out) == 0 {
		return nil
	}
	done := c.begin(ctx)
	defer done()
	return c.flush(ctx)
}

// ReadReply returns the next outstanding reply, after sending what is still queued.
func (c *Client) ReadReply(ctx context.Context) (Reply, error) {
	if c.err != nil {
		return Reply{}, c.err
	}
	if len(c.out) == 0 && c.sent > 0 { // one of many that came together needs no deadline
		if r, ok := c.recognise(); ok {
			return c.heard(r), nil
		}
	}
	done := c.begin(ctx)
	defer done()
	if err := c.flush(ctx); err != nil {
		return Reply{}, err
	}
	return c.read(ctx)
}

// Outstanding returns the number of replies not yet read, to commands sent or queued. It is 1 before
// the greeting.
func (c *Client) Outstanding() int { return c.sent + c.queued }

// Write sends octets of a message as they are: dot-stuffed, with CRLF. What is queued goes first.
func (c *Client) Write(ctx context.Context, p []byte) error {
	if c.err != nil {
		return c.err
	}
	done := c.begin(ctx)
	defer done()
	if len(p) == 0 {
		return c.flush(ctx)
	}
	return c.send(ctx, p, nil)
}

// WriteEnd is Write for the last octets of a message, followed by those that end it, which are
// answered: one reply is outstanding more.
func (c *Client) WriteEnd(ctx context.Context, p, end []byte) error {
	if c.err != nil {
		return c.err
	}
	done := c.begin(ctx)
	defer done()
	if n := len(p); n <= smallWrite || c.under != nil && n <= tlsRecord {
		c.QueueN(p, 0)
		c.QueueN(end, 1)
		return c.flush(ctx)
	}
	if err := c.send(ctx, p, end); err != nil {
		return err
	}
	c.sent++
	return nil
}

// Clean reports whether the connection may be used for another transaction: no error so far, no reply
// outstanding, nothing queued, nothing waiting to be read, and the peer neither closed nor said that
// it will.
func (c *Client) Clean() bool {
	if c.err != nil || c.leaving || c.Outstanding() > 0 || len(c.out) > 0 {
		return false
	}
	if c.under != nil { // which may have to wait for the rest of a record
		defer c.begin(context.Background())()
	}
	return c.inStep() == nil
}

// InStep looks whether octets wait that no command asked for, or the peer has closed. Then that is
// the error, and the client is dead. Call it with no reply outstanding, as before the end of a
// message: what waits would be taken for the answer to that.
func (c *Client) InStep(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	done := c.begin(ctx)
	defer done()
	if err := c.inStep(); err != nil {
		return c.fail(err)
	}
	return c.err
}

// Ready is Clean without the look into the connection.
func (c *Client) Ready() bool {
	return c.err == nil && !c.leaving && c.Outstanding() == 0 && len(c.out) == 0 && c.br.Buffered() == 0
}

// Close closes the connection without a word.
func (c *Client) Close() error {
	if c.err == nil {
		c.err = net.ErrClosed
	}
	// The raw one: the farewell of TLS would wait for a peer that does not read.
	return c.raw.Close()
}

func (c *Client) command(ctx context.Context, line string) (Reply, error) {
	return c.commandLine(ctx, append([]byte(line), "\r\n"...))
}

// commandLine is one command and its reply. What was outstanding before it would be taken for that.
func (c *Client) commandLine(ctx context.Context, line []byte) (Reply, error) {
	if c.err == nil && c.Outstanding() > 0 {
		return Reply{}, c.fail(errors.New("a reply is outstanding: read it before the next command"))
	}
	c.Queue(line)
	return c.ReadReply(ctx)
}

// begin sets the deadline of one call. done must be called at its end: it makes sure that the
// interruption by ctx cannot strike a later call.
func (c *Client) begin(ctx context.Context) (done func()) {
	now := time.Now()
	deadline := now.Add(c.timeout())
	slack := c.timeout() / 16
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline, slack = d, 0
	}
	if !c.limit.IsZero() && c.limit.Before(deadline) {
		deadline, slack = c.limit, c.limit.Sub(now)/16
	}
	// To move the timer of a connection forward for each call costs more than it is good for: one
	// that is set already and comes a little early will do.
	if early := deadline.Sub(c.set); early < 0 || early > slack {
		c.setDeadline(deadline)
	}
	if ctx.Done() == nil {
		return nothing
	}
	struck := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(struck)
		// An error here means that the connection is closed, which interrupts as well.
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-struck
			c.set = time.Time{}
		}
	}
}

func nothing() {}

func (c *Client) timeout() time.Duration {
	if c.Timeout <= 0 {
		return defaultTimeout
	}
	return c.Timeout
}

func (c *Client) setDeadline(deadline time.Time) {
	c.set = deadline
	// The raw connection: TLS has no deadlines of its own. That a pipe is closed is no reason yet to
	// fail: the reply may have been read with the one before.
	err := c.raw.SetDeadline(deadline)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed) {
		_ = c.fail(fmt.Errorf("deadline: %w", err))
	}
}

// flush writes what is queued, within begin and done.
func (c *Client) flush(ctx context.Context) error { return c.send(ctx, nil, nil) }

// send writes what is queued, and then p and end, within begin and done: in one system call where
// the connection can do that.
func (c *Client) send(ctx context.Context, p, end []byte) error {
	if c.err != nil || len(c.out) == 0 && len(p) == 0 {
		return c.err
	}
	if c.queued > 0 && c.sent == 0 {
		if err := c.watch(); err != nil {
			return c.fail(err)
		}
	}
	var err error
	switch {
	case len(p) == 0:
		_, err = c.conn.Write(c.out)
	case len(c.out) == 0 && len(end) == 0:
		_, err = c.conn.Write(p)
	default:
		err = c.writeVector([...][]byte{c.out, p, end})
	}
	if err != nil {
		return c.fail(c.broken(ctx, "write", err))
	}
	c.out = c.out[:0]
	c.sent += c.queued
	c.queued = 0
	return nil
}

func (c *Client) writeVector(pieces [3][]byte) error {
	if direct, ok := c.conn.(interface{ writeVector(pieces [3][]byte) error }); ok {
		return direct.writeVector(pieces)
	}
	buffers := net.Buffers(pieces[:])
	_, err := buffers.WriteTo(c.conn)
	return err
}

// watch is inStep, or as much of it as is wanted before every command.
func (c *Client) watch() error {
	if c.Unwatched && c.br.Buffered() == 0 {
		return nil
	}
	return c.inStep()
}

// read reads one reply, within begin and done.
func (c *Client) read(ctx context.Context) (Reply, error) {
	if c.sent == 0 {
		return Reply{}, c.fail(errors.New("no reply is outstanding"))
	}
	r, err := c.readReply()
	if err != nil {
		return Reply{}, c.fail(c.broken(ctx, "read reply", err))
	}
	return c.heard(r), nil
}

// broken says what a failed call failed of: the end of ctx, where that was the reason, besides what
// the network said.
func (c *Client) broken(ctx context.Context, what string, err error) error {
	cause := context.Cause(ctx)
	if d, ok := ctx.Deadline(); ok && cause == nil && !time.Now().Before(d) {
		cause = context.DeadlineExceeded // its timer is a moment behind ours
	}
	if cause != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: %w: %w", what, cause, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// fail makes err the end of the client and returns it.
func (c *Client) fail(err error) error {
	if c.err == nil {
		c.err = err
	}
	return c.err
}
