package mxsim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeSize is how many octets one direction holds before the writer waits, like a socket buffer.
// net.Pipe has none: octets could never wait to be read, and two peers that write at the same
// time would block each other, neither of which is so on a network.
const pipeSize = 64 << 10

// newPipe returns the two ends of a connection in memory.
func newPipe(client, server net.Addr) (clientEnd, serverEnd net.Conn) {
	up, down := newStream(), newStream()
	return &pipeConn{in: down, out: up, local: client, remote: server},
		&pipeConn{in: up, out: down, local: server, remote: client}
}

// stream is one direction of a connection.
type stream struct {
	mu         sync.Mutex
	buf        []byte
	writerGone bool
	readerGone bool
	changed    chan struct{} // closed and replaced at every change
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// change wakes all who wait. The caller holds mu.
func (s *stream) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(p []byte, d *deadline) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.readerGone:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case d.passed():
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.change()
			s.mu.Unlock()
			return n, nil
		case s.writerGone:
			s.mu.Unlock()
			return 0, io.EOF
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-d.wait():
		}
	}
}

func (s *stream) write(p []byte, d *deadline) (int, error) {
	written := 0
	for {
		s.mu.Lock()
		switch {
		case s.writerGone:
			s.mu.Unlock()
			return written, net.ErrClosed
		case s.readerGone:
			s.mu.Unlock()
			return written, syscall.EPIPE
		case d.passed():
			s.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		}
		if room := pipeSize - len(s.buf); room > 0 && written < len(p) {
			n := min(room, len(p)-written)
			s.buf = append(s.buf, p[written:written+n]...)
			written += n
			s.change()
		}
		changed := s.changed
		s.mu.Unlock()
		if written == len(p) {
			return written, nil
		}
		select {
		case <-changed:
		case <-d.wait():
		}
	}
}

// waiting tells how many octets can be read at once, or that there are none and none will come.
func (s *stream) waiting() (n int, eof bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.buf), s.writerGone && len(s.buf) == 0
}

func (s *stream) closeRead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerGone = true
	s.buf = nil
	s.change()
}

func (s *stream) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerGone = true
	s.change()
}

// pipeConn is one end. What was written before Close can still be read at the other end.
type pipeConn struct {
	in, out       *stream
	rd, wd        deadline
	local, remote net.Addr
}

func (c *pipeConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, &c.rd)
	return n, c.opError("read", err)
}

func (c *pipeConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, &c.wd)
	return n, c.opError("write", err)
}

// opError dresses an error as the net package does; io.EOF stays bare.
func (c *pipeConn) opError(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // the streams return it bare
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (c *pipeConn) Close() error {
	// Writing ends first: who waits for octets wakes up with the second, and must find nobody to write
	// to any more, as with a socket.
	c.out.closeWrite()
	c.in.closeRead()
	return nil
}

// Waiting looks at what a Read would find, as a look into a socket does.
func (c *pipeConn) Waiting() (n int, eof bool) { return c.in.waiting() }

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.rd.set(t)
	c.wd.set(t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.rd.set(t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.wd.set(t)
	return nil
}

// deadline is a point in time that may be moved while others wait for it. Its timer runs on the
// clock of the bubble in which it is set.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	timer *time.Timer
	moved chan struct{} // closed when the deadline passes or moves; nil until somebody waits
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.wake()
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.wake()
		})
	}
}

// wake ends all current waits; who waits looks again. The caller holds mu.
func (d *deadline) wake() {
	if d.moved != nil {
		close(d.moved)
		d.moved = nil
	}
}

func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved == nil {
		d.moved = make(chan struct{})
		if !d.at.IsZero() && !time.Now().Before(d.at) { // passed since the caller looked
			d.wake()
			passed := make(chan struct{})
			close(passed)
			return passed
		}
	}
	return d.moved
}
