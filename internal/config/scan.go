package config

import (
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
		case isNames(t):
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
		if isNames(target.Type()) {
			s.named(key, node.Value(), keys.IsLast(), slot{path: table, value: target})
			return
		}
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
		if !isTable(field.value.Type()) && !isNames(field.value.Type()) {
			s.add(s.place(key), path, "is a key, not a table", "take the dot out")
			return
		}
		table, target = path, field.value
	}
}

// named reads NAME = "TEXT" in a table whose names are the administrator's own.
func (s *scan) named(key, value *unstable.Node, last bool, names slot) {
	name := string(key.Data)
	path := join(names.path, printable(name))
	at := s.place(key)
	s.pos[path] = at
	switch {
	case !last:
		s.add(at, path, "is a key, not a table", "take the dot out")
		return
	case value.Kind != unstable.String:
		s.add(at, path, "want a string, not "+describe(value),
			`put it in quotes: "`+example(value)+`"`)
		return
	}
	if names.value.IsNil() {
		names.value.Set(reflect.MakeMap(names.value.Type()))
	}
	names.value.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(string(value.Data)))
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
