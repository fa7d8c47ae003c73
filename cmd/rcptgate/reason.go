package main

import (
	"strings"

	"github.com/rcptgate/rcptgate/verify"
)

// reasonText says a reason in words. A reason without words of its own is said by its name.
func reasonText(reason verify.Reason) string {
	if words, ok := reasonWords()[reason]; ok {
		return words
	}
	return strings.ReplaceAll(string(reason), "_", " ")
}

func reasonWords() map[verify.Reason]string {
	return map[verify.Reason]string{
		verify.MailboxExists:   "its mail server accepts mail for it",
		verify.Delivered:       "earlier mail for it was delivered",
		verify.AcceptAll:       "its mail server accepts every address, which says nothing of this one",
		verify.MailboxUnknown:  "its mail server knows no such mailbox",
		verify.MailboxDisabled: "the mailbox is switched off",
		verify.Moved:           "the mailbox has moved away",
		verify.NullMX:          "the domain declares that it receives no mail (null MX)",
		verify.DomainUnknown:   "the domain does not exist",
		verify.MailboxFull:     "the mailbox is full",
		verify.NoSMTPUTF8:      "its mail server takes no internationalised addresses (SMTPUTF8)",
		verify.InternalDomain:  "not asked: the domain is internal (verify.internal_domains)",
		verify.NotProbed:       "not asked: no public domain",
		verify.OwnAddress:      "not asked: our own probes come from this address",
		verify.NullSender:      "not asked for a bounce (null sender)",
		verify.Self:            "not asked: its mail server is this gate",
		verify.Passive:         `not asked: verify.mode is "passive"`,
		verify.ProviderPassive: "not asked: the answers of its provider say nothing; only deliveries tell",
		verify.BudgetSpent:     "the waiting time of the message is used up",
		verify.LocalLimit:      "not asked: too many questions at one time here",
		verify.Breaker:         "not asked: no mail server can be reached from here; is port 25 open?",
		verify.Closing:         "not asked: shutting down",
		verify.NoMailHost:      "the domain exists, but has no host for mail",
		verify.Timeout:         "no answer in time",
		verify.Unreachable:     "none of its mail servers can be reached",
		verify.DNSFailure:      "its mail servers cannot be found: DNS failed",
		verify.TLSFailure:      "STARTTLS with its mail server failed",
		verify.ProtocolError:   "its mail server does not speak proper SMTP",
		verify.Temporary:       "its mail server has a temporary problem",
		verify.Greylisted:      "greylisted: the answer comes later",
		verify.RateLimited:     "its mail server wants fewer questions",
		verify.BlockedIP:       "its mail server refuses our address, which says nothing of the mailbox",
		verify.BlockedSender:   "its mail server refuses the sender, which says nothing of the mailbox",
		verify.Policy:          "refused for another reason, which says nothing of the mailbox",
		verify.Unconfirmed:     "its mail server will not say",
		verify.Busy:            "the mailbox exists, and gets too much mail for the moment",
		verify.Incident:        "refused, but its provider refuses recipients in a wave that cannot be true",
		verify.Disputed:        "refused by a mail server that is often wrong, or deliveries contradict",
		verify.Bounced:         "its last mail bounced, though it used to arrive; one more bounce refuses it",
	}
}
