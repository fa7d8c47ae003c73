package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"
)

// Ping asks a server about one recipient again and again, in one session, each time waiting for
// the answer, and returns how long the answers took. The answer must have this code. With bare
// set the server is an Echo: no banner, no EHLO, no MAIL.
func Ping(
	ctx context.Context, address, recipient string, n, code int, bare bool,
) (*Histogram, error) {
	s, err := pingDial(ctx, address, bare)
	if err != nil {
		return nil, err
	}
	defer s.close()
	h := new(Histogram)
	rcpt := "RCPT TO:<" + recipient + ">\r\n"
	for i := range n {
		// Servers limit the recipients of a message.
		if i%100 == 0 && !bare {
			if err := s.begin(); err != nil {
				return nil, err
			}
		}
		start := time.Now()
		got, err := s.command(rcpt)
		if err != nil || got != code {
			return nil, unexpected("RCPT TO:<"+recipient+">", got, err)
		}
		h.Add(time.Since(start))
	}
	if !bare {
		s.quit()
	}
	return h, nil
}

func pingDial(ctx context.Context, address string, bare bool) (*session, error) {
	if !bare {
		return dial(ctx, address)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, br: bufio.NewReader(conn)}
	s.extend()
	return s, nil
}

// begin opens a new transaction.
func (s *session) begin() error {
	s.extend()
	for _, line := range []string{"RSET\r\n", mailLine} {
		if code, err := s.command(line); err != nil || code != 250 {
			return unexpected(fmt.Sprintf("%.4s", line), code, err)
		}
	}
	return nil
}
