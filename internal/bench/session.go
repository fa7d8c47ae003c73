package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"
)

// patience is how long one reply, or one message, may take before the session counts as broken.
const patience = 60 * time.Second

// session is one SMTP connection of the generator. It is made to cost as little as it can, which
// is why it is not a client for anything else.
type session struct {
	conn net.Conn
	br   *bufio.Reader
	out  []byte // commands that go in one write
	stop func() bool
	last []byte // line of the last reply, until the next read
}

// dial connects and waits for the banner and the reply to EHLO. The end of ctx interrupts the
// session at any time.
func dial(ctx context.Context, address string) (*session, error) {
	return dialWith(ctx, address, bufio.NewReaderSize(nil, 2048))
}

func dialWith(ctx context.Context, address string, br *bufio.Reader) (*session, error) {
	connecting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(connecting, "tcp", address)
	if err != nil {
		return nil, err
	}
	br.Reset(conn)
	s := &session{conn: conn, br: br}
	s.extend()
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if code, err := s.reply(); err != nil || code != 220 {
		s.close()
		return nil, unexpected("the banner", code, err)
	}
	if code, err := s.command("EHLO client.example.org\r\n"); err != nil || code != 250 {
		s.close()
		return nil, unexpected("EHLO", code, err)
	}
	return s, nil
}

// unexpected is never nil.
func unexpected(what string, code int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s was answered %d", what, code)
}

// extend gives the session patience from now.
func (s *session) extend() { _ = s.conn.SetDeadline(time.Now().Add(patience)) }

func (s *session) close() {
	if s.stop != nil {
		s.stop()
	}
	_ = s.conn.Close()
}

// quit ends the session politely.
func (s *session) quit() {
	_, _ = s.command("QUIT\r\n")
	s.close()
}

// reply reads one reply and returns its code.
func (s *session) reply() (int, error) {
	for {
		l, err := s.br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(l) < 4 || !digits(l[:3]) {
			return 0, fmt.Errorf("a reply that is none: %q", l)
		}
		if l[3] != '-' {
			s.last = l
			return int(l[0]-'0')*100 + int(l[1]-'0')*10 + int(l[2]-'0'), nil
		}
	}
}

func digits(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (s *session) command(line string) (int, error) {
	s.out = append(s.out[:0], line...)
	if _, err := s.conn.Write(s.out); err != nil {
		return 0, err
	}
	return s.reply()
}
