package verify

import (
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// Verdict is what is known of a mailbox. The zero value counts as Unknown; use
// [Result.Verdict] as it comes, the Verifier never leaves it empty.
type Verdict string

// The verdicts, a closed set.
const (
	Unknown       Verdict = "unknown"       // not known; never a reason to refuse for good
	Deliverable   Verdict = "deliverable"   // its server takes mail for it
	Undeliverable Verdict = "undeliverable" // there is proof that it takes none
	Risky         Verdict = "risky"         // it exists, but mail may well not get there
)

// Reason is why a verdict is what it is, for rules and metrics.
type Reason string

// The reasons, a closed set, by the verdict that they come with.
const (
	// Deliverable.

	MailboxExists Reason = "mailbox_exists" // 250 or 251 to RCPT
	Delivered     Reason = "delivered"      // earlier mail for it was delivered, and nothing speaks against it

	// Undeliverable: always with Result.Proof.

	MailboxUnknown  Reason = "mailbox_unknown"  // its server says there is no such mailbox
	MailboxDisabled Reason = "mailbox_disabled" // its server says it is switched off
	Moved           Reason = "moved"            // its server says it has moved away
	NullMX          Reason = "null_mx"          // the domain says it takes no mail (RFC 7505)
	DomainUnknown   Reason = "domain_unknown"   // NXDOMAIN, or its own server disowns the domain

	// Risky.

	// AcceptAll: its server accepts every address at RCPT, so that says nothing of this one.
	AcceptAll   Reason = "accept_all"
	MailboxFull Reason = "mailbox_full" // over quota
	NoSMTPUTF8  Reason = "no_smtputf8"  // the address needs SMTPUTF8, its server lacks it

	// Unknown, because we do not ask.

	InternalDomain Reason = "internal_domain" // on the internal_domains list
	// NotProbed: no domain, a literal, a local name, a routed address, only memory wanted.
	NotProbed  Reason = "not_probed"
	OwnAddress Reason = "own_address" // an address that our probes are sent from
	NullSender Reason = "null_sender" // mail from <>, and nothing in memory
	Self       Reason = "self"        // the client or the mail server is ourselves
	Passive    Reason = "passive"     // passive mode, and nothing in memory
	// ProviderPassive: its provider is not asked (its profile says so), and nothing in memory.
	ProviderPassive Reason = "provider_passive"

	// Unknown, because of our own limits.

	BudgetSpent Reason = "budget"      // the waiting time of the message is used up
	LocalLimit  Reason = "local_limit" // too many questions at one time, or to one domain in vain
	Breaker     Reason = "breaker"     // no mail server answers us: our own network is at fault
	Closing     Reason = "closing"     // the gate is shutting down

	// Unknown, because no answer was to be had.

	NoMailHost    Reason = "no_mail_host"   // the domain exists, but has no host for mail
	Timeout       Reason = "timeout"        // no answer in time; the asking goes on
	Unreachable   Reason = "unreachable"    // no connection to any of its servers
	DNSFailure    Reason = "dns_failure"    // SERVFAIL, timeout: nothing learnt from DNS
	TLSFailure    Reason = "tls_failure"    // STARTTLS broke the conversation
	ProtocolError Reason = "protocol_error" // its server does not speak SMTP as it should
	Temporary     Reason = "temporary"      // another temporary condition

	// Unknown, because the answer was not about the mailbox.

	// Greylisted: come again later with the same sender. The verdict is Deliverable where the same
	// server refuses unknown mailboxes at once and greylists only those that exist.
	Greylisted    Reason = "greylisted"
	RateLimited   Reason = "rate_limited"   // its server wants less of us
	BlockedIP     Reason = "blocked_ip"     // its server refuses our address
	BlockedSender Reason = "blocked_sender" // its server refuses the sender
	Policy        Reason = "policy"         // another refusal, or one that does not say why
	Unconfirmed   Reason = "unconfirmed"    // 252: its server will not say
	Busy          Reason = "busy"           // it exists, and has too much mail for the moment
	Incident      Reason = "incident"       // refused, in a wave of refusals that cannot be true
	Disputed      Reason = "disputed"       // refused, but by a server that is often wrong, or deliveries contradict
	Bounced       Reason = "bounced"        // its last mail bounced, though it used to arrive; nobody can be asked
)

// Step is one step of the walk that led to a verdict, for people.
type Step struct {
	At     time.Duration // since the question
	What   string        // "cache", "mx", "probe", "classify", ...
	Detail string        // escaped: may be printed as it is
}

// Result is what the Verifier knows of one mailbox. It is a value; Steps and
// Reply.Lines are shared and must not be changed.
type Result struct {
	Address esmtp.Address // as asked
	Verdict Verdict
	Reason  Reason
	// Confidence is how sure the verdict is, 0 to 1; 0 for Unknown.
	Confidence float64
	// Deliverability is the probability, 0 to 1, that mail will be delivered. The
	// numbers are start values from one table (weights.go), not measurements.
	Deliverability float64

	Provider string      // name of its provider's profile (package provider); "" where not known
	MX       string      // the mail server that answered
	Stage    reply.Stage // where the conversation ended; "" if there was none
	// Reply is the server's own reply, cut to 1 KiB; zero if there was none. It is
	// raw: print it with Reply.String.
	Reply    esmtp.Reply
	Label    reply.Label // what Reply says
	CatchAll bool        // the domain is known to accept every address
	// Proof: the mailbox is refused by its own server, or its domain takes no mail.
	// It is true for every Undeliverable and for no other verdict.
	Proof bool

	Checked time.Time // when its server, or DNS, was asked; zero if it was not
	Expire  time.Time // until when this may be reused; zero if it may not
	// RetryAfter is when asking again may bring more, from now; 0: no use, or at once.
	RetryAfter time.Duration
	Cached     bool          // from memory
	Elapsed    time.Duration // how long Verify took

	// With Question.Trace, or CatchAll, only:

	Domain    *DomainReport // what is known of the domain; nil: nothing
	Delivered time.Time     // when mail for it was last seen to arrive; zero: not within memory
	Steps     []Step        // with Question.Trace only
}
