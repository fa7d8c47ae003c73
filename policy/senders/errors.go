package senders

import (
	"fmt"
	"slices"
	"strings"
)

// ConfigError is one fault of the configuration, for the person who wrote it. New, Reconfigure and
// Check return all of them as ConfigErrors.
type ConfigError struct {
	Index  int    // of the limit in Config.Limits, from 0; -1: not about a limit
	Name   string // the limit's name
	Field  string // "name", "per", "messages[0]", "hygiene.hold", "max_keys", ...
	Detail string // what is wrong
	Hint   string // what to write instead; may be ""
}

// Error is the fault on one line: limit, field, problem; fix.
func (e *ConfigError) Error() string {
	var b strings.Builder
	if e.Index >= 0 {
		fmt.Fprintf(&b, "limit %d %q: ", e.Index+1, e.Name)
	}
	b.WriteString(e.Field + ": " + e.Detail)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// ConfigErrors is every fault of a configuration, in its order.
type ConfigErrors []*ConfigError

// Error is one fault a line.
func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single faults to errors.Is and errors.As.
func (e ConfigErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

func contains(set []string, word string) bool { return slices.Contains(set, word) }

// oneOf is the hint for a value out of a closed set: the nearest, and the whole set.
func oneOf(word string, set []string) string {
	valid := "valid: " + strings.Join(set, ", ")
	if near := nearest(word, set); near != "" {
		return fmt.Sprintf("did you mean %q? %s", near, valid)
	}
	return valid
}

// nearest is the word of the set that was meant, or "": one that begins or ends with what was
// written ("h", "domain"), or else the one that differs least, by at most three letters and half of
// them.
func nearest(word string, set []string) string {
	word = strings.ToLower(word)
	if word == "" || len(word) > 32 {
		return ""
	}
	for _, candidate := range set {
		if strings.HasPrefix(candidate, word) || strings.HasSuffix(candidate, word) {
			return candidate
		}
	}
	best, least := "", 4
	for _, candidate := range set {
		if d := distance(word, candidate); d < least && 2*d <= len(word) {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			replaced := last
			if a[i] != b[j] {
				replaced++
			}
			last = row[j+1]
			row[j+1] = min(replaced, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}
