package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/rcptgate/rcptgate/internal/config"
)

// FuzzTOMLText: what is written is read again as it was, and is fit for a terminal.
func FuzzTOMLText(f *testing.F) {
	for _, seed := range []string{"", "a", `'"`, `\`, "a\nb", "\x1b[31m", "\x7f", "ü", "\U0001f4e7", "a.b", "#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("no TOML file has such a string")
		}
		text := tomlKey(s) + " = " + tomlValue([]string{s, s})
		var got map[string][]string
		if err := toml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if want := (map[string][]string{s: {s, s}}); !cmp.Equal(want, got) {
			t.Fatalf("%s: got %q", text, got)
		}
		if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q has control characters", text)
		}
	})
}

// TestShownIsWhatServes: the output for the example, which has every key, is the example's values
// again, and nothing of it is marked but what the preset and the machine give.
func TestShownIsWhatServes(t *testing.T) {
	cfg, err := config.Load("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := newShown(cfg).toml()
	if strings.Contains(text, "# default\n") {
		t.Error("the example sets every key, but some are marked as defaults")
	}
	path := filepath.Join(t.TempDir(), "again.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want, got := newShown(cfg).root.object(), newShown(again).root.object()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the configuration (-) and its output (+) differ:\n%s", diff)
	}
}

// TestShownJSON: programs get all keys, and which of them the file sets.
func TestShownJSON(t *testing.T) {
	list := filepath.Join(t.TempDir(), "vips")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("f", []byte("[log]\nlevel = \"info\"\n[policy.lists]\nv = '"+list+"'"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := newShown(cfg).json()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		File   string
		Values map[string]map[string]any
		Set    []string
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Set)
	want := []string{"log.level", "policy.lists.v"}
	if got.File != "f" || !slices.Equal(got.Set, want) || got.Values["proxy"]["max_recipients"] != 1000.0 {
		t.Errorf("%+v", got)
	}
}
