package register

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

const (
	// maxRow bounds a row, its quoted line breaks included.
	maxRow = 64 << 10
	// maxCells bounds the cells that are looked at.
	maxCells = 256
)

// rowError is a row that cannot be read. Reading goes on at the next line.
type rowError string

// Error is the fault.
func (e rowError) Error() string { return string(e) }

const (
	errQuoteOpen = rowError("a quote is not closed within 64 KiB")
	errQuoteEnd  = rowError(`a closing quote is followed by something else: a quote in a cell is ""`)
	errRowLong   = rowError("the row is longer than 64 KiB")
	errRowCells  = rowError("the row has more than 256 cells")
)

// csvReader reads RFC 4180, with LF as well as CRLF, and with a quote in the middle of a cell taken
// as it is. encoding/csv would do, but for a quote that is not closed: it takes all that follows
// for one cell, whatever its size.
type csvReader struct {
	br    *bufio.Reader
	comma byte
	line  int // of the row that comes next
	cells []string
}

func newCSVReader(r io.Reader) (*csvReader, error) {
	br := bufio.NewReaderSize(r, 2*maxRow)
	head, err := br.Peek(maxRow)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return nil, errors.New("the file is in UTF-16: save it as CSV in UTF-8")
	}
	if bytes.HasPrefix(head, []byte("\ufeff")) {
		_, _ = br.Discard(len("\ufeff"))
		head = head[len("\ufeff"):]
	}
	return &csvReader{br: br, comma: separator(head), line: 1}, nil
}

// separator is what the cells of the first line stand between: commas, or the semicolons or tabs
// that spreadsheets write in some countries.
func separator(head []byte) byte {
	first, _, _ := bytes.Cut(head, []byte("\n"))
	for _, c := range []byte(",;\t") {
		if bytes.IndexByte(first, c) >= 0 {
			return c
		}
	}
	return ','
}

// next returns the cells of the next row and the line it begins in. They are good until the next
// call. The error is io.EOF at the end, a rowError, or that of reading.
func (r *csvReader) next() (cells []string, line int, err error) {
	line = r.line
	window, err := r.br.Peek(maxRow)
	if len(window) == 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, line, err
	}
	n, fault := r.parse(window, err != nil)
	if fault != nil {
		if err := r.skipLine(window); err != nil {
			return nil, line, err
		}
		return nil, line, fault
	}
	r.line += bytes.Count(window[:n], []byte("\n"))
	_, err = r.br.Discard(n)
	return r.cells, line, err
}

// skipLine passes over a line that may be longer than the window.
func (r *csvReader) skipLine(window []byte) error {
	r.line++
	for {
		end := bytes.IndexByte(window, '\n')
		if end >= 0 {
			_, err := r.br.Discard(end + 1)
			return err
		}
		if _, err := r.br.Discard(len(window)); err != nil {
			return err
		}
		var err error
		if window, err = r.br.Peek(maxRow); len(window) == 0 {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// parse cuts one row off the window and returns how long it is. last says that nothing follows the
// window.
func (r *csvReader) parse(window []byte, last bool) (n int, fault error) {
	end, fault := r.rowEnd(window, last)
	if fault != nil {
		return 0, fault
	}
	text := string(window[:end])
	row := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	r.cells = r.cells[:0]
	for {
		if len(r.cells) == maxCells {
			return 0, errRowCells
		}
		var cell string
		var more bool
		if strings.HasPrefix(row, `"`) {
			cell, row, more, fault = r.cutQuoted(row[1:])
			if fault != nil {
				return 0, fault
			}
		} else {
			cell, row, more = strings.Cut(row, string(rune(r.comma)))
		}
		r.cells = append(r.cells, cell)
		if !more {
			return end, nil
		}
	}
}

// rowEnd is where the row ends: behind its line break, which is the first that is not in quotes.
func (r *csvReader) rowEnd(window []byte, last bool) (int, error) {
	start, quoted := true, false // at the start of a cell; in a quoted one
	for i, c := range window {
		switch {
		case c == '"' && (start || quoted):
			// "" within quotes leaves them and, as if it began a cell, enters them again.
			quoted, start = !quoted, quoted
			continue
		case quoted:
		case c == '\n':
			return i + 1, nil
		case c == r.comma:
			start = true
			continue
		}
		start = false
	}
	switch {
	case quoted:
		return 0, errQuoteOpen
	case !last:
		return 0, errRowLong
	}
	return len(window), nil
}

// cutQuoted cuts a cell off whose opening quote is gone.
func (r *csvReader) cutQuoted(row string) (cell, rest string, more bool, fault error) {
	from := 0
	for {
		end := strings.IndexByte(row[from:], '"')
		if end < 0 {
			return "", "", false, errQuoteOpen
		}
		end += from
		rest = row[end+1:]
		switch {
		case rest == "" || rest[0] == r.comma:
			cell = strings.ReplaceAll(row[:end], `""`, `"`)
			if rest != "" {
				return cell, rest[1:], true, nil
			}
			return cell, "", false, nil
		case rest[0] != '"':
			return "", "", false, errQuoteEnd
		}
		from = end + 2
	}
}
