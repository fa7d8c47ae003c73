package verify

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// masked is the text of a reply as it may be kept for days: without the recipient's address, and
// without what differs from reply to reply (queue numbers), so that all replies of a server that say
// the same are one in memory.
func masked(r esmtp.Reply, local, domain string) esmtp.Reply {
	kept := trim(r)
	for i, line := range kept.Lines {
		kept.Lines[i] = maskLine(line, local, domain)
	}
	return kept
}

// blank stands for what was taken out.
const blank = "..."

func maskLine(line, local, domain string) string {
	if local != "" && domain != "" {
		line = replaceFold(line, local+"@"+domain, false)
	}
	// Servers write the local part alone too: "User anna unknown". Where it is a word that replies are
	// made of, it stays: it tells nothing of a person.
	if !isReplyWord(local) {
		line = replaceFold(line, local, true)
	}
	return maskNumbers(line)
}

// replaceFold replaces each old in s by blank, in whatever case. word: only where no letter or digit
// stands before or behind it.
func replaceFold(s, old string, word bool) string {
	if old == "" || len(s) < len(old) {
		return s
	}
	var b strings.Builder
	done := 0
	for i := 0; i+len(old) <= len(s); {
		if !strings.EqualFold(s[i:i+len(old)], old) || word && !isWord(s, i, i+len(old)) {
			i++
			continue
		}
		b.WriteString(s[done:i])
		b.WriteString(blank)
		i += len(old)
		done = i
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// isWord reports whether s[from:to] stands by itself.
func isWord(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	behind, _ := utf8.DecodeRuneInString(s[to:])
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	return (from == 0 || !inWord(before)) && (to == len(s) || !inWord(behind))
}

// isReplyWord reports whether a local part is a word of replies, or an address that every domain has
// (RFC 2142).
func isReplyWord(local string) bool {
	switch strings.ToLower(local) {
	case "a", "abuse", "access", "account", "address", "all", "blocked", "contact", "delivery", "denied",
		"disabled", "does", "domain", "email", "error", "found", "full", "help", "here", "host",
		"hostmaster", "i", "in", "inbox", "info", "invalid", "is", "mail", "mailbox", "mailer-daemon",
		"message", "no", "noreply", "not", "of", "office", "ok", "policy", "postmaster", "quota",
		"recipient", "rejected", "relay", "root", "sales", "sender", "server", "service", "smtp",
		"spam", "support", "system", "test", "the", "this", "to", "unknown", "user", "webmaster":
		return true
	}
	return false
}

// maskNumbers takes out words that look like the number of this very reply: long, with letters and at
// least four digits, and no address on the web. Google ends each reply with one
// ("p13-20020a056a0026cd00b0069323619f66si1234567pfw.12 - gsmtp"), Postfix names its queue ID.
func maskNumbers(line string) string {
	const shortest, digits = 10, 4
	if len(line) < shortest {
		return line
	}
	words := strings.Split(line, " ")
	for i, word := range words {
		core := strings.Trim(word, "<>()[]{}.,;:\"'")
		if len(core) < shortest || strings.Contains(core, "/") {
			continue
		}
		d, l := 0, 0
		for _, r := range core {
			switch {
			case r >= '0' && r <= '9':
				d++
			case unicode.IsLetter(r):
				l++
			}
		}
		if d >= digits && (l > 0 || d == len(core)) && !isHostName(core) {
			words[i] = strings.Replace(word, core, blank, 1)
		}
	}
	return strings.Join(words, " ")
}

// isHostName reports whether a word may be the name of a host: its last label has letters only. A
// number such as "…si123pfw.12" ends in digits.
func isHostName(word string) bool {
	dot := strings.LastIndexByte(word, '.')
	if dot < 0 || dot == len(word)-1 {
		return false
	}
	for _, r := range word[dot+1:] {
		if !unicode.IsLetter(r) {
			return false
		}
	}
	return true
}
