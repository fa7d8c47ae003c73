package policyd

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	// slowTime is what a request may take from its first octet to its last, and a client to take its
	// answers.
	slowTime = 30 * time.Second
	// drainTime is how long a connection is looked at for a request that is on its way, when the
	// server stops.
	drainTime = 50 * time.Millisecond

	maxAhead  = 100      // requests of a connection that wait for a verdict
	maxOut    = 32 << 10 // octets of answers that are written together
	maxFaults = 10       // faults of a connection that are logged
	// maxLost is how many connections of clients that have gone may go on with what these asked.
	maxLost = 100
)

// conn is one connection of a Postfix process. It belongs to one goroutine, serve.
type conn struct {
	srv  *Server
	io   net.Conn // reads and writes raw
	raw  net.Conn // to set deadlines and to close, which others do too
	peer netip.Addr
	id   string
	n    int // transactions so far

	in  input
	out []byte // answers

	link *link // tells others when the client has gone
	lost bool  // it takes no answers any more

	cur    *transaction // the message that it was asked about last
	queue  []*waiting   // requests without an answer, in order
	faults int

	req      request // the one in hand, and what becomes of it where that takes no wait
	to       esmtp.Rcpt
	decision policy.Decision
	result   verify.Result

	ctx  context.Context // ends the waits
	gone context.CancelFunc

	readUntil, writeUntil time.Time // the deadlines that are set; zero: unknown or none
	begun                 bool      // readUntil is that of a request that has begun
	ended                 bool      // nothing more comes
}

// waiting is a request that has no answer yet.
type waiting struct {
	tx    *transaction
	place int           // of tx.asked; -1: it is not remembered
	q     *question     // nil: Postfix was told before, or there is nothing to decide
	done  chan struct{} // closed when there is an answer; nil: there is
	data  bool          // it asks about DATA
	ready string        // the answer, if it asks about no message
}

// serve answers requests until the client closes, breaks a limit, or the server stops. What a client
// that has gone did ask is decided all the same: see asked.
func (c *conn) serve() {
	defer c.close()
	for {
		more := c.take()
		c.reply()
		switch {
		case !c.flush():
			c.ended, c.lost = true, true
			c.left()
		case more && len(c.queue) < maxAhead:
		case len(c.queue) > 0:
			c.await(c.queue[0].done)
		case c.ended || !c.fill():
			return
		}
	}
}

// left notes that the client has gone.
func (c *conn) left() {
	if c.link.leave(); len(c.queue) > 0 && !c.srv.lose(c) {
		c.gone()
	}
}

func (c *conn) close() {
	if p := recover(); p != nil { // a fault of ours costs one connection, not the gate
		c.srv.panicked(c.id, p)
	}
	c.gone()
	c.link.leave()
	_ = c.raw.Close()
	if c.cur != nil && c.cur.key != 0 {
		c.srv.table.orphan(c.cur, c)
	}
	if c.faults > maxFaults {
		c.srv.log.Warn("policy requests", "session", c.id, "client", c.peer.String(),
			"problem", "more that could not be understood", "requests", c.faults-maxFaults)
	}
	c.srv.forget(c)
}

// take has the requests decided that have arrived. It reports whether it stopped for want of room.
func (c *conn) take() (more bool) {
	for !c.lost && len(c.queue) < maxAhead && len(c.out) < maxOut {
		b, tooBig, ok := c.in.next()
		if !ok {
			return false
		}
		f := faultTooBig
		if !tooBig {
			f = c.req.parse(b)
		}
		if f != "" {
			c.malformed(f)
		} else {
			c.request(&c.req)
		}
	}
	return !c.lost
}

// request deals with one request.
func (c *conn) request(r *request) {
	switch string(r.value(attrState)) {
	case "RCPT":
		c.rcpt(r)
	case "DATA":
		c.srv.request("data")
		if tx := c.find(r); tx != nil {
			c.say(&waiting{tx: tx, place: -1, data: true, done: tx.dataInDoubt(c.link)})
		} else {
			c.plain(dunno)
		}
	case "END-OF-MESSAGE":
		c.srv.request("end_of_message")
		c.srv.ends.Store(true)
		if c.srv.table.over(keyOf(c.srv.seed, c.peer, r)) {
			c.message(c.transaction(r), r)
		}
		c.plain(dunno)
	default:
		c.srv.request("other")
		c.plain(dunno)
	}
}

// rcpt has a recipient decided.
func (c *conn) rcpt(r *request) {
	if len(r.value(attrRecipient)) == 0 {
		c.malformed(faultNoRcpt)
		return
	}
	tx := c.transaction(r)
	if tx.fault != "" {
		c.malformed(tx.fault)
		return
	}
	var ok bool
	if c.to, ok = parseRecipient(string(r.value(attrRecipient))); !ok {
		c.malformed(faultRecipient)
		return
	}
	c.srv.request("rcpt")
	c.ask(tx, keyOfRecipient(c.srv.seed, r))
}

// find is the transaction of a request, nil if it has none yet.
func (c *conn) find(r *request) *transaction {
	key := keyOf(c.srv.seed, c.peer, r)
	switch {
	case key == 0:
		return nil
	case c.cur != nil && c.cur.key == key && !c.cur.over.Load():
		return c.cur
	}
	tx := c.srv.table.take(key, c)
	if tx != nil {
		c.turn(tx)
	}
	return tx
}

// transaction is find, or begins one.
func (c *conn) transaction(r *request) *transaction {
	if tx := c.find(r); tx != nil {
		return tx
	}
	tx := c.begin(r, keyOf(c.srv.seed, c.peer, r))
	if tx.key != 0 {
		tx = c.srv.table.put(tx, c)
	}
	c.turn(tx)
	return tx
}

// turn makes tx the message in hand. The one before has ended.
func (c *conn) turn(tx *transaction) {
	if old := c.cur; old != nil && c.srv.table.end(old, c) {
		c.finish(old)
	}
	c.cur = tx
}

// plain answers without a decision.
func (c *conn) plain(answer string) {
	if len(c.queue) == 0 {
		c.out = append(c.out, answer...)
		return
	}
	c.queue = append(c.queue, &waiting{ready: answer})
}

// say answers a request that needs no decision but may add a header field.
func (c *conn) say(w *waiting) {
	if len(c.queue) > 0 || w.done != nil {
		c.queue = append(c.queue, w)
		return
	}
	c.answer(w)
}

// malformed answers a request that cannot be understood.
func (c *conn) malformed(f fault) {
	c.srv.request("malformed")
	answer := dunno
	if c.srv.state.Load().cfg.DeferMalformed {
		answer = "action=DEFER_IF_PERMIT 4.3.0 The policy server does not understand the request\n\n"
	}
	if c.faults++; c.faults <= maxFaults {
		c.logFault(f)
	}
	c.plain(answer)
}

// reply answers the requests at the head of the queue that are decided.
func (c *conn) reply() {
	n := 0
	for ; n < len(c.queue) && len(c.out) < maxOut; n++ {
		w := c.queue[n]
		if w.done != nil && !closed(w.done) {
			break
		}
		c.answer(w)
	}
	clear(c.queue[:n])
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
}

func (c *conn) answer(w *waiting) {
	switch {
	case w.ready != "":
		c.out = append(c.out, w.ready...)
	case w.data:
		c.out = w.tx.data(c.out, c.link)
	case w.q == nil:
		c.out = w.tx.repeatAgain(c.out, w.place, c.link)
	default:
		c.tell(w)
	}
}

// remoteAddr is the address of a client. A unix socket counts as 127.0.0.1: only processes of this
// machine reach it.
func remoteAddr(a net.Addr) (addr netip.Addr, local bool) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone(""), false
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
}
