package feedback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	maxLine   = 16 << 10
	readSize  = 256 << 10
	pollReads = 16 // pieces of readSize that are read before the position is saved
	// quietPolls without news from a file that was rotated away, while there is a new one, mean that
	// its writer has moved on.
	quietPolls = 2
)

// tail follows a file that is rotated. It polls: that works on every file system, and a quarter of
// a second is soon enough to learn.
type tail struct {
	path    string
	history bool
	begin   *place // where to begin, nil at the end of path

	file  *os.File
	name  string // of file when it was opened, symbolic links resolved
	head  head
	read  int64  // where in file the next read begins
	carry []byte // the beginning of a line whose end was not read yet
	skip  bool   // in the middle of a line that is too long
	quiet int    // polls without news while path is another file
	buf   []byte
	lost  bool // the file of the position was not found
}

func newTail(path string, history bool) *tail { return &tail{path: path, history: history} }

func (t *tail) run(ctx context.Context, f *Follower, observe func(Observation)) {
	defer func() {
		if t.file != nil {
			_ = t.file.Close() // it was only read
		}
	}()
	handle := func(line []byte) {
		if o, ok := f.parser.Line(line); ok {
			observe(o)
		}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	opened := false
	for ctx.Err() == nil {
		before := f.parser.Counts().Lines
		more, err := t.poll(handle)
		if t.file != nil && !opened {
			opened = true
			f.dirty = true // what is written from here on is not missed after a restart
		}
		if t.lost {
			t.lost = false
			f.log.Warn("the relay's log was rotated while it was not read; lines of a file that is "+
				"gone or compressed are missed", "path", t.path)
		}
		if f.parser.Counts().Lines != before {
			f.moved()
		} else {
			f.idle()
		}
		f.fault(explain(err))
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// explain says what to do about an error of the file system.
func explain(err error) (why, fix string) {
	switch {
	case err == nil:
		return "", ""
	case errors.Is(err, fs.ErrNotExist):
		return err.Error(), "set verify.feedback.relay_log to the file that the relay's syslog writes, " +
			`or to "` + Journal + `"`
	case errors.Is(err, fs.ErrPermission):
		return err.Error(), "let the user of this service read it: on Debian, add it to the group adm"
	}
	return err.Error(), "see to the file system; it is tried again"
}

// poll hands over the lines that are new. more says that there are more at once.
func (t *tail) poll(handle func(line []byte)) (more bool, err error) {
	if t.file == nil {
		if err := t.open(); err != nil {
			return false, err
		}
	}
	if err := t.checkTruncated(); err != nil {
		return false, err
	}
	n := 0
	for range pollReads {
		got, err := t.readPiece(handle)
		n += got
		if err != nil {
			return false, err
		}
		if got < readSize {
			return t.rotate(handle, n > 0)
		}
	}
	t.quiet = 0
	return true, nil
}

// open opens the file to begin with: the one of the position, or path.
func (t *tail) open() error {
	begin, fromEnd := t.begin, t.begin == nil && !t.history
	if begin != nil {
		file, found := begin.find(t.path)
		if found {
			t.begin = nil
			return t.use(file, begin.Offset, begin.Skip)
		}
	}
	file, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		t.history = true // what is written there from now on is new, all of it
	}
	if err != nil {
		return err
	}
	t.lost = begin != nil
	t.begin = nil
	offset := int64(0)
	if fromEnd {
		if offset, err = lastLineStart(file); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return t.use(file, offset, false)
}

// use goes on with file.
func (t *tail) use(file *os.File, offset int64, skip bool) error {
	if t.file != nil {
		_ = t.file.Close() // it was only read
	}
	t.file, t.read, t.skip, t.quiet = file, offset, skip, 0
	t.name = file.Name()
	if real, err := filepath.EvalSymlinks(t.name); err == nil {
		t.name = real
	}
	t.carry = t.carry[:0]
	t.head = head{}
	t.history = true // whatever comes after this file is new
	return t.head.grow(file)
}

// lastLineStart returns where the line begins that is being written at the end of a file.
func lastLineStart(file *os.File) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	from := max(0, size-maxLine)
	last := make([]byte, size-from)
	if _, err := file.ReadAt(last, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return from + int64(bytes.LastIndexByte(last, '\n')) + 1, nil
}

// readPiece reads at most readSize octets and returns how many there were.
func (t *tail) readPiece(handle func(line []byte)) (int, error) {
	if t.buf == nil {
		t.buf = make([]byte, readSize)
	}
	n, err := t.file.ReadAt(t.buf, t.read)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	t.read += int64(n)
	t.split(t.buf[:n], handle)
	return n, nil
}

// split cuts what was read into lines.
func (t *tail) split(b []byte, handle func(line []byte)) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			if !t.skip {
				t.carry = append(t.carry, b...)
			}
			if len(t.carry) > maxLine {
				t.carry, t.skip = t.carry[:0], true
			}
			return
		}
		line := b[:end]
		b = b[end+1:]
		if len(t.carry) > 0 {
			t.carry = append(t.carry, line...)
			line = t.carry
		}
		if !t.skip && len(line) <= maxLine {
			handle(line)
		}
		t.carry, t.skip = t.carry[:0], false
	}
}

// checkTruncated notices a file that was truncated, even if it has grown beyond the old size since:
// then it begins with other octets. What was not read of it may be in a copy.
func (t *tail) checkTruncated() error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == t.read && t.head.full() {
		return nil
	}
	same := info.Size() >= t.read
	if same {
		if same, err = t.head.matches(t.file); err != nil {
			return err
		}
	}
	if same {
		return t.head.grow(t.file)
	}
	was := t.place()
	if was.Offset > 0 || was.Skip {
		if file, found := was.findCopy(t.path, info); found {
			return t.use(file, was.Offset, was.Skip)
		}
	}
	t.read, t.skip, t.quiet, t.head = 0, false, 0, head{}
	t.carry = t.carry[:0]
	return t.head.grow(t.file)
}

// rotate moves on to the next file when this one is done with.
func (t *tail) rotate(handle func(line []byte), news bool) (more bool, err error) {
	next, err := t.next()
	if err != nil || next == nil {
		t.quiet = 0
		return false, err
	}
	if news {
		t.quiet = 0
	}
	if t.quiet++; t.quiet <= quietPolls {
		return false, next.Close()
	}
	if len(t.carry) > 0 && !t.skip {
		handle(t.carry) // nobody will end this line
	}
	return true, t.use(next, 0, false)
}

// next opens the file that follows the one that is read, nil if there is none yet.
func (t *tail) next() (*os.File, error) {
	here, err := t.file.Stat()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // renamed away and not created yet
	}
	if err != nil {
		return nil, err
	}
	if os.SameFile(here, info) || info.Size() == 0 {
		return nil, nil //nolint:nilnil // the usual case: this is the newest file
	}
	// Several rotations may have passed, while this program or its host stood still.
	for _, s := range siblings(t.path) {
		if s.between(here, info) {
			return os.Open(filepath.Clean(s.path))
		}
	}
	return os.Open(t.path)
}

func (t *tail) resume(position []byte) { t.begin = parsePlace(position) }

func (t *tail) position() []byte { return t.place().encode() }

func (t *tail) place() place {
	if t.file == nil {
		if t.begin != nil {
			return *t.begin
		}
		return place{}
	}
	p := place{
		File: t.name, Offset: t.read - int64(len(t.carry)), Skip: t.skip,
		Head: t.head.sum(), HeadSize: t.head.size(),
	}
	if info, err := t.file.Stat(); err == nil {
		p.Inode = inodeOf(info)
	}
	return p
}
