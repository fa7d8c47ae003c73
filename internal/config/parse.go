package config

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const maxFile = 8 << 20

// Load reads and checks the file at path. The error is Errors, also for a file that cannot be read.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	cfg, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	if faults := cfg.checkMachine(); len(faults) > 0 {
		return nil, faults.sorted()
	}
	return cfg, nil
}

func readFile(path string) ([]byte, error) {
	fail := func(problem, fix string) Errors {
		return Errors{{File: path, Problem: problem, Fix: fix}}
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fail("no such file",
			"name the configuration with --config FILE; config.example.toml is one to start from")
	case errors.Is(err, os.ErrPermission):
		return nil, fail("permission denied", "make it readable for the user that runs rcptgate")
	case err != nil:
		return nil, fail(reason(err), "")
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fail(reason(err), "name a TOML file")
	}
	if len(data) > maxFile {
		return nil, fail("larger than 8 MiB",
			`keep long domain lists in files of their own: internal_domains = ["file:/path"]`)
	}
	return data, nil
}

// reason is err without the path, which stands in front already.
func reason(err error) string {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return pathError.Err.Error()
	}
	return err.Error()
}

// Parse reads and checks a configuration in memory; name stands for the file in errors.
func Parse(name string, data []byte) (*Config, error) {
	cfg := Default()
	cfg.name = name
	scan := scanDocument(cfg, data)
	cfg.pos, cfg.text = scan.pos, scan.text
	cfg.fillUpstreams()
	cfg.fillPreset()
	faults := scan.faults
	if syntax := checkSyntax(name, data); syntax != nil {
		return nil, append(faults, syntax).sorted()
	}
	if faults = cfg.check(faults); len(faults) > 0 {
		return nil, faults.sorted()
	}
	return cfg, nil
}

// checkSyntax finds what is not TOML, keys and tables written twice among them.
func checkSyntax(name string, data []byte) *Error {
	var document map[string]any
	err := toml.Unmarshal(data, &document)
	if err == nil {
		return nil
	}
	fault := &Error{File: name, Line: 1, Column: 1, Problem: tidy(err.Error())}
	if place, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := place.Position()
		fault.Line, fault.Column = max(line, 1), max(column, 1)
		fault.Key = printable(strings.Join(place.Key(), "."))
	}
	fault.Fix = syntaxFix(fault.Problem)
	return fault
}

func tidy(text string) string {
	text = strings.TrimPrefix(text, "toml: ")
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return "not valid TOML: " + printable(text)
}

func syntaxFix(problem string) string {
	if strings.Contains(problem, "already") || strings.Contains(problem, "defined") {
		return "write each key and each [table] once"
	}
	return `strings need quotes ("8s"), lists need brackets (["127.0.0.1:10025"])`
}
