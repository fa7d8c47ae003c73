package reply

import (
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// finder is one pass over a text: it receives what the scanner finds.
type finder struct {
	a     *automaton
	at    int32
	pos   int32           // of the word, from 1
	last  [maxSlots]int32 // where the beginnings of pairs last ended
	here  features        // in the sentence at hand
	some  bool            // here is not empty
	found features
	path  bool   // an address stood in angle brackets
	notes *notes // for people; nil in a hurry
}

// notes are what a person wants to know of a pass.
type notes struct {
	words  strings.Builder
	hidden []string
	hits   []string

	enhanced esmtp.EnhancedCode // the code that the text itself holds
}

func (f *finder) word(w []byte) {
	if f.notes != nil {
		f.notes.words.WriteString(" " + string(w))
	}
	f.pos++
	id := f.a.lookup(w)
	if id == 0 {
		f.at = 0
		return
	}
	at := f.at
	to := f.a.step(at, id)
	for to == 0 && at != 0 {
		at = f.a.nodes[at].fail
		to = f.a.step(at, id)
	}
	f.at = to
	n := f.a.nodes[to]
	for _, out := range f.a.outs[n.out:n.end] {
		f.hit(out)
	}
	if f.notes != nil {
		f.note(to)
	}
}

// hit is a phrase that ends with the word at hand.
func (f *finder) hit(out output) {
	f.set(out.feature)
	if slot := f.a.slotOf[out.feature]; slot != 0 {
		f.last[slot-1] = f.pos
	}
	for _, p := range f.a.pairs[out.feature] {
		between := f.pos - int32(out.words) - f.last[p.slot]
		if f.last[p.slot] > 0 && between >= 0 && between <= p.gap {
			f.set(p.whole)
		}
	}
}

func (f *finder) set(feature uint16) {
	f.here.set(feature)
	f.some = true
}

func (f *finder) note(at int32) {
	for ; at != 0; at = f.a.nodes[at].fail {
		if p := f.a.phrases[at]; p != "" && !slices.Contains(f.notes.hits, p) {
			f.notes.hits = append(f.notes.hits, p)
		}
	}
}

func (f *finder) urlWord(w []byte) {
	i, ok := f.a.url[string(w)]
	if !ok {
		return
	}
	for _, feature := range f.a.urlOuts[i] {
		f.set(feature)
	}
	if f.notes != nil {
		f.notes.hits = append(f.notes.hits, "url:"+string(w))
	}
}

func (f *finder) stop() {
	f.at = 0
	f.pos += 1000 // no pair goes across
	if f.notes != nil {
		f.notes.words.WriteString(" .")
	}
	if !f.some {
		return
	}
	f.some = false
	for _, n := range f.a.nears {
		if f.here.hasAll(n.parts) {
			f.found.set(n.whole)
		}
	}
	for i := range f.here {
		f.found[i] |= f.here[i]
		f.here[i] = 0
	}
}

func (f *finder) mark(m mark) {
	for _, feature := range f.a.marks[m] {
		f.set(feature)
	}
	if f.notes != nil {
		f.notes.words.WriteString(" " + m.String())
	}
}

func (f *finder) masked(s string) {
	if f.notes != nil {
		f.notes.hidden = append(f.notes.hidden, s)
	}
}
