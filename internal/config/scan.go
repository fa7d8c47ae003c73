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

// position is a place in the file, 1-based.
type position struct{ line, column int }

// positions says where the file sets a key. Elements of lists are counted from 0:
// "proxy.listen.1", "policy.rules.0.when". For a list element it is the place of the value, for
// everything else that of the key.
type positions map[string]position

func (p positions) has(key string) bool {
	_, ok := p[key]
	return ok
}

// scan decodes the syntax tree of a document into a Config. The library's own decoder would stop at
// the first wrong value; this one notes a fault, leaves the default in place and goes on. It also
// keeps the positions of keys, for faults that show only afterwards.
type scan struct {
	name   string
	parser *unstable.Parser
	root   reflect.Value // the Config
	pos    positions
	text   positions // where the text within the quotes of a string begins
	faults Errors

	// The table that the following keys belong to.
	table  string
	target reflect.Value // zero: unknown, its keys are passed over
}

// scanDocument reads data into cfg. It finds unknown keys, wrong types and values that do not
// parse. A syntax error ends it without a fault: checkSyntax reports that one.
func scanDocument(cfg *Config, data []byte) *scan {
	root := reflect.ValueOf(cfg).Elem()
	s := &scan{
		name: cfg.name, parser: &unstable.Parser{}, root: root, target: root,
		pos: positions{}, text: positions{},
	}
	s.parser.Reset(data)
	for s.parser.NextExpression() {
		switch node := s.parser.Expression(); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			s.header(node)
		case unstable.KeyValue:
			if s.target.IsValid() {
				s.keyValue(node, s.table, s.target)
			}
		default:
		}
	}
	return s
}

// header enters [a.b] or [[a.b]].
func (s *scan) header(node *unstable.Node) {
	s.table, s.target = "", s.root
	keys := node.Key()
	for keys.Next() {
		key := keys.Node()
		field, ok := s.field(key, s.table, s.target)
		if !ok {
			s.target = reflect.Value{}
			return
		}
		s.table, s.target = join(s.table, string(key.Data)), field.value
		if !s.pos.has(s.table) {
			s.pos[s.table] = s.place(key)
		}
		last := keys.IsLast()
		switch t := field.value.Type(); {
		case isList(t) && isTable(t.Elem()):
			s.enterElement(key, last, last && node.Kind == unstable.ArrayTable)
		case !isTable(t):
			s.add(s.place(key), s.table, "is a key, not a table",
				fmt.Sprintf("write it as %s = ... below its table", key.Data))
			s.target = reflect.Value{}
			return
		case last && node.Kind == unstable.ArrayTable:
			s.add(s.place(key), s.table, "is one table, not a list of tables",
				fmt.Sprintf("write [%s]", s.table))
		}
	}
}

// enterElement goes into the last element of a list of tables, a new one for a [[header]].
func (s *scan) enterElement(key *unstable.Node, last, another bool) {
	list := s.target
	if last && !another {
		s.add(s.place(key), s.table, "is a list of tables", fmt.Sprintf("write [[%s]]", s.table))
	}
	if another || list.Len() == 0 {
		list.Set(reflect.Append(list, reflect.Zero(list.Type().Elem())))
	}
	i := list.Len() - 1
	s.table, s.target = join(s.table, strconv.Itoa(i)), list.Index(i)
	s.pos[s.table] = s.place(key)
}

// keyValue reads KEY = VALUE in a table; the key may be dotted.
func (s *scan) keyValue(node *unstable.Node, table string, target reflect.Value) {
	keys := node.Key()
	for keys.Next() {
		key := keys.Node()
		field, ok := s.field(key, table, target)
		if !ok {
			return
		}
		path := join(table, string(key.Data))
		s.pos[path] = s.place(key)
		if keys.IsLast() {
			field.path, field.at = path, s.place(key)
			s.value(node.Value(), field)
			return
		}
		if !isTable(field.value.Type()) {
			s.add(s.place(key), path, "is a key, not a table", "take the dot out")
			return
		}
		table, target = path, field.value
	}
}

// slot is where a value goes.
type slot struct {
	path  string
	at    position
	value reflect.Value
	tag   reflect.StructTag
}

// field looks a key up in its table's struct.
func (s *scan) field(key *unstable.Node, table string, target reflect.Value) (slot, bool) {
	var names []string
	for field, value := range target.Fields() {
		tag := field.Tag.Get("toml")
		if tag == "" {
			continue
		}
		if tag == string(key.Data) {
			return slot{value: value, tag: field.Tag}, true
		}
		names = append(names, tag)
	}
	s.add(s.place(key), join(table, printable(string(key.Data))), "unknown key",
		unknownFix(string(key.Data), table, names))
	return slot{}, false
}

// unknownFix names the key that was meant: one like it in the same table, the same one in another
// table, or all there are.
func unknownFix(key, table string, names []string) string {
	if best := nearest(key, names); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	for _, other := range allKeys(reflect.TypeFor[Config](), "") {
		if strings.HasSuffix(other, "."+key) {
			return fmt.Sprintf("did you mean %s?", other)
		}
	}
	slices.Sort(names)
	if table == "" {
		return "the tables are " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("the keys of [%s] are %s", table, strings.Join(names, ", "))
}

// allKeys lists the dotted names of all keys and tables below t.
func allKeys(t reflect.Type, prefix string) []string {
	var list []string
	for f := range t.Fields() {
		tag := f.Tag.Get("toml")
		if tag == "" {
			continue
		}
		path := join(prefix, tag)
		list = append(list, path)
		inner := f.Type
		if isList(inner) {
			inner = inner.Elem()
		}
		if isTable(inner) {
			list = append(list, allKeys(inner, path)...)
		}
	}
	return list
}

// value reads one value into its slot.
func (s *scan) value(v *unstable.Node, to slot) {
	if v.Raw.Length > 0 { // the parser keeps the place of most kinds
		to.at = s.place(v)
	}
	switch t := to.value.Type(); {
	case isTable(t):
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

// plain reads strings, integers and booleans.
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

func (s *scan) add(at position, key, problem, fix string) {
	s.faults = append(s.faults, &Error{
		File: s.name, Line: at.line, Column: at.column, Key: key, Problem: problem, Fix: fix,
	})
}

// place is where a key stands.
func (s *scan) place(node *unstable.Node) position {
	start := s.parser.Shape(node.Raw).Start
	return position{start.Line, start.Column}
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func isTable(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isText(t) }

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
