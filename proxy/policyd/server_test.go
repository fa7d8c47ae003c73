package policyd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/policyd"
)

func TestAnswers(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{Rules: []policy.Rule{
		{Name: "later", When: `recipient.domain == "later.test"`, Action: "defer"},
		{Name: "never", When: `recipient.domain == "never.test"`, Action: "reject"},
		{Name: "login", When: `client.login == "mallory"`, Action: "reject"},
		{Name: "null", When: `null_sender`, Action: "defer", Text: "no bounces"},
	}}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "bob@example.net"), "DUNNO")
		refused := p.say(rcpt("1", "unknown@example.net"),
			"550 5.1.1 mailbox does not exist (mx.example.net answered 550 5.1.1 to RCPT)")
		p.say(rcpt("1", "bob@later.test"), "DEFER_IF_PERMIT 4.7.1 deferred by local policy")
		p.say(rcpt("1", "bob@never.test"), "550 5.7.1 refused by local policy")
		p.say(rcpt("2", "bob@example.net", "sasl_username=mallory"), "550 5.7.1 ")
		p.say(rcpt("3", "bob@example.net", "ccert_subject=mallory"), "550 5.7.1 ")
		p.say(rcpt("4", "bob@example.net", "sasl_username=anna", "ccert_subject=mallory"), "DUNNO")
		p.say(rcpt("5", "bob@example.net", "sender="), "DEFER_IF_PERMIT 4.7.1 no bounces (ref ")
		p.say(rcpt("6", "postmaster"), "DUNNO")
		for _, state := range []string{"CONNECT", "EHLO", "HELO", "MAIL", "DATA", "VRFY", "ETRN", "?"} {
			p.say(ask(state, "7", "unknown@example.net"), "DUNNO")
		}
		_, ref, _ := strings.Cut(refused, "(ref ")
		if n := d.logged("msg=recipient", "door=policyd", "client=192.0.2.7", "sender=anna@example.org",
			"recipient=unknown@example.net", "action=reject", "rule=", "ref="+strings.TrimSuffix(ref, ")"),
			"verdict=undeliverable"); n != 1 {
			t.Errorf("%d log lines of the refusal:\n%s", n, d.log)
		}
		if n := d.events.count("recipient unknown@example.net reject reject"); n != 1 {
			t.Errorf("%d events of the refusal: %q", n, d.events.all)
		}
	})
}

// TestTransaction: what the engine is told of a message.
func TestTransaction(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "bob@example.net", "sasl_username=anna"), "DUNNO")
		p.say(rcpt("1", "ann@example.net", "sasl_username=anna"), "DUNNO")
		p.say(rcpt("2", "bob@example.net", "client_address=unknown", "client_name=unknown",
			"client_port=unknown", "size=", "protocol_name=SMTP"), "DUNNO")
		p.say(rcpt("3", "bob@example.net", "client_address=2001:db8::1"), "DUNNO")
		p.say(rcpt("", "bob@example.net"), "DUNNO")
		p.say(rcpt("", "bob@example.net"), "DUNNO")
		got := d.events.tx
		want := policy.Client{
			Addr: netip.MustParseAddr("192.0.2.7"), Port: 4711, Name: "client.example.org",
			Helo: "helo.example.org", Proto: "ESMTP", Login: "anna", Trusted: true,
		}
		if got[0].Client != want || got[0].Mail.Size != 1000 || !got[0].Mail.HasSize ||
			got[0].Mail.From.String() != "anna@example.org" {
			t.Errorf("%+v", got[0])
		}
		if got[0].ID != got[1].ID || got[0].Budget != got[1].Budget {
			t.Error("two recipients of one message are two messages")
		}
		want = policy.Client{Helo: "helo.example.org", Proto: "SMTP", Trusted: true}
		if got[2].Client != want || got[2].Mail.HasSize {
			t.Errorf("%+v", got[2])
		}
		if got[3].Client.Addr != netip.MustParseAddr("2001:db8::1") {
			t.Errorf("%+v", got[3].Client)
		}
		for i := range 4 {
			if got[i+2].ID == got[i+1].ID {
				t.Errorf("%d is the same message", i+2)
			}
		}
	})
}

func TestShadow(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{
		Mode:  policy.ModeShadow,
		Rules: []policy.Rule{{Name: "later", When: `recipient.domain == "later.test"`, Action: "defer"}},
	}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "bob@example.net"), "DUNNO")
		p.say(rcpt("1", "unknown@example.net"), "WARN would reject: 550 5.1.1 mailbox does not exist")
		p.say(rcpt("1", "bob@later.test"), "WARN would defer: 450 4.7.1 deferred by local policy")
		if d.events.count("recipient unknown@example.net accept warn") != 1 {
			t.Errorf("events %q", d.events.all)
		}
	})
}

// TestHeaders: the fields that rules add, one an answer and each once a message.
func TestHeaders(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{Rules: []policy.Rule{
		{Name: "one", When: "true", Action: "continue", Header: "X-One: 1"},
		{Name: "two", When: `recipient.domain == "example.net"`, Action: "continue", Header: "X-Two: {sender}"},
	}}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "bob@example.net"), "PREPEND X-One: 1")
		p.say(rcpt("1", "unknown@example.net"), "550 5.1.1 ")
		p.say(rcpt("1", "ann@example.net"), "PREPEND X-Two: anna@example.org")
		p.say(rcpt("1", "tom@example.net"), "DUNNO")
		p.say(rcpt("2", "bob@example.net"), "PREPEND X-One: 1")
		p.say(ask("DATA", "2", "bob@example.net"), "PREPEND X-Two: anna@example.org")
		p.say(ask("DATA", "2", "bob@example.net"), "DUNNO")
		p.say(rcpt("3", "bob@example.net"), "PREPEND X-One: 1")
		p.say(ask("END-OF-MESSAGE", "3", ""), "DUNNO")
		p.say(rcpt("4", "bob@example.net"), "PREPEND X-One: 1")
		p.send(rcpt("5", "slow@example.net") + ask("DATA", "5", "") + rcpt("5", "bob@example.net"))
		p.want("PREPEND X-One: 1")
		p.want("PREPEND X-Two: anna@example.org")
		p.want("DUNNO")
		if n := d.logged("level=WARN", "header fields were not added", "fields=1", "hint="); n != 2 {
			t.Errorf("%d lines of fields that were not added:\n%s", n, d.log)
		}
		if n := d.events.count("recipient bob@example.net accept prepend"); n != 4 {
			t.Errorf("%d events: %q", n, d.events.all)
		}
	})
}

// TestPipelined: a hundred and more requests in one write are decided side by side and answered in
// order, in few writes.
func TestPipelined(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		var all strings.Builder
		const n = 350
		for i := range n {
			switch i % 3 {
			case 0:
				fmt.Fprint(&all, rcpt("1", fmt.Sprintf("slow%d@example.net", i)))
			case 1:
				fmt.Fprint(&all, rcpt("1", fmt.Sprintf("unknown%d@example.net", i)))
			default:
				fmt.Fprint(&all, "nonsense\n\n")
			}
		}
		begin := time.Now()
		go p.send(all.String())
		for i := range n {
			want := "DUNNO"
			if i%3 == 1 {
				want = "550 5.1.1 "
			}
			p.want(want)
		}
		// 100 at a time, which take 4 s together; the budget of the message is 25 s.
		if took := time.Since(begin); took > 16*time.Second {
			t.Errorf("took %v", took)
		}
		if got := d.events.count("request malformed"); got != n/3 {
			t.Errorf("%d malformed", got)
		}
	})
}

// TestMoreWhileWaiting: what comes while a verdict is waited for is decided beside it.
func TestMoreWhileWaiting(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		begin := time.Now()
		for i := range 5 {
			p.send(rcpt("1", fmt.Sprintf("slow%d@example.net", i)))
			synctest.Wait()
		}
		p.send(rcpt("1", "unknown@example.net"))
		for range 5 {
			p.want("DUNNO")
		}
		p.want("550 5.1.1 ")
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		p.say(rcpt("1", "bob@example.net"), "DUNNO") // it goes on
	})
}

// TestBudget: the recipients of a message wait for no longer than its budget, over several
// connections too; another message has its own.
func TestBudget(t *testing.T) {
	inBubble(t, policyd.Config{TransactionBudget: 10 * time.Second}, policy.Config{}, func(d *door) {
		left := func(i int) time.Duration { return d.events.tx[i].Budget.Left(time.Now()) }
		p := d.connect()
		p.say(rcpt("1", "slow1@example.net"), "DUNNO")
		_ = p.nc.Close()
		synctest.Wait()
		p = d.connect()
		p.say(rcpt("1", "slow2@example.net"), "DUNNO")
		other := d.connect()
		other.say(rcpt("1", "slow3@example.net"), "DUNNO")
		p.say(rcpt("2", "bob@example.net"), "DUNNO")
		other.say(rcpt("1", "bob@example.net"), "DUNNO") // p has moved on, but the message is other's
		got := d.events.tx
		for i, same := range []bool{true, true, true, false, true} {
			if (got[i].Budget == got[0].Budget) != same {
				t.Errorf("request %d: the same budget: %t", i, !same)
			}
		}
		if left(0) > 10*time.Second || left(3) != 10*time.Second {
			t.Errorf("left: %v, %v", left(0), left(3))
		}
		other.say(rcpt("3", "bob@example.net"), "DUNNO") // other has moved on: it is over
		other.say(rcpt("1", "bob@example.net"), "DUNNO")
		if last := len(d.events.tx) - 1; d.events.tx[last].Budget == got[0].Budget {
			t.Error("a message that was over goes on")
		}
	})
}

// TestEndOfMessage: the message is told with what became of its recipients.
func TestEndOfMessage(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		eom := func(instance string) string {
			return ask("END-OF-MESSAGE", instance, "", "queue_id=4F2A1", "size=5000", "recipient_count=2")
		}
		p.say(eom("0"), "DUNNO") // from now on the recipients are kept
		p.say(rcpt("1", "bob@example.net"), "DUNNO")
		p.say(rcpt("1", "unknown@example.net"), "550")
		p.say(rcpt("1", "slow@example.net"), "DUNNO")
		p.say(ask("DATA", "1", "", "recipient_count=2"), "DUNNO")
		d.connect().say(eom("1"), "DUNNO") // as with other settings for the other list
		want := policyd.Message{
			QueueID: "4F2A1", Recipients: 2, Octets: 5000, Accepted: 2, Refused: 1, Elapsed: 4 * time.Second,
		}
		if m := d.events.messages[1]; m != want {
			t.Errorf("%+v, want %+v", m, want)
		}
		if want := []string{
			"4F2A1 bob@example.net deliverable", "4F2A1 slow@example.net deliverable",
		}; !slices.Equal(d.events.relayed, want) {
			t.Errorf("%q, want %q", d.events.relayed, want)
		}
		if d.logged("msg=message", "queue_id=4F2A1", "octets=5000", "recipients=2", "accepted=2",
			"refused=1", "total_ms=4000", "client=192.0.2.7") != 1 {
			t.Errorf("log:\n%s", d.log)
		}
		p.say(eom("1"), "DUNNO")
		if n := len(d.events.messages); n != 2 {
			t.Errorf("the end of two messages was told %d times", n)
		}
	})
}

// TestMalformed: whatever cannot be understood is answered and logged, and the connection goes on.
func TestMalformed(t *testing.T) {
	for _, policyOf := range []struct {
		deferred bool
		answer   string
	}{{false, "DUNNO"}, {true, "DEFER_IF_PERMIT 4.3.0 "}} {
		inBubble(t, policyd.Config{DeferMalformed: policyOf.deferred}, policy.Config{}, func(d *door) {
			for _, tc := range []struct{ request, problem string }{
				{"\n", "no request attribute"},
				{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no \\\"=\\\""},
				{"request=junk\n\n", "not of the type"},
				{strings.Repeat("x=\n", 101) + "\n", "more than 100"},
				{strings.Repeat("x=yyyyyyyy\n", 100_000) + "\n", "longer than 64 KiB"},
				{strings.Repeat("x", 1_000_000) + "\n\n", "longer than 64 KiB"},
				{rcpt("1", ""), "no recipient"},
				{rcpt("1", "bob@exa mple"), `the recipient is no address" recipient="bob@exa mple"`},
				{rcpt("1", "bob@example.net", "sender=\x1b@"), `the sender is no address" sender=\x1b@`},
				{rcpt("1", "\u202ebob@"), `the recipient is no address" recipient=\xe2\x80\xaebob@`},
				{rcpt("1", "bob@example.net", "size=big"), "no number"},
				{"a\x00=b\n\n", "a NUL"},
			} {
				p := d.connect()
				begin := time.Now()
				p.say(tc.request, policyOf.answer)
				if n := d.logged("level=WARN", "client=127.0.0.9", tc.problem); n < 1 {
					t.Errorf("%.60q: nothing logged of %s", tc.request, tc.problem)
				}
				p.say(rcpt("1", "unknown@example.net"), "550 5.1.1 ")
				if took := time.Since(begin); took > 0 {
					t.Errorf("%.60q: took %v", tc.request, took)
				}
				_ = p.nc.Close()
			}
		})
	}
}

func TestMalformedAreCounted(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.send(strings.Repeat("x\n\n", 1000))
		for range 1000 {
			p.want("DUNNO")
		}
		_ = p.nc.Close()
		synctest.Wait()
		if d.logged("has no") != 10 || d.logged("requests=990") != 1 {
			t.Errorf("log:\n%s", d.log)
		}
	})
}

// TestRedacted: no address gets into the log.
func TestRedacted(t *testing.T) {
	inBubble(t, policyd.Config{RedactLog: true}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "unknown@example.net"), "550")
		p.say(rcpt("1", "unknown@exa mple"), "DUNNO")
		p.say(rcpt("2", "bob@example.net", "sender=anna@exa mple"), "DUNNO")
		if d.logged("unknown@") != 0 || d.logged("anna@") != 0 || d.logged("recipient=u…@example.net") != 1 {
			t.Errorf("log:\n%s", d.log)
		}
	})
}

func TestLimits(t *testing.T) {
	inBubble(t, policyd.Config{
		Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/28")}, MaxConnections: 2,
	}, policy.Config{}, func(d *door) {
		first, second := d.connect(), d.connect()
		first.say(rcpt("1", "bob@example.net"), "DUNNO")
		if a := d.connectFrom("127.0.0.77").answer(); a != "EOF" {
			t.Errorf("from another network: %q", a)
		}
		if a := d.connect().answer(); a != "EOF" {
			t.Errorf("the third connection: %q", a)
		}
		second.say(rcpt("1", "bob@example.net"), "DUNNO")
		_ = second.nc.Close()
		synctest.Wait()
		d.connect().say(rcpt("1", "bob@example.net"), "DUNNO")
		if d.logged("event=not_allowed", "client=127.0.0.77", "hint=") != 1 ||
			d.logged("event=too_many", "hint=") != 1 {
			t.Errorf("log:\n%s", d.log)
		}
	})
}

// TestTimeouts: a silent connection is closed after the idle timeout, not before, and one that does
// not end its request after 30 s, however many octets it sends.
func TestTimeouts(t *testing.T) {
	inBubble(t, policyd.Config{IdleTimeout: 160 * time.Second}, policy.Config{}, func(d *door) {
		idle, dripping := d.connect(), d.connect()
		for range 10 {
			<-time.After(149 * time.Second)
			idle.say(rcpt("1", "slow@example.net"), "DUNNO")
			dripping.say(rcpt("1", "bob@example.net"), "DUNNO")
		}
		begin := time.Now()
		go func() {
			for {
				if _, err := dripping.nc.Write([]byte("x=\n")); err != nil {
					return
				}
				<-time.After(time.Second)
			}
		}()
		if a := dripping.answer(); a != "EOF" || time.Since(begin) != 30*time.Second {
			t.Errorf("%q after %v", a, time.Since(begin))
		}
		if a := idle.answer(); a != "EOF" || time.Since(begin) > 160*time.Second ||
			time.Since(begin) < 150*time.Second {
			t.Errorf("%q after %v", a, time.Since(begin))
		}
		synctest.Wait()
		if n := d.events.count("connection timeout"); n != 2 {
			t.Errorf("%d timeouts", n)
		}
	})
}

// TestClientDoesNotRead: a client that asks and takes no answers is closed.
func TestClientDoesNotRead(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		begin := time.Now()
		for err := error(nil); err == nil; {
			_, err = p.nc.Write([]byte(rcpt("1", "unknown@example.net")))
		}
		if took := time.Since(begin); took < 15*time.Second || took > 30*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestShutdown: idle connections close at once, what was asked is answered.
func TestShutdown(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		idle, busy, half := d.connect(), d.connect(), d.connect()
		idle.say(rcpt("1", "bob@example.net"), "DUNNO")
		busy.send(rcpt("2", "slow@example.net"))
		half.send("request=smtpd_")
		synctest.Wait()
		begin := time.Now()
		done := make(chan error)
		go func() { done <- d.server.Shutdown(d.t.Context()) }()
		synctest.Wait()
		late := rcpt("2", "unknown@example.net")
		busy.send(late[:30])
		synctest.Wait()
		busy.send(late[30:])
		for _, p := range []*peer{idle, half} {
			if a := p.answer(); a != "EOF" || time.Since(begin) > 50*time.Millisecond {
				t.Errorf("%q after %v", a, time.Since(begin))
			}
		}
		busy.want("DUNNO")
		busy.want("550 5.1.1 ")
		if a := busy.answer(); a != "EOF" {
			t.Errorf("%q", a)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 4*time.Second+100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if _, err := d.l.DialFrom(d.t.Context(), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a new connection: %v", err)
		}
		if err := d.server.Serve(d.l); !errors.Is(err, policyd.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

// TestShutdownLimit: when its time is up, what waits is cut off.
func TestShutdownLimit(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.send(rcpt("1", "slow@example.net"))
		synctest.Wait()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(d.t.Context(), time.Second)
		defer cancel()
		if err := d.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(begin); took != time.Second || p.answer() != "EOF" {
			t.Errorf("took %v", took)
		}
	})
}

// TestReconfigure: a message ends as it began, the next one has the new rules.
func TestReconfigure(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "bob@example.net"), "DUNNO")
		d.server.Reconfigure(policyd.Config{MaxConnections: 1, Networks: loopback()},
			newEngine(t, policy.Config{Rules: []policy.Rule{{Name: "none", When: "true", Action: "reject"}}}))
		p.say(rcpt("1", "ann@example.net"), "DUNNO")
		p.say(rcpt("2", "bob@example.net"), "550 5.7.1 ")
		if a := d.connect().answer(); a != "EOF" {
			t.Errorf("one connection too many: %q", a)
		}
	})
}
