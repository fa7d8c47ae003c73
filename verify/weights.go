package verify

import (
	"math"
	"time"

	"github.com/rcptgate/rcptgate/verify/provider"
)

// The weights: all the numbers by which evidence is weighed. They are natural logarithms of odds
// that mail for the mailbox will be delivered, start values and not measurements; what really
// happens to mail is what they are to be corrected by (see Stats.Contradicted).
//
//	evidence                                          weight
//	250 to RCPT, of a server known to be selective    +4.6   ln 1/0.01
//	250 where nothing is known of the domain          +1.4   ln 1/(0.25 + 0.75 × 0.01)
//	250 of a server that accepts every address         0.0   ln 1/1
//	a refusal of this very mailbox at RCPT            -2.9 - logit(trust in the provider's refusals)
//	  ... switched off, or moved                       0.3 less
//	"this mailbox is too busy"                        +4.0   it exists
//	greylisted, where unknown ones are refused first  +2.2   odds of 9 to 1 that it exists
//	mail was delivered                                +5.0   half where everything is accepted
//	mail bounced, though it used to arrive            -5.0   alone never enough to refuse
//	mail bounced again, or never arrived              -8.0
//
// All of it fades with the same half-life, so that the sum can only shrink while time goes by:
// what is not known does not become known by waiting. What is older than an answer that says
// something about the mailbox counts a quarter beside it.
//
// A refusal is weighed so that, of a stream of mail of which 0.95 is deliverable, what is left of
// the probability is one minus the trust.
const (
	prior = 0.95 // of the mail of an ordinary sender is deliverable

	selectiveStray = 0.01 // a server that knows its mailboxes accepts one that is none
	unknownTrust   = 0.97 // in refusals of a provider without a profile

	weightSoftRefusal  = 0.3
	weightBusy         = 4.0
	weightGreylisted   = 2.2
	weightDelivered    = 5.0
	weightBounced      = -5.0
	weightBouncedTwice = -8.0

	weightMaybeLater = 0.5 // factor

	superseded   = 0.25
	evidenceHalf = 90 * 24 * time.Hour

	// conclusive is the weight from which on an answer counts as one about the mailbox.
	conclusive = 1.0
	// refuseBelow is the probability of delivery up to which a proof refuses.
	refuseBelow = 0.2
	// acceptsAllFrom is the probability from which on a domain counts as accepting every address.
	acceptsAllFrom = 0.99
)

// rating is what a reason is worth by itself.
type rating struct {
	verdict        Verdict
	confidence     float64 // how sure the verdict is
	deliverability float64 // probability that mail will be delivered
}

// rate is the table of reasons. Not knowing leaves the deliverability where it was without asking.
//
//	reason                          verdict        conf.  deliv.
//	mailbox_exists, delivered       deliverable    0.80   0.98   weighed by what is known of the domain
//	mailbox_unknown                 undeliverable  0.97   0.03   weighed by the trust in the provider
//	mailbox_disabled, moved         undeliverable  0.96   0.04
//	null_mx, domain_unknown         undeliverable  0.99   0.00
//	accept_all                      risky          0.90   0.90   weighed by what happened to its mail
//	mailbox_full                    risky          0.90   0.30   some owners clean up
//	no_smtputf8                     risky          0.90   0.05   the relay's delivery fails alike
//	busy                            unknown        0      0.95   it exists, and the relay tries again
//	no_mail_host                    unknown        0      0.05   may be repaired within minutes
//	unreachable, timeout, tls ...   unknown        0      0.50
//	blocked_ip, blocked_sender      unknown        0      0.50   the mail itself meets the same
//	bounced, disputed               unknown        0      0.50
//	greylisted                      unknown        0      0.95   unknown ones are often refused
//	all others                      unknown        0      0.90
func rate(r Reason) rating {
	switch r {
	case MailboxExists, Delivered:
		return rating{Deliverable, 0.80, 0.98}
	case MailboxUnknown:
		return rating{Undeliverable, 0.97, 0.03}
	case MailboxDisabled, Moved:
		return rating{Undeliverable, 0.96, 0.04}
	case NullMX, DomainUnknown:
		return rating{Undeliverable, 0.99, 0}
	case AcceptAll:
		return rating{Risky, 0.90, 0.90}
	case MailboxFull:
		return rating{Risky, 0.90, 0.30}
	case NoSMTPUTF8:
		return rating{Risky, 0.90, 0.05}
	case NoMailHost:
		return rating{Unknown, 0, 0.05}
	case Unreachable, Timeout, TLSFailure, ProtocolError, BlockedIP, BlockedSender, Policy, Bounced,
		Disputed:
		return rating{Unknown, 0, 0.50}
	case Greylisted, Busy:
		return rating{Unknown, 0, 0.95}
	default:
		return rating{Unknown, 0, 0.90}
	}
}

// because returns the result that a reason stands for.
func because(r Reason) Result {
	v := rate(r)
	return Result{
		Verdict: v.verdict, Reason: r, Confidence: v.confidence, Deliverability: v.deliverability,
		Proof: v.verdict == Undeliverable,
	}
}

// trust is how far the answers of a provider can be believed.
type trust struct {
	refusal   float64 // 0 to 1: that a refusal of a mailbox is right
	acceptAll bool    // it accepts everything at RCPT
}

func trustIn(p *provider.Profile) trust {
	if p == nil {
		return trust{refusal: unknownTrust}
	}
	return trust{refusal: p.Refusal, acceptAll: p.AcceptAll}
}

func logit(p float64) float64   { return math.Log(p / (1 - p)) }
func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// weightOfRefusal is negative; see the table.
func weightOfRefusal(trusted float64) float64 {
	return -logit(prior) - logit(min(max(trusted, 0.5), 0.999))
}

// weightOfAcceptance is that of a 250 at a domain that accepts every address with probability all.
func weightOfAcceptance(all float64) float64 {
	return -math.Log(all + (1-all)*selectiveStray)
}

// faded is what is left of evidence after a time.
func faded(age time.Duration) float64 {
	if age <= 0 {
		return 1
	}
	return math.Exp2(-float64(age) / float64(evidenceHalf))
}
