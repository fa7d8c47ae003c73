package esmtp

import "strconv"

// A server says the same few things again and again. They are kept, so that hearing them once more
// costs no memory.
const (
	maxKnown      = 6  // more than a message has commands
	maxKnownReply = 64 // octets
)

// knownReply is a reply of one line that was read before.
type knownReply struct {
	wire  string // with its CRLF
	reply Reply
}

// readReply is [ReadReply] with its memory for what it knows.
func (c *Client) readReply() (Reply, error) {
	if _, err := c.br.Peek(1); err != nil {
		return Reply{}, err
	}
	if r, ok := c.recognise(); ok {
		return r, nil
	}
	r, err := ReadReply(c.br)
	if err == nil && len(r.Lines) == 1 && len(r.Lines[0]) <= maxKnownReply {
		c.remember(r)
	}
	return r, err
}

// recognise takes a reply that has been read from the connection already, if it is one of those.
func (c *Client) recognise() (Reply, bool) {
	n := c.br.Buffered()
	if n == 0 {
		return Reply{}, false
	}
	waiting, err := c.br.Peek(n)
	if err != nil {
		return Reply{}, false
	}
	for i := range c.known {
		k := &c.known[i]
		if len(waiting) < len(k.wire) || string(waiting[:len(k.wire)]) != k.wire {
			continue
		}
		if _, err := c.br.Discard(len(k.wire)); err != nil {
			return Reply{}, false
		}
		if i > 0 { // the one heard last is the first
			heard := *k
			copy(c.known[1:i+1], c.known[:i])
			c.known[0] = heard
		}
		return c.known[0].reply, true
	}
	return Reply{}, false
}

// heard counts a reply.
func (c *Client) heard(r Reply) Reply {
	c.sent--
	c.leaving = c.leaving || r.Code == 421
	return r
}

// remember keeps a reply in the place of the one that was not heard for the longest time.
func (c *Client) remember(r Reply) {
	if len(c.known) < maxKnown {
		c.known = append(c.known, knownReply{})
	}
	copy(c.known[1:], c.known)
	c.known[0] = knownReply{strconv.Itoa(r.Code) + " " + r.Lines[0] + "\r\n", r}
}
