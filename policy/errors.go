package policy

import (
	"fmt"
	"strings"
)

// RuleError is one fault of one rule, for the person who wrote it. New returns all of them as
// RuleErrors.
type RuleError struct {
	Rule  string // the rule's name
	Index int    // its position in Config.Rules, from 0; -1: not about a rule
	Field string // "name", "when", "action", "code", "enhanced_code", "text"; or "mode"

	// File and Line are the rule's, as given. Row and Column count from 1 within the field's value
	// (Column in characters) and are 0 where the fault has no position.
	File        string
	Line        int
	Row, Column int

	Detail string // what is wrong
	Hint   string // what to write instead; may be ""
}

// Error is the fault on one line: rule, field, position, problem; fix.
func (e *RuleError) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	}
	if e.Index >= 0 {
		fmt.Fprintf(&b, "rule %d %q: ", e.Index+1, e.Rule)
	}
	b.WriteString(e.Field)
	switch {
	case e.Row > 1:
		fmt.Fprintf(&b, " (line %d, column %d)", e.Row, e.Column)
	case e.Column > 0:
		fmt.Fprintf(&b, " (column %d)", e.Column)
	}
	b.WriteString(": " + e.Detail)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// RuleErrors is every fault of a rule set, in the order of the rules. errors.As finds it in the
// error of New; errors.AsType[*RuleError] finds the first fault.
type RuleErrors []*RuleError

// Error is one fault a line.
func (e RuleErrors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single faults to errors.Is and errors.As.
func (e RuleErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

// nearest is the candidate that is closest to the word that was written, or "" if none is close
// enough to be meant (half of its letters wrong, at most three).
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 4
	for _, candidate := range candidates {
		distance := editDistance(strings.ToLower(word), candidate)
		if distance < bestDistance && distance*2 <= len(word) {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// editDistance is the number of letters to insert, delete or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// oneOf is the hint for a value out of a closed set: the nearest, and the whole set.
func oneOf(word string, set []string) string {
	valid := "valid: " + strings.Join(set, ", ")
	if near := nearest(word, set); near != "" {
		return fmt.Sprintf("did you mean %q? %s", near, valid)
	}
	return valid
}
