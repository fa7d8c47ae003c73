package message

import (
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Limits of an address field that is parsed.
const (
	maxAddressField = 8 << 10 // octets
	maxMailboxes    = 100
	maxComment      = 20 // depth of comments within comments
)

// mailbox is one of a From, Sender or Reply-To field.
type mailbox struct {
	display string // display name, quotes resolved; encoded words are left as they are
	addr    esmtp.Address
}

// parseMailboxes parses an address-list of RFC 5322 section 3.4 on one line: mailboxes separated
// by commas, with comments, groups (RFC 6854) and empty members of the list (obsolete, 4.4). A route
// (4.4) is refused, as is a mailbox without a domain. fault is "" or says what is wrong.
//
// What this function takes is read in the same way by everybody: where parsers could differ about who
// the author is, it finds a fault.
func parseMailboxes(value string) (list []mailbox, fault string) {
	if len(value) > maxAddressField {
		return nil, "it is longer than 8192 octets"
	}
	p := addressParser{rest: value}
	for {
		if !p.skip() {
			return nil, p.fault
		}
		switch {
		case p.rest == "":
			if p.group {
				return nil, "a group is not closed"
			}
			return p.list, ""
		case p.take(','):
		case p.group && p.take(';'):
			p.group = false
		default:
			if !p.member() {
				return nil, p.fault
			}
		}
	}
}

type addressParser struct {
	rest  string
	list  []mailbox
	group bool // within a group
	fault string
}

func (p *addressParser) fail(fault string) bool {
	p.fault = fault
	return false
}

func (p *addressParser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// skip leaves out blanks and comments.
func (p *addressParser) skip() bool {
	depth := 0
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '(':
			if depth++; depth > maxComment {
				return p.fail("it has comments within comments within comments")
			}
		case depth == 0 && c != ' ' && c != '\t':
			return true
		case c == ')':
			depth--
		case c == '\\':
			p.rest = p.rest[1:]
			if p.rest == "" {
				return p.fail("a comment is not closed")
			}
		}
		p.rest = p.rest[1:]
	}
	if depth > 0 {
		return p.fail("a comment is not closed")
	}
	return true
}

// member parses a mailbox, or the beginning of a group, and the separator behind a mailbox.
func (p *addressParser) member() bool {
	words, spec := "", "" // as a display name, and as an addr-spec without blanks and comments
	for {
		if !p.skip() {
			return false
		}
		switch {
		case p.rest == "" || p.rest[0] == ',' || p.rest[0] == ';' && p.group:
			return p.add("", spec)
		case p.take('<'):
			return p.angle(words)
		case p.take(':'):
			if p.group || words == "" || strings.Contains(spec, "@") {
				return p.fail("it has a colon at the wrong place")
			}
			p.group = true
			return true
		}
		word, raw, ok := p.word()
		if !ok {
			return false
		}
		if words != "" {
			words += " "
		}
		words += word
		spec += raw
	}
}

// angle parses what is between angle brackets, and the separator behind.
func (p *addressParser) angle(display string) bool {
	var spec strings.Builder
	for !p.take('>') {
		if !p.skip() {
			return false
		}
		if p.rest == "" || p.rest[0] == '<' || p.rest[0] == ',' {
			return p.fail("an angle bracket is not closed")
		}
		if p.rest[0] == '>' {
			continue
		}
		_, raw, ok := p.word()
		if !ok {
			return false
		}
		spec.WriteString(raw)
	}
	if !p.skip() {
		return false
	}
	if p.rest != "" && p.rest[0] != ',' && (p.rest[0] != ';' || !p.group) {
		return p.fail("something stands behind an address")
	}
	return p.add(display, spec.String())
}

func (p *addressParser) add(display, spec string) bool {
	addr, err := esmtp.ParseAddress(spec, true)
	if err != nil || addr.Domain() == "" {
		return p.fail("it has something that is no address")
	}
	if len(p.list) == maxMailboxes {
		return p.fail("it has more than 100 mailboxes")
	}
	p.list = append(p.list, mailbox{display: display, addr: addr})
	return true
}

// word takes a quoted string, a domain literal, or octets up to a special or a blank. raw is the
// word as written, word without quotes.
func (p *addressParser) word() (word, raw string, ok bool) {
	s := p.rest
	switch s[0] {
	case '"':
		return p.quoted()
	case '[':
		end := strings.IndexAny(s, "]\\ \t")
		if end < 0 || s[end] != ']' {
			return "", "", p.fail("a domain literal is not closed")
		}
		p.rest = s[end+1:]
		return s[:end+1], s[:end+1], true
	case ')', '>', ']', '\\', ';', ':':
		return "", "", p.fail("it has a special character at the wrong place")
	}
	end := strings.IndexAny(s, "()<>[]:;\\,\" \t")
	if end < 0 {
		end = len(s)
	}
	p.rest = s[end:]
	return s[:end], s[:end], true
}

func (p *addressParser) quoted() (word, raw string, ok bool) {
	var b strings.Builder
	s := p.rest
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			p.rest = s[i+1:]
			return b.String(), s[:i+1], true
		case '\\':
			if i++; i == len(s) {
				return "", "", p.fail("a quotation is not closed")
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", p.fail("a quotation is not closed")
}

// shows is an address that the display name shows and that is not the mailbox's own; "" is none.
// Mail programs show the display name only: the reader takes it for the author.
func (m *mailbox) shows() string {
	for word := range strings.FieldsFuncSeq(m.display, func(r rune) bool {
		return strings.ContainsRune(" \t<>()[]\"',;:", r)
	}) {
		if !strings.Contains(word, "@") {
			continue
		}
		addr, err := esmtp.ParseAddress(word, true)
		if err == nil && !strings.EqualFold(addr.Key(), m.addr.Key()) {
			return word
		}
	}
	return ""
}
