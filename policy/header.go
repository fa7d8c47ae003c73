package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// maxHeader is the limit of a line of a header (RFC 5322 section 2.1.1). The line is not folded.
const maxHeader = 998

// maxMark bounds a mark in octets.
const maxMark = 40

// headerPlaceholders is what the value of a header may hold. It goes to every recipient of the
// message, so it names none of them, nor their domains and mail servers: those of Bcc are nobody's
// business. Read only.
var headerPlaceholders = []string{
	"sender", "client", "verdict", "reason", "code", "enhanced", "stage", "rule", "marks",
}

// takenFields are the header fields that mean something to mail servers, filters, signatures and
// mail programs, in lower case. A rule must not set them: on top of a message they win. Sources:
// RFC 5322 section 3.6, the IANA registry of message header fields, and what Postfix and others
// use. Read only.
var takenFields = []string{
	"apparently-to", "auto-submitted", "bcc", "cc", "comments", "date", "delivered-to",
	"disposition-notification-options", "disposition-notification-to", "dkim-signature",
	"dkim2-signature", "domainkey-signature", "encrypted", "errors-to", "expires", "feedback-id",
	"from", "importance", "in-reply-to", "keywords", "message-id", "mime-version",
	"original-recipient",
	"precedence", "priority", "received", "received-spf", "references", "reply-by", "reply-to",
	"require-recipient-valid-since", "return-path", "return-receipt-to", "sender", "sensitivity",
	"subject", "tls-report-domain", "tls-report-submitter", "tls-required", "to", "vbr-info",
	"x-original-to", "x-rcpt-to",
}

// takenPrefixes are groups of such fields. Read only.
var takenPrefixes = []string{
	"arc-", "authentication-results", "bimi-", "content-", "list-", "mmhs-", "resent-", "x400-",
}

// checkMark says what is wrong with the name of a mark.
func checkMark(mark string) (detail, hint string) {
	bad := strings.ContainsFunc(mark, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	if mark == "" || bad || len(mark) > maxMark {
		return fmt.Sprintf("%q is no name of a mark", mark),
			fmt.Sprintf("write up to %d small letters, digits, - and _", maxMark)
	}
	return "", ""
}

// header is a header field to add, its name and its value.
type header struct {
	name  string
	value template
}

// parseHeader checks "NAME: value". On a fault column counts from 1; 0 is the whole field.
func parseHeader(text string) (h *header, column int, detail, hint string) {
	name, value, found := strings.Cut(text, ":")
	if !found {
		return nil, 0, "the header has no colon", `write "X-Rcptgate: {verdict} {reason}"`
	}
	if column, detail, hint = checkField(name); detail != "" {
		return nil, column, detail, hint
	}
	trimmed := strings.TrimLeft(value, " \t")
	before := len(text) - len(trimmed)
	if strings.TrimSpace(trimmed) == "" {
		return nil, 0, "the header has no value", `write "` + name + `: {verdict} {reason}"`
	}
	t, column, detail, hint := parseTemplate(strings.TrimRight(trimmed, " \t"), headerPlaceholders)
	if detail == "" {
		return &header{name, t}, 0, "", ""
	}
	if column > 0 {
		column += before
	}
	detail = strings.Replace(detail, "the text has", "the header has", 1)
	for _, known := range placeholders {
		if strings.Contains(detail, "unknown placeholder {"+known+"}") {
			detail = "a header cannot hold {" + known + "}"
			hint = "it goes to every recipient of the message; valid: " +
				strings.Join(headerPlaceholders, ", ")
		}
	}
	return nil, column, detail, hint
}

// checkField checks the name of a field: RFC 5322 section 3.6.8, and that nobody else uses it.
func checkField(name string) (column int, detail, hint string) {
	const own = `write a name of your own, such as "X-Rcptgate"`
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' {
			return i + 1, fmt.Sprintf("%q cannot stand in the name of a header field", name[i:i+1]), own
		}
	}
	folded := strings.ToLower(name)
	switch {
	case name == "" || len(name) > 64:
		return 1, "the name of a header field has 1 to 64 characters", own
	case slices.Contains(takenFields, folded), slices.ContainsFunc(takenPrefixes,
		func(prefix string) bool { return strings.HasPrefix(folded, prefix) }):
		return 1, fmt.Sprintf("the header field %s means something to others", name), own
	}
	return 0, "", ""
}

// field is the complete field of one recipient, one line without CRLF, whatever the values are.
func (w *walk) field(rule *compiledRule) string {
	value := rule.header.value.expand(func(placeholder string) string {
		value := w.value(placeholder, rule, "")
		if value == "" {
			return "none"
		}
		return string(esmtp.AppendEscaped(nil, value, false))
	})
	return cut(rule.header.name+": "+value, maxHeader)
}
