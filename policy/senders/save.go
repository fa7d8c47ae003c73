package senders

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// fileName is the file of state, and fileFormat what its first line says it is.
const (
	fileName   = "senders.json"
	fileFormat = "rcptgate senders 1"
)

// mostLine bounds a line of the file. Most are below 1 kB; one of an account with all the limits
// that there may be stays below.
const mostLine = 256 << 10

// fileHeader is the first line.
type fileHeader struct {
	Format string    `json:"format"`
	Saved  time.Time `json:"saved"`
}

// saver is what save knows from one time to the next.
type saver struct {
	pending bool // what is in the file is not what should be
	failing bool // the last time failed, and that was logged
}

// save writes the file if something was counted since it was written last. It is called by one
// goroutine at a time.
func (t *Table) save() error {
	if t.dir == nil {
		return nil
	}
	for i := range t.shards {
		t.saver.pending = t.shards[i].clean() || t.saver.pending
	}
	if !t.saver.pending {
		return nil
	}
	log := t.plan.Load().log
	if err := t.dir.Write(fileName, t.writeTo); err != nil {
		if !t.saver.failing {
			log.Error("the state of senders cannot be saved; a restart would use the last that was",
				"file", t.dir.Path(fileName), "error", err)
		}
		t.saver.failing = true
		return err
	}
	if t.saver.failing {
		log.Info("the state of senders is saved again", "file", t.dir.Path(fileName))
	}
	t.saver = saver{}
	return nil
}

// clean reports whether something was counted since the last call.
func (s *shard) clean() (dirty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty, s.dirty = s.dirty, false
	return dirty
}

// writeTo writes the file, a shard at a time, so that memory and the time for which a lock is held
// stay small.
func (t *Table) writeTo(w io.Writer) error {
	now := time.Now()
	c, enc := clockAt(now), json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fileHeader{Format: fileFormat, Saved: now.UTC()}); err != nil {
		return fmt.Errorf("senders cannot be written: %w", err)
	}
	var list []account
	for i := range t.shards {
		list = t.shards[i].copies(list[:0])
		for j := range list {
			a := &list[j]
			if !utf8.ValidString(a.key.name) || !utf8.ValidString(a.key.domain) {
				continue // JSON cannot hold it
			}
			if err := enc.Encode(a.record(c)); err != nil {
				return fmt.Errorf("senders cannot be written: %w", err)
			}
		}
	}
	return nil
}

// copies appends a copy of each account, without the recipients that were seen.
func (s *shard) copies(list []account) []account {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		copied := *a
		copied.chain, copied.newer, copied.older = nil, nil, nil
		copied.cells = slices.Clone(a.cells)
		if a.breaker != nil {
			b := *a.breaker
			b.recent = recent{}
			copied.breaker = &b
		}
		list = append(list, copied)
	}
	return list
}

// restore reads the file. What is wrong with it is logged, and the rest is used.
func (t *Table) restore(p *plan, now time.Time) {
	var list []*account
	var faults lineFaults
	found, err := t.dir.Read(fileName, func(r io.Reader) error {
		var err error
		list, faults, err = readFile(r, p, clockAt(now))
		return err
	})
	if err != nil || faults.count > 0 {
		p.log.Error("the state of senders is damaged; what can be read is used, and the file replaced",
			"file", t.dir.Path(fileName), "senders", len(list), "bad_lines", faults.count,
			"first_bad_line", faults.first, "error", errors.Join(err, faults.err))
		t.saver.pending = true
	}
	if !found {
		return
	}
	// In the order of their activity, which is that of the chains.
	slices.SortStableFunc(list, func(a, b *account) int {
		return cmp.Compare(a.active, b.active)
	})
	for _, a := range list {
		a.hash = t.hash(a.key)
		t.shard(a.hash).restore(p, a)
	}
}

func (s *shard) restore(p *plan, a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(p, a)
	s.dirty = false
}

// lineFaults are the lines that could not be read.
type lineFaults struct {
	count, first int
	err          error // of the first
}

// readFile reads a file of state, without what is too old by now. The error is about the file as a
// whole.
func readFile(r io.Reader, p *plan, c clock) (list []*account, faults lineFaults, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), mostLine)
	var header fileHeader
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil || header.Format != fileFormat {
		if err := lines.Err(); err != nil {
			return nil, faults, fmt.Errorf("line 1: %w", err)
		}
		return nil, faults, fmt.Errorf("line 1 does not say that the file is %q", fileFormat)
	}
	n := 1
	for lines.Scan() && len(list) < p.perShard*shardCount {
		n++
		var rec record
		err := json.Unmarshal(lines.Bytes(), &rec)
		var a *account
		if err == nil {
			a, err = rec.account(p, c)
		}
		switch {
		case err != nil:
			if faults.count++; faults.count == 1 {
				faults.first, faults.err = n, err
			}
		case !a.idle(c):
			list = append(list, a)
		}
	}
	if err := lines.Err(); err != nil {
		return list, faults, fmt.Errorf("behind line %d: %w", n, err)
	}
	return list, faults, nil
}
