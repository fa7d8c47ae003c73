package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
)

func TestResolverAnswers(t *testing.T) {
	for _, streamOnly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &nameServer{streamOnly: streamOnly, reply: zone(t,
				"a.test. 300 IN MX 10 mx.test.", "mx.test. 300 IN A 5.9.0.1",
				"mx.test. 300 IN AAAA 2a01::1", `a.test. 300 IN TXT "hello"`,
				"1.0.9.5.in-addr.arpa. 300 IN PTR mx.test.")}
			r := s.resolver(t)
			if got := r.MX(t.Context(), "A.Test"); got.Status != NoError || got.MX[0].Host != "mx.test" {
				t.Errorf("MX: %+v", got)
			}
			got := r.Addrs(t.Context(), "mx.test.")
			if diff := cmp.Diff(addrs("5.9.0.1", "2a01::1"), got.Addrs, compareAddr()); diff != "" {
				t.Error(diff)
			}
			if got := r.TXT(t.Context(), "a.test"); got.Status != NoError || got.Txt[0] != "hello" {
				t.Errorf("TXT: %+v", got)
			}
			ptr := r.PTR(t.Context(), netip.MustParseAddr("::ffff:5.9.0.1"))
			if ptr.Status != NoError || ptr.Names[0] != "mx.test" {
				t.Errorf("PTR: %+v", ptr)
			}
			if got := r.MX(t.Context(), "mx.test"); got.Status != NoData {
				t.Errorf("NODATA: %+v", got)
			}
			if got := r.MX(t.Context(), "none.test"); got.Status != NXDomain {
				t.Errorf("NXDOMAIN: %+v", got)
			}
			if got := r.PTR(t.Context(), netip.Addr{}); got.Status != Failure {
				t.Errorf("PTR of nothing: %+v", got)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	s := &nameServer{reply: zone(t)}
	r := s.resolver(t)
	for _, name := range []string{
		"", "a b.test", `a\.b.test`, "a\x00b.test", "ü.test", "a..test", ".test",
		strings.Repeat("a", 64) + ".test", strings.Repeat("abc.", 70) + "test",
	} {
		if got := r.MX(t.Context(), name); got.Status != Failure || got.Detail == "" {
			t.Errorf("MX(%q) = %+v", name, got)
		}
	}
	if s.count() != 0 {
		t.Errorf("asked: %v", s.queries)
	}
}

func TestCacheTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: zone(t, "a.test. 600 IN MX 10 mx.test.")}
		r := s.resolver(t)
		at := func(name string, wait time.Duration, queries int) {
			t.Helper()
			time.Sleep(wait)
			r.MX(t.Context(), name)
			if s.count() != queries {
				t.Errorf("%s after %v: %d queries, want %d", name, wait, s.count(), queries)
			}
		}
		at("a.test", 0, 1)
		at("a.test", 599*time.Second, 1)
		at("a.test", time.Second, 2)
		at("none.test", 0, 3)
		at("none.test", 299*time.Second, 3) // the minimum of the SOA record
		at("none.test", time.Second, 4)
		if got := r.MX(t.Context(), "none.test"); got.Status != NXDomain || got.TTL != 300*time.Second {
			t.Errorf("from the cache: %+v", got)
		}
	})
}

func TestFailuresAreBriefAndTemporary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		good := zone(t, "a.test. 600 IN MX 10 mx.test.")
		s := &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
			if broken {
				return [][]byte{pack(new(mdns.Msg).SetRcode(q, mdns.RcodeServerFailure))}
			}
			return good(network, q)
		}}
		r := s.resolver(t)
		if got := r.MX(t.Context(), "a.test"); got.Status != Failure ||
			!strings.Contains(got.Detail, "SERVFAIL") {
			t.Fatalf("%+v", got)
		}
		if s.count() != 2 { // each server once: SERVFAIL is not asked for again
			t.Errorf("%d queries: %v", s.count(), s.queries)
		}
		broken = false
		time.Sleep(29 * time.Second)
		if got := r.MX(t.Context(), "a.test"); got.Status != Failure {
			t.Errorf("not remembered: %+v", got)
		}
		time.Sleep(time.Second)
		if got := r.MX(t.Context(), "a.test"); got.Status != NoError {
			t.Errorf("remembered too long: %+v", got)
		}
	})
}

func TestSilentServersAreTriedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: func(string, *mdns.Msg) [][]byte { return nil }}
		r := s.resolver(t)
		start := time.Now()
		got := r.MX(t.Context(), "a.test")
		if got.Status != Failure || !strings.Contains(got.Detail, "timeout") {
			t.Errorf("%+v", got)
		}
		if took := time.Since(start); took != 8*time.Second || s.count() != 4 {
			t.Errorf("%d queries in %v, want 2 tries at 2 servers of 2 s", s.count(), took)
		}
	})
}

// A name server that drops the queries for one family must not hold up the other's addresses.
func TestOneFamilyIsEnough(t *testing.T) {
	for _, silent := range []uint16{mdns.TypeAAAA, mdns.TypeA} {
		synctest.Test(t, func(t *testing.T) {
			good := zone(t, "mx.test. 600 IN A 5.9.0.1", "mx.test. 600 IN AAAA 2a01::1",
				"one.test. 600 IN MX 10 mx.test.")
			var late atomic.Int64 // how late the silent family is; 0: for ever
			s := &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
				switch q.Question[0].Qtype {
				case silent:
					if late.Load() == 0 {
						return nil
					}
					time.Sleep(time.Duration(late.Load()))
				default:
					time.Sleep(30 * time.Millisecond)
				}
				return good(network, q)
			}}
			r := s.resolver(t)
			ask := func(name string) (Answer, time.Duration) {
				start := time.Now()
				a := r.Addrs(t.Context(), name)
				return a, time.Since(start)
			}
			if a, took := ask("mx.test"); a.Status != NoError || len(a.Addrs) != 1 || a.Server == "" ||
				a.TTL != minTTL || took != 280*time.Millisecond {
				t.Errorf("silent: %+v after %v", a, took)
			}
			// No address: the silence is a failure, and it takes its time to tell.
			if a, took := ask("one.test"); a.Status != Failure || took != 8*time.Second {
				t.Errorf("nothing: %+v after %v", a, took)
			}
			time.Sleep(time.Hour)
			late.Store(int64(time.Second))
			if a, _ := ask("mx.test"); len(a.Addrs) != 1 {
				t.Errorf("late: %+v", a)
			}
			time.Sleep(2 * time.Second)
			if a, took := ask("mx.test"); len(a.Addrs) != 2 || took != 0 {
				t.Errorf("the late answer is not in the cache: %+v after %v", a, took)
			}
			time.Sleep(time.Hour)
			late.Store(int64(200 * time.Millisecond))
			if a, took := ask("mx.test"); len(a.Addrs) != 2 || took != 200*time.Millisecond {
				t.Errorf("within the grace: %+v after %v", a, took)
			}
		})
	}
}

func TestDeadServerCostsItsTimeoutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: zone(t, "a.test. 600 IN MX 10 mx.test.")}
		r, err := New(Config{
			Servers: []string{"192.0.2.1:53", "192.0.2.2:53"},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "192.0.2.1:53" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return s.dial(ctx, network, address)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i, want := range []time.Duration{2 * time.Second, 0, 0} {
			start := time.Now()
			got := r.MX(t.Context(), []string{"a.test", "b.test", "c.test"}[i])
			if got.Status == Failure || got.Server != "192.0.2.2:53" || time.Since(start) != want {
				t.Errorf("question %d: %+v after %v, want %v", i, got, time.Since(start), want)
			}
		}
	})
}

func TestSingleFlightOutlivesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := zone(t, "a.test. 600 IN MX 10 mx.test.")
		s := &nameServer{reply: func(network string, q *mdns.Msg) [][]byte {
			time.Sleep(time.Second)
			return answer(network, q)
		}}
		r := s.resolver(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got := r.MX(ctx, "a.test"); got.Status != Failure {
			t.Errorf("the impatient: %+v", got)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got := r.MX(t.Context(), "a.test"); got.Status != NoError {
					t.Errorf("the patient: %+v", got)
				}
			})
		}
		wg.Wait()
		if s.count() != 1 {
			t.Errorf("%d queries", s.count())
		}
		if got := r.MX(ctx, "a.test"); got.Status != NoError {
			t.Errorf("a context that is over must not hide the cache: %+v", got)
		}
		if got := r.MX(ctx, "b.test"); got.Status != Failure || s.count() != 1 {
			t.Errorf("a context that is over must not start a query: %+v, %d", got, s.count())
		}
	})
}

func TestCloseEndsQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: func(string, *mdns.Msg) [][]byte { return nil }}
		r := s.resolver(t)
		done := make(chan Answer)
		go func() { done <- r.MX(context.Background(), "a.test") }()
		synctest.Wait()
		start := time.Now()
		r.Close()
		if got := <-done; got.Status != Failure || time.Since(start) != 0 {
			t.Errorf("%+v after %v", got, time.Since(start))
		}
		if got := r.MX(t.Context(), "a.test"); !strings.Contains(got.Detail, "closed") {
			t.Errorf("after Close: %+v", got)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: zone(t)}
		r, err := New(Config{Servers: []string{"192.0.2.1"}, Dial: s.dial, CacheSize: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, name := range []string{"a.test", "b.test", "c.test", "d.test", "a.test"} {
			r.MX(t.Context(), name)
		}
		if s.count() != 5 || r.cache.Len() != 3 {
			t.Errorf("%d queries, %d cached", s.count(), r.cache.Len())
		}
	})
}

func TestUnpackErrors(t *testing.T) {
	q := question{"a.test.", mdns.TypeMX}
	m := new(mdns.Msg).SetQuestion(q.name, q.qtype)
	m.Response = true
	m.Answer = parseRRs(t, "a.test. 60 IN MX 10 mx.test.")
	wire := pack(m)
	if _, err := unpack(wire[:len(wire)-2], m.Id, q); !errors.Is(err, errMalformed) {
		t.Errorf("cut: %v", err)
	}
	if _, err := unpack(wire[:14], m.Id, q); !errors.Is(err, errMalformed) {
		t.Errorf("cut in the question: %v", err)
	}
	m.Opcode = mdns.OpcodeNotify
	if _, err := unpack(pack(m), m.Id, q); !errors.Is(err, errMalformed) {
		t.Errorf("another opcode: %v", err)
	}
}

func TestStatusNames(t *testing.T) {
	for s, want := range map[Status]string{
		NoError: "NOERROR", NoData: "NODATA", NXDomain: "NXDOMAIN", Failure: "failure", 99: "failure",
	} {
		if got := s.String(); got != want {
			t.Errorf("%d: %q, want %q", s, got, want)
		}
	}
}
