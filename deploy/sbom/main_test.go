package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOfRealBinary looks at this test's own subject: the program rcptgate, as go builds it.
func TestOfRealBinary(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "rcptgate")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/rcptgate").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	read := func(name string) ([]byte, []byte) {
		t.Helper()
		sbom, licences := filepath.Join(dir, name+".json"), filepath.Join(dir, name+".txt")
		var stderr bytes.Buffer
		err := run(t.Context(), []string{
			"-binary", bin, "-version", "1.2.3+4", "-sbom", sbom, "-licenses", licences,
		}, &stderr)
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		a, errA := os.ReadFile(sbom)
		b, errB := os.ReadFile(licences)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		return a, b
	}
	text, licences := read("a")
	again, _ := read("b")
	if !bytes.Equal(text, again) {
		t.Error("two runs differ")
	}
	var doc bom
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	// Go's library, the modules, and uPlot, which the dashboard draws with.
	uplot := doc.Parts[len(doc.Parts)-1]
	if uplot.PURL != "pkg:npm/uplot@1.6.32" || uplot.Licenses[0].License.ID != "MIT" ||
		!bytes.Contains(licences, []byte("Leon Sorokin")) {
		t.Errorf("the embedded script: %+v", uplot)
	}
	if len(doc.Parts) != len(info.Deps)+2 || len(doc.Depends) != len(doc.Parts)+1 {
		t.Errorf("%d parts, %d dependencies; the binary has %d modules", len(doc.Parts), len(doc.Depends),
			len(info.Deps))
	}
	if doc.Metadata.Timestamp != "2026-09-21T14:13:20Z" ||
		doc.Metadata.Component.PURL != "pkg:golang/github.com/rcptgate/rcptgate@1.2.3%2B4" {
		t.Errorf("metadata %+v", doc.Metadata)
	}
	for _, part := range doc.Parts {
		if len(part.Licenses) == 0 {
			t.Errorf("%s: its licence is not recognised", part.Name)
		}
		if part.Name != "std" && !bytes.Contains(licences, []byte("\n"+part.Name+" "+part.Version+"\n")) {
			t.Errorf("%s: no licence text", part.Name)
		}
	}
}

func TestIdentify(t *testing.T) {
	const redistribution = "Redistribution and use in source and binary forms"
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                 "Apache-2.0",
		"Mozilla Public License, version 2.0":                          "MPL-2.0",
		"Permission is hereby granted,\nfree of charge, to any person": "MIT",
		redistribution + " ... Neither the name of Google":             "BSD-3-Clause",
		redistribution: "BSD-2-Clause",
		"Permission to use, copy, modify, and/or distribute this": "ISC",
		"All rights reserved.": "",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNoLicence(t *testing.T) {
	if _, err := licenceText(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no licence file") {
		t.Errorf("%v", err)
	}
	if _, err := licenceText(""); err == nil {
		t.Error("no directory, but no error")
	}
}
