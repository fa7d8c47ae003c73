package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// open opens the file and makes sure that it ends with a whole line. Lines of which only the
// beginning got into another file are lost.
func (w *file) open(now time.Time) error {
	if info, err := os.Stat(w.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", w.path) // opening a pipe would wait
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if w.middle {
		w.rest = w.rest[bytes.IndexByte(w.rest, '\n')+1:]
		w.middle = false
	}
	w.f, w.size, w.began = f, info.Size(), now
	if w.size == 0 {
		return nil
	}
	if info.Mode().Perm()&0o007 != 0 {
		w.log.Warn("journal: everybody can read the file", "path", w.path,
			"hint", "it tells who writes to whom: chmod 600")
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], w.size-1); err == nil && last[0] != '\n' {
		if _, err := f.WriteString("\n"); err != nil { // a crash tore the last line
			return errors.Join(err, w.close())
		}
		w.size++
	}
	w.began = firstTime(io.NewSectionReader(f, 0, w.size), info.ModTime())
	return nil
}

// firstTime is when a file was begun: the time of its first line, if it can be read.
func firstTime(file io.Reader, otherwise time.Time) time.Time {
	began := otherwise
	_, _ = Read(file, func(e *Entry) bool { // without one, it is as old as its last line
		began = e.Time
		return false
	})
	return began
}

func (w *file) close() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}

// rotate moves the file to path.1, what is there to path.2, and so on, and begins a new one.
func (w *file) rotate(now time.Time) error {
	if err := w.close(); err != nil {
		return err
	}
	keep := w.settings.Load().keep
	faults := []error{w.shift(keep)}
	if keep > 0 {
		faults = append(faults, os.Rename(w.path, w.path+".1"))
	} else {
		faults = append(faults, os.Remove(w.path))
	}
	faults = append(faults, w.open(now))
	return errors.Join(faults...)
}

// shift makes room for path.1. Only as many files are moved as stand without a gap.
func (w *file) shift(keep int) error {
	last := 0
	for last < keep {
		if _, err := os.Lstat(w.numbered(last + 1)); err != nil {
			break
		}
		last++
	}
	if last == keep && keep > 0 {
		if err := os.Remove(w.numbered(keep)); err != nil {
			return err
		}
		last--
	}
	for n := last; n > 0; n-- {
		if err := os.Rename(w.numbered(n), w.numbered(n+1)); err != nil {
			return err
		}
	}
	return nil
}

func (w *file) numbered(n int) string { return w.path + "." + strconv.Itoa(n) }

// clean removes rotated files that are too many or too old. A file is as old as its last line.
func (w *file) clean(now time.Time) error {
	settings := w.settings.Load()
	names, _, err := filesOf(w.path)
	if err != nil {
		return err
	}
	var faults []error
	for _, old := range names {
		n, err := strconv.Atoi(strings.TrimPrefix(old.name, w.path+"."))
		if err != nil || n <= 0 { // not from here
			continue
		}
		if n > settings.keep || settings.maxAge > 0 && now.Sub(old.written) > settings.maxAge {
			faults = append(faults, os.Remove(old.name))
		}
	}
	return errors.Join(faults...)
}

// oldFile is one of the files of a journal.
type oldFile struct {
	name    string
	written time.Time // last
	size    int64
}

// filesOf lists the files of a journal, the one that was written last first: its own and those that
// were rotated, here or by logrotate, but compressed ones.
func filesOf(path string) (files []oldFile, packed int, err error) {
	dir, base := filepath.Split(path)
	all, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, 0, err
	}
	for _, f := range all {
		rest, ours := strings.CutPrefix(f.Name(), base)
		if !ours || rest != "" && rest[0] != '.' && rest[0] != '-' {
			continue
		}
		if compressed(rest) {
			packed++
			continue
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		files = append(files, oldFile{dir + f.Name(), info.ModTime(), info.Size()})
	}
	slices.SortFunc(files, func(a, b oldFile) int {
		switch {
		case a.name == path:
			return -1
		case b.name == path:
			return 1
		}
		return cmp.Or(b.written.Compare(a.written), strings.Compare(a.name, b.name))
	})
	return files, packed, nil
}

func compressed(name string) bool {
	switch filepath.Ext(name) {
	case ".gz", ".xz", ".zst", ".bz2", ".lz4":
		return true
	}
	return false
}
