package bulk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// ErrStopped says that a run was stopped before all addresses had their answer.
var ErrStopped = errors.New("stopped")

// ErrCutOff says that no mail server can be reached from this host.
var ErrCutOff = errors.New("no mail server can be reached from here")

// Asker asks mail servers. It is called by many goroutines.
type Asker interface {
	// Site finds out who receives the mail of a domain (A-labels, lower case), without asking them.
	Site(ctx context.Context, domain string) Site
	// Ask is verify.Verifier.Verify.
	Ask(ctx context.Context, a esmtp.Address) verify.Result
}

// Config is how a list is checked.
type Config struct {
	Ask     Asker
	Journal string // its file; "": none, and nothing can be resumed
	Options string // what else the answers depend on, for people: another one refuses to resume
	Restart bool   // forget what the journal says
	AskLost bool   // ask once more about those that were being asked when the run was cut off

	Patience time.Duration // see the package; 0: nobody is asked twice
	Grace    time.Duration // for the questions that are under way when the run is stopped
}

// Run is one check of a list, from Start to Close.
type Run struct {
	cfg  Config
	list *List

	journal *journal // nil: none
	wake    chan struct{}

	mu      sync.Mutex
	state   *state
	turns   *turns
	again   []bool // those that are asked about once more
	settled []bool // those whose answer is the last
	counts  Progress
	fault   error
	cutOff  time.Time // since when no mail server can be reached
	end     context.CancelFunc
}

// Progress is how far a run is. All numbers are of different addresses.
type Progress struct {
	All      int
	Resumed  int // had their answer already when the run began
	Lost     int // were being asked when an earlier run was cut off
	Done     int
	Waiting  int // of the others: were asked, and are to be asked again
	Verdicts map[verify.Verdict]int
}

// Start reads the journal of an earlier run, or begins one. The caller closes the Run.
func Start(list *List, cfg Config) (*Run, error) {
	r := &Run{
		cfg: cfg, list: list, wake: make(chan struct{}, 1), turns: newTurns(cfg.Patience),
		state: newState(list.Len()), again: make([]bool, list.Len()), settled: make([]bool, list.Len()),
		counts: Progress{All: list.Len(), Verdicts: make(map[verify.Verdict]int)},
	}
	if cfg.Journal != "" {
		if err := r.openJournal(); err != nil {
			return nil, err
		}
	}
	if err := r.resume(time.Now()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Run) openJournal() error {
	file, err := openJournal(r.cfg.Journal)
	if err != nil {
		return err
	}
	header := headerLine(r.list, r.cfg.Options)
	if r.cfg.Restart {
		err = emptyJournal(file)
	}
	if err == nil {
		err = readJournal(file, r.state, header)
	}
	var info os.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	r.journal = newJournal(file)
	if info.Size() == 0 {
		syncDirectory(r.cfg.Journal)
		if err := r.journal.write(header); err != nil {
			return errors.Join(err, r.Close())
		}
	}
	return nil
}

// resume gives each address its place: its answer is known, or it is to be asked about.
func (r *Run) resume(now time.Time) error {
	end := 0
	for i := range r.list.domains {
		d := &r.list.domains[i]
		l := &lane{name: d.name}
		for _, n := range d.items {
			if r.state.open[n] {
				r.counts.Lost++
			}
			if r.state.open[n] && !r.cfg.AskLost {
				end = r.lost(n, now)
			}
			r.place(l, n, now)
		}
		r.turns.queue(l, now)
	}
	r.counts.Resumed = r.counts.Done
	if r.journal == nil {
		return nil
	}
	return r.journal.wait(end)
}

// lost settles an address that was being asked about when the run before was cut off: nobody knows
// whether its mail server saw the question. What was known of it before stays.
func (r *Run) lost(n int32, now time.Time) (end int) {
	a := unasked(Interrupted, now)
	if before := r.state.answers[n]; before.Verdict != "" {
		a = before
	}
	r.state.answer(n, a)
	r.again[n] = true
	return r.journal.append(answerLine(n, &a))
}

// place puts an address where it belongs.
func (r *Run) place(l *lane, n int32, now time.Time) {
	a := &r.state.answers[n]
	switch {
	case a.Verdict == "" && !r.state.since(n).IsZero():
		r.counts.Waiting++
		r.turns.putAt(l, n, r.state.due[n])
	case a.Verdict == "":
		l.items = append(l.items, n)
	case r.askedAgain(n, a, 0):
		r.turns.judge(l, a)
		r.later(l, n, now)
	default:
		r.turns.judge(l, a)
		r.settle(n)
	}
}

// Run asks about all addresses that have no answer yet. It returns nil when all have one, ErrStopped
// when ctx ended before, ErrCutOff, or what is wrong with the journal.
func (r *Run) Run(ctx context.Context) error {
	going, end := context.WithCancel(ctx)
	defer end()
	r.mu.Lock()
	r.end = end
	r.mu.Unlock()
	// Questions that are under way have some time to end.
	asking, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	jobs := make(chan job)
	var working sync.WaitGroup
	for range min(workers, r.list.Len()) {
		working.Go(func() {
			for j := range jobs {
				r.work(going, asking, j)
			}
		})
	}
	all := r.dispatch(going, jobs)
	close(jobs)
	grace := time.AfterFunc(r.cfg.Grace, cut)
	defer grace.Stop()
	working.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fault != nil:
		return r.fault
	case !all:
		return ErrStopped
	}
	return nil
}

// dispatch hands out jobs until all is done, or ctx ends.
func (r *Run) dispatch(ctx context.Context, jobs chan<- job) (all bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		r.mu.Lock()
		j, wait, done := r.turns.next(time.Now())
		r.mu.Unlock()
		switch {
		case done:
			return true
		case wait == 0:
			select {
			case jobs <- j:
			case <-ctx.Done():
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return false
}

func (r *Run) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Run) work(going, asking context.Context, j job) {
	defer r.poke()
	switch {
	case j.lane == nil:
		r.refuse(j.items)
	case !j.ask:
		found := r.cfg.Ask.Site(going, j.lane.name)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.turns.found(j.lane, found, time.Now())
	case r.begin(going, j):
		a, err := esmtp.ParseAddress(r.list.addresses[j.item], true)
		if err != nil { // it was written by an Address
			r.fail(fmt.Errorf("%q is no address any more: %w", r.list.addresses[j.item], err))
			return
		}
		result := r.cfg.Ask.Ask(asking, a)
		r.take(j, result, asking.Err() != nil)
	}
}

// begin has it on disk that an address is asked about.
func (r *Run) begin(ctx context.Context, j job) bool {
	if ctx.Err() != nil {
		return false
	}
	if j.lane.site.Key != "" && !r.log(numberLine(lineAsking, j.item)) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if j.lane.site.Key != "" {
		r.state.ask(j.item)
	}
	return true
}

// log writes a line, and waits for it to be on disk.
func (r *Run) log(line []byte) bool {
	if r.journal == nil {
		return true
	}
	if err := r.journal.write(line); err != nil {
		r.fail(err)
		return false
	}
	return true
}

// fail ends the run.
func (r *Run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil {
		r.fault = err
	}
	r.end()
}

// Progress tells how far the run is. It may be called while Run runs.
func (r *Run) Progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.counts
	p.Verdicts = maps.Clone(r.counts.Verdicts)
	return p
}

// Close ends the use of the journal, which stays.
func (r *Run) Close() error {
	if r.journal == nil {
		return nil
	}
	err := r.journal.close()
	r.journal = nil
	return err
}

// Remove removes the journal. The run is over.
func (r *Run) Remove() error {
	if r.cfg.Journal == "" {
		return nil
	}
	return errors.Join(removeJournal(r.cfg.Journal), r.Close())
}
