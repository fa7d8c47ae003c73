package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// sinkBuffer is what a connection of the sink reads at once.
const sinkBuffer = 64 << 10

// Sink serves SMTP on l until ctx ends: it takes every recipient and every message, keeps nothing,
// and answers commands that came together in one write. It offers what the proxy asks of a relay
// (no XFORWARD, as with a relay that does not log clients), but checks no syntax.
func Sink(ctx context.Context, l net.Listener) error {
	buffers := &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, sinkBuffer) }}
	return accept(ctx, l, func(conn net.Conn) {
		br, ok := buffers.Get().(*bufio.Reader)
		if !ok {
			return
		}
		br.Reset(conn)
		s := sink{conn: conn, br: br}
		_ = s.serve() // the client has gone, which is its way to end
		br.Reset(nil)
		buffers.Put(br)
	})
}

// accept serves connections until ctx ends, each in its own goroutine. Running out of descriptors
// is waited out.
func accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if pause(ctx, 5*time.Millisecond) {
				continue
			}
			return nil
		}
		go func() {
			defer func() { _ = conn.Close() }()
			serve(conn)
		}()
	}
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type sink struct {
	conn net.Conn
	br   *bufio.Reader
	out  []byte
}

const sinkHello = "250-sink.example.com\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n" +
	"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 SMTPUTF8\r\n"

func (s *sink) serve() error {
	s.out = append(s.out, "220 sink.example.com ESMTP\r\n"...)
	for {
		if s.br.Buffered() == 0 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		l, err := s.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch verb(l) {
		case "EHLO":
			s.out = append(s.out, sinkHello...)
		case "RCPT":
			s.out = append(s.out, "250 2.1.5 Ok\r\n"...)
		case "DATA":
			s.out = append(s.out, "354 Go ahead\r\n"...)
			if err := s.flush(); err != nil {
				return err
			}
			if err := skipMessage(s.br); err != nil {
				return err
			}
			s.out = append(s.out, "250 2.0.0 Ok: queued\r\n"...)
		case "QUIT":
			s.out = append(s.out, "221 2.0.0 Bye\r\n"...)
			return s.flush()
		case "STAR", "AUTH", "BDAT":
			s.out = append(s.out, "502 5.5.1 Not implemented\r\n"...)
		default:
			s.out = append(s.out, "250 2.0.0 Ok\r\n"...)
		}
	}
}

// verb is the first four octets of a command in upper case.
func verb(l []byte) string {
	if len(l) < 4 {
		return ""
	}
	var v [4]byte
	for i := range v {
		v[i] = l[i]
		if v[i] >= 'a' && v[i] <= 'z' {
			v[i] -= 'a' - 'A'
		}
	}
	return string(v[:])
}

func (s *sink) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// skipMessage reads up to the end of the message (RFC 5321 section 4.1.1.4). What follows it stays
// in br.
func skipMessage(br *bufio.Reader) error {
	const mark = "\r\n.\r\n"
	if p, err := br.Peek(3); err != nil || string(p) == mark[2:] {
		_, discarded := br.Discard(len(p))
		if err == nil {
			err = discarded
		}
		return err
	}
	keep := 0 // octets at the end of the last look that the mark may begin in
	for {
		if _, err := br.Peek(keep + 1); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		p, err := br.Peek(br.Buffered())
		if err != nil {
			return err
		}
		if i := bytes.Index(p, []byte(mark)); i >= 0 {
			_, err := br.Discard(i + len(mark))
			return err
		}
		keep = min(len(mark)-1, len(p))
		if _, err := br.Discard(len(p) - keep); err != nil {
			return err
		}
	}
}
