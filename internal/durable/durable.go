//go:build unix

// Package durable keeps small files of state in one directory that one process owns:
//
//	dir, err := durable.Open("/var/lib/rcptgate")
//	defer dir.Close()
//	err = dir.Write("senders.json", func(w io.Writer) error { return json.NewEncoder(w).Encode(all) })
//
// A file that Write has replaced is there as a whole, the old or the new one, whatever happens to
// the process or the machine in between. Files are for their owner alone (0600), and so is a
// directory that Open had to make (0700).
//
// It takes a Unix: elsewhere it does not compile, and says so.
//
// A nil *Dir is the directory of a gate that keeps its state in memory only: Write does nothing and
// Read finds nothing.
package durable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ErrLocked says that another process owns the directory.
var ErrLocked = errors.New("the directory is in use by another process")

// lockName is the file that is locked while a process owns the directory. It is empty, and stays.
const lockName = "lock"

// Dir is a directory that this process owns. It is safe for concurrent use, but for Close.
type Dir struct {
	path string
	lock *os.File
}

// Open makes the directory, with those above it, if it is not there, and takes it for this process
// until Close. The error is ErrLocked if another process has it. An empty path gives a nil *Dir.
func Open(path string) (*Dir, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // a nil Dir is useful
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the state directory cannot be made: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the state directory cannot be written to: %w", err)
	}
	if err := tryLock(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// Close gives the directory back. The Dir must not be used any more.
func (d *Dir) Close() error {
	if d == nil {
		return nil
	}
	return d.lock.Close() // which unlocks it
}

// Path is where a file of the directory is; "" for a nil Dir.
func (d *Dir) Path(name string) string {
	if d == nil {
		return ""
	}
	return filepath.Join(d.path, name)
}

// Write replaces a file by what write writes, buffered. If that fails the old file stays.
func (d *Dir) Write(name string, write func(io.Writer) error) error {
	if d == nil {
		return nil
	}
	// A temporary file beside it: renaming works within one file system only.
	file, err := renameio.NewPendingFile(d.Path(name), renameio.WithPermissions(0o600),
		renameio.WithTempDir(d.path))
	if err != nil {
		return fmt.Errorf("state cannot be written: %w", err)
	}
	defer file.Cleanup() //nolint:errcheck // nothing is left after a success
	buffered := bufio.NewWriterSize(file, 64<<10)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("state cannot be written: %w", err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("state cannot be written: %w", err)
	}
	return nil
}

// Read passes a file to read, buffered. A file that is not there, which is not an error, is not
// passed: found is false.
func (d *Dir) Read(name string, read func(io.Reader) error) (found bool, err error) {
	if d == nil {
		return false, nil
	}
	file, err := os.Open(d.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state cannot be read: %w", err)
	}
	defer file.Close()
	return true, read(bufio.NewReaderSize(file, 64<<10))
}
