package main

import (
	"encoding/json"
	"fmt"
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
			var text string
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
