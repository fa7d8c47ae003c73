package esmtp

import (
	"errors"
	"net"
	"time"
)

// leaveTimeout bounds the write of a QUIT whose reply nobody waits for. It has room in any socket
// that takes anything at all.
const leaveTimeout = 200 * time.Millisecond

// Farewell says QUIT to a peer that only kept us waiting too long for a reply, and nothing to any
// other: when it comes back to its commands it finds the conversation ended as the protocol wants it
// (RFC 5321 section 4.1.1.10). It reports whether that was sent. The client stays dead.
func (c *Client) Farewell() bool {
	var late net.Error
	if !errors.As(c.err, &late) || !late.Timeout() || len(c.out) > 0 {
		return false
	}
	if c.raw.SetDeadline(time.Now().Add(leaveTimeout)) != nil {
		return false
	}
	_, err := c.conn.Write([]byte("QUIT\r\n")) // a courtesy: nothing follows from a failure
	return err == nil
}

// Leave is Farewell and Close.
func (c *Client) Leave() error {
	_ = c.Farewell()
	return c.Close()
}
