package feedback

import (
	"bytes"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// cutAddress takes the address off that b begins with, up to its ">". In quotes, a ">" is part of
// it.
func cutAddress(b []byte) (address, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return bytes.Cut(b, []byte(">"))
	}
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == '>':
			return b[:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

// parseAddress reads an address as Postfix logs it (info_log_addr_form = external, the default
// since 3.5; the internal form is the same but for local parts that need quotes, which do not
// parse).
func parseAddress(b []byte) (esmtp.Address, bool) {
	if masked(b) {
		return esmtp.Address{}, false
	}
	a, err := esmtp.ParseAddress(string(b), true)
	return a, err == nil
}

// masked reports whether the logger has put something else in the place of octets: Postfix writes
// "?" for what it does not print, rsyslog "#303" for an octet beyond ASCII and "#011" for a
// control. Both are legal in a local part, but what is learned must be of the right mailbox.
func masked(b []byte) bool {
	for i, c := range b {
		switch {
		case c == '?':
			return true
		case c == '#' && i+3 < len(b) && isOctal(b[i+1]) && isOctal(b[i+2]) && isOctal(b[i+3]):
			octet := int(b[i+1]-'0')<<6 | int(b[i+2]-'0')<<3 | int(b[i+3]-'0')
			if octet < ' ' || octet >= 0x7f && octet <= 0xff {
				return true
			}
		}
	}
	return false
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }
