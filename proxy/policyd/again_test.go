package policyd_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/proxy/policyd"
)

// counted is a policy whose counters say how many recipients the login anna had.
func counted(t *testing.T) (cfg policy.Config, recipients func() int) {
	t.Helper()
	table, err := senders.New(senders.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Config{Senders: table}, func() int {
		id := senders.Identity{Login: "anna"}
		n := table.Counters(id, time.Now()).RecipientsHour
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		return n
	}
}

// TestAskedAgain: a request that Postfix repeats over a new connection is answered as before, and its
// recipient is decided, counted and told once.
func TestAskedAgain(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		rules, recipients := counted(t)
		d.server.Reconfigure(d.config(), newEngine(t, rules))
		good := rcpt("1", "bob@example.net", "sasl_username=anna")
		bad := rcpt("1", "unknown@example.net", "sasl_username=anna")
		slow := rcpt("1", "slow@example.net", "sasl_username=anna")
		p := d.connect()
		p.say(good, "DUNNO")
		refused := p.say(bad, "550 5.1.1 ")
		p.say(slow, "DUNNO")
		for range 3 {
			_ = p.nc.Close()
			begin := time.Now()
			p = d.connect()
			p.say(good, "DUNNO")
			if a := p.say(bad, "550"); a != refused {
				t.Errorf("%q, before it was %q", a, refused)
			}
			p.send(slow + bad + good)
			p.want("DUNNO")
			p.want(refused)
			p.want("DUNNO")
			if took := time.Since(begin); took > 0 {
				t.Errorf("took %v", took)
			}
		}
		for _, event := range []string{
			"recipient bob@example.net accept dunno", "recipient unknown@example.net reject reject",
			"recipient slow@example.net accept dunno",
		} {
			if n := d.events.count(event); n != 1 {
				t.Errorf("%s: told %d times", event, n)
			}
		}
		if n := d.logged("msg=recipient"); n != 3 {
			t.Errorf("%d lines of recipients:\n%s", n, d.log)
		}
		p.say(rcpt("2", "bob@example.net", "sasl_username=anna"), "DUNNO") // that is another one
		if n := recipients(); n != 4 {
			t.Errorf("%d recipients were counted", n)
		}
	})
}

// TestAskedAgainWhileWaiting: Postfix gives up waiting and asks again. The wait goes on, and what it
// comes to is the answer.
func TestAskedAgainWhileWaiting(t *testing.T) {
	for _, closes := range []string{"before", "behind", "never"} {
		t.Run(closes, func(t *testing.T) {
			inBubble(t, policyd.Config{MaxConnections: 2}, policy.Config{}, func(d *door) {
				rules, recipients := counted(t)
				d.server.Reconfigure(d.config(), newEngine(t, rules))
				begin := time.Now()
				request := rcpt("1", "slow@example.net", "sasl_username=anna")
				first := d.connect()
				first.send(request)
				<-time.After(time.Second)
				if closes == "before" {
					_ = first.nc.Close()
					synctest.Wait()
				}
				second := d.connect()
				second.send(request)
				synctest.Wait()
				if closes == "behind" {
					_ = first.nc.Close()
				}
				if closes != "never" {
					synctest.Wait()
					d.connect().say(rcpt("2", "bob@example.net"), "DUNNO") // first takes no room
				}
				second.want("DUNNO")
				if took := time.Since(begin); took != 4*time.Second {
					t.Errorf("took %v", took)
				}
				if closes == "never" {
					first.want("DUNNO")
				}
				synctest.Wait()
				if d.events.count("recipient slow@example.net accept dunno") != 1 ||
					d.logged("recipient=slow@example.net", "verdict=deliverable") != 1 {
					t.Errorf("events %q, log:\n%s", d.events.all, d.log)
				}
				if n := recipients(); n != 1 {
					t.Errorf("%d recipients were counted", n)
				}
			})
		})
	}
}

// TestClientGoes: what it asked is decided to the end, for it may ask again.
func TestClientGoes(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		p := d.connect()
		p.send(rcpt("1", "slow@example.net") + rcpt("1", "slower@example.net"))
		synctest.Wait()
		begin := time.Now()
		_ = p.nc.Close()
		synctest.Wait()
		if n := d.server.Open(); n != 0 {
			t.Errorf("%d connections", n)
		}
		<-time.After(4 * time.Second)
		synctest.Wait()
		if d.logged("recipient=slow@example.net", "reason=mailbox_exists") != 1 ||
			d.logged("recipient=slower@example.net", "reason=mailbox_exists") != 1 ||
			d.events.count("connection closed") != 1 {
			t.Errorf("after %v: log:\n%s", time.Since(begin), d.log)
		}
	})
}

// TestManyClientsGo: only so many of them go on waiting.
func TestManyClientsGo(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		for i := range 150 {
			p := d.connect()
			p.send(rcpt(strconv.Itoa(i), "slow@example.net"))
			synctest.Wait()
			_ = p.nc.Close()
		}
		synctest.Wait()
		if n := d.logged("recipient=slow@example.net", "reason=timeout"); n != 50 {
			t.Errorf("the waits of %d ended", n)
		}
		<-time.After(4 * time.Second)
		synctest.Wait()
		if n := d.logged("recipient=slow@example.net", "reason=mailbox_exists"); n != 100 {
			t.Errorf("%d were decided", n)
		}
	})
}

// TestHeadersAgain: a header field that Postfix did not hear of is told again, and no other.
func TestHeadersAgain(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{Rules: []policy.Rule{
		{Name: "one", When: "true", Action: "continue", Header: "X-One: 1"},
		{Name: "two", When: "true", Action: "continue", Header: "X-Two: 2"},
		{Name: "three", When: "true", Action: "continue", Header: "X-Three: 3"},
	}}, func(d *door) {
		first := d.connect()
		first.say(rcpt("1", "bob@example.net"), "PREPEND X-One: 1")
		second := d.connect()
		second.send(rcpt("1", "bob@example.net"))
		synctest.Wait() // the old connection is seen to close behind the new one's question
		_ = first.nc.Close()
		second.want("PREPEND X-One: 1")
		second.say(rcpt("1", "bob@example.net"), "PREPEND X-Two: 2") // which it has heard
		second.say(ask("DATA", "1", ""), "PREPEND X-Three: 3")
		_ = second.nc.Close()
		third := d.connect()
		third.say(ask("DATA", "1", ""), "PREPEND X-Three: 3")
		third.say(ask("DATA", "1", ""), "DUNNO")
		third.say(rcpt("1", "ann@example.net"), "DUNNO")

		// Two lists of restrictions with a connection each: both are open, and have heard.
		one, other := d.connect(), d.connect()
		one.say(rcpt("2", "bob@example.net"), "PREPEND X-One: 1")
		other.say(rcpt("2", "bob@example.net"), "PREPEND X-Two: 2")
		one.say(rcpt("2", "ann@example.net"), "PREPEND X-Three: 3")
		other.say(rcpt("2", "ann@example.net"), "DUNNO")
		if n := strings.Count(strings.Join(d.events.all, "\n"), "recipient "); n != 4 {
			t.Errorf("events %q", d.events.all)
		}
	})
}

// TestEndAgain: the end of a message is told once.
func TestEndAgain(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{}, func(d *door) {
		end := ask("END-OF-MESSAGE", "1", "", "queue_id=4F2A1", "size=5000")
		p := d.connect()
		p.say(rcpt("1", "bob@example.net"), "DUNNO")
		p.say(end, "DUNNO")
		_ = p.nc.Close()
		d.connect().say(end, "DUNNO")
		if len(d.events.messages) != 1 || d.events.messages[0].Accepted != 1 {
			t.Errorf("%+v", d.events.messages)
		}
		for i := range 5000 { // in the long run it is forgotten
			p = d.connect()
			p.say(ask("END-OF-MESSAGE", fmt.Sprint("x", i), ""), "DUNNO")
			_ = p.nc.Close()
		}
		if n := len(d.events.messages); n != 5001 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestPanic: a fault of ours costs the decision, not the gate.
func TestPanic(t *testing.T) {
	inBubble(t, policyd.Config{}, policy.Config{Rules: []policy.Rule{
		{Name: "later", When: `reason == "greylisted"`, Action: "defer"},
	}}, func(d *door) {
		p := d.connect()
		p.say(rcpt("1", "slowgrey@example.net"), "DUNNO")
		p.say(rcpt("1", "unknown@example.net"), "550 5.1.1 ")
		if d.events.count("connection panic") != 1 || d.logged("level=ERROR", "stack=") != 1 {
			t.Errorf("events %q, log:\n%s", d.events.all, d.log)
		}
		if a := p.say(rcpt("1", "grey@example.net"), ""); a != "EOF" {
			t.Errorf("%q", a)
		}
		d.connect().say(rcpt("1", "bob@example.net"), "DUNNO") // the message is not locked
	})
}
