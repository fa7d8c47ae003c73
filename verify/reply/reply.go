// Package reply says what one SMTP reply of somebody else's server means.
//
// A reply is judged in two steps: whom is it about (the recipient, the sender, the client that
// connected, ...), and only then what does it say. Classify is a pure function from code,
// enhanced code, text, stage of the conversation and provider to a Class:
//
//	c := reply.Classify(reply.Input{Stage: reply.StageRcpt, Code: 550, Text: "5.1.1 no such user"})
//	// c.Label == reply.MailboxUnknown, c.Subject == reply.SubjectRecipient, c.Proof == true
//
// Explain is the same with what was seen.
//
// # Rules
//
// The rules are data, in rules/*.toml, each with its source and replies that it decides. The
// first that holds decides. Their order is that of the evidence:
//
//	ticket     what a provider always says in one way, often a number of its own
//	veto       about us, the message, the server, the conversation
//	recipient  full, disabled, moved, unknown; the recipient's domain
//	enhanced   the enhanced code (RFC 3463 and the IANA registry), where it is about us
//	hint       vague words
//	code       the enhanced code about the recipient, the basic code and the stage
//
// So a veto beats 5.1.1, and words about the recipient beat 5.7.1. Before RCPT no rule about the
// recipient is asked: the server has not heard of it. Names are taken out of the text first
// (addresses, hosts, URLs, IP addresses), so that a mailbox called "spam" does not speak.
//
// In a rule every condition that is given must hold: any (one of these phrases), all and near
// (one of each of several lists; near: in one sentence), not, raw (letter by letter), most (the
// number of words), codes,
// enhanced, stages, providers. A phrase is whole words; "full*" is any word that begins so;
// "a ~ b" is a with at most two words between it and b, "a ~5 b" five; "{box}" is each entry of
// the list of that name under [words]; "url:x" is a word in a host name or URL; "@addr", "@ip",
// "@host", "@url" tell that such a name stood there.
//
// # Proof
//
// Class.Proof is the only thing that may refuse a recipient. It takes a rule that may prove, a
// 5xx to RCPT or to the end of data, a subject that is the recipient or its domain, no enhanced
// code about the message or policy (x.6.z, x.7.z; but for a few texts of providers that use it
// for an unknown user), and no second line with another enhanced code. Relaying denied is
// domain_unknown and no proof: it may be about us, who did not log in or came to a host that
// is set up wrongly, just as well as about the domain. A full mailbox is no proof either.
//
// LIMITS. The first 4 KiB and the last 4 KiB of a text are read. A label is as good as the words;
// see Class.Confidence. At most 1023 lists of phrases and 65535 nodes fit the automaton.
package reply

import (
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Stage is the point of the SMTP conversation that a reply, or its absence, belongs to.
type Stage string

// The stages. StageUnknown is for replies whose origin is not known (a bounce, a log line).
const (
	StageConnect  Stage = "connect"  // TCP connect and the banner
	StageHelo     Stage = "helo"     // EHLO or HELO
	StageStartTLS Stage = "starttls" // STARTTLS and the handshake
	StageMail     Stage = "mail"     // MAIL FROM
	StageRcpt     Stage = "rcpt"     // RCPT TO
	StageData     Stage = "data"     // the DATA command
	StageDot      Stage = "dot"      // the end of data
	StageUnknown  Stage = "unknown"
)

// Stages returns all stages, in the order of the conversation.
func Stages() []Stage { return allStages() }

// Label is what a reply says.
type Label string

// The labels, a closed set.
const (
	MailboxUnknown  Label = "mailbox_unknown"  // no such mailbox
	MailboxDisabled Label = "mailbox_disabled" // it exists, but is suspended or inactive
	MailboxFull     Label = "mailbox_full"     // over quota
	DomainUnknown   Label = "domain_unknown"   // no such domain, or not hosted there
	Greylisted      Label = "greylisted"       // come again later, same sender, same recipient
	RateLimited     Label = "rate_limited"     // too much, too fast
	BlockedIP       Label = "blocked_ip"       // our address, HELO, reverse DNS or reputation
	BlockedSender   Label = "blocked_sender"   // MAIL FROM, its domain, SPF, DKIM, DMARC
	PolicyOther     Label = "policy_other"     // another refusal by policy, or an unclear one
	TooBig          Label = "too_big"          // message size
	ProtocolError   Label = "protocol_error"   // syntax, sequence, unknown command or parameter
	TempOther       Label = "temp_other"       // another temporary condition
	Moved           Label = "moved"            // the mailbox has moved
	Accepted        Label = "accepted"         // a positive reply
)

// Subject is whom or what a reply is about.
type Subject string

// The subjects, a closed set.
const (
	SubjectRecipient Subject = "recipient"
	SubjectSender    Subject = "sender"
	SubjectClient    Subject = "client" // the host that connected: its address, name, reputation, rate
	SubjectDomain    Subject = "domain" // the recipient's domain
	SubjectMessage   Subject = "message"
	SubjectServer    Subject = "server" // the server that replied
	SubjectUnclear   Subject = "unclear"
)

// Input is one reply and where it was heard.
type Input struct {
	Code     int                // 200 to 599; anything else is a protocol error
	Enhanced esmtp.EnhancedCode // zero: none was sent
	Text     string             // as received, lines joined by "\n"
	Stage    Stage              // empty counts as StageUnknown
	Provider string             // the provider's name, "" if not known
}

// Class is the judgement of one reply.
type Class struct {
	Label      Label
	Subject    Subject
	Confidence float64 // 0 to 1: how sure Label is
	Rule       string  // what decided, for people: the family and the rule, "recipient/unknown"
	// Proof: the reply says of this very recipient, or of its domain, that it
	// cannot receive mail. Nothing else may lead to a permanent refusal.
	Proof bool
	// Exists: the reply says that this very mailbox exists: it is full, or gets more mail
	// than it may just now. Such a reply neither refuses the mailbox nor is it about us.
	Exists bool
	// Retry is the delay that the text of a 4xx names ("in 5 minutes", "00:04:12"), 0 if it
	// names none; never less than 10 seconds nor more than a day.
	Retry time.Duration
}
