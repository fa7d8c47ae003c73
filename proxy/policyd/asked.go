package policyd

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// asked is what a message was asked about. Postfix asks it again when the answer has not come
// through: after a second, over another connection (attr_clnt(3)). It asks it again over the same
// connection for another list of restrictions, or because its client repeats itself. Each time it
// gets the same answer, and the recipient is decided, counted and told to the hooks once.
type asked struct {
	pending *question // nil: Postfix was told
	refusal string    // the answer that refuses; "" if it passes
	field   int       // of transaction.fields, from 1, that the answer adds; 0: none
	to      *link     // whom it went to
}

// question is a recipient that Postfix waits to be told of, over one connection or more.
type question struct {
	decision policy.Decision
	result   verify.Result // of decision, where that took no wait
	done     chan struct{} // closed when decision is set; nil: it is
}

// maxAsked is how much of one message is remembered: Postfix takes 1000 recipients by default
// (smtpd_recipient_limit).
const maxAsked = 1001

// link is what is remembered of a connection when it has closed.
type link struct {
	once   sync.Once
	closed chan struct{}
}

func (l *link) leave() { l.once.Do(func() { close(l.closed) }) }

// closeTime is how long a connection whose answer is asked for again, over another, may take to
// close: Postfix closes it just before.
const closeTime = 20 * time.Millisecond

// keyOfData is the key of DATA among the recipients, which have greater ones.
const keyOfData = 0

// keyOfRecipient is the key of a recipient in its message.
func keyOfRecipient(seed maphash.Seed, r *request) uint64 {
	return max(maphash.Bytes(seed, r.value(attrRecipient)), keyOfData+1)
}

// find tells where a key is.
func (tx *transaction) find(key uint64) (place int, ok bool) {
	place = slices.Index(tx.keys, key)
	return place, place >= 0
}

// add remembers what was asked. The place is -1 where that is not to be: nothing is asked again of a
// message without a name.
func (tx *transaction) add(key uint64, a asked) (place int) {
	if tx.key == 0 || len(tx.asked) >= maxAsked {
		return -1
	}
	tx.keys, tx.asked = append(tx.keys, key), append(tx.asked, a)
	return len(tx.asked) - 1
}

// ask has the recipient c.to decided, or finds its answer.
func (c *conn) ask(tx *transaction, key uint64) {
	w, kind := c.look(tx, key)
	if kind != "" {
		c.report(tx, &c.decision, kind)
		return
	}
	c.say(w)
}

// look finds a recipient among those of its message, or begins with it. The kind is that of its
// answer if that took no wait and was the next.
func (c *conn) look(tx *transaction, key uint64) (w *waiting, kind Answer) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if place, ok := tx.find(key); ok {
		w = &waiting{tx: tx, place: place, q: tx.asked[place].pending}
		if w.q != nil {
			w.done = w.q.done
		} else {
			w.done = tx.asked[place].inDoubt(c.link)
		}
		return w, ""
	}
	engine, next := tx.st.policy, len(c.queue) == 0
	if next && engine.Now(&tx.decide, &c.to, &c.decision, &c.result) {
		return nil, c.settle(tx, tx.add(key, asked{}), &c.decision)
	}
	q, rcpt := new(question), c.to
	if next || !engine.Now(&tx.decide, &rcpt, &q.decision, &q.result) {
		q.done = make(chan struct{})
		go c.decide(tx, q, rcpt)
	}
	return &waiting{tx: tx, place: tx.add(key, asked{pending: q}), q: q, done: q.done}, ""
}

// decide waits for the verdict.
func (c *conn) decide(tx *transaction, q *question, rcpt esmtp.Rcpt) {
	defer close(q.done)
	defer func() {
		if p := recover(); p != nil { // the recipient passes, and the gate goes on
			c.srv.panicked(c.id, p)
			q.decision = policy.Decision{}
		}
	}()
	q.decision = tx.st.policy.Rcpt(c.ctx, &tx.decide, rcpt)
}

// tell answers a recipient that is decided. It is told elsewhere only if it was not.
func (c *conn) tell(w *waiting) {
	if kind := c.settlePending(w); kind != "" {
		c.report(w.tx, &w.q.decision, kind)
	}
}

// settlePending is settle for the first who comes; "" is for all others.
func (c *conn) settlePending(w *waiting) Answer {
	tx := w.tx
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if w.place >= 0 {
		if tx.asked[w.place].pending == nil {
			c.out = tx.repeat(c.out, w.place, c.link)
			return ""
		}
		tx.asked[w.place].pending = nil
	}
	return c.settle(tx, w.place, &w.q.decision)
}

// settle counts a decision and appends its answer.
func (c *conn) settle(tx *transaction, place int, d *policy.Decision) (kind Answer) {
	tx.count(d, c.srv.ends.Load() && tx.st.cfg.Hooks.Relayed != nil)
	begin := len(c.out)
	passes := d.Action == policy.Accept && d.Shadow == policy.Continue || d.Action == policy.Continue
	if passes {
		c.out, kind = tx.proceed(c.out)
	} else {
		c.out, kind = appendRefusal(c.out, &tx.decide, d)
	}
	if place < 0 {
		return kind
	}
	a := &tx.asked[place]
	a.to = c.link
	switch {
	case !passes:
		a.refusal = string(c.out[begin:])
	case kind == Prepend:
		a.field = tx.added
	}
	return kind
}

// report tells of a decision.
func (c *conn) report(tx *transaction, d *policy.Decision, kind Answer) {
	if d.Action == policy.Continue { // a fault of ours, which was told
		return
	}
	if hook := tx.st.cfg.Hooks.Recipient; hook != nil {
		hook(&tx.decide, d, kind)
	}
	c.logRecipient(tx, d)
}

// repeatAgain is repeat with the lock.
func (tx *transaction) repeatAgain(dst []byte, place int, to *link) []byte {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.repeat(dst, place, to)
}

// data appends the answer to DATA.
func (tx *transaction) data(dst []byte, to *link) []byte {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if place, ok := tx.find(keyOfData); ok {
		return tx.repeat(dst, place, to)
	}
	dst, kind := tx.proceed(dst)
	if kind == Prepend {
		tx.add(keyOfData, asked{field: tx.added, to: to})
	}
	return dst
}

// repeat appends the answer that was given before. A header field is told again if the connection
// that it was told over has closed: Postfix has not heard of it. If it did, it has the field now.
func (tx *transaction) repeat(dst []byte, place int, to *link) []byte {
	a := &tx.asked[place]
	if a.refusal != "" {
		return append(dst, a.refusal...)
	}
	if a.field > 0 && a.to != to && closed(a.to.closed) {
		a.to = to
		return appendPrepend(dst, tx.fields[a.field-1])
	}
	dst, kind := tx.proceed(dst)
	if kind == Prepend {
		a.field, a.to = tx.added, to
	}
	return dst
}

// inDoubt is closed when it is plain whether the answer has to be told again as it was; nil: it is.
func (a *asked) inDoubt(to *link) chan struct{} {
	if a.field == 0 || a.to == to || closed(a.to.closed) {
		return nil
	}
	plain, other := make(chan struct{}), a.to.closed
	go func() {
		defer close(plain)
		limit := time.NewTimer(closeTime)
		defer limit.Stop()
		select {
		case <-other:
		case <-limit.C:
		}
	}()
	return plain
}

// dataInDoubt is inDoubt for the answer to DATA.
func (tx *transaction) dataInDoubt(to *link) chan struct{} {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if place, ok := tx.find(keyOfData); ok {
		return tx.asked[place].inDoubt(to)
	}
	return nil
}

// count notes what was decided; with keep also what was known of the recipient, for Hooks.Relayed.
func (tx *transaction) count(d *policy.Decision, keep bool) {
	switch d.Action {
	case policy.Reject:
		tx.refused++
	case policy.Defer:
		tx.deferred++
	case policy.Accept, policy.Continue:
		tx.accepted++
		for _, field := range d.Headers {
			if len(tx.fields) < maxFields && !slices.Contains(tx.fields, field) {
				tx.fields = append(tx.fields, field)
			}
		}
		if keep && d.Result != nil && len(tx.known) < maxKnown {
			tx.known = append(tx.known, new(*d.Result))
		}
	}
}

// proceed appends the answer that lets the message go on, with the next header field if there is one
// that Postfix has not been told of.
func (tx *transaction) proceed(dst []byte) ([]byte, Answer) {
	if tx.added == len(tx.fields) {
		return append(dst, dunno...), Dunno
	}
	tx.added++
	return appendPrepend(dst, tx.fields[tx.added-1]), Prepend
}
