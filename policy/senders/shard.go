package senders

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// shardCount is how many parts the table has, each with its own lock. The bits of a uint64 name a
// set of them.
const shardCount = 64

// key is what an account is for.
type key struct {
	kind   kind
	name   string
	domain string // of a pair
}

// String is the key as people see it and give it to Release: "login:alice",
// "client:192.0.2.1/example.com" for a sender without a login, whose domain is <> for the null
// sender, and "client:192.0.2.1", "sender:a@example.com", "sender_domain:example.com" for limits.
func (k key) String() string {
	if k.kind == pair {
		d := k.domain
		if d == "" {
			d = "<>"
		}
		return "client:" + k.name + "/" + d
	}
	return perNames[k.kind] + ":" + k.name
}

// senderKey is the key of a sender from its String, or from its login alone.
func senderKey(text string) key {
	if name, ok := strings.CutPrefix(text, "login:"); ok {
		return key{kind: login, name: name}
	}
	if rest, ok := strings.CutPrefix(text, "client:"); ok {
		if i := strings.LastIndexByte(rest, '/'); i >= 0 {
			k := key{kind: pair, name: rest[:i], domain: rest[i+1:]}
			if k.domain == "<>" {
				k.domain = ""
			}
			return k
		}
	}
	return key{kind: login, name: text}
}

// shard is a part of the table.
type shard struct {
	mu       sync.Mutex
	accounts map[uint64]*account // by Table.hash of the key
	quiet    chain               // accounts, by their activity
	kept     chain               // those that are throttled or held
	dirty    bool                // something was counted since the last save
}

// cell is the state of a limit with a burst.
type cell struct {
	limit string // its rule.cellName
	at    int64  // arrival time, nanoseconds since 1970
}

// account is what is known about one key. The shard's lock guards it.
type account struct {
	key     key
	hash    uint64
	active  int64 // seconds since 1970
	counts  [measures][units]window
	cells   []cell   // for the plan's limits with a burst
	breaker *breaker // nil: no verdict was used yet

	chain        *chain
	newer, older *account
}

// count notes n recipients, and with message their message. The windows are rolled to now.
func (a *account) count(n int, message bool) {
	for u := range units {
		a.counts[recipients][u].add(n)
		if message && n > 0 {
			a.counts[messages][u].add(1)
		}
	}
}

// refresh rolls the windows to now, and brings the cells into the order of the plan.
func (a *account) refresh(p *plan, c clock) {
	for m := range a.counts {
		for u := range a.counts[m] {
			a.counts[m][u].roll(c.step[u])
		}
	}
	want := p.cells[a.key.kind]
	if slices.EqualFunc(a.cells, want, func(have cell, name string) bool { return have.limit == name }) {
		return
	}
	cells := make([]cell, len(want))
	for i, name := range want {
		cells[i].limit = name
		for _, old := range a.cells {
			if old.limit == name {
				cells[i].at = old.at
			}
		}
	}
	a.cells = cells
}

// idle reports whether a has not been active for long, and nothing of it matters any more.
func (a *account) idle(c clock) bool {
	if a.breaker != nil && a.breaker.level != ok {
		return false
	}
	for _, cell := range a.cells {
		if cell.at > c.now && cell.at-c.now < int64(48*time.Hour) { // the longest burst takes a day
			return false
		}
	}
	return c.sec-a.active > idleSeconds || a.active-c.sec > idleSeconds
}

// chain is a list of accounts by their activity, the latest first.
type chain struct{ newest, oldest *account }

// touch makes a the newest of c, wherever it was before.
func (c *chain) touch(a *account) {
	if a.chain == c && c.newest == a {
		return
	}
	a.unlink()
	a.chain, a.older = c, c.newest
	if c.newest != nil {
		c.newest.newer = a
	} else {
		c.oldest = a
	}
	c.newest = a
}

// unlink takes a out of its chain, if it is in one.
func (a *account) unlink() {
	if a.chain == nil {
		return
	}
	if a.newer != nil {
		a.newer.older = a.older
	} else {
		a.chain.newest = a.older
	}
	if a.older != nil {
		a.older.newer = a.newer
	} else {
		a.chain.oldest = a.newer
	}
	a.chain, a.newer, a.older = nil, nil, nil
}

// known finds the account of k.
func (s *shard) known(k key, hash uint64) *account {
	if a := s.accounts[hash]; a != nil && a.key == k {
		return a
	}
	return nil
}

// account finds or makes the account of k, and makes it the latest. Its windows may be old.
func (s *shard) account(p *plan, k key, hash uint64, c clock) *account {
	a := s.known(k, hash)
	if a == nil {
		// What k is cut from, such as a whole request, must not stay in memory with it.
		k.name, k.domain = strings.Clone(k.name), strings.Clone(k.domain)
		a = &account{key: k, hash: hash}
		s.add(p, a)
	}
	a.active = max(a.active, c.sec)
	s.place(a)
	s.dirty = true
	return a
}

// add makes room for a new account, and puts it in its place. Another key with the same hash, which
// hardly ever exists, is forgotten.
func (s *shard) add(p *plan, a *account) {
	if old := s.accounts[a.hash]; old != nil {
		s.remove(old)
	}
	for len(s.accounts) >= p.perShard {
		s.evict()
	}
	s.accounts[a.hash] = a
	s.place(a)
}

// place puts a at the front of the chain for its state.
func (s *shard) place(a *account) {
	if a.breaker != nil && a.breaker.level >= throttle {
		s.kept.touch(a)
	} else {
		s.quiet.touch(a)
	}
}

// evict forgets the account that was active longest ago, one that is throttled or held last.
func (s *shard) evict() {
	if s.quiet.oldest != nil {
		s.remove(s.quiet.oldest)
	} else if s.kept.oldest != nil {
		s.remove(s.kept.oldest)
	}
}

func (s *shard) remove(a *account) {
	a.unlink()
	delete(s.accounts, a.hash)
	s.dirty = true
}

func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.accounts)
}

// sweep lets happen what time alone brings, and forgets who was idle for long.
func (s *shard) sweep(p *plan, c clock) (changes []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.breaker != nil {
			if change, changed := a.breaker.settle(p, c); changed {
				changes = append(changes, change.of(a.key))
				s.free(a)
			}
		}
		if a.idle(c) {
			s.remove(a)
		}
	}
	return changes
}

// adapt brings the shard to a new plan: a breaker that is off lets go, and if fewer keys are
// allowed than before some are forgotten.
func (s *shard) adapt(p *plan, c clock) (changes []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.breaker == nil || p.watching {
			continue
		}
		if a.breaker.level != ok {
			changes = append(changes, a.breaker.end(c, "list hygiene is off").of(a.key))
		}
		a.breaker = nil
		s.free(a)
	}
	for len(s.accounts) > p.perShard {
		s.evict()
	}
	return changes
}

// free moves a, whose state has ended without its doing, out of those that are kept.
func (s *shard) free(a *account) {
	if a.chain == &s.kept {
		s.quiet.touch(a)
	}
	s.dirty = true
}
