package web_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alert is one rule of deploy/prometheus/rcptgate.rules.yml.
type alert struct {
	name, severity, runbook string
	lines                   []string // of its expression
}

// readAlerts reads the file by its layout; promtool reads it as YAML.
func readAlerts(t *testing.T) []alert {
	t.Helper()
	var list []alert
	for line := range strings.Lines(read(t, "prometheus/rcptgate.rules.yml")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value = strings.Trim(value, `"`)
		switch key = strings.TrimPrefix(key, "- "); {
		case key == "alert":
			list = append(list, alert{name: value})
		case len(list) == 0:
		case key == "severity":
			list[len(list)-1].severity = value
		case key == "runbook_url":
			list[len(list)-1].runbook = value
		case key == "expr":
			list[len(list)-1].lines = append(list[len(list)-1].lines, strings.TrimPrefix(value, "|"))
		case strings.HasPrefix(line, "          ") && key != "summary":
			list[len(list)-1].lines = append(list[len(list)-1].lines, line)
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d alerts: the layout has changed", len(list))
	}
	return list
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAlerts: every alert has a severity, an entry in the runbook that its annotation leads to, and
// tests of firing and of keeping quiet; and the runbook has no others.
func TestAlerts(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := read(t, "prometheus/rcptgate.test.yml")
	var names, entries []string
	for _, a := range readAlerts(t) {
		names = append(names, a.name)
		if a.severity != "page" && a.severity != "ticket" {
			t.Errorf("%s: severity %q", a.name, a.severity)
		}
		want := "https://github.com/rcptgate/rcptgate/blob/main/docs/runbook.md#" + strings.ToLower(a.name)
		if a.runbook != want {
			t.Errorf("%s: runbook_url %q, want %q", a.name, a.runbook, want)
		}
		_, entry, _ := strings.Cut(string(page), "### "+a.name+"\n\n*")
		if !strings.HasPrefix(strings.ToLower(entry), a.severity) {
			t.Errorf("%s is a %s, but its entry begins %.20q", a.name, a.severity, entry)
		}
		for _, test := range []string{" fires\n", " keeps quiet\n"} {
			if !strings.Contains(tests, "- name: "+a.name+test) {
				t.Errorf("no test %s%s", a.name, test)
			}
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		entries = append(entries, match[1])
	}
	slices.Sort(names)
	slices.Sort(entries)
	if !slices.Equal(names, entries) {
		t.Errorf("alerts %q, but entries %q", names, entries)
	}
	if silent := strings.Count(tests, "exp_alerts: []"); silent != len(names) {
		t.Errorf("%d tests of keeping quiet for %d alerts", silent, len(names))
	}
}

// TestPromtool runs the tests of the alerts, and has the dashboard's expressions parsed.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("promtool is not installed; .ci/setup does that (Debian's package prometheus)")
		}
		t.Skip("promtool is not installed; .ci/setup does that (Debian's package prometheus)")
	}
	dashboard := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(dashboard, asRules(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", "rcptgate.rules.yml"},
		{"check", "rules", "--lint=none", dashboard},
		{"test", "rules", "rcptgate.test.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}

// asRules is the dashboard's expressions as a file of rules. JSON is YAML.
func asRules(t *testing.T) []byte {
	t.Helper()
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, expr := range readDashboard(t) {
		rules = append(rules, rule{"dashboard:expression", fillIn.Replace(expr)})
	}
	text, err := json.Marshal(map[string]any{
		"groups": []any{map[string]any{"name": "dashboard", "rules": rules}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fillIn are the variables that Grafana fills in.
var fillIn = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$instance", "gate")

// readDashboard returns all expressions of the dashboard's panels.
func readDashboard(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Type, Title, Description string
			Targets                  []struct{ Expr string }
			GridPos                  struct{ X, W int }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/rcptgate.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && (panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0) {
			t.Errorf("panel %q lacks a title, a description or a target", panel.Title)
		}
		if panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %q is beyond the right edge", panel.Title)
		}
		for _, target := range panel.Targets {
			list = append(list, target.Expr)
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d expressions", len(list))
	}
	return list
}

// metricsIn lists the names of metrics in an expression: what is left without strings, label
// matchers, lists of labels, ranges, numbers and PromQL's own words.
func metricsIn(expr string) []string {
	for _, other := range []string{
		`"[^"]*"`, `\{[^}]*\}`, `\b(by|on|without|ignoring|group_left)\s*\([^)]*\)`, `\[[^\]]*\]`,
		`\b\d[\d.smhd]*\b`,
	} {
		expr = regexp.MustCompile(other).ReplaceAllString(expr, " ")
	}
	own := []string{
		"sum", "rate", "increase", "histogram_quantile", "time", "and", "or", "unless", "max", "min",
		"topk", "clamp_min", "count", "bool", "avg",
	}
	var names []string
	for _, word := range regexp.MustCompile(`[a-zA-Z_:][\w:]*`).FindAllString(expr, -1) {
		if !slices.Contains(own, word) {
			names = append(names, word)
		}
	}
	return names
}

// TestDeployNamesMetrics: alerts, their tests and the dashboard name no metric that does not exist.
func TestDeployNamesMetrics(t *testing.T) {
	_, body := busy(t).request(http.MethodGet, "/metrics")
	samples := map[string]bool{"up": true, "ALERTS": true}
	for _, match := range regexp.MustCompile(`(?m)^(\w+)`).FindAllStringSubmatch(body, -1) {
		samples[match[1]] = true
	}
	check := func(where, expr string) {
		t.Helper()
		names := metricsIn(expr)
		if len(names) == 0 {
			t.Errorf("%s: no metric in %s", where, expr)
		}
		for _, name := range names {
			if !samples[name] {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
	}
	for _, a := range readAlerts(t) {
		check(a.name, strings.Join(a.lines, "\n"))
	}
	for _, expr := range readDashboard(t) {
		check("dashboard", expr)
	}
	series := regexp.MustCompile(`- series: '([^']*)'`)
	for _, match := range series.FindAllStringSubmatch(read(t, "prometheus/rcptgate.test.yml"), -1) {
		check("tests", match[1])
	}
}
