package esmtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// glance looks at what waits to be read from a connection, without taking it and without waiting.
// It is made once for each connection and costs one system call a look.
type glance struct {
	conn interface{ Waiting() (n int, eof bool) } // a connection in memory that can tell
	raw  syscall.RawConn                          // a socket
	peek func(fd uintptr)
	n    int
	err  error
}

// newGlance makes one for conn: a socket, or a connection that has the method
//
//	Waiting() (n int, eof bool)
//
// which tells how many octets can be read at once, or that there are none and none will come.
// Of any other connection nothing is known.
func newGlance(conn net.Conn) *glance {
	g := new(glance)
	switch c := conn.(type) {
	case syscall.Conn:
		if raw, err := c.SyscallConn(); err == nil {
			g.raw, g.peek = raw, g.peekSocket
		}
	case interface{ Waiting() (int, bool) }:
		g.conn = c
	}
	return g
}

// look tells how many octets wait (1 stands for more), or that the peer has closed.
func (g *glance) look() (n int, eof bool) {
	switch {
	case g.conn != nil:
		return g.conn.Waiting()
	case g.raw == nil:
		return 0, false
	}
	g.n, g.err = 0, nil
	if err := g.raw.Control(g.peek); err != nil || g.err != nil {
		return 0, false
	}
	return g.n, g.n == 0
}

// underTLS is the connection as TLS sees it. It can be told not to wait: then a Read while nothing
// is there ends with a temporary error, which crypto/tls takes no harm from. It does so only between
// two records. Inside of one it waits for the rest, so that no record is half looked at.
type underTLS struct {
	net.Conn
	glance *glance
	still  bool // do not wait
	empty  bool // a Read ended because nothing was there
	head   int  // octets of the open record's header so far
	size   int  // its length, as far as it is known
	left   int  // octets of the record behind its header that are still to come
}

const recordHeader = 5 // type, version, length: the same in all versions (RFC 8446 section 5.1)

// Read reads once.
func (u *underTLS) Read(p []byte) (int, error) {
	if u.still && u.head == 0 && u.left == 0 {
		if n, eof := u.glance.look(); n == 0 && !eof {
			u.empty = true
			return 0, os.ErrDeadlineExceeded
		}
	}
	n, err := u.Conn.Read(p)
	u.follow(p[:n])
	return n, err
}

// follow keeps account of where records end.
func (u *underTLS) follow(p []byte) {
	for len(p) > 0 {
		if u.left > 0 {
			n := min(u.left, len(p))
			u.left -= n
			p = p[n:]
			continue
		}
		if u.head++; u.head > recordHeader-2 {
			u.size = u.size<<8 | int(p[0])
		}
		if u.head == recordHeader {
			u.head, u.left, u.size = 0, u.size, 0
		}
		p = p[1:]
	}
}

// inStep returns an error if octets wait that no command asked for, or the peer has closed. What
// comes without being a reply, as a session ticket of TLS does, is taken.
func (c *Client) inStep() error {
	switch {
	case c.br.Buffered() > 0:
		return c.unasked()
	case c.under != nil:
		return c.inStepTLS()
	}
	switch n, eof := c.glance.look(); {
	case eof:
		return fmt.Errorf("the peer has closed the connection: %w", io.EOF)
	case n > 0:
		return &ProtocolError{Detail: outOfStep}
	}
	return nil
}

// unasked is the error of octets that were read though no command asked for them.
func (c *Client) unasked() error {
	waiting, _ := c.br.Peek(min(c.br.Buffered(), 100))
	shown := appendEscaped([]byte(outOfStep+`: "`), string(waiting), false, 200)
	return &ProtocolError{Detail: string(append(shown, '"'))}
}

// inStepTLS decrypts what is there, within begin and done: a record that does not end is waited for.
func (c *Client) inStepTLS() error {
	c.under.still, c.under.empty = true, false
	_, err := c.br.Peek(1)
	c.under.still = false
	switch {
	case err == nil:
		return c.unasked()
	case c.under.empty:
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the peer has closed the connection: %w", err)
	}
	return fmt.Errorf("reading what nobody asked for: %w", err)
}
