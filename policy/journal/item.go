package journal

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// item is an entry as it comes: the values, which others do not change any more. What they look
// like is nothing that mail should wait for. Every field is set each time: an item is written where
// an older one was. It is small, because ten thousand of them are kept: what many entries have in
// common is pointed at.
type item struct {
	at      int64    // Unix time in ms
	message *Message // of the end of a message
	*origin

	recipient      esmtp.Address
	reply          esmtp.Reply
	action, shadow policy.Action
	rule, ref      string
	elapsed        int64 // ms
	extra          *extra
	relayed        bool

	result answer // if the verifier was asked
}

// extra is what few entries have.
type extra struct {
	shadowReply    esmtp.Reply
	marks, headers []string
	suppression    *Suppression
	override       *Override
	hold           *Hold
}

// answer is what is told of a verify.Result.
type answer struct {
	*said // nil: the verifier was not asked

	confidence, deliverability uint16 // of tenThousand
	cached                     bool
	reply                      esmtp.Reply
	checked, delivered         int64 // Unix times in ms
	retryAfter                 int64 // seconds
	domain                     *verify.DomainReport
}

func (a *answer) of(s *said, r *verify.Result) {
	a.said = s
	a.confidence, a.deliverability = shareOf(r.Confidence), shareOf(r.Deliverability)
	a.cached, a.reply, a.domain = r.Cached, r.Reply, r.Domain
	a.checked, a.delivered = r.Checked.UnixMilli(), r.Delivered.UnixMilli()
	a.retryAfter = int64(r.RetryAfter / time.Second)
}

// actionOf is what the client was told, where no rule decided.
func actionOf(r esmtp.Reply) policy.Action {
	switch {
	case r.Positive():
		return policy.Accept
	case r.Permanent():
		return policy.Reject
	}
	return policy.Defer
}

// decision sets everything.
func (it *item) decision(
	c *common, at time.Time, tx *policy.Transaction, d *policy.Decision, reply esmtp.Reply,
	relayed bool,
) {
	it.at, it.message, it.origin = at.UnixMilli(), nil, c.origin(tx)
	it.recipient, it.reply, it.relayed = d.Recipient, reply, relayed
	it.action, it.shadow = d.Action, d.Shadow
	if it.action == policy.Continue {
		it.action = actionOf(reply)
	}
	it.rule, it.ref, it.elapsed = d.Rule, d.Ref, d.Elapsed.Milliseconds()
	it.extra = extraOf(d)
	if d.Result != nil {
		it.result.of(c.said(d.Result), d.Result)
	} else if it.result.said != nil {
		it.result = answer{}
	}
}

// end is what decision is for a recipient.
func (it *item) end(c *common, at time.Time, tx *policy.Transaction, m *Message) {
	*it = item{at: at.UnixMilli(), origin: c.origin(tx), reply: m.Reply, ref: m.Ref, message: m}
	if !m.Reply.IsZero() {
		it.action = actionOf(m.Reply)
	}
}

// extraOf copies what few decisions have; nil: nothing.
func extraOf(d *policy.Decision) *extra {
	if d.Shadow == policy.Continue && d.Marks == nil && d.Headers == nil && d.Suppression == nil &&
		d.Override == nil && d.Hold == nil {
		return nil
	}
	x := &extra{shadowReply: d.ShadowReply, marks: d.Marks, headers: d.Headers}
	x.gates(d)
	return x
}

// decided is the action that the rules chose.
func (it *item) decided() policy.Action {
	if it.shadow != policy.Continue {
		return it.shadow
	}
	return it.action
}

// refused is Entry.Refused.
func (it *item) refused() bool {
	action := it.decided()
	return action == policy.Defer || action == policy.Reject ||
		!it.reply.IsZero() && !it.reply.Positive()
}

// formatter makes lines of items. It belongs to one goroutine.
type formatter struct {
	line lineWriter
	redactor
	form *form // of the redactor
	room []byte

	// What the line of the last origin had of it.
	last *origin
	has  []byte
}

// in has lines written in a form from now on.
func (f *formatter) in(how *form) {
	if f.form != how {
		f.form, f.redactor = how, redactor{mode: how.mode, secret: how.secret}
		f.last = nil
	}
}

// format returns the line of an item, with its end. It is valid until the next call.
func (f *formatter) format(it *item) []byte {
	l := &f.line
	l.b = append(l.b[:0], `{"v":1`...)
	l.ms("time", it.at)
	kind := KindRecipient
	if it.message != nil {
		kind = KindMessage
	}
	l.text("kind", string(kind))
	f.about(it.recipient, it.sender)
	f.from(it.origin)
	if it.message != nil {
		f.message(it)
	} else {
		f.decision(it)
	}
	l.b = append(l.b, '}', '\n')
	return l.b
}

// from writes what all lines of a transaction have, which mostly follow each other.
func (f *formatter) from(o *origin) {
	l := &f.line
	if f.last == o {
		l.b = append(l.b, f.has...)
		return
	}
	before := len(l.b)
	l.text("door", o.door)
	l.text("session", o.session)
	l.text("transaction", o.id)
	if o.addr.IsValid() {
		var room [len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]byte
		l.octets("client", netip.Addr.AppendTo(o.addr.Unmap().WithZone(""), room[:0]))
	}
	l.text("client_name", o.name)
	l.text("helo", o.helo)
	l.text("login", f.login(o.login))
	f.address("sender", o.sender)
	f.last, f.has = o, append(f.has[:0], l.b[before:]...)
}

func (f *formatter) address(key string, a esmtp.Address) {
	f.room = f.appendAddress(f.room[:0], a)
	f.line.octets(key, f.room)
}

// reply is a reply of anybody, without the addresses that the entry is about.
func (f *formatter) reply(key string, r esmtp.Reply) {
	if r.IsZero() {
		return
	}
	if len(r.Lines) == 1 && r.Lines[0] != "" && len(r.Lines[0]) < maxShort && isPlain(r.Lines[0]) {
		f.room = strconv.AppendInt(f.room[:0], int64(r.Code), 10) // as Reply.String
		f.room = append(append(f.room, ' '), r.Lines[0]...)
		if f.leaves(f.room) {
			f.line.plain(key, f.room)
			return
		}
	}
	f.line.text(key, f.words(r.String()))
}

func (f *formatter) decision(it *item) {
	l := &f.line
	if !it.recipient.IsNull() {
		f.address("recipient", it.recipient)
	}
	l.text("action", it.action.String())
	if it.shadow != policy.Continue {
		l.text("shadow", it.shadow.String())
	}
	l.text("rule", it.rule)
	l.text("ref", it.ref)
	f.reply("reply", it.reply)
	x := it.extra
	if x != nil {
		f.reply("shadow_reply", x.shadowReply)
	}
	l.flag("relayed", it.relayed)
	if x != nil {
		f.list("marks", x.marks, maxMarks, maxName)
		f.list("headers", x.headers, maxHeader, maxText)
		f.gates(x)
	}
	if it.result.said != nil {
		f.result(&it.result)
	}
	l.number("wait_ms", it.elapsed)
}

// list writes at most n texts.
func (f *formatter) list(name string, values []string, n, limit int) {
	if len(values) == 0 {
		return
	}
	l := &f.line
	l.key(name)
	l.b = append(l.b, '[')
	for i, value := range values[:min(n, len(values))] {
		if i > 0 {
			l.b = append(l.b, ',')
		}
		l.value(f.words(value), limit)
	}
	l.b = append(l.b, ']')
}

func (f *formatter) result(r *answer) {
	l := &f.line
	verdict := r.verdict
	if verdict == "" {
		verdict = verify.Unknown
	}
	l.text("verdict", string(verdict))
	l.text("reason", string(r.reason))
	l.share("confidence", r.confidence)
	l.share("deliverability", r.deliverability)
	l.flag("proof", r.proof)
	l.text("provider", r.provider)
	l.text("mx", r.mx)
	l.text("stage", string(r.stage))
	f.reply("mx_reply", r.reply)
	l.text("label", string(r.label))
	l.flag("catch_all", r.catchAll)
	l.flag("cached", r.cached)
	l.ms("checked", r.checked)
	l.ms("delivered", r.delivered)
	l.number("retry_after_s", r.retryAfter)
	if d := r.domain; d != nil {
		l.open("domain")
		l.share("accepts_all", shareOf(d.AcceptsAll))
		l.number("accepted", int64(d.Accepted))
		l.number("tries", int64(d.Tries))
		l.number("invented", int64(d.Invented))
		l.number("late", int64(d.Late))
		l.number("arrived", int64(d.Arrived))
		l.time("refused", d.Refused)
		l.time("tested", d.Tested)
		l.close()
	}
}

func (f *formatter) message(it *item) {
	l, m := &f.line, it.message
	if it.action != policy.Continue {
		l.text("action", it.action.String())
	}
	l.text("ref", m.Ref)
	f.reply("reply", it.reply)
	l.open("message")
	l.text("outcome", m.Outcome)
	l.number("octets", m.Octets)
	l.number("accepted", int64(m.Accepted))
	l.number("deferred", int64(m.Deferred))
	l.number("refused", int64(m.Refused))
	l.text("relay", m.Relay)
	l.text("queue_id", m.QueueID)
	l.text("error", f.words(m.Error))
	l.text("from_domain", m.FromDomain)
	l.text("check_action", m.Action)
	l.number("check_ms", m.Checking.Milliseconds())
	l.number("total_ms", m.Total.Milliseconds())
	l.number("relay_ms", m.Relaying.Milliseconds())
	if len(m.Findings) > 0 {
		l.key("checks")
		l.b = append(l.b, '[')
		for i := range m.Findings[:min(maxChecks, len(m.Findings))] {
			if i > 0 {
				l.b = append(l.b, ',')
			}
			f.finding(&m.Findings[i])
		}
		l.b = append(l.b, ']')
	}
	l.close()
}

func (f *formatter) finding(found *Finding) {
	l := &f.line
	l.b = append(l.b, '{')
	l.cutText("check", found.Check, maxName)
	l.cutText("level", found.Level, maxName)
	l.cutText("detail", f.words(found.Detail), maxShort)
	l.cutText("reply", f.words(found.Reply.String()), maxShort)
	l.b = append(l.b, '}')
}
