package verify

import (
	"fmt"
	"time"
)

// NextStep says in one sentence what comes next, for people: what the administrator can do, or when
// more will be known. It is "" where there is nothing to do.
func (r Result) NextStep() string {
	again := "ask again later"
	if r.RetryAfter > 0 {
		again = "ask again in " + roughly(r.RetryAfter)
	}
	switch r.Reason {
	case MailboxUnknown, MailboxDisabled, Moved, NullMX, DomainUnknown:
		return "remove the address from the list; if it is right, ask its owner for another"
	case MailboxFull:
		return "the mail may still get there; " + again
	case NoSMTPUTF8:
		return "ask the owner for an address in ASCII letters"
	case AcceptAll:
		return "only mail itself can tell; watch the relay's log (verify.feedback.relay_log)"
	case ProviderPassive:
		return "only mail itself can tell; set verify.feedback.relay_log to learn from it"
	case Passive:
		return `set verify.mode = "active" to ask mail servers, or learn from verify.feedback.relay_log`
	case Bounced:
		return "send once more; a second bounce refuses the address"
	case Disputed:
		return again + "; a delivery or a second refusal decides"
	case Incident:
		return again + "; see the status page of its provider"
	case Busy, Greylisted, RateLimited, Temporary, Timeout, BudgetSpent, LocalLimit, Closing:
		return again
	case BlockedIP:
		return "read its reply, and check reverse DNS, the HELO name and block lists; " + again
	case BlockedSender:
		return "check SPF and the sender's domain; " + again
	case Breaker:
		return `open outgoing TCP port 25, or set verify.mode = "passive"`
	case Unreachable, NoMailHost, DNSFailure, TLSFailure, ProtocolError:
		return "the fault is on the recipient's side; " + again
	case Policy, Unconfirmed:
		return "read its reply; " + again
	default:
		return ""
	}
}

// roughly is a span as people say it.
func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	default:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
	}
}
