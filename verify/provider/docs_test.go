package provider

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocs holds docs/providers.md to the profiles: a row for each with its title and its limits, a
// row for each key, and examples that load.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	rows := map[string][]string{}
	for _, line := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|.*$").FindAllStringSubmatch(page, -1) {
		cells := strings.Split(strings.Trim(line[0], "| "), " | ")
		if len(cells) == 5 {
			rows[line[1]] = cells
		}
	}
	table := load(t)
	for _, name := range table.Names() {
		p, _ := table.Get(name)
		row := rows[name]
		if row == nil {
			t.Errorf("profile %s has no row", name)
			continue
		}
		delete(rows, name)
		if name != Generic && row[1] != p.Title {
			t.Errorf("%s: title %q, in the profile %q", name, row[1], p.Title)
		}
		limits := fmt.Sprintf("%d, %d, %d, %d (%d)", p.Limits.Connections, p.Limits.RcptPerSession,
			p.Limits.Refusals, p.Limits.PerMinute, p.Limits.Burst)
		if p.Passive {
			limits = "not asked"
		}
		if row[4] != limits {
			t.Errorf("%s: limits %q, in the profile %q", name, row[4], limits)
		}
		if row[2] == "" || row[3] == "" {
			t.Errorf("%s: empty cells", name)
		}
	}
	for name := range rows {
		t.Errorf("row %s has no profile", name)
	}
	for _, k := range keys() {
		if !strings.Contains(page, "`"+k.Name+"`") {
			t.Errorf("key %s is not documented", k.Name)
		}
	}
	examples := regexp.MustCompile("(?ms)^<!-- profiles -->\n```\n(.*?)^```$").FindAllStringSubmatch(page, -1)
	if len(examples) == 0 {
		t.Error("no example")
	}
	for _, example := range examples {
		load(t, example[1])
	}
}
