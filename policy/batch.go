package policy

import (
	"context"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// Batch decides recipients of one transaction that are there together, as far as that needs no
// wait. What their sender's counters are to know of them is counted at once, in End. It belongs to
// one goroutine; recipients that need a wait may be decided beside it.
type Batch struct {
	walk    walk
	counts  senders.Together
	at      time.Time // when it began
	message bool      // a recipient of the message has passed
}

// Batch begins with recipients of tx. End must follow.
func (e *Engine) Batch(tx *Transaction) *Batch {
	b, _ := e.batches.Get().(*Batch)
	if b == nil {
		b = new(Batch)
	}
	b.at = time.Now()
	b.walk.engine, b.walk.tx = e, tx
	if e.senders != nil {
		e.senders.Begin(&b.counts, tx.identity(), b.at)
		b.message = tx.messageCounted()
	}
	return b
}

// Now decides like Rcpt, but only if that needs no wait: ok is false when a rule needs a verdict
// that has to be found out, and Rcpt is to be called instead. The decision goes to d, and what the
// verifier said, to which d then points, to result: both are the caller's, who may use them again.
func (b *Batch) Now(rcpt *esmtp.Rcpt, d *Decision, result *verify.Result) (ok bool) {
	e, w := b.walk.engine, &b.walk
	*w = walk{
		engine: e, ctx: context.Background(), verifier: e.verifier, tx: w.tx, rcpt: rcpt,
		batch: b, room: result,
	}
	e.run(w, d)
	return !w.stuck
}

// End counts what was decided. The Batch must not be used after it.
func (b *Batch) End() {
	e := b.walk.engine
	b.settle()
	b.walk, b.message = walk{}, false
	e.batches.Put(b)
}

// settle has the sender's counters know all that was decided.
func (b *Batch) settle() {
	b.counts.Settle()
	if b.message {
		b.walk.tx.messagePassed()
	}
}

// take counts the recipient of the walk, or says why it must wait.
func (b *Batch) take() senders.Hold {
	w := &b.walk
	hold := b.counts.Take(!b.message)
	if hold.KnownOnly && w.engine.isKnownGood(w) {
		hold = w.engine.senders.TakeKnown(w.tx.identity(), !b.message, b.at)
	}
	if hold.Kind == senders.Free {
		b.message, w.counted = true, true
	}
	return hold
}

// Now is a Batch of one.
func (e *Engine) Now(
	tx *Transaction, rcpt *esmtp.Rcpt, d *Decision, result *verify.Result,
) (ok bool) {
	b := e.Batch(tx)
	defer b.End()
	return b.Now(rcpt, d, result)
}

// unfinished keeps in mind that a Batch has counted a recipient that it could not decide: Rcpt does
// not count it again.
func (w *walk) unfinished() {
	if !w.counted {
		return
	}
	w.tx.count.Lock()
	defer w.tx.count.Unlock()
	w.tx.count.taken = append(w.tx.count.taken, w.rcpt.To)
}

// wasCounted reports whether a Batch has counted the recipient, once.
func (c *counted) wasCounted(rcpt esmtp.Address) bool {
	i := slices.Index(c.taken, rcpt)
	if i < 0 {
		return false
	}
	c.taken = slices.Delete(c.taken, i, i+1)
	return true
}
