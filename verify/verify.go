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

	memory   *memory
	standing *standing
	breaker  *breaker
	grey     *greylist
	clients  *clients
	senders  *senders

	base    context.Context // of all flights; ends in Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	flights   map[string]*flight // by the key of the address
	perDomain map[string]int     // flights of each domain
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
		breaker: newBreaker(set.cfg.Log),
		base:    base, cancel: cancel,
		flights: make(map[string]*flight), perDomain: make(map[string]int),
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
	w := walk{v: v, set: v.settings.Load(), q: q, start: time.Now()}
	r := w.run(ctx)
	r.Address = q.Address
	r.Steps = w.steps
	r.Elapsed = time.Since(w.start)
	return r
}

// Recall is Verify without a wait: what is known already, or why nobody is asked. ok is
// false when the address would have to be asked about; nothing has been started then.
func (v *Verifier) Recall(q Question) (r Result, ok bool) {
	w := walk{v: v, set: v.settings.Load(), q: q, start: time.Now()}
	if r, ok = w.recall(context.Background()); ok {
		r.Address, r.Steps = q.Address, w.steps
	}
	return r, ok
}

// Forget drops what is known of an address, for the next question to ask anew.
func (v *Verifier) Forget(a esmtp.Address) {
	v.memory.forget(a.Key())
	v.grey.forget(a.Key())
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

	sender esmtp.Address       // to ask with
	old    cache.Entry[Result] // what memory has, if known
	known  bool
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
	r := w.fly(ctx, w.sender)
	if w.known && r.Verdict == Unknown && !aboutMailbox(r) {
		w.step("memory", "no answer ("+string(r.Reason)+"), so the old proof holds: "+
			recall(w.old, w.start))
		return remembered(w.old, w.start)
	}
	return r
}

// recall answers what can be answered without a wait. Otherwise it has found out with which
// sender to ask, and what old proof there is.
func (w *walk) recall(ctx context.Context) (Result, bool) {
	v, now := w.v, w.start
	key := w.q.Address.Key()
	if reason := w.set.neverAsked(w.q.Address, key); reason != "" {
		w.step("address", "never asked: "+string(reason))
		return because(reason), true
	}
	w.old, w.known = v.memory.get(key, now)
	if w.known && now.Before(w.old.Refresh) {
		w.step("memory", recall(w.old, now))
		return remembered(w.old, now), true
	}
	var quiet Reason
	if w.sender, quiet = w.set.askAs(w.q); quiet != "" {
		w.step("memory only", string(quiet))
		if w.known {
			w.step("memory", recall(w.old, now))
			return remembered(w.old, now), true
		}
		return because(quiet), true
	}
	if w.known && w.old.Value.Verdict != Undeliverable {
		// Good, but not fresh: used as it is, and asked again behind.
		w.step("memory", recall(w.old, now)+"; not fresh: "+w.behind(ctx, w.sender))
		return remembered(w.old, now), true
	}
	return Result{}, false
}

// fly asks, or waits for who asks already.
func (w *walk) fly(ctx context.Context, sender esmtp.Address) Result {
	v, q := w.v, w.q
	left := q.Budget.enter(w.start)
	if left == 0 {
		w.step("budget", "the waiting time of the message is used up: "+w.behind(ctx, sender))
		return soon(BudgetSpent)
	}
	defer func() { q.Budget.leave(time.Now()) }()
	f, reason := v.join(ctx, q, sender, true)
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
	select {
	case <-f.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-f.done:
		w.adopt(f)
		return f.result
	default:
		w.step("flight", "no answer within the time; it goes on behind")
		return soon(late)
	}
}

// behind sees to it that the address is asked about without a wait, and tells so.
func (w *walk) behind(ctx context.Context, sender esmtp.Address) string {
	if _, reason := w.v.join(ctx, w.q, sender, false); reason != "" {
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
func (w *walk) adopt(f *flight) {
	if !w.q.Trace {
		return
	}
	shift := f.start.Sub(w.start)
	for _, s := range f.steps {
		s.At = max(0, s.At+shift)
		w.steps = append(w.steps, s)
	}
}

// remembered is an answer from memory.
func remembered(e cache.Entry[Result], now time.Time) Result {
	r := e.Value
	r.Cached = true
	if r.Verdict == Unknown {
		r.RetryAfter = e.Expire.Sub(now)
	}
	return r
}

func recall(e cache.Entry[Result], now time.Time) string {
	return string(e.Value.Verdict) + ", " + string(e.Value.Reason) + ", learnt " +
		now.Sub(e.Stored).Round(time.Second).String() + " ago"
}
