package policy

import (
	_ "embed"
	"strings"
	"sync"
)

// What comes with the program: the names behind recipient.role, .disposable and .free. Each file
// tells its source, licence and date. They are read when a condition first needs them.
var (
	//go:embed data/role.txt
	roleText string
	//go:embed data/disposable.txt
	disposableText string
	//go:embed data/free.txt
	freeText string

	roleNames         = sync.OnceValue(func() *roles { return newRoles(roleText) })
	disposableDomains = sync.OnceValue(func() *words { return newWords(bare(disposableText)) })
	freeDomains       = sync.OnceValue(func() *words { return newWords(bare(freeText)) })
)

// bare is an embedded text without its comments, as newWords wants it.
func bare(text string) string {
	var b strings.Builder
	b.Grow(len(text) + 1)
	b.WriteByte('\n')
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			b.WriteString(line)
		}
	}
	return b.String()
}

// roles are the local parts that belong to a role.
type roles struct {
	exact              *words
	prefixes, suffixes []string
}

func newRoles(text string) *roles {
	r := new(roles)
	var exact strings.Builder
	exact.WriteByte('\n')
	for line := range strings.Lines(bare(text)) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(word, "*"):
			r.suffixes = append(r.suffixes, word[1:])
		case strings.HasSuffix(word, "*"):
			r.prefixes = append(r.prefixes, word[:len(word)-1])
		default:
			exact.WriteString(word + "\n")
		}
	}
	r.exact = newWords(exact.String())
	return r
}

// isRole says whether a local part belongs to a role: info, abuse, list-request, sales+eu.
func isRole(local string) bool {
	local, _, _ = strings.Cut(local, "+")
	r := roleNames()
	if r.exact.hasWord(local) {
		return true
	}
	for _, suffix := range r.suffixes {
		if n := len(local) - len(suffix); n > 0 && strings.EqualFold(local[n:], suffix) {
			return true
		}
	}
	for _, prefix := range r.prefixes {
		if n := len(prefix); len(local) > n && strings.EqualFold(local[:n], prefix) {
			return true
		}
	}
	return false
}

// isDisposable says whether a domain, or one above it, gives out mailboxes to be thrown away.
func isDisposable(domain string) bool { return disposableDomains().hasDomain(domain) }

// isFree says whether anybody gets a mailbox at this domain for nothing.
func isFree(domain string) bool { return freeDomains().hasWord(domain) }
