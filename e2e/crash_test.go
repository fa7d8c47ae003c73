package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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

// ledger is what the clients of checkCrashes saw: for the id of each attempt, whether it got a 250.
type ledger struct {
	mu       sync.Mutex
	attempts map[string]bool
	accepted atomic.Int64
}

func (l *ledger) note(id string, accepted bool) {
	l.mu.Lock()
	l.attempts[id] = accepted
	l.mu.Unlock()
	if accepted {
		l.accepted.Add(1)
	}
}

// checkCrashes ends the gate with a signal while mail flows, several times, and compares what the
// clients saw with what arrived. It returns how many messages arrived without a 250.
func checkCrashes(c *chain, name string, s syscall.Signal) (doubtful int) {
	c.t.Helper()
	const (
		clients = 6
		rounds  = 6
		between = 15 // messages accepted before the next blow
	)
	l := &ledger{attempts: make(map[string]bool)}
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	var wg sync.WaitGroup
	for k := range clients {
		wg.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond) // while nobody answers
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				attempt(ctx, c.entry, fmt.Sprintf("%s-%d-%d", name, k, n), l)
				<-pace.C
			}
		})
	}
	for range rounds {
		target := l.accepted.Load() + between
		until(c.t, "mail to flow", func() bool { return l.accepted.Load() >= target })
		c.gate.end(s)
		c.gate.start()
	}
	stop()
	wg.Wait()

	// A last message: what was in the queue before it is soon delivered too.
	marker := name + "-marker"
	c.dial().wantSent("MAIL FROM:<sender@example.org>",
		[]string{"RCPT TO:<" + good(0) + ">"}, message(marker, "hello\r\n"))
	c.delivered(marker, good(0))
	until(c.t, "Postfix's queue to be empty", func() bool {
		return len(c.postfix.logged("/qmgr[", ": from=<")) == len(c.postfix.logged("/qmgr[", ": removed"))
	})

	arrived := make(map[string]int)
	for _, m := range c.sink.Messages() {
		arrived[idOf(m)]++
	}
	without := 0
	for id, accepted := range l.attempts {
		switch n := arrived[id]; {
		case accepted && n != 1:
			c.t.Errorf("%s: accepted with 250, %d times at the relay", id, n)
		case n > 1:
			c.t.Errorf("%s: no 250, %d times at the relay", id, n)
		case !accepted:
			without++
			doubtful += n
		}
	}
	c.t.Logf("%d attempts, %d accepted, %d not, of which %d are at the relay all the same",
		len(l.attempts), l.accepted.Load(), without, doubtful)
	return doubtful
}

// attempt sends one message in pieces, so that the gate is likely to be hit while it comes in. It
// notes 250 only if the reply to the dot was read whole.
func attempt(ctx context.Context, entry, id string, l *ledger) {
	c, err := dial(ctx, entry)
	if err != nil {
		return // nobody there; not an attempt
	}
	defer c.close()
	for _, command := range []struct {
		line string
		want int
	}{
		{"MAIL FROM:<sender@example.org>", 250},
		{"RCPT TO:<" + good(1) + ">", 250},
		{"DATA", 354},
	} {
		if r, err := c.cmd("%s", command.line); err != nil || r.code != command.want {
			return
		}
	}
	data := dotStuffed(message(id, strings.Repeat("0123456789 0123456789 0123456789\r\n", 2000)))
	const pieces = 8
	for i := range pieces {
		if _, err := c.conn.Write(data[i*len(data)/pieces : (i+1)*len(data)/pieces]); err != nil {
			l.note(id, false)
			return
		}
	}
	r, err := c.read()
	l.note(id, err == nil && r.code == 250)
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
