package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

var reply452 = esmtp.NewReply(452, esmtp.EnhancedCode{4, 5, 3}, "Too many recipients")

// files is what stands in the directory of a journal, with the numbers of its lines.
func files(t *testing.T, path string) string {
	t.Helper()
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range all {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(path), f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, strings.TrimPrefix(f.Name(), filepath.Base(path))+":"+
			strconv.Itoa(strings.Count(string(data), "\n")))
	}
	return strings.Join(list, " ")
}

// TestRotateBySize: files are as long as they may be, moved on, and at most so many; a search goes
// through all of them, the newest first.
func TestRotateBySize(t *testing.T) {
	path := journalPath(t)
	j := open(t, Config{Path: path, MaxSize: maxLine, Keep: 3, Recent: -1, Refusals: -1, Queue: 1 << 20})
	tx := transaction(t)
	const n = 3000
	for i := range n {
		j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("REF%d", i)))
		if i%100 == 0 {
			j.gather()
		}
	}
	shut(t, j)
	for name := range strings.FieldsSeq(" .1 .2 .3") {
		info, err := os.Stat(path + name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || info.Size() > maxLine || info.Size() < maxLine-2000 {
			t.Errorf("%s: %v, %d octets", name, info.Mode(), info.Size())
		}
	}
	if _, err := os.Stat(path + ".4"); err == nil {
		t.Error("a file too many")
	}
	found, report, err := j.Archive().Search(t.Context(), Filter{Limit: -1})
	if err != nil || report.Files != 4 || report.Notes() != nil {
		t.Fatalf("%+v, %v", report, err)
	}
	for i, e := range found {
		if want := fmt.Sprintf("REF%d", n-1-i); e.Ref != want {
			t.Fatalf("%s stands where %s should", e.Ref, want)
		}
	}
	if len(found) < 1000 {
		t.Errorf("only %d entries", len(found))
	}
}

// TestRotateByAge: a file is rotated a day after its first line, and goes with the retention.
func TestRotateByAge(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		// The file system has its own clock, which says when files were written.
		fix := func() {
			all, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				name := filepath.Join(filepath.Dir(path), f.Name())
				if info, err := f.Info(); err == nil && info.ModTime().After(time.Now().Add(time.Hour)) {
					if err := os.Chtimes(name, time.Time{}, time.Now()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		j := open(t, Config{Path: path, MaxAge: 60 * time.Hour})
		tx := transaction(t)
		for day, want := range []string{
			":1", ":1 .1:1", ":1 .1:1 .2:1", ":1 .1:1 .2:1", ":1 .1:1 .2:1",
		} {
			j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("DAY%d", day)))
			time.Sleep(time.Hour)
			synctest.Wait()
			fix()
			if got := files(t, path); got != want {
				t.Errorf("day %d: %q, want %q", day, got, want)
			}
			time.Sleep(23*time.Hour + time.Minute)
		}
		shut(t, j)
	})
}

// TestRestart: a journal goes on behind what is there, a cut line stays by itself, and the age of
// the file is that of its first line.
func TestRestart(t *testing.T) {
	path := journalPath(t)
	old := strings.Replace(goodLine, "2026-11-23", "2020-01-01", 1)
	if err := os.WriteFile(path, []byte(old+old[:50]), 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, Config{Path: path, RotateEvery: -1})
	if year := j.file.began.Year(); year != 2020 {
		t.Errorf("the file is from %d", year)
	}
	j.record(transaction(t), refused(t, "bob@example.net", "REF"))
	shut(t, j)
	found, report, err := j.Archive().Search(t.Context(), Filter{})
	if err != nil || refs(found) != "REF A" || report.Bad != 1 {
		t.Errorf("%q, %+v, %v", refs(found), report, err)
	}
}

// TestLogrotate: a file that was moved away, removed or emptied by others is noticed in a second.
func TestLogrotate(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		j := open(t, Config{Path: path, MaxSize: -1, RotateEvery: -1})
		step := func(ref, want string, change func() error) {
			t.Helper()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond)
			j.record(transaction(t), refused(t, "bob@example.net", ref))
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if got := files(t, path); got != want {
				t.Errorf("%s: %q, want %q", ref, got, want)
			}
		}
		step("A", ":1", func() error { return nil })
		step("B", ":1 -20261123:1", func() error { return os.Rename(path, path+"-20261123") })
		step("C", ":1 -20261123:1", func() error { return os.Remove(path) })
		step("D", ":1 -20261123:1", func() error { return os.Truncate(path, 0) })
		step("E", ":2 -20261123:1", func() error { return nil })
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		j.Reopen()
		j.record(transaction(t), refused(t, "bob@example.net", "F"))
		shut(t, j)
		if got := files(t, path); got != ":1 -20261123:1 .1:2" {
			t.Errorf("after Reopen: %q", got)
		}
		if err := os.WriteFile(path+".2.gz", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		found, report, err := j.Archive().Search(t.Context(), Filter{})
		if err != nil || refs(found) != "F E D A" || report.Compressed != 1 {
			t.Errorf("%q, %+v, %v", refs(found), report, err)
		}
	})
}

// TestDiskFull: the disk's trouble is said once a minute and costs nothing but what does not fit;
// what waits is written when there is room again.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	var out strings.Builder
	path := journalPath(t)
	w := &file{path: path, log: slog.New(slog.NewTextHandler(&out, nil)), wake: make(chan struct{}, 1)}
	settings := settingsOf(&Config{})
	w.settings.Store(&settings)
	if err := w.open(at); err != nil {
		t.Fatal(err)
	}
	good := w.f
	w.f = full
	for n := range 100 {
		w.take(fmt.Appendf(nil, "line %d\n", n))
		w.flush(at.Add(time.Duration(n) * time.Second))
	}
	if got := out.String(); strings.Count(got, "no space left on device") != 2 {
		t.Errorf("the log says:\n%s", got)
	}
	w.f = good
	w.flush(at.Add(200 * time.Second))
	w.flush(at.Add(201 * time.Second))
	if got := files(t, path); got != ":100" || w.unsaved() != 0 || w.fault != nil {
		t.Errorf("with room again: %q, %d unsaved, %v", got, w.unsaved(), w.fault)
	}
	// What was torn by another file is not begun in the middle.
	w.rest, w.middle = []byte("of a line\nwhole\n"), true
	if err := errors.Join(w.close(), os.Rename(path, path+".1"), w.open(at)); err != nil {
		t.Fatal(err)
	}
	w.flush(at.Add(300 * time.Second))
	if data, err := os.ReadFile(path); err != nil || string(data) != "whole\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	w.f, w.checked = full, at.Add(400*time.Second) // and nobody looks at its name now
	w.take([]byte("lost\n"))
	w.end(at.Add(400 * time.Second))
	if w.unsaved() != 1 || w.fault == nil {
		t.Errorf("at the end: %d unsaved, %v", w.unsaved(), w.fault)
	}
}

// TestNoRotation: a file that cannot be rotated is written on, beyond its size.
func TestNoRotation(t *testing.T) {
	path := journalPath(t)
	w := &file{path: path, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
	w.settings.Store(&fileSettings{maxSize: 10, keep: 1})
	// A directory that is not empty stands where the old file should go.
	if err := errors.Join(w.open(at), os.MkdirAll(path+".1/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		w.take(fmt.Appendf(nil, "line %d\n", n))
		w.flush(at.Add(time.Duration(n) * time.Minute))
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || strings.Count(string(data), "\n") != 5 {
		t.Errorf("%q, %v", data, err)
	}
}

// TestHanging: a disk that takes nothing makes lines be lost, counted, and Close come back.
func TestHanging(t *testing.T) {
	w := &file{wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	line := []byte(strings.Repeat("x", 1<<20-1) + "\n")
	for range 10 {
		w.take(line)
	}
	if w.unsaved() != 6 {
		t.Errorf("%d lost", w.unsaved())
	}
	w.finish()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
}
