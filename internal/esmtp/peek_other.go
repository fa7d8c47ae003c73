//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package esmtp

import "net"

// peekSocket cannot look into the socket here: only what was read already shows.
func peekSocket(net.Conn) (n int, eof bool) { return 0, false }
