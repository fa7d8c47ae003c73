package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// TestCrashFilter ends the gate behind Postfix while mail flows, TestCrashFront the gate in front.
func TestCrashFilter(t *testing.T) {
	c := newFilterChain(t)
	c.run("killed", checkKilled)
	c.run("ended", checkEnded)
}

func TestCrashFront(t *testing.T) {
	c := newFrontChain(t)
	c.run("in mid-mail", checkMidMail)
	c.run("killed", checkKilled)
	c.run("ended", checkEnded)
}

// checkKilled: every 250 that a client saw is exactly one message at the relay; without a 250 there
// is at most one for each attempt.
func checkKilled(c *chain) { checkCrashes(c, "killed", syscall.SIGKILL) }

// checkEnded: a gate that is told to end leaves no doubt at all; without a 250 there is no message.
func checkEnded(c *chain) {
	if doubtful := checkCrashes(c, "ended", syscall.SIGTERM); doubtful > 0 {
		c.t.Errorf("%d messages at the relay whose client saw no 250", doubtful)
	}
}

// checkCrashes ends the gate with a signal while mail flows, several times, and balances what the
// clients saw with what arrived. It returns how many messages arrived without a 250.
func checkCrashes(c *chain, name string, s syscall.Signal) (doubtful int) {
	c.t.Helper()
	l := c.load(name, c.entry)
	l.crash(s)
	return l.balance()
}

// crash ends the gate several times, each time when some more messages have come through.
func (l *load) crash(s syscall.Signal) {
	l.c.t.Helper()
	for range 5 {
		l.flow(15)
		l.c.gate.end(s)
		l.c.gate.start()
	}
}

// checkMidMail ends the gate at chosen points of one transaction.
func checkMidMail(c *chain) {
	open := func(id string) (testClient, []byte) {
		client := c.dial()
		client.want(250, "MAIL FROM:<sender@example.org>")
		client.want(250, "RCPT TO:<%s>", good(1))
		return client, dotStuffed(message(id, strings.Repeat("hello\r\n", 100_000)))
	}
	write := func(client testClient, p []byte) {
		if _, err := client.conn.Write(p); err != nil {
			c.t.Fatal(err)
		}
	}
	// The relay has the first half: the gate has passed it on, since Postfix's cleanup saw the header.
	half := func(client testClient, id string, data []byte) {
		client.want(354, "DATA")
		write(client, data[:len(data)/2])
		until(c.t, "the relay to have the header", func() bool {
			return len(c.postfix.logged("message-id=<"+id+"@")) > 0
		})
	}

	// Killed in DATA: the client hears nothing, and the relay has no message.
	client, data := open("killed-in-data")
	half(client, "killed-in-data", data)
	c.gate.end(syscall.SIGKILL)
	if r, err := client.read(); err == nil {
		c.t.Errorf("killed in DATA, the client read %q", r.text)
	}
	c.gate.start()

	// Told to end in DATA: no new clients, but the message comes through and the gate ends in peace.
	client, data = open("ended-in-data")
	half(client, "ended-in-data", data)
	idle := c.dial()
	c.gate.signal(syscall.SIGTERM)
	until(c.t, "the gate to refuse new clients", func() bool { return !c.gate.listens() })
	if r, err := idle.read(); err == nil && r.code != 421 {
		c.t.Errorf("an idle client is told %q, want 421", r.text)
	}
	write(client, data[len(data)/2:])
	if r, err := client.read(); err != nil || r.code != 250 {
		c.t.Errorf("ended in DATA: %q, %v; want 250", r.text, err)
	}
	c.gate.wait()
	c.delivered("ended-in-data", good(1))
	c.gate.start()

	// The client dies in DATA: no message either.
	client, data = open("client-gone")
	half(client, "client-gone", data)
	client.close()

	// A whole message after all that; and no trace of the cut ones.
	client, data = open("whole")
	client.want(354, "DATA")
	write(client, data)
	if r, err := client.read(); err != nil || r.code != 250 {
		c.t.Errorf("whole: %q, %v", r.text, err)
	}
	c.delivered("whole", good(1))
	for _, m := range c.sink.Messages() {
		if id := idOf(m); id != "ended-in-data" && id != "whole" {
			c.t.Errorf("%s was delivered", id)
		}
	}
}
