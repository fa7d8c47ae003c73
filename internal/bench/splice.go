package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
)

// Splice passes every connection of l on to upstream until ctx ends. It looks at no octet: on
// Linux the kernel moves them (splice(2)), and what remains is what any proxy has to pay.
func Splice(ctx context.Context, l net.Listener, upstream string) error {
	return accept(ctx, l, func(client net.Conn) {
		server, err := new(net.Dialer).DialContext(ctx, "tcp", upstream)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		var up sync.WaitGroup
		up.Go(func() {
			_, _ = io.Copy(server, client)
			if tcp, ok := server.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
		})
		_, _ = io.Copy(client, server)
		_ = client.Close()
		up.Wait()
	})
}

// Echo serves l until ctx ends: a server that answers every line with the same refusal and knows
// nothing else. Its round trip is the floor for any server's answer to one command.
func Echo(ctx context.Context, l net.Listener) error {
	return accept(ctx, l, func(conn net.Conn) {
		br := bufio.NewReaderSize(conn, 512)
		answer := []byte("550 5.1.1 No such user\r\n")
		for {
			if _, err := br.ReadSlice('\n'); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
}
