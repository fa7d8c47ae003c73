//go:build linux || darwin || freebsd || netbsd || openbsd

package esmtp

import "syscall"

// peekSocket is told the socket: 1 for octets that wait, 0 for the end, an error for neither.
func (g *glance) peekSocket(fd uintptr) {
	var buf [1]byte
	g.n, _, g.err = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
}
