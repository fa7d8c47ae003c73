package bench

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Hold keeps n connections open on which nothing happens.
type Hold struct {
	address  string
	sessions []*session
}

// opening is how many connections are opened at one time: below the queue of most listeners.
const opening = 16

// Open opens connections up to n in all. Each says EHLO and, if message has something in it, sends
// that to the recipient, and then stays silent.
func (h *Hold) Open(ctx context.Context, address string, n int, recipient string, message []byte) error {
	h.address = address
	want := n - len(h.sessions)
	made := make([]*session, max(want, 0))
	failed := make(chan error, opening)
	var wg sync.WaitGroup
	for k := range opening {
		wg.Go(func() {
			for i := k; i < len(made); i += opening {
				s, err := dialWith(ctx, address, bufio.NewReaderSize(nil, 512))
				if err == nil {
					made[i] = s
					err = s.deliver(recipient, message)
				}
				if err != nil {
					failed <- fmt.Errorf("connection %d: %w", i+1, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for _, s := range made {
		if s != nil {
			_ = s.conn.SetDeadline(time.Time{})
			h.sessions = append(h.sessions, s)
		}
	}
	return <-failed // nil when nothing failed
}

// deliver sends one message, unless there is none.
func (s *session) deliver(recipient string, message []byte) error {
	if len(message) == 0 {
		return nil
	}
	if err := s.envelope(recipient); err != nil {
		return err
	}
	if _, err := s.conn.Write(append(slices.Clip(message), ".\r\n"...)); err != nil {
		return err
	}
	if code, err := s.reply(); err != nil || code != 250 {
		return unexpected("the message", code, err)
	}
	return nil
}

// envelope goes up to the 354.
func (s *session) envelope(recipient string) error {
	for _, step := range []struct {
		line string
		code int
	}{{mailLine, 250}, {"RCPT TO:<" + recipient + ">\r\n", 250}, {"DATA\r\n", 354}} {
		if code, err := s.command(step.line); err != nil || code != step.code {
			return unexpected(step.line[:4], code, err)
		}
	}
	return nil
}

// Len is the number of open connections.
func (h *Hold) Len() int { return len(h.sessions) }

// Close drops the connections.
func (h *Hold) Close() {
	for _, s := range h.sessions {
		s.close()
	}
	h.sessions = nil
}

// Serve sends n messages, each on a connection of its own and one after the other, and returns how
// long each took from connecting to the 250.
func Serve(ctx context.Context, address, recipient string, n int) (*Histogram, error) {
	h := new(Histogram)
	body := Message(1 << 10)
	for range n {
		start := time.Now()
		s, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		err = s.deliver(recipient, body)
		h.Add(time.Since(start))
		if err != nil {
			s.close()
			return nil, err
		}
		s.quit()
	}
	return h, nil
}

// HalfWay sends n messages of so many octets at the same time. Each stops in the middle until all
// have come so far and halted has returned; then they go on to their end.
func HalfWay(
	ctx context.Context, address, recipient string, n, size int, halted func() error,
) error {
	body := append(Message(size), ".\r\n"...)
	var there, all sync.WaitGroup
	there.Add(n)
	goOn := make(chan struct{})
	failed := make(chan error, n)
	for range n {
		all.Go(func() {
			arrived := sync.OnceFunc(there.Done)
			defer arrived()
			s, err := dial(ctx, address)
			if err != nil {
				failed <- err
				return
			}
			defer s.close()
			failed <- s.halves(recipient, body, func() { arrived(); <-goOn })
		})
	}
	there.Wait()
	err := halted()
	close(goOn)
	all.Wait()
	close(failed)
	for e := range failed {
		if e != nil {
			return e
		}
	}
	return err
}

func (s *session) halves(recipient string, body []byte, wait func()) error {
	err := s.envelope(recipient)
	if err == nil {
		s.extend()
		_, err = s.conn.Write(body[:len(body)/2])
	}
	if err != nil {
		return err
	}
	wait()
	s.extend()
	if _, err = s.conn.Write(body[len(body)/2:]); err != nil {
		return err
	}
	code, err := s.reply()
	if err != nil || code != 250 {
		return unexpected("the message", code, err)
	}
	return nil
}
