package journal

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxTails   = 64
	maxTailing = 10_000
)

// Tail is a live view of a journal: the entries that a filter wants, from now on.
type Tail struct {
	// C has the entries. It is closed when the journal or the tail is. Those that find it full are
	// missed.
	C <-chan Entry

	c      chan Entry
	m      *matcher
	missed atomic.Uint64
	once   sync.Once
	close  func()
}

// Tail begins a live view with room for up to buffer entries, 1 to 10,000. The filter's limit and
// times mean nothing here. Close it. The error is the filter's, or that there are 64 already.
func (j *Journal) Tail(f Filter, buffer int) (*Tail, error) {
	if j == nil {
		return nil, errors.New("there is no journal")
	}
	f.From, f.To = time.Time{}, time.Time{}
	j.keep.Lock()
	defer j.keep.Unlock()
	m, err := f.compile(j.archive.secret)
	switch {
	case err != nil:
		return nil, err
	case j.tails == nil:
		return nil, errors.New("the journal is closed")
	case len(j.tails) >= maxTails:
		return nil, errors.New("there are 64 live views already: close one")
	}
	j.gatherLocked() // what came before is not new
	c := make(chan Entry, min(max(1, buffer), maxTailing))
	t := &Tail{C: c, c: c, m: m}
	t.close = func() {
		j.keep.Lock()
		defer j.keep.Unlock()
		delete(j.tails, t)
		t.end()
	}
	j.tails[t] = struct{}{}
	return t, nil
}

// Missed is how many entries found the channel full.
func (t *Tail) Missed() uint64 { return t.missed.Load() }

// Close ends the view.
func (t *Tail) Close() { t.close() }

// end closes the channel; the journal's lock is held.
func (t *Tail) end() { t.once.Do(func() { close(t.c) }) }

// offer hands over a line if it is wanted; the journal's lock is held.
func (t *Tail) offer(line []byte) {
	line = line[:len(line)-1]
	if !t.m.worth(line) {
		return
	}
	var e Entry
	if e.decode(line) != nil || !t.m.match(&e) {
		return
	}
	select {
	case t.c <- e:
	default:
		t.missed.Add(1)
	}
}
