package cache

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// sweepIdle is the pause between two steps: a round through ten million entries takes two days
	// then, and what has expired is never read anyway.
	sweepIdle = 5 * time.Minute
	sweepFast = time.Second // while the file is too full
	sweepStep = 20_000      // entries that one step looks at
	sweepKill = 5_000       // entries that one step removes
)

// The file is too full from fullAt on, and what expires first goes until it is at fullTo, as parts of
// StoreConfig.MaxBytes. What is deleted needs some pages too.
const (
	fullAt = 0.85
	fullTo = 0.75
)

// sweeper walks through all entries, a step at a time, and removes what has expired. When the file is
// too full it removes more: what expires before horizon. Which time that is, it takes from the
// expiries that it saw in its last round.
type sweeper struct {
	bucket Bucket
	from   []byte
	ages   histogram // of this round
	last   histogram // of the last full round

	evict   bool
	horizon uint32
}

// sweep does a step if it is due.
func (w *worker) sweep(f *file, now time.Time) {
	if now.Before(w.sweepAt) {
		return
	}
	pause := sweepIdle
	used := float64(f.used.Load()) / float64(w.cfg.MaxBytes)
	s := &w.sweeper
	switch {
	case used >= fullAt && !s.evict:
		s.evict = true
		w.cfg.Log.Info("the verdict cache on disk is nearly full; what expires first goes",
			"path", w.path, "used", f.used.Load(), "max", w.cfg.MaxBytes)
	case used < fullTo:
		s.evict = false
	}
	if s.evict {
		pause = sweepFast
		s.horizon = s.last.horizon(used-fullTo, used)
	} else {
		s.horizon = 0
	}
	w.sweepAt = now.Add(pause)
	if err := s.step(f, w.cut, max(seconds(now), s.horizon), seconds(now)); err != nil {
		w.nudge(err)
	}
}

// step looks at some entries and removes those that expire before horizon.
func (s *sweeper) step(f *file, stop <-chan struct{}, horizon, now uint32) error {
	if s.bucket == 0 {
		s.bucket = Verdicts
	}
	b, from := s.bucket, s.from
	type look struct {
		doomed [][]byte
		next   []byte
		ages   histogram
	}
	got := make(chan look, 1)
	err := f.view(pieceLimit, func(tx *bbolt.Tx) error {
		var l look
		c := tx.Bucket([]byte(b.String())).Cursor()
		n := 0
		for key, sealed := c.Seek(from); key != nil; key, sealed = c.Next() {
			if n++; n > sweepStep || len(l.doomed) == sweepKill {
				l.next = bytes.Clone(key)
				break
			}
			_, expire, state := unseal(b, key, sealed)
			switch {
			case state == valueGarbled, state == valueGood && expire <= horizon:
				l.doomed = append(l.doomed, bytes.Clone(key))
			case state == valueGood:
				l.ages.add(expire, now)
			}
		}
		got <- l
		return nil
	})
	if err != nil {
		return err
	}
	l := <-got
	if len(l.doomed) > 0 {
		if err = f.remove(b, l.doomed, horizon, stop); err != nil {
			return err
		}
	}
	s.ages.merge(l.ages)
	s.from = l.next
	if l.next != nil {
		return nil
	}
	if s.bucket++; s.bucket == bucketEnd {
		s.bucket, s.last, s.ages = Verdicts, s.ages, histogram{}
	}
	return nil
}

// remove deletes the entries that still expire before horizon: a flush may have come between.
func (f *file) remove(b Bucket, keys [][]byte, horizon uint32, stop <-chan struct{}) error {
	counts := f.loadedCounts()
	err := f.update(stop, func(tx *bbolt.Tx) error {
		from := tx.Bucket([]byte(b.String()))
		for _, key := range keys {
			sealed := from.Get(key)
			if _, expire, state := unseal(b, key, sealed); sealed == nil || state == valueGood && expire > horizon {
				continue
			}
			if err := from.Delete(key); err != nil {
				return err
			}
			counts[b]--
		}
		return saveCounts(tx, &counts)
	})
	if err == nil {
		f.storeCounts(counts)
	}
	return err
}

// ageStep and ageSlots are the shape of a histogram: half hours, six weeks of them.
const (
	ageStep  = 1800
	ageSlots = 2016
)

// histogram counts entries by when they expire.
type histogram struct {
	base  uint32 // of the first slot, Unix seconds; 0: empty
	total int64
	slots [ageSlots]int32
}

func (h *histogram) add(expire, now uint32) {
	if h.base == 0 {
		h.base = now
	}
	h.slots[min((max(expire, h.base)-h.base)/ageStep, ageSlots-1)]++
	h.total++
}

func (h *histogram) merge(o histogram) {
	if h.base == 0 {
		*h = o
		return
	}
	for i, n := range o.slots {
		// A round takes days at most, so both begin at about the same time.
		h.slots[i] += n
	}
	h.total += o.total
}

// horizon is the time before which as many entries expire as part of whole is; 0 if there is nothing
// to judge by.
func (h *histogram) horizon(part, whole float64) uint32 {
	if h.total == 0 || part <= 0 {
		return 0
	}
	goal, sum := int64(float64(h.total)*part/whole), int64(0)
	for i, n := range h.slots {
		if sum += int64(n); sum >= goal {
			return h.base + uint32(i+1)*ageStep
		}
	}
	return h.base + ageSlots*ageStep
}
