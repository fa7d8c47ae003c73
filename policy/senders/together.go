package senders

import (
	"hash/maphash"
	"time"
)

// maxTogether is how many verdicts a Together keeps before it counts them.
const maxTogether = 64

// Together counts recipients of one message that are decided one right after the other, under one
// lock, as long as nothing can hold them. It is what Take and Checked are for each of them. The
// zero value is for a nil Table. It belongs to one goroutine.
type Together struct {
	table *Table
	id    Identity
	at    time.Time
	free  bool // nothing can hold a recipient of id before another verdict

	taken   int  // recipients to be counted
	message bool // and with them their message
	used    int
	valid   [maxTogether]uint64 // hashes of those that exist
}

// Begin begins with recipients of id at now. c must be new, or ended.
func (t *Table) Begin(c *Together, id Identity, now time.Time) {
	c.table, c.id, c.at = t, id, now
	c.free = t.isFree(id)
}

// isFree reports whether no limit is for id, and its breaker lets everything pass.
func (t *Table) isFree(id Identity) bool {
	if t == nil {
		return true
	}
	p := t.plan.Load()
	var s parties
	if t.identify(p, id, &s); s.limited(p) {
		return false
	}
	if !s.used[s.who] {
		return true
	}
	hash := s.hash[s.who]
	sh := t.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.known(s.keys[s.who], hash)
	return a == nil || a.breaker == nil || a.breaker.level == ok
}

// limited reports whether there is a limit for one of the parties.
func (s *parties) limited(p *plan) bool {
	for i := range p.rules {
		if s.used[p.rules[i].per] {
			return true
		}
	}
	return false
}

// Take is Table.Take at the time of Begin. What it lets pass is counted at Settle.
func (c *Together) Take(message bool) Hold {
	if c.table == nil {
		return Hold{}
	}
	if !c.free {
		return c.table.Take(c.id, message, c.at)
	}
	c.taken++
	c.message = c.message || message
	return Hold{}
}

// Checked is Table.Checked at the time of Begin.
func (c *Together) Checked(recipient string, invalid bool) {
	if c.table == nil {
		return
	}
	if !c.free || invalid {
		c.Settle()
		c.table.Checked(c.id, recipient, invalid, c.at)
		c.free = c.free && c.table.isFree(c.id)
		return
	}
	if c.used == maxTogether {
		c.Settle()
	}
	c.valid[c.used] = maphash.String(c.table.seed, recipient)
	c.used++
}

// Settle counts all that was taken and checked so far.
func (c *Together) Settle() {
	if c.taken == 0 && c.used == 0 {
		return
	}
	c.table.settle(c)
	c.taken, c.used, c.message = 0, 0, false
}

func (t *Table) settle(together *Together) {
	p, c := t.plan.Load(), clockAt(together.at)
	var s parties
	if t.identify(p, together.id, &s); s.locks == 0 {
		return
	}
	var told []Change
	t.lock(&s)
	t.find(p, &s, c)
	if change, changed := s.settle(p, c); changed {
		told = append(told, change)
	}
	s.count(p, c, together.taken, together.message, true)
	if a := s.sender(); a != nil && p.watching && together.used > 0 {
		if a.breaker == nil {
			a.breaker = &breaker{since: c.sec}
		}
		for _, recipient := range together.valid[:together.used] {
			if change, changed := a.breaker.checked(p, c, recipient, false); changed {
				told = append(told, change)
			}
		}
	}
	if len(told) > 0 {
		t.shard(s.hash[s.who]).place(s.sender())
	}
	t.unlock(&s)
	for _, change := range told {
		t.tell(p, change.of(s.keys[s.who]))
	}
}
