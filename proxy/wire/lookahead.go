package wire

import (
	"bytes"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// maxAhead bounds the RCPT commands that are parsed ahead of the one in hand.
const maxAhead = 1000

// Upcoming parses the RCPT commands that have arrived behind the one in hand and returns
// those that no earlier call returned. Each is handed over later, in order, as the value
// of [Conn.Rcpt]: the session knows it again by its pointer. It stops at the first line
// that is not a well-formed RCPT, which is answered in its turn.
func (c *Conn) Upcoming() []*esmtp.Rcpt {
	if c.verb != verbRcpt {
		return nil
	}
	known := len(c.ahead)
	for len(c.ahead) < maxAhead {
		r, n := c.peekRcpt()
		if r == nil {
			break
		}
		c.in.take(n)
		c.ahead = append(c.ahead, r)
	}
	return c.ahead[known:]
}

// peekRcpt is the next line if it is a good RCPT, and how many octets it takes.
func (c *Conn) peekRcpt() (*esmtp.Rcpt, int) {
	b := c.in.bytes()
	lf := bytes.IndexByte(b, '\n')
	if lf < 5 || lf+1 > MaxLine || b[lf-1] != '\r' || !bytes.EqualFold(b[:5], []byte("RCPT ")) {
		return nil, 0
	}
	line := b[:lf-1]
	for _, o := range line {
		if o < ' ' && o != '\t' || o == 0x7f {
			return nil, 0
		}
	}
	r, err := esmtp.ParseRcpt(strings.TrimRight(string(line[5:]), " \t"), c.mail != nil && c.mail.UTF8)
	if err != nil {
		return nil, 0
	}
	return &r, lf + 1
}

// Await waits until done is closed. Meanwhile it sends the replies that are ready and goes
// on reading, and calls more with the RCPT commands that arrive, so that a client that
// pipelines in several packets has its recipients verified side by side all the same.
func (c *Conn) Await(done <-chan struct{}, more func([]*esmtp.Rcpt)) {
	if closed(done) {
		return
	}
	if c.flush() != nil || c.in.ended() || c.in.full() {
		<-done
		return
	}
	if c.raw.SetReadDeadline(time.Time{}) == nil {
		c.readWhile(done, more)
	}
	<-done
}

// readWhile reads until done, the end of the input, or a full buffer. Only one goroutine
// reads: the other only ends its Read, and has ended itself when readWhile returns.
func (c *Conn) readWhile(done <-chan struct{}, more func([]*esmtp.Rcpt)) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-done:
			_ = c.raw.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	for !closed(done) && !c.in.full() && len(c.ahead) < maxAhead {
		if c.in.fill(c.Conn) != nil {
			break
		}
		if rcpts := c.Upcoming(); len(rcpts) > 0 {
			more(rcpts)
		}
	}
	close(stop)
	<-stopped
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
