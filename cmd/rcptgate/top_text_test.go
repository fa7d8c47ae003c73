package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTopCharset(t *testing.T) {
	for _, test := range []struct {
		env  string // NAME=VALUE between blanks
		utf8 bool
	}{
		{"", false},
		{"LANG=C", false},
		{"LANG=de_DE.UTF-8", true},
		{"LANG=en_US.utf8", true},
		{"LC_ALL= LC_CTYPE=C.UTF-8 LANG=C", true},
		{"LC_ALL=POSIX LANG=de_DE.UTF-8", false},
	} {
		env := map[string]string{}
		for pair := range strings.FieldsSeq(test.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		if got := topCharsetOf(func(name string) string { return env[name] }); got.utf8 != test.utf8 {
			t.Errorf("%s: %v", test.env, got)
		}
	}
}

func TestTopText(t *testing.T) {
	unicode, ascii := topCharset{utf8: true}, topCharset{}
	for _, test := range []struct {
		charset     topCharset
		text        string
		width       int
		shown, less topText // less: cut to 4 columns
	}{
		{unicode, "abc", 3, "abc", "abc"},
		{unicode, "abcd", 4, "abcd", "abcd"},
		{unicode, "abcde", 5, "abcde", "abc…"},
		{ascii, "abcde", 5, "abcde", "abc~"},
		{unicode, "日本語", 6, "日本語", "日…"},
		{unicode, "e\u0301te\u0301", 3, "e\u0301te\u0301", "e\u0301te\u0301"},
		{unicode, "👍👍👍", 6, "👍👍👍", "👍…"},
		{unicode, "a\x1b[2J", 8, `a\x1b[2J`, `a\x…`},
		{unicode, "\u202eevil\n", 20, `\xe2\x80\xaeevil\x0a`, `\xe…`},
		{ascii, "ü", 8, `\xc3\xbc`, `\xc~`},
		{unicode, "\u009b31m", 11, `\xc2\x9b31m`, `\xc…`},
	} {
		got := test.charset.text(test.text)
		if got != test.shown || got.width() != test.width || test.charset.cut(got, 4) != test.less {
			t.Errorf("%q: %q, %d columns, cut to %q", test.text, got, got.width(), test.charset.cut(got, 4))
		}
	}
	if got := unicode.cut("abc", 0); got != "" {
		t.Errorf("no columns: %q", got)
	}
}

func TestTopTable(t *testing.T) {
	table := topTable{columns: []topColumn{
		{title: "NAME", most: 6}, {title: "N", right: true}, {title: "WHY", rank: 1, most: 5},
	}}
	table.add(topPlain, "a", "1,000", "because of it")
	table.add(topRed, "longest name", "2", "")
	for width, want := range map[int]string{
		0: "NAME              N  WHY\n" +
			"a             1,000  because of it\n" +
			"longest name      2\n",
		34: "NAME              N  WHY\n" +
			"a             1,000  because of it\n" +
			"longest name      2\n",
		26: "NAME              N  WHY\n" +
			"a             1,000  beca…\n" +
			"longest name      2\n",
		20: "NAME        N  WHY\na       1,000  beca…\nlonge…      2\n",
		19: "NAME              N\na             1,000\nlongest name      2\n",
		13: "NAME        N\na       1,000\nlonge…      2\n",
	} {
		var b strings.Builder
		for _, line := range table.lines(topCharset{utf8: true}, width) {
			b.WriteString(line.plain() + "\n")
		}
		if b.String() != want {
			t.Errorf("%d columns:\n%s", width, b.String())
		}
	}
	table.filter("LONGEST")
	if len(table.rows) != 1 || table.rows[0].style != topRed {
		t.Errorf("%+v", table.rows)
	}
}

func TestTopKeys(t *testing.T) {
	for text, want := range map[string][]topKey{
		"q\x03":                                 {'q', topInterrupt},
		"\x1b[A\x1b[1~\x1bOC":                   {topUp, topHome, topRight},
		"\x1b[Z\t":                              {topBackTab, topTab},
		"\x1b[1;5A4":                            {'4'}, // with Ctrl: none of ours
		"ü日\x7f":                                {'ü', '日', topErase},
		"\xffa":                                 {'a'},
		"\x1bq":                                 {topEscape, 'q'},
		"\x1b[\x1b[B":                           {topDown}, // broken off
		"\x1b[" + strings.Repeat("9", 40) + "A": append(slices.Repeat([]topKey{'9'}, 40), 'A'),
	} {
		got, rest := parseTopKeys([]byte(text))
		if !slices.Equal(got, want) || len(rest) > 0 {
			t.Errorf("%q: %d, want %d; left %q", text, got, want, rest)
		}
	}
	for _, begun := range []string{"\x1b", "\x1b[", "\x1b[1;", "\x1bO", "\xe6\x97"} {
		if got, rest := parseTopKeys([]byte(begun)); len(got) > 0 || string(rest) != begun {
			t.Errorf("%q: %d, left %q", begun, got, rest)
		}
	}
}

// FuzzTopKeys: the keys are the same however the octets are split, and what waits is bounded.
func FuzzTopKeys(f *testing.F) {
	f.Add([]byte("a\x1b[A\x1b[1;5Cü\x1bOB\x03"), uint8(2))
	f.Add([]byte("\x1b[9999999999999999999999999999999999A"), uint8(1))
	f.Add([]byte("\x1b[\xe6\x97\xa5"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, left := parseTopKeys(data)
		var (
			parts []topKey
			rest  []byte
		)
		for chunk := range slices.Chunk(data, int(size)%7+1) {
			var got []topKey
			got, rest = parseTopKeys(append(slices.Clone(rest), chunk...))
			parts = append(parts, got...)
		}
		if !slices.Equal(whole, parts) || string(left) != string(rest) {
			t.Fatalf("%q: %d and %q, in parts %d and %q", data, whole, left, parts, rest)
		}
		if len(rest) >= topSequenceMax {
			t.Fatalf("%q waits", rest)
		}
	})
}
