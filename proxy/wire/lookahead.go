package wire

import (
	"bytes"
	"slices"
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
	var room []esmtp.Rcpt // for those that wait, in one piece
	for len(c.ahead) < maxAhead {
		lf := c.rcptEnd()
		if lf < 0 {
			break
		}
		if len(room) == 0 {
			room = make([]esmtp.Rcpt, min(bytes.Count(c.in.bytes(), newline), 64))
			c.ahead = slices.Grow(c.ahead, len(room))
			c.out = slices.Grow(c.out, len(room)*replyOut)
		}
		r, ok := c.peekRcpt(lf)
		if !ok {
			break
		}
		c.in.take(lf + 1)
		room[0] = r
		c.ahead, room = append(c.ahead, &room[0]), room[1:]
	}
	return c.ahead[known:]
}

// replyOut is what most replies to RCPT fit in.
const replyOut = 24

var newline = []byte{'\n'}

// rcptEnd is where the next line ends if it looks like a RCPT, else -1.
func (c *Conn) rcptEnd() int {
	b := c.in.bytes()
	lf := bytes.IndexByte(b, '\n')
	if lf < 5 || lf+1 > MaxLine || b[lf-1] != '\r' || !bytes.EqualFold(b[:5], []byte("RCPT ")) {
		return -1
	}
	return lf
}

// peekRcpt is the next line, which ends at lf, if it is a good RCPT.
func (c *Conn) peekRcpt(lf int) (_ esmtp.Rcpt, ok bool) {
	line := c.in.bytes()[:lf-1]
	for _, o := range line {
		if o < ' ' && o != '\t' || o == 0x7f {
			return esmtp.Rcpt{}, false
		}
	}
	r, err := esmtp.ParseRcpt(strings.TrimRight(string(line[5:]), " \t"), c.mail != nil && c.mail.UTF8)
	return r, err == nil
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
	c.readSet = time.Time{}
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
