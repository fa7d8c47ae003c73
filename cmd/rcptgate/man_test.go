package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/policy"
)

func writeManPages(t *testing.T) string {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	dir := t.TempDir()
	var stderr strings.Builder
	code := run([]string{"man", "--example", "../../config.example.toml", dir}, nil, &stderr, &stderr)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return dir
}

// TestManPagesLint lets mandoc read every page. Its pedants' remarks of the level "style" are left
// out.
func TestManPagesLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mandoc is missing; run .ci/setup, or: apt-get install mandoc")
		}
		t.Skip("mandoc is missing: apt-get install mandoc")
	}
	pages, err := filepath.Glob(filepath.Join(writeManPages(t), "*"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	args := append([]string{"-T", "lint", "-W", "warning"}, pages...)
	if out, err := exec.Command(mandoc, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

// TestManPagesAreWhole: each command that help lists has a page, and each key and name that there is
// stands in its own.
func TestManPagesAreWhole(t *testing.T) {
	dir := writeManPages(t)
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	root := read("rcptgate.1")
	for _, cmd := range newRootCmd().Commands() {
		switch has := strings.Contains(root, escapeRoff("rcptgate-"+cmd.Name())); {
		case cmd.Hidden && has:
			t.Errorf("rcptgate(1) tells of the hidden command %s", cmd.Name())
		case !cmd.Hidden && !has:
			t.Errorf("rcptgate(1) does not tell of %s", cmd.Name())
		case !cmd.Hidden:
			read(manName(cmd) + ".1")
		}
	}
	if !strings.Contains(root, `"2026-09-21"`) {
		t.Error("the date is not that of SOURCE_DATE_EPOCH")
	}
	keys := read("rcptgate.toml.5")
	for path := range configTypes() {
		if path == "policy.rules" || path == "policy.limits" || path == "relay.upstream" {
			continue // tables, which the example shows
		}
		name := path[strings.LastIndexByte(path, '.')+1:]
		if !strings.Contains(keys, escapeRoff(name)) {
			t.Errorf("rcptgate.toml(5) has no %s", path)
		}
	}
	rules := read("rcptgate-rules.7")
	for _, name := range policy.Names() {
		if !strings.Contains(rules, `\fB`+escapeRoff(name.Name)+`\fR`) {
			t.Errorf("rcptgate-rules(7) has no %s", name.Name)
		}
	}
}

func TestRuleKeysAreAllThereAre(t *testing.T) {
	described := map[string]bool{}
	for _, key := range ruleKeys() {
		described[key.name] = true
	}
	for field := range reflect.TypeFor[config.Rule]().Fields() {
		name := field.Tag.Get("toml")
		if !described[name] {
			t.Errorf("rcptgate-rules(7) does not describe %s", name)
		}
		delete(described, name)
	}
	for name := range described {
		t.Errorf("rcptgate-rules(7) describes %s, which rules do not have", name)
	}
}

// TestExampleBlocks: the pieces of config.example.toml in which comments, keys and examples meet.
func TestExampleBlocks(t *testing.T) {
	got := exampleBlocks("# About.\n#\n# More.\n\n[a]\n# One\n# and two.\nx = 1\ny = [\"=\"]\n\n" +
		"# Rules.\n#\n# [[a.rules]]\n# name = \"n\"\n\n# Levels.\n#\n# checks = { f = \"off\" }\n")
	want := []exampleBlock{
		{comment: []string{"About."}},
		{comment: []string{"More."}},
		{table: "a"},
		{
			comment: []string{"One", "and two."},
			keys:    []exampleKey{{"a.x", "x", "1"}, {"a.y", "y", `["="]`}},
		},
		{comment: []string{"Rules."}, shown: "\n[[a.rules]]\nname = \"n\"\n"},
		{comment: []string{"Levels."}, shown: "\nchecks = { f = \"off\" }\n"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// FuzzRoff: no text becomes a request or an escape, and the pages are ASCII.
func FuzzRoff(f *testing.F) {
	for _, seed := range []string{".so /etc/passwd", "'br", `\fB`, "a`b`.c", "``.x`", "ü\x00", " .x", "`a` .b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r roff
		r.line(text)
		r.verbatim(text)
		for line := range strings.Lines(r.String()) {
			line = strings.TrimSuffix(line, "\n")
			switch line {
			case ".RS 4", ".nf", ".fi", ".RE":
				continue
			}
			if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
				t.Fatalf("%q became the request %q", text, line)
			}
			for _, escape := range []string{
				`\fB`, `\fR`, `\e`, `\-`, `\(aq`, "\\`", `\(ha`, `\(ti`, `\&`, `\[u`,
			} {
				line = strings.ReplaceAll(line, escape, "")
			}
			if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' || c == '\\' }) {
				t.Fatalf("%q became %q", text, line)
			}
		}
	})
}

func TestSourceDate(t *testing.T) {
	got, err := sourceDate("1790000000")
	if err != nil || got.Format(time.DateOnly) != "2026-09-21" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := sourceDate("yesterday"); err == nil {
		t.Error("no number, but no error")
	}
}
