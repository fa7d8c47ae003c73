package probe

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// peerKey is one address of a mail host as seen from one address of ours.
type peerKey struct{ source, addr netip.Addr }

// peer is who waits for an answer from one address, and our sessions there. All under Pool.mu.
type peer struct {
	key      peerKey
	queue    []*question
	sessions []*session // of every state; each is one connection
	timer    *time.Timer
}

// question is one recipient that is asked for at one address.
type question struct {
	req    *Request
	name   string // of the host
	group  groupKey
	limits Limits
	result chan asked // gets one value unless the state is gone

	state  qstate      // under Pool.mu
	tries  int         // sessions that it was asked in; of the session, then under Pool.mu
	mailed atomic.Bool // MAIL was accepted
	steps  []string    // of the session that has it, until result
}

type qstate int

const (
	waiting qstate = iota // in the queue of its peer
	taken                 // by a session
	gone                  // nobody wants its result any more
	done                  // result has it
)

// asked is what became of a question at one address. final: the walk ends with it.
type asked struct {
	out   Outcome
	final bool
}

// peerAt returns the peer of that key, made if need be.
func (p *Pool) peerAt(key peerKey) *peer {
	pr := p.peers[key]
	if pr == nil {
		pr = &peer{key: key}
		p.peers[key] = pr
	}
	return pr
}

// tidy forgets a peer that nothing is known of.
func (p *Pool) tidy(pr *peer) {
	if len(pr.queue) > 0 || len(pr.sessions) > 0 {
		return
	}
	if pr.timer != nil {
		pr.timer.Stop()
		pr.timer = nil
	}
	delete(p.held, pr)
	if p.peers[pr.key] == pr {
		delete(p.peers, pr.key)
	}
}

// greeted reports whether a session of pr has come as far as MAIL.
func (pr *peer) greeted() bool {
	return slices.ContainsFunc(pr.sessions, func(s *session) bool {
		return s.state == idle || s.state == busy
	})
}

// enqueue has q wait at pr, and sees to it that somebody comes for it.
func (p *Pool) enqueue(pr *peer, q *question) {
	pr.queue = append(pr.queue, q)
	p.serve(pr)
}

// serve wakes sessions of pr that wait, or opens more, as far as its questions need them.
func (p *Pool) serve(pr *peer) {
	need := len(pr.queue)
	for _, s := range pr.sessions {
		if need > 0 && s.state == idle {
			s.poke()
			need -= s.room()
		}
	}
	p.schedule(pr)
	if len(pr.queue) > 0 && pr.timer == nil {
		pr.timer = time.AfterFunc(patience, func() { p.late(pr) })
	}
}

// late looks again at a peer whose sessions were busy.
func (p *Pool) late(pr *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr.timer = nil
	if len(pr.queue) > 0 {
		p.schedule(pr)
		if len(pr.sessions) < p.cfg.PerHost {
			pr.timer = time.AfterFunc(patience, func() { p.late(pr) })
		}
	}
	p.tidy(pr)
}

// schedule opens sessions of pr as long as its questions need more and may have them.
func (p *Pool) schedule(pr *peer) {
	for p.base.Err() == nil && len(pr.sessions) < p.cfg.PerHost {
		q := p.needy(pr, time.Now())
		if q == nil {
			return
		}
		if slices.ContainsFunc(pr.sessions, func(s *session) bool { return s.helo != q.req.Helo }) {
			return // a host sees one name of ours at a time; they are on their way out
		}
		most := p.cfg.PerHost
		if n, ok := p.crowd.get(pr.key.addr, time.Now()); ok {
			most = min(most, n)
		}
		if len(pr.sessions) >= most {
			return
		}
		g, ok := p.join(q.group, q.limits.Connections)
		if !ok {
			p.await(g, pr)
			return
		}
		p.start(pr, q, g)
	}
}

// needy returns the first question of pr that no session is going to take soon, or nil.
func (p *Pool) needy(pr *peer, now time.Time) *question {
	room, live := 0, false
	for _, s := range pr.sessions {
		switch {
		case s.state == leaving:
		case s.state == busy && now.Sub(s.since) >= patience:
			live = true
		default:
			live = true
			room += max(1, s.room())
		}
	}
	n := 0
	for _, q := range pr.queue {
		if p.look(q, now) == limit.Hold {
			p.held[pr] = struct{}{}
			continue
		}
		if n++; !live || n > room {
			return q
		}
	}
	return nil
}

// start opens a session of pr for q and who waits behind it.
func (p *Pool) start(pr *peer, q *question, g *group) {
	s := &session{
		pool: p, peer: pr, mx: q.name, addr: pr.key.addr, helo: q.req.Helo, group: g,
		limits: q.limits, listen: q.req.Greeted, state: opening, wake: make(chan struct{}, 1),
	}
	s.ctx, s.cancel = contextOf(p)
	pr.sessions = append(pr.sessions, s)
	p.names[s.mx]++
	p.wg.Add(1)
	go s.work()
}

// next returns what s is to ask, waiting for it as long as a session may; nil ends s.
func (p *Pool) next(s *session) []*question {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := false // the wait is over
	// One that is out of step from the start finds that out when it asks, and says so.
	for s.state != leaving && (s.asked.Load() == 0 || s.client.Ready()) && s.room() > 0 {
		if batch := p.pick(s); len(batch) > 0 {
			s.state, s.since = busy, time.Now()
			return batch
		}
		if last || s.evicted || p.closed || p.wanting.Load() > 0 || len(s.peer.queue) > 0 && s.otherHelo() ||
			s.group != nil && len(s.group.waiting) > 0 {
			break
		}
		s.state, s.since = idle, time.Now()
		p.mu.Unlock()
		last = !s.sleep()
		p.mu.Lock()
	}
	s.state = leaving
	return nil
}

// otherHelo reports whether the first of the queue wants another HELO name.
func (s *session) otherHelo() bool { return s.peer.queue[0].req.Helo != s.helo }

// pick takes questions for s from the queue.
func (p *Pool) pick(s *session) []*question {
	pr, most, now := s.peer, s.room(), time.Now()
	if !s.pipelining {
		most = min(most, 1)
	}
	var batch []*question
	i, kept := 0, 0
	for ; i < len(pr.queue) && len(batch) < most; i++ {
		q := pr.queue[i]
		if q.req.Helo != s.helo {
			break
		}
		switch p.admit(q, now) {
		case limit.Pass:
			q.state = taken
			batch = append(batch, q)
		case limit.Hold:
			p.held[pr] = struct{}{}
			pr.queue[kept] = q
			kept++
		case limit.Stop:
			p.give(q, q.harvested(pr.key.addr), true)
		}
	}
	pr.queue = slices.Delete(pr.queue, kept, i)
	return batch
}

// give hands over the result of q.
func (p *Pool) give(q *question, out Outcome, final bool) {
	if q.state == gone || q.state == done {
		return
	}
	q.state = done
	q.result <- asked{out, final}
}

// deliver ends a question that a session took.
func (p *Pool) deliver(q *question, out Outcome, final bool) {
	o, now := limit.Void, time.Now()
	if out.atRcpt() {
		switch {
		case out.Reply.Permanent():
			o = limit.Bad
		case out.Reply.Positive():
			o = limit.Good
		}
	}
	p.account(q, o, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give(q, out, final)
	p.unhold()
}

// unhold has another look at who waits for what became of others.
func (p *Pool) unhold() {
	if len(p.held) == 0 {
		return
	}
	held := p.held
	p.held = make(map[*peer]struct{})
	for pr := range held {
		p.serve(pr)
	}
}

// requeue has questions that a session took asked in another one, before those that wait. The
// caller ends the session.
func (p *Pool) requeue(s *session, list []*question) {
	now := time.Now()
	for _, q := range list {
		p.account(q, limit.Void, now)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.state = leaving
	list = slices.DeleteFunc(slices.Clone(list), func(q *question) bool { return q.state == gone })
	for _, q := range list {
		q.state = waiting
	}
	s.peer.queue = slices.Insert(s.peer.queue, 0, list...)
	p.serve(s.peer)
	p.unhold()
}

// refuse ends s, which was not let in, and who waits for it. If the host serves us in another
// session, the lesson is only that it does not want this many.
func (p *Pool) refuse(s *session, out Outcome, final bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr := s.peer
	s.state = leaving
	if pr.greeted() && !final && !out.LocalLimit {
		p.crowd.put(s.addr, len(pr.sessions)-1, time.Now())
		return
	}
	if p.base.Err() == nil && !out.LocalLimit { // not ours, so theirs
		p.down.put(s.addr, kept(out), time.Now())
	}
	queue := pr.queue
	pr.queue = nil
	for _, q := range queue {
		q.steps = append(q.steps, s.story()...)
		p.give(q, out, final)
	}
}

// dismiss lets s have no more questions: it is about to be ended.
func (p *Pool) dismiss(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.state = leaving
	p.serve(s.peer)
}

// retire forgets s, whose connection is closed.
func (p *Pool) retire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr := s.peer
	if i := slices.Index(pr.sessions, s); i >= 0 {
		pr.sessions = slices.Delete(pr.sessions, i, i+1)
	}
	if p.names[s.mx]--; p.names[s.mx] == 0 {
		delete(p.names, s.mx)
	}
	p.part(s.group)
	p.serve(pr)
	p.tidy(pr)
}

// abandon gives q up, whose time is over. What it returns tells how far it came.
func (p *Pool) abandon(pr *peer, q *question) (before qstate, limited bool, story []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = q.state
	if before == done {
		return before, false, nil
	}
	q.state = gone
	if before != waiting {
		return before, false, nil
	}
	// Whoever has a session waits for it because of our own limits; so does who has none that
	// is being opened.
	limited = true
	for _, s := range pr.sessions {
		if s.state == opening {
			story = s.story()
			if limited = s.blocked(); !limited {
				break
			}
		}
	}
	limited = limited || pr.greeted()
	if i := slices.Index(pr.queue, q); i >= 0 {
		pr.queue = slices.Delete(pr.queue, i, i+1)
	}
	p.useless(pr)
	p.tidy(pr)
	return before, limited, story
}

// useless ends what is opened at pr for nobody, as far as it has cost the host nothing yet.
func (p *Pool) useless(pr *peer) {
	if len(pr.queue) > 0 {
		return
	}
	for _, s := range pr.sessions {
		if s.state == opening && (s.blocked() || p.closed && !s.dialled()) {
			s.cancel()
		}
	}
}

// makeRoom ends the session that has waited longest, for another to take its place.
func (p *Pool) makeRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest *session
	for _, pr := range p.peers {
		for _, s := range pr.sessions {
			if s.state == idle && !s.evicted && (oldest == nil || s.since.Before(oldest.since)) {
				oldest = s
			}
		}
	}
	if oldest != nil {
		oldest.evict()
	}
}
