package register

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// maxProblems is how many bad rows a report tells one by one.
const maxProblems = 100

// ImportOptions is what is not said by the rows.
type ImportOptions struct {
	Reason  Reason    // of rows without one; "" is Import
	Scope   Scope     // of rows without one
	Expires time.Time // of rows that do not say; zero is never
	Source  string    // of rows without one; "" is "import"
	// Strict imports nothing if there is a bad row. Otherwise the others are imported.
	Strict bool
	// Keep leaves what is suppressed already, in the same scope, as it is. Otherwise the row takes
	// its place.
	Keep bool
}

// ImportReport is what an import came to. Rows = Added + Replaced + Kept + Skipped + Failed, if it
// was not cut short and there is no Strict.
type ImportReport struct {
	Rows     int // with anything in them, without the header
	Added    int
	Replaced int // also by a later row for the same address
	Kept     int // as ImportOptions.Keep says
	Skipped  int // rows that themselves say that they do not suppress: soft bounces, expired ones
	Failed   int // bad rows

	Unknown  []string    // columns that are not used
	Problems []LineError // the first hundred rows that were skipped or failed, and why
}

// ImportCSV adds the suppressions of a CSV file, as the package describes them. The report is good
// also if there is an error: that of reading, of the disk, ErrFull, or with Strict that there are
// bad rows; then nothing was imported.
func (r *Register) ImportCSV(in io.Reader, opts ImportOptions) (ImportReport, error) {
	if r == nil {
		return ImportReport{}, ErrClosed
	}
	if opts.Reason == "" {
		opts.Reason = Import
	}
	if opts.Source == "" {
		opts.Source = "import"
	}
	reader, err := newCSVReader(in)
	if err != nil {
		return ImportReport{}, err
	}
	m := importing{register: r, opts: opts, now: time.Now()}
	if err := m.rows(reader); err != nil {
		return m.report, err
	}
	if opts.Strict && m.report.Failed > 0 {
		return m.report, fmt.Errorf("%d bad rows, the first in %w: nothing is imported",
			m.report.Failed, m.firstFailed)
	}
	return m.report, m.commit()
}

// importing is one import.
type importing struct {
	register    *Register
	opts        ImportOptions
	now         time.Time
	cols        columns
	batch       []change
	firstFailed LineError
	report      ImportReport
}

func (m *importing) rows(reader *csvReader) error {
	for {
		cells, line, err := reader.next()
		var bad rowError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			m.report.Rows++
			m.failed(line, bad)
			continue
		case err != nil:
			return err
		}
		if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
			continue
		}
		if m.cols == nil {
			var header bool
			if m.cols, header, m.report.Unknown, err = parseHeader(cells); err != nil {
				return err
			}
			if header {
				continue
			}
		}
		m.report.Rows++
		if err := m.row(cells, line); err != nil {
			return err
		}
	}
}

// row takes a row into the batch. The error is that of the list, not of the row.
func (m *importing) row(cells []string, line int) error {
	s, err := m.cols.suppression(cells, &m.opts, m.now)
	var rec *record
	if err == nil {
		rec, err = newRecord(&s)
	}
	if err == nil && !rec.inForce(m.now.Unix()) {
		err = skipped("it has expired")
	}
	if why, skip := errors.AsType[skipped](err); skip {
		m.report.Skipped++
		m.problem(line, why)
		return nil
	}
	if err != nil {
		m.failed(line, err)
		return nil
	}
	if m.opts.Keep {
		if old := m.register.table.get([]byte(rec.key())); old != nil && old.inForce(m.now.Unix()) {
			m.report.Kept++
			return nil
		}
	}
	m.batch = append(m.batch, change{rec.key(), rec})
	limit := batchSize
	if m.opts.Strict {
		// All of them wait: no more than the list could take.
		limit = m.register.cfg.Load().maxEntries() + 1
	}
	if len(m.batch) < limit {
		return nil
	}
	if m.opts.Strict {
		return m.register.errFull()
	}
	return m.commit()
}

func (m *importing) commit() error {
	done, err := m.register.commit(m.batch)
	m.report.Added += done.added
	m.report.Replaced += done.replaced
	m.batch = m.batch[:0]
	return err
}

func (m *importing) failed(line int, err error) {
	if m.report.Failed == 0 {
		m.firstFailed = LineError{line, err.Error()}
	}
	m.report.Failed++
	m.problem(line, err)
}

func (m *importing) problem(line int, err error) {
	if len(m.report.Problems) < maxProblems {
		m.report.Problems = append(m.report.Problems, LineError{line, err.Error()})
	}
}

// ExportCSV writes all suppressions, in the order of their addresses. Imported into an empty list
// they give the same export, octet for octet.
func (r *Register) ExportCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	if err := w.Write(exportHeader); err != nil {
		return err
	}
	var all []*record
	if r != nil {
		now := time.Now().Unix()
		all = make([]*record, 0, r.table.total.Load())
		r.table.each(func(rec *record) bool {
			if rec.inForce(now) {
				all = append(all, rec)
			}
			return true
		})
	}
	slices.SortFunc(all, byKey)
	row := make([]string, len(exportHeader))
	var buf []byte
	for _, rec := range all {
		expires := never
		if rec.expires != 0 {
			buf = appendTime(buf[:0], rec.expires)
			expires = string(buf)
		}
		row[0], row[1], row[2], row[3] = rec.address(), string(reasons[rec.reason]),
			rec.scope().String(), expires
		row[4], row[5] = rec.evidence(), rec.source.Value()
		buf = appendTime(buf[:0], rec.created)
		row[6] = string(buf)
		buf = appendReply(buf[:0], int(rec.code), rec.enhancedCode())
		row[7], row[8] = string(buf), strconv.Itoa(int(rec.bounces))
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
