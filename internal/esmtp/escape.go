package esmtp

import (
	"unicode"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// AppendEscaped appends s, octets from the network, as text that is safe to print, log and send:
// printable ASCII stands for itself, every other octet becomes "\x1b" and the like, so nothing is
// lost. With keepUTF8, printable characters beyond ASCII are kept; controls, format characters (bidi
// overrides among them) and broken sequences are escaped all the same. A backslash is not doubled:
// the printable text stays what the peer wrote.
func AppendEscaped(dst []byte, s string, keepUTF8 bool) []byte {
	return appendEscaped(dst, s, keepUTF8, -1)
}

// appendEscaped is AppendEscaped that stops before it has written more than limit octets, never
// within a character or an escape. A negative limit is none.
func appendEscaped(dst []byte, s string, keepUTF8 bool, limit int) []byte {
	start, i := len(dst), 0
	for i < len(s) && s[i] >= ' ' && s[i] <= '~' {
		i++
	}
	if limit >= 0 {
		i = min(i, limit)
	}
	dst = append(dst, s[:i]...) // mostly all of it
	for i < len(s) {
		c, size, width := s[i], 1, 1
		keep := c >= ' ' && c <= '~'
		if c >= utf8.RuneSelf && keepUTF8 {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n > 1) && unicode.IsPrint(r) {
				keep, size, width = true, n, n
			}
		}
		if !keep {
			width = len(`\x00`)
		}
		if limit >= 0 && len(dst)-start+width > limit {
			return dst
		}
		if keep {
			dst = append(dst, s[i:i+size]...)
		} else {
			dst = append(dst, '\\', 'x', lowerHex[c>>4], lowerHex[c&15])
		}
		i += size
	}
	return dst
}
