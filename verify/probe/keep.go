package probe

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Sessions that wait for the next recipient hold no slot of their host, so that whoever gets the
// slot can use them. What keeps the number of connections to a host within PerHost is this:
// sessions that wait and slots in use are together never more than PerHost, except while the holder
// of a slot is on its way to take one; and it opens a connection only if it found none waiting.

// take returns a session of addr that waits and can be used, or nil. The caller holds a slot of
// addr. A host sees one HELO name of ours at a time: a session with another name is ended first.
func (p *Pool) take(ctx context.Context, addr netip.Addr, helo string) *session {
	for {
		s := p.pop(addr)
		switch {
		case s == nil:
			return nil
		case !s.client.Clean():
			s.drop() // closed by the server, or out of step
		case s.helo == helo:
			return s
		default:
			s.quit(ctx)
			return nil
		}
	}
}

// pop takes the session that was parked last off the idle list of addr.
func (p *Pool) pop(addr netip.Addr) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[addr]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.remove(s)
	return s
}

// park puts s on the idle list and frees its slot, unless the pool is closed or somebody waits for
// the place that s takes among all.
func (p *Pool) park(s *session) bool {
	p.mu.Lock()
	if p.closed || p.wanting.Load() > 0 {
		p.mu.Unlock()
		return false
	}
	release := s.release
	s.release = nil
	s.since = time.Now()
	s.timer = time.AfterFunc(p.cfg.Idle, func() { p.expire(s) })
	p.idle[s.addr] = append(p.idle[s.addr], s)
	p.mu.Unlock()
	release()
	return true
}

// expire ends a session that nobody took.
func (p *Pool) expire(s *session) {
	if p.reclaim(s) {
		defer p.wg.Done()
		s.quit(p.base)
	}
}

// evict ends the session that has waited longest, to make room for another.
func (p *Pool) evict() {
	p.mu.Lock()
	var oldest *session
	for _, list := range p.idle {
		for _, s := range list {
			if oldest == nil || s.since.Before(oldest.since) {
				oldest = s
			}
		}
	}
	p.mu.Unlock()
	if oldest != nil && p.reclaim(oldest) {
		go func() {
			defer p.wg.Done()
			oldest.quit(p.base)
		}()
	}
}

// reclaim takes s off the idle list, with a slot of its host: it is a connection as long as its
// QUIT lasts. It counts a goroutine of the pool, which the caller ends. It reports false if s does
// not wait any more, or if all slots are held: then one of their holders is about to take s.
func (p *Pool) reclaim(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !slices.Contains(p.idle[s.addr], s) {
		return false
	}
	release, ok := p.hosts.TryAcquire(s.addr.String())
	if !ok {
		s.timer.Reset(time.Second)
		return false
	}
	p.remove(s)
	s.release = release
	p.wg.Add(1)
	return true
}

// remove takes s off the idle list, under p.mu.
func (p *Pool) remove(s *session) {
	list := p.idle[s.addr]
	if i := slices.Index(list, s); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(p.idle, s.addr)
	} else {
		p.idle[s.addr] = list
	}
	s.timer.Stop()
}
