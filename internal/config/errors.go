package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a configuration file.
type Error struct {
	File         string // as given to Load or Parse
	Line, Column int    // 1-based; Column counts octets
	Key          string // such as "proxy.listen" or "proxy.listen.0"; "" for a syntax error
	Problem      string // what is wrong
	Fix          string // what to write instead; may be empty
}

// Error is one line: FILE:LINE:COLUMN: KEY: PROBLEM; FIX.
func (e *Error) Error() string { return e.format("") }

// Warning is the same line, said to be a warning.
func (e *Error) Warning() string { return e.format("warning: ") }

func (e *Error) format(kind string) string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, max(e.Column, 1))
	}
	b.WriteString(": " + kind)
	if e.Key != "" {
		b.WriteString(displayKey(e.Key) + ": ")
	}
	b.WriteString(e.Problem)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// displayKey writes the elements of lists as people do: policy.rules[0].when.
func displayKey(key string) string {
	var b strings.Builder
	for i, part := range strings.Split(key, ".") {
		switch {
		case part != "" && strings.Trim(part, "0123456789") == "":
			b.WriteString("[" + part + "]")
		case i > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// Errors is what Load and Parse return: at least one fault, in the order of the file.
type Errors []*Error

// Error is one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As the single faults.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// nearest returns the candidate that word was probably meant to be, "" if none is close. Close is
// at most a third of the letters wrong, but at least one and at most three.
func nearest(word string, candidates []string) string {
	best, least := "", min(max(len(word)/3, 1), 3)+1
	for _, candidate := range candidates {
		if d := editDistance(strings.ToLower(word), candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a
// into b (optimal string alignment). Keys are short; longer words than 64 octets are far from all.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
