package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is an SMTP client that shows everything: it shares no code with what it tests.
type client struct {
	conn net.Conn
	br   *bufio.Reader
}

// reply is a server's reply, its lines as received, joined by "\n".
type reply struct {
	code int
	text string
}

// entry is a way in for clients.
type entry struct {
	address  string      // "host:port" or "unix:/path"
	from     netip.Addr  // the client's own address; zero: the system chooses
	header   []byte      // goes before all else
	tls      *tls.Config // nil: no TLS
	implicit bool        // TLS from the start, not by STARTTLS
}

// dial connects, reads the banner and says EHLO, in TLS if the entry has it. The whole conversation
// has one long deadline.
func (e entry) dial(ctx context.Context) (*client, error) {
	var d net.Dialer
	network, address := "tcp", e.address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	if e.from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.from, 0))
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, br: bufio.NewReader(conn)}
	err = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	if err == nil && len(e.header) > 0 {
		_, err = conn.Write(e.header)
	}
	if err == nil && e.implicit {
		err = c.secure(ctx, e.tls)
	}
	if err == nil {
		err = c.greet(220, "")
	}
	if err == nil {
		err = c.greet(250, "EHLO client.example.net\r\n")
	}
	if err == nil && e.tls != nil && !e.implicit {
		if err = c.greet(220, "STARTTLS\r\n"); err == nil {
			err = c.secure(ctx, e.tls)
		}
		if err == nil {
			err = c.greet(250, "EHLO client.example.net\r\n")
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// secure begins TLS.
func (c *client) secure(ctx context.Context, config *tls.Config) error {
	conn := tls.Client(c.conn, config)
	c.conn, c.br = conn, bufio.NewReader(conn)
	return conn.HandshakeContext(ctx)
}

// greet sends what there is to say and wants a reply with this code.
func (c *client) greet(want int, say string) error {
	if _, err := io.WriteString(c.conn, say); err != nil {
		return err
	}
	r, err := c.read()
	if err == nil && r.code != want {
		err = fmt.Errorf("%q is answered %s", say, r.text)
	}
	return err
}

// read reads one reply.
func (c *client) read() (reply, error) {
	var lines []string
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return reply{}, err
		}
		text, crlf := strings.CutSuffix(line, "\r\n")
		if !crlf || len(text) < 3 {
			return reply{}, fmt.Errorf("bad reply line %q", line)
		}
		lines = append(lines, text)
		if len(text) == 3 || text[3] == ' ' {
			code, err := strconv.Atoi(text[:3])
			return reply{code, strings.Join(lines, "\n")}, err
		}
	}
}

// cmd sends a command and reads its reply.
func (c *client) cmd(format string, args ...any) (reply, error) {
	if _, err := fmt.Fprintf(c.conn, format+"\r\n", args...); err != nil {
		return reply{}, err
	}
	return c.read()
}

// dotStuffed returns a message, which ends with CRLF, as it goes on the wire after DATA.
func dotStuffed(message []byte) []byte {
	stuffed := bytes.ReplaceAll(append([]byte("\r\n"), message...), []byte("\r\n."), []byte("\r\n.."))
	return append(stuffed[2:], ".\r\n"...)
}

// send runs one transaction up to the reply to the dot, which it returns with the replies to all
// RCPTs. An error is a broken conversation or a refusal before the dot.
func (c *client) send(mail string, rcpts []string, message []byte) (dot reply, refused map[string]reply, err error) {
	if dot, err = c.cmd("%s", mail); err != nil || dot.code != 250 {
		return dot, nil, or(err, "MAIL: %s", dot.text)
	}
	refused = make(map[string]reply)
	for _, rcpt := range rcpts {
		r, err := c.cmd("%s", rcpt)
		if err != nil {
			return r, refused, err
		}
		if r.code != 250 {
			refused[rcpt] = r
		}
	}
	if dot, err = c.cmd("DATA"); err != nil || dot.code != 354 {
		return dot, refused, or(err, "DATA: %s", dot.text)
	}
	if _, err = c.conn.Write(dotStuffed(message)); err != nil {
		return reply{}, refused, err
	}
	dot, err = c.read()
	return dot, refused, err
}

// or returns err, or an error of that text if it is nil.
func or(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

func (c *client) close() { _ = c.conn.Close() }

// testClient is a client whose failures are the test's.
type testClient struct {
	*client
	t *testing.T
}

// want sends a command whose reply must have that code.
func (c testClient) want(code int, format string, args ...any) reply {
	c.t.Helper()
	r, err := c.cmd(format, args...)
	if err != nil || r.code != code {
		c.t.Fatalf("%s: %q, %v; want %d", fmt.Sprintf(format, args...), r.text, err, code)
	}
	return r
}

// wantSent runs a whole transaction that must be accepted for all recipients.
func (c testClient) wantSent(mail string, rcpts []string, message []byte) reply {
	c.t.Helper()
	dot, refused, err := c.send(mail, rcpts, message)
	if err != nil || dot.code != 250 || len(refused) > 0 {
		c.t.Fatalf("transaction: %q, %v, refused %v", dot.text, err, refused)
	}
	return dot
}
