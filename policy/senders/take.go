package senders

import (
	"hash/maphash"
	"slices"
	"time"
)

// Identity says who sends. What is not known is "".
type Identity struct {
	Login        string // SASL user
	Sender       string // esmtp.Address.Key of the sender; "" or "@" for the null sender
	SenderDomain string // lower case, A-labels
	Client       string // IP address
}

// nullSender is the Key of esmtp.Address{}.
const nullSender = "@"

// hygieneName is the breaker's name beside those of the limits.
const hygieneName = "list hygiene"

// HoldKind is why a recipient must wait.
type HoldKind int

// The kinds.
const (
	Free      HoldKind = iota // it need not
	Limited                   // a limit
	Throttled                 // the breaker lets one recipient a second pass
	Held                      // the breaker lets none pass
)

// String is the kind in logs: "free", "limited", "throttled", "held".
func (k HoldKind) String() string {
	switch k {
	case Free:
		return "free"
	case Limited:
		return "limited"
	case Throttled:
		return "throttled"
	default:
		return "held"
	}
}

// Hold says that a recipient must be deferred, and why. The zero Hold lets it pass.
type Hold struct {
	Kind HoldKind
	Name string        // the limit's, or "list hygiene"
	Key  string        // who is held: "login:alice", "sender_domain:example.com", ...
	Wait time.Duration // how long, at least
	// KnownOnly: recipients that are known to be good from memory may pass: ask TakeKnown for them.
	KnownOnly bool
	Detail    string // the limit or the reason in words, printable ASCII
}

// Take asks for one recipient at now, and counts it if it may pass. message tells that no recipient
// of the same message has passed yet, so that the message counts, too.
//
// If several limits are met the Hold is of the one that lasts longest; the breaker goes first.
func (t *Table) Take(id Identity, message bool, now time.Time) Hold {
	return t.take(id, message, true, now)
}

// TakeKnown is Take for a recipient that Take has held with KnownOnly, and that is known to be good:
// only the limits are asked.
func (t *Table) TakeKnown(id Identity, message bool, now time.Time) Hold {
	return t.take(id, message, false, now)
}

func (t *Table) take(id Identity, message, ask bool, now time.Time) Hold {
	if t == nil {
		return Hold{}
	}
	p, c := t.plan.Load(), clockAt(now)
	var s parties
	if t.identify(p, id, &s); s.locks == 0 {
		return Hold{}
	}
	t.lock(&s)
	t.find(p, &s, c)
	change, changed := s.settle(p, c)
	if changed {
		t.shard(s.hash[s.who]).place(s.sender())
	}
	r := s.ask(p, c, message, ask)
	if r.kind == Free {
		s.count(p, c, 1, message, ask)
	}
	t.unlock(&s)
	if changed {
		t.tell(p, change.of(s.keys[s.who]))
	}
	return r.hold(&s)
}

// Peek is what Take would say, for a first recipient of a message. It counts nothing.
func (t *Table) Peek(id Identity, now time.Time) Hold {
	if t == nil {
		return Hold{}
	}
	p, c := t.plan.Load(), clockAt(now)
	var s parties
	t.identify(p, id, &s)
	t.look(p, &s, c)
	s.settle(p, c)
	return s.ask(p, c, true, true).hold(&s)
}

// look is find with copies, and makes no accounts: what is not known is new. It takes the locks.
func (t *Table) look(p *plan, s *parties, c clock) {
	t.lock(s)
	defer t.unlock(s)
	for k, used := range s.used {
		if !used {
			continue
		}
		copied := &account{key: s.keys[k]}
		if a := t.shard(s.hash[k]).known(s.keys[k], s.hash[k]); a != nil {
			*copied = *a
			copied.chain, copied.newer, copied.older = nil, nil, nil
			copied.cells = slices.Clone(a.cells)
			if a.breaker != nil {
				b := *a.breaker
				copied.breaker = &b
			}
		}
		copied.refresh(p, c)
		s.found[k] = copied
	}
}

// Checked notes that a verdict about a recipient was used: invalid if it was that the recipient
// does not exist. recipient is compared with others; give its esmtp.Address.Key.
func (t *Table) Checked(id Identity, recipient string, invalid bool, now time.Time) {
	if t == nil {
		return
	}
	p, c := t.plan.Load(), clockAt(now)
	if !p.watching {
		return
	}
	k, known := whoIs(id)
	if !known {
		return
	}
	rcpt, hash := maphash.String(t.seed, recipient), t.hash(k)
	s := t.shard(hash)
	s.mu.Lock()
	a := s.account(p, k, hash, c)
	if a.breaker == nil {
		a.breaker = &breaker{since: c.sec}
	}
	ended, hasEnded := a.breaker.settle(p, c)
	change, changed := a.breaker.checked(p, c, rcpt, invalid)
	if changed || hasEnded {
		s.place(a)
	}
	s.mu.Unlock()
	if hasEnded {
		t.tell(p, ended.of(k))
	}
	if changed {
		t.tell(p, change.of(k))
	}
}

// Release ends a sender's state and forgets what was counted about its recipients; for an hour then
// nothing above a warning follows. key is that of a Hold of the breaker, a Change or a Status, or a
// login. It reports false if the sender is not known. The sender's limits stay.
func (t *Table) Release(key string, now time.Time) bool {
	if t == nil {
		return false
	}
	p, c, k := t.plan.Load(), clockAt(now), senderKey(key)
	hash := t.hash(k)
	s := t.shard(hash)
	s.mu.Lock()
	a := s.known(k, hash)
	if a == nil {
		s.mu.Unlock()
		return false
	}
	if a.breaker == nil {
		a.breaker = &breaker{}
	}
	was := a.breaker.level
	change := a.breaker.end(c, "released by the administrator")
	a.breaker.grace = c.sec + graceSeconds
	a.active, s.dirty = max(a.active, c.sec), true
	s.place(a)
	s.mu.Unlock()
	if was != ok {
		t.tell(p, change.of(k))
	}
	return true
}

// settle settles the sender's breaker.
func (s *parties) settle(p *plan, c clock) (Change, bool) {
	if a := s.sender(); a != nil && a.breaker != nil && p.watching {
		return a.breaker.settle(p, c)
	}
	return Change{}, false
}

// refusal is a Hold before it is put into words, which needs no lock.
type refusal struct {
	kind   HoldKind
	wait   time.Duration
	rule   *rule // of Limited
	detail string
}

// ask asks the breaker, if askBreaker, and the limits. It changes nothing.
func (s *parties) ask(p *plan, c clock, message, askBreaker bool) refusal {
	if a := s.sender(); askBreaker && a != nil && a.breaker != nil {
		if kind, wait := a.breaker.admits(p, c); kind != Free {
			return refusal{kind: kind, wait: wait, detail: a.breaker.why}
		}
	}
	worst := refusal{}
	for i := range p.rules {
		r := &p.rules[i]
		if a := s.found[r.per]; a != nil && (message || r.of == recipients) {
			if wait := r.refuses(a, c); wait > worst.wait {
				worst = refusal{kind: Limited, wait: wait, rule: r, detail: r.detail}
			}
		}
	}
	return worst
}

// count counts n recipients that ask let pass, and with message the message of the first.
func (s *parties) count(p *plan, c clock, n int, message, asked bool) {
	for _, a := range s.found {
		if a != nil {
			a.count(n, message)
		}
	}
	for i := range n {
		if a := s.sender(); asked && a != nil && p.holding {
			a.breaker.pass(c)
		}
		for k := range p.rules {
			r := &p.rules[k]
			if a := s.found[r.per]; a != nil && (message && i == 0 || r.of == recipients) {
				r.count(a, c)
			}
		}
	}
}

// hold puts a refusal into words.
func (r refusal) hold(s *parties) Hold {
	switch r.kind {
	case Free:
		return Hold{}
	case Limited:
		return Hold{
			Kind: Limited, Name: r.rule.name, Key: s.keys[r.rule.per].String(), Wait: r.wait,
			Detail: r.detail,
		}
	default:
		return Hold{
			Kind: r.kind, Name: hygieneName, Key: s.keys[s.who].String(), Wait: r.wait,
			KnownOnly: r.kind == Held, Detail: r.detail,
		}
	}
}
