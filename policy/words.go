package policy

import (
	"bytes"
	"hash/maphash"
	"strings"
)

// maxWord is the length of the longest entry of a list in octets: a mailbox has at most 64 + 1 +
// 255.
const maxWord = 320

// words is a set of lower-case words for look-ups without allocation. It is made for a million of
// them: all stand in one string, each behind a line feed and before one, and a table of offsets
// finds them. There are no pointers in it that the garbage collector would have to follow. It never
// changes once it is made; a nil set is empty.
type words struct {
	text  string // "\nexample.com\njoe@example.net\n"
	table []uint32
	seed  maphash.Seed
	count int

	parents bool // there is an entry such as ".example.com"
}

// newWords takes a text of different or equal words, each with a line feed before and behind it.
func newWords(text string) *words {
	size := 16
	for n := strings.Count(text, "\n"); size < n*3/2; {
		size *= 2
	}
	w := &words{text: text, table: make([]uint32, size), seed: maphash.MakeSeed()}
	for at := 0; ; {
		begin := at + 1
		length := strings.IndexByte(text[min(begin, len(text)):], '\n')
		if length < 0 {
			return w
		}
		at = begin + length
		w.add(begin, []byte(text[begin:at]))
	}
}

// mask cuts a hash to a place in the table, whose length is a power of two.
func (w *words) mask() uint64 { return uint64(len(w.table)) - 1 }

// add enters the word that begins at an offset, once.
func (w *words) add(begin int, word []byte) {
	if len(word) == 0 {
		return
	}
	slot := maphash.Bytes(w.seed, word) & w.mask()
	for ; w.table[slot] != 0; slot = (slot + 1) & w.mask() {
		if w.is(w.table[slot], word) {
			return
		}
	}
	w.table[slot] = uint32(begin) //nolint:gosec // the text has at most maxListFile octets; never 0
	w.count++
	w.parents = w.parents || word[0] == '.'
}

// is says whether this word begins at an offset of the text.
func (w *words) is(begin uint32, word []byte) bool {
	rest := w.text[begin:]
	return len(rest) > len(word) && rest[len(word)] == '\n' && rest[:len(word)] == string(word)
}

// has looks for a word as it is.
func (w *words) has(word []byte) bool {
	if len(word) == 0 || bytes.IndexByte(word, '\n') >= 0 { // two words of the text are none
		return false
	}
	slot := maphash.Bytes(w.seed, word) & w.mask()
	for ; w.table[slot] != 0; slot = (slot + 1) & w.mask() {
		if w.is(w.table[slot], word) {
			return true
		}
	}
	return false
}

// hasWord looks for the value itself. In this and the other look-ups ASCII capitals count as small
// letters.
func (w *words) hasWord(value string) bool {
	var buf [maxWord]byte
	return w != nil && len(value) <= maxWord && w.has(appendFolded(buf[:0], value))
}

// hasDomain looks for a domain and for the domains above it.
func (w *words) hasDomain(domain string) bool {
	if w == nil || len(domain) > maxWord {
		return false
	}
	var buf [maxWord]byte
	for rest := appendFolded(buf[:0], domain); ; {
		if w.has(rest) {
			return true
		}
		dot := bytes.IndexByte(rest, '.')
		if dot < 0 {
			return false
		}
		rest = rest[dot+1:]
	}
}

// match looks for a value as lists do: for itself; for an address also its domain; for both also
// the entries such as ".example.com" for the domains above.
func (w *words) match(value string) bool {
	if w == nil || len(value) > maxWord {
		return false
	}
	var buf [maxWord]byte
	folded := appendFolded(buf[:0], value)
	if w.has(folded) {
		return true
	}
	if at := bytes.LastIndexByte(folded, '@'); at >= 0 {
		if folded = folded[at+1:]; w.has(folded) {
			return true
		}
	}
	if !w.parents {
		return false
	}
	for i := 1; i < len(folded); i++ {
		if folded[i] == '.' && w.has(folded[i:]) {
			return true
		}
	}
	return false
}

// appendFolded appends a value with small letters for ASCII capitals, and nothing else changed.
func appendFolded[T string | []byte](dst []byte, value T) []byte {
	for i := range len(value) {
		c := value[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
