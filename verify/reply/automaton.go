package reply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The automaton is Aho and Corasick's (CACM 18:6, 1975) over words instead of octets: a reply
// has some twenty words, and most of them are in no phrase at all.
//
// A phrase is one or more words. A word may end in "*", any ending. "url:x" is a word inside
// a host name or URL, "@addr" and the like are marks; both stand alone, being no part of the
// sentence. A feature is a list of phrases of which any one will do; what the automaton
// returns is the set of features.

// maxFeatures bounds the set, which lives on the stack.
const maxFeatures = 1024

type features [maxFeatures / 64]uint64

func (f *features) set(i uint16)      { f[i/64] |= 1 << (i % 64) }
func (f *features) has(i uint16) bool { return f[i/64]&(1<<(i%64)) != 0 }

func (f *features) hasAll(list []uint16) bool {
	for _, i := range list {
		if !f.has(i) {
			return false
		}
	}
	return true
}

// stem is a word's beginning that counts as the word, whatever follows.
type stem struct {
	prefix string
	id     uint16
}

type node struct {
	fail     int32
	out, end int32 // outs[out:end], those of the fail chain included
}

// output is a feature that ends at a node, and how many words its phrase has.
type output struct {
	feature uint16
	words   uint16
}

// pair is "A ~ B": a feature that is there when B begins at most gap words after the end of A,
// in the same sentence.
type pair struct {
	slot  uint16 // of A's last end
	gap   int32
	whole uint16
}

// maxSlots bounds the features that begin a pair.
const maxSlots = 128

type automaton struct {
	words map[string]uint16
	stems map[[stemMin]byte][]stem // by their first octets, longest first
	url   map[string]uint16        // feature lists of words in URLs: index into urlOuts
	marks [marks][]uint16

	root    []int32 // by word
	next    map[uint32]int32
	nodes   []node
	outs    []output
	phrases []string // by node, for people; "" where no phrase ends
	urlOuts [][]uint16
	nears   []near
	slotOf  []uint16 // by the feature that begins a pair, plus one; 0 for none
	pairs   [][]pair // by the feature that ends a pair
}

// maxNodes bounds the automaton: a node and a word make an edge of 32 bits.
const maxNodes = 1 << 16

// stemMin is the shortest stem.
const stemMin = 3

// builder collects phrases.
type builder struct {
	phrases map[string][]uint16 // features by phrase
}

func (b *builder) add(phrase string, feature uint16) {
	if !slices.Contains(b.phrases[phrase], feature) {
		b.phrases[phrase] = append(b.phrases[phrase], feature)
	}
}

// build makes the automaton.
func (b *builder) build() (*automaton, error) {
	a := &automaton{
		words: map[string]uint16{}, stems: map[[stemMin]byte][]stem{}, url: map[string]uint16{},
		next: map[uint32]int32{},
	}
	var list []string
	for phrase, fs := range b.phrases {
		slices.Sort(fs)
		switch {
		case strings.HasPrefix(phrase, "url:"):
			a.url[phrase[len("url:"):]] = uint16(len(a.urlOuts)) //nolint:gosec // few
			a.urlOuts = append(a.urlOuts, fs)
		case strings.HasPrefix(phrase, "@"):
			m := slices.IndexFunc(allMarks(), func(m mark) bool { return m.String() == phrase })
			if m < 0 {
				return nil, fmt.Errorf("no such mark: %q; known are @addr, @ip, @host, @url", phrase)
			}
			a.marks[m] = fs
		default:
			list = append(list, phrase)
		}
	}
	slices.Sort(list)
	if err := a.vocabulary(list); err != nil {
		return nil, err
	}
	return a, a.trie(list, b.phrases)
}

func allMarks() []mark { return []mark{markAddr, markIP, markHost, markURL} }

// vocabulary gives each word and each stem its number.
func (a *automaton) vocabulary(list []string) error {
	for _, phrase := range list {
		for word := range strings.FieldsSeq(phrase) {
			if len(a.words) >= 1<<16-1 {
				return fmt.Errorf("more than %d words", 1<<16-1)
			}
			if _, ok := a.words[word]; ok {
				continue
			}
			id := uint16(len(a.words) + 1) //nolint:gosec // bounded above
			a.words[word] = id
			prefix, isStem := strings.CutSuffix(word, "*")
			if !isStem {
				continue
			}
			if len(prefix) < stemMin {
				return fmt.Errorf("stem %q is shorter than %d letters", word, stemMin)
			}
			key := [stemMin]byte([]byte(prefix))
			a.stems[key] = append(a.stems[key], stem{prefix, id})
		}
	}
	for _, stems := range a.stems {
		slices.SortFunc(stems, func(x, y stem) int { return cmp.Compare(len(y.prefix), len(x.prefix)) })
	}
	a.root = make([]int32, len(a.words)+1)
	return nil
}

// matching returns the words that a phrase's word stands for: itself and, for a stem, every
// word and stem of the vocabulary that begins with it, as the scanner finds only the longest.
func (a *automaton) matching(word string, known map[string][]uint16) []uint16 {
	prefix, isStem := strings.CutSuffix(word, "*")
	if !isStem {
		return []uint16{a.words[word]}
	}
	if ids, ok := known[word]; ok {
		return ids
	}
	var ids []uint16
	for other, id := range a.words {
		if strings.HasPrefix(other, prefix) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	known[word] = ids
	return ids
}

func (a *automaton) trie(list []string, phrases map[string][]uint16) error {
	outs := [][]output{nil}
	stems := map[string][]uint16{}
	a.nodes, a.phrases = []node{{}}, []string{""}
	for _, phrase := range list {
		ends := []int32{0}
		for word := range strings.FieldsSeq(phrase) {
			var after []int32
			for _, id := range a.matching(word, stems) {
				for _, at := range ends {
					to := a.step(at, id)
					if to == 0 {
						to = int32(len(a.nodes)) //nolint:gosec // bounded below
						if to >= maxNodes {
							return fmt.Errorf("more than %d nodes", maxNodes)
						}
						a.nodes = append(a.nodes, node{})
						outs, a.phrases = append(outs, nil), append(a.phrases, "")
						a.link(at, id, to)
					}
					after = append(after, to)
				}
			}
			ends = after
		}
		for _, end := range ends {
			for _, feature := range phrases[phrase] {
				outs[end] = append(outs[end], output{feature, uint16(len(strings.Fields(phrase)))}) //nolint:gosec // short
			}
			a.phrases[end] = phrase
		}
	}
	a.fail(outs)
	return nil
}

// step is the goto function, 0 where there is none. Only the root's is total.
func (a *automaton) step(at int32, word uint16) int32 {
	if at == 0 {
		return a.root[word]
	}
	return a.next[edge(at, word)]
}

func (a *automaton) link(at int32, word uint16, to int32) {
	if at == 0 {
		a.root[word] = to
		return
	}
	a.next[edge(at, word)] = to
}

func edge(at int32, word uint16) uint32 {
	return uint32(at)<<16 | uint32(word) //nolint:gosec // at is below maxNodes
}

// fail computes the failure function breadth first and gathers what each node puts out.
func (a *automaton) fail(outs [][]output) {
	type arc struct {
		word uint16
		to   int32
	}
	arcs := make([][]arc, len(a.nodes))
	for word, to := range a.root {
		if to != 0 {
			arcs[0] = append(arcs[0], arc{uint16(word), to})
		}
	}
	for e, to := range a.next {
		arcs[e>>16] = append(arcs[e>>16], arc{uint16(e & 0xffff), to})
	}
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, arc := range arcs[at] {
			queue = append(queue, arc.to)
			if at == 0 {
				continue
			}
			back := a.nodes[at].fail
			for back != 0 && a.step(back, arc.word) == 0 {
				back = a.nodes[back].fail
			}
			to := a.step(back, arc.word)
			a.nodes[arc.to].fail = to
			outs[arc.to] = append(outs[arc.to], outs[to]...)
		}
	}
	for i := range a.nodes {
		slices.SortFunc(outs[i], func(x, y output) int {
			return cmp.Or(cmp.Compare(x.feature, y.feature), cmp.Compare(x.words, y.words))
		})
		a.nodes[i].out = int32(len(a.outs)) //nolint:gosec // bounded by the rules
		a.outs = append(a.outs, slices.Compact(outs[i])...)
		a.nodes[i].end = int32(len(a.outs)) //nolint:gosec // bounded by the rules
	}
}

// lookup is a word's number, 0 for one that is in no phrase.
func (a *automaton) lookup(w []byte) uint16 {
	if id, ok := a.words[string(w)]; ok {
		return id
	}
	if len(w) < stemMin {
		return 0
	}
	for _, s := range a.stems[[stemMin]byte(w)] {
		if len(w) >= len(s.prefix) && string(w[:len(s.prefix)]) == s.prefix {
			return s.id
		}
	}
	return 0
}
