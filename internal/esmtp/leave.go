package esmtp

import (
	"errors"
	"net"
	"time"
)

// leaveTimeout bounds the write of a QUIT whose reply nobody waits for. It has room in any socket
// that takes anything at all.
const leaveTimeout = 200 * time.Millisecond

// Leave closes the connection, as Close does, but says QUIT first to a peer that only kept us waiting
// too long for a reply: when it comes back to its commands it finds the conversation ended as the
// protocol wants it (RFC 5321 section 4.1.1.10), not cut off.
func (c *Client) Leave() error {
	var late net.Error
	if errors.As(c.err, &late) && late.Timeout() && len(c.out) == 0 {
		if c.raw.SetDeadline(time.Now().Add(leaveTimeout)) == nil {
			_, _ = c.conn.Write([]byte("QUIT\r\n")) // a courtesy: nothing follows from a failure
		}
	}
	return c.Close()
}
