package main

import (
	"flag"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
)

// updateDocs writes the pages of docs that are generated as a whole.
var updateDocs = flag.Bool("update", false, "write docs/configuration.md and docs/commands.md")

// TestConfigurationPage holds docs/configuration.md to the keys, their types, their defaults and
// the comments of config.example.toml. After a change:
//
//	go test ./cmd/rcptgate -run 'ConfigurationPage|CommandsPage' -update
func TestConfigurationPage(t *testing.T) {
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	p := configurationPage{defaults: map[string]string{}, types: configTypes()}
	newShown(config.Default()).root.walk(func(path string, v shownValue) {
		value := tomlValue(v.value)
		if why, derived := strings.CutPrefix(v.note, "default: "); derived {
			value = `""` + "\n, which is " + why
		}
		p.defaults[path] = value
	})
	checkPage(t, "../../docs/configuration.md", p.write(string(example)))
	for path := range p.types {
		if !p.told[path] {
			t.Errorf("docs/configuration.md does not tell of %s", path)
		}
	}
}

// checkPage compares a page with what it should be, or writes it.
func checkPage(t *testing.T, path, want string) {
	t.Helper()
	if *updateDocs {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	old, now := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(old), len(now))-1 && old[i] == now[i] {
		i++
	}
	t.Errorf("%s is not what the code says; run go test ./cmd/rcptgate -run Page -update\n"+
		"line %d is   %s\nshould be %s", path, i+1, old[i], now[i])
}

// configurationPage writes Markdown.
type configurationPage struct {
	strings.Builder
	defaults, types map[string]string
	told            map[string]bool
	table           string // of the file, where the page is
}

const configurationHead = `# Configuration: every key

This page is generated from the program: types, limits and defaults from its code, the text from
[config.example.toml](../config.example.toml), which is also a complete configuration.
rcptgate.toml(5) is the same as a man page.

- ` + "`rcptgate check-config --config FILE`" + ` finds every fault of a file, with line, column
  and what to write instead.
- ` + "`rcptgate config show --config FILE`" + ` prints the values in force, and which of them are
  defaults.
- [operations.md](operations.md#reload) tells what a reload takes over.

"Postfix" names the parameter or restriction there that does the same or comes nearest; see
[postfix.md](postfix.md) for how the two are put together.

`

func (p *configurationPage) write(example string) string {
	p.told = map[string]bool{}
	p.WriteString(configurationHead)
	for i, block := range exampleBlocks(example) {
		switch {
		case i == 0: // the title of the example
		case block.table != "":
			writef(p, "## %s\n\n", block.table)
			p.table = block.table
			p.told[block.table] = true
		case len(block.keys) > 0:
			p.keys(block)
		default:
			header, _, _ := strings.Cut(strings.TrimSpace(block.shown), "\n")
			if strings.HasPrefix(header, "[[") {
				writef(p, "### `%s`\n\n", header)
			}
			p.comment(block)
			p.shown(block)
		}
	}
	return strings.TrimRight(p.String(), "\n") + "\n"
}

// keys is a block: its keys as a heading, which links can name, what the comment says, and a line
// for each key.
func (p *configurationPage) keys(b exampleBlock) {
	names := make([]string, len(b.keys))
	for i, key := range b.keys {
		names[i] = key.name
	}
	writef(p, "### %s\n\n", codeSpans(names))
	p.comment(b)
	for _, key := range b.keys {
		p.told[key.path] = true
		kind := p.types[key.path]
		if kind == "" {
			kind = p.inner(key.path)
		}
		standard, why, _ := strings.Cut(p.defaults[key.path], "\n")
		if standard == "" {
			standard = key.value
		}
		writef(p, "- `%s`: %s. Default %s%s.", key.path, markdown(kind), codeSpan(standard), why)
		if postfix := inPostfix(key.path); len(postfix) > 0 {
			writef(p, " Postfix: %s.", codeSpans(postfix))
		}
		writef(p, "\n")
	}
	writef(p, "\n")
	p.shown(b)
}

// inner describes a table that the example writes in one line, and tells its keys.
func (p *configurationPage) inner(table string) string {
	var names []string
	kind := ""
	for path, words := range p.types {
		if name, ok := strings.CutPrefix(path, table+"."); ok {
			names = append(names, name)
			kind = words
			p.told[path] = true
		}
	}
	slices.Sort(names)
	if names == nil {
		return ""
	}
	return "table of " + strings.Join(names, ", ") + `, each "" or ` + kind
}

func (p *configurationPage) comment(b exampleBlock) {
	if text := strings.Join(b.comment, " "); text != "" {
		text = strings.ReplaceAll(markdown(text), "docs/rules.md", "[rules.md](rules.md)")
		writef(p, "%s\n\n", wrapped(text))
	}
}

// shown is the example of tables that have no default.
func (p *configurationPage) shown(b exampleBlock) {
	if b.shown == "" {
		return
	}
	writef(p, "```toml\n%s```\n\n", p.complete(strings.TrimLeft(b.shown, "\n")))
	p.elements(b.shown)
}

// complete makes a configuration of keys that are shown without their table.
func (p *configurationPage) complete(shown string) string {
	if strings.HasPrefix(shown, "[") {
		return shown
	}
	name, _, _ := strings.Cut(shown, " = ")
	p.told[p.table+"."+name] = true
	return "[" + p.table + "]\n" + shown
}

// elements is a table of the keys of those tables that a file may have several of.
func (p *configurationPage) elements(shown string) {
	for path, element := range map[string]reflect.Type{
		"relay.upstream": reflect.TypeFor[config.Upstream](),
		"policy.rules":   reflect.TypeFor[config.Rule](),
		"policy.limits":  reflect.TypeFor[config.Limit](),
	} {
		if !strings.Contains(shown, "[["+path+"]]") {
			continue
		}
		p.told[path] = true
		types := map[string]string{}
		addTypes(types, element, path+".")
		for field := range element.Fields() {
			key := path + "." + field.Tag.Get("toml")
			writef(p, "- `%s`: %s.\n", key, markdown(types[key]))
		}
		writef(p, "\n")
		if names := inPostfix(path); len(names) > 0 {
			writef(p, "Postfix: %s.\n\n", codeSpans(names))
		}
	}
}

func markdown(text string) string {
	return strings.NewReplacer("<", `\<`, "*", `\*`, "[[", `\[\[`).Replace(text)
}

func codeSpan(text string) string { return "`" + text + "`" }

func codeSpans(list []string) string {
	spans := make([]string, len(list))
	for i, text := range list {
		spans[i] = codeSpan(text)
	}
	return strings.Join(spans, ", ")
}

// wrapped breaks a text into lines of at most 100 columns. It never breaks one before a word that
// would begin a list or a heading.
func wrapped(text string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > 100 && !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "#"):
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// TestPostfixHasTheCounterparts asks Postfix for each parameter that the reference names.
func TestPostfixHasTheCounterparts(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	postconf, err := exec.LookPath("postconf")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("Postfix is missing; run .ci/setup")
		}
		t.Skip("Postfix is missing: apt-get install postfix")
	}
	restrictions := []string{"check_policy_service", "warn_if_reject"}
	n := 0
	for path := range configTypes() {
		for _, name := range inPostfix(path) {
			n++
			if slices.Contains(restrictions, name) {
				continue
			}
			// It prints the default, or a warning that it does not know the name.
			out, err := exec.Command(postconf, "-d", name).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), name+" =") {
				t.Errorf("%s: postconf -d %s: %v, %s", path, name, err, out)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d counterparts; does inPostfix name keys that there are no more?", n)
	}
}
