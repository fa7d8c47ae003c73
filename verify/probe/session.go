package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// HostError is the Outcome.Err of a connection that was not made or of a conversation that broke.
type HostError struct {
	What string // "connect", "banner" or the command
	MX   string
	Addr netip.Addr
	Err  error // of the network, of TLS, or *esmtp.ProtocolError
}

// Error implements error. Octets from the network are escaped.
func (f *HostError) Error() string {
	return fmt.Sprintf("probe: %s [%v]: %s: %s", f.MX, f.Addr, f.What, escape(f.Err))
}

// Unwrap returns the cause.
func (f *HostError) Unwrap() error { return f.Err }

func escape(err error) string { return string(esmtp.AppendEscaped(nil, err.Error(), false)) }

func unexpected(answer esmtp.Reply, what string) error {
	return &esmtp.ProtocolError{Detail: fmt.Sprintf("code %d in reply to %s", answer.Code, what)}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// over reports whether ctx has ended, or is about to: its timer may be a moment behind the deadline
// of a connection that was set from it.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// session is one connection to a mail host. It belongs to whoever has it: a run, the pool's idle
// list, or the goroutine that settles or ends it.
type session struct {
	pool       *Pool
	client     *esmtp.Client // nil until connected
	mx         string
	addr       netip.Addr
	helo       string
	pipelining bool

	asked   int // recipients
	refused int // of them, not answered by 2xx

	release func()    // the slot of addr; held by a session in use, not by one that waits
	leave   func()    // its place among the greeted; nil before
	prove   func()    // its place among the unproven; nil before, and after an answer
	since   time.Time // parked
	timer   *time.Timer
}

// enter takes one of the Max places for s, which was greeted; if need be that of a session that
// only waits. A host that never answered a question takes a place among the unproven too.
func (s *session) enter(ctx context.Context) (err error) {
	p := s.pool
	if _, ok := p.proven.get(s.addr, time.Now()); !ok {
		if s.prove, err = p.unproven.Acquire(ctx, ""); err != nil {
			return err
		}
	}
	var ok bool
	if s.leave, ok = p.greeted.TryAcquire(""); ok {
		return nil
	}
	p.wanting.Add(1) // before evict: what it does not find any more is not kept, see park
	defer p.wanting.Add(-1)
	p.evict()
	s.leave, err = p.greeted.Acquire(ctx, "")
	return err
}

// proved notes that the host of s has answered a question.
func (s *session) proved() {
	s.pool.proven.put(s.addr, struct{}{}, time.Now())
	if s.prove != nil {
		s.prove()
		s.prove = nil
	}
}

// keep puts s where the next request for its host finds it, and frees its slot. If that is not to
// be, s is ended.
func (s *session) keep() {
	if s.asked < s.pool.cfg.RcptPerSession && s.refused < maxRefusals && s.pool.park(s) {
		return
	}
	s.quit(s.pool.base)
}

// settle brings s to where it can be kept, after a reply to RCPT, and keeps it or ends it.
// resetSent says that RSET was sent along and its reply is outstanding.
func (s *session) settle(resetSent bool) {
	ctx := s.pool.base
	if s.asked >= s.pool.cfg.RcptPerSession || s.refused >= maxRefusals {
		s.quit(ctx)
		return
	}
	var answer esmtp.Reply
	var err error
	if resetSent {
		answer, err = s.client.ReadReply(ctx)
	} else {
		answer, err = s.client.Reset(ctx)
	}
	if err != nil {
		s.abandon()
		return
	}
	if answer.Positive() && s.client.Clean() {
		s.keep()
		return
	}
	s.quit(ctx)
}

// leave ends s in the background. The caller is a goroutine that the pool counts.
func (p *Pool) leave(s *session) { p.wg.Go(func() { s.quit(p.base) }) }

// quit ends s as the protocol wants it, with a short wait for the reply, and frees what it holds.
func (s *session) quit(ctx context.Context) {
	s.client.Timeout = quitTimeout
	// Nobody is left to whom an error would matter: Quit closes the connection whatever happens.
	_, _ = s.client.Quit(ctx)
	s.abandon()
}

// quitKeepingSlot is quit for a session that is replaced by another to the same host.
func (s *session) quitKeepingSlot(ctx context.Context) {
	s.release = nil
	s.quit(ctx)
}

// abandon closes s without a word and frees what it holds.
func (s *session) abandon() {
	s.drop()
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

// drop closes s without a word and frees its place among the greeted, but not the slot of its host.
func (s *session) drop() {
	if s.client != nil {
		_ = s.client.Close() // there is nothing left to lose
	}
	for _, free := range []*func(){&s.prove, &s.leave} {
		if *free != nil {
			(*free)()
			*free = nil
		}
	}
}
