package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxUnwritten = 4 << 20 // octets that wait for the disk
	// keepUnwritten is the room for lines that stays when there are none.
	keepUnwritten = 1 << 20
	// enoughUnwritten is how much is written without waiting for more.
	enoughUnwritten = 64 << 10
	checkEvery      = time.Second
	cleanEvery      = 10 * time.Minute
	complainAt      = time.Minute // how often the same trouble is said
)

// fileSettings may change while the file is in use.
type fileSettings struct {
	maxSize        int64         // 0: none
	rotate, maxAge time.Duration // 0: none
	keep           int
}

func settingsOf(cfg *Config) fileSettings {
	s := fileSettings{
		maxSize: orDefault(cfg.MaxSize, DefaultMaxSize),
		rotate:  orDefault(cfg.RotateEvery, DefaultRotateEvery),
		keep:    orDefault(cfg.Keep, DefaultKeep),
		maxAge:  cfg.MaxAge,
	}
	if s.maxAge > 0 && s.rotate > s.maxAge {
		s.rotate = s.maxAge
	}
	return s
}

// file is the journal's file. One goroutine writes it; take never waits for the disk.
type file struct {
	path     string
	log      *slog.Logger
	settings atomic.Pointer[fileSettings]
	wake     chan struct{} // 1: there is something to do
	stop     chan struct{}
	done     chan struct{}

	mu     sync.Mutex
	out    []byte // whole lines
	lost   uint64
	again  bool // reopen
	closed bool

	// Of the writing goroutine.

	f       *os.File // nil: could not be opened
	size    int64
	began   time.Time // of the first line
	rest    []byte    // of what was taken from out
	middle  bool      // f ends within a line, whose remainder rest begins with
	spare   []byte
	checked time.Time // by its name
	cleaned time.Time
	said    time.Time
	retry   time.Time // no attempt to write before
	rotates time.Time // no attempt to rotate before
	fault   error     // of the last attempt
}

// openFile begins to write at the end of a file. The error is that of the first attempt to open it.
func openFile(path string, settings fileSettings, log *slog.Logger) (*file, error) {
	w := &file{
		path: path, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	w.settings.Store(&settings)
	if err := w.open(time.Now()); err != nil {
		return nil, fmt.Errorf("the journal cannot be written: %w; %s", err, remedy(err))
	}
	go w.run()
	return w, nil
}

// remedy says what to do about an error of the file system.
func remedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "make its directory, or write another path"
	case errors.Is(err, fs.ErrPermission):
		return "let the user of this service write there"
	}
	return "see to the file system; it is tried again"
}

// take adds a line with its end. It is written when there are more of them, or at taken.
func (w *file) take(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if len(w.out)+len(line) > maxUnwritten {
		w.lost++
		return
	}
	w.out = append(w.out, line...)
	if len(w.out) >= enoughUnwritten {
		w.nudge()
	}
}

// taken is the end of the lines that come together.
func (w *file) taken() { w.nudge() }

func (w *file) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *file) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = true
	w.nudge()
}

func (w *file) unsaved() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// finish has what was taken written, and the file closed. wait waits for it.
func (w *file) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.stop)
	}
}

func (w *file) wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.fault
	case <-ctx.Done():
		return fmt.Errorf("the journal is not written to its end: %w", ctx.Err())
	}
}

func (w *file) run() {
	defer close(w.done)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.wake:
		case <-tick.C:
		case <-w.stop:
			w.end(time.Now())
			return
		}
		now := time.Now()
		w.check(now)
		w.flush(now)
	}
}

// end writes what there is and closes the file.
func (w *file) end(now time.Time) {
	w.check(now)
	w.retry = time.Time{}
	w.flush(now) // what an earlier attempt left
	w.flush(now)
	w.fault = errors.Join(w.fault, w.close())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, left := range [][]byte{w.rest, w.out} {
		for range bytes.Count(left, []byte("\n")) {
			w.lost++
		}
	}
}

// check sees whether the file is too old, and, if something is to be written, whether it is still
// the one by that name.
func (w *file) check(now time.Time) {
	w.mu.Lock()
	again, waits := w.again, len(w.out)+len(w.rest) > 0
	w.again = false
	w.mu.Unlock()
	look := waits && now.Sub(w.checked) >= checkEvery
	if look {
		w.checked = now
	}
	settings := w.settings.Load()
	switch {
	case again || look && (w.f == nil || w.moved(now)):
		w.say(now, errors.Join(w.close(), w.open(now)))
	case settings.rotate > 0 && w.f != nil && w.size > 0 && now.Sub(w.began) >= settings.rotate && !w.middle:
		w.tryRotate(now)
	}
	if now.Sub(w.cleaned) >= cleanEvery {
		w.cleaned = now
		w.say(now, w.clean(now))
	}
}

// moved reports whether another has taken the file away.
func (w *file) moved(now time.Time) bool {
	named, err := os.Stat(w.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	own, err := w.f.Stat()
	if err != nil {
		return true
	}
	if !os.SameFile(named, own) {
		return true
	}
	if own.Size() < w.size { // emptied in place
		w.size, w.began = own.Size(), now
	}
	return false
}

// flush writes what there is. What the file does not take is tried again.
func (w *file) flush(now time.Time) {
	w.mu.Lock()
	if len(w.rest) == 0 {
		w.rest, w.out = w.out, w.spare[:0]
		w.spare = nil
	}
	w.mu.Unlock()
	if len(w.rest) == 0 || w.f == nil || now.Before(w.retry) { // check opens it
		return
	}
	batch := w.rest
	for len(w.rest) > 0 {
		if err := w.write(now); err != nil {
			w.say(now, err)
			w.retry = now.Add(checkEvery)
			if len(w.rest) < len(batch) {
				w.rest = bytes.Clone(w.rest)
			}
			return
		}
	}
	w.rest = nil
	w.fault = nil
	if cap(batch) <= keepUnwritten {
		w.spare = batch[:0]
	}
}

// write writes as much of the rest as the file may take before it is rotated.
func (w *file) write(now time.Time) error {
	piece := w.rest
	limit := w.settings.Load().maxSize
	if limit > 0 && w.size+int64(len(piece)) > limit {
		end := bytes.LastIndexByte(piece[:max(0, limit-w.size)], '\n') + 1
		if end == 0 && w.size > 0 && !w.middle && w.tryRotate(now) {
			return nil
		}
		if w.f == nil {
			return w.fault
		}
		if end == 0 { // one line
			end = bytes.IndexByte(piece, '\n') + 1
		}
		piece = piece[:end]
	}
	if w.size == 0 {
		w.began = now
	}
	n, err := w.f.Write(piece)
	w.size += int64(n)
	if n > 0 {
		w.middle = w.rest[n-1] != '\n'
		w.rest = w.rest[n:]
	}
	return err
}

// tryRotate rotates the file. One that cannot be rotated is written on, and tried again later.
func (w *file) tryRotate(now time.Time) bool {
	if now.Before(w.rotates) {
		return false
	}
	err := w.rotate(now)
	if err == nil {
		return true
	}
	w.rotates = now.Add(complainAt)
	w.say(now, err)
	return false
}

// say logs trouble, once in a while.
func (w *file) say(now time.Time, err error) {
	if err == nil {
		return
	}
	w.fault = err
	if w.said.IsZero() || now.Sub(w.said) >= complainAt {
		w.said = now
		w.log.Error("journal: the file has trouble", "path", w.path, "error", err, "hint", remedy(err))
	}
}
