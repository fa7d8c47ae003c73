package bulk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

// Format is how the result is written.
type Format string

// The formats.
const (
	CSV   Format = "csv"   // the rows of the list with more columns
	JSONL Format = "jsonl" // a JSON object a line
)

// ErrChanged says that the list is not what it was when it was read first.
var ErrChanged = errors.New("the list was changed while it was being checked")

// columns are the names of the columns behind those of the list.
func columns() []string {
	return []string{
		"verdict", "reason", "confidence", "deliverability", "provider", "mx", "reply_code", "checked_at",
	}
}

// Write writes all rows with what is known of them, in the order of the list.
func (r *Run) Write(to io.Writer, format Format) error {
	w := &rowWriter{run: r, out: bufio.NewWriterSize(to, 64<<10), format: format}
	sum, err := r.list.each(w.row)
	switch {
	case err != nil:
		return err
	case sum != r.list.Sum:
		return ErrChanged
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}

// rowWriter writes one result.
type rowWriter struct {
	run    *Run
	out    *bufio.Writer
	format Format

	at     int // of the next row
	names  []string
	fields []string
	line   []byte
}

func (w *rowWriter) row(in *records, first bool) error {
	d := w.run.list.Dialect
	w.fields = splitRecord(w.fields[:0], in.raw, d.Delim)
	w.line = w.line[:0]
	if first && d.BOM && w.format == CSV {
		w.line = append(w.line, bom...)
	}
	if first {
		w.head(in.raw)
	}
	if !first || !d.Header {
		if w.at >= len(w.run.list.rows) {
			return ErrChanged
		}
		a := Answer{Verdict: verify.Unknown, Reason: Syntax}
		n := w.run.list.rows[w.at]
		if n != noAddress {
			a = w.run.state.answers[n]
		}
		w.at++
		if w.format == JSONL {
			if err := w.object(n, &a); err != nil {
				return err
			}
		} else {
			w.extend(in.raw, a.fields())
		}
	}
	if _, err := w.out.Write(w.line); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}

// head writes the names of the columns, which a list without a header gets too.
func (w *rowWriter) head(raw []byte) {
	l := w.run.list
	if l.Dialect.Header {
		w.names = append([]string(nil), w.fields...)
	} else {
		var row []string
		for i := range l.width {
			name := "column_" + strconv.Itoa(i+1)
			if i == l.Dialect.Column {
				name = "address"
			}
			row = append(row, name)
		}
		raw = []byte(strings.Join(row, string(l.Dialect.Delim)))
	}
	if w.format == JSONL {
		return
	}
	own := columns()
	for _, name := range own {
		for _, theirs := range w.names {
			if strings.EqualFold(strings.TrimSpace(theirs), name) {
				own = prefixed(own)
				break
			}
		}
	}
	fields := len(w.fields)
	if !l.Dialect.Header {
		fields = l.width
	}
	w.extendFrom(raw, fields, own)
}

func prefixed(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "rcptgate_" + name
	}
	return out
}

// extend writes a row of the list with more fields.
func (w *rowWriter) extend(raw []byte, more []string) { w.extendFrom(raw, len(w.fields), more) }

func (w *rowWriter) extendFrom(raw []byte, fields int, more []string) {
	d := w.run.list.Dialect
	w.line = append(w.line, raw...)
	for range w.run.list.width - fields {
		w.line = append(w.line, d.Delim)
	}
	for _, field := range more {
		w.line = append(w.line, d.Delim)
		w.line = appendField(w.line, field, d.Delim)
	}
	if d.CRLF {
		w.line = append(w.line, '\r')
	}
	w.line = append(w.line, '\n')
}

// appendField quotes a field if it has to be.
func appendField(b []byte, field string, delim byte) []byte {
	if strings.IndexByte(field, delim) < 0 && !strings.ContainsAny(field, "\"\r\n") {
		return append(b, field...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(field, `"`, `""`)...)
	return append(b, '"')
}

// fields are in the order of columns.
func (a *Answer) fields() []string {
	code := ""
	if a.Code > 0 {
		code = strconv.Itoa(a.Code)
	}
	return []string{
		string(a.Verdict), string(a.Reason), share(a.Confidence), share(a.Deliverability),
		a.Provider, a.MX, code, a.time(),
	}
}

func (a *Answer) time() string {
	if a.Checked.IsZero() {
		return ""
	}
	return a.Checked.UTC().Format(time.RFC3339)
}

// share has three digits, which is more than is meant.
func share(f float32) string { return strconv.FormatFloat(float64(f), 'f', 3, 32) }

// jsonRow is a line of JSONL. Input is the row as it came: an object where the list has names for its
// columns, an array otherwise.
type jsonRow struct {
	Input          json.RawMessage `json:"input"`
	Address        string          `json:"address"`
	Verdict        string          `json:"verdict"`
	Reason         string          `json:"reason"`
	Confidence     json.Number     `json:"confidence"`
	Deliverability json.Number     `json:"deliverability"`
	Provider       string          `json:"provider"`
	MX             string          `json:"mx"`
	ReplyCode      int             `json:"reply_code"`
	CheckedAt      string          `json:"checked_at"`
}

func (w *rowWriter) object(n int32, a *Answer) error {
	input, err := w.input()
	if err != nil {
		return err
	}
	row := jsonRow{
		Input: input, Verdict: string(a.Verdict), Reason: string(a.Reason),
		Confidence: json.Number(share(a.Confidence)), Deliverability: json.Number(share(a.Deliverability)),
		Provider: a.Provider, MX: a.MX, ReplyCode: a.Code, CheckedAt: a.time(),
	}
	if n != noAddress {
		row.Address = w.run.list.addresses[n]
	}
	line, err := encode(row)
	w.line = append(append(w.line, line...), '\n')
	return err
}

// encode is json.Marshal that leaves <, > and & as they are: addresses are written with them.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func (w *rowWriter) input() ([]byte, error) {
	if w.names == nil {
		return encode(w.fields)
	}
	b := []byte{'{'}
	for i, field := range w.fields {
		name := "column_" + strconv.Itoa(i+1)
		if i < len(w.names) {
			name = w.names[i]
		}
		key, err := encode(name)
		if err != nil {
			return nil, err
		}
		value, err := encode(field)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}
