package mxsim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

func TestListenerInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net")
		defer relay.Close()
		l := mxsim.NewListener(10025)
		served := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				relay.Serve(conn)
				_, err = l.Accept()
			}
			served <- err
		}()
		client := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4025}
		conn, err := l.DialFrom(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if conn.LocalAddr() != net.Addr(client) || conn.RemoteAddr().String() != l.Addr().String() {
			t.Errorf("from %v to %v", conn.LocalAddr(), conn.RemoteAddr())
		}
		banner := make([]byte, 4)
		if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "220 " {
			t.Errorf("%q, %v", banner, err)
		}
		if rec := relay.Record(); rec.Conns[0].Peer != client.String() {
			t.Errorf("the server saw %s", rec.Conns[0].Peer)
		}
		_ = l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
		if _, err := l.DialFrom(t.Context(), client); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dial after Close: %v", err)
		}
	})
}

func TestSlowAndEndlessGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		slow, endless, hang := simple(mxsim.TarpitAll(time.Minute)), simple(mxsim.EndlessBanner()), simple()
		endless.Domains, hang.Domains = []string{"example.org"}, []string{"example.net"}
		hang.Hosts[0].TLS = mxsim.TLSHang
		w.Add(slow, endless, hang)
		begin := time.Now()
		p := connect(t, w.DialContext, address(w, 0))
		p.want("banner", "220")
		p.say("EHLO x.example.net", "250")
		if got := time.Since(begin); got != 2*time.Minute {
			t.Errorf("banner and EHLO took %v", got)
		}
		p = connect(t, w.DialContext, address(w, 1))
		if n, err := io.CopyN(io.Discard, p.br, 1<<20); err != nil {
			t.Errorf("%d octets of an endless banner: %v", n, err)
		}
		p = connect(t, w.DialContext, address(w, 2))
		p.want("banner", "220")
		p.say("EHLO x.example.net", "250")
		p.say("STARTTLS", "220")
		if err := p.conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		p.write("a ClientHello")
		if b, err := p.br.ReadByte(); err == nil {
			t.Errorf("octet %q after STARTTLS", b)
		}
	})
}

func TestRelayStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net")
		defer relay.Close()
		relay.Latency = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := relay.DialContext(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a relay farther away than the deadline: %v", err)
		}
		relay.State = mxsim.Down
		if _, err := relay.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil ||
			!strings.Contains(err.Error(), "refused") {
			t.Errorf("a relay that is down: %v", err)
		}
	})
}
