package reply

import (
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The scanner turns the text of a reply into words, in one pass and without allocation.
//
// What names somebody is no word of the server's and is left out: addresses, host names,
// URLs, IP addresses, what stands in angle brackets. A mailbox called "spam" or "full" then
// cannot speak. The place where it stood is closed, so that "user <a@example.com> unknown"
// reads "user unknown", and a mark ("@addr", "@ip", "@host", "@url") tells that it was there.
// The words inside host names and URLs are told apart, as "url:spamhaus".
//
// Words are lower case and without accents; the end of a sentence is told, so that no phrase
// goes across it. The end of a line is no end of a sentence. Codes are not words, but the
// first enhanced code that stands at the beginning of a line or anywhere else is kept.

// maxText is how much of a text is read: the first half of it from its beginning, the other
// from its end, which often decides.
const maxText = 8 << 10

// maxWord is the longest word; what is longer is an identifier and no word.
const maxWord = 40

// mark is what kind of name was left out.
type mark int

const (
	markAddr mark = iota
	markIP
	markHost
	markURL
	marks
)

func (m mark) String() string {
	switch m {
	case markAddr:
		return "@addr"
	case markIP:
		return "@ip"
	case markHost:
		return "@host"
	case markURL:
		return "@url"
	default:
		return ""
	}
}

// scanner is the state of one pass.
type scanner struct {
	out   *finder
	codes codeList
	words int
	buf   [maxWord]byte
}

// codeList keeps the enhanced codes of a text: the first, and whether the lines agree.
type codeList struct {
	first esmtp.EnhancedCode
	lead  [4]esmtp.EnhancedCode // at the beginning of a line, the first few that differ
	leads int
}

func (c *codeList) add(e esmtp.EnhancedCode, lead bool) {
	if c.first == (esmtp.EnhancedCode{}) {
		c.first = e
	}
	if !lead {
		return
	}
	if slices.Contains(c.lead[:c.leads], e) {
		return
	}
	if c.leads < len(c.lead) {
		c.lead[c.leads] = e
		c.leads++
	}
}

// scan reads a text.
func (s *scanner) scan(text string) {
	if len(text) > maxText {
		s.lines(text[:maxText/2])
		s.out.stop()
		text = text[len(text)-maxText/2:]
	}
	s.lines(text)
}

func (s *scanner) lines(text string) {
	for text != "" {
		line := text
		if i := strings.IndexAny(text, "\n\r"); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = ""
		}
		s.line(line)
	}
}

func (s *scanner) line(line string) {
	lead := true // nothing but codes has been seen
	for line != "" {
		c := line[0]
		if isSpace(c) || isBracket(c) {
			if c == '<' {
				if n := s.angle(line); n > 0 {
					line, lead = line[n:], false
					continue
				}
			}
			line = line[1:]
			continue
		}
		n := chunkEnd(line)
		s.chunk(line[:n], n == len(line) || isSpace(line[n]), &lead)
		line = line[n:]
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c < ' ' || c == 0x7f }

func isBracket(c byte) bool {
	switch c {
	case '<', '>', '(', ')', '[', ']', '{', '}', '"', ',', '`', '|':
		return true
	}
	return false
}

func chunkEnd(s string) int {
	for i := range len(s) {
		if isSpace(s[i]) || isBracket(s[i]) {
			return i
		}
	}
	return len(s)
}

// angle masks <...>: an address, a path, an identifier. It returns how much that was, 0 if
// the bracket opens ordinary words.
func (s *scanner) angle(line string) int {
	const longest = 400 // a path is 256 octets at most
	quoted, blank, at := false, false, false
	for i := 1; i < len(line) && i < longest; i++ {
		c := line[i]
		switch {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '@':
			at = true
		case isSpace(c):
			blank = true
		case c == '>' && !quoted, c == '>' && !at:
			inside := line[1:i]
			switch {
			case strings.HasPrefix(inside, "http"):
				s.url(inside)
			case at:
				s.out.path = true
				s.leave(markAddr, inside)
			case blank || inside == "":
				return 0
			default:
				s.leave(markHost, inside)
			}
			return i + 1
		}
	}
	return 0
}

func (s *scanner) leave(m mark, what string) {
	s.out.mark(m)
	s.out.masked(what)
}

// chunk reads what stands between blanks and brackets. end tells that a blank or the end of
// the line follows.
func (s *scanner) chunk(c string, end bool, lead *bool) {
	full := c
	c = strings.TrimRight(c, ".,;:!?'")
	stop := end && strings.ContainsAny(full[len(c):], ".;!?")
	c = strings.TrimLeft(c, "'.,;:!?#*-=")
	if c != "" {
		wasLead := *lead
		*lead = wasLead && s.code(c, true)
		if !*lead && (!wasLead || !s.afterCode(c)) {
			s.name(c)
		}
	}
	if stop {
		s.out.stop()
	}
}

// code takes a reply code or an enhanced code. Only at the beginning of a line is a bare
// number one.
func (s *scanner) code(c string, lead bool) bool {
	if e, ok := esmtp.ParseEnhancedCode(c); ok {
		s.codes.add(e, lead)
		return true
	}
	return lead && len(c) == 3 && isReplyCode(c)
}

func isReplyCode(c string) bool {
	return len(c) >= 3 && (c[0] == '4' || c[0] == '5') && isDigit(c[1]) && isDigit(c[2])
}

// afterCode takes "550-5.1.1" and "550-User" at the beginning of a line.
func (s *scanner) afterCode(c string) bool {
	if len(c) < 5 || !isReplyCode(c) || c[3] != '-' {
		return false
	}
	if !s.code(c[4:], true) {
		s.name(c[4:])
	}
	return true
}

// name tells addresses, URLs, IP addresses and host names from words.
func (s *scanner) name(c string) {
	switch at := strings.LastIndexByte(c, '@'); {
	case at > 0 && at < len(c)-1:
		if i := strings.IndexByte(c, ':'); i >= 0 && i < at { // to:user@example.com
			s.split(c[:i])
			c = c[i+1:]
		}
		s.leave(markAddr, c)
		return
	case at >= 0:
		s.leave(markAddr, c)
		return
	}
	if strings.Contains(c, "://") || hasFold(c, "www.") {
		s.url(c)
		return
	}
	if s.code(c, false) {
		return
	}
	if isIP(c) {
		s.leave(markIP, c)
		return
	}
	slash := strings.IndexByte(c, '/')
	first := c
	if slash >= 0 {
		first = c[:slash]
	}
	switch {
	case !isHost(first):
		s.split(c)
	case slash >= 0:
		s.url(c)
	default:
		s.leave(markHost, c)
		s.urlWords(c)
	}
}

func hasFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// isIP is generous: 192.0.2.1, 192.0.2.1:49309, 2001:db8::1, 00:04:12.
func isIP(c string) bool {
	dots, colons, digits := 0, 0, 0
	for i := range len(c) {
		switch {
		case c[i] == '.':
			dots++
		case c[i] == ':':
			colons++
		case isDigit(c[i]):
			digits++
		case c[i] == '/' && dots == 3:
		case !isHex(c[i]):
			return false
		}
	}
	return digits > 0 && (dots == 3 && isDigit(c[0]) || colons >= 2)
}

// isHost reports whether c is a host name: labels with dots between them, letters in it. A
// capital after a small letter's dot is a sentence without its blank: "rejected.Please".
func isHost(c string) bool {
	dot, letter := false, false
	for i := range len(c) {
		ch := c[i]
		switch {
		case ch == '.':
			if i == 0 || i == len(c)-1 || c[i-1] == '.' || c[i+1] >= 'A' && c[i+1] <= 'Z' {
				return false
			}
			dot = true
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z':
			letter = true
		case isDigit(ch), ch == '-', ch == '_', ch == ':' && dot:
		default:
			return false
		}
	}
	return dot && letter
}
