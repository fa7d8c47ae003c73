package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
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

// session is one connection to a mail host, with a goroutine of its own: work.
type session struct {
	pool   *Pool
	peer   *peer
	client *esmtp.Client // nil until connected
	conn   net.Conn      // under client
	mx     string        // the name by which it was looked up
	addr   netip.Addr
	helo   string
	listen func(banner string) (group string, l Limits, goOn bool) // Request.Greeted

	banner     string     // see Outcome.Banner
	source     netip.Addr // see Outcome.Source
	pipelining bool
	batch      []*question // that it is asking
	line       []byte      // room for a command
	shown      []byte      // and for how it is shown
	said       [4]heardReply
	answered   int         // recipients with a reply
	mailed     bool        // a MAIL was accepted
	said421    esmtp.Reply // the 421 that it ended with

	asked, refused atomic.Int32 // recipients; not answered by 2xx

	leave func() // its place among the greeted; nil before
	prove func() // its place among the unproven; nil before, and after an answer

	ctx    context.Context // of open
	cancel context.CancelFunc
	wake   chan struct{} // has a value when it is worth to look at the queue again

	// Under Pool.mu.
	state   state
	since   time.Time // in that state
	evicted bool      // another needs its place
	lingers bool      // see linger
	group   *group
	limits  Limits

	mu    sync.Mutex
	phase phase
	steps []string // of open
}

type state int

const (
	opening state = iota
	idle
	busy
	leaving // takes no more questions
)

// phase is where open is.
type phase int

const (
	inSlot  phase = iota // waits for a slot of ours
	inDial               // is not connected yet
	inTalk               // the host knows of it
	inPlace              // waits for a place among the greeted
)

func contextOf(p *Pool) (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.base, p.cfg.Total)
}

// work is the life of s.
func (s *session) work() {
	p := s.pool
	defer p.wg.Done()
	defer p.retire(s)
	defer s.survive()
	opened := s.open()
	s.cancel()
	if opened {
		// Conversations have no context: it would cost a timer for each reply.
		stop := context.AfterFunc(p.base, func() { _ = s.conn.Close() })
		defer stop()
		for s.batch = p.next(s); s.batch != nil && s.ask(s.batch); {
			s.batch = p.next(s)
		}
	}
	p.dismiss(s)
	s.end()
}

// survive keeps a fault of ours from ending the process: it is logged, and nothing was learned.
func (s *session) survive() {
	fault := recover()
	if fault == nil {
		return
	}
	s.pool.cfg.Log.Error("internal error in a probe; please report it",
		"mx", s.mx, "error", fmt.Sprint(fault), "stack", string(debug.Stack()))
	s.drop()
	out := Outcome{
		Stage: reply.StageConnect, MX: s.mx, Addr: s.addr, Err: errors.New("probe: internal error"),
	}
	s.pool.refuse(s, out, true)
	for _, q := range s.batch {
		s.pool.deliver(q, out, true)
	}
}

// room is how many more recipients s may be asked at a time.
func (s *session) room() int {
	asked := int(s.asked.Load())
	n := min(s.limits.RcptPerSession-asked, s.limits.Refusals-int(s.refused.Load()), maxBatch)
	if c, ok := s.pool.capacity.get(s.addr, time.Now()); ok {
		n = min(n, c-asked)
	}
	return n
}

// poke has s look at the queue again.
func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it is going to
	}
}

// evict ends s, which is idle, under Pool.mu.
func (s *session) evict() {
	s.evicted = true
	s.poke()
}

// sleep waits until s is poked; false says that Idle is over.
func (s *session) sleep() bool {
	t := time.NewTimer(s.pool.cfg.Idle)
	defer t.Stop()
	select {
	case <-s.wake:
		return true
	case <-t.C:
		return false
	}
}

func (s *session) step(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) < maxSteps {
		s.steps = append(s.steps, fmt.Sprintf(format, args...))
	}
}

// story is what happened in open so far.
func (s *session) story() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.steps)
}

func (s *session) enterPhase(ph phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = ph
}

// blocked reports whether open waits because of our own limits.
func (s *session) blocked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == inSlot || s.phase == inPlace
}

// dialled reports whether the host may know of s.
func (s *session) dialled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase >= inTalk
}

// enter takes one of the Max places for s, which was greeted; if need be that of a session that
// only waits. A host that never answered a question takes a place among the unproven too.
func (s *session) enter(ctx context.Context) (err error) {
	p := s.pool
	s.enterPhase(inPlace)
	defer s.enterPhase(inTalk)
	if _, ok := p.proven.get(s.addr, time.Now()); !ok {
		if s.prove, err = p.unproven.Acquire(ctx, ""); err != nil {
			return err
		}
	}
	var ok bool
	if s.leave, ok = p.greeted.TryAcquire(""); ok {
		return nil
	}
	p.wanting.Add(1) // first: who is not idle yet sees it and does not become so
	defer p.wanting.Add(-1)
	p.makeRoom()
	s.leave, err = p.greeted.Acquire(ctx, "")
	return err
}

// proved notes that the host of s has answered a question.
func (s *session) proved() {
	if s.answered > 1 && s.prove == nil {
		return
	}
	s.pool.proven.put(s.addr, struct{}{}, time.Now())
	if s.prove != nil {
		s.prove()
		s.prove = nil
	}
}

// end ends s as the protocol wants it, with a short wait for the reply, unless it is broken.
func (s *session) end() {
	if s.client == nil {
		s.free()
		return
	}
	err := s.client.Err()
	switch {
	case err == nil:
		s.client.Timeout = quitTimeout
		// Nobody is left to whom an error would matter: Quit closes the connection whatever happens.
		_, _ = s.client.Quit(s.pool.base)
	case s.mailed || s.asked.Load() > 0:
		if isTimeout(err) {
			s.linger()
		}
	}
	s.drop()
}

// linger gives a host that kept us waiting the time to come to the QUIT that it is sent now: closed
// at once, the connection would be reset by its late reply, and the QUIT with it never be read.
// Meanwhile it is a connection to the host, and takes no place from others.
func (s *session) linger() {
	s.free()
	p := s.pool
	p.mu.Lock()
	s.lingers = !p.closed
	p.mu.Unlock()
	if !s.lingers || !s.client.Farewell() || s.conn.SetDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	// Until it closes, or its time or ours is over.
	_, _ = io.Copy(io.Discard, io.LimitReader(s.conn, lingerOctets))
}

// drop closes s and frees its place among the greeted. A host that only kept us waiting hears a QUIT.
func (s *session) drop() {
	switch {
	case s.client == nil:
	case s.lingers: // it has heard it
		_ = s.client.Close() // there is nothing left to lose
	default:
		_ = s.client.Leave()
	}
	s.free()
}

// free gives back the place of s among the greeted.
func (s *session) free() {
	for _, free := range []*func(){&s.prove, &s.leave} {
		if *free != nil {
			(*free)()
			*free = nil
		}
	}
}

// fault says for people what broke. Everything from the network in it is escaped.
func (s *session) fault(name, what string, err error) error {
	return &HostError{What: what, MX: name, Addr: s.addr, Err: err}
}
