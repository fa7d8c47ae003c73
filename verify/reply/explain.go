package reply

import (
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Explanation is what Classify saw of a text.
type Explanation struct {
	Words    string   // the words that the phrases were looked for in; "." ends a sentence
	Masked   []string // what was left out, because it names somebody
	Phrases  []string // the phrases of the rules that were found
	Enhanced esmtp.EnhancedCode
}

// Explain is Classify, slower and with the reasons.
func Explain(in Input) (Class, Explanation) {
	rs := embedded()
	n := &notes{}
	f := finder{a: rs.auto, notes: n}
	class := rs.classify(&in, &f)
	e := Explanation{
		Words: strings.TrimSpace(n.words.String()), Masked: n.hidden, Phrases: n.hits,
		Enhanced: in.Enhanced,
	}
	if e.Enhanced == (esmtp.EnhancedCode{}) {
		e.Enhanced = n.enhanced
	}
	return class, e
}
