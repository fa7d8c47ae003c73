package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the import table: for every package, the packages of this module that its code may
// import. Imports run only downward: cmd composes, proxy enforces, policy decides, verify informs.
// docs/DESIGN.md draws the same picture. Tests may import what they like, as the simulated
// internet of internal/mxsim; code may import mxsim only for the demo and the benchmarks.
var layers = map[string][]string{
	"cmd/rcptgate": {"*"},
	"internal/config": {
		"proxy", "proxy/policyd", "proxy/relay", "policy", "policy/journal", "policy/message",
		"policy/register", "policy/senders", "verify", "verify/cache", "verify/feedback",
		"verify/health", "verify/mx", "verify/probe", "verify/provider", "verify/reply",
		"internal/dns", "internal/esmtp", "internal/limit",
	},
	"proxy": {
		"proxy/relay", "proxy/wire", "policy", "policy/message", "verify", "internal/esmtp",
		"internal/limit",
	},
	"proxy/policyd": {"policy", "verify", "internal/esmtp", "internal/limit"},
	"proxy/relay":   {"internal/esmtp"},
	"proxy/wire":    {"internal/esmtp", "internal/limit"},
	"policy": {
		"policy/register", "policy/senders", "verify", "verify/reply", "internal/esmtp",
		"internal/limit",
	},
	"policy/journal":  {"policy", "verify", "verify/reply", "internal/esmtp"},
	"policy/message":  {"internal/dns", "internal/durable", "internal/esmtp", "internal/limit"},
	"policy/register": {"internal/durable", "internal/esmtp"},
	"policy/senders":  {"internal/durable", "internal/esmtp", "internal/limit"},
	"verify": {
		"verify/cache", "verify/feedback", "verify/health", "verify/mx", "verify/probe", "verify/provider",
		"verify/reply", "internal/dns", "internal/esmtp", "internal/limit",
	},
	"verify/probe":    {"verify/mx", "verify/reply", "internal/dns", "internal/esmtp", "internal/limit"},
	"verify/reply":    {"internal/esmtp"},
	"verify/mx":       {"internal/dns", "internal/esmtp"},
	"verify/cache":    {"internal/esmtp"},
	"verify/feedback": {"verify/reply", "internal/esmtp"},
	"verify/health":   {"internal/dns"},
	"verify/provider": {},
	"internal/web": {
		"policy", "policy/journal", "policy/register", "policy/senders", "verify", "verify/reply",
		"internal/esmtp", "internal/limit",
	},
	"internal/durable": {},
	"internal/dns":     {},
	"internal/esmtp":   {},
	"internal/limit":   {},
	"internal/mxsim":   {"internal/esmtp"},
	"internal/bench":   {},
	"internal/bulk":    {"verify", "verify/mx", "verify/provider", "internal/esmtp", "internal/limit"},
	"e2e":              {},
	"deploy/sbom":      {},
}

// TestLayers parses the sources instead of asking `go list`: go test then knows the files that the
// result depends on, and does not answer from its cache after one of them has changed.
func TestLayers(t *testing.T) {
	const module = "github.com/rcptgate/rcptgate/"
	root := os.DirFS("../..")
	found := map[string]bool{}
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		pkg := path.Dir(file)
		found[pkg] = true
		allowed, ok := layers[pkg]
		if !ok {
			t.Errorf("%s: package %s is not in the import table; give it a layer", file, pkg)
			return nil
		}
		src, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			dep, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(allowed, "*") && !slices.Contains(allowed, dep) {
				t.Errorf("%s: %s must not import %s", file, pkg, dep)
			}
			name := path.Base(file)
			if ours && dep == "internal/mxsim" &&
				!strings.HasPrefix(name, "demo") && !strings.HasPrefix(name, "bench") {
				t.Errorf("%s: only the demo, bench and tests may import internal/mxsim", file)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range layers {
		if !found[pkg] {
			t.Errorf("package %s is in the import table but has no code", pkg)
		}
	}
}
