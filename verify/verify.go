package verify

import (
	"context"
	"log/slog"
	"strings"
	"sync"
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
	cfg       Config
	lifetimes lifetimes
	mx        *mx.Resolver
	pool      *probe.Pool
	log       *slog.Logger
	own       map[string]bool // keys of our own addresses, in lower case

	memory   *memory
	standing *standing
	breaker  *breaker

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
	cfg = cfg.withDefaults()
	base, cancel := context.WithCancel(context.Background())
	v := &Verifier{
		cfg: cfg,
		lifetimes: lifetimes{
			positiveRefresh: cfg.PositiveRefresh, positiveExpire: cfg.PositiveExpire,
			negativeRefresh: cfg.NegativeRefresh, negativeExpire: cfg.NegativeExpire,
			temporaryExpire: cfg.TemporaryExpire,
		},
		mx: resolver, pool: pool, log: cfg.Log, own: ownAddresses(cfg),
		memory: newMemory(cfg.CacheSize), standing: newStanding(cfg.Log), breaker: newBreaker(cfg.Log),
		base: base, cancel: cancel,
		flights: make(map[string]*flight), perDomain: make(map[string]int),
	}
	v.running.Go(v.sweep)
	return v
}

// Verify tells what is known of the question's address. It never fails, and waits no
// longer than the least of ctx, Config.RcptBudget and what is left of q.Budget; the
// asking goes on without the caller and its answer is kept.
func (v *Verifier) Verify(ctx context.Context, q Question) Result {
	w := walk{v: v, q: q, start: time.Now()}
	r := w.run(ctx)
	r.Address = q.Address
	r.Steps = w.steps
	r.Elapsed = time.Since(w.start)
	return r
}

// Recall is Verify without a wait: what is known already, or why nobody is asked. ok is
// false when the address would have to be asked about; nothing has been started then.
func (v *Verifier) Recall(q Question) (r Result, ok bool) {
	w := walk{v: v, q: q, start: time.Now()}
	if r, ok = w.recall(context.Background()); ok {
		r.Address, r.Steps, r.Elapsed = q.Address, w.steps, time.Since(w.start)
	}
	return r, ok
}

// Forget drops what is known of an address, for the next question to ask anew.
func (v *Verifier) Forget(a esmtp.Address) { v.memory.forget(a.Key()) }

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
	flights := make([]*flight, 0, len(v.flights))
	for _, f := range v.flights {
		flights = append(flights, f)
	}
	v.mu.Unlock()
	defer v.running.Wait()
	defer v.cancel()
	for _, f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
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
	if reason := v.neverAsked(w.q.Address, key); reason != "" {
		w.step("address", "never asked: "+string(reason))
		return because(reason), true
	}
	w.old, w.known = v.memory.get(key, now)
	if w.known && now.Before(w.old.Refresh) {
		w.step("memory", recall(w.old, now))
		return remembered(w.old, now), true
	}
	var quiet Reason
	if w.sender, quiet = v.askAs(w.q); quiet != "" {
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
	wait := v.cfg.RcptBudget
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

// neverAsked returns why an address is not asked about and nothing can be known of
// it; "" if it may be.
func (v *Verifier) neverAsked(a esmtp.Address, key string) Reason {
	domain := a.ASCIIDomain()
	switch {
	case domain == "", a.IsLiteral():
		return NotProbed
	case v.mx != nil && v.mx.Internal.Match(domain):
		return InternalDomain
	case strings.ContainsAny(a.Local(), "%!@"):
		// A route inside the local part (user%host@relay, host!user@relay): whom such
		// mail reaches is up to the relay, and the domain's server would not tell.
		return NotProbed
	case v.own[strings.ToLower(key)]:
		return OwnAddress
	}
	return ""
}

// askAs returns the sender to ask with, or the reason why only memory may answer.
func (v *Verifier) askAs(q Question) (sender esmtp.Address, quiet Reason) {
	switch {
	case q.NullSender:
		return sender, NullSender
	case q.Helo != "" && v.isOwnName(q.Helo):
		return sender, Self
	case v.cfg.Passive:
		return sender, Passive
	case q.MemoryOnly:
		return sender, NotProbed
	}
	for _, sender := range []esmtp.Address{v.cfg.ProbeSender, q.Sender, v.cfg.FallbackSender} {
		if usableSender(sender) {
			return sender, ""
		}
	}
	return sender, NullSender
}

// usableSender reports whether any mail server may be asked with this MAIL FROM.
func usableSender(a esmtp.Address) bool {
	return !a.IsNull() && !a.IsLiteral() && !a.NeedsUTF8() && strings.Contains(a.ASCIIDomain(), ".")
}

func (v *Verifier) isOwnName(helo string) bool {
	helo = strings.TrimSuffix(helo, ".")
	if strings.EqualFold(helo, v.cfg.Helo) {
		return true
	}
	for _, name := range v.cfg.OwnNames {
		if strings.EqualFold(helo, strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// ownAddresses are those that probes come from, and the one that Postfix calls back
// with: a server that verifies our sender must not make us verify in turn.
func ownAddresses(cfg Config) map[string]bool {
	own := make(map[string]bool)
	for _, a := range []esmtp.Address{cfg.ProbeSender, cfg.FallbackSender} {
		if !a.IsNull() {
			own[strings.ToLower(a.Key())] = true
		}
	}
	for _, name := range append([]string{cfg.Helo}, cfg.OwnNames...) {
		own["double-bounce@"+strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return own
}
