package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/web"
)

// TestForgetProviders: only a provider that there is can be forgotten, and nothing else gets into the
// file of those that were.
func TestForgetProviders(t *testing.T) {
	g := startAPIGate(t, "")
	g.command("override forget --provider Google", 0, `^provider Google: forgotten\n$`, ``)
	g.command("override forget --provider googel", 2, ``, `name: there is no provider "googel".*verdicts and GET /v1/providers`)
	for _, name := range []string{"googel", "generic", "d1.example.com", "\x1b[0m"} {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		var p web.Problem
		g.ask("POST", "/v1/forget", `{"kind": "provider", "name": `+string(quoted)+`}`,
			http.StatusBadRequest, &p)
		if !strings.Contains(p.Detail, "there is no provider") || strings.Contains(p.Detail, "\x1b") {
			t.Errorf("%+v", p)
		}
	}
	g.stopped()
	text, err := os.ReadFile(filepath.Join(g.state(t), forgottenName))
	if err != nil || !strings.Contains(string(text), `{"google":`) || strings.Count(string(text), ":\"") != 1 {
		t.Errorf("%s, %v", text, err)
	}
}

// state is the gate's state directory.
func (g *apiGate) state(t *testing.T) string {
	t.Helper()
	cfg, err := loadConfig(g.path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Policy.StateDirectory
}
