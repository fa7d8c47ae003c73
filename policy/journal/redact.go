package journal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
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
	mac     hash.Hash // nil until it is needed
	scratch []byte
	locals  [][]byte // the local parts that words takes out, escaped and in lower case
	folded  []byte
}

// appendAddress appends an address in its normal form, escaped: the local part as it must be
// written, the domain in lower case and with A-labels.
func (r *redactor) appendAddress(dst []byte, a esmtp.Address) []byte {
	if a.IsNull() {
		return append(dst, "<>"...)
	}
	switch r.mode {
	case RedactLocal:
		_, n := utf8.DecodeRuneInString(a.Local())
		dst = append(esmtp.AppendEscaped(dst, a.Local()[:n], true), "…"...) // as Address.Redacted
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
	if r.mac == nil {
		r.mac = hmac.New(sha256.New, r.secret)
	}
	r.mac.Reset()
	r.scratch = append(r.scratch[:0], s...)
	_, _ = r.mac.Write(r.scratch) // a hash takes everything
	r.scratch = r.mac.Sum(r.scratch[:0])
	return hex.AppendEncode(append(dst, hashMark...), r.scratch[:8])
}

// login is a login as it may be written. Many are addresses.
func (r *redactor) login(login string) string {
	if login == "" || r.mode == RedactOff {
		return login
	}
	if strings.Contains(login, "@") {
		if a, err := esmtp.ParseAddress(login, true); err == nil {
			return string(r.appendAddress(nil, a))
		}
	}
	if r.mode == RedactHash {
		return string(r.appendHash(nil, login))
	}
	_, n := utf8.DecodeRuneInString(login)
	return login[:n] + "…"
}

// name is what may be an address or not: one that is none, and "*@domain", stays as it is.
func (r *redactor) name(s string) string {
	if r.mode == RedactOff || !strings.Contains(s, "@") || strings.HasPrefix(s, "*@") ||
		strings.HasPrefix(s, "@") {
		return s
	}
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		return hidden
	}
	return string(r.appendAddress(nil, a))
}

// keyed is a name with what it is before it: "login:alice", "sender:alice@example.com".
func (r *redactor) keyed(s string) string {
	kind, name, ok := strings.Cut(s, ":")
	switch {
	case r.mode == RedactOff || !ok:
		return s
	case kind == "login":
		return kind + ":" + r.login(name)
	}
	return kind + ":" + r.name(name)
}

// about sets whose local parts words takes out.
func (r *redactor) about(recipient, sender esmtp.Address) {
	r.locals = r.locals[:0]
	if r.mode != RedactOff {
		r.local(recipient)
		r.local(sender)
	}
}

func (r *redactor) local(a esmtp.Address) {
	if a.Local() == "" {
		return
	}
	r.scratch = esmtp.AppendEscaped(r.scratch[:0], a.Local(), true)
	n := len(r.locals)
	if n < cap(r.locals) {
		r.locals = r.locals[:n+1] // and what was there is room
	} else {
		r.locals = append(r.locals, nil)
	}
	r.locals[n] = appendLower(r.locals[n][:0], r.scratch)
}

// leaves reports whether words surely leaves a text as it is.
func (r *redactor) leaves(text []byte) bool {
	if r.mode == RedactOff {
		return true
	}
	r.folded = appendLower(r.folded[:0], text)
	if looksLikeAddress(r.folded) {
		return false
	}
	for _, local := range r.locals {
		if bytes.IndexByte(local, ' ') >= 0 || bytes.Contains(r.folded, local) {
			return false
		}
	}
	return true
}

// words takes out of a text what may tell a mailbox: everything that looks like an address, and
// every word that holds one of the local parts that it is about.
func (r *redactor) words(text string) string {
	if r.mode == RedactOff || text == "" {
		return text
	}
	r.scratch = append(r.scratch[:0], text...)
	if r.leaves(r.scratch) {
		return text
	}
	return r.cut(text)
}

// cut is words for a text that may tell.
func (r *redactor) cut(text string) string {
	out, changed := r.scratch[:0], false
	for rest, more := text, true; more; {
		var word string
		word, rest, more = strings.Cut(rest, " ")
		r.folded = appendLower(r.folded[:0], word)
		tells, all := r.tells(r.folded)
		switch {
		case all:
			return hidden
		case tells:
			out, changed = append(out, hidden...), true
		default:
			out = append(out, word...)
		}
		if more {
			out = append(out, ' ')
		}
	}
	if r.scratch = out; !changed {
		return text
	}
	return string(out)
}

// tells reports whether a word in lower case may tell a mailbox. all: it may stand in more words
// than one.
func (r *redactor) tells(word []byte) (tells, all bool) {
	for _, local := range r.locals {
		if bytes.IndexByte(local, ' ') >= 0 {
			return true, true
		}
		tells = tells || holds(word, local)
	}
	return tells || looksLikeAddress(word), false
}

func appendLower[T string | []byte](dst []byte, s T) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return append(dst[:0], strings.ToLower(string(s))...)
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// looksLikeAddress also knows the @ of URLs, VERP and xtext.
func looksLikeAddress(word []byte) bool {
	for i, c := range word {
		switch c {
		case '@':
			return true
		case '%', '=', '+':
			if bytes.HasPrefix(word[i+1:], []byte("40")) {
				return true
			}
		}
	}
	return false
}

// holds looks for a local part in a word, for one of up to three letters as the whole word only:
// "a" is in most words.
func holds(word, local []byte) bool {
	if len(local) > 3 {
		return bytes.Contains(word, local)
	}
	return bytes.Equal(bytes.Trim(word, `<>()[]{}"',;:.!?`), local)
}
