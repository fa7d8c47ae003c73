package journal

import (
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// item is an entry as it comes: the values, which others do not change any more. What they look
// like is nothing that mail should wait for. Every field is set each time: an item is written where
// an older one was.
type item struct {
	at          time.Time
	session, id string
	door        string
	addr        netip.Addr // of the client, as are:
	name, helo  string
	login       string
	sender      esmtp.Address
	reply       esmtp.Reply

	recipient      esmtp.Address
	action, shadow policy.Action
	rule, ref      string
	shadowReply    esmtp.Reply
	marks, headers []string
	suppression    *Suppression
	override       *Override
	hold           *Hold
	relayed        bool
	asked          bool   // the verifier was asked:
	result         answer // zero if it was not
	elapsed        time.Duration
	message        *Message
}

// answer is what is told of a verify.Result.
type answer struct {
	verdict                    verify.Verdict
	reason                     verify.Reason
	confidence, deliverability float64
	provider, mx               string
	stage                      reply.Stage
	reply                      esmtp.Reply
	label                      reply.Label
	catchAll, proof, cached    bool
	checked, delivered         time.Time
	retryAfter                 time.Duration
	domain                     *verify.DomainReport
}

func (a *answer) of(r *verify.Result) {
	a.verdict, a.reason = r.Verdict, r.Reason
	a.confidence, a.deliverability = r.Confidence, r.Deliverability
	a.provider, a.mx, a.stage, a.reply, a.label = r.Provider, r.MX, r.Stage, r.Reply, r.Label
	a.catchAll, a.proof, a.cached = r.CatchAll, r.Proof, r.Cached
	a.checked, a.delivered, a.retryAfter, a.domain = r.Checked, r.Delivered, r.RetryAfter, r.Domain
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

func (it *item) of(tx *policy.Transaction) {
	it.session, it.id, it.door = tx.Session, tx.ID, tx.Door
	c := &tx.Client
	it.addr, it.name, it.helo, it.login = c.Addr, c.Name, c.Helo, c.Login
	it.sender = tx.Mail.From
	if it.door == "" {
		it.door = policy.DoorSMTP
	}
}

func (it *item) decision(d *policy.Decision) {
	it.message = nil
	it.recipient, it.action, it.shadow = d.Recipient, d.Action, d.Shadow
	if it.action == policy.Continue {
		it.action = actionOf(it.reply)
	}
	it.rule, it.ref, it.shadowReply = d.Rule, d.Ref, d.ShadowReply
	it.marks, it.headers, it.elapsed = d.Marks, d.Headers, d.Elapsed
	it.gates(d)
	if d.Result != nil {
		it.asked = true
		it.result.of(d.Result)
	} else if it.asked {
		it.asked, it.result = false, answer{}
	}
}

// end is what decision is for a recipient.
func (it *item) end(m *Message) {
	*it = item{at: it.at, reply: m.Reply, ref: m.Ref, message: m}
	if !m.Reply.IsZero() {
		it.action = actionOf(m.Reply)
	}
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
}

// in has lines written in a form from now on.
func (f *formatter) in(how *form) {
	if f.form != how {
		f.form, f.redactor = how, redactor{mode: how.mode, secret: how.secret}
	}
}

// format returns the line of an item, with its end. It is valid until the next call.
func (f *formatter) format(it *item) []byte {
	l := &f.line
	l.b = append(l.b[:0], `{"v":1`...)
	l.time("time", it.at)
	kind := KindRecipient
	if it.message != nil {
		kind = KindMessage
	}
	l.text("kind", string(kind))
	f.about(it.recipient, it.sender)
	l.text("door", it.door)
	l.text("session", it.session)
	l.text("transaction", it.id)
	f.client(it)
	f.address("sender", it.sender)
	if it.message != nil {
		f.message(it)
	} else {
		f.decision(it)
	}
	l.b = append(l.b, '}', '\n')
	return l.b
}

func (f *formatter) client(it *item) {
	l := &f.line
	if it.addr.IsValid() {
		var room [len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]byte
		l.octets("client", netip.Addr.AppendTo(it.addr.Unmap().WithZone(""), room[:0]))
	}
	l.text("client_name", it.name)
	l.text("helo", it.helo)
	l.text("login", f.login(it.login))
}

func (f *formatter) address(key string, a esmtp.Address) {
	f.room = f.appendAddress(f.room[:0], a)
	f.line.octets(key, f.room)
}

// reply is a reply of anybody, without the addresses that the entry is about.
func (f *formatter) reply(key string, r esmtp.Reply) {
	if !r.IsZero() {
		f.line.text(key, f.words(r.String()))
	}
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
	f.reply("shadow_reply", it.shadowReply)
	l.flag("relayed", it.relayed)
	f.list("marks", it.marks, maxMarks, maxName)
	f.list("headers", it.headers, maxHeader, maxText)
	f.gates(it)
	if it.asked {
		f.result(&it.result)
	}
	l.number("wait_ms", it.elapsed.Milliseconds())
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
	l.time("checked", r.checked)
	l.time("delivered", r.delivered)
	l.number("retry_after_s", int64(r.retryAfter/time.Second))
	if d := r.domain; d != nil {
		l.open("domain")
		l.share("accepts_all", d.AcceptsAll)
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
