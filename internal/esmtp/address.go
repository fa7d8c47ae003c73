package esmtp

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	// MaxLocal is the limit of a local part as it is written, quotes included (4.5.3.1.1).
	MaxLocal = 64
	// MaxDomain is the limit of a domain name (RFC 1035 section 3.1 in its text form; 4.5.3.1.2).
	MaxDomain = 253
	// MaxPath is the limit of a path with its angle brackets (4.5.3.1.3).
	MaxPath = 256
)

// Address is a Mailbox of RFC 5321 section 4.1.2, parsed once and written only from this value.
// It is comparable; two spellings of one domain are different values with the same [Address.Key].
// The zero value is the null reverse-path <>.
//
// An Address without a domain comes only from a command that had none, such as <postmaster>
// (RFC 5321 section 4.5.1) or <root>, which an MTA completes with its own domain.
type Address struct {
	local  string // semantic octets, quoted-pairs resolved
	domain string // as written, without a trailing dot; "" = none
	ascii  string // A-labels in lower case, or a normalised literal; "" = none
}

// ParseAddress parses a mailbox as people write it, "user@host" without angle brackets, for command
// lines and configuration. allowUTF8 is for the addresses of RFC 6531 (SMTPUTF8). Of the mailboxes
// without a domain only "postmaster" is taken. Blanks around the address are not. The error is a
// [*SyntaxError].
func ParseAddress(s string, allowUTF8 bool) (Address, error) {
	a, fault := parseMailbox(s, allowUTF8, MaxLocal)
	if fault == nil && a.domain == "" && !a.IsPostmaster() {
		fault = &addressFault{detail: "the domain is missing: write user@example.com"}
	}
	if fault != nil {
		return Address{}, fault.syntaxError(badRecipient)
	}
	return a, nil
}

// IsNull reports whether a is the null reverse-path <>.
func (a Address) IsNull() bool { return a == Address{} }

// IsPostmaster reports whether a is <postmaster> without a domain, in any case.
func (a Address) IsPostmaster() bool {
	return a.domain == "" && strings.EqualFold(a.local, "postmaster")
}

// Local returns the local part unquoted and exact.
func (a Address) Local() string { return a.local }

// Domain returns the domain as it was written, without a trailing dot: a name, or a literal such as
// "[192.0.2.1]". It is "" where there is none.
func (a Address) Domain() string { return a.domain }

// ASCIIDomain returns the domain in lower case with A-labels (RFC 5890 section 2.3.2.1), or a
// literal in its normal form: "[192.0.2.1]", "[IPv6:2001:db8::1]". It is "" where there is none.
func (a Address) ASCIIDomain() string { return a.ascii }

// IsLiteral reports whether the domain is an address literal (RFC 5321 section 4.1.3).
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.ascii, "[") }

// NeedsUTF8 reports whether a, written as it is, may only be sent under SMTPUTF8 (RFC 6531).
func (a Address) NeedsUTF8() bool { return !isASCII(a.local) || !isASCII(a.domain) }

// ASCII returns the same mailbox with its domain as A-labels. ok is false, and the result the null
// address, if the local part is not ASCII: such a mailbox has no other spelling.
func (a Address) ASCII() (ascii Address, ok bool) {
	if !isASCII(a.local) {
		return Address{}, false
	}
	if !isASCII(a.domain) {
		a.domain = a.ascii
	}
	return a, true
}

// String returns the mailbox without angle brackets, the local part quoted where it has to be. It
// is "" for the null address.
func (a Address) String() string { return string(a.appendMailbox(nil)) }

// AppendPath appends the path as it goes on the wire, "<user@example.com>".
func (a Address) AppendPath(dst []byte) []byte {
	dst = append(dst, '<')
	dst = a.appendMailbox(dst)
	return append(dst, '>')
}

// Key returns what identifies the mailbox: the exact local part, "@", and the ASCII domain. It is
// unambiguous, since no domain has an "@": the last one splits. Local parts are not folded
// (RFC 5321 section 2.4: only the receiving host may).
func (a Address) Key() string { return a.local + "@" + a.ascii }

// Redacted returns the form for logs: the first character of the local part, "…", "@" and the ASCII
// domain. It is "<>" for the null address.
func (a Address) Redacted() string {
	if a.IsNull() {
		return "<>"
	}
	_, n := utf8.DecodeRuneInString(a.local)
	var room [80]byte // most need no more
	dst := append(AppendEscaped(room[:0], a.local[:n], true), "…"...)
	if a.ascii != "" {
		dst = append(append(dst, '@'), a.ascii...)
	}
	return string(dst)
}

func (a Address) appendMailbox(dst []byte) []byte {
	if a.IsNull() {
		return dst
	}
	dst = appendLocal(dst, a.local)
	if a.domain != "" {
		dst = append(dst, '@')
		dst = append(dst, a.domain...)
	}
	return dst
}

// appendLocal writes a local part as a Dot-string where it is one, else as a Quoted-string.
func appendLocal(dst []byte, local string) []byte {
	if isDotString(local) {
		return append(dst, local...)
	}
	dst = append(dst, '"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, local[i])
	}
	return append(dst, '"')
}

// addressFault says what is wrong with an address; the command it came in decides about the code.
type addressFault struct {
	detail    string
	needsUTF8 bool // fine, but only under SMTPUTF8
}

// parseMailbox parses local-part [ "@" ( Domain / address-literal ) ]. maxLocal bounds the local
// part as written; the whole path is bounded by MaxPath in both of its spellings.
func parseMailbox(s string, utf8OK bool, maxLocal int) (Address, *addressFault) {
	if fault := checkOctets(s); fault != nil {
		return Address{}, fault
	}
	local, rest, fault := cutLocal(s)
	if fault != nil {
		return Address{}, fault
	}
	a := Address{local: local}
	switch {
	case strings.HasPrefix(rest, "@"):
		if a.domain, a.ascii, fault = parseDomain(rest[1:]); fault != nil {
			return Address{}, fault
		}
	case rest != "":
		return Address{}, &addressFault{detail: `a quoted local part must be followed by "@"`}
	case local == "":
		return Address{}, &addressFault{detail: "the address is empty"}
	}
	if !utf8OK && a.NeedsUTF8() {
		return Address{}, &addressFault{detail: "non-ASCII address without SMTPUTF8", needsUTF8: true}
	}
	return a, checkLength(a, maxLocal)
}

// checkLength bounds what is written: quotes count, and both spellings of the domain.
func checkLength(a Address, maxLocal int) *addressFault {
	local := len(a.local)
	if !isDotString(a.local) {
		local = len(appendLocal(nil, a.local))
	}
	if local > maxLocal {
		return &addressFault{detail: "the local part is longer than 64 octets"}
	}
	if local+len("<@>")+max(len(a.domain), len(a.ascii)) > MaxPath {
		return &addressFault{detail: "the address is longer than 254 octets"}
	}
	return nil
}

// checkOctets refuses what may stand nowhere in an address: control characters, C1 ones too, and
// octets that are no UTF-8.
func checkOctets(s string) *addressFault {
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			return &addressFault{detail: "the address is not valid UTF-8"}
		case unicode.IsControl(r):
			return &addressFault{detail: "the address has a control character"}
		}
	}
	return nil
}

// cutLocal takes the local part off s and returns it unquoted, with what follows it. It is a
// Dot-string up to the first "@", or a Quoted-string; no mixture of both (RFC 5321 section 4.1.2).
// Dots may stand anywhere in the former, against the RFC: Japanese mobile carriers gave out mailboxes
// such as a..b@ and a.@, and Postfix takes them. They are written in quotes, which means the same.
func cutLocal(s string) (local, rest string, fault *addressFault) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, '@')
		if end < 0 {
			end = len(s)
		}
		if end > 0 && !isLooseDotString(s[:end]) {
			return "", "", &addressFault{
				detail: "the local part has a character that it may only have in quotes",
			}
		}
		if end == 0 && s != "" {
			return "", "", &addressFault{detail: "the local part is missing"}
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			// quoted-pairSMTP is a backslash before printable ASCII (RFC 5321 section 4.1.2).
			if i == len(s) || s[i] >= utf8.RuneSelf {
				return "", "", &addressFault{detail: "the local part has a bad quoted pair"}
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", &addressFault{detail: "the quotes of the local part are not closed"}
}

// isDotString reports whether s is a Dot-string: atoms between single dots. UTF-8 beyond ASCII is
// atext (RFC 6531 section 3.3).
func isDotString(s string) bool {
	dot := true // as if a dot came before
	for i := range len(s) {
		c := s[i]
		if c == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if !isAtext(c) {
			return false
		}
		dot = false
	}
	return !dot
}

// isLooseDotString reports whether s is atoms and dots in any order, and not dots only.
func isLooseDotString(s string) bool {
	atom := false
	for i := range len(s) {
		if s[i] != '.' && !isAtext(s[i]) {
			return false
		}
		atom = atom || s[i] != '.'
	}
	return atom
}

func isAtext(c byte) bool {
	return isAlnum(c) || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
