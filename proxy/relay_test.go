package proxy_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestRelayFaults has the relay fail in every way at every stage. Whatever happens: a 250 to
// the message is exactly one message at the relay, anything else is at most one and only
// when the answer was lost or came too early; nothing temporary is told as permanent; every reply comes in time; and
// the next mail on the same connection is served.
func TestRelayFaults(t *testing.T) {
	faults := map[string]mxsim.Answer{
		"drop":     {Close: true},
		"hang":     {Hang: true},
		"421":      {Text: "421 4.3.2 closing", Close: true},
		"451":      {Text: "451 4.3.0 later"},
		"garbage":  {Raw: "\x00\xff\xfegarbage\r\n"},
		"endless":  {Raw: "250-more and more and more and more\r\n", Endless: true},
		"drip":     {Raw: strings.Repeat("250-drip\r\n", 500) + "250 done\r\n", Drip: time.Second},
		"cut":      {Raw: "250 2.0.0 O", Close: true},
		"bare LF":  {Raw: "250 2.0.0 Ok\n", Close: true},
		"mixed":    {Raw: "250-2.0.0 Ok\r\n550 5.0.0 no\r\n"},
		"too many": {Raw: "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"},
		"221":      {Text: "221 2.0.0 bye", Close: true},
	}
	stages := []mxsim.Stage{mxsim.Connect, mxsim.Helo, mxsim.XForward, mxsim.Mail, mxsim.Rcpt, mxsim.Data, mxsim.Body, mxsim.Dot}
	for _, stage := range stages {
		for name, answer := range faults {
			t.Run(fmt.Sprintf("%s/%s", stage, name), func(t *testing.T) {
				run(t, func(g *gate) { relayFault(g, stage) }, mxsim.Once(mxsim.Act(stage, answer)))
			})
		}
	}
}

func relayFault(g *gate, stage mxsim.Stage) {
	p := g.hello()
	defer p.close()
	begin := time.Now()
	told, sent := "", false
	for _, c := range []string{"MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>", "DATA", "x\r\n."} {
		if sent = strings.HasPrefix(c, "x"); sent && stage == mxsim.Body {
			// Long enough to go out before its end: a reply that comes before the end is sent is
			// no answer to it, and must be noticed.
			p.send(strings.Repeat("y\r\n", 20_000))
			synctest.Wait()
		}
		told = p.say(c, "")
		if told[0] != '2' && told[0] != '3' {
			break
		}
	}
	if took := time.Since(begin); took > 4*90*time.Second {
		g.t.Errorf("%v for four commands", took)
	}
	n := len(g.relay.Messages())
	switch {
	case strings.HasPrefix(told, "250") && sent && n != 1:
		g.t.Errorf("told %q, the relay has %d", told, n)
	case !strings.HasPrefix(told, "250") && n > 0 && (stage != mxsim.Dot && stage != mxsim.Body || n > 1):
		g.t.Errorf("told %q, the relay has %d", told, n)
	case told[0] == '5':
		g.t.Errorf("a temporary fault became %q", told)
	case strings.HasPrefix(told, "421"):
		g.t.Errorf("the relay's 421 was passed on")
	}
	if stage == mxsim.Body {
		// A reply in the middle of a message leaves one too many behind. It is found out
		// now or with the next transaction, which then gets 4yz.
		p.say("MAIL FROM:<a@sender.test>", "250")
		for _, c := range []string{"RCPT TO:<b@example.com>", "DATA", "RSET"} {
			if r := p.say(c, ""); r[0] == '4' || r[0] == '3' {
				break
			}
		}
		p = g.hello()
		n = len(g.relay.Messages())
	}
	p.say("RSET", "250")
	if got := p.mail("second\r\n", "c@example.com"); !strings.HasPrefix(got, "250") {
		g.t.Errorf("the mail after it: %q", got)
	}
	g.messages(n + 1)
}

// TestReuse: relay connections are reused across clients, each MAIL has its own XFORWARD, and
// an idle connection that the relay closed costs nothing.
func TestReuse(t *testing.T) {
	run(t, func(g *gate) {
		for i := range 3 {
			p := g.hello()
			p.say(fmt.Sprintf("XFORWARD NAME=c%d.example.net ADDR=192.0.2.%d PORT=2525", i, i), "250")
			p.say(fmt.Sprintf("XFORWARD HELO=h%d PROTO=ESMTP SOURCE=REMOTE", i), "250")
			p.mail("x\r\n", "anna@example.com")
			p.mail("x\r\n", "anna@example.com") // Postfix forgets XFORWARD after each message
			p.say("QUIT", "221")
		}
		for i, m := range g.messages(6) {
			want := fmt.Sprintf("192.0.2.%d h%d 2525", i/2, i/2)
			if i%2 == 1 {
				want = "127.0.0.9 client.example.org 40000"
			}
			if got := m.XForward["ADDR"] + " " + m.XForward["HELO"] + " " + m.XForward["PORT"]; got != want {
				t.Errorf("message %d: XFORWARD %q, want %q", i, got, want)
			}
			if m.Conn != 0 {
				t.Errorf("message %d came over connection %d", i, m.Conn)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r := g.relay.Record(); r.Open != 0 || !r.Conns[0].Quit {
			t.Errorf("after 2 s idle: %d open, QUIT %v", r.Open, r.Conns[0].Quit)
		}
	})
}

// TestStaleConnection: the relay closes its side of an idle connection, or says 421 on it. The
// next transaction must not notice.
func TestStaleConnection(t *testing.T) {
	for _, raw := range []string{"", "421 4.4.2 idle too long\r\n", "250 2.0.0 unasked\r\n"} {
		t.Run(raw, func(t *testing.T) {
			once := mxsim.Once(mxsim.Act(mxsim.Dot, mxsim.Answer{Raw: "250 2.0.0 Ok: queued as X\r\n" + raw, Close: true}))
			run(t, func(g *gate) {
				p := g.hello()
				for range 2 {
					if got := p.mail("x\r\n", "anna@example.com"); !strings.HasPrefix(got, "250") {
						t.Errorf("told %q", got)
					}
					synctest.Wait()
				}
			}, once)
		})
	}
}

// TestClientGone: the relay never gets an end of data for a message whose client vanished.
func TestClientGone(t *testing.T) {
	run(t, func(g *gate) {
		for _, cut := range []string{"", "x", "x\r\n", "x\r\n.", "x\r\n.\r", strings.Repeat("y\r\n", 50_000)} {
			p := g.hello()
			p.envelope("anna@example.com")
			p.send(cut)
			p.close()
			synctest.Wait()
		}
		g.messages(0)
		if r := g.relay.Record(); r.Open != 0 {
			t.Errorf("%d relay connections left open", r.Open)
		}
	})
}

// TestOpenTransactions: a transaction that does not come to DATA is reset at the relay, and its
// connection serves the next.
func TestOpenTransactions(t *testing.T) {
	run(t, func(g *gate) {
		for _, end := range []string{"RSET", "EHLO again.example.org", "QUIT"} {
			p := g.hello()
			p.say("MAIL FROM:<a@sender.test>", "250")
			p.say("RCPT TO:<b@example.com>", "250")
			p.say(end, "2")
			synctest.Wait()
		}
		r := g.relay.Record()
		if len(r.Conns) != 1 || r.Count(mxsim.Reset) != 3 {
			t.Errorf("%d connections, %d RSET", len(r.Conns), r.Count(mxsim.Reset))
		}
	})
}

// TestTrusted: a session with XFORWARD is never delayed nor answered 421, however many of its
// recipients are refused.
func TestTrusted(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.say("XFORWARD ADDR=192.0.2.1", "250")
		p.say("MAIL FROM:<a@sender.test>", "250")
		begin := time.Now()
		for i := range 200 {
			if i%10 == 0 {
				p.say(fmt.Sprintf("RCPT TO:<good%d@example.com>", i), "250")
			}
			p.say(fmt.Sprintf("RCPT TO:<unknown%d@example.com>", i), "550 5.1.1")
		}
		p.say("DATA", "354")
		p.say("x\r\n.", "250")
		if took := time.Since(begin); took > 0 {
			t.Errorf("took %v of pauses", took)
		}
		if n := len(g.messages(1)[0].Rcpts); n != 20 {
			t.Errorf("%d recipients at the relay", n)
		}
	})
}

// TestDirect: the same from a direct client is slowed down, then told no more.
func TestDirect(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.say("MAIL FROM:<a@sender.test>", "250")
		begin := time.Now()
		for i := range 20 {
			p.say(fmt.Sprintf("RCPT TO:<unknown%d@example.com>", i), "550 5.1.1")
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("20 refusals took %v, want a second for each beyond 10", took)
		}
		p.say("RCPT TO:<unknown@example.com>", "452 4.5.3")
		p.say("RCPT TO:<anna@example.com>", "250")
		for i := range 19 {
			p.say(fmt.Sprintf("NONSENSE%d", i), "500")
		}
		p.say("NONSENSE", "500")
		p.want("421 4.7.0")
		p.want("EOF")
	})
}

// TestNetworks: who may connect, and who may use XFORWARD.
func TestNetworks(t *testing.T) {
	run(t, func(g *gate) {
		nc, err := g.l.DialFrom(g.t.Context(), &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1})
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{t: t, nc: nc, br: newReader(nc)}
		p.want("554 5.7.1")
		p.want("EOF")
	})
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.XForwardNetworks = nil
		g := start(t, cfg, answers{})
		defer g.stop()
		p := g.connect()
		p.want("220")
		if r := p.say("EHLO x.example.org", "250"); strings.Contains(r, "XFORWARD") {
			t.Errorf("offered: %q", r)
		}
		p.say("XFORWARD ADDR=192.0.2.1", "550 5.7.0")
	})
}

// TestLimits of connections and recipients.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.MaxConnections, cfg.MaxRecipients = 2, 3
		g := start(t, cfg, answers{})
		defer g.stop()
		p, q := g.hello(), g.hello()
		r := g.connect()
		r.want("421 4.3.2")
		r.want("EOF")
		q.say("QUIT", "221")
		q.want("EOF")
		synctest.Wait()
		g.hello()

		p.say("MAIL FROM:<a@sender.test>", "250")
		p.say("RCPT TO:<unknown@example.com>", "550") // refused ones do not count
		for range 3 {
			p.say("RCPT TO:<anna@example.com>", "250")
		}
		p.say("RCPT TO:<anna@example.com>", "452 4.5.3")
		p.say("DATA", "354")
		p.say("x\r\n.", "250")
		if n := len(g.messages(1)[0].Rcpts); n != 3 {
			t.Errorf("%d recipients", n)
		}
	})
}

// TestDrain: on shutdown the idle are told, open transactions finish, and new ones are refused.
func TestDrain(t *testing.T) {
	run(t, func(g *gate) {
		idle, open, direct, trusted := g.hello(), g.hello(), g.hello(), g.hello()
		open.envelope("anna@example.com")
		direct.say("MAIL FROM:<a@sender.test>", "250")
		trusted.say("XFORWARD ADDR=192.0.2.1", "250")
		synctest.Wait()
		stopped := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopped <- g.server.Shutdown(ctx)
		}()
		idle.want("421 4.3.2")
		idle.want("EOF")
		trusted.say("MAIL FROM:<a@sender.test>", "451 4.3.2")
		trusted.close()
		direct.say("RCPT TO:<anna@example.com>", "250")
		direct.say("DATA", "354")
		direct.say("x\r\n.", "250")
		direct.want("421 4.3.2")
		direct.want("EOF")
		time.Sleep(10 * time.Second)
		open.send("x\r\n.\r\n")
		open.want("250 2.0.0")
		open.want("421 4.3.2")
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		g.messages(2)
	})
}

// TestDrainLimit: what does not end in time is cut, before any 250.
func TestDrainLimit(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.envelope("anna@example.com")
		ctx, cancel := context.WithTimeout(g.t.Context(), 15*time.Second)
		defer cancel()
		begin := time.Now()
		if err := g.server.Shutdown(ctx); err == nil {
			t.Error("Shutdown says that all transactions ended")
		}
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		p.want("EOF")
		g.messages(0)
	})
}
