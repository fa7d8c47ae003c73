package policyd

import (
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

// Answer is the kind of action that Postfix was told.
type Answer string

// The answers. Postfix is never told OK, which would skip its later restrictions.
const (
	Dunno   Answer = "dunno"   // go on with the next restriction
	Prepend Answer = "prepend" // the same, and add a header field
	Warn    Answer = "warn"    // the same, and log: what would have been refused in enforce mode
	Refuse  Answer = "reject"  // refuse for good
	Later   Answer = "defer"   // refuse for now, unless a later restriction refuses for good
)

const dunno = "action=DUNNO\n\n"

// appendRefusal appends the answer of a decision that refuses, or would in enforce mode.
func appendRefusal(dst []byte, tx *policy.Transaction, d *policy.Decision) ([]byte, Answer) {
	utf8 := tx.Mail.UTF8
	switch {
	case d.Shadow == policy.Reject:
		dst = append(dst, "action=WARN would reject: "...)
		return appendCoded(dst, d.Recipient, d.ShadowReply, utf8), Warn
	case d.Shadow == policy.Defer:
		dst = append(dst, "action=WARN would defer: "...)
		return appendCoded(dst, d.Recipient, d.ShadowReply, utf8), Warn
	case d.Action == policy.Reject:
		dst = append(dst, "action="...)
		return appendCoded(dst, d.Recipient, d.Reply, utf8), Refuse
	default:
		// Postfix has a code of its own for it, access_map_defer_code.
		dst = append(dst, "action=DEFER_IF_PERMIT "...)
		return appendText(dst, d.Recipient, d.Reply, utf8), Later
	}
}

// appendCoded appends the code, the enhanced code and the text of a reply.
func appendCoded(dst []byte, rcpt esmtp.Address, r esmtp.Reply, utf8 bool) []byte {
	code := r.Code
	switch {
	case code == 421:
		code = 451 // Postfix would end the session of its client
	case code == 521:
		code = 554 // the same
	case code < 400 || code > 599:
		code = 451 // what is not known is not permanent
	}
	dst = append(strconv.AppendInt(dst, int64(code), 10), ' ')
	return appendText(dst, rcpt, r, utf8)
}

// appendText appends the text of a reply, in one line, and ends the answer. What the text begins
// with to say whom it is about is left out: Postfix says that itself.
func appendText(dst []byte, rcpt esmtp.Address, r esmtp.Reply, utf8 bool) []byte {
	about := "<" + string(esmtp.AppendEscaped(nil, rcpt.String(), utf8)) + ">: "
	for i, line := range r.Lines {
		enhanced, text := cutEnhanced(line)
		switch {
		case i > 0:
			dst = append(dst, ' ')
		case enhanced != "":
			dst = append(append(dst, enhanced...), ' ')
		}
		dst = esmtp.AppendEscaped(dst, strings.TrimPrefix(text, about), utf8)
	}
	return endAction(dst)
}

// cutEnhanced takes the enhanced code off the line of a reply.
func cutEnhanced(line string) (enhanced, text string) {
	if word, rest, ok := strings.Cut(line, " "); ok {
		if _, ok := esmtp.ParseEnhancedCode(word); ok {
			return word, rest
		}
	}
	return "", line
}

// appendPrepend appends the answer that adds a header field, "Name: value" without a line end. A
// folded one is unfolded (RFC 5322 section 2.2.3): an answer is one line.
func appendPrepend(dst []byte, field string) []byte {
	dst = append(dst, "action=PREPEND "...)
	return endAction(esmtp.AppendEscaped(dst, strings.ReplaceAll(field, "\r\n", ""), false))
}

// endAction ends an answer, and leaves out blanks at its end.
func endAction(dst []byte) []byte {
	for len(dst) > 0 && dst[len(dst)-1] == ' ' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '\n', '\n')
}
