package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Login is a client that logged in at the relay: its transactions go over a session of its
// own, which is never in the pool. It belongs to one client session. The password is kept,
// to log in again when the relay closed the connection between two transactions.
type Login struct {
	p     *Pool
	id    *identity
	idle  *session      // nil while a transaction has it, or when it broke
	ready chan struct{} // closed when RSET on idle is answered; nil where there was none
	ended bool
}

// Login tries a client's user and password at the relay. The reply is the relay's own: 235,
// or its refusal, with which the Login is nil. The error is that no upstream answered.
func (p *Pool) Login(
	ctx context.Context, mechanism, user, password string,
) (*Login, esmtp.Reply, *Error) {
	if user == "" || strings.ContainsRune(user+password, 0) {
		return nil, esmtp.NewReply(535, esmtp.EnhancedCode{5, 7, 8}, "Authentication failed"), nil
	}
	l := &Login{p: p, id: &identity{mechanism: mechanism, user: user, password: password}}
	s, err := l.dial(ctx, time.Now().Add(p.cfg.Timeout), nil)
	if refused, ok := errors.AsType[*loginError](err); ok {
		if refused.reply.Code == 421 { // the relay's connection ends, not the client's
			refused.reply.Code = 454
		}
		return nil, refused.reply, nil
	}
	if err != nil {
		failed, ok := errors.AsType[*Error](err)
		if !ok {
			failed = unreachable([]error{err})
		}
		failed.Reply = esmtp.NewReply(454, esmtp.EnhancedCode{4, 7, 0},
			"The mail relay cannot be asked now, try again later")
		return nil, esmtp.Reply{}, failed
	}
	l.idle = s
	return l, esmtp.NewReply(235, esmtp.EnhancedCode{2, 7, 0}, "Authentication successful"), nil
}

// User is who logged in.
func (l *Login) User() string { return l.id.user }

// Begin prepares a transaction, as [Pool.Begin].
func (l *Login) Begin(x esmtp.XForward, m esmtp.Mail) *Tx {
	return &Tx{p: l.p, src: l, x: x, m: m}
}

// Close ends the login's session with QUIT, without waiting.
func (l *Login) Close() {
	l.ended = true
	if s := l.take(); s != nil {
		ready := l.ready
		l.p.run(func() {
			if ready != nil {
				<-ready
			}
			l.p.quit(s)
		})
	}
	l.id = &identity{user: l.id.user}
}

func (l *Login) get(ctx context.Context, deadline time.Time) (s *session, reused bool, err error) {
	if s = l.take(); s != nil {
		if l.ready != nil {
			<-l.ready // it takes some seconds at most
		}
		if s.cl.Clean() {
			return s, true, nil
		}
		s.close()
	}
	s, err = l.dial(ctx, deadline, nil)
	return s, false, err
}

func (l *Login) dial(ctx context.Context, deadline time.Time, tried []*upstream) (*session, error) {
	return l.p.dialFrom(ctx, deadline, l.p.order(nil, tried), l.id)
}

func (l *Login) take() *session {
	s := l.idle
	l.idle = nil
	return s
}

func (l *Login) put(s *session) {
	if l.ended || !s.cl.Ready() {
		l.p.quit(s)
		return
	}
	l.idle, l.ready = s, nil
}

// giveBack resets the session beside the client's; the next transaction waits for that.
func (l *Login) giveBack(s *session) {
	if l.ended {
		l.p.quit(s)
		return
	}
	ready := make(chan struct{})
	l.idle, l.ready = s, ready
	l.p.run(func() {
		defer close(ready)
		s.reset()
	})
}

// forget does nothing: the pool's sessions are others.
func (l *Login) forget(*upstream) {}
