package main

import (
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// topText is text that a terminal may be given: constants, and what topCharset.text has made of
// what came from elsewhere.
type topText string

// topCharset is what the terminal can show: with utf8 all of Unicode, else ASCII.
type topCharset struct{ utf8 bool }

// topCharsetOf follows the locale, as setlocale(3) does: the first variable that is set counts.
func topCharsetOf(getenv func(string) string) topCharset {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(name); value != "" {
			value = strings.ToLower(strings.ReplaceAll(value, "-", ""))
			return topCharset{strings.Contains(value, "utf8")}
		}
	}
	return topCharset{}
}

// text makes text of what somebody else wrote: controls, format characters and broken octets are
// escaped.
func (c topCharset) text(s string) topText {
	return topText(esmtp.AppendEscaped(nil, s, c.utf8))
}

// mark is the end of a text that was cut.
func (c topCharset) mark() topText {
	if c.utf8 {
		return "…"
	}
	return "~"
}

// cut shortens a text to a width.
func (c topCharset) cut(s topText, width int) topText {
	if s.width() <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	room := width - 1 // of the mark
	for i, r := range s {
		if room -= runeWidth(r); room < 0 {
			return s[:i] + c.mark()
		}
	}
	return s
}

// width is how many columns a text takes, at most: where terminals differ, the widest counts, so
// that no line grows beyond its end.
func (s topText) width() int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is the width of one character: 2 for those that are wide or fullwidth (Unicode Standard
// Annex 11), and in blocks of symbols that many fonts draw wide; 0 for marks upon another one.
func runeWidth(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case r == '\ufe0f': // makes an emoji of the character before it, and so a wide one
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && isWide(r):
		return 2
	}
	return 1
}

func isWide(r rune) bool {
	switch {
	case r <= 0x115f, // Hangul initials
		r >= 0x231a && r <= 0x23ff, // watches, arrows of players
		r >= 0x25fd && r <= 0x27bf, // squares, symbols, dingbats
		r >= 0x2b1b && r <= 0x2b55,
		r >= 0x2e80 && r <= 0xa4cf, // radicals, kana, ideographs, Yi
		r >= 0xa960 && r <= 0xa97f,
		r >= 0xac00 && r <= 0xd7a3, // Hangul
		r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe10 && r <= 0xfe19,
		r >= 0xfe30 && r <= 0xfe6f,
		r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6,
		r >= 0x16fe0 && r <= 0x1b2ff, // Tangut, kana
		r >= 0x1f000 && r <= 0x1faff, // emoji, tiles, cards, letters of flags
		r >= 0x20000 && r <= 0x3fffd:
		return true
	}
	return false
}

// topStyle is how text looks.
type topStyle int

const (
	topPlain topStyle = iota
	topBold
	topFaint
	topReverse
	topGreen
	topYellow
	topRed
)

// sequence turns a style on (ECMA-48, SGR). Without color what is left are the others.
func (s topStyle) sequence(color bool) string {
	switch {
	case s == topBold, s == topRed && !color:
		return "\x1b[1m"
	case s == topFaint:
		return "\x1b[2m"
	case s == topReverse:
		return "\x1b[7m"
	case s == topGreen && color:
		return "\x1b[32m"
	case s == topYellow && color:
		return "\x1b[33m"
	case s == topRed && color:
		return "\x1b[31m"
	}
	return ""
}

// topSpan is a piece of a line.
type topSpan struct {
	text  topText
	style topStyle
}

// topLine is one line.
type topLine []topSpan

// topWords is a line of one style.
func topWords(style topStyle, texts ...topText) topLine {
	var b strings.Builder
	for _, t := range texts {
		b.WriteString(string(t))
	}
	return topLine{{topText(b.String()), style}}
}

func (l topLine) width() int {
	n := 0
	for _, span := range l {
		n += span.text.width()
	}
	return n
}

// plain is the line without its looks.
func (l topLine) plain() string {
	var b strings.Builder
	for _, span := range l {
		b.WriteString(string(span.text))
	}
	return strings.TrimRight(b.String(), " ")
}

// fit cuts the line to a width.
func (l topLine) fit(c topCharset, width int) topLine {
	if l.width() <= width {
		return l
	}
	var out topLine
	for _, span := range l {
		if span.text.width() >= width { // something of it, or behind it, goes
			return append(out, topSpan{c.cut(span.text+" ", width), span.style})
		}
		width -= span.text.width()
		out = append(out, span)
	}
	return out
}

// paint is the line for a terminal.
func (l topLine) paint(color bool) string {
	var b strings.Builder
	for _, span := range l {
		begin := span.style.sequence(color)
		b.WriteString(begin)
		b.WriteString(string(span.text))
		if begin != "" {
			b.WriteString("\x1b[0m")
		}
	}
	return b.String()
}

// isTerminalFile reports whether f, a part of a command's input or output, is a terminal.
func isTerminalFile(f any) (*os.File, bool) {
	file, ok := f.(*os.File)
	return file, ok && isTerminal(file)
}
