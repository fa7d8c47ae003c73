package main

import (
	"net"
	"syscall"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
)

// TestKeepAlive: accepted connections have what was set on the listener.
func TestKeepAlive(t *testing.T) {
	l, err := listen(t.Context(), config.Endpoint("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, option, want int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		var got int
		var failed error
		err := raw.Control(func(fd uintptr) {
			got, failed = syscall.GetsockoptInt(int(fd), o.level, o.option)
		})
		if err != nil || failed != nil || got != o.want {
			t.Errorf("option %d of level %d is %d, want %d; %v, %v", o.option, o.level, got, o.want, err, failed)
		}
	}
}
