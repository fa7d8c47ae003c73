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
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", errXtext
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		out = append(out, c)
	}
	return string(out), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
