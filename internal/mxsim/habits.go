package mxsim

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What follows are habits of servers that depend on what a client did before, on this connection
// or on others: limits, harvest detection, verification behind the scenes. A client is an address.

// TransactionLimit answers the recipients of a transaction beyond n, accepted or not (Outlook.com:
// "452 4.5.3 Too many recipients" for the second).
func TransactionLimit(n int, text string) Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		return Say(text), e.Stage == Rcpt && s.Opened && s.Named > n
	}
}

// RateLimit answers the commands of a stage beyond Count in each Per of one client with Text.
type RateLimit struct {
	Stage Stage
	Count int
	Per   time.Duration
	Text  string
	// After is how many times a client hears Text until it is answered with Block for good, as
	// Microsoft blocks those who do not slow down (S3150). 0 never blocks.
	After int
	Block string
}

// Behaviour returns the habit, with counts of its own.
func (r RateLimit) Behaviour() Behaviour {
	type client struct {
		since       time.Time
		count, over int
	}
	var mu sync.Mutex
	clients := map[string]*client{}
	return func(s *Session, e Event) (Answer, bool) {
		if e.Stage != r.Stage {
			return Answer{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		c := clients[s.PeerIP]
		if c == nil {
			c = &client{}
			clients[s.PeerIP] = c
		}
		if r.After > 0 && c.over >= r.After {
			return Say(r.Block), true
		}
		if now := time.Now(); now.Sub(c.since) >= r.Per {
			c.since, c.count = now, 0
		}
		if c.count++; c.count <= r.Count {
			return Answer{}, false
		}
		c.over++
		return Say(r.Text), true
	}
}

// Guard blocks for good who looks like a harvester: a client that named too many unknown
// recipients, in one session or in a time. From then on the client is greeted with a refusal, and
// its open session hears nothing else. It is also the place to see whom it blocked.
type Guard struct {
	Session int           // unknown recipients of one session, 0: no limit
	Count   int           // unknown recipients in each Per, 0: no limit
	Per     time.Duration // 0: for ever
	Text    string        // "554 5.7.1 ..."; "" has one

	mu      sync.Mutex
	clients map[string]*guarded
}

type guarded struct {
	since   time.Time
	unknown int
	blocked bool
	heard   int
}

// Behaviour returns the habit; that of one Guard has one memory wherever it is used.
func (g *Guard) Behaviour() Behaviour {
	text := g.text()
	return func(s *Session, e Event) (Answer, bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		c := g.clients[s.PeerIP]
		if c == nil {
			if g.clients == nil {
				g.clients = map[string]*guarded{}
			}
			c = &guarded{}
			g.clients[s.PeerIP] = c
		}
		if c.blocked {
			if e.Stage == Quit {
				return Answer{}, false
			}
			c.heard++
			return Say(text), true
		}
		if e.Stage != Rcpt || !s.Opened || e.Mailbox != NoMailbox {
			return Answer{}, false
		}
		if now := time.Now(); g.Per > 0 && now.Sub(c.since) >= g.Per {
			c.since, c.unknown = now, 0
		}
		c.unknown++
		s.unknown++
		c.blocked = g.Count > 0 && c.unknown > g.Count || g.Session > 0 && s.unknown > g.Session
		if !c.blocked {
			return Answer{}, false
		}
		c.heard++
		return Say(text), true
	}
}

func (g *Guard) text() string {
	if g.Text != "" {
		return g.Text
	}
	return "554 5.7.1 {host}: too many unknown recipients from {peer}; no more mail from you"
}

// Blocked returns how many clients are blocked, and how many commands of theirs were refused.
func (g *Guard) Blocked() (clients, commands int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.clients {
		if c.blocked {
			clients++
		}
		commands += c.heard
	}
	return clients, commands
}

// Pardon forgets everything.
func (g *Guard) Pardon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clients = nil
}

// Wave is an incident of a provider: while it lasts, every recipient is refused as unknown, as
// Gmail did on 14 and 15 December 2020. The zero value is switched off.
type Wave struct {
	Text string // "" is Gmail's "no such user"
	on   atomic.Bool
}

// Start begins the incident, Stop ends it.
func (w *Wave) Start() { w.on.Store(true) }

// Stop ends the incident.
func (w *Wave) Stop() { w.on.Store(false) }

// Behaviour returns the habit; put it before others.
func (w *Wave) Behaviour() Behaviour {
	text := w.Text
	if text == "" {
		text = Gmail().Unknown
	}
	return func(s *Session, e Event) (Answer, bool) {
		return Say(text), w.on.Load() && e.Stage == Rcpt && s.Opened
	}
}

// VerifyInProgress answers the first question about a recipient with "421 4.1.1 ... Address
// verification in progress" and knows the truth when delay has passed, as Proofpoint does that asks
// its customer's server. The connection ends with the 421.
func VerifyInProgress(delay time.Duration) Behaviour {
	return firstTime(delay, func(s *Session, e Event) (string, bool) {
		return strings.ToLower(e.Path), e.Stage == Rcpt && s.Opened
	}, "421 4.1.1 <{rcpt}>: Recipient address rejected: unverified address: Address verification in progress")
}

// GreylistSaying is greylisting in other words. In text {wait} is the time that is left as
// "00:04:12", {seconds} in seconds, {minutes} in minutes, rounded up. With all, unknown recipients
// are deferred too.
func GreylistSaying(delay time.Duration, all bool, text string) Behaviour {
	return firstTime(delay, func(s *Session, e Event) (string, bool) {
		key := strings.ToLower(network(s.PeerIP) + "\x00" + s.From + "\x00" + e.Path)
		return key, e.Stage == Rcpt && s.Opened && (all || e.Mailbox != NoMailbox)
	}, text)
}

// firstTime answers with text until delay has passed since a key was first seen.
func firstTime(delay time.Duration, key func(*Session, Event) (string, bool), text string) Behaviour {
	var mu sync.Mutex
	first := make(map[string]time.Time)
	return func(s *Session, e Event) (Answer, bool) {
		k, ok := key(s, e)
		if !ok {
			return Answer{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		seen, known := first[k]
		if !known {
			first[k], seen = now, now
		}
		left := delay - now.Sub(seen)
		if left <= 0 {
			return Answer{}, false
		}
		secs := int((left + time.Second - 1) / time.Second)
		return Say(strings.NewReplacer(
			"{wait}", fmt.Sprintf("%02d:%02d:%02d", secs/3600, secs/60%60, secs%60),
			"{seconds}", strconv.Itoa(secs), "{minutes}", strconv.Itoa((secs+59)/60),
		).Replace(text)), true
	}
}

// OneHelo refuses clients that greet with a name other than their first one, as GMX does.
func OneHelo(text string) Behaviour {
	var mu sync.Mutex
	names := make(map[string]string)
	return func(s *Session, e Event) (Answer, bool) {
		if e.Stage != Mail {
			return Answer{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		name, known := names[s.PeerIP]
		if !known {
			names[s.PeerIP] = s.Helo
		}
		return Say(text), known && !strings.EqualFold(name, s.Helo)
	}
}
