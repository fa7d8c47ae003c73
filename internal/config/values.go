package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// value reads one value into its slot.
func (s *scan) value(v *unstable.Node, to slot) {
	if v.Raw.Length > 0 { // the parser keeps the place of most kinds
		to.at = s.place(v)
	}
	switch t := to.value.Type(); {
	case isTable(t), isNames(t):
		s.inlineTable(v, to)
	case isList(t):
		s.list(v, to)
	case isText(t):
		s.textual(v, to)
	default:
		s.plain(v, to)
	}
}

func (s *scan) inlineTable(v *unstable.Node, to slot) {
	if v.Kind != unstable.InlineTable {
		s.add(to.at, to.path, "is a table, not "+describe(v),
			fmt.Sprintf("write [%s] and its keys below", to.path))
		return
	}
	children := v.Children()
	for children.Next() {
		if child := children.Node(); child.Kind == unstable.KeyValue {
			s.keyValue(child, to.path, to.value)
		}
	}
}

func (s *scan) list(v *unstable.Node, to slot) {
	if v.Kind != unstable.Array {
		s.add(to.at, to.path, "want a list, not "+describe(v),
			"put it in brackets: ["+example(v)+"]")
		return
	}
	list := reflect.MakeSlice(to.value.Type(), 0, 0)
	children := v.Children()
	for children.Next() {
		i := list.Len()
		list = reflect.Append(list, reflect.Zero(list.Type().Elem()))
		element := slot{
			path: join(to.path, strconv.Itoa(i)), at: to.at, value: list.Index(i), tag: to.tag,
		}
		if child := children.Node(); child.Raw.Length > 0 {
			element.at = s.place(child)
		}
		s.pos[element.path] = element.at
		s.value(children.Node(), element)
	}
	to.value.Set(list)
}

// textual reads a value whose type parses it by itself.
func (s *scan) textual(v *unstable.Node, to slot) {
	t := to.value.Type()
	number := v.Kind == unstable.Integer && t == reflect.TypeFor[Size]()
	if v.Kind != unstable.String && !number {
		fix := `put it in quotes: "` + example(v) + `"`
		if t == reflect.TypeFor[Duration]() && v.Kind == unstable.Integer {
			fix = fmt.Sprintf(`write the unit, in quotes: "%ss"`, v.Data)
		}
		s.add(to.at, to.path, "want a string, not "+describe(v), fix)
		return
	}
	read := reflect.New(t)
	parser, ok := reflect.TypeAssert[encoding.TextUnmarshaler](read)
	if !ok {
		return // isText has seen to it
	}
	err := parser.UnmarshalText(v.Data)
	if wrong, ok := errors.AsType[*fault](err); ok {
		s.add(to.at, to.path, wrong.problem, wrong.fix)
		return
	}
	if err != nil { // netip.Addr
		s.add(to.at, to.path, quote(string(v.Data))+" is not an IP address",
			`write one such as "192.0.2.1"`)
		return
	}
	if s.span(read.Elem(), to) {
		to.value.Set(read.Elem())
	}
}

// span holds a Duration or a Size against the least one in the tag.
func (s *scan) span(v reflect.Value, to slot) bool {
	least := to.tag.Get("min")
	switch value := v.Interface().(type) {
	case Duration:
		var limit Duration
		if limit.UnmarshalText([]byte(least)) == nil && value < limit {
			s.add(to.at, to.path, fmt.Sprintf("%q is too short", value),
				fmt.Sprintf("write at least %q", limit))
			return false
		}
	case Size:
		var limit Size
		if limit.UnmarshalText([]byte(least)) == nil && value < limit {
			s.add(to.at, to.path, fmt.Sprintf("%q is too small", value),
				fmt.Sprintf("write at least %q", limit))
			return false
		}
	}
	return true
}

// plain reads strings, numbers and booleans.
func (s *scan) plain(v *unstable.Node, to slot) {
	switch to.value.Kind() {
	case reflect.String:
		if v.Kind != unstable.String {
			s.add(to.at, to.path, "want a string, not "+describe(v),
				`put it in quotes: "`+example(v)+`"`)
		} else if s.enum(string(v.Data), to) {
			to.value.SetString(string(v.Data))
			s.text[to.path] = textStart(s.parser.Raw(v.Raw), to.at)
		}
	case reflect.Int:
		if v.Kind != unstable.Integer {
			s.add(to.at, to.path, "want a whole number, not "+describe(v),
				"write it without quotes and unit")
		} else if n, ok := s.integer(string(v.Data), to); ok {
			to.value.SetInt(n)
		}
	case reflect.Float64:
		if v.Kind != unstable.Float && v.Kind != unstable.Integer {
			s.add(to.at, to.path, "want a number, not "+describe(v), "write it without quotes and unit")
		} else if f, ok := s.fraction(string(v.Data), to); ok {
			to.value.SetFloat(f)
		}
	case reflect.Bool:
		if v.Kind != unstable.Bool {
			s.add(to.at, to.path, "want true or false, not "+describe(v),
				"write true or false without quotes")
		} else {
			to.value.SetBool(string(v.Data) == "true")
		}
	default:
	}
}

// textStart is the place of the first character within a quoted string that starts at at.
func textStart(raw []byte, at position) position {
	for _, quotes := range []string{`'''`, `"""`} {
		text, ok := bytes.CutPrefix(raw, []byte(quotes))
		switch {
		case !ok:
		case bytes.HasPrefix(text, []byte("\n")), bytes.HasPrefix(text, []byte("\r\n")):
			return position{at.line + 1, 1} // a newline right after the quotes does not count
		default:
			return position{at.line, at.column + 3}
		}
	}
	return position{at.line, at.column + 1}
}

func (s *scan) enum(value string, to slot) bool {
	list, ok := to.tag.Lookup("enum")
	if !ok {
		return true
	}
	values := strings.Split(list, ",")
	if slices.Contains(values, value) {
		return true
	}
	fix := `write "` + strings.Join(values, `" or "`) + `"`
	if best := nearest(value, values); best != "" {
		fix = fmt.Sprintf("did you mean %q? (%s)", best, strings.Join(values, ", "))
	}
	s.add(to.at, to.path, quote(value)+" is not one of its values", fix)
	return false
}

func (s *scan) integer(digits string, to slot) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(digits, "+"), 0, 0)
	if err != nil {
		s.add(to.at, to.path, printable(digits)+" is out of range", "write a smaller number")
		return 0, false
	}
	if least, err := strconv.ParseInt(to.tag.Get("min"), 10, 0); err == nil && n < least {
		s.add(to.at, to.path, fmt.Sprintf("%d is too small", n),
			fmt.Sprintf("write at least %d", least))
		return 0, false
	}
	if most, err := strconv.ParseInt(to.tag.Get("max"), 10, 0); err == nil && n > most {
		s.add(to.at, to.path, fmt.Sprintf("%d is too large", n),
			fmt.Sprintf("write at most %d", most))
		return 0, false
	}
	return n, true
}

// fraction reads a share: from 0 to 1.
func (s *scan) fraction(digits string, to slot) (float64, bool) {
	f, err := strconv.ParseFloat(strings.ReplaceAll(digits, "_", ""), 64)
	if err != nil || !(f >= 0 && f <= 1) { // NaN is neither
		s.add(to.at, to.path, printable(digits)+" is not a share", "write a number from 0 to 1: 0.05 for 5 %")
		return 0, false
	}
	return f, true
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func isTable(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isText(t) }

// isNames tells a table whose keys are names of the administrator's choice.
func isNames(t reflect.Type) bool { return t.Kind() == reflect.Map }

func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice }

// describe names a value in an error.
func describe(v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return "the string " + quote(string(v.Data))
	case unstable.Integer, unstable.Float:
		return "the number " + printable(string(v.Data))
	case unstable.Bool:
		return printable(string(v.Data))
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	default:
		return "a date"
	}
}

// example is a value as it may stand in a fix.
func example(v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return quote(string(v.Data))
	case unstable.Integer, unstable.Float, unstable.Bool:
		return printable(string(v.Data))
	default:
		return "..."
	}
}

// printable escapes what would not stand on one line.
func printable(s string) string {
	quoted := quote(s)
	return quoted[1 : len(quoted)-1]
}

// escaped is printable for what may be longer than a word: paths and what is said about them.
func escaped(s string) string {
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}
