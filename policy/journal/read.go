package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line that is read, in octets without its end. None that is written is
// longer.
const maxLine = 256 << 10

// ReadReport says how the reading of a journal went: what was not understood is left out and
// counted, never guessed at.
type ReadReport struct {
	Files      int   // that were opened
	Octets     int64 // that were read
	Entries    int   // lines that were understood, wanted or not
	Bad        int   // lines that are no entries
	Long       int   // lines over 256 KiB, left out
	Newer      int   // entries with fields that this version does not know
	Torn       bool  // the last line of a file lacks its end: a crash, or it is being written
	Compressed int   // files that were not read because they are compressed
	Bounded    bool  // there is more, but a bound was reached
	FirstBad   string
}

// Notes says in sentences what is worth saying, nothing if all was well.
func (r *ReadReport) Notes() []string {
	var notes []string
	say := func(n int, one, many string) {
		switch {
		case n == 1:
			notes = append(notes, "1 "+one)
		case n > 1:
			notes = append(notes, fmt.Sprintf("%d %s", n, many))
		}
	}
	if say(r.Bad, "line is no entry and was left out", "lines are no entries and were left out"); r.Bad > 0 {
		notes[len(notes)-1] += ": " + r.FirstBad
	}
	say(r.Long, "line is too long and was left out", "lines are too long and were left out")
	say(r.Newer, "entry has fields of another version, which are left out",
		"entries have fields of another version, which are left out")
	if r.Torn {
		notes = append(notes, "the last line is cut off and was left out")
	}
	say(r.Compressed, "file is compressed and was not searched; unpack it beside the others",
		"files are compressed and were not searched; unpack them beside the others")
	if r.Bounded {
		notes = append(notes, "not all was searched; give a narrower time, or a higher bound")
	}
	return notes
}

// take decodes a line and counts it. end is the line's end in its file, where known.
func (r *ReadReport) take(line []byte, whole bool, e *Entry) bool {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return false
	}
	if err := e.decode(line); err != nil {
		if !whole {
			r.Torn = true
			return false
		}
		if r.Bad++; r.Bad == 1 {
			r.FirstBad = err.Error()
		}
		return false
	}
	r.Entries++
	if e.Version != Version || len(e.Unknown) > 0 {
		r.Newer++
	}
	return true
}

// Read reads a journal from its beginning and hands over each entry until visit returns false. The
// entry is valid until visit returns, its parts as long as they are wanted. The error is the
// reader's.
func Read(from io.Reader, visit func(*Entry) bool) (ReadReport, error) {
	var report ReadReport
	r := bufio.NewReaderSize(from, maxLine+2)
	var e Entry
	for {
		line, err := r.ReadSlice('\n')
		report.Octets += int64(len(line))
		whole := err == nil
		if whole {
			line = line[:len(line)-1]
		}
		tooLong := len(line) > maxLine
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.ReadSlice('\n')
			report.Octets += int64(len(line))
		}
		if tooLong {
			report.Long++
		} else if report.take(line, whole, &e) && !visit(&e) {
			return report, nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return report, nil
		case err != nil:
			return report, err
		}
	}
}

// backBlock is how much a backward reader reads at a time.
const backBlock = 128 << 10

// backward reads the lines of a file from its end.
type backward struct {
	r    io.ReaderAt
	at   int64  // where buf begins in the file
	buf  []byte // read, but not handed over
	room []byte
	skip bool // what buf ends with belongs to a line that is too long
	torn bool // the next line has no end
}

func newBackward(r io.ReaderAt, size int64) *backward {
	return &backward{r: r, at: size, torn: true}
}

// next returns the line before the last one, without its end, io.EOF at the beginning. whole is
// false for a last line without an end, long for one that is too long, of which nothing is
// returned.
func (b *backward) next() (line []byte, whole, long bool, err error) {
	for {
		if i := bytes.LastIndexByte(b.buf, '\n'); i >= 0 {
			line = b.buf[i+1:]
			b.buf = b.buf[:i]
			whole, b.torn = !b.torn, false
			long = b.skip || len(line) > maxLine
			b.skip = false
			return line, whole, long, nil
		}
		if b.at == 0 {
			break
		}
		if len(b.buf) > maxLine {
			b.skip, b.buf = true, b.buf[:0]
		}
		if err := b.fill(); err != nil {
			return nil, false, false, err
		}
	}
	if b.buf == nil {
		return nil, false, false, io.EOF
	}
	line, whole = b.buf, !b.torn
	long = b.skip || len(line) > maxLine
	b.buf = nil
	return line, whole, long, nil
}

// fill reads the block before buf.
func (b *backward) fill() error {
	n := min(backBlock, b.at)
	size := int(n) + len(b.buf)
	room := b.room
	if cap(room) < size {
		room = make([]byte, max(size, 2*backBlock))
	}
	room = room[:size]
	copy(room[n:], b.buf) // of the same octets, perhaps: copy minds
	if got, err := b.r.ReadAt(room[:n], b.at-n); int64(got) < n {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file was made shorter while it was read")
		}
		return err
	}
	b.at -= n
	b.room, b.buf = room, room
	return nil
}
