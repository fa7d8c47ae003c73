package esmtp_test

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// TestLeave: who kept us waiting finds a QUIT behind the command that it has not answered; who broke
// the conversation finds nothing.
func TestLeave(t *testing.T) {
	for name, broken := range map[string]bool{"slow": false, "broken": true} {
		t.Run(name, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			heard := make(chan []string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					heard <- nil
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = conn.Write([]byte("220 slow.example.com ESMTP\r\n"))
				lines := bufio.NewScanner(conn)
				var all []string
				for lines.Scan() {
					all = append(all, lines.Text())
					if broken {
						_, _ = conn.Write([]byte("what?\r\n"))
					}
				}
				heard <- all
			}()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := esmtp.NewClient(conn)
			c.Timeout = 10 * time.Second
			if _, err = c.Greeting(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !broken {
				c.Timeout = time.Millisecond // nobody answers
			}
			if _, err = c.Noop(context.Background()); err == nil {
				t.Fatal("an answer")
			}
			_ = c.Leave()
			want := 2
			if broken {
				want = 1
			}
			if all := <-heard; len(all) != want || !broken && all[1] != "QUIT" {
				t.Errorf("heard %q", all)
			}
		})
	}
}
