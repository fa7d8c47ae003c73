// Package reply says what one SMTP reply of somebody else's server means.
//
// A reply is judged in two steps: whom is it about (the recipient, the sender,
// the client that connected, ...), and only then what does it say. Classify is a
// pure function from the stage of the conversation, the code and the enhanced
// code (RFC 3463 and the IANA registry of enhanced status codes) to a Class:
//
//	c := reply.Classify(reply.Input{Stage: reply.StageRcpt, Code: 550, Enhanced: enhanced})
//	// c.Label == reply.MailboxUnknown, c.Subject == reply.SubjectRecipient, c.Proof == true
//
// Class.Proof is the only thing that may refuse a recipient. It is true for a 5xx
// reply to RCPT whose enhanced code speaks of the recipient or its domain. It is
// never true for a 4xx, before RCPT, for x.7.z, x.0.0 or x.4.z, or for a bare code.
//
// LIMITS. The provider and the words of the reply are carried in Input but are not
// read, only the enhanced codes at the start of its lines: a server that puts a
// wrong code in front of the right words is believed by its code. What the code
// leaves open is said with low confidence.
package reply

import "github.com/rcptgate/rcptgate/internal/esmtp"

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
	Rule       string  // what decided, for people: "rcpt 5.1.1", "mail 550"
	// Proof: the reply says of this very recipient, or of its domain, that it
	// cannot receive mail. Nothing else may lead to a permanent refusal.
	Proof bool
}
