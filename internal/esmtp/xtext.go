package esmtp

import "errors"

const hexDigits = "0123456789ABCDEF"

var errXtext = errors.New(`bad xtext: "+" must be followed by two hexadecimal digits, blanks and ` +
	`control octets are written so`)

// AppendXtext appends s encoded as xtext (RFC 3461 section 4): printable ASCII other than "+" and
// "=" stands for itself, every other octet becomes "+XX".
func AppendXtext(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c > ' ' && c <= '~' && c != '+' && c != '=' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '+', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

// ParseXtext decodes xtext into octets, which may be any. Looser than RFC 3461 in two points that
// clients get wrong: an "=" may stand for itself, hexadecimal digits may be lower case.
func ParseXtext(s string) (string, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c > '~' {
			return "", errXtext
		}
		if c == '+' {
			if i+2 >= len(s) {
				return "", errXtext
			}
			hi, hiOK := unhex(s[i+1])
			lo, loOK := unhex(s[i+2])
			if !hiOK || !loOK {
				return "", errXtext
			}
			c = hi<<4 | lo
			i += 2
		}
		out = append(out, c)
	}
	return string(out), nil
}

func unhex(c byte) (value byte, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
