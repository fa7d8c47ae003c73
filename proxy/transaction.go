package proxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/proxy/wire"
	"github.com/rcptgate/rcptgate/verify"
)

// transaction is one message: from MAIL to the relay's answer.
type transaction struct {
	s       *session
	st      *state // as it was at MAIL
	id      string
	mail    *esmtp.Mail
	decide  policy.Transaction
	up      *relay.Tx
	started time.Time

	queue    []*recipient // from the one in hand on
	line     []*recipient // where queue began, for the next ones
	one      [1]*esmtp.Rcpt
	rooms    []*room      // of all recipients so far
	batch    []*recipient // of forward, for the next one
	cmds     []*esmtp.Rcpt
	waited   int // of queue: those known to be decided
	asked    int // recipients put to the policy, not refused so far
	accepted int
	deferred int              // 4yz
	refused  int              // 5yz
	known    []*verify.Result // of accepted recipients, for Hooks.Relayed
	done     bool

	marks, headers []string            // of the rules, for the message
	checked        []message.Recipient // those accepted, if messages are checked

	log      slog.Handler // with what all lines of the transaction have; nil before the first
	answered time.Time    // when the recipients that were answered last were
}

// recipient is one RCPT on its way: decided, then passed on, then answered.
type recipient struct {
	cmd      *esmtp.Rcpt
	decided  chan struct{} // closed when decision is set
	decision policy.Decision
	result   verify.Result // of decision, where that took no wait
	reply    esmtp.Reply   // the client's; zero until it is known
	relayed  bool
	relayErr error
	room     *room // where it is
}

// room is where some recipients of a transaction are. Rooms are used again: with what is known of
// it, a recipient takes most of the memory that a message takes.
type room struct {
	taken    int
	answered int
	needed   bool // for the message: one of them was accepted
	list     [8]recipient
}

var roomPool = sync.Pool{New: func() any { return new(room) }}

// place is a zero recipient.
func (t *transaction) place() *recipient {
	n := len(t.rooms)
	if n == 0 || t.rooms[n-1].taken == len(t.rooms[n-1].list) {
		t.rooms = append(t.rooms, roomPool.Get().(*room)) //nolint:forcetypeassert // the pool holds nothing else
		n++
	}
	last := t.rooms[n-1]
	r := &last.list[last.taken]
	last.taken++
	r.room = last
	return r
}

// leave notes that a recipient was answered. A room that nothing of is needed for the message is
// given back, because there is no limit to the recipients that a client may have refused.
func (t *transaction) leave(r *recipient) {
	in := r.room
	in.answered++
	in.needed = in.needed || r.reply.Positive()
	if in.needed || in.answered < len(in.list) {
		return
	}
	for i, other := range slices.Backward(t.rooms) { // it is one of the last
		if other == in {
			t.rooms = slices.Delete(t.rooms, i, i+1)
			in.vacate()
			return
		}
	}
}

func (r *room) vacate() {
	clear(r.list[:r.taken])
	r.taken, r.answered, r.needed = 0, 0, false
	roomPool.Put(r)
}

// vacate gives the rooms back, unless a recipient was not answered: it may still be being decided.
func (t *transaction) vacate() {
	rooms := t.rooms
	t.rooms, t.known = nil, nil
	if len(t.queue) > 0 {
		return
	}
	for _, r := range rooms {
		r.vacate()
	}
}

// alreadyDecided is for recipients that need no wait. Never sent to.
var alreadyDecided = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// answer is the reply to the RCPT in hand.
func (t *transaction) answer(cmd *esmtp.Rcpt) esmtp.Reply {
	if len(t.queue) == 0 || t.queue[0].cmd != cmd {
		t.answered = time.Now()
		t.ask(append(t.one[:0], cmd))
	}
	if more := t.s.conn.Upcoming(); len(more) > 0 {
		t.ask(more)
	}
	// Those that came together are waited for together. Each has the same budget and they
	// started at the same time, so this takes no longer than one of them may.
	for group := len(t.queue); t.waited < group; t.waited++ {
		decided := t.queue[t.waited].decided
		if t.s.conn.Await(decided, t.ask); decided != alreadyDecided {
			t.answered = time.Now()
		}
	}
	if t.queue[0].reply.IsZero() {
		t.forward()
		t.answered = time.Now()
	}
	r := t.queue[0]
	if t.queue = t.queue[1:]; len(t.queue) == 0 {
		t.queue = t.line[:0]
	}
	t.waited--
	t.count(r)
	t.logRecipient(r)
	reply := r.reply
	t.leave(r)
	return reply
}

// ask has recipients decided, side by side.
func (t *transaction) ask(cmds []*esmtp.Rcpt) {
	if len(t.queue) == 0 {
		t.queue = slices.Grow(t.line[:0], len(cmds))
		t.line = t.queue
	}
	batch := t.st.policy.Batch(&t.decide)
	defer batch.End()
	for _, cmd := range cmds {
		r := t.place()
		r.cmd, r.decided = cmd, alreadyDecided
		t.queue = append(t.queue, r)
		if limit := t.st.cfg.MaxRecipients; limit > 0 && t.asked >= limit {
			r.reply, r.decision.Recipient = tooMany, cmd.To
			continue
		}
		t.asked++
		if !batch.Now(cmd, &r.decision, &r.result) {
			t.find(r)
		}
	}
}

// find has the recipient decided beside the session.
func (t *transaction) find(r *recipient) {
	decided := make(chan struct{})
	r.decided = decided
	go func() {
		defer close(decided)
		defer func() {
			if p := recover(); p != nil { // not knowing is no refusal: the relay decides
				t.s.conn.Fault(p)
				r.decision = policy.Decision{Recipient: r.cmd.To, Action: policy.Accept}
			}
		}()
		r.decision = t.st.policy.Rcpt(context.Background(), &t.decide, *r.cmd)
	}()
}

// forward gives the recipient in hand its reply: the policy's refusal, or the relay's
// answer. The accepted ones behind it that are decided too go to the relay in the same
// write, as far as the order allows.
func (t *transaction) forward() {
	batch, cmds := t.batch[:0], t.cmds[:0]
	if cap(batch) < len(t.queue) {
		batch, cmds = make([]*recipient, 0, len(t.queue)), make([]*esmtp.Rcpt, 0, len(t.queue))
		t.batch, t.cmds = batch, cmds
	}
	for _, r := range t.queue {
		if !isClosed(r.decided) {
			break
		}
		switch {
		case !r.reply.IsZero():
		case r.decision.Action != policy.Accept:
			r.reply = r.decision.Reply
		default:
			batch = append(batch, r)
			cmds = append(cmds, r.cmd)
		}
	}
	if len(batch) == 0 || t.queue[0] != batch[0] {
		return // the one in hand was refused; the others wait for their turn
	}
	replies, err := t.up.Rcpt(context.Background(), cmds)
	for i, r := range batch {
		r.relayed = true
		if err != nil {
			r.reply, r.relayErr = err.Reply, err
			continue
		}
		r.reply = replies[i]
		if r.reply.Code == 421 {
			r.reply.Code = 451 // the relay's connection ends, not the client's
		}
	}
}

func (t *transaction) count(r *recipient) {
	switch {
	case r.reply.Positive():
		t.accepted++
		t.collect(r)
		if r.decision.Result != nil && t.st.cfg.Hooks.Relayed != nil {
			if t.known == nil {
				t.known = make([]*verify.Result, 0, len(t.queue)+1)
			}
			t.known = append(t.known, r.decision.Result)
		}
	case r.reply.Permanent():
		t.refused++
		t.asked--
	default:
		t.deferred++
		if !r.reply.IsZero() && r.decision.Action != policy.Continue {
			t.asked--
		}
	}
}

// message takes the message and returns the reply to its end, or to a refused DATA.
func (t *transaction) message() esmtp.Reply {
	ctx := context.Background()
	m := &messageLog{start: time.Now(), upstream: t.up.Upstream()}
	defer t.logMessage(m)
	r, err := t.up.Data(ctx)
	if err != nil {
		return m.failed(err)
	}
	if r.Code != 354 {
		m.judge(r)
		return m.answered(r)
	}
	if err := t.s.conn.BeginBody(); err != nil {
		return m.lost(err)
	}
	if readErr := t.body(ctx, m); readErr != nil {
		return t.notTaken(m, readErr)
	}
	if t.judged(m) {
		t.up.Abort()
		return m.answered(m.report.Reply)
	}
	r, err = t.up.Finish(ctx)
	t.done = true
	if err != nil {
		return m.failed(err)
	}
	m.judge(r)
	return m.answered(r)
}

// body passes the message on, but for its end where it is checked: that waits for the report.
func (t *transaction) body(ctx context.Context, m *messageLog) error {
	check := t.check()
	defer check.Close()
	begun := false
	size, err := t.s.conn.ReadBody(func(p []byte, last bool) error {
		if !begun {
			begun = true
			if top := t.added(p); top != nil {
				if err := t.up.Write(ctx, top); err != nil {
					return err
				}
			}
		}
		if check != nil {
			check.Write(p)
		} else if last {
			return t.up.WriteLast(ctx, p)
		}
		return t.up.Write(ctx, p)
	})
	m.size, m.received = size, time.Now()
	if err == nil && check != nil {
		m.report = check.Finish(ctx)
		m.received = time.Now() // what the relay's time counts from
	}
	return err
}

// notTaken is the answer to a message that was not passed on whole. The relay gets no end
// of data: its connection is closed.
func (t *transaction) notTaken(m *messageLog, err error) esmtp.Reply {
	t.up.Abort()
	var sink *wire.SinkError
	var failure *relay.Error
	switch {
	case errors.Is(err, wire.ErrBare):
		m.outcome = BadContent
		return m.answered(esmtp.NewReply(550, esmtp.EnhancedCode{5, 5, 2},
			"Bare CR, bare LF or NUL in the message; lines end with CR LF"))
	case errors.Is(err, wire.ErrTooBig):
		m.outcome = TooBig
		return m.answered(esmtp.NewReply(552, esmtp.EnhancedCode{5, 3, 4},
			"Message size exceeds the limit"))
	case errors.As(err, &sink) && errors.As(sink.Err, &failure):
		return m.failed(failure)
	}
	return m.lost(err)
}

// end forgets the transaction. An open one at the relay is reset, without waiting.
func (t *transaction) end() {
	if !t.done {
		t.done = true
		t.up.Abort()
	}
	t.vacate()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// queueID finds the relay's name for the message in its reply, "" if it says none: Postfix
// and many others write "queued as ID", Exim "OK id=ID".
func queueID(r esmtp.Reply) string {
	text := r.Text()
	for _, mark := range []string{"queued as ", "OK id="} {
		if _, rest, ok := strings.Cut(text, mark); ok {
			id, _, _ := strings.Cut(rest, " ")
			id, _, _ = strings.Cut(id, "\n")
			return string(esmtp.AppendEscaped(nil, id, false))
		}
	}
	return ""
}
