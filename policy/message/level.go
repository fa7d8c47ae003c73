package message

import (
	"fmt"
	"slices"
)

// Level says what follows from what a check finds.
type Level int

// The levels, each stronger than the one before.
const (
	Off    Level = iota // the check is not made
	Log                 // noted for the administrator
	Warn                // noted; rejected once bulk_auto enforces it
	Defer               // refused for now (4xx)
	Reject              // refused (5xx)
)

var levelNames = [...]string{"off", "log", "warn", "defer", "reject"}

// String is the level as it is written in the configuration.
func (l Level) String() string {
	if l < Off || l > Reject {
		return "unknown"
	}
	return levelNames[l]
}

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levelNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown level %q: write off, log, warn, defer or reject", text)
	}
	*l = Level(i)
	return nil
}

// Check names one check, as in the configuration.
type Check string

// The checks; their order is that of findings, and of which one the reply speaks.
const (
	Form            Check = "form"
	LineLength      Check = "line_length"
	HeaderSize      Check = "header_size"
	From            Check = "from"
	FreeProvider    Check = "free_provider"
	RecipientsOnce  Check = "recipients_once"
	MessageID       Check = "message_id"
	SenderDomain    Check = "sender_domain"
	SPF             Check = "spf"
	DKIM            Check = "dkim"
	DKIMWeak        Check = "dkim_weak"
	DKIMCovered     Check = "dkim_covered"
	DKIMAligned     Check = "dkim_aligned"
	DMARCRecord     Check = "dmarc_record"
	DMARC           Check = "dmarc"
	Aligned         Check = "aligned"
	OneClick        Check = "one_click"
	OneClickCovered Check = "one_click_covered"
	ListID          Check = "list_id"
)

// Info describes one check, for documentation and for checking a configuration.
type Info struct {
	Check Check
	// Finds says what the check finds wrong.
	Finds string
	// Bulk is the level in [BulkLevels].
	Bulk Level
	// Enforced: bulk_auto raises the level warn to reject. Not so for mere advice, for which no
	// receiver refuses mail.
	Enforced bool
	// Signed: the check needs the final signatures, and is off with the position "later".
	Signed bool

	enhanced [2]int // subject and detail of the enhanced code (RFC 3463, RFC 7372)
	text     string // what the reply says
	advice   string // what the sender can do
}

// Checks returns all checks in the order in which findings are reported.
func Checks() []Info { return slices.Clone(checks) }

// BulkLevels are the levels that suit a relay of bulk senders.
func BulkLevels() map[Check]Level {
	levels := make(map[Check]Level, len(checks))
	for i := range checks {
		levels[checks[i].Check] = checks[i].Bulk
	}
	return levels
}

func infoOf(c Check) *Info {
	for i := range checks {
		if checks[i].Check == c {
			return &checks[i]
		}
	}
	return nil
}

// checks is read only. The codes are those of RFC 7372 where it has one.
var checks = []Info{
	{
		Check: Form, Bulk: Reject, Enforced: true, enhanced: [2]int{6, 0},
		Finds: "bare CR, bare LF or NUL; 8-bit octets without 8BITMIME or SMTPUTF8; a header that does " +
			"not end or has a line that is no field; From or Date missing, double or unreadable, Date " +
			"more than 7 days ahead; more than one Subject, Message-ID, Sender, Reply-To, Bcc, " +
			"In-Reply-To or References (RFC 5322 sections 2.1, 3.6)",
		text: "the message is not as RFC 5322 says", advice: "correct the software that made it",
	},
	{
		Check: LineLength, Bulk: Reject, Enforced: true, enhanced: [2]int{6, 0},
		Finds:  "a line of more than 998 octets (RFC 5322 section 2.1.1)",
		text:   "a line is longer than 998 octets",
		advice: "encode the text as quoted-printable or base64",
	},
	{
		Check: HeaderSize, Bulk: Reject, Enforced: true, enhanced: [2]int{6, 0},
		Finds: "a header of more than 128 KiB or 1000 fields, or a field of more than 64 KiB or 1000 lines",
		text:  "the header is too large", advice: "shorten the header",
	},
	{
		Check: From, Bulk: Warn, Enforced: true, enhanced: [2]int{7, 1},
		Finds: "From with several mailboxes and no Sender (RFC 5322 section 3.6.2), or in bulk mail with " +
			"several at all; a display name that shows another address",
		text: "the From field is not acceptable", advice: "write one mailbox, with its own name",
	},
	{
		Check: FreeProvider, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 1},
		Finds:  "From at a free provider (gmail.com and others) without a signature of that provider",
		text:   "From is an address of a free provider, which did not send this",
		advice: "write from a domain of your own",
	},
	{
		Check: RecipientsOnce, Bulk: Log, enhanced: [2]int{6, 0},
		Finds: "more than one To or Cc field (RFC 5322 section 3.6)",
		text:  "To or Cc occurs more than once", advice: "put all addresses in one field",
	},
	{
		Check: MessageID, Bulk: Warn, enhanced: [2]int{6, 0},
		Finds: "no Message-ID, or one that is not <left@right> (RFC 5322 section 3.6.4)",
		text:  "there is no proper Message-ID", advice: "add one",
	},
	{
		Check: SenderDomain, Bulk: Reject, Enforced: true, enhanced: [2]int{1, 8},
		Finds: "the domain of From, Reply-To or the envelope sender takes no mail: it does not exist, has " +
			"no MX and no address, or a null MX (RFC 7505)",
		text: "replies cannot be delivered", advice: "use a domain that receives mail",
	},
	{
		Check: SPF, Bulk: Warn, Enforced: true, enhanced: [2]int{7, 23},
		Finds: "SPF (RFC 7208) of the envelope sender's domain, or of the HELO name for <>, does not give " +
			"pass for every address that mail leaves from",
		text: "SPF validation fails", advice: "add our addresses to the SPF record",
	},
	{
		Check: DKIM, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 20},
		Finds: "no signature is valid (RFC 6376): among the first five",
		text:  "there is no valid DKIM signature", advice: "sign the message",
	},
	{
		Check: DKIMWeak, Bulk: Log, Signed: true, enhanced: [2]int{7, 21},
		Finds: "every valid signature is of an RSA key below 2048 bits, or expires within 7 days",
		text:  "the DKIM signature is weak", advice: "use an RSA key of 2048 bits and no early expiry",
	},
	{
		Check: DKIMCovered, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 21},
		Finds: "every valid signature leaves out an occurrence of a field that it signs: something has " +
			"been put on top of the signed message",
		text:   "the DKIM signature does not cover every occurrence of a field",
		advice: "sign after the last change of the header",
	},
	{
		Check: DKIMAligned, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 22},
		Finds: "no valid signature is of the From domain, or of its organization if adkim is relaxed",
		text:  "no valid DKIM signature is of the From domain", advice: "sign with that domain",
	},
	{
		Check: DMARCRecord, Bulk: Warn, Enforced: true, enhanced: [2]int{7, 1},
		Finds: "no DMARC record applies to the From domain (RFC 9989), or several at one name",
		text:  "the From domain has no DMARC record", advice: "publish one; p=none is enough",
	},
	{
		Check: DMARC, Bulk: Reject, Enforced: true, Signed: true, enhanced: [2]int{7, 26},
		Finds: "neither DKIM nor SPF is aligned, and the record asks for quarantine or reject: the mail " +
			"would bounce or be filed as spam",
		text: "DMARC fails, and the policy asks to act", advice: "sign with the From domain",
	},
	{
		Check: Aligned, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 26},
		Finds: "neither DKIM nor SPF is aligned with the From domain, whatever its DMARC record",
		text:  "neither DKIM nor SPF is aligned with From", advice: "sign with the From domain",
	},
	{
		Check: OneClick, Bulk: Warn, Enforced: true, enhanced: [2]int{7, 1},
		Finds: "a subscription without exactly one List-Unsubscribe of exactly one https URI and exactly " +
			"one List-Unsubscribe-Post: List-Unsubscribe=One-Click (RFC 8058)",
		text: "one-click unsubscription is missing", advice: "see RFC 8058",
	},
	{
		Check: OneClickCovered, Bulk: Warn, Enforced: true, Signed: true, enhanced: [2]int{7, 1},
		Finds: "List-Unsubscribe and List-Unsubscribe-Post are not both covered by a valid signature " +
			"(RFC 8058 section 4)",
		text:   "one-click unsubscription is not signed",
		advice: "sign List-Unsubscribe and List-Unsubscribe-Post",
	},
	{
		Check: ListID, Bulk: Log, enhanced: [2]int{7, 1},
		Finds: "a mailing list's mail without List-Id (RFC 2919)",
		text:  "List-Id is missing", advice: "add it",
	},
}
