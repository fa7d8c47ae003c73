//go:build unix

package mxsim

import (
	"context"
	"net"
	"syscall"
	"time"
)

// fillQueue makes connection attempts at a listener hang: with a backlog of nothing, and the one
// place that is left taken, the kernel drops further SYNs.
func (w *World) fillQueue(ctx context.Context, l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return net.ErrClosed
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil {
		return err
	}
	if listenErr != nil {
		return listenErr
	}
	const most, patience = 4, 200 * time.Millisecond
	for range most {
		dialer := net.Dialer{Timeout: patience}
		conn, err := dialer.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return ctx.Err() // full
		}
		w.hold(conn)
	}
	return nil
}
