package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/durable"
)

func open(t *testing.T, path string) *durable.Dir {
	t.Helper()
	dir, err := durable.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func contents(t *testing.T, dir *durable.Dir, name string) (string, bool) {
	t.Helper()
	var got string
	found, err := dir.Read(name, func(r io.Reader) error {
		octets, err := io.ReadAll(r)
		got = string(octets)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, found
}

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lib", "state")
	dir := open(t, path)
	if _, found := contents(t, dir, "a"); found {
		t.Error("a file that nobody wrote is there")
	}
	for _, want := range []string{"one", strings.Repeat("two", 100_000), ""} {
		if err := dir.Write("a", text(want)); err != nil {
			t.Fatal(err)
		}
		if got, found := contents(t, dir, "a"); got != want || !found {
			t.Errorf("%d octets, %v; want %d", len(got), found, len(want))
		}
	}
	info, err := os.Stat(dir.Path("a"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestFailedWrite: what cannot be written as a whole leaves the old file, and nothing beside it.
func TestFailedWrite(t *testing.T) {
	path := t.TempDir()
	dir := open(t, path)
	if err := dir.Write("a", text("old")); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	err := dir.Write("a", func(w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("new", 100_000))
		return full
	})
	if !errors.Is(err, full) {
		t.Error(err)
	}
	if got, _ := contents(t, dir, "a"); got != "old" {
		t.Errorf("%d octets instead of the old file", len(got))
	}
	files, err := os.ReadDir(path)
	if err != nil || len(files) != 2 { // it, and the lock
		t.Errorf("%v, %v", files, err)
	}
}

func TestOneOwner(t *testing.T) {
	path := t.TempDir()
	dir := open(t, path)
	if _, err := durable.Open(path); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second owner: %v", err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestNoDirectory(t *testing.T) {
	dir := open(t, "")
	if dir != nil {
		t.Fatal("a directory without a path")
	}
	if err := dir.Write("a", text("lost")); err != nil {
		t.Error(err)
	}
	if _, found := contents(t, dir, "a"); found || dir.Path("a") != "" {
		t.Error("memory only, but a file is found")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Open(file); err == nil {
		t.Error("a file is no directory")
	}
}
