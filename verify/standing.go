package verify

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// How long a mail server is left alone after what it said about us.
const (
	blockedPause = 15 * time.Minute // it refuses our address
	ratePause    = 5 * time.Minute  // it wants less of us
	senderPause  = 15 * time.Minute // it refuses the sender's domain, with that sender
	// greylistPause is the delay of most greylists (Postgrey, rspamd: 300 s): asking
	// again before it is over cannot pass.
	greylistPause = 5 * time.Minute
)

// standingSize bounds the number of mail servers and of pairs that are remembered.
const standingSize = 16_384

// standing is what mail servers have said about us and about senders, and not about
// a recipient: it is how we stand with them.
type standing struct {
	log   *slog.Logger
	quiet atomic.Int64         // no warning before this time, in Unix seconds
	hosts *cache.Cache[Result] // by mail server
	// senders by sender domain and mail server; greylisted ones by sender domain and
	// recipient, because a greylist decides for each recipient and the unknown ones
	// among its neighbours are often refused at once.
	senders *cache.Cache[Result]
}

func newStanding(log *slog.Logger) *standing {
	return &standing{
		log: log, hosts: cache.New[Result](standingSize), senders: cache.New[Result](standingSize),
	}
}

func senderKey(sender esmtp.Address, peer string) string {
	return sender.ASCIIDomain() + "\x00" + peer
}

// hold returns the reason not to probe rcpt from sender now. A pause of any host of
// the domain holds for all: the next host of the same owner is no way around it.
func (s *standing) hold(set mx.Set, sender, rcpt esmtp.Address, now time.Time) (Result, bool) {
	for _, h := range set.Hosts {
		host := strings.ToLower(h.Name)
		if e, ok := s.hosts.Get(host, now); ok {
			return again(e, now), true
		}
		if e, ok := s.senders.Get(senderKey(sender, host), now); ok {
			return again(e, now), true
		}
	}
	if e, ok := s.senders.Get(senderKey(sender, rcpt.Key()), now); ok {
		return again(e, now), true
	}
	return Result{}, false
}

// again is a remembered Unknown, with what is left of its time.
func again(e cache.Entry[Result], now time.Time) Result {
	r := e.Value
	r.Cached, r.RetryAfter = true, e.Expire.Sub(now)
	return r
}

// learn keeps r if it is about us or about the sender, and returns how long; 0 if not.
func (s *standing) learn(r Result, sender, rcpt esmtp.Address, now time.Time) time.Duration {
	var pause time.Duration
	into, key := s.hosts, strings.ToLower(r.MX)
	switch r.Reason {
	case BlockedIP:
		pause = blockedPause
	case RateLimited:
		pause = ratePause
	case BlockedSender:
		into, key, pause = s.senders, senderKey(sender, key), senderPause
	case Greylisted:
		into, key, pause = s.senders, senderKey(sender, rcpt.Key()), greylistPause
	default:
		return 0
	}
	if r.MX == "" {
		return 0
	}
	r.Steps = nil
	r.Expire = now.Add(pause)
	into.Put(key, cache.Entry[Result]{Value: r, Stored: now, Refresh: r.Expire, Expire: r.Expire})
	if r.Reason == BlockedIP {
		s.warn(r, now)
	}
	return pause
}

// warn tells the administrator, at most once a minute: who owns many domains could
// fill the log otherwise. The text of the reply may hold an address, so it is left out.
func (s *standing) warn(r Result, now time.Time) {
	until := s.quiet.Load()
	if now.Unix() < until || !s.quiet.CompareAndSwap(until, now.Add(time.Minute).Unix()) {
		return
	}
	s.log.Warn("a mail server refuses this host; it is not probed for a while",
		"mx", r.MX, "stage", string(r.Stage), "code", r.Reply.Code,
		"enhanced_code", r.Reply.Enhanced().String(), "pause", blockedPause,
		"fix", "see its words with rcptgate explain; check reverse DNS, the HELO name and block lists")
}

func (s *standing) sweep(now time.Time) {
	s.hosts.Sweep(now)
	s.senders.Sweep(now)
}
