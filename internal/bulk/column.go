package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	sampleOctets = 256 << 10 // from which dialect and column are found
	sampleRows   = 1000
)

// The values of ListOptions.Header.
const (
	HeaderAuto = "auto"
	HeaderYes  = "yes"
	HeaderNo   = "no"
)

// Dialect is how a list is written.
type Dialect struct {
	Delim  byte // between fields
	Column int  // of the addresses, from 0
	Header bool // the first row has the names of the columns
	BOM    bool // it begins with a byte order mark
	CRLF   bool // its first row ends so
}

// ListOptions say how a list is to be read. The zero value finds everything out.
type ListOptions struct {
	Column string // the name of the column of addresses, or its number from 1; "": found
	Header string // HeaderAuto (or ""), HeaderYes or HeaderNo
	Spool  string // the directory where a list that cannot be read twice is copied to; "": the system's
}

var errNoAddresses = &listError{
	text: "the list has no addresses in it",
	hint: "give one address a line, or CSV with a column of addresses",
}

// detect finds out how a list is written. sample is its beginning, whole if all is true.
func detect(sample []byte, all bool, o ListOptions) (Dialect, error) {
	var d Dialect
	if bytes.HasPrefix(sample, []byte("\xff\xfe")) || bytes.HasPrefix(sample, []byte("\xfe\xff")) {
		return d, &listError{text: "the list is written in UTF-16", hint: `save it as "CSV UTF-8"`}
	}
	sample, d.BOM = bytes.CutPrefix(sample, []byte(bom))
	if !all {
		// Without its last line, which is cut somewhere.
		sample = sample[:bytes.LastIndexByte(sample, '\n')+1]
	}
	var best *guess
	for _, delim := range []byte{',', ';', '\t', '|'} {
		g, err := newGuess(sample, all, delim, o)
		if err != nil && delim == ',' {
			return d, err
		}
		if err == nil && (best == nil || g.better(best)) {
			best = g
		}
	}
	if len(best.rows) == 0 {
		return d, errNoAddresses
	}
	d.Delim, d.CRLF = best.delim, best.crlf
	if best.fault != nil {
		return d, best.fault
	}
	d.Column, d.Header = best.column, best.header
	return d, nil
}

const bom = "\xef\xbb\xbf"

// guess is what a sample is if its delimiter is delim.
type guess struct {
	delim byte
	rows  [][]string
	crlf  bool
	width int // of most rows

	column int
	header bool
	fault  error // there is no column
}

func newGuess(sample []byte, all bool, delim byte, o ListOptions) (*guess, error) {
	g := &guess{delim: delim}
	r := newRecords(bytes.NewReader(sample), delim)
	for len(g.rows) < sampleRows {
		err := r.next()
		if errors.Is(err, io.EOF) || err != nil && !all && len(g.rows) > 0 {
			break // a row that goes on beyond the sample
		}
		if err != nil {
			return nil, err
		}
		if len(g.rows) == 0 {
			g.crlf = r.crlf
		}
		g.rows = append(g.rows, splitRecord(nil, r.raw, delim))
	}
	if len(g.rows) == 0 {
		return g, nil
	}
	widths := make(map[int]int)
	for _, row := range g.rows {
		n := len(row)
		if widths[n]++; widths[n] > widths[g.width] || widths[n] == widths[g.width] && n > g.width {
			g.width = n
		}
	}
	g.fault = g.find(o)
	return g, nil
}

// better prefers the delimiter that gives a column, and then the one that gives most columns.
func (g *guess) better(than *guess) bool {
	if (g.fault == nil) != (than.fault == nil) {
		return g.fault == nil
	}
	return g.width > than.width
}

// find sets column and header.
func (g *guess) find(o ListOptions) error {
	first := g.rows[0]
	if n, err := strconv.Atoi(o.Column); err == nil {
		if n < 1 || n > g.width {
			return &listError{
				text: fmt.Sprintf("there is no column %d: the list has %d", n, g.width),
				hint: "count from 1, or give the column's name",
			}
		}
		g.column = n - 1
		g.header = o.Header == HeaderYes || o.Header != HeaderNo && isName(first, g.column)
		return nil
	}
	if o.Column != "" {
		return g.named(o)
	}
	shares := g.shares()
	var found []int
	for i, share := range shares {
		if share >= 0.5 {
			found = append(found, i)
		}
	}
	if len(found) > 1 {
		if mail := likelyNames(first, found); len(mail) == 1 {
			found = mail
		}
	}
	switch len(found) {
	case 0:
		return &listError{
			text: "no column of the list looks like addresses",
			hint: "name it with --column NAME, or --column 3 for the third",
		}
	case 1:
		g.column = found[0]
		g.header = o.Header == HeaderYes || o.Header != HeaderNo && isName(first, g.column)
		return nil
	}
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = strconv.Itoa(c + 1)
		if c < len(first) && !isAddress(first[c]) {
			names[i] = fmt.Sprintf("%q", first[c])
		}
	}
	return &listError{
		text: "several columns look like addresses: " + strings.Join(names, ", "),
		hint: "choose one with --column",
	}
}

// named looks for a column by its name.
func (g *guess) named(o ListOptions) error {
	if o.Header == HeaderNo {
		return &listError{
			text: fmt.Sprintf("--column %q names a column, and --header no says that none has a name", o.Column),
			hint: "give the number of the column",
		}
	}
	for i, name := range g.rows[0] {
		if strings.EqualFold(strings.TrimSpace(name), strings.TrimSpace(o.Column)) {
			g.column, g.header = i, true
			return nil
		}
	}
	names := make([]string, len(g.rows[0]))
	for i, name := range g.rows[0] {
		names[i] = fmt.Sprintf("%q", name)
	}
	return &listError{
		text: fmt.Sprintf("no column is named %q: the first row has %s", o.Column,
			cut(strings.Join(names, ", "), 300)),
		hint: "give its number: --column 1 is the first",
	}
}

// shares tells for each column which part of its fields are addresses, of those that are not empty.
// A first row without any address is taken for a header.
func (g *guess) shares() []float64 {
	rows := g.rows
	if len(rows) > 1 && !anyAddress(rows[0]) {
		rows = rows[1:]
	}
	all, good := make([]int, g.width), make([]int, g.width)
	for _, row := range rows {
		for i, field := range row[:min(len(row), g.width)] {
			if strings.TrimSpace(field) == "" {
				continue
			}
			all[i]++
			if isAddress(field) {
				good[i]++
			}
		}
	}
	shares := make([]float64, g.width)
	for i := range shares {
		if all[i] > 0 {
			shares[i] = float64(good[i]) / float64(all[i])
		}
	}
	return shares
}

// likelyNames are those of the columns whose name says mail and address.
func likelyNames(header []string, columns []int) (likely []int) {
	for _, c := range columns {
		if c >= len(header) {
			continue
		}
		switch strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(header[c])) {
		case "email", "mail", "emailaddress", "mailaddress", "address", "emailadresse":
			likely = append(likely, c)
		}
	}
	return likely
}

func anyAddress(row []string) bool {
	for i := range row {
		if isHere(row, i) {
			return true
		}
	}
	return false
}

// isName reports whether a field is rather the name of a column than a misspelt address.
func isName(row []string, column int) bool {
	return column >= len(row) || !strings.Contains(row[column], "@")
}

func isHere(row []string, column int) bool { return column < len(row) && isAddress(row[column]) }

func isAddress(field string) bool {
	_, err := parseField(field)
	return err == nil
}

// parseField reads an address as people write them into lists.
func parseField(field string) (esmtp.Address, error) {
	text := strings.TrimSpace(field)
	if open := strings.LastIndexByte(text, '<'); open >= 0 && strings.HasSuffix(text, ">") {
		text = text[open+1 : len(text)-1] // Anna <anna@example.com>
	}
	if len(text) > 7 && strings.EqualFold(text[:7], "mailto:") {
		text = text[7:]
	}
	if text == "" {
		return esmtp.Address{}, errors.New("empty")
	}
	a, err := esmtp.ParseAddress(text, true)
	if err == nil && a.ASCIIDomain() == "" {
		err = errors.New("no domain")
	}
	return a, err
}

// cut shortens text for people.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
