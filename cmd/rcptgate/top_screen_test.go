package main

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

// emulated is a terminal: what a program writes to it becomes rows. It knows what top writes, and
// anything else is a fault.
type emulated struct {
	mu            sync.Mutex
	width, height int
	rows          [][]rune // a wide character is followed by a 0
	row, col      int
	saved         [2]int          // row and column, while the alternate screen is used
	pending       []byte          // a sequence that has not ended
	modes         map[string]bool // private ones that are on
	// faults are those since the screen was last cleared: after a change of the size, frames of the
	// one before may still be on their way.
	faults []string
}

func newEmulated(width, height int) *emulated {
	e := &emulated{modes: map[string]bool{"25": true, "7": true}}
	e.resize(width, height)
	return e
}

func (e *emulated) resize(width, height int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.width, e.height, e.row, e.col = width, height, 0, 0
	e.rows = make([][]rune, height)
	for i := range e.rows {
		e.rows[i] = slices.Repeat([]rune{' '}, width)
	}
}

func (e *emulated) write(data []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	data = append(e.pending, data...)
	for len(data) > 0 {
		n := e.one(data)
		if n == 0 {
			break
		}
		data = data[n:]
	}
	e.pending = slices.Clone(data)
}

func (e *emulated) fault(what string) { e.faults = append(e.faults, what) }

// one reads one character or sequence; 0 if it has not ended.
func (e *emulated) one(data []byte) int {
	switch c := data[0]; {
	case c == 0x1b && len(data) < 2:
		return 0
	case c == 0x1b && data[1] == '[':
		end := 2
		for end < len(data) && (data[end] < '@' || data[end] > '~') {
			end++
		}
		if end == len(data) {
			return 0
		}
		e.sequence(string(data[2:end]), data[end])
		return end + 1
	case c == '\r':
		e.col = 0
		return 1
	case c == '\n':
		e.row = min(e.row+1, e.height-1)
		return 1
	case c < ' ' || c == 0x7f:
		e.fault("control character " + strconv.Quote(string(rune(c))))
		return 1
	case !utf8.FullRune(data):
		return 0
	}
	r, n := utf8.DecodeRune(data)
	e.put(r)
	return n
}

func (e *emulated) sequence(parameters string, final byte) {
	switch {
	case final == 'm':
	case final == 'H':
		row, col, _ := strings.Cut(parameters, ";")
		e.row, e.col = parameter(row)-1, parameter(col)-1
		if e.row >= e.height {
			e.fault("there is no row " + row)
		}
		e.row = min(e.row, e.height-1)
	case final == 'J' && parameters == "2":
		e.faults = nil
		for i := range e.rows {
			e.rows[i] = slices.Repeat([]rune{' '}, e.width)
		}
	case final == 'K' && parameters == "":
		for i := e.col; i < e.width; i++ {
			e.rows[e.row][i] = ' '
		}
	case (final == 'h' || final == 'l') && strings.HasPrefix(parameters, "?"):
		e.mode(parameters[1:], final == 'h')
	default:
		e.fault("sequence " + strconv.Quote(parameters+string(final)))
	}
}

// mode turns a private mode on or off. The alternate screen has the cursor of its own.
func (e *emulated) mode(name string, on bool) {
	e.modes[name] = on
	if name == "1049" && on {
		e.saved = [2]int{e.row, e.col}
	} else if name == "1049" {
		e.row, e.col = min(e.saved[0], e.height-1), min(e.saved[1], e.width-1)
	}
}

func parameter(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 1
	}
	return n
}

// put writes a character where the cursor is. Beyond the last column it is a fault, although the
// terminal would take it.
func (e *emulated) put(r rune) {
	width := 1
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), r >= 0x1f300:
		width = 2
	}
	if e.col+width > e.width {
		e.fault("row " + strconv.Itoa(e.row+1) + " is wider than the terminal: " + string(e.rows[e.row]))
		return
	}
	e.rows[e.row][e.col] = r
	if width == 2 {
		e.rows[e.row][e.col+1] = 0
	}
	e.col += width
}

// text is what a person sees.
func (e *emulated) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, row := range e.rows {
		b.WriteString(strings.TrimRight(strings.ReplaceAll(string(row), "\x00", ""), " ") + "\n")
	}
	return b.String()
}

// check reports what was wrong, and whether the terminal is as it was before.
func (e *emulated) check(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, fault := range e.faults {
		t.Error(fault)
	}
	e.faults = nil
}

// given reports whether the screen has been given back.
func (e *emulated) given() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.modes["25"] && e.modes["7"] && !e.modes["1049"]
}
