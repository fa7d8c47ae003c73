package verify

import (
	"cmp"
	stdheap "container/heap"
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// greySteps is when a greylisted recipient is asked again, since it was first: what most greylists
// want is 5 minutes, and some compare seconds.
func greySteps() []time.Duration {
	return []time.Duration{
		time.Minute, 5*time.Minute + 10*time.Second, 15 * time.Minute, 30 * time.Minute,
		2 * time.Hour, 6 * time.Hour, 12 * time.Hour, greyEnd,
	}
}

const (
	greyEnd     = 24 * time.Hour // then nothing more is to be learned
	greySlack   = 10 * time.Second
	greyMost    = 10_000              // recipients that wait
	greyAtOnce  = 16                  // that are asked again at a time
	delayKeep   = 30 * 24 * time.Hour // of a server's delay
	delaysSize  = 16_384              // servers whose delay is remembered
	greyVersion = 1
)

// greylist asks again about recipients that were greylisted, when their server may have had enough:
// with the same sender, and so from the same address of ours. It learns how long each server takes.
//
// It runs only for mail that was deferred because of it (Verifier.Schedule): where greylisted mail is
// accepted, the relay's own retry does the work. What waits outlives the process if there is a Store;
// the file then has these addresses in clear, until they are answered or a day is over.
type greylist struct {
	store *cache.Store
	log   *slog.Logger
	ask   func(ctx context.Context, rcpt, sender esmtp.Address) Result

	delays *cache.Cache[time.Duration] // by mail server

	mu   sync.Mutex
	list map[string]*greyed // by the key of the address
	due  greyHeap
	wake chan struct{}
}

// greyed is a recipient that waits.
type greyed struct {
	rcpt, sender esmtp.Address
	mx           string
	first, due   time.Time
	last         time.Time // that it was still greylisted
	index        int       // in the heap; -1: is being asked
}

func newGreylist(
	store *cache.Store, log *slog.Logger, ask func(ctx context.Context, rcpt, sender esmtp.Address) Result,
) *greylist {
	g := &greylist{
		store: store, log: log, ask: ask, delays: cache.New[time.Duration](delaysSize),
		list: make(map[string]*greyed), wake: make(chan struct{}, 1),
	}
	store.Range(cache.Schedule, nil, func(_, value []byte, _ time.Time) bool {
		if e, ok := parseGreyed(value); ok && len(g.list) < greyMost {
			g.list[e.rcpt.Key()] = e
			stdheap.Push(&g.due, e)
		}
		return true
	})
	return g
}

// add puts a recipient on the list. r is the answer that greylisted it.
func (g *greylist) add(rcpt, sender esmtp.Address, r Result, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := rcpt.Key()
	if g.list[key] != nil || len(g.list) >= greyMost {
		return g.list[key] != nil
	}
	first := now
	if !r.Checked.IsZero() && now.Sub(r.Checked) < greyEnd {
		first = r.Checked
	}
	e := &greyed{rcpt: rcpt, sender: sender, mx: strings.ToLower(r.MX), first: first, last: first}
	e.due = g.next(e, hintOf(r), now)
	g.list[key] = e
	stdheap.Push(&g.due, e)
	g.save(e)
	g.poke()
	return true
}

// hintOf is the delay that the words of a server name; Result.RetryAfter may be one that we made up.
func hintOf(r Result) time.Duration {
	if r.Cached || r.Reply.IsZero() {
		return 0
	}
	return reply.Classify(reply.Input{
		Code: r.Reply.Code, Enhanced: r.Reply.Enhanced(), Text: r.Reply.Text(), Stage: r.Stage,
		Provider: r.Provider,
	}).Retry
}

// next is when e is asked again: when its server said, when it let others pass, or at the next step.
// The zero time means never.
func (g *greylist) next(e *greyed, hint time.Duration, now time.Time) time.Time {
	if now.Sub(e.first) >= greyEnd {
		return time.Time{}
	}
	jitter := func(d time.Duration) time.Duration {
		return time.Duration(rand.Int64N(int64(d/20) + 1)) //nolint:gosec // so that not all come at once
	}
	if hint > 0 {
		return now.Add(hint + greySlack + jitter(hint))
	}
	if d := g.delay(e.mx, now); d > 0 && now.Sub(e.first) < d {
		return e.first.Add(d + greySlack + jitter(d))
	}
	for _, step := range greySteps() {
		if at := e.first.Add(step); at.After(now) {
			return at.Add(jitter(step))
		}
	}
	return time.Time{}
}

// delay is how long the server is known to take; 0: not known.
func (g *greylist) delay(mx string, now time.Time) time.Duration {
	if e, ok := g.delays.Get(mx, now); ok {
		return e.Value
	}
	value, expire, ok := g.store.Lookup(cache.Sites, siteKey(mx))
	if !ok || len(value) != 9 || value[0] != greyVersion {
		return 0
	}
	d := time.Duration(binary.BigEndian.Uint64(value[1:])) //nolint:gosec // as written by passed
	if d <= 0 || d > greyEnd {
		return 0
	}
	g.delays.Put(mx, cache.Entry[time.Duration]{Value: d, Stored: now, Refresh: expire, Expire: expire})
	return d
}

// passed learns the delay of a server that let e pass: it is between the last time that it did not
// and now, and the least that was seen.
func (g *greylist) passed(e *greyed, now time.Time) {
	took := now.Sub(e.first)
	if old := g.delay(e.mx, now); e.mx == "" || took < greySlack || old > 0 && old <= took {
		return
	}
	end := now.Add(delayKeep)
	g.delays.Put(e.mx, cache.Entry[time.Duration]{Value: took, Stored: now, Refresh: end, Expire: end})
	value := binary.BigEndian.AppendUint64([]byte{greyVersion}, uint64(took))
	g.store.Put(cache.Sites, siteKey(e.mx), value, end)
}

// siteKey is where the delay of a server is kept. Keys are at most 64 octets.
func siteKey(mx string) []byte { return []byte("grey " + mx[max(0, len(mx)-58):]) }

func (g *greylist) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run asks what is due until ctx ends.
func (g *greylist) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	slots := make(chan struct{}, greyAtOnce)
	for {
		e, wait := g.take(time.Now())
		if e != nil {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			asking.Go(func() {
				defer func() { <-slots }()
				g.again(ctx, e)
			})
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// take returns what is due, or how long nothing is.
func (g *greylist) take(now time.Time) (*greyed, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.due) == 0 {
		return nil, time.Hour
	}
	if wait := g.due[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	return stdheap.Pop(&g.due).(*greyed), 0
}

// again asks once more about e, which is off the heap.
func (g *greylist) again(ctx context.Context, e *greyed) {
	r := g.ask(ctx, e.rcpt, e.sender)
	if ctx.Err() != nil {
		return // it stays in the store
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	key := e.rcpt.Key()
	if g.list[key] != e {
		return // forgotten meanwhile
	}
	switch {
	case r.Verdict != Unknown:
		if r.Reason == MailboxExists { // not known to exist by other signs, and still greylisted
			g.passed(e, now)
		}
		e.due = time.Time{}
	case r.Reason == Greylisted:
		e.last = now
		e.due = g.next(e, hintOf(r), now)
	default:
		e.due = g.next(e, 0, now)
	}
	if e.due.IsZero() {
		g.drop(e)
		return
	}
	stdheap.Push(&g.due, e)
	g.save(e)
	g.poke()
}

// drop takes e, which is off the heap, off the list.
func (g *greylist) drop(e *greyed) {
	delete(g.list, e.rcpt.Key())
	key := g.store.AddressKey(e.rcpt)
	g.store.Delete(cache.Schedule, key[:])
}

// forget takes a recipient off the list.
func (g *greylist) forget(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.list[key]; e != nil {
		if e.index >= 0 {
			stdheap.Remove(&g.due, e.index)
		}
		g.drop(e)
	}
}

// forgetDomain takes all recipients of a domain off the list.
func (g *greylist) forgetDomain(domain string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.list {
		if e.rcpt.ASCIIDomain() == domain {
			if e.index >= 0 {
				stdheap.Remove(&g.due, e.index)
			}
			g.drop(e)
		}
	}
}

// len is how many wait.
func (g *greylist) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.list)
}

func (g *greylist) save(e *greyed) {
	if g.store == nil {
		return
	}
	key := g.store.AddressKey(e.rcpt)
	g.store.Put(cache.Schedule, key[:], e.append(nil), e.first.Add(greyEnd+time.Hour))
}

// append writes e: a version, first, due and last in seconds, and three texts with their lengths.
func (e *greyed) append(b []byte) []byte {
	b = append(b, greyVersion)
	for _, t := range []time.Time{e.first, e.due, e.last} {
		b = binary.AppendVarint(b, t.Unix())
	}
	for _, s := range []string{e.rcpt.String(), e.sender.String(), e.mx} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// parseGreyed reads what append wrote; ok is false for anything else.
func parseGreyed(b []byte) (e *greyed, ok bool) {
	if len(b) == 0 || b[0] != greyVersion {
		return nil, false
	}
	b = b[1:]
	e = &greyed{}
	for _, t := range []*time.Time{&e.first, &e.due, &e.last} {
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, false
		}
		*t, b = time.Unix(v, 0), b[n:]
	}
	var texts [3]string
	for i := range texts {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) { //nolint:gosec // n is at most len(b)
			return nil, false
		}
		texts[i], b = string(b[n:n+int(v)]), b[n+int(v):] //nolint:gosec // within b
	}
	var err, err2 error
	e.rcpt, err = esmtp.ParseAddress(texts[0], true)
	e.sender, err2 = esmtp.ParseAddress(texts[1], true)
	e.mx = texts[2]
	return e, len(b) == 0 && cmp.Or(err, err2) == nil && e.due.Sub(e.first) <= 2*greyEnd
}

// greyHeap orders by due; see container/heap.
type greyHeap []*greyed

func (h greyHeap) Len() int           { return len(h) }
func (h greyHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h greyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *greyHeap) Push(x any) {
	e := x.(*greyed)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *greyHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// Schedule has a recipient asked about again, later and with the same sender, because its mail was
// deferred: r says that it is greylisted. The client's retry is then answered from memory. It does
// nothing for any other result, in passive mode, and for mail from <>. It reports whether the
// recipient is on the schedule.
func (v *Verifier) Schedule(q Question, r Result) bool {
	set := v.settings.Load()
	if r.Reason != Greylisted || q.Address.ASCIIDomain() == "" {
		return false
	}
	if _, quiet := set.askAs(q); quiet != "" {
		return false
	}
	return v.grey.add(q.Address, q.Sender, r, time.Now())
}

// Scheduled is how many recipients wait to be asked about again.
func (v *Verifier) Scheduled() int { return v.grey.len() }

// askAgain is how the greylist asks. What was said of the recipient the last time is no reason not
// to; all other pauses and limits hold.
func (v *Verifier) askAgain(ctx context.Context, rcpt, sender esmtp.Address) Result {
	q := Question{Address: rcpt, Sender: sender}
	set := v.settings.Load()
	as, quiet := set.askAs(q)
	if quiet != "" {
		return because(quiet)
	}
	v.standing.pardon(as, rcpt)
	v.standing.pardon(set.cfg.FallbackSender, rcpt) // see chooseSender
	return v.Verify(ctx, q)
}

// pardon forgets that rcpt was greylisted for the sender.
func (s *standing) pardon(sender, rcpt esmtp.Address) {
	s.senders.Delete(senderKey(sender, rcpt.Key()))
}
