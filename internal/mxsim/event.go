package mxsim

import (
	"strings"
	"time"
)

// Stage is a point of a conversation.
type Stage string

// The stages. The names are those that the classifier of replies uses, as far as it has them.
const (
	Connect  Stage = "connect"
	Helo     Stage = "helo" // EHLO, HELO
	StartTLS Stage = "starttls"
	Mail     Stage = "mail"
	Rcpt     Stage = "rcpt"
	Data     Stage = "data"
	Body     Stage = "body" // asked once, when the message begins
	Dot      Stage = "dot"
	Reset    Stage = "rset"
	Quit     Stage = "quit"
	XForward Stage = "xforward"
	Auth     Stage = "auth"  // AUTH, and each line behind a 334
	Other    Stage = "other" // NOOP, VRFY, what is not known
)

// Event is one step: a command, a new connection, or the end of a message.
type Event struct {
	Stage   Stage
	Line    string   // the command as received, without the line end
	Path    string   // of MAIL and RCPT, as written, without <>
	Local   string   // of MAIL and RCPT, quoted-pairs resolved
	Domain  string   // of MAIL and RCPT, as written
	Params  []string // of MAIL and RCPT, as written
	Mailbox Mailbox  // of RCPT: the truth
	Message *Message // of Dot
}

// Answer is what a host does at one step. The zero value says nothing and goes on.
type Answer struct {
	// Text is a reply, "CODE text"; further lines follow "\n" without the code. The words
	// {rcpt} {from} {local} {domain} {host} {helo} {peer} {id} are filled in.
	Text string
	// Raw is sent instead of Text, octet by octet as it is. A reply code at its beginning
	// counts for what follows (354 begins a message, 220 after STARTTLS the handshake).
	Raw     string
	Delay   time.Duration // before the reply
	Drip    time.Duration // between octets
	Endless bool          // Raw again and again until the client has gone
	Close   bool          // the connection ends after the reply
	Hang    bool          // nothing more is ever said; the connection stays open
	// After is for stage Body: what is asked for happens when so many octets of the message
	// have come, as the client sends them.
	After int64

	pass bool // only Delay counts: what to say is left to the next behaviour
}

// Say returns the answer with this reply.
func Say(text string) Answer { return Answer{Text: text} }

// Behaviour decides about one step, or leaves it to the next one (false); the last word has the
// Wording of the site. A Behaviour may keep state, so make one for each site or host. It is
// called by many connections at the same time.
type Behaviour func(s *Session, e Event) (Answer, bool)

// Session is what a Behaviour may know of the conversation. It is valid during the call only.
type Session struct {
	Host     *Host
	Site     *Site // at RCPT that of the recipient's domain; nil for a relay
	Peer     string
	PeerIP   string
	Helo     string
	Extended bool   // EHLO, not HELO
	From     string // path of the open transaction
	Opened   bool   // there is an open transaction
	TLS      bool
	User     string // logged in as
	Rcpts    int    // RCPT commands of this connection, this one included
	Named    int    // RCPT commands of this transaction, this one included
	Refused  int    // RCPT commands answered with 4xx or 5xx before this one
	Commands int    // commands of this connection, this one included

	unknown int // unknown recipients that a Guard counted
}

// wire returns the octets of an answer.
func (a Answer) wire(fill *filling) string {
	if a.Raw != "" || a.Text == "" {
		return a.Raw
	}
	text := fill.replace(a.Text)
	if len(text) < 4 || text[3] == ' ' && !strings.Contains(text, "\n") {
		return text + "\r\n"
	}
	code, lines := text[:3], strings.Split(text[4:], "\n")
	var b strings.Builder
	for i, line := range lines {
		b.WriteString(code)
		b.WriteByte(" -"[btoi(i < len(lines)-1)])
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
