package limit

import (
	"math"
	"sync"
	"time"
)

// ShareConfig says when too many events of a key went wrong. The zero value of a field is the
// default that stands beside it.
type ShareConfig struct {
	Window time.Duration // what counts, 10 minutes
	Least  int           // events before anything is concluded, 20
	Share  float64       // the part that may go wrong, 0.3
	Pause  time.Duration // how long a key rests, 10 minutes; twice as long each time that follows
	Most   time.Duration // the longest rest, 6 hours
}

func (c ShareConfig) withDefaults() ShareConfig {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Window, 10 * time.Minute}, {&c.Pause, 10 * time.Minute}, {&c.Most, 6 * time.Hour}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.Least <= 0 {
		c.Least = 20
	}
	if c.Share <= 0 {
		c.Share = 0.3
	}
	return c
}

// Admission is what [Shares.Enter] says of an event.
type Admission int

// The admissions.
const (
	Pass Admission = iota // it may happen; Leave must be called when it has
	Hold                  // not now: so many are under way that they might be too many
	Stop                  // too many went wrong lately
)

// trialEvents may happen behind a rest before it is decided whether to rest again.
const trialEvents = 5

// Shares watches which part of the events of each key go wrong, and stops a key when it is surely
// more than the allowed share: when the lower bound of the Wilson score interval (one-sided, 95 %)
// is above it. Events that are under way count as gone wrong as long as that is not known to be
// false, so that no crowd of them passes before the first answer comes. Safe for concurrent use.
//
// Behind its rest a key has a trial of a few events; if these go wrong too the next rest is twice
// as long.
type Shares struct {
	cfg     ShareConfig
	maxKeys int

	mu   sync.Mutex
	keys map[string]*share
}

// share is the account of one key: two halves of the window, the current one first.
type share struct {
	began    time.Time // of the current half
	all, bad [2]int
	under    int       // way
	until    time.Time // of the rest
	rests    int       // in a row; 0: none lately
}

// NewShares returns Shares for at most maxKeys keys; less than 1 counts as 1. When there are more,
// any that neither rests nor has an event under way is forgotten.
func NewShares(cfg ShareConfig, maxKeys int) *Shares {
	return &Shares{cfg: cfg.withDefaults(), maxKeys: max(maxKeys, 1), keys: make(map[string]*share)}
}

// Look is Enter without an event: what it would say.
func (s *Shares) Look(key string, now time.Time) Admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[key]; k != nil {
		return k.admit(s.cfg, now)
	}
	return Pass
}

// Enter asks for one event of key at now.
func (s *Shares) Enter(key string, now time.Time) Admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[key]
	if k == nil {
		if len(s.keys) >= s.maxKeys {
			s.forget(now)
		}
		k = &share{began: now}
		s.keys[key] = k
	}
	a := k.admit(s.cfg, now)
	if a == Pass {
		k.under++
	}
	return a
}

// Outcome of an event.
type Outcome int

// The outcomes.
const (
	Void Outcome = iota // nothing was learned
	Good
	Bad
)

// Leave ends an event that passed. began tells that a rest of key begins with it, which lasts for d.
func (s *Shares) Leave(key string, o Outcome, now time.Time) (began bool, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[key]
	if k == nil {
		return false, 0
	}
	k.roll(s.cfg, now)
	k.under = max(0, k.under-1)
	switch o {
	case Good:
		k.all[0]++
	case Bad:
		k.all[0]++
		k.bad[0]++
	default:
		return false, 0
	}
	all, bad := k.all[0]+k.all[1], k.bad[0]+k.bad[1]
	least := s.cfg.Least
	if k.rests > 0 {
		least = trialEvents
	}
	switch {
	case now.Before(k.until): // an event that was under way when the rest began
	case all >= least && LowerBound(bad, all) > s.cfg.Share:
		d = s.cfg.Most
		if k.rests < 16 { // beyond, the shift would be of no use
			d = min(d, s.cfg.Pause<<k.rests)
		}
		k.rests++
		k.until, k.all, k.bad = now.Add(d), [2]int{}, [2]int{}
		return true, d
	case k.rests > 0 && all >= s.cfg.Least:
		k.rests = 0 // the trial went well
	}
	return false, 0
}

// Len returns how many keys are known now.
func (s *Shares) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

// admit decides about one more event.
func (k *share) admit(cfg ShareConfig, now time.Time) Admission {
	if now.Before(k.until) {
		return Stop
	}
	k.roll(cfg, now)
	least := cfg.Least
	if k.rests > 0 {
		least = trialEvents
	}
	all, bad := k.all[0]+k.all[1]+k.under, k.bad[0]+k.bad[1]+k.under
	if k.under > 0 && all >= least && LowerBound(bad, all) > cfg.Share {
		return Hold
	}
	return Pass
}

// roll lets the older half of the window go.
func (k *share) roll(cfg ShareConfig, now time.Time) {
	half := cfg.Window / 2
	switch age := now.Sub(k.began); {
	case age < half:
		return
	case age < 2*half:
		k.all, k.bad = [2]int{0, k.all[0]}, [2]int{0, k.bad[0]}
		k.began = k.began.Add(half)
	default:
		k.all, k.bad, k.began = [2]int{}, [2]int{}, now
	}
}

// forget makes room for one key.
func (s *Shares) forget(now time.Time) {
	victim := ""
	for key, k := range s.keys {
		if k.under == 0 && !now.Before(k.until) {
			if now.Sub(k.began) >= s.cfg.Window && now.Sub(k.until) >= s.cfg.Most {
				delete(s.keys, key)
			}
			victim = key
		}
	}
	if len(s.keys) >= s.maxKeys && victim != "" {
		delete(s.keys, victim)
	}
}

// LowerBound is the part of all events that surely goes wrong, judged by bad of all that were seen:
// the lower bound of the Wilson score interval (E. B. Wilson, 1927), one-sided, 95 %. It is 0 of
// none, never above bad/all, and close to it where many were seen.
func LowerBound(bad, all int) float64 {
	if all <= 0 || bad <= 0 {
		return 0
	}
	const z = 1.645
	n, p := float64(all), float64(bad)/float64(all)
	return (p + z*z/(2*n) - z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))) / (1 + z*z/n)
}
