package main

import (
	"fmt"
	"strconv"
	"strings"
)

// tomlText writes TOML. The library that reads it keeps no comments, and they are half of what
// config show tells.
type tomlText struct{ strings.Builder }

// toml is all of the configuration, with where each value comes from.
func (s *shown) toml() string {
	var b tomlText
	writef(&b, "# %s as rcptgate %s takes it.\n", comment(s.cfg.Name()), buildVersion().version)
	for _, table := range s.root.tables {
		b.table(table)
	}
	return b.String()
}

// comment keeps a text in its line.
func comment(text string) string {
	return strings.Trim(strconv.QuoteToASCII(text), `"`)
}

func (b *tomlText) table(t *shownTable) {
	if len(t.values) > 0 {
		if b.Len() > 0 {
			writef(b, "\n")
		}
		writef(b, "%s\n", t.header)
		for _, v := range t.values {
			b.value(v)
		}
		if t.note != "" {
			writef(b, "# %s\n", t.note)
		}
	}
	for _, inner := range t.tables {
		b.table(inner)
	}
}

func (b *tomlText) value(v shownValue) {
	writef(b, "%s = %s", tomlKey(v.name), tomlValue(v.value))
	if v.note != "" {
		writef(b, "  # %s", comment(v.note))
	}
	writef(b, "\n")
}

// tomlKey quotes what is no bare key (TOML 1.0, Keys).
func tomlKey(name string) string {
	bare := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
	}
	if name == "" || strings.TrimFunc(name, bare) != "" || strings.ContainsFunc(name,
		func(r rune) bool { return !bare(r) }) {
		return tomlString(name)
	}
	return name
}

const tomlWidth = 100

func tomlValue(value any) string {
	switch value := value.(type) {
	case string:
		return tomlString(value)
	case float64:
		text := strconv.FormatFloat(value, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	case []string:
		items := make([]string, len(value))
		width := 0
		for i, item := range value {
			items[i] = tomlString(item)
			width += len(items[i]) + 2
		}
		if width > tomlWidth-30 {
			return "[\n  " + strings.Join(items, ",\n  ") + ",\n]"
		}
		return "[" + strings.Join(items, ", ") + "]"
	default: // bool, int64
		return fmt.Sprint(value)
	}
}

// tomlString is a basic string, or, where that saves escapes, a literal one: conditions of rules are
// full of quotes. Nothing in it reaches a terminal as a control character.
func tomlString(s string) string {
	printable := !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
	if printable && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			writef(&b, `\u%04X`, r)
		default:
			writef(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
