package policyd

import (
	"errors"
	"net"
	"time"
)

// flush writes the answers.
func (c *conn) flush() bool {
	if c.lost {
		c.out = nil
	}
	if len(c.out) == 0 {
		return true
	}
	now := time.Now()
	if c.writeUntil.Sub(now) < slowTime/2 {
		c.writeUntil = now.Add(slowTime)
		_ = c.raw.SetWriteDeadline(c.writeUntil)
	}
	_, err := c.io.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > maxOut {
		c.out = nil
	}
	return err == nil
}

// fill reads once, when there is nothing else to do. It reports whether that brought something.
func (c *conn) fill() bool {
	room := c.in.room()
	for {
		draining, err := c.readDeadline()
		if err != nil {
			return false
		}
		n, err := c.io.Read(room)
		c.in.added(n)
		switch {
		case n > 0:
			c.ended = err != nil
			return true
		case isTimeout(err) && time.Now().Before(c.readUntil):
			c.readUntil = time.Time{} // Shutdown woke it up: one more look
		case isTimeout(err) && !draining:
			c.srv.event("timeout")
			return false
		default:
			return false
		}
	}
}

// readDeadline sets the deadline where that is needed: to set one for each read is a good part of the
// time that a request takes.
func (c *conn) readDeadline() (draining bool, err error) {
	now, idle := time.Now(), c.srv.state.Load().idle
	begun := c.in.pending()
	left := c.readUntil.Sub(now)
	switch {
	case c.srv.draining.Load():
		return true, c.readBy(now.Add(drainTime))
	case begun && c.begun && left > 0:
		return false, nil
	case begun:
		err = c.readBy(now.Add(slowTime))
	case !c.begun && left > idle-idle/16 && left <= idle:
		return false, nil
	default:
		err = c.readBy(now.Add(idle))
	}
	c.begun = begun
	if err == nil && c.srv.draining.Load() { // perhaps this has undone what woke it up
		return true, c.readBy(now.Add(drainTime))
	}
	return false, err
}

func (c *conn) readBy(deadline time.Time) error {
	c.readUntil = deadline
	return c.raw.SetReadDeadline(deadline)
}

// await waits until done is closed. Meanwhile it reads what else comes.
func (c *conn) await(done <-chan struct{}) {
	room := c.in.room()
	if c.ended || len(room) == 0 {
		<-done
		return
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-done:
			_ = c.raw.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	// Whoever closes done sets the deadline behind that, so either the look at done tells, or the
	// deadline that is set here does not last.
	for c.readBy(time.Time{}) == nil && !closed(done) {
		n, err := c.io.Read(room)
		c.in.added(n)
		if c.ended = err != nil && !isTimeout(err); c.ended {
			c.left()
		}
		if n > 0 || c.ended {
			break
		}
	}
	close(stop)
	<-stopped
	c.readUntil = time.Time{}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
