package policy

import (
	"log/slog"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// AppendLog appends the decision's keys and values for one structured log line, the same keys in
// the same order each time, those without a value left out:
//
//	recipient action shadow rule reply ref marks suppressed override hold limit
//	verdict reason confidence provider mx stage mx_reply cached   (if the verifier was asked)
//	wait_ms
//
// action is what happened; shadow is what would have happened in enforce mode. reply is ours, code
// and enhanced code; marks are joined by commas; suppressed is why the recipient is on the list,
// override what kind allows it, hold the kind of the sender's hold and limit whose; mx_reply is
// the mail server's refusal, escaped. With redact the recipient is shortened, and what the mail
// server wrote loses whatever may be an address or this local part.
func (d *Decision) AppendLog(dst []slog.Attr, redact bool) []slog.Attr {
	dst = append(dst, slog.String("recipient", logAddress(d.Recipient, redact)),
		slog.String("action", d.Action.String()))
	reply := d.Reply
	if d.Shadow != Continue {
		dst = append(dst, slog.String("shadow", d.Shadow.String()))
		reply = d.ShadowReply
	}
	dst = append(dst, slog.String("rule", d.Rule))
	if !reply.IsZero() {
		dst = append(dst, slog.String("reply", codes(reply)))
	}
	if d.Ref != "" {
		dst = append(dst, slog.String("ref", d.Ref))
	}
	if len(d.Marks) > 0 {
		dst = append(dst, slog.String("marks", strings.Join(d.Marks, ",")))
	}
	dst = d.appendGates(dst)
	if d.Result != nil {
		dst = d.appendResult(dst, redact)
	}
	return append(dst, slog.Int64("wait_ms", d.Elapsed.Milliseconds()))
}

func (d *Decision) appendGates(dst []slog.Attr) []slog.Attr {
	if d.Suppression != nil {
		dst = append(dst, slog.String("suppressed", string(d.Suppression.Reason)))
	}
	if d.Override != nil {
		dst = append(dst, slog.String("override", string(d.Override.Kind)))
	}
	if d.Hold != nil {
		dst = append(dst, slog.String("hold", d.Hold.Kind.String()), slog.String("limit", d.Hold.Name))
	}
	return dst
}

func (d *Decision) appendResult(dst []slog.Attr, redact bool) []slog.Attr {
	r := d.Result
	dst = append(dst,
		slog.String("verdict", string(verdictOf(r))),
		slog.String("reason", string(r.Reason)),
		slog.Float64("confidence", r.Confidence))
	if r.Provider != "" {
		dst = append(dst, slog.String("provider", r.Provider))
	}
	if r.MX != "" {
		dst = append(dst, slog.String("mx", escapeLog(r.MX)))
	}
	if r.Stage != "" {
		dst = append(dst, slog.String("stage", string(r.Stage)))
	}
	if !r.Reply.IsZero() && !r.Reply.Positive() { // a 250 says no more than the verdict
		text := r.Reply.String()
		if redact {
			text = redactText(text, d.Recipient)
		}
		dst = append(dst, slog.String("mx_reply", text))
	}
	return append(dst, slog.Bool("cached", r.Cached))
}

// codes is a reply without its words.
func codes(r esmtp.Reply) string {
	code := esmtp.Reply{Code: r.Code, Lines: []string{r.Enhanced().String()}}
	return strings.TrimSpace(code.String())
}

func logAddress(a esmtp.Address, redact bool) string {
	if redact {
		return a.Redacted()
	}
	if a.IsNull() {
		return "<>"
	}
	return string(esmtp.AppendEscaped(nil, a.String(), true))
}

func escapeLog(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return string(esmtp.AppendEscaped(nil, s, false))
		}
	}
	return s
}

// redactText takes out of a mail server's words what may tell the mailbox: everything that looks
// like an address, and every word that holds the recipient's local part. text is escaped as
// Reply.String does.
func redactText(text string, recipient esmtp.Address) string {
	local := strings.ToLower(string(esmtp.AppendEscaped(nil, recipient.Local(), true)))
	if strings.Contains(local, " ") {
		return "[…]" // a quoted local part with blanks: words cannot tell where it stands
	}
	words := strings.Split(text, " ")
	for i, word := range words {
		folded := strings.ToLower(word)
		if looksLikeAddress(folded) || holdsLocal(folded, local) {
			words[i] = "[…]"
		}
	}
	return strings.Join(words, " ")
}

// looksLikeAddress also knows the @ of URLs, VERP and xtext.
func looksLikeAddress(word string) bool {
	for _, at := range []string{"@", "%40", "=40", "+40"} {
		if strings.Contains(word, at) {
			return true
		}
	}
	return false
}

// holdsLocal looks for a local part in a word. One of up to three letters is looked for as a whole
// word only: "a" is in most words.
func holdsLocal(word, local string) bool {
	if len(local) > 3 {
		return strings.Contains(word, local)
	}
	return local != "" && strings.Trim(word, `<>()[]{}"',;:.!?`) == local
}
