package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// vendored are the scripts of others that are embedded in the binary: those below dir of the module,
// each NAME.iife.min.js with its licence in NAME.LICENSE, its version in its first line. Without
// its licence a script cannot be handed out.
func vendored(ctx context.Context, dir string) ([]module, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m: %w; run it in the source tree", err)
	}
	dir = filepath.Join(strings.TrimSpace(string(root)), dir)
	scripts, err := filepath.Glob(filepath.Join(dir, "*.js"))
	if err != nil {
		return nil, err
	}
	banner := regexp.MustCompile(`^/\*! \S+ \(v([0-9.]+)\) \*/\n`)
	var list []module
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			return nil, err
		}
		match := banner.FindSubmatch(text)
		if match == nil {
			return nil, fmt.Errorf("%s does not begin with its version", script)
		}
		name, _, _ := strings.Cut(filepath.Base(script), ".")
		licence, err := os.ReadFile(filepath.Join(dir, name+".LICENSE"))
		if err != nil {
			return nil, fmt.Errorf("%w: without its licence it cannot be handed out", err)
		}
		list = append(list, module{
			registry: "npm", path: strings.ToLower(name), version: string(match[1]),
			licence: identify(string(licence)), text: strings.TrimSpace(string(licence)),
		})
	}
	return list, nil
}
