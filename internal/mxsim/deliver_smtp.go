package mxsim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// The values of Outcome.Status.
const (
	sent     = "sent"
	deferred = "deferred"
	bounced  = "bounced"
	expired  = "expired"
)

// result is what one try did to one recipient, as the log tells it.
type result struct {
	rcpt   string
	status string
	dsn    string
	text   string
	host   string // name; "" where none was reached
	addr   string // its IP address
	a, b   time.Duration
	c, d   time.Duration // before the queue manager, in it, connecting, transferring
}

// transfer is one try to deliver a message to the recipients of one domain.
type transfer struct {
	d       *Delivery
	q       queued
	domain  string
	started time.Time

	host      *Host
	addr      string
	conn      net.Conn
	br        *bufio.Reader
	connected time.Time
	trouble   result // why the last host was left
	last      *Host  // nil: no connection stood
	lastAddr  string
}

// run tries the hosts in order. A host that cannot be reached or refuses to talk leads to the next.
func (t *transfer) run(ctx context.Context, rcpts []string) []result {
	way := t.d.route(t.domain)
	if way.status != "" {
		return t.all(rcpts, way.status, way.dsn, way.text)
	}
	if slices.ContainsFunc(way.hosts, func(h *Host) bool { return t.open(ctx, h) }) {
		defer func() { _ = t.conn.Close() }()
		return t.converse(rcpts)
	}
	t.host, t.addr = t.last, t.lastAddr
	return t.all(rcpts, t.trouble.status, t.trouble.dsn, t.trouble.text)
}

// all gives every recipient the same result.
func (t *transfer) all(rcpts []string, status, dsn, text string) []result {
	results := make([]result, len(rcpts))
	for i, rcpt := range rcpts {
		results[i] = t.result(rcpt, status, dsn, text)
	}
	return results
}

func (t *transfer) result(rcpt, status, dsn, text string) result {
	r := result{
		rcpt: rcpt, status: status, dsn: dsn, text: text,
		a: max(t.started.Sub(t.q.arrived), 0), c: time.Since(t.started),
	}
	if t.host != nil {
		r.host, r.addr = t.host.Name, t.addr
	}
	if !t.connected.IsZero() {
		r.c, r.d = t.connected.Sub(t.started), time.Since(t.connected)
	}
	return r
}

// open connects and greets. Like Postfix, it leaves a host whose banner or EHLO reply is no 2xx.
func (t *transfer) open(ctx context.Context, h *Host) bool {
	ip, at := t.d.address(h)
	ctx, cancel := context.WithTimeout(ctx, t.d.c.Timeout)
	defer cancel()
	conn, err := t.d.c.Dial(ctx, "tcp", at)
	if err != nil {
		t.last = nil
		t.trouble = result{status: deferred, dsn: "4.4.1", text: fmt.Sprintf(
			"connect to %s[%s]:%d: %s", h.Name, ip, 25, connectError(err))}
		return false
	}
	t.host, t.addr, t.conn, t.br = h, ip.String(), conn, bufio.NewReader(conn)
	t.last, t.lastAddr = h, t.addr
	t.d.count(h.Name, Tally{Connections: 1})
	for _, command := range []string{"", "EHLO " + t.d.c.Helo} {
		reply, err := t.exchange(command)
		switch {
		case err != nil:
			t.lost(err, "performing the EHLO handshake")
		case !strings.HasPrefix(reply, "2"):
			dsn := "4" + dsnOf(reply)[1:] // smtp_skip_5xx_greeting
			t.trouble = result{status: deferred, dsn: dsn, text: fmt.Sprintf(
				"host %s[%s] refused to talk to me: %s", h.Name, ip, oneLine(reply))}
			t.quit()
		default:
			continue
		}
		_ = conn.Close()
		t.host = nil
		return false
	}
	t.connected = time.Now()
	return true
}

func connectError(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	case strings.Contains(err.Error(), "refused"):
		return "Connection refused"
	}
	return "No route to host"
}

// converse delivers to all recipients that are taken, in one transaction.
func (t *transfer) converse(rcpts []string) []result {
	reply, err := t.exchange("MAIL FROM:<" + t.q.From + ">")
	if err != nil || !strings.HasPrefix(reply, "2") {
		return t.over(rcpts, reply, err, "MAIL FROM")
	}
	var results []result
	var taken []string
	for i, rcpt := range rcpts {
		t.d.count(t.host.Name, Tally{Rcpts: 1})
		reply, err := t.exchange("RCPT TO:<" + rcpt + ">")
		switch {
		case err != nil || strings.HasPrefix(reply, "421"):
			return append(results, t.over(append(taken, rcpts[i:]...), reply, err, "RCPT TO")...)
		case strings.HasPrefix(reply, "2"):
			taken = append(taken, rcpt)
		default:
			t.d.count(t.host.Name, Tally{Refused: 1})
			results = append(results, t.said(rcpt, reply, "RCPT TO"))
		}
	}
	if len(taken) == 0 {
		t.quit()
		return results
	}
	reply, err = t.exchange("DATA")
	if err != nil || !strings.HasPrefix(reply, "354") {
		return append(results, t.over(taken, reply, err, "DATA")...)
	}
	t.d.count(t.host.Name, Tally{Messages: 1})
	reply, err = t.body()
	if err != nil || !strings.HasPrefix(reply, "2") {
		return append(results, t.over(taken, reply, err, "end of DATA")...)
	}
	t.quit()
	return append(results, t.all(taken, sent, dsnOf(reply), oneLine(reply))...)
}

// over ends the conversation: all of these recipients have the same result.
func (t *transfer) over(rcpts []string, reply string, err error, command string) []result {
	if err != nil {
		t.lost(err, "sending "+command)
		return t.all(rcpts, t.trouble.status, t.trouble.dsn, t.trouble.text)
	}
	results := make([]result, len(rcpts))
	for i, rcpt := range rcpts {
		results[i] = t.said(rcpt, reply, command)
	}
	t.quit()
	return results
}

// said is the result that a reply gives.
func (t *transfer) said(rcpt, reply, command string) result {
	status := deferred
	if strings.HasPrefix(reply, "5") {
		status = bounced
	}
	return t.result(rcpt, status, dsnOf(reply), fmt.Sprintf("host %s[%s] said: %s (in reply to %s command)",
		t.host.Name, t.addr, oneLine(reply), command))
}

// lost is the result of a conversation that broke.
func (t *transfer) lost(err error, doing string) {
	if !errors.Is(err, io.EOF) { // else it was the host that went
		t.d.count(t.host.Name, Tally{Rude: 1})
	}
	text := fmt.Sprintf("lost connection with %s[%s] while %s", t.host.Name, t.addr, doing)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		text = fmt.Sprintf("conversation with %s[%s] timed out while %s", t.host.Name, t.addr, doing)
	}
	t.trouble = result{status: deferred, dsn: "4.4.2", text: text}
}

// exchange says a command, if there is one, and returns the reply, lines joined by "\n".
func (t *transfer) exchange(command string) (string, error) {
	if err := t.conn.SetDeadline(time.Now().Add(t.d.c.Timeout)); err != nil {
		return "", err
	}
	if command != "" {
		if _, err := io.WriteString(t.conn, command+"\r\n"); err != nil {
			return "", err
		}
	}
	return t.reply()
}

func (t *transfer) reply() (string, error) {
	const most = 100
	var lines []string
	for range most {
		line, err := t.br.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if len(text) < 3 || text[0] < '2' || text[0] > '5' {
			return "", errors.New("no reply")
		}
		lines = append(lines, text)
		if len(text) == 3 || text[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
	return "", errors.New("a reply without an end")
}

// body sends the message with dots stuffed, and the final dot.
func (t *transfer) body() (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: by %s (Postfix) id %s\r\n", t.d.c.Helo, t.q.queueID)
	for line := range bytes.Lines(t.q.Body) {
		if line[0] == '.' {
			b.WriteByte('.')
		}
		b.Write(line)
	}
	if !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	b.WriteString(".")
	return t.exchange(b.String())
}

func (t *transfer) quit() {
	if _, err := t.exchange("QUIT"); err == nil {
		t.d.count(t.host.Name, Tally{Quits: 1})
	}
}
