package register

import (
	"errors"
	"io"
	"os"
	"time"
)

const (
	// saveDelay is how long what was learned may wait for more of it, to be written together.
	saveDelay = time.Second
	// sweepEvery is how often some of the list is swept, and what failed is tried again.
	sweepEvery = time.Minute
	// sweepShards of it: all in less than an hour.
	sweepShards = 5
	// compactAgain is how soon a snapshot that failed is tried again.
	compactAgain = 10 * time.Minute
)

// run writes what was learned, makes snapshots and sweeps, until Close.
func (r *Register) run() {
	defer close(r.done)
	save := time.NewTimer(saveDelay) // at the start: there may be a snapshot to make
	defer save.Stop()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	next := 0
	var compactAfter time.Time
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
			save.Reset(saveDelay)
			select { // what comes meanwhile goes with it
			case <-r.stop:
				return
			case <-save.C:
			}
		case <-save.C:
		case <-tick.C:
			for range sweepShards {
				r.table.sweep(next, time.Now().Unix())
				next = (next + 1) % shardCount
			}
		}
		if err := r.flush(); err != nil {
			r.log.Error("what was learned from bounces and complaints is not saved yet", "error", err)
			continue
		}
		r.save.Lock()
		r.store.probe()
		r.save.Unlock()
		if time.Now().Before(compactAfter) {
			continue
		}
		if err := r.compact(); err != nil && !errors.Is(err, ErrClosed) {
			compactAfter = time.Now().Add(compactAgain)
			r.log.Error("the suppression list cannot be rewritten; its changes are kept for longer",
				"error", err, "again_in", compactAgain)
		}
	}
}

// flush writes what was learned.
func (r *Register) flush() error {
	r.save.Lock()
	defer r.save.Unlock()
	if r.ended {
		return nil
	}
	r.unkept.mu.Lock()
	keys, lost := r.unkept.keys, r.unkept.lost
	r.unkept.keys, r.unkept.lost = map[string]struct{}{}, 0
	r.unkept.mu.Unlock()
	if lost > 0 {
		r.log.Warn("bounces and complaints were not learned: the list is full, or too much waits "+
			"for the disk", "lost", lost, "entries", r.table.total.Load())
	}
	changes := make([]change, 0, len(keys))
	for key := range keys {
		changes = append(changes, change{key, r.table.get([]byte(key))})
	}
	err := r.store.append(changes)
	if err != nil {
		r.unkept.mu.Lock()
		defer r.unkept.mu.Unlock()
		for key := range keys {
			r.unkept.keys[key] = struct{}{}
		}
	}
	return err
}

// compact makes a snapshot if it is worth it, while further changes go on to be written.
func (r *Register) compact() error {
	r.save.Lock()
	wanted := r.store.wantsCompaction(r.table.total.Load())
	var err error
	if wanted {
		if err = r.store.keepDamaged(); err == nil {
			err = r.store.rotate()
		}
	}
	r.save.Unlock()
	if !wanted || err != nil {
		return err
	}
	// The store's directory never changes, and nobody else writes the snapshot.
	if err := r.store.dir.Write(snapshotFile, r.writeList); err != nil {
		return err
	}
	r.save.Lock()
	defer r.save.Unlock()
	if err := r.store.syncDir(); err != nil {
		return err
	}
	if !r.store.isOld {
		return nil
	}
	if err := os.Remove(r.store.dir.Path(oldFile)); err != nil {
		return err
	}
	r.store.isOld = false
	return nil
}

// writeList writes the whole list, also what has expired but is remembered.
func (r *Register) writeList(w io.Writer) error {
	if _, err := io.WriteString(w, listHead); err != nil {
		return err
	}
	now := time.Now().Unix()
	var line []byte
	var err error
	count := 0
	r.table.each(func(rec *record) bool {
		if count++; count%1000 == 0 {
			select {
			case <-r.stop:
				err = ErrClosed
				return false
			default:
			}
		}
		if rec.remembered(now) {
			line = rec.appendLine(line[:0])
			_, err = w.Write(line)
		}
		return err == nil
	})
	return err
}
