package policy

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// walk is one recipient on its way through the rules. It belongs to one goroutine.
type walk struct {
	facts *facts // what conditions see, once one needs it; points back here for the lazy names

	ctx      context.Context // of the one call of Rcpt that the walk is
	verifier Verifier
	tx       *Transaction
	rcpt     *esmtp.Rcpt
	trace    bool
	domains  bool // wait for what is to be known of the domain too
	start    time.Time

	now   bool           // do not wait: see Engine.Now
	room  *verify.Result // for result, with now
	put   verify.Question
	stuck bool // a condition needs a verdict that has to be waited for

	result *verify.Result // nil until a condition reaches a lazy name
	asked  bool           // the condition being evaluated reached one

	marks, headers []string
	verdicts       []string // the marks that are there, or are not, because of a verdict
}

// facts is the environment of conditions: the names that are free. The lazy ones are calls.
type facts struct {
	Client     clientFacts  `expr:"client"`
	Sender     addressFacts `expr:"sender"`
	Recipient  addressFacts `expr:"recipient"`
	Size       int          `expr:"size"`
	NullSender bool         `expr:"null_sender"`
	Trusted    bool         `expr:"trusted"`

	walk *walk
}

type clientFacts struct {
	Addr  string `expr:"addr"`
	Name  string `expr:"name"`
	Helo  string `expr:"helo"`
	Login string `expr:"login"`
}

type addressFacts struct {
	Address string `expr:"address"`
	Local   string `expr:"local"`
	Domain  string `expr:"domain"`
}

func newWalk(
	ctx context.Context, verifier Verifier, tx *Transaction, rcpt *esmtp.Rcpt, trace bool,
) *walk {
	return &walk{ctx: ctx, verifier: verifier, tx: tx, rcpt: rcpt, trace: trace, start: time.Now()}
}

// environment is what conditions see. It is made when the first one is evaluated that is not
// built in.
func (w *walk) environment() *facts {
	if w.facts != nil {
		return w.facts
	}
	tx := w.tx
	w.facts = &facts{
		Client: clientFacts{
			Name:  strings.ToLower(tx.Client.Name),
			Helo:  tx.Client.Helo,
			Login: tx.Client.Login,
		},
		Sender:     factsOf(tx.Mail.From),
		Recipient:  factsOf(w.rcpt.To),
		Size:       clampSize(tx.Mail.Size),
		NullSender: tx.Mail.From.IsNull(),
		Trusted:    tx.Client.Trusted,
		walk:       w,
	}
	if tx.Client.Addr.IsValid() {
		w.facts.Client.Addr = tx.Client.Addr.Unmap().WithZone("").String()
	}
	return w.facts
}

func factsOf(a esmtp.Address) addressFacts {
	f := addressFacts{Local: a.Local(), Domain: a.ASCIIDomain()}
	if f.Address = f.Local; f.Domain != "" {
		f.Address = a.Key()
	}
	return f
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

// question asks: what is put is kept for schedule.
func (w *walk) question() *verify.Result {
	w.put = verify.Question{
		Address:    w.rcpt.To,
		Sender:     w.tx.Mail.From,
		NullSender: w.tx.Mail.From.IsNull(),
		UTF8:       w.tx.Mail.UTF8,
		Helo:       w.tx.Client.Helo,
		Budget:     w.tx.Budget,
		CatchAll:   w.domains,
		Trace:      w.trace,
	}
	if !w.now {
		q := w.put
		q.Client = w.client()
		result := w.verifier.Verify(w.ctx, q)
		return &result
	}
	if r, ok := w.verifier.(recaller); ok && r.Recall(&w.put, w.room) {
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

// conclude makes the decision of the rule that matched. Without one, which the last built-in rule
// prevents, the recipient is accepted: nothing is refused without a rule that says so.
func (w *walk) conclude(rule *compiledRule, shadow bool, d *Decision) {
	*d = Decision{Recipient: w.rcpt.To, Action: Accept, Result: w.result, Marks: w.marks}
	if rule == nil {
		return
	}
	d.Rule = rule.Name
	if rule.action == Accept {
		d.Headers = w.headers
		return
	}
	d.Ref = newRef()
	action, reply := w.refuse(rule, d.Ref)
	if shadow {
		d.Shadow, d.ShadowReply, d.Headers = action, reply, w.headers
		return
	}
	d.Action, d.Reply = action, reply
}
