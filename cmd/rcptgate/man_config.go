package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
)

// configPage is rcptgate.toml(5): the comments of config.example.toml, in their order, with the
// types that internal/config has for the keys. A test of that package holds the example to the keys
// and defaults.
func configPage(example string, when time.Time) manPage {
	page := manPage{name: "rcptgate.toml", section: 5}
	r := newRoff(page, when)
	r.section("NAME")
	r.line("rcptgate.toml - the configuration of rcptgate")
	r.section("DESCRIPTION")
	types := configTypes()
	for _, block := range exampleBlocks(example) {
		switch {
		case block.table != "":
			r.section("[" + block.table + "]")
		case len(block.keys) > 0:
			r.keys(block, types)
		case block.shown != "":
			r.prose(strings.Join(block.comment, " "))
			r.verbatim(block.shown)
		default:
			r.prose(strings.Join(block.comment, " "))
		}
	}
	r.section("FILES")
	r.item(r.italic("/etc/rcptgate/config.toml"))
	r.line("The configuration of the Debian package's service.")
	r.section("SEE ALSO")
	r.references("rcptgate(1)", "rcptgate-check-config(1)", "rcptgate-config-show(1)",
		"rcptgate-rules(7)")
	page.text = r.String()
	return page
}

// exampleBlock is what stands between empty lines of the example.
type exampleBlock struct {
	table   string // the block begins with this header
	comment []string
	keys    []exampleKey
	shown   string // lines that are commented out: an example of tables that have no default
}

type exampleKey struct{ path, name, value string }

// exampleBlocks takes the example apart. Within a block a comment, keys that it is about, and an
// example of further keys may follow each other.
func exampleBlocks(example string) []exampleBlock {
	var list []exampleBlock
	table := ""
	for text := range strings.SplitSeq(example, "\n\n") {
		var b exampleBlock
		paragraphs := strings.Split(strings.Trim(text, "\n"), "\n")
		for i, line := range paragraphs {
			comment, isComment := strings.CutPrefix(line, "#")
			comment = strings.TrimPrefix(comment, " ")
			switch {
			case isComment && comment == "":
				// Behind an empty comment stands an example, or more text.
				if i+1 < len(paragraphs) && isShown(strings.TrimLeft(paragraphs[i+1], "# ")) {
					b.shown = "\n"
					continue
				}
				list, b = append(list, b), exampleBlock{}
			case isComment && (b.shown != "" || isShown(comment)):
				b.shown += comment + "\n"
			case isComment:
				b.comment = append(b.comment, comment)
			case strings.HasPrefix(line, "["):
				table = strings.Trim(line, "[]")
				list = append(list, exampleBlock{table: table})
			default:
				name, value, _ := strings.Cut(line, " = ")
				b.keys = append(b.keys, exampleKey{table + "." + name, name, value})
			}
		}
		if b.comment != nil || b.keys != nil || b.shown != "" {
			list = append(list, b)
		}
	}
	return list
}

// isShown tells whether a comment is TOML that is commented out.
func isShown(comment string) bool {
	name, _, ok := strings.Cut(comment, " = ")
	return strings.HasPrefix(comment, "[[") || ok && !strings.Contains(name, " ")
}

func (r *roff) keys(b exampleBlock, types map[string]string) {
	var terms []string
	for _, key := range b.keys {
		term := r.bold(key.name) + escapeRoff(" = "+key.value)
		if kind := types[key.path]; kind != "" {
			term += "  (" + escapeRoff(kind) + ")"
		}
		terms = append(terms, term)
	}
	r.item(terms...)
	r.line(strings.Join(b.comment, " "))
	if postfix := blockInPostfix(b); postfix != "" {
		r.line("In Postfix: " + postfix + ".")
	}
	if b.shown != "" {
		r.verbatim(b.shown)
	}
}

// blockInPostfix lists the counterparts of the keys of a block, each once.
func blockInPostfix(b exampleBlock) string {
	var names []string
	for _, key := range b.keys {
		for _, name := range inPostfix(key.path) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// configTypes says in words what each key takes.
func configTypes() map[string]string {
	types := map[string]string{}
	addTypes(types, reflect.TypeFor[config.Config](), "")
	return types
}

func addTypes(types map[string]string, t reflect.Type, prefix string) {
	for field := range t.Fields() {
		name := field.Tag.Get("toml")
		if name == "" {
			continue
		}
		if isTableType(field.Type) {
			addTypes(types, field.Type, prefix+name+".")
			continue
		}
		words := typeWords(field.Type)
		if values := field.Tag.Get("enum"); values != "" {
			words = "one of " + strings.Join(strings.FieldsFunc(values,
				func(c rune) bool { return c == ',' }), ", ")
		}
		least, most := field.Tag.Get("min"), field.Tag.Get("max")
		switch {
		case most != "":
			words += fmt.Sprintf(", %s to %s", least, most)
		case least != "" && least != "0" && least != "0s":
			words += ", at least " + least
		}
		types[prefix+name] = words
	}
}

func typeWords(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[config.Duration]():
		return "time"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[config.Network]():
		return "network"
	case reflect.TypeFor[config.Endpoint]():
		return "endpoint"
	case reflect.TypeFor[config.Server]():
		return "server"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.Float64:
		return "fraction"
	case reflect.Slice:
		return "list of " + plural(typeWords(t.Elem()))
	case reflect.Struct:
		return "address"
	case reflect.Map:
		return "table of names"
	default:
		return "string"
	}
}

func plural(word string) string {
	if strings.HasSuffix(word, "s") {
		return word + "es"
	}
	return word + "s"
}
