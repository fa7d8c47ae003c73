package register

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is far beyond the longest line there can be.
const maxLine = 16 << 10

// versioned begins every file, before its name and version.
const versioned = "rcptgate "

// found is what reading a file came to.
type found struct {
	lines   int   // entries, not damaged
	size    int64 // of its whole lines
	torn    bool  // octets stood behind them
	damaged int
	first   []LineError // the first of the damaged ones
}

// maxShown is how many bad lines are shown one by one.
const maxShown = 20

func (f *found) damage(line int, detail string) {
	f.damaged++
	if len(f.first) < maxShown {
		f.first = append(f.first, LineError{line, detail})
	}
}

// readLines passes the lines of a file to take, but for the first, which must be version, comments
// and damaged ones. It fails only if it cannot read or the version is another.
func readLines(r io.Reader, version string, take func(line string) error) (found, error) {
	var f found
	lines := lineReader{r: r, buf: make([]byte, 4*maxLine)}
	for number := 1; ; number++ {
		line, size, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			f.torn = size > 0
			return f, nil
		case err != nil:
			return f, fmt.Errorf("state cannot be read: %w", err)
		}
		f.size += size
		switch {
		case size > maxLine:
			f.damage(number, "it is too long")
			continue
		case number == 1 && line == version || strings.HasPrefix(line, "#"):
			continue
		case number == 1 && strings.HasPrefix(line, versioned):
			return f, fmt.Errorf("it is of another version (%s, not %s): run the rcptgate that "+
				"wrote it, or move it away to begin without", quote(line), quote(version))
		}
		err = take(line)
		if err == nil {
			f.lines++
		}
		if number == 1 {
			err = errors.New("the version is missing: " + quote(version))
		}
		if err != nil {
			f.damage(number, err.Error())
		}
	}
}

// lineReader cuts lines off large strings: one allocation for hundreds of them.
type lineReader struct {
	r      io.Reader
	buf    []byte
	text   string // what was read and not cut off yet
	passed int64  // octets of the next line that are gone, since it is too long
}

// next returns the next line without its end, or only a part of it if it is longer than maxLine.
// size is that of the whole line with its end. With an error, io.EOF at the end, size is that of
// what stands there without an end.
func (l *lineReader) next() (line string, size int64, err error) {
	for {
		if end := strings.IndexByte(l.text, '\n'); end >= 0 {
			line, size = l.text[:end], l.passed+int64(end)+1
			l.text, l.passed = l.text[end+1:], 0
			return line, size, nil
		}
		if len(l.text) > maxLine {
			l.passed += int64(len(l.text))
			l.text = ""
		}
		n := copy(l.buf, l.text)
		more, err := l.r.Read(l.buf[n:])
		l.text = string(l.buf[:n+more])
		if more == 0 && err != nil {
			return "", l.passed + int64(n), err
		}
	}
}
