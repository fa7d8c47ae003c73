//go:build linux || darwin || freebsd || netbsd || openbsd

package esmtp

import (
	"net"
	"syscall"
)

// peekSocket looks at the socket under conn without waiting and without taking anything: n octets
// (1 stands for more), or the end. A connection that is no socket shows nothing.
func peekSocket(conn net.Conn) (n int, eof bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0, false
	}
	var buf [1]byte
	var peekErr error
	err = rc.Control(func(fd uintptr) {
		n, _, peekErr = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if err != nil || peekErr != nil {
		return 0, false
	}
	return n, n == 0
}
