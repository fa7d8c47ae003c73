package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// loadClients is how many clients send at one time.
const loadClients = 6

// load is clients that send mail until they are told to stop, and what they saw.
type load struct {
	c    *chain
	name string
	stop context.CancelFunc
	wg   sync.WaitGroup

	accepted atomic.Int64

	mu       sync.Mutex
	attempts map[string]bool // by id of message, whose end was sent: was there a 250?
	failures []string        // all that was not a 250, as far as the gate had taken a connection
}

// load starts clients, which come in by these entries in turn. Half of them send one message in a
// connection, the others several.
func (c *chain) load(name string, entries ...entry) *load {
	ctx, stop := context.WithCancel(c.t.Context())
	l := &load{c: c, name: name, stop: stop, attempts: make(map[string]bool)}
	c.t.Cleanup(l.end)
	for k := range loadClients {
		l.wg.Go(func() {
			// Not all that the machine can do: Postfix shall be killed and started beside it.
			pace := time.NewTicker(100 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				l.connection(ctx, entries[k%len(entries)], fmt.Sprintf("%s.%d.%d", name, k, n), 1+k%2*3)
				<-pace.C
			}
		})
	}
	return l
}

// connection sends some messages in one connection, up to the first that gets no 250.
func (l *load) connection(ctx context.Context, e entry, id string, messages int) {
	client, err := e.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.failed(id, "connecting", err.Error())
		}
		return
	}
	defer client.close()
	for n := range messages {
		if ctx.Err() != nil || !l.attempt(client, fmt.Sprintf("%s.%d", id, n)) {
			return
		}
	}
	_, _ = client.cmd("QUIT") // all that counts is done
}

// attempt sends one message in pieces, so that the gate is likely to be hit while it comes in. It
// notes 250 only if the reply to the end of the message was read whole.
func (l *load) attempt(client *client, id string) (ok bool) {
	for _, command := range []struct {
		line string
		want int
	}{
		{"MAIL FROM:<sender@example.org>", 250},
		{"RCPT TO:<" + good(1) + ">", 250},
		{"DATA", 354},
	} {
		if r, err := client.cmd("%s", command.line); err != nil || r.code != command.want {
			l.failed(id, command.line, fmt.Sprint(r.text, " ", err))
			return false
		}
	}
	data := dotStuffed(message(id, strings.Repeat("0123456789 0123456789 0123456789\r\n", 2000)))
	const pieces = 8
	for i := range pieces {
		if _, err := client.conn.Write(data[i*len(data)/pieces : (i+1)*len(data)/pieces]); err != nil {
			l.note(id, false)
			l.failed(id, "message", err.Error())
			return false
		}
	}
	r, err := client.read()
	ok = err == nil && r.code == 250
	l.note(id, ok)
	if !ok {
		l.failed(id, "end of message", fmt.Sprint(r.text, " ", err))
	}
	return ok
}

func (l *load) note(id string, accepted bool) {
	l.mu.Lock()
	l.attempts[id] = accepted
	l.mu.Unlock()
	if accepted {
		l.accepted.Add(1)
	}
}

func (l *load) failed(id, stage, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, id+": "+stage+": "+how)
}

// lost returns what failed so far.
func (l *load) lost() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failures...)
}

// flow waits until so many more messages were accepted.
func (l *load) flow(messages int64) {
	l.c.t.Helper()
	target := l.accepted.Load() + messages
	until(l.c.t, fmt.Sprintf("mail to flow; failed last: %q", last(l.lost(), 3)), func() bool {
		return l.accepted.Load() >= target
	})
}

func last(list []string, n int) []string { return list[max(0, len(list)-n):] }

// end stops the clients, each at the end of its message.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// balance stops the clients, waits until the relay has delivered all, and compares: each 250 that a
// client saw is exactly one message at the relay, everything else at most one for each attempt. It
// returns how many messages arrived without a 250.
func (l *load) balance() (doubtful int) {
	c := l.c
	c.t.Helper()
	l.end()
	// A last message: what was in the queue before it is soon delivered too.
	marker := l.name + "-marker"
	c.dial().wantSent("MAIL FROM:<sender@example.org>",
		[]string{"RCPT TO:<" + good(0) + ">"}, message(marker, "hello\r\n"))
	c.delivered(marker, good(0))
	for _, p := range c.relays() {
		until(c.t, "Postfix's queue to be empty", p.idle)
	}

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
	for id, n := range arrived {
		if _, known := l.attempts[id]; !known && strings.HasPrefix(id, l.name+".") {
			c.t.Errorf("%s: never sent to its end, %d times at the relay", id, n)
		}
	}
	c.t.Logf("%d attempts, %d accepted, %d not, of which %d are at the relay all the same; %d failures",
		len(l.attempts), l.accepted.Load(), without, doubtful, len(l.failures))
	return doubtful
}
