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
	xforward []string // the attributes that the upstream takes
	buf      []byte   // for commands
	expire   *time.Timer
	closed   bool // guarded by p.mu
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

// get takes an idle session that is still in step, or opens one.
func (p *Pool) get(ctx context.Context, deadline time.Time) (s *session, reused bool, err error) {
	p.mu.Lock()
	u := p.pick()
	p.mu.Unlock()
	if u == nil {
		return nil, false, unreachable(nil)
	}
	p.mu.Lock()
	if n := len(u.idle); n > 0 {
		s = u.idle[n-1]
		u.idle = u.idle[:n-1]
		p.mu.Unlock()
		s.expire.Stop()
		return s, true, nil // whether it is still in step shows with the first command
	}
	p.mu.Unlock()
	s, err = p.dialFrom(ctx, deadline, p.order(u, nil), nil)
	return s, false, err
}

func (p *Pool) dial(ctx context.Context, deadline time.Time, tried []*upstream) (*session, error) {
	return p.dialFrom(ctx, deadline, p.order(nil, tried), nil)
}

// put gives a session back that is in step. One too many is ended.
func (p *Pool) put(s *session) {
	if !s.cl.Ready() {
		s.close()
		return
	}
	u := s.up
	p.mu.Lock()
	u.last = time.Now()
	keep := !p.closed && len(u.idle) < p.cfg.MaxIdle
	if keep {
		if s.expire == nil {
			s.expire = time.AfterFunc(p.cfg.IdleTimeout, func() { p.expired(s) })
		} else {
			s.expire.Reset(p.cfg.IdleTimeout)
		}
		u.idle = append(u.idle, s)
	}
	p.mu.Unlock()
	if !keep {
		p.quit(s)
	}
}

// expired ends an idle session. If it was taken in the same moment it is let live.
func (p *Pool) expired(s *session) {
	p.mu.Lock()
	i := slices.Index(s.up.idle, s)
	if i >= 0 {
		s.up.idle = slices.Delete(s.up.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
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
		s.expire.Stop()
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
	s.cl.SetDeadline(time.Now().Add(cleanup))
	if r, err := s.cl.Reset(context.Background()); err != nil || !r.Positive() {
		s.close()
		return false
	}
	return true
}
