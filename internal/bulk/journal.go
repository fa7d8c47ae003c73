package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrLocked says that another process works on the same list.
var ErrLocked = errors.New("another process is checking this list")

var errNoJournal = &listError{
	text: "the file is no journal of rcptgate check",
	hint: "move it away, or name another one with --journal",
}

// The lines of a journal, behind their checksum. N is the number of an address.
//
//	rcptgate-check TAB 1 TAB SHA-256 of the list TAB addresses TAB options   the first line
//	? TAB N                      is about to be asked
//	- TAB N                      was not asked after all
//	~ TAB N TAB first TAB due    greylisted since, to be asked again (Unix seconds)
//	= TAB N TAB answer           see Answer.append
const (
	journalMagic   = "rcptgate-check"
	journalVersion = "1"

	lineAsking = '?'
	lineBack   = '-'
	lineLater  = '~'
	lineAnswer = '='

	checksumSize = 8 // hex digits
	// journalBatch bounds what is written at one time, and with it what a crash can tear.
	journalBatch = 256 << 10
)

// journal writes the lines of a run. Lines from all goroutines are written together and are on disk
// when wait returns. Safe for concurrent use.
type journal struct {
	file *os.File

	mu      sync.Mutex
	changed *sync.Cond
	pending []byte
	ends    int // lines that were appended
	written int // lines that are on disk
	closed  bool
	err     error
	done    chan struct{}
}

// newJournal goes on with a file whose end is where the next line belongs.
func newJournal(file *os.File) *journal {
	j := &journal{file: file, done: make(chan struct{})}
	j.changed = sync.NewCond(&j.mu)
	go j.run()
	return j
}

// append takes a line and returns what to wait for.
func (j *journal) append(line []byte) (end int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.pending) >= journalBatch && j.err == nil {
		j.changed.Wait()
	}
	j.pending = appendLine(j.pending, line)
	j.ends++
	j.changed.Broadcast()
	return j.ends
}

// wait returns when that line and all before it are on disk.
func (j *journal) wait(end int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.written < end && j.err == nil {
		j.changed.Wait()
	}
	return j.err
}

// write is append and wait.
func (j *journal) write(line []byte) error { return j.wait(j.append(line)) }

func (j *journal) run() {
	defer close(j.done)
	var batch []byte
	for {
		j.mu.Lock()
		for len(j.pending) == 0 && !j.closed {
			j.changed.Wait()
		}
		if len(j.pending) == 0 || j.err != nil {
			j.mu.Unlock()
			return
		}
		batch, j.pending = j.pending, batch[:0]
		end := j.ends
		j.changed.Broadcast() // there is room again
		j.mu.Unlock()

		_, err := j.file.Write(batch)
		if err == nil {
			err = j.file.Sync()
		}
		j.mu.Lock()
		if err != nil {
			j.err = fmt.Errorf("cannot write the journal: %w", err)
		} else {
			j.written = end
		}
		j.changed.Broadcast()
		j.mu.Unlock()
	}
}

// close writes what is pending, and lets another process have the file.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.changed.Broadcast()
	j.mu.Unlock()
	<-j.done
	return errors.Join(j.err, j.file.Close())
}

// appendLine appends a line with its checksum.
func appendLine(b, line []byte) []byte {
	b = fmt.Appendf(b, "%0*x ", checksumSize, crc32.ChecksumIEEE(line))
	return append(append(b, line...), '\n')
}

// checkLine takes a line out of what appendLine wrote. ok is false if it is not whole.
func checkLine(raw []byte) (line []byte, ok bool) {
	raw, ok = bytes.CutSuffix(raw, []byte("\n"))
	if !ok || len(raw) < checksumSize+1 || raw[checksumSize] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(raw[:checksumSize]), 16, 32)
	line = raw[checksumSize+1:]
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line) {
		return nil, false
	}
	return line, true
}

// headerLine is the first line of a journal.
func headerLine(list *List, options string) []byte {
	return fmt.Appendf(nil, "%s\t%s\t%s\t%d\t%s",
		journalMagic, journalVersion, list.id(), list.Len(), options)
}

func numberLine(kind byte, n int32) []byte {
	return strconv.AppendInt([]byte{kind, '\t'}, int64(n), 10)
}

func laterLine(n int32, first, due time.Time) []byte {
	return fmt.Appendf(numberLine(lineLater, n), "\t%d\t%d", first.Unix(), due.Unix())
}

func answerLine(n int32, a *Answer) []byte {
	return a.append(append(numberLine(lineAnswer, n), '\t'))
}

// openJournal opens or makes the file of a journal, and takes it for this process. Closing it gives it
// back.
func openJournal(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &listError{
			text: fmt.Sprintf("cannot keep a journal: %v", err),
			hint: "name a file that can be written to with --journal; without a journal nothing can be resumed",
		}
	}
	if err := tryLock(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// readJournal reads what file has, and leaves it with its torn end cut off. It is empty if the
// journal is new.
func readJournal(file *os.File, s *state, header []byte) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	good, err := s.replay(io.NewSectionReader(file, 0, info.Size()), info.Size(), header)
	if err != nil {
		return err
	}
	if good < info.Size() {
		if err := file.Truncate(good); err != nil {
			return fmt.Errorf("cannot cut the torn end off the journal: %w", err)
		}
	}
	if _, err = file.Seek(good, io.SeekStart); err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	return nil
}

// emptyJournal makes a journal new, and nothing else: a mistyped name must not cost a file.
func emptyJournal(file *os.File) error {
	start := make([]byte, checksumSize+1+len(journalMagic))
	n, err := file.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	if n > 0 && !strings.HasSuffix(string(start), " "+journalMagic) {
		return errNoJournal
	}
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("cannot empty the journal: %w", err)
	}
	return nil
}

// syncDirectory sees to it that a new name survives a crash of the machine.
func syncDirectory(path string) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return
	}
	_ = dir.Sync() // not all systems can
	_ = dir.Close()
}

// removeJournal is the end of a journal. What is not there is gone.
func removeJournal(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the journal: %w", err)
	}
	return nil
}
