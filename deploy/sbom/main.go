// Sbom tells what a rcptgate binary is made of: a CycloneDX 1.6 bill of materials as JSON, and the
// licences of all modules in it, which those who hand out the binary must hand out too.
//
//	go run ./deploy/sbom -binary bin/rcptgate -version 1.2.3 -sbom FILE -licenses FILE
//
// The modules are those that the Go linker wrote into the binary (go version -m), not those of
// go.mod: what only tests need is not in it. The scripts that are embedded for the dashboard come
// behind them. Licences are read from the module cache, so it runs in
// the source tree. The time is that of SOURCE_DATE_EPOCH, without which there is none; everything
// else follows from the binary: two runs are the same octet for octet.
//
// It fails, with exit code 1, if a module has no licence file.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binary := flags.String("binary", "bin/rcptgate", "the binary to look at")
	version := flags.String("version", "unknown", "its version")
	sbom := flags.String("sbom", "", "where to write the bill of materials")
	licenses := flags.String("licenses", "", "where to write the licences")
	if err := flags.Parse(args); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(*binary)
	if err != nil {
		return fmt.Errorf("%w; build it first: make build", err)
	}
	parts, err := modules(ctx, info)
	if err != nil {
		return err
	}
	embedded, err := vendored(ctx, "internal/web/dashboard/vendor")
	if err != nil {
		return err
	}
	parts = append(parts, embedded...)
	doc, err := document(*version, info, parts, os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	for path, text := range map[string][]byte{*sbom: doc, *licenses: notices(parts)} {
		if path == "" {
			continue
		}
		//nolint:gosec // for everybody who has the package
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// module is one part of the binary.
type module struct {
	registry           string // of its package URL; "" is golang
	path, version, sum string
	licence            string // SPDX identifier; "" if the text is none that we know
	text               string // all its licence files
}

// modules are those in a binary, the Go standard library first, with the licences that they have in
// the module cache.
func modules(ctx context.Context, info *debug.BuildInfo) ([]module, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all").Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m: %w; run it in the source tree", err)
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[path] = dir
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	dirs["std"] = strings.TrimSpace(string(root))
	list := []module{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		list = append(list, module{path: dep.Path, version: dep.Version, sum: dep.Sum})
	}
	var problems []error
	for i := range list {
		m := &list[i]
		if m.text, err = licenceText(dirs[m.path]); err != nil {
			problems = append(problems, fmt.Errorf("%s %s: %w", m.path, m.version, err))
		}
		m.licence = identify(m.text)
	}
	return list, errors.Join(problems...)
}

// licenceText joins the licence and notice files at the root of a module.
func licenceText(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("not in the module cache; run `go mod download`")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, entry := range entries {
		name := strings.ToUpper(entry.Name())
		if entry.IsDir() || strings.HasSuffix(name, ".GO") ||
			!slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"},
				func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		texts = append(texts, strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")))
	}
	if len(texts) == 0 {
		return "", errors.New("no licence file in " + dir + ": it cannot be handed out")
	}
	return strings.Join(texts, "\n\n"), nil
}

// identify knows the licences of Go modules by sentences that only they have.
func identify(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(sentence string) bool { return strings.Contains(text, sentence) }
	switch {
	case has("apache license version 2.0") || has("apache license, version 2.0"):
		return "Apache-2.0"
	case has("mozilla public license") && has("version 2.0"):
		return "MPL-2.0"
	case has("permission is hereby granted, free of charge"):
		return "MIT"
	case has("permission to use, copy, modify, and/or distribute"),
		has("permission to use, copy, modify, and distribute"):
		return "ISC"
	case has("redistribution and use") && has("neither the name"):
		return "BSD-3-Clause"
	case has("redistribution and use"):
		return "BSD-2-Clause"
	}
	return ""
}

// notices is the text of all licences, as plain text.
func notices(parts []module) []byte {
	var b bytes.Buffer
	for _, m := range parts {
		name := m.path
		if m.path == "std" {
			name = "The Go standard library"
		}
		fmt.Fprintf(&b, "%s\n%s %s\n\n%s\n\n", strings.Repeat("-", 72), name, m.version, m.text)
	}
	return b.Bytes()
}

// The types are those of https://cyclonedx.org/docs/1.6/json/, as far as they are needed.
type (
	bom struct {
		Format   string      `json:"bomFormat"`
		Spec     string      `json:"specVersion"`
		Serial   string      `json:"serialNumber"`
		Version  int         `json:"version"`
		Metadata metadata    `json:"metadata"`
		Parts    []component `json:"components"`
		Depends  []depends   `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp,omitempty"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Scope      string     `json:"scope,omitempty"`
		Licenses   []licenses `json:"licenses,omitempty"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	licenses struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	depends struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

func document(version string, info *debug.BuildInfo, parts []module, epoch string) ([]byte, error) {
	main := newComponent("application", module{path: info.Main.Path, version: version})
	for _, s := range info.Settings {
		// What changes the code that is in it; the flags of the linker name the version once more.
		if s.Key == "GOARCH" || s.Key == "GOOS" || s.Key == "CGO_ENABLED" || s.Key == "-tags" {
			main.Properties = append(main.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	doc := bom{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{Component: main},
		Depends: []depends{{Ref: main.Ref}},
	}
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds", epoch)
		}
		doc.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	for _, m := range parts {
		part := newComponent("library", m)
		part.Scope = "required"
		doc.Parts = append(doc.Parts, part)
		doc.Depends[0].On = append(doc.Depends[0].On, part.Ref)
		doc.Depends = append(doc.Depends, depends{Ref: part.Ref})
	}
	// The serial number is a name for the content (RFC 9562 section 5.8, version 8), not a random one.
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	doc.Serial = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	body, err = json.MarshalIndent(doc, "", "  ")
	return append(body, '\n'), err
}

func newComponent(kind string, m module) component {
	// https://github.com/package-url/purl-spec: a plus sign in a version is escaped.
	purl := "pkg:" + cmp.Or(m.registry, "golang") + "/" + m.path + "@" + strings.ReplaceAll(m.version, "+", "%2B")
	c := component{Type: kind, Ref: purl, Name: m.path, Version: m.version, PURL: purl}
	if m.licence != "" {
		c.Licenses = make([]licenses, 1)
		c.Licenses[0].License.ID = m.licence
	}
	if m.sum != "" {
		// The hash of go.sum, of a module's tree and not of a file.
		c.Properties = []property{{"go:sum", m.sum}}
	}
	return c
}
