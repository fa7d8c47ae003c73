package reply

import (
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// How sure a label is. Start values, from the share of right labels in collected
// replies of the kind, rounded down.
const (
	sure   = 0.95 // an enhanced code that means one thing and is used for it
	likely = 0.75 // an enhanced code that some servers use for something else
	weak   = 0.5  // a basic code that mostly means this
	guess  = 0.3  // nothing but the class of the code
)

// verdict is what one rule says.
type verdict struct {
	label      Label
	subject    Subject
	confidence float64
	proof      bool // a candidate only: Classify demands stage and code as well
}

// Classify judges one reply. It is a pure function and never fails: what cannot be
// understood is PolicyOther, TempOther or ProtocolError about SubjectUnclear.
func Classify(in Input) Class {
	if in.Stage == "" {
		in.Stage = StageUnknown
	}
	class := in.Code / 100
	switch {
	case in.Code < 200 || in.Code > 599:
		return outcome(in, strconv.Itoa(in.Code), verdict{ProtocolError, SubjectServer, sure, false})
	case class == 2 || class == 3:
		return outcome(in, strconv.Itoa(in.Code), positive(in))
	}
	// RFC 3463 section 2: the class of the enhanced code repeats that of the code.
	// Where it does not, one of them is wrong, and the basic code rules the protocol.
	if e := in.Enhanced; e[0] == class {
		if v, ok := byEnhanced(in.Stage, in.Code, e); ok {
			return outcome(in, e.String(), v)
		}
	}
	if class == 4 {
		return outcome(in, strconv.Itoa(in.Code), temporaryCode(in.Stage, in.Code))
	}
	return outcome(in, strconv.Itoa(in.Code), permanentCode(in.Stage, in.Code))
}

// outcome makes the Class, and is the one place that grants proof.
func outcome(in Input, what string, v verdict) Class {
	return Class{
		Label: v.label, Subject: v.subject, Confidence: v.confidence,
		Rule:  string(in.Stage) + " " + what,
		Proof: v.proof && in.Stage == StageRcpt && in.Code/100 == 5 && consistent(in),
	}
}

// consistent reports whether no line of the text begins with an enhanced code about
// another subject: "550-5.7.1 blocked" before "550 5.1.1" proves nothing.
func consistent(in Input) bool {
	for line := range strings.SplitSeq(in.Text, "\n") {
		word, _, _ := strings.Cut(line, " ")
		e, ok := esmtp.ParseEnhancedCode(word)
		if ok && (e[0] != in.Enhanced[0] || e[1] != in.Enhanced[1]) {
			return false
		}
	}
	return true
}

func positive(in Input) verdict {
	switch {
	case in.Stage == StageRcpt && (in.Code == 250 || in.Code == 251):
		return verdict{Accepted, SubjectRecipient, sure, false}
	case in.Stage == StageRcpt && in.Code == 252: // RFC 5321 3.5.3: cannot verify, will try
		return verdict{Accepted, SubjectUnclear, weak, false}
	case in.Stage == StageRcpt: // 220, 221, 354: an answer to something else
		return verdict{ProtocolError, SubjectServer, sure, false}
	}
	return verdict{Accepted, SubjectServer, sure, false}
}

// byEnhanced judges by the enhanced code, by RFC 3463, RFC 5248 and the registry
// https://www.iana.org/assignments/smtp-enhanced-status-codes. ok is false where
// the code says nothing (x.0.0, unassigned ones).
func byEnhanced(stage Stage, code int, e esmtp.EnhancedCode) (verdict, bool) {
	permanent := e[0] == 5
	switch e[1] {
	case 1:
		return addressStatus(code, e[2], permanent)
	case 2:
		return mailboxStatus(stage, code, e[2], permanent)
	case 3:
		return systemStatus(e[2], permanent)
	case 4:
		return networkStatus(e[2], permanent)
	case 5:
		if e[2] == 3 { // too many recipients
			return verdict{RateLimited, SubjectClient, likely, false}, true
		}
		if permanent && e[2] >= 1 {
			return verdict{ProtocolError, SubjectServer, likely, false}, true
		}
	case 6:
		return verdict{PolicyOther, SubjectMessage, likely, false}, true
	case 7:
		return securityStatus(stage, code, e[2], permanent)
	}
	return verdict{}, false
}

// addressStatus is x.1.z.
func addressStatus(code, detail int, permanent bool) (verdict, bool) {
	switch detail {
	case 7, 8: // bad sender's mailbox or system
		return verdict{BlockedSender, SubjectSender, likely, false}, true
	}
	if !permanent {
		// 450 4.1.1 is "verification in progress" as often as not.
		return verdict{TempOther, SubjectRecipient, weak, false}, detail != 0
	}
	if code == 552 {
		// "Exceeded storage allocation" and 5.1.1 contradict each other; Orange says so
		// of a full mailbox.
		return verdict{MailboxFull, SubjectRecipient, weak, false}, true
	}
	switch detail {
	case 1:
		return verdict{MailboxUnknown, SubjectRecipient, sure, true}, true
	case 2:
		return verdict{DomainUnknown, SubjectDomain, likely, true}, true
	case 3: // its syntax: perhaps a parser's fault, so no proof
		return verdict{ProtocolError, SubjectRecipient, weak, false}, true
	case 6:
		return verdict{Moved, SubjectRecipient, likely, true}, true
	case 10:
		// RFC 7505 section 4.2 registered it for a null MX, with 556. Exchange says
		// 550 5.1.10 RecipientNotFound; both take no mail for this address.
		if code == 556 {
			return verdict{DomainUnknown, SubjectDomain, sure, true}, true
		}
		return verdict{MailboxUnknown, SubjectRecipient, likely, true}, true
	}
	return verdict{PolicyOther, SubjectUnclear, guess, false}, true
}

// mailboxStatus is x.2.z.
func mailboxStatus(stage Stage, code, detail int, permanent bool) (verdict, bool) {
	switch {
	case detail == 2:
		return verdict{MailboxFull, SubjectRecipient, sure, false}, true
	case detail == 3 && permanent:
		return verdict{TooBig, SubjectMessage, likely, false}, true
	case detail == 1 && permanent:
		return verdict{MailboxDisabled, SubjectRecipient, likely, true}, true
	case detail == 0 && !permanent && stage == StageRcpt && code == 450:
		// What Postfix says for a policy server's greylisting (DEFER_IF_PERMIT).
		return verdict{Greylisted, SubjectSender, weak, false}, true
	case permanent:
		return verdict{PolicyOther, SubjectRecipient, guess, false}, detail != 0
	}
	return verdict{TempOther, SubjectRecipient, weak, false}, detail != 0
}

// systemStatus is x.3.z: the server as a whole, so never the mailbox.
func systemStatus(detail int, permanent bool) (verdict, bool) {
	switch {
	case detail == 4 && permanent:
		return verdict{TooBig, SubjectMessage, sure, false}, true
	case permanent:
		return verdict{PolicyOther, SubjectServer, guess, false}, detail != 0
	}
	return verdict{TempOther, SubjectServer, likely, false}, true
}

// networkStatus is x.4.z. 5.4.1 is Exchange Online's word for an unknown mailbox and
// other servers' word for their own routing, so it proves nothing.
func networkStatus(detail int, permanent bool) (verdict, bool) {
	if !permanent {
		return verdict{TempOther, SubjectServer, likely, false}, true
	}
	if detail == 4 { // unable to route
		return verdict{DomainUnknown, SubjectDomain, weak, false}, true
	}
	return verdict{PolicyOther, SubjectUnclear, guess, false}, detail != 0
}

// securityStatus is x.7.z: policy, about us or the sender, never about the mailbox.
func securityStatus(stage Stage, code, detail int, permanent bool) (verdict, bool) {
	switch {
	case detail == 28, detail >= 650 && detail <= 659, detail == 500, detail == 501:
		// Mail flood (RFC 7372); 4.7.650 and 4.7.500 are Microsoft's throttles.
		return verdict{RateLimited, SubjectClient, sure, false}, true
	case detail == 25, detail >= 606 && detail <= 649:
		// Reverse DNS (RFC 7372); 5.7.606-649 are Microsoft's banned addresses.
		return verdict{BlockedIP, SubjectClient, sure, false}, true
	case detail >= 20 && detail <= 24, detail == 26, detail == 27, detail == 29,
		detail == 509, detail == 511, detail == 515:
		// DKIM, SPF, both, null MX of the sender, ARC; Microsoft on the sender's domain.
		return verdict{BlockedSender, SubjectSender, likely, false}, true
	case stage == StageConnect, stage == StageHelo:
		return verdict{BlockedIP, SubjectClient, weak, false}, true
	case !permanent && stage == StageRcpt && detail <= 1 && (code == 450 || code == 451):
		return verdict{Greylisted, SubjectSender, weak, false}, true
	case stage == StageMail && permanent && detail <= 1 && code >= 550:
		return verdict{BlockedSender, SubjectSender, weak, false}, true
	case permanent:
		return verdict{PolicyOther, SubjectUnclear, weak, false}, true
	}
	return verdict{TempOther, SubjectUnclear, weak, false}, true
}

// temporaryCode judges a 4xx by its basic code alone.
func temporaryCode(stage Stage, code int) verdict {
	if stage == StageConnect && code == 421 { // RFC 5321 3.8: busy, or busy for us
		return verdict{TempOther, SubjectServer, weak, false}
	}
	return verdict{TempOther, SubjectUnclear, guess, false}
}

// permanentCode judges a 5xx by its basic code alone. RFC 5321 section 4.2.3 has
// "mailbox unavailable" for 550, but the code is used for every refusal there is.
func permanentCode(stage Stage, code int) verdict {
	switch code {
	case 530, 534, 535, 538: // RFC 4954 section 6: authentication or TLS wanted
		return verdict{PolicyOther, SubjectClient, weak, false}
	case 500, 501, 502, 503, 504, 555:
		return verdict{ProtocolError, SubjectServer, weak, false}
	case 552: // RFC 5321: exceeded storage allocation
		if stage == StageRcpt {
			return verdict{MailboxFull, SubjectRecipient, weak, false}
		}
		return verdict{TooBig, SubjectMessage, weak, false}
	case 521, 556: // RFC 7504: this host, this domain, takes no mail
		if stage == StageRcpt {
			return verdict{DomainUnknown, SubjectDomain, weak, false}
		}
	}
	switch stage {
	case StageConnect, StageHelo:
		return verdict{BlockedIP, SubjectClient, weak, false}
	case StageMail:
		return verdict{BlockedSender, SubjectSender, guess, false}
	default:
		return verdict{PolicyOther, SubjectUnclear, guess, false}
	}
}
