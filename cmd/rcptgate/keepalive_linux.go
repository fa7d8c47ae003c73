package main

import (
	"net"
	"strings"
	"syscall"
)

// keepAlive has the kernel look after connections whose other end may have vanished, as Go does by
// default: after 15 s of silence, every 15 s, 9 times. The options are set once, on the listener,
// from which Linux gives them to its connections: for each connection they would be four system
// calls. That it inherits them is sure for TCP and not for Multipath TCP, which is of no use here.
func keepAlive(lc *net.ListenConfig) {
	lc.KeepAlive = -1 // not for each connection
	lc.SetMultipathTCP(false)
	lc.Control = func(network, _ string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) { failed = setKeepAlive(int(fd)) })
		if err == nil {
			err = failed
		}
		return err
	}
}

func setKeepAlive(fd int) error {
	for _, o := range []struct{ level, option, value int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
	} {
		if err := syscall.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return err
		}
	}
	return nil
}
