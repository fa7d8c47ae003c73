package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// demoPatience is what the demo's client waits for one reply, as a mail server would.
const demoPatience = 30 * time.Second

// demoSent is what the client saw of one message.
type demoSent struct {
	mail    demoMail
	replies []esmtp.Reply // to RCPT, in order
	taken   []string      // the recipients that got 2xx
	body    []byte        // as the relay must have it; nil if DATA was never said
	final   esmtp.Reply   // to the end of the message; zero if no recipient was taken
}

// demoSend is the client of the demo: a mail server that sends one message through the gate, with
// pipelining, as Postfix does.
func demoSend(ctx context.Context, address string, mail demoMail, number int) (*demoSent, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := esmtp.NewClient(conn)
	defer func() { _ = c.Close() }()
	c.Timeout = demoPatience
	sent := &demoSent{mail: mail}
	if err := demoHello(ctx, c); err != nil {
		return nil, err
	}
	if err := sent.envelope(ctx, c); err != nil {
		return nil, err
	}
	if len(sent.taken) > 0 {
		if err := sent.message(ctx, c, number); err != nil {
			return nil, err
		}
	}
	_, err = c.Quit(ctx)
	return sent, err
}

func demoHello(ctx context.Context, c *esmtp.Client) error {
	banner, err := c.Greeting(ctx)
	if err != nil {
		return err
	}
	if !banner.Positive() {
		return fmt.Errorf("the gate greets with %v", banner)
	}
	hello, err := c.Hello(ctx, "client.example.org")
	if err != nil {
		return err
	}
	if !hello.Positive() {
		return fmt.Errorf("the gate answers EHLO with %v", hello)
	}
	return nil
}

// envelope sends MAIL and all RCPTs in one go and reads the replies.
func (s *demoSent) envelope(ctx context.Context, c *esmtp.Client) error {
	var mail esmtp.Mail
	var err error
	if s.mail.sender != "" {
		if mail.From, err = esmtp.ParseAddress(s.mail.sender, false); err != nil {
			return err
		}
	}
	var rcpts []byte
	for _, text := range s.mail.rcpts {
		to, err := esmtp.ParseAddress(text, true)
		if err != nil {
			return err
		}
		mail.UTF8 = mail.UTF8 || to.NeedsUTF8()
		rcpts = esmtp.Rcpt{To: to}.Append(rcpts, nil)
	}
	c.Queue(mail.Append(nil, nil))
	c.QueueN(rcpts, len(s.mail.rcpts))
	if err := c.Flush(ctx); err != nil {
		return err
	}
	opened, err := c.ReadReply(ctx)
	if err != nil {
		return err
	}
	if !opened.Positive() {
		return fmt.Errorf("the gate answers MAIL with %v", opened)
	}
	for _, rcpt := range s.mail.rcpts {
		r, err := c.ReadReply(ctx)
		if err != nil {
			return err
		}
		s.replies = append(s.replies, r)
		if r.Positive() {
			s.taken = append(s.taken, rcpt)
		}
	}
	return nil
}

// message sends the body and reads what the relay says of it.
func (s *demoSent) message(ctx context.Context, c *esmtp.Client, number int) error {
	c.Queue([]byte("DATA\r\n"))
	if err := c.Flush(ctx); err != nil {
		return err
	}
	r, err := c.ReadReply(ctx)
	if err != nil {
		return err
	}
	if !r.Intermediate() {
		return fmt.Errorf("the gate answers DATA with %v", r)
	}
	s.body = demoBody(s.mail, number)
	lines := append([]byte("\r\n"), s.body...)
	stuffed := bytes.ReplaceAll(lines, []byte("\r\n."), []byte("\r\n.."))
	if err := c.Write(ctx, stuffed[2:]); err != nil {
		return err
	}
	c.QueueN([]byte(".\r\n"), 1)
	if err := c.Flush(ctx); err != nil {
		return err
	}
	if s.final, err = c.ReadReply(ctx); err != nil {
		return err
	}
	if !s.final.Positive() {
		return errors.New("the relay refuses the message: " + s.final.String())
	}
	return nil
}

// demoBody is a message with what a proxy must not touch: lines that begin with dots, a long line,
// 8-bit octets, blanks at the end of a line.
func demoBody(mail demoMail, number int) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nSubject: %s\r\nMessage-ID: <demo.%d@shop.example.org>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: 8bit\r\n"+
		"\r\n.\r\n..\r\n.hidden\r\nGrüße, blanks follow:   \r\n%s\r\n.. and out.\r\n",
		mail.sender, mail.title, number, strings.Repeat("a long line ", 200))
}
