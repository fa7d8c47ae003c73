package journal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// DefaultMaxRead is how much of the files one search reads, in octets.
const DefaultMaxRead = 1 << 30

// clockSlack is how far the times of neighbouring lines may be out of order.
const clockSlack = time.Minute

// Archive is the files of a journal, to be read whether a gate writes them or not. Compressed files
// are not read.
type Archive struct {
	path    string
	secret  []byte
	maxRead int64
}

// NewArchive reads the files that a journal of this configuration writes.
func NewArchive(cfg Config) *Archive {
	return &Archive{path: cfg.Path, secret: cfg.Secret, maxRead: DefaultMaxRead}
}

// Bounded is the same files, of which one call may read so many octets in place of DefaultMaxRead.
func (a *Archive) Bounded(octets int64) *Archive {
	bounded := *a
	bounded.maxRead = octets
	return &bounded
}

// Find returns the entry with a reference. ok is false if there is none.
func (a *Archive) Find(ctx context.Context, ref string) (e Entry, ok bool, r ReadReport, err error) {
	if ref == "" {
		return e, false, r, nil
	}
	found, r, err := a.Search(ctx, Filter{Ref: ref, Limit: 1})
	if len(found) == 0 {
		return e, false, r, err
	}
	return found[0], true, r, err
}

// Search returns the entries that a filter wants, the newest first, at most its limit. The error is
// the filter's, a file's or that of ctx; what was found before it is returned with it.
func (a *Archive) Search(ctx context.Context, f Filter) ([]Entry, ReadReport, error) {
	var found []Entry
	report, err := a.Each(ctx, f, func(e *Entry) bool {
		found = append(found, *e)
		return !f.full(len(found))
	})
	return found, report, err
}

// Each hands over the entries that a filter wants, the newest first, until visit returns false. It
// does not keep to the filter's limit.
func (a *Archive) Each(
	ctx context.Context, f Filter, visit func(*Entry) bool,
) (report ReadReport, err error) {
	m, err := f.compile(a.secret)
	if err != nil || a.path == "" {
		return report, err
	}
	files, packed, err := filesOf(a.path)
	if err != nil {
		return report, err
	}
	report.Compressed = packed
	s := search{matcher: m, report: &report, left: a.maxRead, visit: visit}
	for _, file := range files {
		if !m.From.IsZero() && file.written.Before(m.From.Add(-clockSlack)) {
			continue
		}
		if more, err := s.file(ctx, file.name); err != nil || !more {
			return report, err
		}
	}
	return report, nil
}

// search is one search on its way through the files.
type search struct {
	*matcher

	report *ReadReport
	left   int64
	visit  func(*Entry) bool
	entry  Entry
}

// file goes through one file from its end. more is false when the search is over.
func (s *search) file(ctx context.Context, name string) (more bool, err error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // rotated since
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	s.report.Files++
	b := newBackward(file, info.Size())
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		line, whole, long, err := b.next()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		s.report.Octets += int64(len(line))
		if s.left -= int64(len(line)) + 1; s.left < 0 {
			s.report.Bounded = true
			return false, nil
		}
		if more, past := s.line(line, whole, long); past {
			return true, nil
		} else if !more {
			return false, nil
		}
	}
}

// line judges one line. past: it and all before it are older than what is wanted.
func (s *search) line(line []byte, whole, long bool) (more, past bool) {
	switch {
	case long:
		s.report.Long++
		return true, false
	case !s.worth(line) || !s.report.take(line, whole, &s.entry):
		return true, false
	case !s.From.IsZero() && s.entry.Time.Before(s.From.Add(-clockSlack)):
		return true, true
	case s.match(&s.entry):
		return s.visit(&s.entry), false
	}
	return true, false
}

// Find returns the entry with a reference: from memory, or else from the files, the newest first.
func (j *Journal) Find(ref string) (Entry, bool) { return j.find(context.Background(), ref) }

func (j *Journal) find(ctx context.Context, ref string) (Entry, bool) {
	if j == nil || ref == "" {
		return Entry{}, false
	}
	if found := j.Search(Filter{Ref: ref, Limit: 1}); len(found) > 0 {
		return found[0], true
	}
	e, ok, report, err := j.Archive().Find(ctx, ref)
	if err != nil {
		j.log.Warn("journal: the files could not be searched", "error", err,
			"files", report.Files, "hint", remedy(err))
	}
	return e, ok
}

// Archive is the journal's files.
func (j *Journal) Archive() *Archive {
	if j == nil {
		return NewArchive(Config{})
	}
	j.keep.Lock()
	defer j.keep.Unlock()
	return j.archive
}

// Search returns the entries in memory that a filter wants, the newest first, at most its limit. A
// filter that is wrong finds nothing; Filter.Check tells.
func (j *Journal) Search(f Filter) []Entry {
	var found []Entry
	j.Each(f, func(e *Entry) bool {
		found = append(found, *e)
		return !f.full(len(found))
	})
	return found
}

// Each hands over the entries in memory that a filter wants, the newest first, until visit returns
// false. It does not keep to the filter's limit.
func (j *Journal) Each(f Filter, visit func(*Entry) bool) {
	if j == nil {
		return
	}
	recent, refusals, secret := j.views()
	defer j.closeViews()
	m, err := f.compile(secret)
	if err != nil {
		return
	}
	_ = m.values(recent, visit) && m.memory(refusals, visit)
}

// views are what memory holds now, with what is pending.
func (j *Journal) views() (recent []span, refusals []segment, secret []byte) {
	j.keep.Lock()
	defer j.keep.Unlock()
	j.gatherLocked()
	return j.recent.view(), j.refusals.view(), j.archive.secret
}

func (j *Journal) closeViews() {
	j.keep.Lock()
	defer j.keep.Unlock()
	j.recent.closeView()
	j.refusals.closeView()
}

// values goes through items from their end, until visit returns false.
func (m *matcher) values(view []span, visit func(*Entry) bool) bool {
	var e Entry
	var f formatter
	for i := len(view) - 1; i >= 0; i-- {
		s := &view[i]
		f.in(s.form)
		for k := s.end - 1; k >= s.first; k-- {
			mark, it := &s.marks[k], &s.items[k]
			if m.Refused && !mark.refused || !m.within(mark.at) || !m.mayBe(it) {
				continue
			}
			line := bytes.TrimSuffix(f.format(it), []byte("\n"))
			if !m.worth(line) || e.decode(line) != nil || !m.match(&e) {
				continue
			}
			if !visit(&e) {
				return false
			}
		}
	}
	return true
}

// within reports whether a time to the millisecond may be wanted.
func (m *matcher) within(at int64) bool {
	return (m.From.IsZero() || at >= m.From.UnixMilli()) && (m.To.IsZero() || at <= m.To.UnixMilli())
}

// mayBe reports whether an item may match, before its line is written.
func (m *matcher) mayBe(it *item) bool {
	var reason string
	if it.result.said != nil {
		reason = string(it.result.reason)
	}
	return same(m.Ref, it.ref) && same(m.Session, it.session) && same(m.Transaction, it.id) &&
		same(m.Rule, it.rule) && same(m.Reason, reason)
}

// same is false only if what is wanted cannot be what got looks like in a line: neither escaped nor
// cut, plain text is itself.
func same(wanted, got string) bool {
	return wanted == "" || wanted == got || len(wanted) >= maxText || !isPlain(wanted)
}

// memory goes through a ring from its end, until visit returns false.
func (m *matcher) memory(view []segment, visit func(*Entry) bool) bool {
	var e Entry
	for i := len(view) - 1; i >= 0; i-- {
		s := &view[i]
		for k := len(s.lines) - 1; k >= s.first; k-- {
			ref := &s.lines[k]
			if m.Refused && !ref.refused || !m.within(ref.at) {
				continue
			}
			line := bytes.TrimSuffix(s.data[ref.from:ref.to], []byte("\n"))
			if !m.worth(line) || e.decode(line) != nil || !m.match(&e) {
				continue
			}
			if !visit(&e) {
				return false
			}
		}
	}
	return true
}
