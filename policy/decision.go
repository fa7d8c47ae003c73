package policy

import (
	"fmt"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// Action is what becomes of one recipient.
type Action int

// The actions. The engine never returns the zero value, because the last built-in rule accepts.
const (
	Continue Action = iota // decides nothing: the rule leaves a mark or a header, and the walk goes on
	Accept                 // the recipient is relayed
	Defer                  // refused for now: 4xx
	Reject                 // refused for good: 5xx
)

// String is the action's name in rules and logs.
func (a Action) String() string {
	switch a {
	case Accept:
		return "accept"
	case Defer:
		return "defer"
	case Reject:
		return "reject"
	case Continue:
		return "continue"
	default:
		return fmt.Sprintf("action %d", int(a))
	}
}

// Decision is the answer to one RCPT with everything that led to it.
type Decision struct {
	Recipient esmtp.Address
	Action    Action

	// Reply is ours, complete and escaped, ready for the client. It is zero when the action is
	// Accept: then the relay's reply is the client's.
	Reply esmtp.Reply

	// Rule is the name of the rule or the gate that decided. A refusal that an override of the
	// provider turned into an accept has the gate's.
	Rule string

	// Marks are what rules left on the recipient; nil if none did.
	Marks []string

	// Headers are the fields that rules put on top of the message if this recipient is accepted, each
	// a complete line without CRLF. Fields of several recipients of a message may be the same.
	Headers []string

	// Suppression is why the recipient is on the suppression list, Override what allows it, Hold why
	// its sender must wait; nil: it is not, or nobody looked.
	Suppression *register.Suppression
	Override    *register.Override
	Hold        *senders.Hold

	// Result is what the verifier said, nil if no rule had to ask it.
	Result *verify.Result

	// Shadow is what would have happened in enforce mode, with ShadowReply, when the mode is
	// "shadow" and the rules would have refused. Continue (zero) otherwise.
	Shadow      Action
	ShadowReply esmtp.Reply

	// Ref is the reference that a refusal carries to the sender and into the log; "" if accepted.
	Ref string

	// Steps is the walk through the rules, only filled by Explain.
	Steps []Step

	// Elapsed is the time the decision took, above all the wait for the verifier.
	Elapsed time.Duration
}

// Outcome says what became of one rule on the walk.
type Outcome int

// The outcomes of a rule. A rule that failed counts as one that did not match.
const (
	NotReached Outcome = iota // an earlier rule decided
	NoMatch                   // the condition is false
	Match                     // the condition is true: this rule decided, or left its mark
	Failed                    // the condition broke at run time, e.g. a division by zero
)

// String is the outcome in words, for explain.
func (o Outcome) String() string {
	switch o {
	case NotReached:
		return "not reached"
	case NoMatch:
		return "no match"
	case Match:
		return "match"
	case Failed:
		return "failed"
	default:
		return fmt.Sprintf("outcome %d", int(o))
	}
}

// Step is one rule of the walk.
type Step struct {
	Rule    string
	When    string
	Action  Action // the rule's own action
	Builtin bool
	Outcome Outcome

	// Asked: the evaluation reached a name that needs the verifier (verdict, reason, ...).
	// FirstAsked: it was the first to do so, so that here a probe may have been started.
	Asked, FirstAsked bool

	// Detail is the error of a Failed rule or, for the deciding one, how its reply came about.
	Detail string

	At, Elapsed time.Duration // since the start of the walk; of this rule, with its wait
}
