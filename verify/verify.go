package verify

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// sweepEvery is how often expired entries are removed: what has expired is also
// personal data that is no longer needed.
const sweepEvery = 10 * time.Minute

// Verifier answers questions. It is safe for concurrent use; [Verifier.Close] ends
// the goroutines that it owns.
type Verifier struct {
	settings atomic.Pointer[settings] // written under mu
	log      *slog.Logger

	memory    *memory
	standing  *standing
	breaker   *breaker
	grey      *greylist
	clients   *clients
	senders   *senders
	domains   *domains
	histories *histories
	guard     *guard
	banners   *cache.Cache[string] // names of profiles, by mail host
	sent      sent
	secret    []byte // of invented recipients
	counts    counters

	base    context.Context // of all flights; ends in Close
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	flights   map[string]*flight // by the key of the address
	perDomain map[string]int     // flights of each domain
	tests     map[string]*flight // those that landed and look into their domain, by domain
}

// New returns a Verifier that finds mail servers through resolver and asks them
// through pool. In passive mode neither is used for more than internal domains, and
// pool may be nil. The caller closes pool after the Verifier.
func New(cfg Config, resolver *mx.Resolver, pool *probe.Pool) *Verifier {
	set := newSettings(cfg, resolver, pool)
	base, cancel := context.WithCancel(context.Background())
	v := &Verifier{
		log:    set.cfg.Log,
		memory: newMemory(set.cfg.CacheOctets, set.cfg.Store), standing: newStanding(set.cfg.Log),
		breaker: newBreaker(set.cfg.Log), guard: newGuard(set.cfg.Log),
		domains: newDomains(set.cfg.Store), histories: newHistories(set.cfg.Store),
		banners: cache.New[string](bannersSize), secret: secretOf(set.cfg),
		base: base, cancel: cancel, closing: make(chan struct{}),
		flights: make(map[string]*flight), perDomain: make(map[string]int),
		tests: make(map[string]*flight),
	}
	v.settings.Store(set)
	v.clients, v.senders = newClients(), newSenders()
	v.grey = newGreylist(set.cfg.Store, set.cfg.Log, v.askAgain)
	v.standing.delay = v.grey.delay
	v.running.Go(v.sweep)
	v.running.Go(func() { v.grey.run(v.base) })
	return v
}

// Verify tells what is known of the question's address. It never fails, and waits no
// longer than the least of ctx, Config.RcptBudget and what is left of q.Budget; the
// asking goes on without the caller and its answer is kept.
func (v *Verifier) Verify(ctx context.Context, q Question) Result {
	if q.Trace {
		if client, ok := ctx.Value(askerKey{}).(string); ok {
			q.Client = client
		}
	}
	w := v.newWalk(q)
	r := w.run(ctx)
	w.finish(&r)
	r.Elapsed = time.Since(w.start)
	return r
}

// Recall is Verify without a wait: what is known already at now, or why nobody is asked, goes to r.
// ok is false when the address would have to be asked about; nothing has been started then, and r
// is as it was.
func (v *Verifier) Recall(q *Question, now time.Time, r *Result) (ok bool) {
	if v.fresh(q, now, r) {
		return true
	}
	w := v.newWalk(*q)
	known, ok := w.recall(context.Background())
	if ok {
		w.finish(&known)
		*r = known
	}
	return ok
}

// fresh is the walk of most questions, without its costs: the verdict is in memory and need not be
// asked for again. Whatever is not as plain it leaves to the walk.
func (v *Verifier) fresh(q *Question, now time.Time, r *Result) bool {
	if q.Trace || q.CatchAll {
		return false
	}
	set := v.settings.Load()
	local := set.local(q.Address)
	if set.neverAsked(q.Address, local) != "" ||
		!v.memory.fresh(local, q.Address.ASCIIDomain(), now.UnixNano(), r) {
		return false
	}
	r.Address = q.Address
	return true
}

// Breaker tells whether probing is off because no mail server at all can be reached,
// since when, and what to do about it, for people.
func (v *Verifier) Breaker() (open bool, since time.Time, detail string) {
	return v.breaker.state()
}

// Close starts no further flights and waits for those that run. When ctx ends
// first, it cuts them and returns the cause. It does not close the pool. Questions
// after Close are answered from memory.
func (v *Verifier) Close(ctx context.Context) error {
	v.mu.Lock()
	if !v.closed {
		close(v.closing)
	}
	v.closed = true
	flights := v.snapshot()
	v.mu.Unlock()
	defer v.running.Wait()
	defer v.cancel()
	return await(ctx, flights)
}

func (v *Verifier) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-v.base.Done():
			return
		case now := <-tick.C:
			v.memory.sweep(now)
			v.standing.sweep(now)
			v.domains.kept.sweep(now)
			v.histories.kept.sweep(now)
			v.banners.Sweep(now)
		}
	}
}

// walk is one Verify.
type walk struct {
	v     *Verifier
	set   *settings
	q     Question
	start time.Time
	steps []Step

	local  string              // of the address, as it is remembered
	key    string              // of the address
	sender esmtp.Address       // to ask with
	old    cache.Entry[Result] // what memory has, if known
	known  bool
}

func (v *Verifier) newWalk(q Question) walk {
	set := v.settings.Load()
	local := set.local(q.Address)
	return walk{
		v: v, set: set, q: q, local: local, key: keyOf(local, q.Address), start: time.Now(),
	}
}

// finish adds to a result what is not kept with it.
func (w *walk) finish(r *Result) {
	r.Address = w.q.Address
	if !w.q.Trace && !w.q.CatchAll {
		return
	}
	r.Steps = w.steps
	r.Delivered = w.v.histories.of(w.key, w.start).lastDelivery()
	domain := w.q.Address.ASCIIDomain()
	if facts := w.v.domains.of(domain, 0, time.Now()); facts.hosts != 0 {
		general := peer{profile: w.set.profile(r.Provider)}.general()
		r.Domain = facts.report(general, time.Now())
		r.CatchAll = r.Domain != nil && r.Domain.AcceptsAll >= acceptsAllFrom &&
			(r.Verdict == Deliverable || r.Verdict == Risky)
	}
}

func (w *walk) step(what, detail string) {
	if w.q.Trace {
		w.steps = append(w.steps, Step{At: time.Since(w.start), What: what, Detail: detail})
	}
}

// run goes from what costs nothing to what costs most.
func (w *walk) run(ctx context.Context) Result {
	if r, ok := w.recall(ctx); ok {
		return r
	}
	r := w.fly(ctx)
	if w.known && r.Verdict == Unknown && !aboutMailbox(r) {
		w.step("memory", "no answer ("+string(r.Reason)+"), so the old proof holds: "+
			recall(&w.old, w.start))
		return remembered(&w.old, w.start)
	}
	return r
}

// recall answers what can be answered without a wait. Otherwise it has found out with which
// sender to ask, and what old proof there is.
func (w *walk) recall(ctx context.Context) (Result, bool) {
	v, now := w.v, w.start
	if reason := w.set.neverAsked(w.q.Address, w.local); reason != "" {
		w.step("address", "never asked: "+string(reason))
		return because(reason), true
	}
	w.known = v.memory.read(w.key, now, &w.old)
	if w.known && now.Before(w.old.Refresh) {
		w.remember("")
		return remembered(&w.old, now), true
	}
	var quiet Reason
	if w.sender, quiet = w.set.askAs(w.q); quiet != "" {
		w.step("memory only", string(quiet))
		if w.known {
			w.remember("")
			return remembered(&w.old, now), true
		}
		return w.unasked(quiet), true
	}
	if w.known && w.old.Value.Verdict != Undeliverable {
		// Good, but not fresh: used as it is, and asked again behind.
		w.remember("; not fresh: " + w.behind(ctx))
		return remembered(&w.old, now), true
	}
	return Result{}, false
}

// unasked is the answer where only memory may answer and has no verdict: perhaps mail has arrived.
func (w *walk) unasked(quiet Reason) Result {
	r := because(quiet)
	past := w.v.histories.of(w.key, w.start)
	if !past.worked() {
		return r
	}
	w.step("history", past.describe(w.start))
	return judge(evidence{now: w.start, found: r, past: past})
}

// fly asks, or waits for who asks already.
func (w *walk) fly(ctx context.Context) Result {
	v, q := w.v, w.q
	left := q.Budget.enter(w.start)
	if left == 0 {
		w.step("budget", "the waiting time of the message is used up: "+w.behind(ctx))
		return soon(BudgetSpent)
	}
	defer func() { q.Budget.leave(time.Now()) }()
	f, reason := v.join(ctx, w, true)
	if f == nil {
		w.step("flight", "not asked: "+string(reason))
		return because(reason)
	}
	late := Timeout
	wait := w.set.cfg.RcptBudget
	if left < wait {
		late, wait = BudgetSpent, left
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if !w.await(ctx, f.done, timer) {
		w.step("flight", "no answer within the time; it goes on behind")
		return soon(late)
	}
	if q.CatchAll || q.Trace {
		f.hurried.Do(func() { close(f.hurry) })
		if w.await(ctx, f.settled, timer) {
			w.adopt(f, f.steps)
			w.adopt(f, f.later)
			return f.final
		}
		w.adopt(f, f.steps)
		w.step("domain", "it is still being looked into, behind")
		return f.result
	}
	return f.result
}

// await waits for an end of a flight; false if it did not come in time.
func (w *walk) await(ctx context.Context, end <-chan struct{}, timer *time.Timer) bool {
	select {
	case <-end:
		return true
	default:
	}
	select {
	case <-end:
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-end:
		return true
	default:
		timer.Reset(0) // whoever waits next does not wait longer
		return false
	}
}

// behind sees to it that the address is asked about without a wait, and tells so.
func (w *walk) behind(ctx context.Context) string {
	if _, reason := w.v.join(ctx, w, false); reason != "" {
		return "not asked behind (" + string(reason) + ")"
	}
	return "asked behind"
}

// retrySoon is when a flight that nobody waits for has most likely landed.
const retrySoon = time.Minute

func soon(reason Reason) Result {
	r := because(reason)
	r.RetryAfter = retrySoon
	return r
}

// adopt takes over the steps of a flight, which may have begun before the question.
func (w *walk) adopt(f *flight, steps []Step) {
	if !w.q.Trace {
		return
	}
	shift := f.start.Sub(w.start)
	for _, s := range steps {
		s.At = max(0, s.At+shift)
		w.steps = append(w.steps, s)
	}
}

// remembered is an answer from memory.
func remembered(e *cache.Entry[Result], now time.Time) Result {
	r := e.Value
	r.Cached = true
	if r.Verdict == Unknown {
		r.RetryAfter = e.Expire.Sub(now)
	}
	return r
}

// remember tells what memory has.
func (w *walk) remember(more string) {
	if w.q.Trace {
		w.step("memory", recall(&w.old, w.start)+more)
	}
}

func recall(e *cache.Entry[Result], now time.Time) string {
	return string(e.Value.Verdict) + ", " + string(e.Value.Reason) + ", learnt " +
		now.Sub(e.Stored).Round(time.Second).String() + " ago"
}
