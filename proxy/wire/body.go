package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Errors of ReadBody. After ErrLost the connection is dead; after the others the message
// was read to its proper end and the session goes on.
var (
	ErrLost   = errors.New("client lost in the middle of a message")
	ErrTooBig = errors.New("message larger than proxy.max_message_size")
	ErrBare   = errors.New("bare CR, bare LF or NUL in a message")
)

// SinkError wraps what the sink of ReadBody returned. The rest of the message was read and
// thrown away.
type SinkError struct{ Err error }

// Error tells that the message could not be passed on, and why.
func (e *SinkError) Error() string { return "passing on the message: " + e.Err.Error() }

// Unwrap is the sink's error.
func (e *SinkError) Unwrap() error { return e.Err }

// BeginBody sends 354, and with it the replies to the commands before DATA. The session
// calls it when the relay has given its own 354.
func (c *Conn) BeginBody() error {
	c.begun = true
	c.out = append(c.out, "354 End data with <CR><LF>.<CR><LF>\r\n"...)
	return c.flush()
}

// ReadBody reads the message that follows BeginBody and passes it to sink in pieces: octets
// as the client sent them, dot-stuffing left in, without the final "." CR LF. A piece
// never holds a bare CR, a bare LF or a NUL, and never ends between CR and LF. Where the end came
// together with the last piece, last says so. size counts the octets without stuffing, whatever
// became of them.
//
// Whatever goes wrong, the message is read to its proper end, so that the session can be
// told: with RejectBare an offending octet gives ErrBare, too many octets ErrTooBig, a
// failing sink a *SinkError; the sink is not called again after the first of them. A message
// that does not end (lost, timed out, slower than MinDataRate, or twice too big) gives
// ErrLost and the connection is closed.
func (c *Conn) ReadBody(sink func(p []byte, last bool) error) (size int64, err error) {
	c.in.grow()
	defer c.in.shrink()
	b := body{c: c, f: newFramer(), z: newNormalizer(), sink: sink, start: time.Now()}
	for {
		done := b.step()
		size = b.read - b.f.stuffed
		if done {
			return size, b.err
		}
		if limit := c.cfg.MaxMessageSize; limit > 0 && size > 2*limit {
			_ = c.bye(552, esmtp.EnhancedCode{5, 3, 4}, "Message size exceeds the limit by far")
			_ = c.kill()
			return size, ErrLost
		}
		if err := b.more(); err != nil {
			c.messageLost(err)
			return size, fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
}

// body is one message on its way.
type body struct {
	c     *Conn
	f     framer
	z     normalizer
	sink  func(p []byte, last bool) error
	out   []byte // rewritten octets, only when something had to be normalised
	read  int64  // octets decided, stuffing included
	err   error  // the first thing that went wrong
	start time.Time
	held  time.Duration // how long the sink held us up: not the client's fault
}

// step passes on what the input holds, and says whether the message has ended.
func (b *body) step() bool {
	in := &b.c.in
	p := in.bytes()
	n, next, done := b.f.scan(p)
	b.read += int64(n)
	b.pass(p[:n], done)
	in.take(next)
	return done
}

func (b *body) pass(p []byte, last bool) {
	cfg := b.c.cfg
	switch {
	case b.err != nil || len(p) == 0:
		return
	case b.f.bad && cfg.Bare == RejectBare:
		b.err = ErrBare
		return
	case cfg.MaxMessageSize > 0 && b.read-b.f.stuffed > cfg.MaxMessageSize:
		b.err = ErrTooBig
		return
	}
	if cfg.Bare == NormalizeBare {
		b.out = b.z.append(b.out[:0], p)
		p = b.out
	}
	t := time.Now()
	if err := b.sink(p, last); err != nil {
		b.err = &SinkError{Err: err}
	}
	b.held += time.Since(t)
}

// more reads from the client: at most Timeout from one octet to the next, and on the whole
// not slower than MinDataRate.
func (b *body) more() error {
	cfg := b.c.cfg
	deadline := time.Time{}
	if cfg.Timeout > 0 {
		deadline = time.Now().Add(cfg.Timeout)
		if cfg.MinDataRate > 0 {
			due := time.Duration(float64(b.read) / float64(cfg.MinDataRate) * float64(time.Second))
			if slowest := b.start.Add(cfg.Timeout + b.held + due); slowest.Before(deadline) {
				deadline = slowest
			}
		}
	}
	return b.c.fillBy(deadline)
}

// messageLost closes a connection whose message did not end: nothing that still comes may
// be read as a command.
func (c *Conn) messageLost(err error) {
	c.in.reset()
	if isTimeout(err) {
		_ = c.bye(421, esmtp.EnhancedCode{4, 4, 2}, "Timeout or too slow inside a message")
	}
	c.closing = true
	_ = c.kill()
}
