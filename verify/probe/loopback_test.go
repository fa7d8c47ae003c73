package probe_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// loopback returns a pool for a world on real sockets.
func loopback(tb testing.TB, w *mxsim.World, cfg probe.Config) (*probe.Pool, *mx.Resolver) {
	tb.Helper()
	at, err := w.Listen(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Resolver = resolverAt(tb, at.DNS)
	cfg.Dial = mx.Dialer(loopbackFilter(), nil)
	cfg.Port = at.Port
	pool := probe.NewPool(cfg)
	tb.Cleanup(func() {
		if err := pool.Close(tb.Context()); err != nil && tb.Context().Err() == nil {
			tb.Error(err)
		}
		w.Close()
	})
	return pool, cfg.Resolver
}

func resolverAt(tb testing.TB, server string) *mx.Resolver {
	tb.Helper()
	names, err := dns.New(dns.Config{Servers: []string{server}})
	if err != nil {
		tb.Fatal(err)
	}
	return &mx.Resolver{DNS: names, Filter: loopbackFilter()}
}

func loopbackFilter() *mx.Filter {
	allow := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return mx.NewFilter(mx.FilterConfig{Allow: allow})
}

// TestLoopback: over real sockets, with and without TLS, sessions are reused and ended politely.
func TestLoopback(t *testing.T) {
	w := mxsim.New(mxsim.Config{Loopback: true})
	plain, secure := site("example.com"), site("example.org")
	secure.Hosts[0].TLS = mxsim.TLS
	w.Add(plain, secure)
	pool, res := loopback(t, w, probe.Config{})
	for _, domain := range []string{"example.com", "example.org"} {
		for _, local := range []string{"anna", "nobody", "anna"} {
			out := pool.Probe(t.Context(), probe.Request{
				Set: res.Lookup(t.Context(), domain), Sender: address(t, "sender@example.net"),
				Rcpt: address(t, local+"@"+domain), Helo: helo,
			})
			want := 250
			if local == "nobody" {
				want = 550
			}
			if out.Reply.Code != want || out.TLS != (domain == "example.org") {
				t.Errorf("%s@%s: %+v", local, domain, out)
			}
		}
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.Close() // waits for the hosts: what they saw is complete
	for _, s := range []*mxsim.Site{plain, secure} {
		record := s.Hosts[0].Record()
		if n := len(record.WithoutQuit()); n != 0 || len(record.Conns) > 2 {
			t.Errorf("%s: %d connections, %d without QUIT", s.Domains[0], len(record.Conns), n)
		}
	}
}

// TestLoopbackClosed: a kept session that the server has closed, or spoken in, is not used: what
// waits in the socket is seen before anything is sent.
func TestLoopbackClosed(t *testing.T) {
	for name, farewell := range map[string]string{"closed": "", "421": "421 4.4.2 timeout\r\n"} {
		t.Run(name, func(t *testing.T) {
			var conns, afterFarewell atomic.Int32
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			said := make(chan struct{}, 10)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conns.Add(1)
					go serveOne(conn, farewell, said, &afterFarewell)
				}
			}()
			defer l.Close()
			w := mxsim.New(mxsim.Config{Loopback: true})
			s := site("example.com")
			s.Hosts[0].Addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			w.Add(s)
			at, err := w.Listen(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			resolver, err := dns.New(dns.Config{Servers: []string{at.DNS}})
			if err != nil {
				t.Fatal(err)
			}
			filter := loopbackFilter()
			res := &mx.Resolver{DNS: resolver, Filter: filter}
			pool := probe.NewPool(probe.Config{
				Dial: mx.Dialer(filter, nil), Resolver: res,
				Port: l.Addr().(*net.TCPAddr).Port, Idle: time.Hour,
			})
			for range 3 {
				out := pool.Probe(t.Context(), probe.Request{
					Set: res.Lookup(t.Context(), "example.com"), Sender: address(t, "sender@example.net"),
					Rcpt: address(t, "anna@example.com"), Helo: helo,
				})
				if out.Reply.Code != 250 {
					t.Errorf("%+v", out)
				}
				<-said // the server has said farewell: on loopback it is in our socket
			}
			if err := pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if n, after := conns.Load(), afterFarewell.Load(); n != 3 || after != 0 {
				t.Errorf("%d connections, want 3; %d commands after the farewell", n, after)
			}
		})
	}
}

// serveOne takes one recipient and its RSET, and says farewell.
func serveOne(conn net.Conn, farewell string, said chan<- struct{}, after *atomic.Int32) {
	defer conn.Close()
	const ok = "250 mx.example.com\r\n"
	replies := []string{"220 mx.example.com\r\n", ok, ok, ok, ok}
	buf := make([]byte, 1000)
	for i, r := range replies {
		if i > 0 {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
		if i == len(replies)-1 {
			r += farewell
		}
		if _, err := conn.Write([]byte(r)); err != nil {
			return
		}
	}
	if farewell == "" {
		conn.Close()
	}
	said <- struct{}{}
	if n, _ := conn.Read(buf); n > 0 {
		after.Add(1)
	}
}
