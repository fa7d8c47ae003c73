package policy

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// walk is one recipient on its way through the gates and the rules. It belongs to one goroutine.
type walk struct {
	engine *Engine
	facts  facts

	ctx      context.Context // of the one call of Rcpt that the walk is
	verifier Verifier
	tx       *Transaction
	rcpt     *esmtp.Rcpt
	trace    bool
	start    time.Time

	batch   *Batch         // which does not wait; nil: Rcpt
	room    *verify.Result // for result, with batch
	put     verify.Question
	stuck   bool // a condition needs a verdict that has to be waited for
	counted bool // the sender's counters have the recipient

	result *verify.Result // nil until a condition reaches a lazy name
	asked  bool           // the condition being evaluated reached one

	marks, headers []string
	verdicts       []string // the marks that are there, or are not, because of a verdict

	suppression *register.Suppression
	override    *register.Override
	hold        *senders.Hold
	sender      *senders.Counters // once a condition needs them
}

// facts is the environment of conditions, and what is made of a walk when they first need it.
type facts struct {
	walk *walk

	clientAddr, clientName, sender, recipient string
}

func (w *walk) clientAddr() string {
	if addr := w.tx.Client.Addr; w.facts.clientAddr == "" && addr.IsValid() {
		w.facts.clientAddr = addr.Unmap().WithZone("").String()
	}
	return w.facts.clientAddr
}

func (w *walk) clientName() string {
	if w.facts.clientName == "" {
		w.facts.clientName = strings.ToLower(w.tx.Client.Name)
	}
	return w.facts.clientName
}

func (w *walk) senderAddress() string {
	if w.facts.sender == "" {
		w.facts.sender = addressOf(w.tx.Mail.From)
	}
	return w.facts.sender
}

func (w *walk) recipientAddress() string {
	if w.facts.recipient == "" {
		w.facts.recipient = addressOf(w.rcpt.To)
	}
	return w.facts.recipient
}

// addressOf is an address as conditions see it: "" for the null sender, "postmaster" without a
// domain.
func addressOf(a esmtp.Address) string {
	if a.ASCIIDomain() == "" {
		return a.Local()
	}
	return a.Key()
}

func clampSize(size uint64) int {
	if size > math.MaxInt {
		return math.MaxInt
	}
	return int(size)
}

// ask asks the verifier, once for each walk.
func (w *walk) ask() *verify.Result {
	w.asked = true
	if w.result == nil && w.verifier == nil {
		w.result = &verify.Result{
			Address: w.rcpt.To, Verdict: verify.Unknown, Reason: verify.NotProbed,
		}
	}
	if w.result == nil {
		w.result = w.question()
	}
	return w.result
}

// schedule has a greylisted recipient asked about again: its mail was deferred, and the client's
// next try is then answered from memory.
func (w *walk) schedule() {
	if s, ok := w.verifier.(scheduler); ok && w.result != nil && w.result.Reason == verify.Greylisted {
		s.Schedule(w.put, *w.result)
	}
}

func (w *walk) putQuestion() verify.Question {
	return verify.Question{
		Address:    w.rcpt.To,
		Sender:     w.tx.Mail.From,
		NullSender: w.tx.Mail.From.IsNull(),
		UTF8:       w.tx.Mail.UTF8,
		Helo:       w.tx.Client.Helo,
		Budget:     w.tx.Budget,
		CatchAll:   w.engine.domains,
		Trace:      w.trace,
	}
}

// question asks: what is put is kept for schedule.
func (w *walk) question() *verify.Result {
	w.put = w.putQuestion()
	if w.batch == nil {
		q := w.put
		q.Client = w.client()
		result := w.verifier.Verify(w.ctx, q)
		return &result
	}
	if r, ok := w.verifier.(recaller); ok && r.Recall(&w.put, w.batch.at, w.room) {
		return w.room
	}
	// What the conditions make of this is not used.
	w.stuck = true
	*w.room = verify.Result{Address: w.rcpt.To, Verdict: verify.Unknown, Reason: verify.NotProbed}
	return w.room
}

// client is whose questions are counted together: the login, where there is one, else the address.
func (w *walk) client() string {
	if login := w.tx.Client.Login; login != "" {
		return "login " + login
	}
	if addr := w.tx.Client.Addr; addr.IsValid() {
		return addr.Unmap().String()
	}
	return ""
}

// verdictOf reads the zero value as what it means.
func verdictOf(r *verify.Result) verify.Verdict {
	if r.Verdict == "" {
		return verify.Unknown
	}
	return r.Verdict
}

// isProven is the one condition under which a verdict refuses for good.
func isProven(r *verify.Result) bool {
	return r != nil && r.Verdict == verify.Undeliverable && r.Proof
}

// at is the time for what the walk looks up.
func (w *walk) at() time.Time {
	if w.batch != nil {
		return w.batch.at
	}
	return time.Now()
}

// begin is a decision that accepts, with what the walk has found.
func (w *walk) begin(d *Decision, rule string) {
	*d = Decision{
		Recipient: w.rcpt.To, Action: Accept, Rule: rule, Result: w.result, Marks: w.marks,
		Suppression: w.suppression, Override: w.override, Hold: w.hold,
	}
}

// conclude makes the decision of the rule that matched. Without one, which the last built-in rule
// prevents, the recipient is accepted: nothing is refused without a rule that says so.
func (w *walk) conclude(rule *compiledRule, d *Decision) {
	if rule == nil {
		w.begin(d, "")
		return
	}
	if rule.action == Accept {
		w.begin(d, rule.Name)
		if d.Headers = w.headers; w.override != nil {
			d.Rule = gateOverride
		}
		return
	}
	w.override = nil // of the provider: this is not because of a verdict
	w.begin(d, rule.Name)
	ref := newRef()
	action, reply := w.refuse(rule, ref)
	w.refused(d, action, reply, ref)
}

// allowsProvider says whether an override sets aside the verdict that a rule refuses for.
func (w *walk) allowsProvider() bool {
	if !w.asked || w.result == nil || w.result.Provider == "" {
		return false
	}
	override, ok := w.engine.register.AllowedProvider(w.result.Provider, w.at())
	if ok {
		found := override // override itself stays on the stack
		w.override = &found
	}
	return ok
}

// concludeGate makes the decision of a gate.
func (w *walk) concludeGate(stopped verdictOfGate, d *Decision) {
	w.begin(d, stopped.gate)
	if stopped.action == Accept {
		return
	}
	ref := newRef()
	w.asked = false
	p := stopped.reply
	reply := esmtp.NewReply(p.code, p.enhanced, w.defaultText(p, ref))
	w.refused(d, stopped.action, reply, ref)
}

// refused enters a refusal, which in shadow mode only would have been one.
func (w *walk) refused(d *Decision, action Action, reply esmtp.Reply, ref string) {
	d.Ref = ref
	if w.engine.shadow {
		d.Shadow, d.ShadowReply, d.Headers = action, reply, w.headers
		return
	}
	d.Action, d.Reply = action, reply
}
