package wire

import (
	"bytes"
	"io"
	"net"
	"sync"
)

const (
	smallInput = 4 << 10  // for commands: a full pipelined batch of some hundred octets a line
	bigInput   = 64 << 10 // for messages: one read, one scan, one write
)

// input is what the client sent and nobody took yet. It uses a small buffer for commands
// and borrows a big one for messages.
type input struct {
	buf   []byte // small or big
	r, w  int
	small []byte
	big   *[bigInput]byte
	err   error // what the last read ended with; sticky, but not for a timeout
}

var bigPool = sync.Pool{New: func() any { return new([bigInput]byte) }}

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
	if in.buf == nil {
		in.small = make([]byte, smallInput)
		in.buf = in.small
	}
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w == len(in.buf):
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	if in.w == len(in.buf) {
		return io.ErrShortBuffer
	}
	n, err := c.Read(in.buf[in.w:])
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

// grow borrows a big buffer, shrink gives it back once what is left fits the small one.
func (in *input) grow() {
	if in.big == nil {
		in.big = bigPool.Get().(*[bigInput]byte) //nolint:forcetypeassert // the pool holds nothing else
		in.w = copy(in.big[:], in.bytes())
		in.r, in.buf = 0, in.big[:]
	}
}

func (in *input) shrink() {
	if in.big == nil || in.len() > smallInput {
		return
	}
	if in.small == nil {
		in.small = make([]byte, smallInput)
	}
	in.w = copy(in.small, in.bytes())
	in.r, in.buf = 0, in.small
	bigPool.Put(in.big)
	in.big = nil
}
