package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
)

func newConfigCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config show",
		Short: "Show the configuration in force",
		Long: `Config looks at a configuration. check-config finds its faults; rcptgate.toml(5) describes its
keys.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(fmt.Sprintf("rcptgate config has no %q", args[0]),
					"run `rcptgate config show --help`")
			}
			return usageError("nothing to do with the configuration given",
				"run `rcptgate config show --config FILE`")
		},
	}
	cmd.AddCommand(newConfigShowCmd())
	return cmd
}

func newConfigShowCmd() *cobra.Command {
	var opts struct {
		path           string
		defaults, json bool
	}
	cmd := &cobra.Command{
		Use:   "show --config FILE | --defaults [KEY]",
		Short: "Print the effective values of all keys, or of one",
		Long: `Show prints the values that serve would use, as TOML that serve takes again. A comment marks
those that the file does not set: "# default", or what else they come from. With the name of a
key, such as verify.rcpt_budget, it prints the value alone, the elements of a list one a line;
with that of a table, such as verify.cache, the table.

Secrets are never printed: files of passwords and tokens are named, not read, and of the URL of a
webhook the query is left out.`,
		Example: `  rcptgate config show --config /etc/rcptgate/config.toml
  rcptgate config show --config /etc/rcptgate/config.toml policy.mode
  rcptgate config show --config /etc/rcptgate/config.toml | grep -v '# default'
  rcptgate config show --defaults verify.cache`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(fmt.Sprintf("one key at a time, but got %d", len(args)),
					fmt.Sprintf("run `%s --help`", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := shownConfig(opts.path, opts.defaults)
			if err != nil {
				return err
			}
			tree := newShown(cfg)
			text := ""
			switch {
			case len(args) == 1:
				text, err = tree.one(args[0], opts.json)
			case opts.json:
				text, err = tree.json()
			default:
				text = tree.toml()
			}
			if err == nil {
				writef(cmd.OutOrStdout(), "%s", text)
			}
			return err
		},
	}
	cmd.ValidArgsFunction = completeKey
	configFlag(cmd, &opts.path, "the configuration to show")
	cmd.Flags().BoolVar(&opts.defaults, "defaults", false, "show the defaults, without any file")
	cmd.Flags().BoolVar(&opts.json, "json", false,
		`print JSON: {"file", "values", "set"}, the last of them the keys that the file sets`)
	return cmd
}

// completeKey completes the names of keys that every configuration has.
func completeKey(_ *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
	var keys []string
	newShown(config.Default()).root.walk(func(path string, _ shownValue) {
		if strings.HasPrefix(path, begin) {
			keys = append(keys, path)
		}
	})
	return keys, cobra.ShellCompDirectiveNoFileComp
}

func shownConfig(path string, defaults bool) (*config.Config, error) {
	switch {
	case path != "" && defaults:
		return nil, usageError("--config and --defaults exclude each other", "leave one of them out")
	case path == "" && !defaults:
		return nil, usageError("no configuration given", "add --config FILE, or --defaults")
	}
	return optionalConfig(path)
}

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

// json is the whole of it for programs.
func (s *shown) json() (string, error) {
	set := []string{}
	s.root.walk(func(path string, _ shownValue) {
		if s.cfg.IsSet(path) {
			set = append(set, path)
		}
	})
	return encoded(struct {
		File   string         `json:"file"`
		Values map[string]any `json:"values"`
		Set    []string       `json:"set"`
	}{s.cfg.Name(), s.root.object(), set})
}

func encoded(value any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // rules are full of && and >=
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return "", failed("cannot write JSON: "+err.Error(), "leave --json out")
	}
	return b.String(), nil
}

func (t *shownTable) walk(visit func(path string, v shownValue)) {
	for _, v := range t.values {
		visit(strings.TrimPrefix(t.path+"."+v.name, "."), v)
	}
	for _, inner := range t.tables {
		inner.walk(visit)
	}
}

// object is the table as JSON has it: lists of tables become arrays.
func (t *shownTable) object() map[string]any {
	object := map[string]any{}
	for _, v := range t.values {
		object[v.name] = v.value
	}
	for _, inner := range t.tables {
		name := inner.path[strings.LastIndexByte(inner.path, '.')+1:]
		if !strings.HasPrefix(inner.header, "[[") {
			object[name] = inner.object()
			continue
		}
		path := strings.Trim(inner.header, "[]")
		name = path[strings.LastIndexByte(path, '.')+1:]
		list, _ := object[name].([]any)
		object[name] = append(list, inner.object())
	}
	return object
}

// one is the value of one key, or one table.
func (s *shown) one(key string, asJSON bool) (string, error) {
	var found any
	s.root.walk(func(path string, v shownValue) {
		if path == key {
			found = v.value
		}
	})
	tables := s.root.find(key)
	switch {
	case found != nil && asJSON:
		return encoded(found)
	case found != nil:
		if list, ok := found.([]string); ok {
			return strings.Join(append(list, ""), "\n"), nil
		}
		return fmt.Sprintln(found), nil
	case len(tables) == 0:
		return "", s.unknownKey(key)
	case asJSON && tables[0].path == key:
		return encoded(tables[0].object())
	case asJSON:
		list := make([]any, len(tables))
		for i, table := range tables {
			list[i] = table.object()
		}
		return encoded(list)
	}
	var b tomlText
	for _, table := range tables {
		b.table(table)
	}
	return b.String(), nil
}

// find returns the table at path, or all of a list of tables.
func (t *shownTable) find(path string) []*shownTable {
	var list []*shownTable
	for _, inner := range t.tables {
		if inner.path == path || inner.header == "[["+path+"]]" {
			list = append(list, inner)
		}
		list = append(list, inner.find(path)...)
	}
	return list
}

func (s *shown) unknownKey(key string) error {
	var all, near []string
	s.root.walk(func(path string, _ shownValue) {
		all = append(all, path)
		if strings.HasSuffix(path, "."+key) {
			near = append(near, path)
		}
	})
	table, _, dotted := strings.Cut(key, ".")
	for _, path := range all {
		if dotted && len(near) < 8 && strings.HasPrefix(path, table+".") && sameLetters(path, key) {
			near = append(near, path)
		}
	}
	hint := "run `rcptgate config show --defaults` for all keys"
	if len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError(fmt.Sprintf("no key %q in the configuration", key), hint)
}

// sameLetters: the two differ at most in what stands between the letters, and in capitals.
func sameLetters(a, b string) bool {
	letters := strings.NewReplacer("_", "", "-", "", ".", "")
	return strings.EqualFold(letters.Replace(a), letters.Replace(b))
}
