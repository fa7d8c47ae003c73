package policy

import (
	"slices"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// The gates stand before the rules. Each is a step of its own in Explain, and the Rule of a
// decision that it made.
const (
	gateOverride    = builtinPrefix + "override"
	gateSuppression = builtinPrefix + "suppression list"
	gateLimits      = builtinPrefix + "sender limits"
	gateHygiene     = builtinPrefix + "list hygiene"
)

// The values of Config.Suppression.
const (
	SuppressionReject = "reject" // the gate refuses what is on the list
	SuppressionRules  = "rules"  // it is left to rules, by the name suppressed
)

// verdictOfGate is what a gate does with a recipient. The zero value lets it pass.
type verdictOfGate struct {
	gate   string // "" passed
	action Action
	reply  phrase
	detail string // for Explain
}

// gates asks the gates in their order. Explain asks without counting.
func (e *Engine) gates(w *walk) verdictOfGate {
	now := w.at()
	if override, ok := e.register.Allowed(w.rcpt.To, now); ok {
		e.take(w, now) // it counts like any other, but nothing holds it
		return w.allow(override)
	}
	if e.suppression {
		if s := e.suppressed(w, now); s != nil {
			if s.Reason == register.HardBounce && !w.trace {
				e.checked(w, true, now)
			}
			return verdictOfGate{gateSuppression, Reject, suppressionPhrase(s), suppressionDetail(s)}
		}
	}
	hold := e.take(w, now)
	if hold.Kind == senders.Free {
		return verdictOfGate{}
	}
	found := hold // hold itself stays on the stack
	w.hold = &found
	gate := gateHygiene
	if hold.Kind == senders.Limited {
		gate = gateLimits
	}
	return verdictOfGate{gate, Defer, holdPhrase(&found), found.Detail + " (" + found.Key + ")"}
}

// allow accepts because of an override.
func (w *walk) allow(override register.Override) verdictOfGate {
	w.override = &override
	return verdictOfGate{gateOverride, Accept, phrase{}, overrideDetail(&override)}
}

func overrideDetail(o *register.Override) string {
	detail := "allowed: " + string(o.Kind) + " " + o.Name
	if !o.Expires.IsZero() {
		detail += " until " + o.Expires.UTC().Format("2006-01-02 15:04 UTC")
	}
	if o.Note != "" {
		detail += " (" + o.Note + ")"
	}
	return detail
}

// suppressed looks the recipient up in the suppression list, once.
func (e *Engine) suppressed(w *walk, now time.Time) *register.Suppression {
	look := e.register.Suppressed
	if w.trace {
		look = e.register.Peek
	}
	if s, ok := look(w.rcpt.To, w.tx.Mail.From, w.tx.Client.Login, now); ok {
		found := s // s itself stays on the stack
		w.suppression = &found
	}
	return w.suppression
}

// take counts the recipient and says whether it must wait. What a Batch has counted before it got
// stuck is not counted again by the Rcpt that follows.
func (e *Engine) take(w *walk, now time.Time) senders.Hold {
	if e.senders == nil {
		return senders.Hold{}
	}
	id := w.tx.identity()
	if w.trace {
		hold := e.senders.Peek(id, now)
		if hold.KnownOnly && e.isKnownGood(w) {
			return senders.Hold{}
		}
		return hold
	}
	if w.batch != nil {
		return w.batch.take()
	}
	count := &w.tx.count
	count.Lock()
	defer count.Unlock()
	if count.wasCounted(w.rcpt.To) {
		return senders.Hold{}
	}
	hold := e.senders.Take(id, !count.message, now)
	if hold.KnownOnly && e.isKnownGood(w) {
		hold = e.senders.TakeKnown(id, !count.message, now)
	}
	if hold.Kind == senders.Free {
		count.message = true
	}
	return hold
}

// isKnownGood says whether memory has the recipient as one that exists. Nobody is asked.
func (e *Engine) isKnownGood(w *walk) bool {
	if w.verifier == nil {
		return false
	}
	q := w.putQuestion()
	q.MemoryOnly = true
	var result verify.Result
	if r, ok := w.verifier.(recaller); ok {
		return r.Recall(&q, w.at(), &result) && result.Verdict == verify.Deliverable
	}
	result = w.verifier.Verify(w.ctx, q)
	return result.Verdict == verify.Deliverable
}

// learn tells the sender's counters what was found out about the recipient.
func (e *Engine) learn(w *walk) {
	if e.senders == nil || w.trace || w.result == nil {
		return
	}
	invalid := isProven(w.result)
	if _, allowed := e.register.AllowedProvider(w.result.Provider, w.at()); invalid && allowed {
		return // nor does the sender answer for a verdict that is not believed
	}
	if invalid || w.result.Verdict == verify.Deliverable {
		e.checked(w, invalid, w.at())
	}
}

// checked tells the sender's counters of a verdict about the recipient.
func (e *Engine) checked(w *walk, invalid bool, now time.Time) {
	if e.senders == nil {
		return
	}
	if w.batch != nil {
		w.batch.counts.Checked(w.rcpt.To.Key(), invalid)
		return
	}
	e.senders.Checked(w.tx.identity(), w.rcpt.To.Key(), invalid, now)
}

// counters are those of the sender with this recipient, for rules.
func (w *walk) counters() *senders.Counters {
	switch {
	case w.sender != nil:
	case w.tx.given != nil:
		w.sender = &w.tx.given.counters
	default:
		if w.batch != nil {
			w.batch.settle()
		}
		c := w.engine.senders.Counters(w.tx.identity(), w.at())
		if w.trace { // which has not counted it
			c.RecipientsMinute++
			c.RecipientsHour++
			c.RecipientsDay++
			if !w.tx.messageCounted() {
				c.MessagesMinute++
				c.MessagesHour++
				c.MessagesDay++
			}
		}
		w.sender = &c
	}
	return w.sender
}

// isSuppressed is the name suppressed.
func (w *walk) isSuppressed() bool {
	if w.tx.given != nil {
		return w.tx.given.suppressed
	}
	if w.suppression == nil && !w.engine.suppression {
		w.engine.suppressed(w, w.at())
	}
	return w.suppression != nil
}

// suppressionPhrase is the reply to a recipient that is on the list. A hard bounce is answered as
// its mail server did, so that list software removes the address.
func suppressionPhrase(s *register.Suppression) phrase {
	p := phrase{
		code: 550, enhanced: esmtp.EnhancedCode{5, 7, 1},
		text: "is on the suppression list of this server", advice: "remove it from your list",
	}
	switch s.Reason {
	case register.HardBounce:
		p.enhanced = esmtp.EnhancedCode{5, 1, 1}
		p.text = "mailbox does not exist, as its mail server has answered to earlier mail"
		if slices.Contains(rejectCodes, s.Code) {
			p.code = s.Code
		}
		if s.Enhanced[0] == 5 {
			p.enhanced = s.Enhanced
		}
	case register.Complaint:
		p.text = "has complained about mail of this sender"
	case register.Unsubscribe:
		p.text = "has unsubscribed from mail of this sender"
	case register.Manual, register.Import:
	}
	return p
}

func suppressionDetail(s *register.Suppression) string {
	detail := s.Address + ", " + s.Scope.String() + ", " + string(s.Reason)
	if s.Evidence != "" {
		detail += ": " + s.Evidence
	}
	return detail
}

// holdPhrase is the reply to a recipient whose sender must wait: 450 4.7.1 (RFC 3463 section 3.8).
func holdPhrase(h *senders.Hold) phrase {
	text := "deferred by " + h.Name
	if h.Kind == senders.Limited {
		text = "deferred by the limit " + strconv.Quote(h.Name)
	}
	if h.Detail != "" {
		text += ": " + h.Detail
	}
	return phrase{
		code: 450, enhanced: esmtp.EnhancedCode{4, 7, 1}, text: text,
		advice: "try again in " + wait(h.Wait),
	}
}

// wait is a time for people, rounded up: seconds below two minutes, else minutes.
func wait(d time.Duration) string {
	if d >= 2*time.Minute {
		return minutes(d)
	}
	if n := max(1, int64((d+time.Second-1)/time.Second)); n > 1 {
		return strconv.FormatInt(n, 10) + " seconds"
	}
	return "1 second"
}

// gateSteps are the gates as steps of Explain; stopped is where the walk ended, if it did.
func (e *Engine) gateSteps(stopped verdictOfGate) []Step {
	var steps []Step
	add := func(gate, when string, action Action) {
		steps = append(steps, Step{
			Rule: gate, When: when, Action: action, Builtin: true, Outcome: NoMatch,
		})
	}
	if e.register != nil {
		add(gateOverride, "an override allows the recipient", Accept)
		if e.suppression {
			add(gateSuppression, "the recipient is suppressed", Reject)
		}
	}
	if e.senders != nil {
		add(gateLimits, "the sender is over a limit", Defer)
		add(gateHygiene, "too many of the sender's recipients do not exist", Defer)
	}
	reached := true
	for i := range steps {
		switch {
		case steps[i].Rule == stopped.gate:
			steps[i].Outcome, steps[i].Detail, reached = Match, stopped.detail, false
		case !reached:
			steps[i].Outcome = NotReached
		}
	}
	return steps
}

// checkSuppression checks Config.Suppression.
func checkSuppression(mode string) *RuleError {
	values := []string{SuppressionReject, SuppressionRules}
	if mode == "" || slices.Contains(values, mode) {
		return nil
	}
	return &RuleError{
		Index: -1, Field: "suppression", Detail: "unknown value " + strconv.Quote(mode),
		Hint: oneOf(mode, values),
	}
}
