package message

import "bytes"

// maxLine is the longest line without its CRLF (RFC 5322 section 2.1.1).
const maxLine = 998

// lexer takes the octets of the wire apart: lines end with CRLF only, and a dot that begins one
// was put there by the client (RFC 5321 section 4.5.2). What it sees of faults it remembers.
type lexer struct {
	inLine bool // something of the line came already, its dot included
	lastCR bool // the last octet was CR
	length int  // of the line so far, without the dot, with what may be its CR

	body bool // the empty line that ends the header came
	any  bool // anything came

	longest             int // line, without CRLF
	bareCR, bareLF, nul bool
	headerBare          bool // one of them was in the header
	eight               bool // an octet above 127
}

// next takes the octets of p up to where the caller has to look: a dot to leave out, the end of the
// header, or the end of p. It returns those of them that are of the message, and the rest of p.
func (l *lexer) next(p []byte) (text, rest []byte) {
	if !l.inLine && len(p) > 0 && p[0] == '.' {
		l.inLine, l.lastCR, l.any = true, false, true
		p = p[1:]
	}
	body := l.body
	for i := 0; i < len(p); {
		if !l.inLine && p[i] == '.' {
			return p[:i], p[i:]
		}
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			l.part(p[i:])
			return p, nil
		}
		l.part(p[i : i+end])
		i += end + 1
		if !l.feed() {
			continue
		}
		if !body && l.body {
			return p[:i], p[i:]
		}
	}
	return p, nil
}

// part notes octets of a line that are not LF.
func (l *lexer) part(p []byte) {
	if len(p) == 0 {
		return
	}
	l.any = true
	if l.lastCR {
		l.bareCR = true
	}
	if i := bytes.IndexByte(p, '\r'); i >= 0 && i < len(p)-1 {
		l.bareCR = true
	}
	l.lastCR = p[len(p)-1] == '\r'
	l.inLine = true
	l.length += len(p)
	l.longest = max(l.longest, l.length-1)
	if !l.lastCR {
		l.longest = max(l.longest, l.length)
	}
	if !l.nul && bytes.IndexByte(p, 0) >= 0 {
		l.nul = true
	}
	l.eight = l.eight || !ascii(p)
	if !l.body {
		l.headerBare = l.bareCR || l.bareLF || l.nul
	}
}

// feed notes a LF. It reports whether it ended a line.
func (l *lexer) feed() bool {
	l.any = true
	if !l.lastCR {
		l.bareLF = true
		l.headerBare = l.headerBare || !l.body
		l.inLine = true
		l.length++
		return false
	}
	if l.length == 1 {
		l.body = true // of the header: the line is empty. In the body it says nothing new.
	}
	l.inLine, l.lastCR, l.length = false, false, 0
	return true
}

// end notes the end of the message.
func (l *lexer) end() { l.bareCR = l.bareCR || l.lastCR }

// ascii reports whether p has octets below 128 only, eight at a time.
func ascii(p []byte) bool {
	for len(p) >= 8 {
		if (p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7])&0x80 != 0 {
			return false
		}
		p = p[8:]
	}
	for _, c := range p {
		if c&0x80 != 0 {
			return false
		}
	}
	return true
}
