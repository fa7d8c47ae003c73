package wire

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// handshakeTime bounds a TLS handshake.
const handshakeTime = 30 * time.Second

// TLS is the state of the client's TLS, nil in plaintext.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// startTLS is RFC 3207. What the client sent in plaintext behind the command is thrown away,
// and what it told before is forgotten: its name, XFORWARD, and with it the trust.
func (c *Conn) startTLS(arg string) {
	switch {
	case c.cfg.TLS == nil:
		c.answer(502, noCommand, "STARTTLS is not offered")
		return
	case c.tls != nil:
		c.answer(503, noCommand, "TLS is already on")
		return
	case arg != "":
		c.answer(501, badArgs, "STARTTLS takes no argument")
		return
	case c.inTx:
		c.answer(503, noCommand, "Mail transaction in progress")
		return
	}
	c.reply(esmtp.NewReply(220, okCode, "Ready to start TLS"))
	if c.flush() != nil || c.handshake() != nil {
		c.closing = true
	}
}

// handshake puts TLS on the socket. A failed one ends the connection.
func (c *Conn) handshake() error {
	c.in.reset()
	t := tls.Server(c.raw, c.cfg.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.event("tls_failed", err.Error())
		_ = c.kill()
		return io.EOF
	}
	c.Conn, c.tls = t, t
	c.readSet, c.writeSet = time.Time{}, time.Time{} // the handshake had its own
	c.in.attach(t)
	c.helo, c.xforward, c.trusted, c.login = "", nil, false, ""
	c.event("tls", "")
	return nil
}
