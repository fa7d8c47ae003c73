package policyd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/policyd"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// recipients are those of the benchmarks.
const recipients = 1000

func recipient(i int) string { return fmt.Sprintf("user%d@d%d.test", i%recipients, i%10) }

// internet is a real verifier on a simulated internet, which knows all recipients.
func internet(b *testing.B) *verify.Verifier {
	b.Helper()
	w := mxsim.New(mxsim.Config{})
	b.Cleanup(w.Close)
	boxes := map[string]mxsim.Mailbox{}
	for i := range recipients {
		boxes[fmt.Sprintf("user%d", i)] = mxsim.Active
	}
	for i := range 10 {
		domain := fmt.Sprintf("d%d.test", i)
		w.Add(&mxsim.Site{
			Domains: []string{domain}, Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
			Mailboxes: boxes,
		})
	}
	names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
	if err != nil {
		b.Fatal(err)
	}
	internal, err := mx.NewDomains(nil)
	if err != nil {
		b.Fatal(err)
	}
	filter := mx.NewFilter(mx.FilterConfig{})
	resolver := &mx.Resolver{DNS: names, Filter: filter, Internal: internal}
	pool := probe.NewPool(probe.Config{Dial: filter.Dial(w.DialContext), Resolver: resolver})
	v := verify.New(verify.Config{Helo: "gate.example.com"}, resolver, pool)
	b.Cleanup(func() {
		_ = v.Close(b.Context())
		_ = pool.Close(b.Context())
	})
	return v
}

// listen makes a server on a real socket whose recipients are all known.
func listen(b *testing.B, network string) (addr string) {
	b.Helper()
	engine, err := policy.New(policy.Config{}, internet(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	s := policyd.New(policyd.Config{Networks: loopback()}, engine, slog.New(slog.DiscardHandler))
	if addr = "127.0.0.1:0"; network == "unix" {
		dir, err := os.MkdirTemp("", "policyd-") //nolint:usetesting // a path of 108 octets at most
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() {
		_ = s.Shutdown(b.Context())
		if err := <-done; err != policyd.ErrClosed { //nolint:errorlint // it is returned as it is
			b.Error(err)
		}
	})
	addr = l.Addr().String()
	c := dial(b, network, addr)
	for round := range 20 { // until all is known
		b.StopTimer()
		for i := range recipients {
			c.ask([]byte(rcpt(fmt.Sprintf("warm.%d.%d", round, i/50), recipient(i))))
		}
	}
	return addr
}

// asker is a client that costs little.
type asker struct {
	tb testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dial(tb testing.TB, network, addr string) *asker {
	tb.Helper()
	nc, err := net.Dial(network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return &asker{tb, nc, bufio.NewReader(nc)}
}

// ask sends requests in one write and reads as many answers.
func (a *asker) ask(requests []byte) {
	if _, err := a.nc.Write(requests); err != nil {
		a.tb.Error(err)
		return
	}
	for range bytes.Count(requests, []byte("\n\n")) {
		if _, err := a.br.ReadSlice('\n'); err != nil {
			a.tb.Error(err)
			return
		}
		if end, err := a.br.ReadSlice('\n'); err != nil || len(end) != 1 {
			a.tb.Errorf("%q, %v", end, err)
			return
		}
	}
}

// BenchmarkConnections: 20 connections, each waiting for every answer as Postfix does, one message
// for five recipients. An operation is one request.
func BenchmarkConnections(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		for _, pipelined := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/pipelined=%d", network, pipelined), func(b *testing.B) {
				const conns = 20
				addr := listen(b, network)
				all := make([]*asker, conns)
				asks := make([][][]byte, conns)
				for k := range all {
					all[k] = dial(b, network, addr)
					for i := 0; i < 200; i += pipelined {
						var batch strings.Builder
						for j := range pipelined {
							n := i + j
							batch.WriteString(rcpt(fmt.Sprintf("%d.%d", k, n/5), recipient(k*31+n)))
						}
						asks[k] = append(asks[k], []byte(batch.String()))
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				b.StartTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for k, c := range all {
					wg.Go(func() {
						for i := 0; left.Add(-int64(pipelined)) > -int64(pipelined); i++ {
							c.ask(asks[k][i%len(asks[k])])
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
		}
	}
}

// BenchmarkRequest is one connection.
func BenchmarkRequest(b *testing.B) {
	addr := listen(b, "tcp")
	c := dial(b, "tcp", addr)
	requests := [][]byte{[]byte(rcpt("1", recipient(1))), []byte(rcpt("2", recipient(1)))}
	b.ReportAllocs()
	b.ResetTimer()
	b.StartTimer()
	for i := 0; b.Loop(); i++ {
		c.ask(requests[i%2]) // another message each time
	}
}
