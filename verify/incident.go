package verify

import (
	"log/slog"
	"math"
	"sync"
	"time"
)

// The guard against waves of refusals that cannot be true, as of Gmail on 14 and 15 December 2020
// and of iCloud on 8 August 2019: for hours they refused mailboxes as unknown that existed.
const (
	waveWindow = 15 * time.Minute
	waveRing   = 128 // answers of one provider that are looked at

	// Among addresses that used to work ...
	waveKnown      = 20   // ... so many answers,
	waveKnownShare = 0.10 // ... and surely more refused than this, and than 5 times the usual share.
	waveFew        = 5    // Or so many, and nearly all refused.
	waveFewShare   = 0.8

	// Among all addresses: of so many answers in a row no more than one accepted, at a provider
	// that otherwise accepts most.
	waveAll      = 20
	waveAllShare = 0.95
	waveUsual    = 100 // answers by which a site without a profile is known
	waveAccepts  = 10  // without which there is nothing that it has turned from

	waveAgain = 24 * time.Hour // after a wave, the next is believed in sooner ...
	waveFirst = 5              // ... by so many answers, all refused

	waveOver = 10 // answers, of which ...
	waveCalm = 0.3

	// domainMost is how many addresses of one customer's domain count: who closes a company closes
	// all its mailboxes at once.
	domainMost = 3

	waveGroups = 1024 // providers and sites that are watched
)

// answerSeen is one answer of a provider about one address.
type answerSeen struct {
	at      time.Time
	key     string // of the address; "" if it was accepted
	address uint64 // hashes, so that each counts once
	domain  uint64
	known   bool // mail has arrived there, or its server has accepted it before
	refused bool // as unknown, with proof
	own     bool // the domain is the provider's own
}

// wave watches one provider.
type wave struct {
	ring [waveRing]answerSeen // a ring
	next int

	usual   share // of all answers that left the ring
	usualK  share // of those about known addresses
	accepts int   // addresses that were accepted, ever

	since time.Time // when the wave began; zero: there is none
	until time.Time // it lasts, unless more is seen
	ended time.Time // the last one
	seen  time.Time
}

// share counts, and halves both counts from time to time, so that it follows what is usual.
type share struct{ refused, of float64 }

func (s *share) add(refused bool) {
	if s.of >= 1000 {
		s.refused, s.of = s.refused/2, s.of/2
	}
	s.of++
	if refused {
		s.refused++
	}
}

// value leans towards general as long as little was seen.
func (s share) value(general float64) float64 { return (s.refused + 20*general) / (s.of + 20) }

// guard watches all providers. It is safe for concurrent use.
type guard struct {
	log *slog.Logger

	mu    sync.Mutex
	waves map[string]*wave
}

func newGuard(log *slog.Logger) *guard { return &guard{log: log, waves: make(map[string]*wave)} }

// open reports whether there is a wave at the provider.
func (g *guard) open(group string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waves[group]
	return w != nil && !w.since.IsZero() && now.Before(w.until)
}

// see takes one answer. named tells that the provider has a profile. It reports whether there is a
// wave now, and returns the keys of addresses that were refused before it was noticed.
func (g *guard) see(group string, named bool, a answerSeen) (open bool, undo []string) {
	if group == "" {
		return false, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waves[group]
	if w == nil {
		g.room(a.at)
		w = new(wave)
		g.waves[group] = w
	}
	w.seen = a.at
	was := !w.since.IsZero()
	w.add(a)
	if !a.refused && !was {
		return false, nil // nothing begins with an acceptance
	}
	switch surge := a.refused && w.surge(named, a.at); {
	case surge:
		w.until = a.at.Add(waveWindow)
		if !was {
			w.since = a.at
			undo = w.refusedKeys(a.at)
			g.warn(group, w, a.at)
		}
	case was && (w.calm(a.at) || !a.at.Before(w.until)):
		g.log.Info("a provider's refusals are believed again", "provider", group,
			"lasted", a.at.Sub(w.since).Round(time.Second))
		w.since, w.ended = time.Time{}, a.at
	}
	return !w.since.IsZero(), undo
}

// room drops the provider that was not seen for longest when there are too many.
func (g *guard) room(now time.Time) {
	if len(g.waves) < waveGroups {
		return
	}
	oldest, at := "", now
	for group, w := range g.waves {
		if !w.seen.After(at) {
			oldest, at = group, w.seen
		}
	}
	delete(g.waves, oldest)
}

func (g *guard) warn(group string, w *wave, now time.Time) {
	all, refused, known, knownRefused := w.count(now)
	g.log.Warn("a provider suddenly refuses recipients as unknown in a wave; its refusals are not "+
		"believed until it is over",
		"provider", group, "refused", refused, "answers", all, "refused_known", knownRefused,
		"answers_known", known, "window", waveWindow,
		"fix", "nothing, if the provider's status page tells of a fault: recipients refused now "+
			`have reason "incident", and a rule can defer them; otherwise look for a client that `+
			"sends to invented addresses")
}

// add puts an answer into the ring. What leaves it is what is usual, but for the refusals of a wave.
func (w *wave) add(a answerSeen) {
	slot := &w.ring[w.next]
	w.next = (w.next + 1) % waveRing
	w.leave(slot)
	*slot = a
	if !a.refused {
		w.accepts++
	}
}

func (w *wave) leave(a *answerSeen) {
	if a.at.IsZero() || !w.since.IsZero() && a.refused {
		return
	}
	w.usual.add(a.refused)
	if a.known {
		w.usualK.add(a.refused)
	}
}

// recent calls f with the answers of the window, the latest first, each address once, and no more
// than some of one customer's domain, until f returns false.
func (w *wave) recent(now time.Time, f func(*answerSeen) bool) {
	addresses := make(map[uint64]bool, waveRing)
	ofDomain := make(map[uint64]int)
	for i := range waveRing {
		a := &w.ring[(w.next-1-i+2*waveRing)%waveRing]
		if a.at.IsZero() || now.Sub(a.at) > waveWindow {
			return
		}
		if addresses[a.address] {
			continue
		}
		addresses[a.address] = true
		if !a.own {
			if ofDomain[a.domain]++; ofDomain[a.domain] > domainMost {
				continue
			}
		}
		if !f(a) {
			return
		}
	}
}

func (w *wave) count(now time.Time) (all, refused, known, knownRefused int) {
	w.recent(now, func(a *answerSeen) bool {
		all++
		if a.known {
			known++
		}
		if a.refused {
			refused++
			if a.known {
				knownRefused++
			}
		}
		return true
	})
	return all, refused, known, knownRefused
}

// last returns how many of the last n answers were refused, and whether there are so many.
func (w *wave) last(n int, now time.Time) (refused int, enough bool) {
	seen := 0
	w.recent(now, func(a *answerSeen) bool {
		seen++
		if a.refused {
			refused++
		}
		return seen < n
	})
	return refused, seen >= n
}

// surge reports whether the answers up to now make a wave.
func (w *wave) surge(named bool, now time.Time) bool {
	_, _, known, knownRefused := w.count(now)
	most := max(waveKnownShare, 5*w.usualK.value(0.01))
	if known >= waveKnown && atLeast(knownRefused, known) > most ||
		known >= waveFew && float64(knownRefused) >= waveFewShare*float64(known) {
		return true
	}
	usual := w.usual.value(0.05)
	if 5*usual > 1 || w.accepts < waveAccepts || !named && w.usual.of < waveUsual {
		return false // much is refused there anyway, or nobody knows what is usual
	}
	if !w.ended.IsZero() && now.Sub(w.ended) < waveAgain || !w.since.IsZero() {
		refused, enough := w.last(waveFirst, now)
		return enough && refused == waveFirst
	}
	if refused, enough := w.last(3*waveAll, now); enough && float64(refused) >= waveAllShare*3*waveAll {
		return true
	}
	refused, enough := w.last(waveAll, now)
	return enough && float64(refused) >= waveAllShare*waveAll && w.sudden(max(0.3, 3*usual))
}

// sudden reports whether the answers before the last waveAll were as usual: a bad list has its share
// of refusals from its beginning to its end, and now and then many in a row.
func (w *wave) sudden(most float64) bool {
	seen, refused := 0, 0
	for i := waveAll; i < 3*waveAll; i++ {
		if a := &w.ring[(w.next-1-i+2*waveRing)%waveRing]; !a.at.IsZero() {
			seen++
			if a.refused {
				refused++
			}
		}
	}
	return seen == 0 || float64(refused) <= most*float64(seen)
}

// atLeast is the lower end of what the true share may be when k of n were seen: Wilson's interval,
// wrong once in 20.
func atLeast(k, n int) float64 {
	const z = 1.645
	of, p := float64(n), float64(k)/float64(n)
	middle := p + z*z/(2*of)
	return (middle - z*math.Sqrt(p*(1-p)/of+z*z/(4*of*of))) / (1 + z*z/of)
}

// calm reports whether the provider accepts again.
func (w *wave) calm(now time.Time) bool {
	refused, enough := w.last(waveOver, now)
	return enough && float64(refused) <= waveCalm*waveOver
}

// refusedKeys are the addresses refused in the window: nobody knows from when on it was wrong.
func (w *wave) refusedKeys(now time.Time) []string {
	var keys []string
	for i := range w.ring {
		if a := &w.ring[i]; a.refused && a.key != "" && now.Sub(a.at) <= waveWindow {
			keys = append(keys, a.key)
		}
	}
	return keys
}

// waves counts the providers with a wave.
func (g *guard) count(now time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, w := range g.waves {
		if !w.since.IsZero() && now.Before(w.until) {
			n++
		}
	}
	return n
}
