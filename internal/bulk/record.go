package bulk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxRecord is the longest row, in octets.
const maxRecord = 1 << 20

// quoting is where a reader of CSV is within a row.
type quoting int

const (
	fieldStart quoting = iota
	plain              // in a field without quotes, or behind the closing one
	quoted             // between quotes
	quoteSeen          // a quote within quotes: the end, or the first of two
)

// after moves on over octets of a row.
func (q quoting) after(octets []byte, delim byte) quoting {
	for _, c := range octets {
		switch {
		case q == quoted:
			if c == '"' {
				q = quoteSeen
			}
		case c == '"' && (q == fieldStart || q == quoteSeen):
			q = quoted
		case c == delim:
			q = fieldStart
		default:
			q = plain
		}
	}
	return q
}

// records reads the rows of a list.
type records struct {
	r     *bufio.Reader
	delim byte

	raw   []byte // the row without its line end, good until the next call
	line  int    // where the row begins, from 1
	lines int    // read so far
	crlf  bool   // the row ended with CRLF
}

func newRecords(r io.Reader, delim byte) *records {
	return &records{r: bufio.NewReaderSize(r, 64<<10), delim: delim}
}

// next reads a row that is not empty. The error is io.EOF at the end, or a listError.
func (r *records) next() error {
	for {
		if err := r.one(); err != nil {
			return err
		}
		if len(bytes.TrimSpace(r.raw)) > 0 {
			return nil
		}
	}
}

func (r *records) one() error {
	r.raw, r.line = r.raw[:0], r.lines+1
	state := fieldStart
	for {
		piece, err := r.r.ReadSlice('\n')
		r.raw = append(r.raw, piece...)
		if len(r.raw) > maxRecord {
			return &listError{
				text: fmt.Sprintf("line %d: the row is longer than 1 MiB", r.line),
				hint: `a quote (") that is opened there may never be closed; write "" for one in a field`,
			}
		}
		end := err == nil // or only the buffer is full
		if body := bytes.TrimSuffix(piece, []byte("\n")); end && state.after(body, r.delim) != quoted {
			r.lines++
			r.raw = bytes.TrimSuffix(r.raw, []byte("\n"))
			r.crlf = bytes.HasSuffix(r.raw, []byte("\r"))
			r.raw = bytes.TrimSuffix(r.raw, []byte("\r"))
			return nil
		}
		state = state.after(piece, r.delim)
		switch {
		case end:
			r.lines++
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return r.last(state)
		default:
			return err
		}
	}
}

// last is for a row that the end of the list ends.
func (r *records) last(state quoting) error {
	switch {
	case len(r.raw) == 0:
		return io.EOF
	case state == quoted:
		return &listError{
			text: fmt.Sprintf("line %d: a quote (\") that is opened in this row is never closed", r.line),
			hint: `close it, or write "" for a quote within a quoted field`,
		}
	}
	r.lines++
	r.crlf = false
	r.raw = bytes.TrimSuffix(r.raw, []byte("\r"))
	return nil
}

// splitRecord appends the fields of a row to fields. A field that has more behind its closing quote is
// taken as it is written.
func splitRecord(fields []string, raw []byte, delim byte) []string {
	for {
		value, rest, more := cutField(raw, delim)
		fields = append(fields, value)
		if !more {
			return fields
		}
		raw = rest
	}
}

// cutField returns the first field of raw, and what is behind its delimiter if there is one.
func cutField(raw []byte, delim byte) (value string, rest []byte, more bool) {
	state, end := fieldStart, len(raw)
	closed := -1 // where the closing quote of a field is that begins with one
	for i, c := range raw {
		if c == delim && state != quoted {
			end, more = i, true
			break
		}
		was := state
		state = state.after(raw[i:i+1], delim)
		if state == quoteSeen {
			closed = i
		} else if was == quoteSeen && state == quoted {
			closed = -1 // it was the first of two
		}
	}
	if more {
		rest = raw[end+1:]
	}
	field := raw[:end]
	if len(field) > 1 && field[0] == '"' && closed == end-1 {
		return strings.ReplaceAll(string(field[1:closed]), `""`, `"`), rest, more
	}
	return string(field), rest, more
}

// listError is a fault of a list or of how it is to be read. The hint is the next step.
type listError struct{ text, hint string }

func (e *listError) Error() string { return e.text }

// Hint tells a person what to do about an error of this package; "" if there is nothing to tell.
func Hint(err error) string {
	if e, ok := errors.AsType[*listError](err); ok {
		return e.hint
	}
	return ""
}

// Usage reports whether an error is about what was asked for, and not about what went wrong.
func Usage(err error) bool {
	_, ok := errors.AsType[*listError](err)
	return ok
}
