package register

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// DefaultMaxEntries is the limit of suppressions if Config has none.
const DefaultMaxEntries = 5_000_000

var (
	// ErrFull says that the list has as many entries as it may have.
	ErrFull = errors.New("the suppression list is full")
	// ErrClosed says that the register was closed, or that there is none.
	ErrClosed = errors.New("there is no suppression list to change: the gate stops, or has none")
)

// Config is how a Register behaves. The zero value learns nothing.
type Config struct {
	// MaxEntries bounds the suppressions; 0 is DefaultMaxEntries. Entries that were there when the
	// limit was lowered stay.
	MaxEntries int
	// LearnBounces lets Bounced suppress, LearnComplaints Complained.
	LearnBounces    bool
	LearnComplaints bool
	// Log gets what is wrong with the files; nil is no log. Reconfigure does not change it.
	Log *slog.Logger
}

func (c *Config) maxEntries() int {
	if c.MaxEntries <= 0 {
		return DefaultMaxEntries
	}
	return c.MaxEntries
}

// Register is the suppression list and the overrides. It is safe for concurrent use. A nil
// *Register suppresses and allows nothing, and learns nothing.
type Register struct {
	cfg    atomic.Pointer[Config]
	log    *slog.Logger
	table  *table
	allow  atomic.Pointer[overrides]
	unkept learned

	// save is held by who changes the files and what follows from them, also while the disk is
	// waited for. Who only looks never takes it. It comes before the locks of table and unkept.
	save   sync.Mutex
	store  *store
	closed bool // no more changes by hand
	ended  bool // nor anything else

	wake chan struct{} // there may be something to write
	stop chan struct{}
	done chan struct{}
}

// Open reads the list and the overrides from a directory, nil for memory only, and starts what
// keeps them: Close ends it. Damaged lines are logged and left out, and the files that had them are
// kept (see the package). The error tells what to do; a file of a later version is one.
func Open(dir *durable.Dir, cfg Config) (*Register, error) {
	r := &Register{
		log:   cfg.Log,
		table: newTable(),
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.unkept.keys = map[string]struct{}{}
	r.cfg.Store(&cfg)
	r.store = &store{dir: dir, log: r.log}
	now := time.Now().Unix()
	if err := r.store.load(r.table, now); err != nil {
		return nil, err
	}
	if err := r.loadOverrides(dir); err != nil {
		return nil, err
	}
	if err := r.store.keepDamaged(); err != nil {
		r.log.Error("a file with damaged lines cannot be copied: copy it by hand before the next "+
			"change", "error", err)
	}
	if n := r.table.total.Load(); n > int64(cfg.maxEntries()) {
		r.log.Warn("the suppression list has more entries than it may: nothing is added to it",
			"entries", n, "max_entries", cfg.maxEntries())
	}
	go r.run()
	return r, nil
}

// Close saves what is not saved yet and ends the Register's work. The error is that of saving.
func (r *Register) Close() error {
	if r == nil {
		return nil
	}
	r.save.Lock()
	was := r.closed
	r.closed = true
	r.save.Unlock()
	if was {
		return nil
	}
	close(r.stop)
	<-r.done
	err := r.flush()
	r.save.Lock()
	defer r.save.Unlock()
	r.ended = true
	return errors.Join(err, r.store.close())
}

// Reconfigure changes everything but the log. Nothing that is suppressed is dropped.
func (r *Register) Reconfigure(cfg Config) {
	if r != nil {
		r.cfg.Store(&cfg)
	}
}

// Status reports whether everything is on the disk, and if not, why and what to do.
func (r *Register) Status() (ok bool, detail string) {
	if r == nil {
		return true, ""
	}
	if trouble := r.store.trouble.Load(); trouble != nil {
		return false, *trouble
	}
	return true, ""
}

// Suppressed returns the suppression that a recipient falls under, for mail of this sender (the
// zero Address: the null sender) and login ("" if there is none): that of the mailbox before those
// of domains, the global one before those of the sender's domain and of the login. It counts a hit.
// It takes some 300 ns with a million entries, waits for no disk and allocates nothing.
func (r *Register) Suppressed(rcpt, sender esmtp.Address, login string, now time.Time) (
	s Suppression, found bool,
) {
	if r == nil {
		return Suppression{}, false
	}
	rec := r.table.find(&query{rcpt, sender, login, now.Unix()})
	if rec == nil {
		return Suppression{}, false
	}
	rec.hits.Add(1)
	r.table.hits[rec.reason].Add(1)
	return rec.suppression(), true
}

// Peek is Suppressed without counting.
func (r *Register) Peek(rcpt, sender esmtp.Address, login string, now time.Time) (
	s Suppression, found bool,
) {
	if r == nil {
		return Suppression{}, false
	}
	if rec := r.table.find(&query{rcpt, sender, login, now.Unix()}); rec != nil {
		return rec.suppression(), true
	}
	return Suppression{}, false
}

// Counts returns how many suppressions there are by reason, every reason with a number. One that
// expired may be counted for another hour.
func (r *Register) Counts() map[Reason]int {
	counts := make(map[Reason]int, reasonCount)
	for i, reason := range reasons {
		counts[reason] = 0
		if r != nil {
			counts[reason] = int(r.table.inForce[i].Load())
		}
	}
	return counts
}

// Hits returns how often Suppressed found something since the start, by reason.
func (r *Register) Hits() map[Reason]uint64 {
	hits := make(map[Reason]uint64, reasonCount)
	for i, reason := range reasons {
		hits[reason] = 0
		if r != nil {
			hits[reason] = r.table.hits[i].Load()
		}
	}
	return hits
}

// errFull is ErrFull with what to do.
func (r *Register) errFull() error {
	return fmt.Errorf("%w: it may have %d entries; remove some, or raise its max_entries", ErrFull,
		r.cfg.Load().maxEntries())
}
