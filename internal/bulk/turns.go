package bulk

import (
	"container/heap"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	workers     = 64 // questions that are under way, at most, ...
	siteWorkers = 4  // ... to one site
	// freeWorkers are for all domains together whose mail servers are not asked: DNS answers.
	freeWorkers = workers / 2

	harvestLeast = 20 // mailboxes of a domain before anything is concluded
	harvestShare = 0.3

	pauseLeast = time.Second
	pauseMost  = time.Minute
)

// Site is who receives the mail of a domain.
type Site struct {
	Key  string     // of all domains that share their limits; "": nobody is asked
	Rate limit.Rate // of questions; zero: no limit
}

// site is a Site at work.
type site struct {
	Site
	limit int
	lanes []*lane // that have somebody to ask about and wait for their turn
	busy  int
	ready bool // is in turns.ready, or will be by a timer
	tat   time.Time
	pause
}

// lane is a domain.
type lane struct {
	name    string
	items   []int32 // to be asked about, the next one first
	site    *site   // nil: not known yet
	waiting bool    // is among the lanes of its site, or will be by a timer
	pause

	all, bad int           // mailboxes that its servers said something about; do not exist
	stopped  verify.Reason // nobody else is asked about; "": they are
}

// pause is the rest of who let nobody pass.
type pause struct {
	until  time.Time
	since  time.Time // that it lets nobody pass; zero: it does
	misses int
}

// miss makes the pause longer, up to retry if that is known. It reports false if it is too long.
func (p *pause) miss(now time.Time, retry, patience time.Duration) bool {
	if p.since.IsZero() {
		p.since = now
	}
	if !now.Before(p.until) { // else it is one of those that were under way already
		d := min(pauseLeast<<min(p.misses, 10), pauseMost)
		p.until = now.Add(max(d, retry))
		p.misses++
	}
	return p.until.Sub(p.since) <= max(patience, pauseMost)
}

func (p *pause) passed() { p.since, p.misses = time.Time{}, 0 }

// job is what a worker does next: find out about the site of lane, ask about item, or, if lane is nil,
// refuse items.
type job struct {
	lane  *lane
	item  int32
	ask   bool
	items []refusal
}

// refusal is an address that nobody is asked about, and why.
type refusal struct {
	item   int32
	reason verify.Reason
}

// turns says what comes next. It knows no clock and is for one goroutine at a time.
type turns struct {
	patience time.Duration

	unknown []*lane // whose site is to be found out
	ready   []*site
	sites   map[string]*site
	timers  timers
	refused []refusal
	last    []late // for when all others are done

	busy    int // jobs under way
	held    time.Time
	stopped []string // domains that were stopped by harvestShare
	given   []string // sites and domains that were given up
}

// late is an address that is asked about once more.
type late struct {
	lane *lane
	item int32
	due  time.Time
}

func newTurns(patience time.Duration) *turns {
	return &turns{patience: patience, sites: make(map[string]*site)}
}

// put has item asked about.
func (t *turns) put(l *lane, item int32, now time.Time) {
	if l.stopped != "" {
		t.refused = append(t.refused, refusal{item, l.stopped})
		return
	}
	l.items = append(l.items, item)
	t.queue(l, now)
}

// putAt is put at a time to come.
func (t *turns) putAt(l *lane, item int32, at time.Time) {
	t.at(at, func(now time.Time) { t.put(l, item, now) })
}

// queue gives l its place among the others, if there is something to ask.
func (t *turns) queue(l *lane, now time.Time) {
	switch {
	case l.waiting || len(l.items) == 0:
		return
	case l.site == nil:
		l.waiting = true
		t.unknown = append(t.unknown, l)
	case now.Before(l.until):
		l.waiting = true
		t.at(l.until, func(now time.Time) {
			l.waiting = false
			t.queue(l, now)
		})
	default:
		l.waiting = true
		l.site.lanes = append(l.site.lanes, l)
		t.enqueue(l.site, now)
	}
}

// enqueue gives s its place among the others, if it may be asked.
func (t *turns) enqueue(s *site, now time.Time) {
	if s.ready || len(s.lanes) == 0 || s.busy >= s.limit {
		return
	}
	s.ready = true
	at := s.until
	if _, wait, ok := s.Rate.Next(s.tat, now, 1); !ok && now.Add(wait).After(at) {
		at = now.Add(wait)
	}
	if now.Before(at) {
		t.at(at, func(now time.Time) {
			s.ready = false
			t.enqueue(s, now)
		})
		return
	}
	t.ready = append(t.ready, s)
}

// next returns a job. Without one it says how long there is none if nothing happens, or that all is
// done.
func (t *turns) next(now time.Time) (j job, wait time.Duration, done bool) {
	for len(t.timers) > 0 && !t.timers[0].at.After(now) {
		heap.Pop(&t.timers).(timer).do(now)
	}
	if n := min(len(t.refused), refuseBatch); n > 0 {
		j.items, t.refused = t.refused[:n:n], t.refused[n:]
		t.busy++
		return j, 0, false
	}
	if now.Before(t.held) {
		return job{}, t.held.Sub(now), false
	}
	if j, ok := t.ask(now); ok {
		return j, 0, false
	}
	if len(t.unknown) > 0 {
		j.lane, t.unknown = t.unknown[0], t.unknown[1:]
		t.busy++
		return j, 0, false
	}
	switch {
	case len(t.timers) > 0:
		return job{}, t.timers[0].at.Sub(now), false
	case t.busy > 0:
		return job{}, time.Hour, false
	case len(t.last) > 0:
		for _, x := range t.last {
			t.putAt(x.lane, x.item, x.due)
		}
		t.last = nil
		return t.next(now)
	}
	return job{}, 0, true
}

// refuseBatch is how many addresses are refused in one job.
const refuseBatch = 500

func (t *turns) ask(now time.Time) (j job, ok bool) {
	for len(t.ready) > 0 {
		s := t.ready[0]
		t.ready, s.ready = t.ready[1:], false
		if len(s.lanes) == 0 || s.busy >= s.limit {
			continue
		}
		if now.Before(s.until) {
			t.enqueue(s, now)
			continue
		}
		l := s.lanes[0]
		s.lanes, l.waiting = s.lanes[1:], false
		if len(l.items) == 0 || now.Before(l.until) { // it was stopped, or must rest
			t.queue(l, now)
			t.enqueue(s, now)
			continue
		}
		tat, _, ok := s.Rate.Next(s.tat, now, 1)
		if ok {
			s.tat = tat
		}
		j = job{lane: l, item: l.items[0], ask: true}
		l.items = l.items[1:]
		s.busy++
		t.busy++
		t.queue(l, now)
		t.enqueue(s, now)
		return j, true
	}
	return job{}, false
}

// found ends the job of finding out about a site.
func (t *turns) found(l *lane, found Site, now time.Time) {
	t.busy--
	s := t.sites[found.Key]
	if s == nil {
		s = &site{Site: found, limit: siteWorkers}
		if found.Key == "" {
			s.limit = freeWorkers
		}
		t.sites[found.Key] = s
	}
	l.site, l.waiting = s, false
	t.queue(l, now)
}

// left ends a job of asking.
func (t *turns) left(l *lane, now time.Time) {
	t.busy--
	l.site.busy--
	t.enqueue(l.site, now)
}

// passed tells that a question of l has been asked.
func (t *turns) passed(l *lane) {
	l.passed()
	l.site.passed()
}

// missed tells that a question of l was not asked for that reason, a limit that ends after retry if
// that is above 0.
func (t *turns) missed(l *lane, reason verify.Reason, retry time.Duration, now time.Time) {
	s := l.site
	mine, all := l.miss(now, retry, t.patience), s.miss(now, retry, t.patience)
	switch {
	case !all:
		t.given = append(t.given, s.Key)
		for _, other := range s.lanes {
			t.stop(other, reason)
		}
		t.stop(l, reason)
	case !mine:
		t.given = append(t.given, l.name)
		t.stop(l, reason)
	}
}

// judge counts an answer about a mailbox of l.
func (t *turns) judge(l *lane, a *Answer) {
	switch {
	case a.noMailbox():
		l.bad++
	case !a.exists():
		return
	}
	l.all++
	if l.stopped == "" && l.all >= harvestLeast && limit.LowerBound(l.bad, l.all) > harvestShare {
		t.stopped = append(t.stopped, l.name)
		t.stop(l, verify.LocalLimit)
	}
}

// stop has nobody else of l asked about.
func (t *turns) stop(l *lane, reason verify.Reason) {
	l.stopped = reason
	for _, item := range l.items {
		t.refused = append(t.refused, refusal{item, reason})
	}
	l.items = nil
}

func (t *turns) at(when time.Time, do func(now time.Time)) {
	heap.Push(&t.timers, timer{at: when, do: do})
}

type timer struct {
	at time.Time
	do func(now time.Time)
}

// timers is a heap of what happens first.
type timers []timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timers) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = timer{}
	*h = (*h)[:len(*h)-1]
	return last
}
