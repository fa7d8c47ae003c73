package esmtp

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 3461 sections 4.2 and 4.4 and RFC 4954 section 5, in octets.
const (
	maxORCPT = 500
	maxEnvID = 100
	maxAuth  = 500
)

// Param is an esmtp-param of RFC 5321 section 4.1.2, exactly as the client wrote it.
type Param struct {
	Keyword, Value string
	// HasValue is set if there was a "=", even with nothing behind it.
	HasValue bool
}

// splitParams splits at blanks, which nothing hides.
func splitParams(s string) []Param {
	if s == "" {
		return nil // as most commands
	}
	var params []Param
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == '\t' }) {
		var p Param
		p.Keyword, p.Value, p.HasValue = strings.Cut(word, "=")
		params = append(params, p)
	}
	return params
}

// parseParams checks the form of each parameter, that none is repeated, and hands it to set with its
// keyword in upper case. The result is nil or a *SyntaxError.
func parseParams(
	params []Param, utf8OK bool, set func(keyword string, p Param, utf8OK bool) *SyntaxError,
) error {
	for i, p := range params {
		if !p.valid() || !utf8OK && !isASCII(p.Value) {
			return badParam("a parameter has a character that it may not have")
		}
		for _, earlier := range params[:i] {
			if strings.EqualFold(earlier.Keyword, p.Keyword) {
				return badParam("a parameter is repeated")
			}
		}
		if err := set(strings.ToUpper(p.Keyword), p, utf8OK); err != nil {
			return err
		}
	}
	return nil
}

// valid reports whether p is what splitParams makes of its own text again: an esmtp-keyword, and a
// value without blanks and control characters. An "=" in the value is tolerated: it is what clients
// write that know nothing of xtext.
func (p Param) valid() bool {
	if p.Keyword == "" || p.Keyword[0] == '-' || !p.HasValue && p.Value != "" {
		return false
	}
	for i := range len(p.Keyword) {
		if c := p.Keyword[i]; !isAlnum(c) && c != '-' {
			return false
		}
	}
	if !utf8.ValidString(p.Value) {
		return false
	}
	for _, r := range p.Value {
		if r == ' ' || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// appendParams appends the parameters that keep wants, and CRLF.
func appendParams(dst []byte, params []Param, keep func(keyword string) bool) []byte {
	for _, p := range params {
		if !p.valid() || keep != nil && !keep(strings.ToUpper(p.Keyword)) {
			continue
		}
		dst = append(dst, ' ')
		dst = append(dst, p.Keyword...)
		if p.HasValue {
			dst = append(dst, '=')
			dst = append(dst, p.Value...)
		}
	}
	return append(dst, "\r\n"...)
}

// isNotify checks a notify-esmtp-value (RFC 3461 section 4.1): NEVER alone, or a list.
func isNotify(value string) bool {
	if strings.EqualFold(value, "NEVER") {
		return true
	}
	for word := range strings.SplitSeq(value, ",") {
		switch strings.ToUpper(word) {
		case "SUCCESS", "FAILURE", "DELAY":
		default:
			return false
		}
	}
	return true
}

// isORCPT checks an original-recipient-address (RFC 3461 section 4.2, RFC 6533 section 3): an address
// type, ";", and xtext that decodes to printable ASCII, or for the type utf-8 one of its three forms.
func isORCPT(value string, utf8OK bool) bool {
	kind, addr, ok := strings.Cut(value, ";")
	if !ok || kind == "" || addr == "" || len(value) > maxORCPT {
		return false
	}
	for i := range len(kind) {
		if c := kind[i]; c >= utf8.RuneSelf || !isAtext(c) {
			return false
		}
	}
	if strings.EqualFold(kind, "utf-8") {
		return isUTF8Addr(addr, utf8OK)
	}
	return isPrintableXtext(addr)
}

// isUTF8Addr checks utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 section 3: a backslash only
// begins \x{HEX}; characters beyond ASCII only under SMTPUTF8. Values have no controls, see valid.
func isUTF8Addr(s string, utf8OK bool) bool {
	if !utf8OK && !isASCII(s) {
		return false
	}
	for {
		_, after, found := strings.Cut(s, `\`)
		if !found {
			return true
		}
		hex, rest, closed := strings.Cut(strings.TrimPrefix(after, "x{"), "}")
		if !closed || !strings.HasPrefix(after, "x{") || len(hex) < 2 || len(hex) > 6 {
			return false
		}
		for i := range len(hex) {
			if _, ok := unhex(hex[i]); !ok {
				return false
			}
		}
		s = rest
	}
}

// isPrintableXtext reports whether s is xtext of printable ASCII: what a delivery report repeats in
// its header must be that (RFC 3461 section 4.4).
func isPrintableXtext(s string) bool {
	text, err := ParseXtext(s)
	if err != nil {
		return false
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
