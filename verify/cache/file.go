package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// fileVersion is that of the layout of the whole file. Values have one of their own.
const fileVersion = 1

var (
	// ErrLocked is for a file that another process has open.
	ErrLocked      = errors.New("another process uses the file")
	errNewer       = errors.New("the file was written by a later version")
	errOtherSecret = errors.New("the file was written with another secret")
	errGone        = errors.New("the file was removed or replaced")
	errDead        = errors.New("the file is not used any more")
	errBusy        = errors.New("too many look-ups at one time")
	errSlow        = errors.New("the disk does not answer in time")
)

// maxReads bounds the look-ups in the file at one time: a page that has to come from the disk holds a
// thread until it is there.
const maxReads = 64

// file is an open bbolt file, the only thing that touches bbolt.
//
// bbolt reads its file as mapped memory and believes what stands there. When the file is cut, a read
// is SIGBUS; when it is garbled, bbolt panics, perhaps with its locks held, so that whoever comes next
// waits for ever. So every transaction runs in a goroutine of its own, where faults are panics and
// panics are caught; whoever waits for it waits no longer than until the first fault or a limit; and
// after a fault the file is dead: nothing enters it again, and it is left as it is, mapping and all,
// since closing it would wait for those locks.
//
// LIMITS. A page that names itself as its own child would exhaust the stack, which nothing can catch.
// bbolt compares the number that a page bears with the one that it looked for, so that takes a fault
// that rewrites a page in the right way.
type file struct {
	db    *bbolt.DB
	disk  *os.File    // of db, to be closed when db cannot be
	write sync.Mutex  // held by the write transaction, also by one that nobody waits for any more
	info  os.FileInfo // as it was opened
	reads chan struct{}

	fault error         // set before dead is closed
	dead  chan struct{} // closed by the first fault
	die   sync.Once

	counts [bucketEnd]atomic.Int64
	size   atomic.Int64 // octets of the file; it never shrinks
	used   atomic.Int64 // of these, in pages that hold something
}

// openFile opens or creates the cache at path. The error is one of those above, errCorrupt or
// errForeign, or the system's.
func openFile(path, secretID string) (f *file, err error) {
	var disk *os.File
	defer func() {
		if fault := recover(); fault != nil {
			f, err = nil, fmt.Errorf("%w: %v", errCorrupt, fault)
		}
		if err != nil && disk != nil {
			_ = disk.Close() // for what has panicked; else bbolt has closed it
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	f = &file{reads: make(chan struct{}, maxReads), dead: make(chan struct{})}
	f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: 100 * time.Millisecond, // 0 would be for ever
		// The list of free pages is kept in the file: to make it anew, all pages would be read at
		// each start.
		FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			if disk, err = os.OpenFile(name, flag, mode); err != nil {
				return nil, err
			}
			if err = lock(disk); err == nil {
				err = precheck(disk)
			}
			if err != nil {
				_ = disk.Close()
				return nil, err
			}
			return disk, nil
		},
	})
	if err != nil {
		return nil, named(err)
	}
	f.disk = disk
	if f.info, err = disk.Stat(); err == nil {
		err = f.prepare(secretID)
	}
	if err != nil {
		_ = f.db.Close()
		return nil, named(err)
	}
	return f, nil
}

// named gives bbolt's errors the names of this package.
func named(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return err
}

// The keys of the bucket that tells of the file itself.
func metaBucket() []byte  { return []byte("meta") }
func metaVersion() []byte { return []byte("version") }
func metaSecret() []byte  { return []byte("secret_id") }
func metaCounts() []byte  { return []byte("counts") }

// prepare makes a new file ready, and checks that an old one is fit for us.
func (f *file) prepare(secretID string) error {
	fresh := false
	err := f.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket())
		if meta == nil {
			fresh = true
			return nil
		}
		version := meta.Get(metaVersion())
		switch {
		case len(version) != 1:
			return fmt.Errorf("%w: it has no version", errCorrupt)
		case version[0] > fileVersion:
			return errNewer
		case string(meta.Get(metaSecret())) != secretID:
			return errOtherSecret
		}
		f.loadCounts(meta)
		return nil
	})
	if err == nil && fresh {
		err = f.begin(secretID)
	}
	if err != nil {
		return err
	}
	return f.measure()
}

// begin lays out a new file.
func (f *file) begin(secretID string) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket())
		if err != nil {
			return err
		}
		for b := range buckets() {
			if _, err = tx.CreateBucketIfNotExists([]byte(b.String())); err != nil {
				return err
			}
		}
		if err = meta.Put(metaVersion(), []byte{fileVersion}); err != nil {
			return err
		}
		return meta.Put(metaSecret(), []byte(secretID))
	})
}

func (f *file) loadCounts(meta *bbolt.Bucket) {
	raw := meta.Get(metaCounts())
	for b := range buckets() {
		if at := 8 * int(b); len(raw) >= at+8 {
			n := binary.LittleEndian.Uint64(raw[at:])
			f.counts[b].Store(int64(min(n, 1<<62)))
		}
	}
}

func saveCounts(tx *bbolt.Tx, counts *[bucketEnd]int64) error {
	raw := make([]byte, 8*bucketEnd)
	for b := range buckets() {
		binary.LittleEndian.PutUint64(raw[8*int(b):], uint64(max(0, counts[b])))
	}
	return tx.Bucket(metaBucket()).Put(metaCounts(), raw)
}

// measure takes down the size of the file and how much of it is in use.
func (f *file) measure() error {
	info, err := f.disk.Stat()
	if err != nil {
		return err
	}
	return f.db.View(func(tx *bbolt.Tx) error {
		stats := f.db.Stats()
		free := int64(stats.FreePageN+stats.PendingPageN) * int64(f.db.Info().PageSize)
		f.size.Store(info.Size())
		f.used.Store(tx.Size() - free)
		return nil
	})
}

// kill ends the use of the file.
func (f *file) kill(fault error) {
	f.die.Do(func() {
		f.fault = fault
		close(f.dead)
	})
}

// guard runs fn, a whole transaction, and catches what a broken file does to it.
func (f *file) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", errCorrupt, fault)
		}
		if errors.Is(err, errCorrupt) {
			f.kill(err)
		}
	}()
	return fn()
}

// view runs fn in a read transaction, and waits for at most limit. fn may go on behind, so it may
// write only to what its caller does not touch after an error.
func (f *file) view(limit time.Duration, fn func(tx *bbolt.Tx) error) error {
	select {
	case <-f.dead:
		return errDead
	case f.reads <- struct{}{}:
	default:
		return errBusy
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-f.reads }()
		done <- f.guard(func() error { return f.db.View(fn) })
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-f.dead:
		return errDead
	case <-timer.C:
		return errSlow
	}
}

// update runs fn in a write transaction. It waits until that is done, the file is dead, or stop is
// closed. There is one at a time.
func (f *file) update(stop <-chan struct{}, fn func(tx *bbolt.Tx) error) error {
	done := make(chan error, 1)
	go func() {
		f.write.Lock()
		defer f.write.Unlock()
		done <- f.guard(func() error {
			if err := f.inPlace(); err != nil {
				return err
			}
			if err := f.db.Update(fn); err != nil {
				return err
			}
			return f.measure()
		})
	}()
	select {
	case err := <-done:
		return err
	case <-f.dead:
		return f.fault
	case <-stop:
		return errSlow
	}
}

// inPlace reports what was done to the file behind our back. Cut off is checked before bbolt would
// write behind the gap.
func (f *file) inPlace() error {
	now, err := f.disk.Stat()
	if err != nil {
		return err
	}
	if now.Size() < f.size.Load() {
		return fmt.Errorf("%w: it was cut to %d octets", errCorrupt, now.Size())
	}
	if there, err := os.Stat(f.disk.Name()); err != nil || !os.SameFile(there, f.info) {
		f.kill(errGone)
		return errGone
	}
	return nil
}

// close ends a file. That of a dead one closes its descriptor, and with it the lock, as soon as nobody
// writes any more; it leaves the mapping, which others may still be reading.
func (f *file) close() error {
	select {
	case <-f.dead:
		go func() {
			f.write.Lock()
			defer f.write.Unlock()
			_ = f.disk.Close() // nothing of it is needed any more
		}()
		return nil
	default:
		return f.guard(f.db.Close)
	}
}
