package wire

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	smallInput = 4 << 10  // for commands: a full pipelined batch of some hundred octets a line
	bigInput   = 64 << 10 // for messages: one read, one scan, one write
)

// input is what the client sent and nobody took yet. It borrows a small buffer for commands
// and a big one for messages. A connection that waits for a command holds none, where the
// socket can be read without: see readSocket.
type input struct {
	buf   []byte // small or big
	r, w  int
	small *[smallInput]byte
	big   *[bigInput]byte
	err   error // what the last read ended with; sticky, but not for a timeout

	socket syscall.RawConn // nil: read through net.Conn
	onRead func(fd uintptr) bool
	n      int
	errno  error
}

var (
	smallPool = sync.Pool{New: func() any { return new([smallInput]byte) }}
	bigPool   = sync.Pool{New: func() any { return new([bigInput]byte) }}
)

// attach lets c be read without a buffer while there is nothing to read.
func (in *input) attach(c net.Conn) {
	in.socket = nil
	if sc, ok := c.(syscall.Conn); ok && runtime.GOOS == "linux" { // see esmtp.ReadSocket
		if raw, err := sc.SyscallConn(); err == nil {
			in.socket, in.onRead = raw, in.readSocket
		}
	}
}

func (in *input) len() int      { return in.w - in.r }
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }
func (in *input) take(n int)    { in.r += n }
func (in *input) reset()        { in.r, in.w = 0, 0 }
func (in *input) full() bool    { return in.len() == len(in.buf) && len(in.buf) > 0 }
func (in *input) ended() bool   { return in.err != nil }

// line takes the next line with its LF, if it is complete.
func (in *input) line() ([]byte, bool) {
	i := bytes.IndexByte(in.bytes(), '\n')
	if i < 0 {
		return nil, false
	}
	l := in.buf[in.r : in.r+i+1]
	in.take(i + 1)
	return l, true
}

// fill reads once. There must be room: see full.
func (in *input) fill(c net.Conn) error {
	if in.err != nil {
		return in.err
	}
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w == len(in.buf):
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	if in.w == len(in.buf) && in.w > 0 {
		return io.ErrShortBuffer
	}
	n, err := in.read(c)
	in.w += n
	if n > 0 {
		return nil // an error behind these octets comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() { //nolint:errorlint // the socket's own error
		in.err = err
	}
	return err
}

func (in *input) read(c net.Conn) (int, error) {
	if in.socket == nil {
		in.borrow()
		return c.Read(in.buf[in.w:])
	}
	if err := in.socket.Read(in.onRead); err != nil {
		return 0, err
	}
	if in.errno == nil && in.n == 0 {
		return 0, io.EOF
	}
	return max(in.n, 0), in.errno
}

// readSocket reads what there is, and gives the buffer back before it waits for more.
func (in *input) readSocket(fd uintptr) bool {
	in.borrow()
	n, err := esmtp.ReadSocket(fd, in.buf[in.w:])
	in.n, in.errno = n, err
	if err == syscall.EAGAIN { //nolint:errorlint // it is never wrapped
		if in.w == 0 {
			in.release()
		}
		return false
	}
	return true
}

func (in *input) borrow() {
	if in.buf == nil {
		in.small = smallPool.Get().(*[smallInput]byte) //nolint:forcetypeassert // the pool holds nothing else
		in.buf = in.small[:]
	}
}

// release gives the small buffer back. What is in it is lost.
func (in *input) release() {
	if in.small != nil && in.big == nil {
		smallPool.Put(in.small)
		in.small, in.buf, in.r, in.w = nil, nil, 0, 0
	}
}

// discard gives back what is borrowed: nothing is read any more. The next read would fail.
func (in *input) discard() {
	if in.err == nil {
		in.err = io.EOF
	}
	in.reset()
	in.shrink()
	in.release()
}

// grow borrows a big buffer, shrink gives it back once what is left fits the small one.
func (in *input) grow() {
	if in.big != nil {
		return
	}
	in.big = bigPool.Get().(*[bigInput]byte) //nolint:forcetypeassert // the pool holds nothing else
	in.w = copy(in.big[:], in.bytes())
	in.r, in.buf = 0, in.big[:]
	if in.small != nil {
		smallPool.Put(in.small)
		in.small = nil
	}
}

func (in *input) shrink() {
	if in.big == nil || in.len() > smallInput {
		return
	}
	rest, big := in.bytes(), in.big
	in.big, in.buf, in.r, in.w = nil, nil, 0, 0
	if len(rest) > 0 {
		in.borrow()
		in.w = copy(in.buf, rest)
	}
	bigPool.Put(big)
}
