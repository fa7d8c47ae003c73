package cache

import (
	"errors"
	"time"

	"go.etcd.io/bbolt"
)

const (
	retryLocked = 5 * time.Second // the other process may be the one that this one replaces
	retryOther  = time.Minute
	retryFlush  = 10 // times StoreConfig.FlushEvery
	// retryCorrupt is the pause after several files have been found garbled: the disk is at fault.
	retryCorrupt = time.Hour
	maxCorrupt   = 3
	slowWrite    = 30 * time.Second
)

// run is the one goroutine that opens, writes and sweeps. next is when to try to open, if there is
// no file yet.
func (s *Store) run(next time.Time) {
	defer close(s.done)
	w := worker{Store: s, openAt: next, sweepAt: time.Now().Add(sweepIdle)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.stop:
			w.finish()
			return
		}
		timer.Reset(time.Until(w.step(time.Now())))
	}
}

// worker is what run knows between its steps.
type worker struct {
	*Store
	openAt  time.Time // when to open the file, if there is none
	flushAt time.Time // when to write; zero: nothing waits
	holdOff time.Time // no write before, after one has failed
	sweepAt time.Time
	sweeper sweeper
}

// step does what is due, and returns when the next is.
func (w *worker) step(now time.Time) time.Time {
	f := w.file.Load()
	if f != nil {
		select {
		case <-f.dead:
			w.openAt = w.bury(f, now)
			f = nil
		default:
		}
	}
	if f == nil {
		if now.Before(w.openAt) {
			return w.openAt
		}
		w.openAt = w.open(now)
		if f = w.file.Load(); f == nil {
			return w.openAt
		}
		w.sweeper = sweeper{}
	}
	w.flush(f, now)
	w.sweep(f, now)
	if !w.flushAt.IsZero() && w.flushAt.Before(w.sweepAt) {
		return w.flushAt
	}
	return w.sweepAt
}

// flush writes what waits, if it is due.
func (w *worker) flush(f *file, now time.Time) {
	w.mu.Lock()
	empty, full := w.pending.empty(), len(w.pending.ops) >= w.cfg.FlushCount || w.urgent.Load()
	again := w.flushing != nil
	w.mu.Unlock()
	switch {
	case empty && !again:
		w.flushAt = time.Time{}
		return
	case now.Before(w.holdOff):
		w.flushAt = w.holdOff
		return
	case w.flushAt.IsZero() && !full && !again:
		w.flushAt = now.Add(w.cfg.FlushEvery)
		return
	case now.Before(w.flushAt) && !full:
		return
	}
	w.flushAt = time.Time{}
	if err := w.write(f); err != nil {
		w.holdOff = now.Add(retryFlush * w.cfg.FlushEvery)
		w.flushAt = w.holdOff
		if errors.Is(err, errCorrupt) || errors.Is(err, errGone) {
			w.openAt, w.holdOff, w.flushAt = w.bury(f, now), time.Time{}, now
			return
		}
		w.report(troubleOf(err, "write"))
		return
	}
	w.report(trouble{})
	w.mu.Lock()
	more := !w.pending.empty() // it has waited for the one that was written now
	w.mu.Unlock()
	if more {
		w.flushAt = now.Add(w.cfg.FlushEvery)
	}
}

// write writes one batch. That which could not be written is kept, and written next.
func (s *Store) write(f *file) error {
	s.mu.Lock()
	if s.flushing == nil {
		s.flushing, s.pending = s.pending, newBatch()
	}
	b := s.flushing
	s.mu.Unlock()
	slow := time.AfterFunc(slowWrite, func() { s.report(troubleOf(errSlow, "write")) })
	defer slow.Stop()
	counts := f.loadedCounts()
	left := int64(0)
	err := f.update(s.cut, func(tx *bbolt.Tx) (err error) {
		if left, err = b.write(tx, f.used.Load() < s.cfg.MaxBytes, &counts); err != nil {
			return err
		}
		return saveCounts(tx, &counts)
	})
	if err != nil {
		return err
	}
	f.storeCounts(counts)
	s.mu.Lock()
	s.flushing = nil
	s.dropped += left
	s.mu.Unlock()
	return nil
}

func (f *file) loadedCounts() (counts [bucketEnd]int64) {
	for b := range buckets() {
		counts[b] = f.counts[b].Load()
	}
	return counts
}

func (f *file) storeCounts(counts [bucketEnd]int64) {
	for b := range buckets() {
		f.counts[b].Store(max(0, counts[b]))
	}
}

// finish writes what waits and closes the file, as long as Close waits for it.
func (w *worker) finish() {
	f := w.file.Swap(nil)
	if f == nil {
		return
	}
	for range 2 { // what failed before, and what came behind it
		w.mu.Lock()
		waits := w.flushing != nil || !w.pending.empty()
		w.mu.Unlock()
		if waits && w.write(f) != nil {
			break
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = f.close() // the file is whole: all that was written is synced
	}()
	select {
	case <-closed:
	case <-w.cut:
	}
}
