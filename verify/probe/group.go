package probe

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
)

// groupKey is a group of mail hosts as seen from one address of ours.
type groupKey struct {
	source netip.Addr // invalid: the system chooses
	name   string
}

func (k groupKey) String() string { return k.source.String() + " " + k.name }

// group counts the connections to a group of hosts, under Pool.mu.
type group struct {
	key     groupKey
	open    int     // those that are being made or ended included
	waiting []*peer // hosts that may open one when another is closed
}

// join counts one connection more to the group of that key; nil if that is one too many.
func (p *Pool) join(key groupKey, most int) (g *group, ok bool) {
	if key.name == "" {
		return nil, true
	}
	g = p.groups[key]
	if g == nil {
		g = &group{key: key}
		p.groups[key] = g
	}
	if g.open >= most {
		return g, false
	}
	g.open++
	return g, true
}

// part gives the connection back; hosts that wait for it have their turn.
func (p *Pool) part(g *group) {
	if g == nil {
		return
	}
	g.open--
	waiting := g.waiting
	g.waiting = nil
	for _, pr := range waiting {
		p.schedule(pr) // waits again if it may not
	}
	if g.open == 0 && len(g.waiting) == 0 {
		delete(p.groups, g.key)
	}
}

// await has pr wait for a connection of g, for which an idle one to another host makes room.
func (p *Pool) await(g *group, pr *peer) {
	if !slices.Contains(g.waiting, pr) {
		g.waiting = append(g.waiting, pr)
	}
	for _, other := range p.peers {
		for _, s := range other.sessions {
			if s.group == g && s.state == idle && other != pr {
				s.evict()
				return
			}
		}
	}
}

// regroup moves s, which was just greeted, into the group that its banner belongs to. It reports
// false if that has no connection left.
func (p *Pool) regroup(s *session, name string, l Limits) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.limits = p.cfg.resolve(l)
	key := groupKey{s.peer.key.source, name}
	if s.group == nil && name == "" || s.group != nil && s.group.key == key {
		return true
	}
	g, ok := p.join(key, s.limits.Connections)
	if !ok {
		return false
	}
	before := s.group
	s.group = g
	p.part(before)
	// Not asked for before anybody could know. The next ones are.
	p.rates.TakeAt(key.String(), s.limits.Rate, time.Now())
	return true
}

// source returns the address of ours that the group sees, of the family of addr. It is the one with
// the highest hash (rendezvous hashing), so that adding one moves few groups.
func (p *Pool) source(group string, addr netip.Addr) (netip.Addr, error) {
	if len(p.cfg.Bind) == 0 {
		return netip.Addr{}, nil
	}
	if group == "" {
		group = addr.String()
	}
	var best netip.Addr
	var most uint64
	for _, b := range p.cfg.Bind {
		if b = b.Unmap(); b.Is4() != addr.Is4() {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(b.String() + " " + strings.ToLower(group))) // never fails
		if sum := mix(h.Sum64()); !best.IsValid() || sum > most {
			best, most = b, sum
		}
	}
	if !best.IsValid() {
		return best, fmt.Errorf("probe: no source address for %v: verify.bind_addresses has none of its family",
			addr)
	}
	return best, nil
}

// mix spreads a hash whose high bits hardly depend on the last octets hashed (murmur3's finalizer).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// dialer returns the Dial of one source address.
func (p *Pool) dialer(source netip.Addr) esmtp.DialFunc {
	if source.IsValid() && p.cfg.DialFrom != nil {
		return p.cfg.DialFrom(source)
	}
	return p.cfg.Dial
}

// Whoever may send through the gate could have it find out which mailboxes a domain has, by asking
// for a dictionary of names, and the domain's servers would see us as the harvester and block us.
// So the share of refused recipients is watched, for the domain and for all that its hosts serve.

// harvestKeys are the accounts that a question belongs to.
func (q *question) harvestKeys() [2]string {
	keys := [2]string{q.req.Rcpt.ASCIIDomain(), ""}
	if q.group.name != "" {
		keys[1] = "\x00" + q.group.String()
	}
	return keys
}

// look tells whether q could be asked now.
func (p *Pool) look(q *question, now time.Time) limit.Admission {
	a := limit.Pass
	if p.harvest == nil {
		return a
	}
	for _, key := range q.harvestKeys() {
		if key != "" {
			a = max(a, p.harvest.Look(key, now))
		}
	}
	return a
}

// admit is look for a question that is asked if it passes.
func (p *Pool) admit(q *question, now time.Time) limit.Admission {
	if p.harvest == nil {
		return limit.Pass
	}
	if a := p.look(q, now); a != limit.Pass {
		return a
	}
	for _, key := range q.harvestKeys() {
		if key != "" { // Pool.mu is held: nothing has passed since
			p.harvest.Enter(key, now)
		}
	}
	return limit.Pass
}

// account says how an admitted question ended.
func (p *Pool) account(q *question, o limit.Outcome, now time.Time) {
	if p.harvest == nil {
		return
	}
	for i, key := range q.harvestKeys() {
		if key == "" {
			continue
		}
		rests, d := p.harvest.Leave(key, o, now)
		if !rests {
			continue
		}
		if _, ok := p.quiet.Take("", now); !ok {
			continue
		}
		of := q.req.Rcpt.ASCIIDomain()
		if i == 1 {
			of = q.group.name
		}
		p.cfg.Log.Warn("too many recipients are refused; they are not probed for a while",
			"of", of, "pause", d, "fix", "if this is a mailing, clean its list; if not, look who sends to names that do not exist")
	}
}
