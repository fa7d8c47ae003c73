package verify

import (
	"math"
	"time"

	"github.com/rcptgate/rcptgate/verify/reply"
)

// evidence is all that a judgement rests on. It is a value; the judge looks at nothing else.
type evidence struct {
	now   time.Time
	found Result // what this asking brought: of DNS, of a probe (reading), or why there was none
	trust trust  // in the provider

	// acceptsAll is the probability that the domain accepts every address, see domainFacts; late
	// tells how many of its addresses were accepted at RCPT and refused after the message, and
	// arrived how many messages were delivered.
	acceptsAll    float64
	arrived, late int
	// refusesFirst: the same server has refused an unknown mailbox at once, at the first contact.
	refusesFirst bool

	past   history // what happened to mail for this mailbox
	bounce Result  // the proof by a bounce that memory has; zero: none
	// incident: the provider refuses mailboxes in a wave that cannot be true.
	incident bool
}

// judge weighs evidence. It is pure: the same values give the same result, and the order in which
// evidence came plays no part.
//
// Undeliverable needs proof: a refusal of this very mailbox or its domain (see reading), or a
// bounce that is as good (see bounceProof), and DNS for null_mx and domain_unknown. The sum of
// the weights may hold a proof back; it never replaces one.
func judge(e evidence) Result {
	r := e.found
	switch {
	case r.Proof && r.MX == "" && r.Stage == "":
		return r // DNS: there is no mailbox to weigh
	case r.Proof && e.incident:
		return e.turned(Incident)
	}
	answer := e.answer()
	past := e.history(answer)
	sum := answer*faded(e.now.Sub(r.Checked)) + past
	switch {
	case r.Proof:
		return e.refused(sum)
	case r.Verdict == Deliverable:
		return e.accepted(answer, past, sum)
	case r.Verdict == Risky:
		return r // full, or not to be had without SMTPUTF8: true however well it used to work
	}
	return e.unknown(answer, past, sum)
}

// answer is the weight of what this asking brought.
func (e *evidence) answer() float64 {
	switch e.found.Reason {
	case MailboxUnknown, DomainUnknown:
		return weightOfRefusal(e.trust.refusal)
	case MailboxDisabled, Moved:
		return weightOfRefusal(e.trust.refusal) + weightSoftRefusal
	case MailboxExists:
		if e.trust.acceptAll {
			return 0
		}
		return weightOfAcceptance(e.acceptsAll)
	case Busy:
		return weightBusy
	case Greylisted:
		if e.refusesFirst {
			return weightGreylisted
		}
	default: // nothing about the mailbox
	}
	return 0
}

// history is the weight of what happened to earlier mail, beside an answer of that weight.
func (e *evidence) history(answer float64) float64 {
	sum := 0.0
	if e.past.worked() {
		w := weightDelivered * faded(e.now.Sub(e.past.lastDelivery()))
		if e.acceptsAll >= 0.5 && e.late == 0 && !e.trust.acceptAll {
			w *= weightMaybeLater // it may bounce yet, by a message
		}
		if e.past.strikes() > 1 || e.bounceStands() {
			w *= superseded
		}
		sum += w
	}
	switch {
	case e.bounceStands():
		sum += weightBouncedTwice * faded(e.now.Sub(e.bounce.Checked))
	case e.past.strikes() > 1:
		sum += weightBouncedTwice * faded(e.now.Sub(e.past.lastBounce()))
	case e.past.strikes() == 1:
		sum += weightBounced * faded(e.now.Sub(e.past.lastBounce()))
	}
	if math.Abs(answer) >= conclusive {
		sum *= superseded
	}
	return sum
}

// bounceStands reports whether memory has a proof by a bounce that no delivery came after.
func (e *evidence) bounceStands() bool {
	return e.bounce.Proof && !e.past.lastDelivery().After(e.bounce.Checked)
}

// refused is for a proof by the present answer.
func (e *evidence) refused(sum float64) Result {
	p := sigmoid(logit(prior) + sum)
	if p > refuseBelow {
		r := e.turned(Disputed)
		r.Deliverability = p
		return r
	}
	r := e.found
	r.Deliverability, r.Confidence = p, 1-p
	return r
}

// accepted is for 250 or 251 to RCPT.
func (e *evidence) accepted(answer, past, sum float64) Result {
	r := e.found
	all := e.trust.acceptAll || e.acceptsAll >= acceptsAllFrom
	r.CatchAll = e.acceptsAll >= acceptsAllFrom && !e.trust.acceptAll
	switch {
	case answer < conclusive && e.struck(sum):
		return e.bounced(sum) // to accept it at RCPT means nothing there
	case all && sum < conclusive:
		v := rate(AcceptAll)
		r.Verdict, r.Reason = v.verdict, AcceptAll
		r.Confidence = max(v.confidence, e.acceptsAll)
		r.Deliverability = e.share(v.deliverability)
		return r
	case answer < conclusive && past >= conclusive:
		r.Reason = Delivered // that is what tells, not the 250
	}
	r.Deliverability = sigmoid(logit(prior) + sum)
	r.Confidence = sigmoid(max(sum, 0))
	return r
}

// shareStrength is how many observations the general share is worth against a domain's own.
const shareStrength = 10

// share is the part of the accepted mail of a domain that arrives: what is generally so, moved by
// what was seen there (the mean of a Beta distribution).
func (e *evidence) share(general float64) float64 {
	return (general*shareStrength + float64(e.arrived)) /
		(shareStrength + float64(e.arrived+e.late))
}

// unknown is for an asking that told nothing for sure: what is known besides may.
func (e *evidence) unknown(answer, past, sum float64) Result {
	r := e.found
	base := rate(r.Reason).deliverability
	switch {
	case e.struck(sum) && !aboutMailbox(r):
		return e.bounced(sum)
	case r.Reason == Greylisted && answer > 0 && sum >= conclusive:
		r.Verdict, r.Confidence = Deliverable, sigmoid(sum)
	case r.Reason == Busy:
		// It exists, and yet mail will not get there now.
	case past >= weightDelivered/2 && vouchable(r):
		r.Verdict, r.Reason, r.Confidence = Deliverable, Delivered, sigmoid(sum)
		base = prior
	case e.past.strikes() == 1 && unasked(r.Reason):
		r.Reason = Bounced
		base = rate(Bounced).deliverability
	}
	if base > 0 && base < 1 {
		r.Deliverability = sigmoid(logit(base) + sum)
	}
	return r
}

// vouchable reports whether earlier deliveries may stand in for r, an Unknown: not against an
// answer that may be about the mailbox, nor where mail cannot get to any mailbox now.
func vouchable(r Result) bool {
	return !aboutMailbox(r) && r.Reason != NoMailHost && r.Reason != DNSFailure &&
		r.Reason != Incident || r.Reason == Greylisted
}

// unasked reports whether nobody could be asked, for good and not for the moment.
func unasked(r Reason) bool { return r == ProviderPassive || r == Passive }

// struck reports whether bounces are proof enough by themselves.
func (e *evidence) struck(sum float64) bool {
	proof := e.past.strikes() > 1 || e.bounceStands()
	return proof && !e.incident && sigmoid(logit(prior)+sum) <= refuseBelow
}

// bounced is the proof by bounces.
func (e *evidence) bounced(sum float64) Result {
	r := e.bounce
	if !r.Proof {
		r = because(MailboxUnknown)
		r.Stage, r.Label, r.Checked = reply.StageDot, reply.MailboxUnknown, e.past.lastBounce()
	}
	r.Cached, r.Expire, r.RetryAfter, r.Steps, r.Elapsed = false, time.Time{}, 0, nil, 0
	r.Provider, r.CatchAll = e.found.Provider, e.found.CatchAll
	p := sigmoid(logit(prior) + sum)
	r.Deliverability, r.Confidence = p, 1-p
	return r
}

// turned is the answer with another conclusion; what was said stays to be seen.
func (e *evidence) turned(reason Reason) Result {
	r, v := e.found, rate(reason)
	r.Verdict, r.Reason, r.Proof = v.verdict, reason, false
	r.Confidence, r.Deliverability = v.confidence, v.deliverability
	return r
}
