package message

import (
	"bytes"
	"strings"
)

// Limits of a header that is looked at. Postfix takes 100 KiB by default (header_size_limit), Gmail
// 200 KiB.
const (
	maxHeader     = 128 << 10 // octets
	maxFields     = 1000
	maxField      = 64 << 10 // octets of one field
	maxFieldLines = 1000     // lines of one field
)

// kind is which field it is, of those that matter here.
type kind uint8

const (
	kindOther kind = iota
	kindFrom
	kindSender
	kindReplyTo
	kindTo
	kindCc
	kindBcc
	kindSubject
	kindDate
	kindMessageID
	kindInReplyTo
	kindReferences
	kindSignature
	kindListUnsubscribe
	kindListUnsubscribePost
	kindListID
	kindListPost
	kindPrecedence
	kindAutoSubmitted
	kindContentType
	kindContentTransferEncoding
	kindMIMEVersion
	kinds
)

// kindNames are written as they are shown; to compare, lower them.
var kindNames = [kinds]string{
	"", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID",
	"In-Reply-To", "References", "DKIM-Signature", "List-Unsubscribe", "List-Unsubscribe-Post",
	"List-Id", "List-Post", "Precedence", "Auto-Submitted", "Content-Type",
	"Content-Transfer-Encoding", "MIME-Version",
}

func kindOf(name []byte) kind {
	for k := kindFrom; k < kinds; k++ {
		if len(name) == len(kindNames[k]) && strings.EqualFold(string(name), kindNames[k]) {
			return k
		}
	}
	return kindOther
}

// field is one field of a header: raw is all of it with its folds and last CRLF.
type field struct {
	kind  kind
	raw   []byte
	colon int // where the colon is in raw
	lines int
}

// name is the field's name without blanks, which obsolete syntax has before the colon.
func (f *field) name() []byte { return bytes.TrimRight(f.raw[:f.colon], " \t") }

// value is the field's value on one line, without blanks around it; at most limit octets of it.
func (f *field) value(limit int) (value string, whole bool) {
	raw := bytes.TrimSpace(f.raw[f.colon+1:])
	var b strings.Builder
	for _, c := range raw {
		if c == '\r' || c == '\n' {
			continue
		}
		if b.Len() == limit {
			return b.String(), false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// header is a header taken apart. Its fields point into the octets it was made of.
type header struct {
	fields []field
	count  [kinds]int
	// badLine is the first line, from 1, that is neither a field nor the continuation of one; 0: none.
	badLine int
	// excess says which limit the header exceeds; "": none. The fields up to there are in fields.
	excess string
}

// parseHeader takes octets apart that end with the empty line, or do not.
func parseHeader(octets []byte) *header {
	h := &header{}
	for n := 1; len(octets) > 0; n++ {
		line := octets
		if end := bytes.Index(octets, []byte("\r\n")); end >= 0 {
			line = octets[:end+2]
		}
		octets = octets[len(line):]
		if string(line) == "\r\n" {
			break
		}
		if !h.add(line, n) {
			break
		}
	}
	return h
}

// add takes the next line. It reports false if a limit is exceeded.
func (h *header) add(line []byte, n int) bool {
	if line[0] == ' ' || line[0] == '\t' {
		if len(h.fields) == 0 {
			h.bad(n)
			return true
		}
		f := &h.fields[len(h.fields)-1]
		f.raw = f.raw[:len(f.raw)+len(line)] // the line stands right behind it
		f.lines++
		switch {
		case f.lines > maxFieldLines:
			h.excess = "a field has more than 1000 lines"
		case len(f.raw) > maxField:
			h.excess = "a field is longer than 64 KiB"
		}
		return h.excess == ""
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !fieldName(bytes.TrimRight(line[:colon], " \t")) {
		h.bad(n)
		// It is kept as a field, as the software that verifies signatures does.
		colon = min(max(colon, 0), len(line)-1)
	}
	if len(h.fields) == maxFields {
		h.excess = "it has more than 1000 fields"
		return false
	}
	if len(line) > maxField {
		h.excess = "a field is longer than 64 KiB"
		return false
	}
	f := field{raw: line, colon: colon, lines: 1}
	f.kind = kindOf(f.name())
	h.count[f.kind]++
	h.fields = append(h.fields, f)
	return true
}

func (h *header) bad(n int) {
	if h.badLine == 0 {
		h.badLine = n
	}
}

// fieldName reports whether name is one of RFC 5322 section 3.6.8: printable ASCII without colon.
func fieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(name) > 0
}

// first is the first field of a kind, or nil.
func (h *header) first(k kind) *field {
	for i := range h.fields {
		if h.fields[i].kind == k {
			return &h.fields[i]
		}
	}
	return nil
}

// text is the value of the first field of a kind, up to limit octets; "" if there is none.
func (h *header) text(k kind, limit int) string {
	f := h.first(k)
	if f == nil {
		return ""
	}
	value, _ := f.value(limit)
	return value
}
