package main

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/config"
)

// shown is a configuration as a person reads it.
type shown struct {
	cfg  *config.Config
	root *shownTable
}

// shownTable is one table: of the file, of a list of tables, or of names that the file makes up.
type shownTable struct {
	path   string
	header string // as it stands in TOML: "[proxy]", "[[policy.rules]]"; "" for the root
	values []shownValue
	tables []*shownTable
	note   string // a comment on the table itself
}

// shownValue is one key. value is a string, bool, int64, float64 or []string.
type shownValue struct {
	name  string
	value any
	note  string
}

func newShown(cfg *config.Config) *shown {
	s := &shown{cfg: cfg, root: &shownTable{}}
	s.fill(s.root, reflect.ValueOf(cfg).Elem(), reflect.ValueOf(config.Default()).Elem())
	return s
}

// fill reads the fields of one struct of internal/config; its tags are the keys. defaults is the
// struct of the defaults, or zero in a list of tables.
func (s *shown) fill(table *shownTable, from, defaults reflect.Value) {
	for field, value := range from.Fields() {
		name := field.Tag.Get("toml")
		if name == "" {
			continue
		}
		path := name
		if table.path != "" {
			path = table.path + "." + name
		}
		var standard reflect.Value
		if defaults.IsValid() {
			standard = defaults.FieldByIndex(field.Index)
		}
		switch {
		case value.Kind() == reflect.Map:
			table.tables = append(table.tables, s.names(path, value))
		case isTableType(value.Type()):
			inner := &shownTable{path: path, header: "[" + path + "]"}
			s.fill(inner, value, standard)
			table.tables = append(table.tables, inner)
		case value.Kind() == reflect.Slice && isTableType(value.Type().Elem()):
			for i := range value.Len() {
				inner := &shownTable{
					path: path + "." + strconv.Itoa(i), header: "[[" + headerPath(path) + "]]",
				}
				s.fill(inner, value.Index(i), reflect.Value{})
				table.tables = append(table.tables, inner)
			}
		default:
			s.key(table, path, name, slotPair{value, standard})
		}
	}
	if table.path == "policy" {
		table.note = "behind the rules stand those of the preset: rcptgate policy show " +
			s.cfg.Policy.Preset
	}
}

// slotPair is a value beside its default; the latter is zero in a list of tables.
type slotPair struct{ value, standard reflect.Value }

func (s *shown) key(table *shownTable, path, name string, pair slotPair) {
	v := shownValue{name: name, value: plain(pair.value)}
	set := s.cfg.IsSet(path)
	switch {
	case set:
	case !pair.standard.IsValid():
		if pair.value.IsZero() {
			return // a key that this element of a list does not have
		}
		v.note = "default"
	case path == "relay.upstreams" && len(s.cfg.Relay.Upstream) > 0:
		return // the file names its relays in tables, and may not do both
	case reflect.DeepEqual(pair.value.Interface(), pair.standard.Interface()):
		v.note = "default"
	default:
		v.note = "from policy.preset"
	}
	if used, why := s.derived(path); v.value == "" && used != "" {
		v.value, v.note = used, "default: "+why
	}
	if path == "policy.webhook.url" {
		v.value, v.note = withoutSecrets(s.cfg.Policy.Webhook.URL, v.note)
	}
	table.values = append(table.values, v)
}

// derived is what stands for an empty string, and where it comes from.
func (s *shown) derived(path string) (value, why string) {
	switch path {
	case "proxy.hostname":
		return s.cfg.Hostname(), "the name of this machine"
	case "verify.helo":
		return s.cfg.Helo(), "proxy.hostname"
	case "verify.fallback_sender":
		return s.cfg.FallbackSender(), "at proxy.hostname"
	case "http.control_socket":
		return string(s.cfg.ControlSocket()), "in policy.state_directory"
	}
	return "", ""
}

// names is a table whose keys the administrator chooses. The levels of message checks also come from
// the preset.
func (s *shown) names(path string, from reflect.Value) *shownTable {
	table := &shownTable{path: path, header: "[" + path + "]"}
	values := map[string]string{}
	for key, value := range from.Seq2() {
		values[key.String()] = value.String()
	}
	preset := map[string]bool{}
	if path == "policy.message.checks" {
		for check, level := range s.cfg.MessageConfig().Levels {
			if _, set := values[string(check)]; !set {
				values[string(check)], preset[string(check)] = level.String(), true
			}
		}
	}
	for name, value := range values {
		v := shownValue{name: name, value: value}
		if preset[name] {
			v.note = "from policy.preset"
		}
		table.values = append(table.values, v)
	}
	slices.SortFunc(table.values, func(a, b shownValue) int { return strings.Compare(a.name, b.name) })
	return table
}

// isTableType: the values that are structs all have a text of their own.
func isTableType(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !t.Implements(reflect.TypeFor[fmt.Stringer]())
}

// headerPath is path as it stands in a header: without the numbers of elements.
func headerPath(path string) string {
	parts := slices.DeleteFunc(strings.Split(path, "."), func(part string) bool {
		_, err := strconv.Atoi(part)
		return err == nil
	})
	return strings.Join(parts, ".")
}

// plain is v as one of the types of shownValue. Types of internal/config that are written as strings
// are Stringers.
func plain(v reflect.Value) any {
	if text, ok := reflect.TypeAssert[fmt.Stringer](v); ok {
		return text.String()
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int:
		return v.Int()
	case reflect.Float64:
		return v.Float()
	case reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = fmt.Sprint(plain(v.Index(i)))
		}
		return list
	default:
		return v.String()
	}
}

// withoutSecrets leaves the query of a URL out: that is where some services want a token.
func withoutSecrets(address, note string) (string, string) {
	u, err := url.Parse(address)
	if err != nil || u.RawQuery == "" && u.User == nil && u.Fragment == "" {
		return address, note
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String(), "the rest of it may be a secret, and is not shown"
}
