package register

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/rcptgate/rcptgate/internal/durable"
)

// The list on the disk is the snapshot, as changed by the old changes, if they are there, as
// changed by the changes. A line says what becomes of its key, whatever was before, so a snapshot
// that has some of the changes already does no harm.
const (
	snapshotFile = "suppressions.tsv"
	oldFile      = "suppressions.old-changes.tsv" // while a snapshot is made that has them
	changesFile  = "suppressions.changes.tsv"

	listVersion = versioned + "suppressions 1"
	listHead    = listVersion + "\n" +
		"# + " + entryColumns + "\n" +
		"# - address\tscope\n"

	damagedSuffix = ".damaged" // a copy of what had damaged lines

	// compactLines is how many changes are worth a snapshot, if they are half of the list too.
	compactLines = 10_000
)

// store is the list's files. Who holds the Register's save may use it, trouble apart.
type store struct {
	dir *durable.Dir // nil: all of it does nothing
	log *slog.Logger

	changes *os.File // open for appending, or nil
	size    int64    // of its whole lines, all of them on the disk
	torn    bool     // there may be something behind them
	lines   int      // how many there are in the changes
	isOld   bool     // there are old changes
	damaged []string // files that had damaged lines, to be copied before they are replaced
	mend    bool     // there were some, so the files are to be written anew

	trouble atomic.Pointer[string] // what keeps changes off the disk; nil: nothing
}

// load reads the list into the table.
func (s *store) load(t *table, now int64) error {
	const usualLine = 100 // octets
	if info, err := os.Stat(s.dir.Path(snapshotFile)); err == nil && s.dir != nil {
		t.makeRoom(int(min(info.Size()/usualLine, DefaultMaxEntries)))
	}
	for _, name := range []string{snapshotFile, oldFile, changesFile} {
		var f found
		there, err := s.dir.Read(name, func(r io.Reader) (err error) {
			f, err = readLines(r, listVersion, func(line string) error {
				c, err := parseLine(line, now)
				if err == nil {
					t.replace(c.key, now, false, func(*record) *record { return c.record })
				}
				return err
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.dir.Path(name), err)
		}
		logFound(s.log, s.dir.Path(name), f)
		if f.damaged > 0 {
			s.damaged, s.mend = append(s.damaged, name), true
		}
		switch name {
		case oldFile:
			s.isOld = there
		case changesFile:
			s.size, s.torn = f.size, f.torn
			s.lines = f.lines
		}
	}
	return nil
}

// logFound tells which lines of a file were lost.
func logFound(log *slog.Logger, path string, f found) {
	for _, line := range f.first {
		log.Warn("a damaged line is left out", "file", path, "line", line.Line, "error", line.Detail)
	}
	if f.damaged > len(f.first) {
		log.Warn("more damaged lines are left out", "file", path, "lines", f.damaged-len(f.first))
	}
	if f.torn {
		log.Warn("the last line was not finished and is dropped: the gate or the machine stopped "+
			"while it was written", "file", path, "line", f.lines+f.damaged+1)
	}
}

// append writes changes and waits until the disk has them: all of them, or none and an error.
func (s *store) append(changes []change) error {
	if s.dir == nil || len(changes) == 0 {
		return nil
	}
	err := s.open()
	if err == nil {
		err = s.write(changes)
	}
	return s.report(err)
}

// report remembers what keeps changes off the disk.
func (s *store) report(err error) error {
	if err == nil {
		s.trouble.Store(nil)
		return nil
	}
	err = fmt.Errorf("the change cannot be saved and is not made: %w; make room in %s, or repair it",
		err, s.dir.Path(""))
	text := err.Error()
	s.trouble.Store(&text)
	return err
}

// open opens the changes for appending behind their last whole line.
func (s *store) open() (err error) {
	if s.changes == nil {
		s.changes, err = os.OpenFile(s.dir.Path(changesFile),
			os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
	}
	if s.torn {
		if err := s.changes.Truncate(s.size); err != nil {
			return err
		}
		s.torn = false
	}
	if s.size > 0 {
		return nil
	}
	s.torn = true
	if _, err := io.WriteString(s.changes, listHead); err != nil {
		return err
	}
	if err := s.changes.Sync(); err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	s.size, s.torn = int64(len(listHead)), false
	return nil
}

func (s *store) write(changes []change) (err error) {
	const piece = 64 << 10
	var buf []byte
	written := int64(0)
	s.torn = true
	for i, c := range changes {
		buf = c.appendLine(buf)
		if len(buf) < piece && i < len(changes)-1 {
			continue
		}
		n, err := s.changes.Write(buf)
		written += int64(n)
		if err != nil {
			return s.undo(err)
		}
		buf = buf[:0]
	}
	if err := s.changes.Sync(); err != nil {
		return s.undo(err)
	}
	s.size += written
	s.lines += len(changes)
	s.torn = false
	return nil
}

// probe finds out whether what kept changes off the disk is over, by a comment.
func (s *store) probe() {
	if s.dir == nil || s.trouble.Load() == nil {
		return
	}
	err := s.open()
	if err == nil {
		s.torn = true
		var n int
		if n, err = s.changes.WriteString("#\n"); err == nil {
			err = s.changes.Sync()
		}
		if err == nil {
			s.size += int64(n)
			s.torn = false
		} else {
			err = s.undo(err)
		}
	}
	_ = s.report(err) // told by Status
}

// undo takes away what was written of changes that are not made. If that fails too, it is tried
// again before the next change.
func (s *store) undo(err error) error {
	if s.changes.Truncate(s.size) == nil {
		s.torn = false
	}
	return err
}

// syncDir makes the names of files durable.
func (s *store) syncDir() error {
	d, err := os.Open(s.dir.Path(""))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wantsCompaction reports whether a snapshot should be made of a list of so many entries.
func (s *store) wantsCompaction(entries int64) bool {
	return s.dir != nil && (s.isOld || s.mend ||
		s.lines >= compactLines && int64(s.lines) >= entries/2)
}

// rotate makes the changes the old changes, unless there are some.
func (s *store) rotate() error {
	if s.isOld {
		return nil
	}
	// What is torn must not look like damage in a file that nobody repairs any more.
	if s.torn {
		if err := s.open(); err != nil {
			return err
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	switch err := os.Rename(s.dir.Path(changesFile), s.dir.Path(oldFile)); {
	case errors.Is(err, fs.ErrNotExist): // only the snapshot is to be made anew
		s.mend = false
		return nil
	case err != nil:
		return err
	}
	s.mend = false
	s.isOld, s.size, s.lines = true, 0, 0
	return s.syncDir()
}

// keepDamaged copies the files that had damaged lines, for somebody to repair. They are still where
// they were.
func (s *store) keepDamaged() error {
	for ; len(s.damaged) > 0; s.damaged = s.damaged[1:] {
		name := s.damaged[0]
		err := s.dir.Write(name+damagedSuffix, func(w io.Writer) error {
			_, err := s.dir.Read(name, func(r io.Reader) error {
				_, err := io.Copy(w, r)
				return err
			})
			return err
		})
		if err != nil {
			return err
		}
		s.log.Warn("the file with the damaged lines is kept, for them to be repaired",
			"file", s.dir.Path(name+damagedSuffix))
	}
	return nil
}

func (s *store) close() error {
	if s.changes == nil {
		return nil
	}
	err := s.changes.Close()
	s.changes = nil
	return err
}
