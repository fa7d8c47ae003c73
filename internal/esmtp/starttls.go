package esmtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
)

// TLSError says that the TLS handshake behind a positive reply to STARTTLS failed. The connection is
// lost; the peer may do better on a new one without STARTTLS.
type TLSError struct{ Err error }

// Error implements error.
func (e *TLSError) Error() string { return fmt.Sprintf("TLS handshake: %v", e.Err) }

// Unwrap returns what crypto/tls said.
func (e *TLSError) Unwrap() error { return e.Err }

// StartTLS sends STARTTLS (RFC 3207) and, behind a 220, shakes hands with config, which must name the
// server or skip the check of its certificate. Any other reply leaves the client as it was. The
// extensions are forgotten: say Hello again. A failed handshake is a [*TLSError]. Octets that wait
// behind the 220 are a [*ProtocolError]: they came in plaintext from who knows whom.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) (Reply, error) {
	r, err := c.command(ctx, "STARTTLS")
	if err != nil || r.Code != 220 {
		return r, err
	}
	if err := c.inStep(); err != nil {
		return r, c.fail(err)
	}
	return r, c.handshake(ctx, "STARTTLS", config)
}

// Handshake makes a new connection a TLS one before the greeting is read, for a server that begins
// with TLS (RFC 8314 section 3.3). A failed handshake is a [*TLSError].
func (c *Client) Handshake(ctx context.Context, config *tls.Config) error {
	if c.err != nil {
		return c.err
	}
	return c.handshake(ctx, "connection", config)
}

func (c *Client) handshake(ctx context.Context, what string, config *tls.Config) error {
	done := c.begin(ctx)
	defer done()
	if c.err != nil {
		return c.err
	}
	under := &underTLS{Conn: c.raw, glance: c.glance}
	conn := tls.Client(under, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return c.fail(&TLSError{Err: c.broken(ctx, what, err)})
	}
	c.conn, c.br, c.under = conn, bufio.NewReader(conn), under
	c.ext = nil
	return nil
}
