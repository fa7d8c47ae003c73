package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	mdns "github.com/miekg/dns"
)

// nameServer is a name server over net.Pipe, for tests in a bubble of testing/synctest.
type nameServer struct {
	// reply gives the messages to send back, as octets; none means silence.
	reply func(network string, query *mdns.Msg) [][]byte
	// streamOnly makes "udp" connections streams, which the resolver must frame as TCP.
	streamOnly bool

	mu      sync.Mutex
	queries []string // "udp example.com. MX"
}

// packets makes a pipe look like a connected UDP socket: each write is one read.
type packets struct{ net.Conn }

func (p packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.RemoteAddr(), err
}

func (p packets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

func (s *nameServer) dial(_ context.Context, network, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	if network == "udp" && !s.streamOnly {
		go s.servePackets(server)
		return packets{client}, nil
	}
	go s.serveStream(network, server)
	return client, nil
}

func (s *nameServer) servePackets(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		for _, wire := range s.answer("udp", buf[:n]) {
			if _, err := conn.Write(wire); err != nil {
				return
			}
		}
	}
}

func (s *nameServer) serveStream(network string, conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		buf := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, buf); err != nil {
			return
		}
		for _, wire := range s.answer(network, buf) {
			framed := binary.BigEndian.AppendUint16(nil, uint16(len(wire)))
			if _, err := conn.Write(append(framed, wire...)); err != nil {
				return
			}
		}
	}
}

func (s *nameServer) answer(network string, wire []byte) [][]byte {
	query := new(mdns.Msg)
	if err := query.Unpack(wire); err != nil || len(query.Question) != 1 {
		panic(fmt.Sprintf("the resolver sent a bad query: %v %v", query, err))
	}
	q := query.Question[0]
	s.mu.Lock()
	s.queries = append(s.queries, network+" "+q.Name+" "+mdns.TypeToString[q.Qtype])
	s.mu.Unlock()
	return s.reply(network, query)
}

func (s *nameServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queries)
}

// resolver returns a Resolver with two servers, both this one.
func (s *nameServer) resolver(t *testing.T) *Resolver {
	t.Helper()
	r, err := New(Config{Servers: []string{"192.0.2.53:53", "192.0.2.54"}, Dial: s.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// zone answers from records in presentation format, as a recursive resolver would; names without
// any get NXDOMAIN.
func zone(t *testing.T, records ...string) func(string, *mdns.Msg) [][]byte {
	t.Helper()
	rrs := parseRRs(t, records...)
	return func(_ string, query *mdns.Msg) [][]byte {
		m := new(mdns.Msg).SetReply(query)
		q := query.Question[0]
		exists := false
		for _, rr := range rrs {
			if rr.Header().Name != q.Name {
				continue
			}
			exists = true
			if rr.Header().Rrtype == q.Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) == 0 {
			m.Ns = parseRRs(t, "test. 900 IN SOA ns.test. root.test. 1 2 3 4 300")
		}
		if !exists {
			m.Rcode = mdns.RcodeNameError
		}
		return [][]byte{pack(m)}
	}
}

func pack(m *mdns.Msg) []byte {
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return wire
}

func parseRRs(tb testing.TB, records ...string) []mdns.RR {
	tb.Helper()
	var rrs []mdns.RR
	for _, s := range records {
		rr, err := mdns.NewRR(s)
		if err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
