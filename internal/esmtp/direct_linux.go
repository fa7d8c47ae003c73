package esmtp

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Direct returns a connection that reads and writes nc at the price of the system calls alone, or
// nc itself if it is not TCP. Deadlines, Close and everything else are nc's, which must not be used
// any more.
//
// Go announces each system call to its scheduler: it might block, and another goroutine should run
// meanwhile. Reading and writing a non-blocking socket never blocks, but over loopback it often takes
// longer than the 20 µs after which a watchdog (sysmon) gives the processor to another thread. So each
// message costs wake-ups, and the watchdog never rests: together a tenth of the CPU time of a gate
// that is busy with small messages. Direct makes the calls without the announcement. What that
// costs: a garbage collection may have to wait for one, some ten microseconds.
func Direct(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	c := &directConn{TCPConn: tcp, raw: raw}
	c.reading.step, c.writing.step = c.reading.once, c.writing.all
	return c
}

// ReadSocket reads into p from the non-blocking socket fd, which must not be empty. The error is a
// [syscall.Errno]; EAGAIN: there is nothing yet.
func ReadSocket(fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(
			syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// directConn is a TCP connection. The embedded one's ReadFrom and WriteTo stay as they are.
type directConn struct {
	*net.TCPConn
	raw     syscall.RawConn
	reading reading
	writing writing
}

// reading is what one Read needs. The function is made once, so that a call makes no garbage.
type reading struct {
	mu   sync.Mutex
	p    []byte
	n    int
	err  error
	step func(fd uintptr) bool
}

// Read is [net.Conn.Read].
func (c *directConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p = p
	err := c.raw.Read(r.step)
	r.p = nil
	if err == nil {
		err = r.err
	}
	switch {
	case err != nil:
		return 0, c.failed("read", err)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

func (r *reading) once(fd uintptr) bool {
	r.n, r.err = ReadSocket(fd, r.p)
	return r.err != syscall.EAGAIN //nolint:errorlint // it is never wrapped
}

// writing is what one Write needs.
type writing struct {
	mu     sync.Mutex
	p      []byte
	n      int
	err    error
	step   func(fd uintptr) bool
	vector *vector
}

// Write is [net.Conn.Write].
func (c *directConn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w := &c.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p, w.n, w.err = p, 0, nil
	err := c.raw.Write(w.step)
	w.p = nil
	if err == nil {
		err = w.err
	}
	if err != nil {
		return w.n, c.failed("write", err)
	}
	return w.n, nil
}

// failed is the error as net has it.
func (c *directConn) failed(op string, err error) error {
	if from, ok := err.(*net.OpError); ok { //nolint:errorlint // of RawConn, never wrapped
		from.Op = op
		return from
	}
	return &net.OpError{
		Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(),
		Err: os.NewSyscallError(op, err),
	}
}

func (w *writing) all(fd uintptr) bool {
	for w.n < len(w.p) {
		rest := w.p[w.n:]
		n, _, errno := syscall.RawSyscall(
			syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
		switch errno {
		case 0:
			w.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			w.err = errno
			return true
		}
	}
	return true
}
