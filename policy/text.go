package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/verify"
)

// maxText is the limit of a rule's text as written, in octets: with its placeholders filled it has
// to fit a reply line of 512 octets.
const maxText = 400

// placeholders is the closed set of what a text may hold between braces. What is not known is
// "none". Read only.
var placeholders = []string{
	"recipient", "domain", "sender", "client", "verdict", "reason", "mx", "code", "enhanced",
	"stage", "rule", "marks", "ref",
}

// template is a text cut at its placeholders: literals at even positions, placeholder names at odd.
type template []string

// parseTemplate checks a text of a rule: one line of printable ASCII, with these placeholders. On a
// fault column counts from 1; 0 is the whole text.
func parseTemplate(text string, valid []string) (t template, column int, detail, hint string) {
	if len(text) > maxText {
		return nil, 0, fmt.Sprintf("the text has %d octets, more than %d", len(text), maxText),
			"shorten it: a reply is one line of at most 512 octets"
	}
	if strings.TrimSpace(text) == "" {
		return nil, 0, "the text is blank", "leave text out for the default one"
	}
	for i, r := range []rune(text) {
		if r < ' ' || r > '~' {
			return nil, i + 1, fmt.Sprintf("the text has the character %q", r),
				"write one line of printable ASCII (RFC 5321 section 4.2)"
		}
	}
	rest, at := text, 0
	for {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			return append(t, rest), 0, "", ""
		}
		inside, after, closed := strings.Cut(rest[open+1:], "}")
		if rest[open] == '}' || !closed {
			return nil, at + open + 1, fmt.Sprintf("the brace %q has no partner", rest[open]),
				"braces enclose placeholders: {" + strings.Join(valid, "}, {") + "}"
		}
		if !slices.Contains(valid, inside) {
			return nil, at + open + 1, fmt.Sprintf("unknown placeholder {%s}", inside),
				oneOf(inside, valid)
		}
		t = append(t, rest[:open], inside)
		at += len(rest) - len(after)
		rest = after
	}
}

// uses says whether the text has a placeholder.
func (t template) uses(placeholder string) bool {
	for i := 1; i < len(t); i += 2 {
		if t[i] == placeholder {
			return true
		}
	}
	return false
}

// expand fills the placeholders. value gives what is fit for a reply: escaped and short.
func (t template) expand(value func(placeholder string) string) string {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			part = value(part)
		}
		b.WriteString(part)
	}
	return b.String()
}

// values gives the placeholders of one recipient, escaped; "none" for what is not known. It never
// asks the verifier: a text says what the conditions found out.
func (w *walk) values(rule *compiledRule, ref string) func(string) string {
	return func(placeholder string) string {
		value := w.value(placeholder, rule, ref)
		if value == "" {
			return "none"
		}
		return w.escape(value)
	}
}

func (w *walk) value(placeholder string, rule *compiledRule, ref string) string {
	switch placeholder {
	case "recipient":
		return w.rcpt.To.String()
	case "domain":
		return w.rcpt.To.ASCIIDomain()
	case "sender":
		if w.tx.Mail.From.IsNull() {
			return "<>"
		}
		return w.tx.Mail.From.String()
	case "client":
		return w.clientAddr()
	case "rule":
		return rule.Name
	case "marks":
		return strings.Join(w.marks, ",")
	case "ref":
		return ref
	}
	if w.result == nil {
		return ""
	}
	return resultValue(placeholder, w.result)
}

func resultValue(placeholder string, r *verify.Result) string {
	switch placeholder {
	case "verdict":
		return string(verdictOf(r))
	case "reason":
		return string(r.Reason)
	case "mx":
		return r.MX
	case "stage":
		return string(r.Stage)
	case "enhanced":
		return r.Reply.Enhanced().String()
	case "code":
		if !r.Reply.IsZero() {
			return strconv.Itoa(r.Reply.Code)
		}
	}
	return ""
}
