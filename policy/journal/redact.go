package journal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The ways to write addresses. Config.Redact "" is RedactOff.
const (
	RedactOff   = "off"   // bob@example.net
	RedactLocal = "local" // b…@example.net
	// RedactHash is hmac:8f434346648f6b96@example.net: one address has one name, which can be found
	// by the address but not turned back into it.
	RedactHash = "hash"
)

const (
	hashMark = "hmac:" // ":" stands in no unquoted local part
	hidden   = "[…]"   // what was taken out of a text
)

// redactor writes addresses as configured. It belongs to one goroutine.
type redactor struct {
	mode    string
	secret  []byte
	scratch []byte
}

// appendAddress appends an address in its normal form, escaped: the local part as it must be
// written, the domain in lower case and with A-labels.
func (r *redactor) appendAddress(dst []byte, a esmtp.Address) []byte {
	if a.IsNull() {
		return append(dst, "<>"...)
	}
	switch r.mode {
	case RedactLocal:
		return append(dst, a.Redacted()...)
	case RedactHash:
		dst = r.appendHash(dst, a.Key())
	default:
		r.scratch = a.AppendPath(r.scratch[:0])
		local := r.scratch[1 : len(r.scratch)-1]
		if a.Domain() != "" {
			local = local[:bytes.LastIndexByte(local, '@')]
		}
		if i := bytes.IndexFunc(local, func(c rune) bool { return c < ' ' || c > '~' }); i < 0 {
			dst = append(dst, local...)
		} else {
			dst = esmtp.AppendEscaped(dst, string(local), true)
		}
	}
	if domain := a.ASCIIDomain(); domain != "" {
		dst = append(append(dst, '@'), domain...)
	}
	return dst
}

// appendHash appends the first 64 bits of HMAC-SHA256: enough to tell the addresses of one gate
// apart.
func (r *redactor) appendHash(dst []byte, s string) []byte {
	mac := hmac.New(sha256.New, r.secret)
	_, _ = mac.Write([]byte(s)) // a hash takes everything
	var sum [sha256.Size]byte
	return hex.AppendEncode(append(dst, hashMark...), mac.Sum(sum[:0])[:8])
}

// login is a login as it may be written. Many are addresses.
func (r *redactor) login(login string) string {
	if login == "" || r.mode == RedactOff {
		return login
	}
	if a, err := esmtp.ParseAddress(login, true); err == nil && a.Domain() != "" {
		return string(r.appendAddress(nil, a))
	}
	if r.mode == RedactHash {
		return string(r.appendHash(nil, login))
	}
	_, n := utf8.DecodeRuneInString(login)
	return login[:n] + "…"
}

// words takes out of a text what may tell a mailbox: everything that looks like an address, and
// every word that holds the local part of one of those given.
func (r *redactor) words(text string, about ...esmtp.Address) string {
	if r.mode == RedactOff || text == "" {
		return text
	}
	words := strings.Split(text, " ")
	for i, word := range words {
		folded := strings.ToLower(word)
		if looksLikeAddress(folded) {
			words[i] = hidden
			continue
		}
		for _, a := range about {
			local := strings.ToLower(string(esmtp.AppendEscaped(nil, a.Local(), true)))
			if strings.Contains(local, " ") {
				return hidden // words cannot tell where it stands
			}
			if holds(folded, local) {
				words[i] = hidden
			}
		}
	}
	return strings.Join(words, " ")
}

// looksLikeAddress also knows the @ of URLs, VERP and xtext.
func looksLikeAddress(word string) bool {
	for _, at := range []string{"@", "%40", "=40", "+40"} {
		if strings.Contains(word, at) {
			return true
		}
	}
	return false
}

// holds looks for a local part in a word, for one of up to three letters as the whole word only:
// "a" is in most words.
func holds(word, local string) bool {
	if len(local) > 3 {
		return strings.Contains(word, local)
	}
	return local != "" && strings.Trim(word, `<>()[]{}"',;:.!?`) == local
}
