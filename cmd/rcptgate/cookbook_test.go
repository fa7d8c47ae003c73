package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/policy"
)

// TestCookbook runs the cases of each recipe against its rules.
func TestCookbook(t *testing.T) {
	page, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	vips := filepath.Join(t.TempDir(), "vips")
	if err := os.WriteFile(vips, []byte("ceo@example.net\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recipes := regexp.MustCompile("(?ms)^## ([^\n]*)\n(.*?)^```toml\n(.*?)^```\n\n^```cases\n(.*?)^```$").
		FindAllStringSubmatch(string(page), -1)
	if len(recipes) != 10 || strings.Count(string(page), "```cases") != len(recipes) {
		t.Fatalf("%d recipes with rules and cases", len(recipes))
	}
	for _, recipe := range recipes {
		t.Run(recipe[1], func(t *testing.T) {
			text := strings.ReplaceAll(recipe[3], "/etc/rcptgate/vips", vips)
			cfg, err := config.Parse("cookbook.toml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			cases, err := policy.ParseCases("cases.toml", []byte(recipe[4]))
			if err != nil {
				t.Fatal(err)
			}
			report, err := policy.RunCases(cfg.PolicyConfig(), cases)
			if err != nil {
				t.Fatal(err)
			}
			var told strings.Builder
			if err := report.WriteText(&told); err != nil {
				t.Fatal(err)
			}
			if report.Failed() > 0 || len(report.Results) == 0 {
				t.Error(told.String())
			}
		})
	}
}
