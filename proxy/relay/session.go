package relay

import (
	"context"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// source is where a transaction has its session from: the pool, or the login of a client.
type source interface {
	// get returns a session that is ready for MAIL, and whether it had other transactions before.
	get(ctx context.Context, deadline time.Time) (s *session, reused bool, err error)
	// dial returns a new one, not at the upstreams that were tried already.
	dial(ctx context.Context, deadline time.Time, tried []*upstream) (*session, error)
	// put takes back one that is ready for MAIL, giveBack one inside a transaction. Neither waits.
	put(s *session)
	giveBack(s *session)
	// forget closes the sessions that wait at an upstream: one of them was dead.
	forget(u *upstream)
}

// session is one connection to an upstream, ready for MAIL.
type session struct {
	p        *Pool
	cl       *esmtp.Client
	up       *upstream
	xforward []string  // the attributes that the upstream takes
	pipeline bool      // the upstream offers PIPELINING
	buf      []byte    // for commands
	since    time.Time // in use no more; guarded by p.mu while it is idle
	closed   bool      // guarded by p.mu
}

// close ends the connection without a word.
func (s *session) close() {
	_ = s.cl.Close()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.up.open--
	}
}

// get takes the idle session that was used last, or opens one. Whether it is still in step shows
// with its first command.
func (p *Pool) get(ctx context.Context, deadline time.Time) (s *session, reused bool, err error) {
	p.mu.Lock()
	u := p.pick()
	if u == nil {
		p.mu.Unlock()
		return nil, false, unreachable(nil)
	}
	if n := len(u.idle); n > 0 {
		s = u.idle[n-1]
		u.idle[n-1] = nil
		u.idle = u.idle[:n-1]
		p.mu.Unlock()
		return s, true, nil
	}
	p.mu.Unlock()
	s, err = p.dialFrom(ctx, deadline, p.order(u, nil), nil)
	return s, false, err
}

func (p *Pool) dial(ctx context.Context, deadline time.Time, tried []*upstream) (*session, error) {
	return p.dialFrom(ctx, deadline, p.order(nil, tried), nil)
}

const (
	// surplusTime is how long sessions beyond Config.MaxIdle wait. They were all in use at one time a
	// moment ago, and under load each is wanted again at once: to close and to dial them would cost
	// more than the mail.
	surplusTime = time.Second
	// maxSurplus is how many there may be, as a multiple of Config.MaxIdle.
	maxSurplus = 10
)

// put gives a session back that is in step.
func (p *Pool) put(s *session) {
	if !s.cl.Ready() {
		s.close()
		return
	}
	now := time.Now()
	u := s.up
	p.mu.Lock()
	u.last, s.since = now, now
	keep := !p.closed && len(u.idle) < maxSurplus*p.cfg.MaxIdle
	if keep {
		u.idle = append(u.idle, s)
		p.sweepAt(u, u.idle[0].since.Add(p.patience(len(u.idle))), now)
	}
	p.mu.Unlock()
	if !keep {
		p.quit(s)
	}
}

// patience is how long the session waits that was idle for the longest time, of n idle ones.
func (p *Pool) patience(n int) time.Duration {
	if n > p.cfg.MaxIdle {
		return min(p.cfg.IdleTimeout, surplusTime)
	}
	return p.cfg.IdleTimeout
}

// sweepAt has the idle sessions looked at then, unless that happens earlier anyway. One timer for
// all of them is moved now and then, where one for each would be moved twice a message. The caller
// holds mu.
func (p *Pool) sweepAt(u *upstream, at, now time.Time) {
	switch {
	case !u.next.IsZero() && !at.Before(u.next):
		return
	case u.sweeper == nil:
		u.sweeper = time.AfterFunc(at.Sub(now), func() { p.sweep(u) })
	default:
		u.sweeper.Reset(at.Sub(now))
	}
	u.next = at
}

// sweep ends the sessions that were idle for too long. The first of them was so for the longest time.
func (p *Pool) sweep(u *upstream) {
	now := time.Now()
	p.mu.Lock()
	n := 0
	for n < len(u.idle) && now.Sub(u.idle[n].since) >= p.patience(len(u.idle)-n) {
		n++
	}
	over := slices.Clone(u.idle[:n])
	u.idle = slices.Delete(u.idle, 0, n)
	u.next = time.Time{}
	if left := len(u.idle); left > 0 && !p.closed {
		p.sweepAt(u, u.idle[0].since.Add(p.patience(left)), now)
	}
	p.mu.Unlock()
	for _, s := range over {
		p.quit(s)
	}
}

// forget closes the idle sessions of an upstream: one of them was dead.
func (p *Pool) forget(u *upstream) {
	p.mu.Lock()
	idle := u.idle
	u.idle = nil
	p.mu.Unlock()
	for _, s := range idle {
		s.close()
	}
}

// cleanup is how long we wait for the relay when nobody waits for us.
const cleanup = 5 * time.Second

func (p *Pool) quit(s *session) {
	p.run(func() {
		s.cl.SetDeadline(time.Now().Add(cleanup))
		_, _ = s.cl.Quit(context.Background())
		s.close()
	})
}

// giveBack ends a transaction that did not come to DATA, beside the client's session.
func (p *Pool) giveBack(s *session) {
	p.run(func() {
		if s.reset() {
			p.put(s)
		}
	})
}

// reset ends the transaction with RSET, or closes the session.
func (s *session) reset() bool {
	ctx := context.Background()
	s.cl.SetDeadline(time.Now().Add(cleanup))
	if s.cl.InStep(ctx) == nil {
		if r, err := s.cl.Reset(ctx); err == nil && r.Positive() {
			return true
		}
	}
	s.close()
	return false
}
