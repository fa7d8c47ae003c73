package verify

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// How long mail servers are left alone after what they said about us, where their provider's profile
// does not say otherwise.
const (
	blockedPause = 15 * time.Minute // they refuse our address
	ratePause    = 5 * time.Minute  // they want less of us
	senderPause  = 15 * time.Minute // they refuse the sender's domain, with that sender
	// greylistPause is the delay of most greylists (Postgrey, rspamd: 300 s): asking
	// again before it is over cannot pass.
	greylistPause = 5 * time.Minute
)

// A group that said such things three times within an hour is left alone for long.
const (
	strikesMost   = 3
	strikesWithin = time.Hour
	strikesPause  = 6 * time.Hour
	// trialWait is how long the one question behind a pause may take to come back.
	trialWait = time.Minute
)

// The pace of a group: halved each time that it wants less of us, and brought back by so much with
// each answer.
const (
	paceLeast = 1.0 / 64
	paceStep  = 1.0 / 32
)

// standingSize bounds the groups and the pairs that are remembered.
const standingSize = 16_384

// standing is what mail servers have said about us and about senders, and not about
// a recipient: it is how we stand with them. What is about us holds for a group of them: a
// provider's, or a site's; where there is no group, for each mail host.
//
// Each group has a circuit breaker: what is said about us opens it for a while, then one question is
// a trial, and its answer closes it or opens it again.
type standing struct {
	log   *slog.Logger
	quiet *limit.Limiter // of warnings: who owns many domains could fill the log otherwise

	mu     sync.Mutex
	groups map[string]*footing

	// senders by sender domain and group; greylisted ones by sender domain and
	// recipient, because a greylist decides for each recipient and the unknown ones
	// among its neighbours are often refused at once.
	senders *cache.Cache[Result]
	delay   func(mx string, now time.Time) time.Duration // learned of its greylist; nil: nothing
}

// footing is how we stand with one group.
type footing struct {
	said    Result    // that opened the breaker
	since   time.Time // when it did
	open    bool
	until   time.Time   // the pause ends
	trial   time.Time   // until when a trial may be under way; zero: none
	strikes []time.Time // lately, at most strikesMost
	pace    float64     // 0 < pace <= 1
	touched time.Time
}

func newStanding(log *slog.Logger) *standing {
	return &standing{
		log: log, quiet: limit.NewLimiter(limit.Rate{Count: 1, Per: time.Minute, Burst: 3}, 1),
		groups: make(map[string]*footing), senders: cache.New[Result](standingSize),
	}
}

func senderKey(sender esmtp.Address, peer string) string {
	return sender.ASCIIDomain() + "\x00" + peer
}

// keysOf are what a pause is kept by: the group, or each host of the domain, because the next host
// of the same owner is no way around it.
func keysOf(group string, set mx.Set) []string {
	if group != "" {
		return []string{group}
	}
	keys := make([]string, len(set.Hosts))
	for i, h := range set.Hosts {
		keys[i] = strings.ToLower(h.Name)
	}
	return keys
}

// hold returns the reason not to probe rcpt from sender now. Behind a pause the first who asks is
// the trial, and not held: it has to be made.
func (s *standing) hold(group string, set mx.Set, sender, rcpt esmtp.Address, now time.Time) (Result, bool) {
	if e, ok := s.senders.Get(senderKey(sender, rcpt.Key()), now); ok {
		return again(e, now), true
	}
	keys := keysOf(group, set)
	for _, key := range keys {
		if e, ok := s.senders.Get(senderKey(sender, key), now); ok {
			return again(e, now), true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if f := s.groups[key]; f != nil && f.open {
			if end := later(f.until, f.trial); now.Before(end) {
				r := f.said
				r.Cached, r.RetryAfter = true, end.Sub(now)
				return r, true
			}
			f.trial = now.Add(trialWait)
		}
	}
	return Result{}, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// again is a remembered Unknown, with what is left of its time.
func again(e cache.Entry[Result], now time.Time) Result {
	r := e.Value
	r.Cached, r.RetryAfter = true, e.Expire.Sub(now)
	return r
}

// learn takes what r, the answer of a probe, says of us or of the sender, and returns how long not
// to ask again; 0 if it does not say such a thing. p may be nil.
func (s *standing) learn(
	group string, p *provider.Profile, r Result, sender, rcpt esmtp.Address, now time.Time,
) time.Duration {
	key := cmp.Or(group, strings.ToLower(r.MX))
	if key == "" || r.Cached {
		return 0
	}
	var own provider.Profile
	if p != nil {
		own = *p
	}
	switch r.Reason {
	case BlockedIP:
		return s.strike(key, r, cmp.Or(own.BlockPause, blockedPause), now)
	case RateLimited:
		pause := cmp.Or(own.RatePause, ratePause)
		if r.RetryAfter > 0 { // by its own words
			pause = max(r.RetryAfter, time.Minute)
		}
		return s.strike(key, r, pause, now)
	case BlockedSender:
		return s.remember(senderKey(sender, key), r, senderPause, now)
	case Greylisted:
		var learned time.Duration
		if s.delay != nil {
			learned = s.delay(strings.ToLower(r.MX), now)
		}
		return s.remember(senderKey(sender, rcpt.Key()), r,
			cmp.Or(r.RetryAfter, learned, own.GreylistDelay, greylistPause), now)
	default:
		s.answered(key, r, now)
	}
	return 0
}

// remember keeps r for one sender.
func (s *standing) remember(key string, r Result, pause time.Duration, now time.Time) time.Duration {
	r.Steps = nil
	r.Expire = now.Add(pause)
	s.senders.Put(key, cache.Entry[Result]{Value: r, Stored: now, Refresh: r.Expire, Expire: r.Expire})
	return pause
}

// strike opens the breaker of a group.
func (s *standing) strike(key string, r Result, pause time.Duration, now time.Time) time.Duration {
	s.mu.Lock()
	f := s.groups[key]
	if f == nil {
		s.makeRoom(now)
		f = &footing{pace: 1}
		s.groups[key] = f
	}
	f.touched = now
	if f.open && now.Before(f.until) { // one of several questions that were under way
		pause = max(pause, f.until.Sub(now))
		f.until = now.Add(pause)
		s.mu.Unlock()
		return pause
	}
	if !f.open {
		f.since = now
	}
	f.pace = max(f.pace/2, paceLeast)
	f.strikes = slices.DeleteFunc(f.strikes, func(t time.Time) bool { return now.Sub(t) > strikesWithin })
	f.strikes = append(f.strikes, now)
	long := len(f.strikes) >= strikesMost
	if long {
		pause = max(pause, strikesPause)
		f.strikes = nil
	}
	r.Steps = nil
	f.said, f.open, f.until, f.trial = r, true, now.Add(pause), time.Time{}
	s.mu.Unlock()
	s.warn(key, r, pause, long, now)
	return pause
}

// answered takes note of a question that was asked of a group, and about which it had nothing to say
// of us.
func (s *standing) answered(key string, r Result, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.groups[key]
	if f == nil {
		return
	}
	if r.Reply.IsZero() || r.Stage != reply.StageRcpt {
		f.trial = time.Time{} // nothing was learned: the next one is the trial
		return
	}
	if f.open && now.Before(f.until) {
		return // it was asked before the pause began
	}
	if f.open {
		s.log.Info("mail servers answer again, they are probed as before, first slowly",
			"group", key, "paused_for", now.Sub(f.since))
	}
	f.open, f.trial, f.touched = false, time.Time{}, now
	f.pace = math.Min(1, f.pace+paceStep)
}

// pace is l as far as the group bears it now.
func (s *standing) pace(group string, l probe.Limits, now time.Time) probe.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.groups[group]
	if f == nil || f.pace >= 1 {
		return l
	}
	if l.Rate.Unlimited() {
		l.Rate = limit.Rate{Count: 60, Per: time.Minute, Burst: 20}
	}
	l.Rate.Count = max(1, int(float64(l.Rate.Count)*f.pace))
	l.Rate.Burst = max(1, int(float64(l.Rate.Burst)*f.pace))
	if l.Connections = max(1, int(float64(l.Connections)*f.pace)); f.open {
		l.Connections = 1
	}
	f.touched = now
	return l
}

// warn tells the administrator. The text of the reply may hold an address, so it is left out.
func (s *standing) warn(group string, r Result, pause time.Duration, long bool, now time.Time) {
	if r.Reason != BlockedIP && !long {
		return
	}
	if _, ok := s.quiet.Take("", now); !ok {
		return
	}
	args := []any{
		"group", group, "mx", r.MX, "stage", string(r.Stage), "code", r.Reply.Code,
		"enhanced_code", r.Reply.Enhanced().String(), "pause", pause,
		"fix", "see its words with rcptgate explain; check reverse DNS, the HELO name and block lists",
	}
	if long {
		s.log.Warn("mail servers refuse this host again and again; they are not probed for long", args...)
		return
	}
	s.log.Warn("a mail server refuses this host; it is not probed for a while", args...)
}

// makeRoom forgets the group that was heard of longest ago, if there are too many.
func (s *standing) makeRoom(now time.Time) {
	if len(s.groups) < standingSize {
		return
	}
	s.sweepGroups(now)
	oldest := ""
	for key, f := range s.groups {
		if len(s.groups) < standingSize {
			return
		}
		if oldest == "" || f.touched.Before(s.groups[oldest].touched) {
			oldest = key
		}
	}
	delete(s.groups, oldest)
}

// sweepGroups forgets those that nothing is held against any more.
func (s *standing) sweepGroups(now time.Time) {
	for key, f := range s.groups {
		if old := now.Sub(later(f.touched, f.until)); !f.open && f.pace >= 1 && old > strikesWithin ||
			old > 24*time.Hour {
			delete(s.groups, key)
		}
	}
}

func (s *standing) sweep(now time.Time) {
	s.mu.Lock()
	s.sweepGroups(now)
	s.mu.Unlock()
	s.senders.Sweep(now)
}

// Pause is a group of mail servers that is not asked now because of what it said of us.
type Pause struct {
	Group  string // a provider, or the site of mail servers
	Since  time.Time
	Until  time.Time // then one question is a trial
	Reason Reason    // BlockedIP or RateLimited
	MX     string    // who said so
	Stage  reply.Stage
	Code   int
}

// Pauses lists who does not want to be asked by us now, the longest first: whom our address has
// trouble with.
func (v *Verifier) Pauses() []Pause {
	s, now := v.standing, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Pause
	for key, f := range s.groups {
		if f.open && now.Sub(f.until) < strikesWithin {
			list = append(list, Pause{
				Group: key, Since: f.since, Until: f.until, Reason: f.said.Reason, MX: f.said.MX,
				Stage: f.said.Stage, Code: f.said.Reply.Code,
			})
		}
	}
	slices.SortFunc(list, func(a, b Pause) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Group, b.Group))
	})
	return list
}
