package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

const (
	// gatherDelay is how long decisions wait for others before they are written together. Find and
	// Search do not wait for it.
	gatherDelay = 10 * time.Millisecond
	reportEvery = time.Minute // what was lost is said that often
	keepRoom    = 256         // decisions that an idle queue has room for
)

// Journal keeps decisions. All its methods may be called at any time from any goroutine; those of
// a nil *Journal do nothing.
//
// Locks are taken in this order: setup, keep, in, file.mu.
type Journal struct {
	log   *slog.Logger
	queue atomic.Int64 // its limit

	in      sync.Mutex
	pending []item
	closed  bool

	wake chan struct{} // 1: something is pending
	stop chan struct{}
	done chan struct{}

	keep     sync.Mutex
	spare    []item // for pending
	format   formatter
	recent   ring
	refusals ring // older than those in recent
	maxAge   time.Duration
	tails    map[*Tail]struct{}
	file     *file    // nil: none
	hook     *webhook // nil: none
	archive  *Archive

	setup sync.Mutex // one Reconfigure or Close at a time
	ended bool

	entries, lost atomic.Uint64
	said          Stats // what the log has been told
}

// Open begins a journal and its file. The error says what is wrong with cfg, or with the file.
func Open(cfg Config, log *slog.Logger) (*Journal, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{
		log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		tails: make(map[*Tail]struct{}),
	}
	if err := j.Reconfigure(cfg); err != nil {
		return nil, err
	}
	go j.run()
	return j, nil
}

// Reconfigure goes on with another configuration. What is in memory stays, as far as it fits, in
// the form in which it was written. If there is an error, nothing has changed.
func (j *Journal) Reconfigure(cfg Config) error {
	if j == nil {
		return nil
	}
	j.setup.Lock()
	defer j.setup.Unlock()
	if j.ended {
		return errors.New("the journal is closed")
	}
	if err := cfg.Check(); err != nil {
		return err
	}
	if cfg.Redact == "" {
		cfg.Redact = RedactOff
	}
	next, err := j.nextFile(cfg)
	if err != nil {
		return err
	}
	hook := j.nextWebhook(cfg)
	j.gather() // in the form that was configured at the time
	j.keep.Lock()
	oldFile, oldHook := j.file, j.hook
	j.file, j.hook = next, hook
	j.maxAge, j.archive = cfg.MaxAge, NewArchive(cfg)
	j.format.redactor = redactor{mode: cfg.Redact, secret: cfg.Secret}
	octets := orDefault(cfg.MemoryOctets, DefaultMemoryOctets)
	j.refusals.shrink(orDefault(cfg.Refusals, DefaultRefusals), octets-octets/4)
	j.recent.shrink(orDefault(cfg.Recent, DefaultRecent), octets/4)
	j.queue.Store(int64(orDefault(cfg.Queue, DefaultQueue)))
	j.keep.Unlock()
	if oldFile != nil && oldFile != next {
		oldFile.finish()
	}
	if oldHook != nil && oldHook != hook {
		oldHook.finish()
	}
	return nil
}

func (j *Journal) nextFile(cfg Config) (*file, error) {
	settings := settingsOf(&cfg)
	switch {
	case cfg.Path == "":
		return nil, nil //nolint:nilnil // no file
	case j.file != nil && j.file.path == cfg.Path:
		j.file.settings.Store(&settings)
		return j.file, nil
	}
	return openFile(cfg.Path, settings, j.log)
}

func (j *Journal) nextWebhook(cfg Config) *webhook {
	switch {
	case cfg.Webhook.URL == "":
		return nil
	case j.hook != nil && j.hook.cfg.same(&cfg.Webhook):
		return j.hook
	}
	return startWebhook(cfg.Webhook, j.log)
}

// Decision records one decided recipient with the reply that the client got. It never waits, and
// keeps nothing of tx and d that may change after the call.
func (j *Journal) Decision(
	tx *policy.Transaction, d *policy.Decision, reply esmtp.Reply, relayed bool,
) {
	if j == nil {
		return
	}
	now := time.Now()
	it := j.begin()
	if it == nil {
		return
	}
	it.at, it.reply, it.relayed = now, reply, relayed
	it.of(tx)
	it.decision(d)
	j.end()
}

// Message records the end of a message. It never waits, and m must not be changed any more.
func (j *Journal) Message(tx *policy.Transaction, m *Message) {
	if j == nil {
		return
	}
	now := time.Now()
	it := j.begin()
	if it == nil {
		return
	}
	it.at, it.reply, it.message, it.ref = now, m.Reply, m, m.Ref
	if !m.Reply.IsZero() {
		it.action = actionOf(m.Reply)
	}
	it.of(tx)
	j.end()
}

// begin gives room for an item, under the lock that end releases; nil: there is none.
func (j *Journal) begin() *item {
	j.in.Lock()
	if n := len(j.pending); !j.closed && n < int(j.queue.Load()) {
		if n < cap(j.pending) {
			j.pending = j.pending[:n+1] // it was cleared
		} else {
			j.pending = append(j.pending, item{})
		}
		return &j.pending[n]
	}
	j.in.Unlock()
	j.lost.Add(1)
	return nil
}

func (j *Journal) end() {
	first := len(j.pending) == 1
	j.in.Unlock()
	if first {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// run gathers what comes until stop.
func (j *Journal) run() {
	defer close(j.done)
	delay := time.NewTimer(gatherDelay)
	delay.Stop()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	for {
		select {
		case <-j.wake:
			delay.Reset(gatherDelay)
		case <-delay.C:
			j.gather()
		case <-report.C:
			j.report()
		case <-j.stop:
			j.gather()
			return
		}
	}
}

// gather writes what is pending to memory, and hands it to all others who want it.
func (j *Journal) gather() {
	j.keep.Lock()
	defer j.keep.Unlock()
	j.gatherLocked()
}

func (j *Journal) gatherLocked() {
	j.in.Lock()
	batch := j.pending
	j.pending = j.spare
	j.in.Unlock()
	for i := range batch {
		it := &batch[i]
		line := j.format.format(it)
		refused := it.refused()
		j.recent.push(line, it.at.UnixMilli(), refused, j.evict)
		if j.file != nil {
			j.file.take(line)
		}
		for t := range j.tails {
			t.offer(line)
		}
		if j.hook != nil {
			j.hook.offer(it)
		}
	}
	j.entries.Add(uint64(len(batch)))
	if j.maxAge > 0 {
		before := time.Now().Add(-j.maxAge)
		j.recent.expire(before)
		j.refusals.expire(before)
	}
	clear(batch)
	if j.spare = batch[:0]; cap(batch) > keepRoom && len(batch) < cap(batch)/4 {
		j.spare = nil // it was a rush
	}
}

// evict keeps the refusals among what leaves the recent ones.
func (j *Journal) evict(line []byte, ref lineRef) {
	if ref.refused {
		j.refusals.push(line, ref.at, true, nil)
	}
}

// Stats returns the counts.
func (j *Journal) Stats() Stats {
	if j == nil {
		return Stats{}
	}
	j.keep.Lock()
	defer j.keep.Unlock()
	s := Stats{
		Entries: j.entries.Load(), Lost: j.lost.Load(),
		Octets: j.recent.octets + j.refusals.octets, Lines: j.recent.lines + j.refusals.lines,
	}
	if j.file != nil {
		s.Unsaved = j.file.unsaved()
	}
	if j.hook != nil {
		s.Webhook = j.hook.stats()
	}
	return s
}

// report says in the log what was lost since it said so last.
func (j *Journal) report() {
	now := j.Stats()
	if lost := now.Lost - j.said.Lost; lost > 0 {
		j.log.Warn("journal: decisions were lost, the queue was full", "lost", lost,
			"hint", "mail was not held up; raise the journal's queue if this happens often")
	}
	if unsaved := now.Unsaved - j.said.Unsaved; now.Unsaved > j.said.Unsaved {
		j.log.Warn("journal: entries are in memory only, the file did not take them", "unsaved", unsaved,
			"hint", "see to the file system of the journal")
	}
	if lost := now.Webhook.Lost - j.said.Webhook.Lost; now.Webhook.Lost > j.said.Webhook.Lost {
		j.log.Warn("journal: the webhook's queue was full, refusals were not told", "lost", lost,
			"waiting", now.Webhook.Waiting, "hint", "see whether the other side answers")
	}
	j.said = now
}

// Reopen closes the file and opens it anew by its name, for those who move it away and tell.
func (j *Journal) Reopen() {
	if j == nil {
		return
	}
	j.keep.Lock()
	defer j.keep.Unlock()
	if j.file != nil {
		j.file.reopen()
	}
}

// Close writes what is pending and ends the journal; ctx bounds how long it waits for the disk and
// the webhook. Memory stays to be searched.
func (j *Journal) Close(ctx context.Context) error {
	if j == nil {
		return nil
	}
	j.setup.Lock()
	defer j.setup.Unlock()
	if j.ended {
		return nil
	}
	j.ended = true
	j.in.Lock()
	j.closed = true
	j.in.Unlock()
	close(j.stop)
	<-j.done
	j.report()
	j.keep.Lock()
	file, hook := j.file, j.hook
	for t := range j.tails {
		t.end()
	}
	j.tails = nil
	j.keep.Unlock()
	var faults []error
	if file != nil {
		file.finish()
		faults = append(faults, file.wait(ctx))
	}
	if hook != nil {
		hook.finish()
		faults = append(faults, hook.wait(ctx))
	}
	return errors.Join(faults...)
}
