package journal

import (
	"fmt"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// reasonWords says what a reason of a verdict means.
func reasonWords(reason string) string {
	switch verify.Reason(reason) {
	case verify.MailboxExists:
		return "its mail server accepts mail for it"
	case verify.Delivered:
		return "earlier mail for it was delivered"
	case verify.AcceptAll:
		return "its mail server accepts every address, which says nothing of this one"
	case verify.MailboxUnknown:
		return "its mail server knows no such mailbox"
	case verify.MailboxDisabled:
		return "the mailbox is switched off"
	case verify.Moved:
		return "the mailbox has moved away"
	case verify.NullMX:
		return "the domain declares that it receives no mail (null MX)"
	case verify.DomainUnknown:
		return "the domain does not exist, or is not served by its mail server"
	case verify.MailboxFull:
		return "the mailbox is full"
	case verify.NoSMTPUTF8:
		return "its mail server takes no internationalised addresses (SMTPUTF8)"
	case verify.NoMailHost:
		return "the domain exists, but has no host for mail"
	case verify.Greylisted:
		return "greylisted: its mail server wants to be asked again later"
	case verify.RateLimited:
		return "its mail server wants fewer questions"
	case verify.BlockedIP:
		return "its mail server refuses our address, which says nothing of the mailbox"
	case verify.BlockedSender:
		return "its mail server refuses the sender, which says nothing of the mailbox"
	case verify.Policy:
		return "refused for another reason, which says nothing of the mailbox"
	case verify.Unconfirmed:
		return "its mail server will not say"
	case verify.Busy:
		return "the mailbox exists, and gets too much mail for the moment"
	case verify.Incident:
		return "refused, but its provider refuses recipients in a wave that cannot be true"
	case verify.Disputed:
		return "refused by a mail server that is often wrong, or deliveries contradict"
	case verify.Bounced:
		return "its last mail bounced, though it used to arrive"
	default:
		return notAsked(reason)
	}
}

// notAsked are the reasons without an answer from the mail server.
func notAsked(reason string) string {
	switch verify.Reason(reason) {
	case verify.InternalDomain:
		return "not asked: the domain is internal (verify.internal_domains)"
	case verify.NotProbed:
		return "not asked: no public domain"
	case verify.OwnAddress:
		return "not asked: our own probes come from this address"
	case verify.NullSender:
		return "not asked for a bounce (null sender)"
	case verify.Self:
		return "not asked: its mail server is this gate"
	case verify.Passive:
		return `not asked: verify.mode is "passive"`
	case verify.ProviderPassive:
		return "not asked: the answers of its provider say nothing; only deliveries tell"
	case verify.BudgetSpent:
		return "the waiting time of the message was used up"
	case verify.LocalLimit:
		return "not asked: too many questions at one time here"
	case verify.Breaker:
		return "not asked: no mail server could be reached from here"
	case verify.Closing:
		return "not asked: the gate was shutting down"
	case verify.Timeout:
		return "no answer in time"
	case verify.Unreachable:
		return "none of its mail servers could be reached"
	case verify.DNSFailure:
		return "its mail servers could not be found: DNS failed"
	case verify.TLSFailure:
		return "STARTTLS with its mail server failed"
	case verify.ProtocolError:
		return "its mail server does not speak proper SMTP"
	case verify.Temporary:
		return "its mail server had a temporary problem"
	default:
		return strings.ReplaceAll(reason, "_", " ")
	}
}

// stageWords says to what a mail server answered.
func stageWords(stage string) string {
	switch stage {
	case "connect":
		return "when it was connected to"
	case "helo":
		return "to EHLO"
	case "starttls", "mail", "rcpt", "data":
		return "to " + strings.ToUpper(stage)
	case "dot":
		return "at the end of the message"
	default:
		return "when it was asked"
	}
}

// outcomeWords says what became of a message.
func outcomeWords(outcome string) string {
	switch outcome {
	case "passed":
		return "the relay took it"
	case "refused":
		return "the relay refused it for good"
	case "deferred":
		return "the relay refused it for now"
	case "relay_failed":
		return "no relay could be reached, or it broke before the end"
	case "unknown":
		return "the relay broke behind the end: it may have the message or not"
	case "client_lost":
		return "the client went away in the middle"
	case "check_refused":
		return "its checks refused it for good"
	case "check_deferred":
		return "its checks refused it for now"
	case "end_of_message":
		return "Postfix had all of it"
	case "bad_content":
		return "it had a bare CR, a bare LF or NUL"
	case "too_big":
		return "it was over the size limit"
	default:
		return strings.ReplaceAll(outcome, "_", " ")
	}
}

// actionWords is an action as a participle with its object: "refused bob@example.net for good".
func actionWords(action, whom string) string {
	switch action {
	case "accept":
		return "accepted " + whom
	case "defer":
		return "refused " + whom + " for now"
	case "reject":
		return "refused " + whom + " for good"
	default:
		return "decided about " + whom
	}
}

// when is a time for people.
func when(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04:05 UTC") }

// ago is a span between two times, as people say it.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "later"
	case d < 2*time.Second:
		return "at that time"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s before", int(d/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes before", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours before", int(d/time.Hour))
	default:
		return fmt.Sprintf("%d days before", int(d/(24*time.Hour)))
	}
}

// printable makes anything from a file fit for a terminal.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return string(esmtp.AppendEscaped(nil, s, true))
		}
	}
	return s
}
