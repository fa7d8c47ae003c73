package esmtp

import (
	"slices"
	"strconv"
	"strings"
)

const (
	// replyLineOut is the limit of a reply line that we send, CRLF included
	// (RFC 5321 section 4.5.3.1.5).
	replyLineOut = 512
	// replyString bounds what one reply may take of a log line, in octets.
	replyString = 1024
)

// EnhancedCode is an enhanced mail system status code (RFC 3463): class, subject, detail. The zero
// value is none.
type EnhancedCode [3]int

// String returns "5.1.1", or "" for none.
func (e EnhancedCode) String() string {
	if e == (EnhancedCode{}) {
		return ""
	}
	b := strconv.AppendInt(nil, int64(e[0]), 10)
	for _, n := range e[1:] {
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

// ParseEnhancedCode parses exactly "class.subject.detail" of RFC 3463 section 2: class 2, 4 or 5,
// the others of one to three digits without leading zeros.
func ParseEnhancedCode(s string) (EnhancedCode, bool) {
	e, rest, ok := cutEnhancedCode(s)
	if !ok || rest != "" {
		return EnhancedCode{}, false
	}
	return e, true
}

// cutEnhancedCode takes an enhanced code off the front of s. It ends where its digits end; a further
// digit or dot makes it something else, such as an IP address.
func cutEnhancedCode(s string) (e EnhancedCode, rest string, ok bool) {
	for i := range e {
		if i > 0 {
			if s == "" || s[0] != '.' {
				return EnhancedCode{}, "", false
			}
			s = s[1:]
		}
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			e[i] = e[i]*10 + int(s[n]-'0')
			if n++; n > 3 {
				return EnhancedCode{}, "", false
			}
		}
		if n == 0 || n > 1 && s[0] == '0' {
			return EnhancedCode{}, "", false
		}
		s = s[n:]
	}
	if e[0] != 2 && e[0] != 4 && e[0] != 5 {
		return EnhancedCode{}, "", false
	}
	if len(s) > 1 && s[0] == '.' && s[1] >= '0' && s[1] <= '9' {
		return EnhancedCode{}, "", false
	}
	return e, s, true
}

// Reply is a reply of an SMTP server (RFC 5321 section 4.2). The zero value is no reply at all.
type Reply struct {
	Code int
	// Lines is what follows "250-" or "250 " on each line, octets as they were received. It may
	// hold anything but CR and LF: print it with String or AppendEscaped only. It may be shared with
	// other replies: it must not be changed.
	Lines []string
}

// NewReply returns a reply of our own. Each line of text (split at "\n") becomes one line, with the
// enhanced code before it unless that is zero.
func NewReply(code int, enhanced EnhancedCode, text string) Reply {
	lines := strings.Split(text, "\n")
	if e := enhanced.String(); e != "" {
		for i, line := range lines {
			lines[i] = e + " " + line
		}
	}
	return Reply{Code: code, Lines: lines}
}

// IsZero reports whether there is no reply.
func (r Reply) IsZero() bool { return r.Code == 0 && len(r.Lines) == 0 }

// Positive reports a 2xx code: done.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Intermediate reports a 3xx code: go on, as 354 after DATA.
func (r Reply) Intermediate() bool { return r.Code/100 == 3 }

// Transient reports a 4xx code: not now.
func (r Reply) Transient() bool { return r.Code/100 == 4 }

// Permanent reports a 5xx code: not so.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Enhanced returns the enhanced code of the last line that begins with one whose class is that of
// the basic code (RFC 2034 section 3 forbids any other), or zero. A "#" before it is skipped: some
// widespread appliances write "550 #5.1.0 Address rejected."
func (r Reply) Enhanced() EnhancedCode {
	for _, line := range slices.Backward(r.Lines) {
		e, _, ok := cutEnhancedCode(strings.TrimPrefix(line, "#"))
		if ok && e[0] == r.Code/100 {
			return e
		}
	}
	return EnhancedCode{}
}

// Text returns the lines joined by "\n", enhanced codes left in, octets as received.
func (r Reply) Text() string { return strings.Join(r.Lines, "\n") }

// String returns the reply on one line for people and logs, escaped, its lines separated by " / ",
// cut after 1024 octets: "550 5.1.1 no such user". It is "" for the zero reply.
func (r Reply) String() string {
	if r.IsZero() {
		return ""
	}
	var room [128]byte // most need no more
	dst := strconv.AppendInt(room[:0], int64(r.Code), 10)
	for i, line := range r.Lines {
		if i > 0 {
			dst = append(dst, " /"...)
		}
		if line != "" {
			dst = append(dst, ' ')
		}
		left := replyString - len(dst)
		if left <= 0 {
			break
		}
		dst = appendEscaped(dst, line, true, left)
	}
	if len(dst) > replyString {
		dst = dst[:replyString]
	}
	return string(dst)
}

// Append appends the wire form: every line with the code, cut at 512 octets with its CRLF
// (RFC 5321 section 4.5.3.1.5). It is verbatim in code, number of lines and printable text; other
// octets are escaped by [AppendEscaped], and so is UTF-8 unless utf8 says that the client may get
// it (RFC 6531 section 3.7.4.1). A reply without lines has one empty line. A code that is not one
// of a reply, 200 to 599, is written as 451: what is not known is not permanent.
func (r Reply) Append(dst []byte, utf8 bool) []byte {
	code := r.Code
	if code < 200 || code > 599 {
		code = 451
	}
	lines := r.Lines
	if len(lines) == 0 {
		lines = []string{""}
	}
	for i, line := range lines {
		dst = strconv.AppendInt(dst, int64(code), 10)
		if i < len(lines)-1 {
			dst = append(dst, '-')
		} else {
			dst = append(dst, ' ')
		}
		dst = appendEscaped(dst, line, utf8, replyLineOut-len("250 \r\n"))
		dst = append(dst, "\r\n"...)
	}
	return dst
}
