package dns

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
)

func TestForgedDatagramsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := zone(t, "a.test. 600 IN MX 10 mx.test.")
		forged := func(q *mdns.Msg) [][]byte {
			evil := new(mdns.Msg).SetReply(q)
			evil.Answer = parseRRs(t, "a.test. 600 IN MX 1 evil.test.")
			id := evil.Copy()
			id.Id++
			name := evil.Copy()
			name.Question[0].Name = "b.test."
			qtype := evil.Copy()
			qtype.Question[0].Qtype = mdns.TypeA
			query := evil.Copy()
			query.Response = false
			none := evil.Copy()
			none.Question = nil
			return [][]byte{
				pack(id), pack(name), pack(qtype), pack(query), pack(none), {}, {1, 2, 3},
			}
		}
		s := &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
			return append(forged(q), good(network, q)...)
		}}
		got := s.resolver(t).MX(t.Context(), "a.test")
		if got.Status != NoError || got.MX[0].Host != "mx.test" || s.count() != 1 {
			t.Errorf("%+v %v", got, s.queries)
		}

		s = &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
			if network == "tcp" {
				return good(network, q)
			}
			return append(append(append(forged(q), forged(q)...), forged(q)...), good(network, q)...)
		}}
		got = s.resolver(t).MX(t.Context(), "a.test")
		if got.Status != NoError || got.MX[0].Host != "mx.test" || s.queries[1] != "tcp a.test. MX" {
			t.Errorf("a flood: %+v %v", got, s.queries)
		}
	})
}

func TestTruncatedMovesToTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := zone(t, "a.test. 600 IN MX 10 mx.test.", "a.test. 600 IN MX 20 mx2.test.")
		cut := func(n int) func(string, *mdns.Msg) [][]byte {
			return func(network string, q *mdns.Msg) [][]byte {
				wire := good(network, q)[0]
				if network == "udp" {
					wire[2] |= 2 // TC
					wire = wire[:len(wire)-n]
				}
				return [][]byte{wire}
			}
		}
		for _, n := range []int{0, 3, 20} {
			s := &nameServer{reply: cut(n)}
			got := s.resolver(t).MX(t.Context(), "a.test")
			if got.Status != NoError || len(got.MX) != 2 || s.count() != 2 {
				t.Errorf("cut by %d: %+v %v", n, got, s.queries)
			}
		}
		// Truncated over TCP too: nothing may be concluded.
		s := &nameServer{reply: func(_ string, q *mdns.Msg) [][]byte {
			m := new(mdns.Msg).SetReply(q)
			m.Truncated = true
			return [][]byte{pack(m)}
		}}
		if got := s.resolver(t).MX(t.Context(), "a.test"); got.Status != Failure {
			t.Errorf("always truncated: %+v", got)
		}
	})
}

func TestServerWithoutEDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := zone(t, "a.test. 600 IN MX 10 mx.test.")
		s := &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
			if q.IsEdns0() != nil {
				m := new(mdns.Msg).SetRcode(q, mdns.RcodeFormatError)
				m.Question = nil // only the header, as old servers do
				return [][]byte{pack(m)}
			}
			return good(network, q)
		}}
		if got := s.resolver(t).MX(t.Context(), "a.test"); got.Status != NoError || s.count() != 2 {
			t.Errorf("%+v %v", got, s.queries)
		}
	})
}

func TestUnfinishedChainsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: func(_ string, q *mdns.Msg) [][]byte {
			m := new(mdns.Msg).SetReply(q)
			m.Answer = parseRRs(t, map[string]string{
				"a.test.": "a.test. 60 IN CNAME b.test.",
				"b.test.": "b.test. 600 IN MX 10 mx.test.",
				"x.test.": "x.test. 600 IN CNAME y.test.",
				"y.test.": "y.test. 600 IN CNAME x.test.",
			}[q.Question[0].Name])
			return [][]byte{pack(m)}
		}}
		r := s.resolver(t)
		if got := r.MX(t.Context(), "a.test"); got.Status != NoError || got.TTL > time.Minute ||
			got.MX[0].Host != "mx.test" {
			t.Errorf("%+v", got)
		}
		if got := r.MX(t.Context(), "x.test"); got.Status != Failure || s.count() > 11 {
			t.Errorf("a loop: %+v %v", got, s.queries)
		}
	})
}

func TestRealSockets(t *testing.T) {
	answer := zone(t, "a.test. 600 IN MX 10 mx.test.")
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		network := w.LocalAddr().Network()
		wire := answer(network, q)[0]
		if network == "udp" && q.Question[0].Name == "big.test." {
			wire[2] |= 2
		}
		if _, err := w.Write(wire); err != nil {
			t.Error(err)
		}
	})
	pc, l := listenBoth(t)
	for _, s := range []*mdns.Server{
		{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler},
	} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	r, err := New(Config{Servers: []string{pc.LocalAddr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.MX(t.Context(), "a.test"); got.Status != NoError {
		t.Errorf("udp: %+v", got)
	}
	if got := r.MX(t.Context(), "big.test"); got.Status != NXDomain {
		t.Errorf("tcp: %+v", got)
	}

	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := dead.LocalAddr().String()
	dead.Close()
	r, err = New(Config{Servers: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.MX(t.Context(), "a.test"); got.Status != Failure ||
		!strings.Contains(got.Detail, "refused") {
		t.Errorf("nobody there: %+v", got)
	}
}

func TestQueriesEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := &nameServer{reply: func(_ string, q *mdns.Msg) [][]byte {
			time.Sleep(1900 * time.Millisecond) // just in time, and always another link
			n++
			m := new(mdns.Msg).SetReply(q)
			m.Answer = parseRRs(t, fmt.Sprintf("%s 60 IN CNAME n%d.test.", q.Question[0].Name, n))
			return [][]byte{pack(m)}
		}}
		r, err := New(Config{Servers: []string{"192.0.2.1"}, Dial: s.dial, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		start := time.Now()
		if got := r.MX(t.Context(), "a.test"); got.Status != Failure {
			t.Errorf("%+v", got)
		}
		if took := time.Since(start); took > maxResolve || n > maxChain+1 {
			t.Errorf("%v, %d links", took, n)
		}
		s.reply = func(string, *mdns.Msg) [][]byte { return nil }
		start = time.Now()
		if got := r.MX(t.Context(), "b.test"); got.Status != Failure {
			t.Errorf("%+v", got)
		}
		if took := time.Since(start); took != maxResolve {
			t.Errorf("took %v", took)
		}
	})
}

// listenBoth listens at one port for UDP and TCP. A port that is free for one may not be for the
// other.
func listenBoth(t *testing.T) (pc net.PacketConn, l net.Listener) {
	t.Helper()
	var err error
	for range 20 {
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal(err)
	return nil, nil
}
