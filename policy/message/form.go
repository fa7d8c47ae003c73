package message

import (
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// maxAhead is how far Date may lie in the future.
const maxAhead = 7 * 24 * time.Hour

// once are the fields that RFC 5322 section 3.6 allows at most once, but for From and Date, which
// must be there, and To and Cc, which receivers take twice.
var once = []kind{
	kindSubject, kindMessageID, kindSender, kindReplyTo, kindBcc, kindInReplyTo, kindReferences,
}

// author is what the header says about who wrote the message, and whether it is sent in bulk.
type author struct {
	from, sender, replyTo []mailbox
	fromFault             string // why from is empty
	senderFault           string

	date      string
	messageID string

	subscription bool // somebody subscribed to it, or may want to unsubscribe
	list         bool // a mailing list's
	listID       bool

	unsubscribe      []string // the URIs
	unsubscribeFault string
	unsubscribePost  string
	count            [kinds]int
	badLine          int
	excess           string
}

// readAuthor copies what the checks need, bounded, so that the header itself need not be kept.
func readAuthor(h *header, env *Envelope) *author {
	a := &author{count: h.count, badLine: h.badLine, excess: h.excess}
	a.from, a.fromFault = h.mailboxes(kindFrom)
	a.sender, a.senderFault = h.mailboxes(kindSender)
	a.replyTo, _ = h.mailboxes(kindReplyTo)
	a.date = h.text(kindDate, 200)
	a.messageID = h.text(kindMessageID, maxLine)
	precedence := strings.ToLower(h.text(kindPrecedence, 20))
	auto := strings.ToLower(h.text(kindAutoSubmitted, 40))
	a.list = precedence == "list" || h.count[kindListPost] > 0 || slices.Contains(env.Marks, "list")
	a.listID = h.count[kindListID] > 0
	a.subscription = a.list || a.listID || h.count[kindListUnsubscribe] > 0 ||
		precedence == "bulk" || slices.Contains(env.Marks, "bulk") ||
		slices.Contains(env.Marks, "marketing")
	if env.From.IsNull() || strings.HasPrefix(auto, "auto-replied") {
		a.subscription, a.list = false, false // a bounce, or an answer that somebody's mail brought about
	}
	if f := h.first(kindListUnsubscribe); f != nil {
		value, whole := f.value(maxUnsubscribe)
		a.unsubscribe, a.unsubscribeFault = parseURIs(value)
		if !whole {
			a.unsubscribeFault = "it is longer than 8192 octets"
		}
	}
	a.unsubscribePost = h.text(kindListUnsubscribePost, 100)
	return a
}

// mailboxes parses the first field of a kind; a fault if that fails.
func (h *header) mailboxes(k kind) ([]mailbox, string) {
	f := h.first(k)
	if f == nil {
		return nil, ""
	}
	value, whole := f.value(maxAddressField)
	if !whole {
		return nil, "it is longer than 8192 octets"
	}
	return parseMailboxes(value)
}

// domain is the From domain, as A-labels; "" if there is none, or several (RFC 9989 section 5.3.1
// exempts those), or an address literal.
func (a *author) domain() string {
	if len(a.from) == 0 || a.count[kindFrom] != 1 {
		return ""
	}
	d := a.from[0].addr.ASCIIDomain()
	for _, m := range a.from {
		if m.addr.ASCIIDomain() != d || m.addr.IsLiteral() {
			return ""
		}
	}
	return d
}

// form finds what is not as RFC 5322 says, the worst first; "" is nothing.
func (a *author) form(l *lexer, env *Envelope, now time.Time) string {
	switch {
	case l.nul:
		return "it has a NUL octet"
	case l.bareCR:
		return "it has a CR that is not followed by LF"
	case l.bareLF:
		return "it has a LF without CR before it"
	case l.eight && !env.EightBit && !env.UTF8:
		return "it has octets above 127, but neither BODY=8BITMIME nor SMTPUTF8 was declared"
	case a.badLine > 0:
		return "line " + strconv.Itoa(a.badLine) + " of the header is no header field"
	case !l.body:
		return "no empty line ends the header"
	case a.excess != "":
		return "" // header_size says so; what is behind the limit is not known
	}
	if fault := a.formFrom(); fault != "" {
		return fault
	}
	if fault := a.formDate(now); fault != "" {
		return fault
	}
	for _, k := range once {
		if a.count[k] > 1 {
			return "it has " + strconv.Itoa(a.count[k]) + " " + kindNames[k] + " fields"
		}
	}
	return ""
}

func (a *author) formFrom() string {
	switch {
	case a.count[kindFrom] == 0:
		return "it has no From field"
	case a.count[kindFrom] > 1:
		return "it has " + strconv.Itoa(a.count[kindFrom]) + " From fields"
	case a.fromFault != "":
		return "the From field cannot be read: " + a.fromFault
	case len(a.from) == 0:
		return "the From field has no mailbox"
	}
	return ""
}

func (a *author) formDate(now time.Time) string {
	switch {
	case a.count[kindDate] == 0:
		return "it has no Date field"
	case a.count[kindDate] > 1:
		return "it has " + strconv.Itoa(a.count[kindDate]) + " Date fields"
	}
	date, err := mail.ParseDate(a.date)
	switch {
	case err != nil:
		return "the Date field cannot be read"
	case date.Sub(now) > maxAhead:
		return "the Date is more than 7 days in the future"
	}
	return ""
}

// authors finds what is wrong with From where the form is right; bulk is the stricter rule for bulk
// mail.
func (a *author) authors(bulk bool) string {
	switch {
	case len(a.from) > 1 && bulk:
		return "bulk mail has more than one author"
	case len(a.from) > 1 && a.count[kindSender] == 0:
		return "it has more than one author, but no Sender field"
	case a.count[kindSender] > 0 && (a.senderFault != "" || len(a.sender) != 1):
		return "the Sender field is not one mailbox"
	}
	for i := range a.from {
		if shown := a.from[i].shows(); shown != "" {
			return "the display name shows another address, " + safe(shown)
		}
	}
	return ""
}

// recipientsOnce finds To and Cc more than once.
func (a *author) recipientsOnce() string {
	for _, k := range []kind{kindTo, kindCc} {
		if a.count[k] > 1 {
			return "it has " + strconv.Itoa(a.count[k]) + " " + kindNames[k] + " fields"
		}
	}
	return ""
}

// identifier finds what is wrong with the Message-ID.
func (a *author) identifier() string {
	if a.count[kindMessageID] == 0 {
		return "it has no Message-ID"
	}
	inside, left := strings.CutPrefix(a.messageID, "<")
	inside, right := strings.CutSuffix(inside, ">")
	before, after, at := strings.Cut(inside, "@")
	if !left || !right || !at || before == "" || after == "" || strings.ContainsAny(inside, "<> \t") {
		return "the Message-ID is not <left@right>"
	}
	return ""
}

// oneClick finds what RFC 8058 section 3.1 lacks.
func (a *author) oneClick() string {
	switch n := a.count[kindListUnsubscribe]; {
	case n == 0:
		return "it has no List-Unsubscribe field"
	case n > 1:
		return "it has " + strconv.Itoa(n) + " List-Unsubscribe fields"
	case a.unsubscribeFault != "":
		return "the List-Unsubscribe field cannot be read: " + a.unsubscribeFault
	}
	if fault := oneClickURI(a.unsubscribe); fault != "" {
		return "List-Unsubscribe: " + fault
	}
	switch n := a.count[kindListUnsubscribePost]; {
	case n == 0:
		return "it has no List-Unsubscribe-Post field"
	case n > 1:
		return "it has " + strconv.Itoa(n) + " List-Unsubscribe-Post fields"
	case a.unsubscribePost != oneClickPost:
		return "List-Unsubscribe-Post is not " + oneClickPost
	}
	return ""
}

// safe makes octets of the message fit to be shown: escaped, in ASCII, at most 80 octets.
func safe(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most]
	}
	s = string(esmtp.AppendEscaped(nil, s, false))
	return s[:min(len(s), most)]
}
