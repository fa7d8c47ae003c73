package wire

import (
	"errors"
	"net"
	"os"
	"time"
)

// fillBy reads once, until deadline; zero is none. The deadline that the socket has is left as it
// is while it is not a later one: to set one for each read is a good part of the time that a small
// message takes. When it strikes too early it is set anew.
func (c *Conn) fillBy(deadline time.Time) error {
	for {
		if err := c.readBy(deadline); err != nil {
			return err
		}
		err := c.in.fill(c.Conn)
		if err == nil || !isTimeout(err) {
			return err
		}
		c.readSet = time.Time{}
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			return err
		}
	}
}

// readBy sets the deadline where that is needed. The error is a timeout when nothing is to be waited
// for any more; see wake.
func (c *Conn) readBy(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting && c.Draining() {
		return os.ErrDeadlineExceeded
	}
	if !deadline.IsZero() && !c.readSet.IsZero() && !c.readSet.After(deadline) {
		return nil
	}
	c.readSet = deadline
	return c.raw.SetReadDeadline(deadline)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
