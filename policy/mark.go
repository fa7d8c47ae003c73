package policy

import (
	"slices"
	"strings"
)

// marked says whether a rule before this one left the mark. A mark that is there, or is not,
// because of what the verifier said carries that on: a refusal for it is one because of a
// verdict.
func (w *walk) marked(mark string) bool {
	if slices.Contains(w.verdicts, mark) {
		w.asked = true
	}
	return slices.Contains(w.marks, mark)
}

// leave has a rule whose condition was evaluated leave its mark and header, and tells so.
func (w *walk) leave(rule *compiledRule, outcome Outcome) (detail string) {
	if rule.Mark == "" && rule.header == nil {
		return ""
	}
	if rule.Mark != "" && w.asked && !slices.Contains(w.verdicts, rule.Mark) {
		w.verdicts = append(w.verdicts, rule.Mark)
	}
	if outcome != Match {
		return ""
	}
	if rule.Mark != "" && !slices.Contains(w.marks, rule.Mark) {
		w.marks = append(w.marks, rule.Mark)
	}
	field := ""
	if rule.header != nil {
		if field = w.field(rule); !slices.Contains(w.headers, field) {
			w.headers = append(w.headers, field)
		}
	}
	if !w.trace {
		return ""
	}
	var left []string
	if rule.Mark != "" {
		left = append(left, "marks "+rule.Mark)
	}
	if field != "" {
		left = append(left, "adds "+field)
	}
	return strings.Join(left, "; ")
}
