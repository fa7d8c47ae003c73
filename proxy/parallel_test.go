package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// internet is a real verifier on a simulated internet of n domains d0.test …, each
// with the mailbox anna.
func internet(t *testing.T, n int, b ...mxsim.Behaviour) (*mxsim.World, *verify.Verifier, func()) {
	t.Helper()
	w := mxsim.New(mxsim.Config{})
	for i := range n {
		domain := fmt.Sprintf("d%d.test", i)
		w.Add(&mxsim.Site{
			Domains: []string{domain}, Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
			Mailboxes: map[string]mxsim.Mailbox{"anna": mxsim.Active}, Behaviours: b,
		})
	}
	names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	internal, err := mx.NewDomains(nil)
	if err != nil {
		t.Fatal(err)
	}
	filter := mx.NewFilter(mx.FilterConfig{})
	resolver := &mx.Resolver{DNS: names, Filter: filter, Internal: internal}
	pool := probe.NewPool(probe.Config{Dial: filter.Dial(w.DialContext), Resolver: resolver})
	v := verify.New(verify.Config{Helo: "gate.example.com", Log: slog.New(slog.DiscardHandler)}, resolver, pool)
	return w, v, func() {
		_ = v.Close(t.Context())
		_ = pool.Close(t.Context())
		w.Close()
	}
}

// TestSideBySide: ten pipelined recipients in ten domains whose mail servers take 200 ms for
// the probe of one are answered after 200 ms together, in order.
func TestSideBySide(t *testing.T) {
	for _, packets := range []string{"one packet", "a packet each"} {
		t.Run(packets, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := mxsim.Tarpit(mxsim.Rcpt, 200*time.Millisecond)
				_, v, closeAll := internet(t, 10, slow)
				defer closeAll()
				g := start(t, config(), v)
				defer g.stop()
				p := g.hello()
				begin := time.Now()
				var all strings.Builder
				all.WriteString("MAIL FROM:<a@sender.test>\r\n")
				for i := range 10 {
					local := "anna"
					if i == 4 {
						local = "nobody"
					}
					fmt.Fprintf(&all, "RCPT TO:<%s@d%d.test>\r\n", local, i)
				}
				all.WriteString("DATA\r\n")
				if packets == "one packet" {
					p.send(all.String())
				} else {
					for _, line := range strings.SplitAfter(all.String(), "\n") {
						p.send(line)
						synctest.Wait()
					}
				}
				p.want("250 2.1.0")
				for i := range 10 {
					want := "250"
					if i == 4 {
						want = "550 5.1.1"
					}
					p.want(want)
				}
				p.want("354")
				if took := time.Since(begin); took < 200*time.Millisecond || took > 250*time.Millisecond {
					t.Errorf("took %v", took)
				}
				p.say("x\r\n.", "250")
				if n := len(g.messages(1)[0].Rcpts); n != 9 {
					t.Errorf("%d recipients", n)
				}
				if packets == "one packet" {
					relayBatches(t, g)
				}
			})
		})
	}
}

// relayBatches checks that the relay got the pipelined commands without waits between them.
func relayBatches(t *testing.T, g *gate) {
	t.Helper()
	first, last := time.Time{}, time.Time{}
	for _, c := range g.relay.Record().Conns[0].Commands {
		switch c.Stage {
		case mxsim.XForward:
			first = c.At
		case mxsim.Rcpt:
			last = c.At
		default:
		}
	}
	if early := g.relay.Record().Conns[0].Early; early < 4 || last.Sub(first) > 0 {
		t.Errorf("%d commands came in a batch, over %v", early, last.Sub(first))
	}
}

// TestBudget: MXs that hang cost one message no more than the transaction budget, and its good
// recipients nothing.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v, closeAll := internet(t, 30, mxsim.Silence(mxsim.Rcpt))
		defer closeAll()
		g := start(t, config(), v)
		defer g.stop()
		p := g.hello()
		p.say("MAIL FROM:<a@sender.test>", "250")
		begin := time.Now()
		for i := range 30 {
			one := time.Now()
			p.say(fmt.Sprintf("RCPT TO:<anna@d%d.test>", i), "250")
			if took := time.Since(one); took > 8*time.Second {
				t.Errorf("recipient %d waited %v", i, took)
			}
		}
		if took := time.Since(begin); took > 25*time.Second {
			t.Errorf("the message waited %v", took)
		}
		p.say("DATA", "354")
		p.say("x\r\n.", "250")
		if !strings.Contains(g.log.String(), "reason=budget") {
			t.Error("no recipient was decided without a wait")
		}
	})
}
