package provider

import (
	"slices"
	"strings"
)

// Table is all profiles, ready to be searched. Load makes it.
type Table struct {
	names    []string // sorted
	profiles map[string]*Profile
	generic  *Profile

	exact   map[string]*Profile // by host name
	globs   map[string][]glob   // by the last two labels of the pattern
	suffix  map[string]*Profile // "*." patterns, without it
	domains map[string]*Profile
	banners []banner // operators first, then the longest text first
}

type glob struct {
	pattern string
	profile *Profile
}

type banner struct {
	text    string
	profile *Profile
}

// Find returns the profile of a recipient domain (A-label, lower case) whose MX hosts are these,
// in the order in which they are asked. The first host decides: it is the one whose answer is
// believed. Where its name says nothing, the domain does; where that says nothing either, the
// generic profile is returned, never nil.
func (t *Table) Find(domain string, hosts []string) *Profile {
	if len(hosts) > 0 {
		if p := t.byHost(hosts[0]); p != nil {
			return p
		}
	}
	if p := t.domains[domain]; p != nil {
		return p
	}
	return t.generic
}

func (t *Table) byHost(host string) *Profile {
	host = lowerASCII(strings.TrimSuffix(host, "."))
	if p := t.exact[host]; p != nil {
		return p
	}
	if tail, ok := lastTwo(host); ok {
		for _, g := range t.globs[tail] {
			if matchLabels(g.pattern, host) {
				return g.profile
			}
		}
	}
	for rest := host; ; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			return nil
		}
		rest = rest[dot+1:]
		if p := t.suffix[rest]; p != nil {
			return p
		}
	}
}

// ByBanner returns the profile that a banner (or an EHLO reply, or both) tells; see SECURITY.
// Operators are looked for before programs, and of several the one with the longest text counts.
func (t *Table) ByBanner(text string) (*Profile, bool) {
	text = lowerASCII(text)
	for _, b := range t.banners {
		if strings.Contains(text, b.text) {
			return b.profile, true
		}
	}
	return nil, false
}

// Get returns the profile of that name.
func (t *Table) Get(name string) (*Profile, bool) {
	p, ok := t.profiles[name]
	return p, ok
}

// Names returns the names of all profiles, sorted.
func (t *Table) Names() []string { return slices.Clone(t.names) }

// lastTwo returns the last two labels of a host name.
func lastTwo(host string) (string, bool) {
	last := strings.LastIndexByte(host, '.')
	if last < 1 {
		return "", false
	}
	return host[strings.LastIndexByte(host[:last], '.')+1:], true
}

// matchLabels matches a pattern with "*" within labels.
func matchLabels(pattern, host string) bool {
	for {
		want, restWant, moreWant := strings.Cut(pattern, ".")
		have, restHave, moreHave := strings.Cut(host, ".")
		if moreWant != moreHave || !matchLabel(want, have) {
			return false
		}
		if !moreWant {
			return true
		}
		pattern, host = restWant, restHave
	}
}

// matchLabel matches one label; its pattern has at most one "*".
func matchLabel(pattern, label string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == label
	}
	return len(label) >= len(before)+len(after) &&
		strings.HasPrefix(label, before) && strings.HasSuffix(label, after)
}
