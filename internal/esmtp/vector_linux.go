package esmtp

import (
	"syscall"
	"unsafe"
)

// vector is what a write of several pieces needs. It is made at the first of them: most connections
// never have one.
type vector struct {
	left [3][]byte
	iov  [3]syscall.Iovec
	err  error
	step func(fd uintptr) bool
}

// writeVector writes the pieces as Write writes one.
func (c *directConn) writeVector(pieces [3][]byte) error {
	w := &c.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.vector == nil {
		w.vector = new(vector)
		w.vector.step = w.vector.all
	}
	v := w.vector
	v.left, v.err = pieces, nil
	err := c.raw.Write(v.step)
	if err == nil {
		err = v.err
	}
	v.left, v.iov = [3][]byte{}, [3]syscall.Iovec{}
	if err != nil {
		return c.failed("write", err)
	}
	return nil
}

// all writes until nothing is left, or the socket has no room.
func (v *vector) all(fd uintptr) bool {
	for {
		n := 0
		for _, p := range v.left {
			if len(p) > 0 {
				v.iov[n].Base = &p[0]
				v.iov[n].SetLen(len(p))
				n++
			}
		}
		if n == 0 {
			return true
		}
		done, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&v.iov[0])), uintptr(n))
		switch errno {
		case 0:
			v.written(int(done))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			v.err = errno
			return true
		}
	}
}

func (v *vector) written(n int) {
	for i, p := range v.left {
		cut := min(n, len(p))
		v.left[i] = p[cut:]
		n -= cut
	}
}
