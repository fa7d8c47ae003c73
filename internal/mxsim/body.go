package mxsim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

const defaultMaxMessage = 64 << 20

// message reads a message up to CRLF.CRLF and asks what to answer to it. No other sequence ends
// it: what a client sends that is not a proper end shows in the recorded octets.
func (s *session) message() error {
	if err := s.flush(); err != nil {
		return err
	}
	begin := s.ask(Event{Stage: Body})
	b := bodyReader{
		discard: s.Host.DiscardBodies, limit: s.Host.MaxMessage, hash: sha256.New(), start: true,
	}
	if b.limit == 0 {
		b.limit = defaultMaxMessage
	}
	acts := begin.Text != "" || begin.Raw != "" || begin.Close || begin.Hang || begin.Delay > 0
	for !b.done {
		if acts && b.received >= begin.After {
			acts = false
			s.filler(Event{Stage: Body})
			if err := s.act(begin, begin.wire(&s.fill)); err != nil {
				return err
			}
			if err := s.flush(); err != nil {
				return err
			}
		}
		most := s.br.Size()
		if acts {
			most = int(min(int64(most), begin.After-b.received))
		}
		if err := b.fill(s.br, most); err != nil {
			return err
		}
	}
	s.messageID++
	m := &Message{
		ID: fmt.Sprintf("%04X%08X", s.number+1, s.messageID), At: time.Now(), Helo: s.Helo,
		From: s.From, MailLine: s.from.Line, XForward: s.xforward, User: s.User,
		Body: b.kept, Octets: b.octets, Conn: s.number,
	}
	b.hash.Sum(m.SHA256[:0])
	for _, r := range s.rcpts {
		m.Rcpts = append(m.Rcpts, r.Path)
		m.RcptLines = append(m.RcptLines, r.Line)
	}
	if b.octets > b.limit {
		s.out = append(s.out, "552 5.3.4 Error: message file too big\r\n"...)
		s.Host.keep(*m, false)
		s.reset()
		return nil
	}
	return s.step(Event{Stage: Dot, Message: m})
}

// bodyReader takes the octets of a message as they come.
type bodyReader struct {
	discard  bool
	limit    int64
	hash     hash.Hash
	kept     []byte
	octets   int64 // of the message
	received int64 // from the client: with stuffed dots
	start    bool  // the next octet begins a line (after CRLF)
	partial  []byte
	done     bool
}

// fill takes what is there, at most so many octets.
func (b *bodyReader) fill(br interface {
	Peek(int) ([]byte, error)
	Buffered() int
	Discard(int) (int, error)
}, most int,
) error {
	if _, err := br.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	chunk, err := br.Peek(min(br.Buffered(), max(most, 1)))
	if err != nil {
		return err
	}
	used := 0
	for used < len(chunk) && !b.done {
		end := bytes.IndexByte(chunk[used:], '\n')
		if end < 0 {
			b.partial = append(b.partial, chunk[used:]...)
			used = len(chunk)
			if int64(len(b.partial)) > b.limit {
				return errOver
			}
			break
		}
		piece := chunk[used : used+end+1]
		used += end + 1
		if len(b.partial) > 0 {
			b.partial = append(b.partial, piece...)
			piece = b.partial
		}
		b.line(piece)
		b.partial = b.partial[:0]
	}
	b.received += int64(used)
	_, err = br.Discard(used)
	return err
}

// line takes octets up to and including LF. Only what follows CRLF is a line of its own.
func (b *bodyReader) line(p []byte) {
	crlf := bytes.HasSuffix(p, []byte("\r\n"))
	if b.start {
		if string(p) == ".\r\n" {
			b.done = true
			return
		}
		p = bytes.TrimPrefix(p, []byte("."))
	}
	b.start = crlf
	b.octets += int64(len(p))
	_, _ = b.hash.Write(p)
	if !b.discard && b.octets <= b.limit {
		b.kept = append(b.kept, p...)
	}
}
