package journal

import (
	"context"
	"errors"
	"hash/maphash"
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
)

// Journal keeps decisions. All its methods may be called at any time from any goroutine; those of
// a nil *Journal do nothing.
//
// Locks are taken in this order: setup, keep, in, file.mu.
type Journal struct {
	log   *slog.Logger
	queue atomic.Int64 // its limit

	in      sync.Mutex
	pending []*block // the last one takes what comes
	first   int      // of pending[0], the oldest item that is pending
	waiting int      // items that are pending
	form    *form    // of new blocks
	free    []*block // for pending
	common  common
	closed  bool

	delay *time.Timer // until what is pending is gathered
	stop  chan struct{}
	done  chan struct{}

	keep     sync.Mutex
	spare    []*block // room for pending
	used     []*block // for free
	format   formatter
	late     formatter // of refusals that leave recent
	recent   values
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
		log: log, delay: time.NewTimer(gatherDelay), stop: make(chan struct{}),
		done: make(chan struct{}), tails: make(map[*Tail]struct{}),
		common: common{seed: maphash.MakeSeed()},
	}
	j.delay.Stop()
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
	j.gather()
	j.keep.Lock()
	oldFile, oldHook := j.file, j.hook
	j.file, j.hook = next, hook
	j.maxAge, j.archive = cfg.MaxAge, NewArchive(cfg)
	octets := orDefault(cfg.MemoryOctets, DefaultMemoryOctets)
	j.refusals.shrink(orDefault(cfg.Refusals, DefaultRefusals), octets-octets/4)
	j.recent.maxItems, j.recent.maxOctets = orDefault(cfg.Recent, DefaultRecent), octets/4
	j.used = j.recent.trim(j.used, j.evict)
	j.queue.Store(int64(orDefault(cfg.Queue, DefaultQueue)))
	j.in.Lock()
	j.form = &form{mode: cfg.Redact, secret: cfg.Secret} // what is pending keeps its own
	j.in.Unlock()
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
	if j != nil {
		j.DecisionAt(time.Now(), tx, d, reply, relayed)
	}
}

// DecisionAt is Decision for those who know when the client was answered: about now.
func (j *Journal) DecisionAt(
	at time.Time, tx *policy.Transaction, d *policy.Decision, reply esmtp.Reply, relayed bool,
) {
	if j == nil {
		return
	}
	b, i := j.begin()
	if b == nil {
		return
	}
	b.items[i].decision(&j.common, at, tx, d, reply, relayed)
	j.end(b, i)
}

// Message records the end of a message. It never waits, and m must not be changed any more.
func (j *Journal) Message(tx *policy.Transaction, m *Message) {
	if j == nil {
		return
	}
	now := time.Now()
	b, i := j.begin()
	if b == nil {
		return
	}
	b.items[i].end(&j.common, now, tx, m)
	j.end(b, i)
}

// run gathers what comes until stop.
func (j *Journal) run() {
	defer close(j.done)
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	for {
		select {
		case <-j.delay.C:
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
	batch, first, last := j.take()
	for i, b := range batch {
		end := blockItems
		if i == len(batch)-1 {
			end = last
		} else if b.n < end { // another form began
			end = b.n
		}
		j.tell(b, first, end)
		j.recent.add(b, first, end)
		j.entries.Add(uint64(end - first))
		first = 0
	}
	if j.file != nil && len(batch) > 0 {
		j.file.taken()
	}
	j.used = j.recent.trim(j.used, j.evict)
	if j.maxAge > 0 {
		before := time.Now().Add(-j.maxAge)
		j.used = j.recent.expire(before, j.used)
		j.refusals.expire(before)
	}
	if batch != nil {
		clear(batch)
		j.spare = batch[:0]
	}
}

// tell hands items to all others who want them.
func (j *Journal) tell(b *block, first, end int) {
	if j.file != nil || len(j.tails) > 0 {
		j.format.in(b.form)
		for i := first; i < end; i++ {
			line := j.format.format(&b.items[i])
			if j.file != nil {
				j.file.take(line)
			}
			for t := range j.tails {
				t.offer(line)
			}
		}
	}
	if j.hook != nil {
		for i := first; i < end; i++ {
			if b.marks[i].refused {
				j.hook.offer(&b.items[i])
			}
		}
	}
}

// evict keeps a refusal that leaves the recent ones.
func (j *Journal) evict(b *block, i int) {
	if j.refusals.maxLines > 0 {
		j.late.in(b.form)
		j.refusals.push(j.late.format(&b.items[i]), b.marks[i].at, true)
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
		Octets: j.recent.octets + j.refusals.octets, Lines: j.recent.items + j.refusals.lines,
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
