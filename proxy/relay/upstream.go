package relay

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	// refusedBackoff is for an upstream that refuses our password: more tries lock accounts.
	refusedBackoff = time.Minute
	// staleAfter is how old the last sign of life may be when somebody asks for our health.
	staleAfter = 30 * time.Second
	// logAgain is how often the log says that an upstream is still down.
	logAgain = time.Minute
)

// upstream is one server and what we know of it. Pool.mu guards all below the address.
type upstream struct {
	Upstream
	network, address string // to dial
	host             string // "" for a Unix socket

	current int        // smooth weighted round robin
	idle    []*session // the last used is at the end
	sweeper *time.Timer
	next    time.Time // of the sweeper; zero: it does not run
	open    int       // sessions, idle or not
	offered []string  // keywords of the last EHLO reply; nil before the first
	auth    []string  // mechanisms of it that clients may use

	state   state
	since   time.Time // of the state
	last    time.Time // sign of life
	fault   error     // the last one
	blocked bool      // fault is our password: not even tried when all are down
	backoff time.Duration
	retry   time.Time // when it is tried again
	timer   *time.Timer
	trying  bool
	logged  time.Time
	plain   time.Time // until then STARTTLS is known to fail (May)
}

// state is what we think of an upstream.
type state int

const (
	up      state = iota // also before the first connection
	suspect              // a transaction broke; a trial is under way
	down
)

func newUpstream(u Upstream) *upstream {
	u.Weight = max(u.Weight, 1)
	n := &upstream{Upstream: u, network: "tcp", address: u.Address, since: time.Now()}
	if path, ok := strings.CutPrefix(u.Address, "unix:"); ok {
		n.network, n.address = "unix", path
	} else if host, _, err := net.SplitHostPort(u.Address); err == nil {
		n.host = host
	}
	return n
}

// pick chooses the upstream of the next transaction: among the best state and the lowest
// priority in it, by smooth weighted round robin. The caller holds mu.
func (p *Pool) pick() *upstream {
	var best *upstream
	for _, u := range p.upstreams {
		if best == nil || compare(u, best) < 0 {
			best = u
		}
	}
	if best == nil || len(p.upstreams) == 1 {
		return best
	}
	first, total := best, 0
	for _, u := range p.upstreams {
		if compare(u, first) != 0 {
			continue
		}
		u.current += u.Weight
		total += u.Weight
		if u.current > best.current {
			best = u
		}
	}
	best.current -= total
	return best
}

func compare(a, b *upstream) int {
	if a.state != b.state {
		return int(a.state - b.state)
	}
	return a.Priority - b.Priority
}

// order is in what order the upstreams are connected to, but for those tried already.
func (p *Pool) order(first *upstream, tried []*upstream) []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first == nil {
		first = p.pick()
	}
	all := slices.DeleteFunc(slices.Clone(p.upstreams), func(u *upstream) bool {
		return slices.Contains(tried, u)
	})
	slices.SortStableFunc(all, func(a, b *upstream) int {
		switch first {
		case a:
			return -1
		case b:
			return 1
		}
		return compare(a, b)
	})
	return all
}

// alive notes that a connection to u works.
func (p *Pool) alive(u *upstream) {
	now := time.Now()
	p.mu.Lock()
	was, since := u.state, u.since
	u.last = now
	if was != up {
		u.state, u.since, u.fault, u.blocked, u.backoff = up, now, nil, false, 0
		u.stop()
	}
	p.mu.Unlock()
	if was == down {
		p.log.Info("relay can be used again", "upstream", u.Address,
			"down_ms", now.Sub(since).Milliseconds())
	}
}

// stop ends the wait for the next trial. The caller holds mu.
func (u *upstream) stop() {
	if u.timer != nil {
		u.timer.Stop()
	}
}

// retire ends all that u waits for. The caller holds mu.
func (u *upstream) retire() {
	u.stop()
	if u.sweeper != nil {
		u.sweeper.Stop()
	}
}

// failed notes that u cannot be connected to, and has it tried again later.
func (p *Pool) failed(u *upstream, err error) {
	now := time.Now()
	p.mu.Lock()
	first := u.state != down
	if first {
		u.state, u.since = down, now
	}
	u.fault, u.blocked = err, isRefusedLogin(err)
	if first || !now.Before(u.retry) {
		u.backoff = min(max(2*u.backoff, firstBackoff), lastBackoff)
		wait := u.backoff
		if u.blocked {
			wait = refusedBackoff
		}
		u.retry = now.Add(wait)
		u.stop()
		if !p.closed {
			u.timer = time.AfterFunc(wait, func() { p.try(u) })
		}
	}
	tell := first || now.Sub(u.logged) >= logAgain
	if tell {
		u.logged = now
	}
	since := u.since
	p.mu.Unlock()
	if tell {
		p.log.Warn("relay cannot be used", "upstream", u.Address, "error", err.Error(),
			"down_ms", now.Sub(since).Milliseconds())
	}
}

// broke notes that a transaction at u broke. Whether u is down a trial shows.
func (p *Pool) broke(u *upstream, err error) {
	p.mu.Lock()
	if u.state == up {
		u.state, u.since, u.fault = suspect, time.Now(), err
	}
	p.mu.Unlock()
	p.try(u)
}

// try connects to u beside the mail, unless that is being done. The session is kept.
func (p *Pool) try(u *upstream) {
	p.mu.Lock()
	busy := u.trying || p.closed
	u.trying = true
	p.mu.Unlock()
	if busy {
		return
	}
	p.run(func() {
		ctx, cancel := context.WithTimeout(p.trials, min(p.cfg.Timeout, trialTime))
		defer cancel()
		s, err := p.connect(ctx, u, nil)
		p.mu.Lock()
		u.trying = false
		p.mu.Unlock()
		switch {
		case err == nil:
			p.alive(u)
			p.put(s)
		case p.trials.Err() == nil:
			p.failed(u, err)
		}
	})
}

// UpstreamStatus is what is known of an upstream.
type UpstreamStatus struct {
	Address          string
	Priority, Weight int
	Up               bool      // also before it was tried
	Since            time.Time // of Up or not Up
	LastError        string    // "" after a success
	Open, Idle       int       // sessions; Open has the idle ones in it
}

// Status returns what is known of each upstream, in order of priority.
func (p *Pool) Status() []UpstreamStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]UpstreamStatus, len(p.upstreams))
	for i, u := range p.upstreams {
		all[i] = UpstreamStatus{
			Address: u.Address, Priority: u.Priority, Weight: u.Weight, Up: u.state != down,
			Since: u.since, Open: u.open, Idle: len(u.idle),
		}
		if u.fault != nil {
			all[i].LastError = u.fault.Error()
		}
	}
	return all
}

// Healthy reports whether mail can be passed on, as far as is known, and says which
// upstreams are down and why, "" if none. An upstream without a sign of life for 30 s is
// tried, for the next call to know.
func (p *Pool) Healthy() (ok bool, detail string) {
	now := time.Now()
	var faults []string
	var stale []*upstream
	p.mu.Lock()
	for _, u := range p.upstreams {
		if u.state != down {
			ok = true
			if now.Sub(u.last) >= staleAfter {
				stale = append(stale, u)
			}
			continue
		}
		faults = append(faults, fmt.Sprintf("%v (down for %v)", u.fault, now.Sub(u.since).Round(time.Second)))
	}
	p.mu.Unlock()
	for _, u := range stale {
		p.try(u)
	}
	return ok, strings.Join(faults, "; ")
}
