package register

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// shardCount keeps what one lock holds small: 4,000 of a million records, less than a millisecond
// of work for whoever looks at all of them.
const shardCount = 256

// table holds the records by their keys. Its locks are held for moments, never while anything
// waits.
type table struct {
	seed   maphash.Seed
	shards [shardCount]shard
	total  atomic.Int64 // records, and places reserved for some
	// present counts the records, so that look-ups that cannot find anything are left out.
	present [scopeKinds][addressForms]atomic.Int64
	inForce [reasonCount]atomic.Int64 // records that have not lapsed
	hits    [reasonCount]atomic.Uint64
}

type shard struct {
	mu      sync.RWMutex
	records map[string]*record
	_       [24]byte // two locks do not share a cache line
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	t.makeRoom(0)
	return t
}

// makeRoom prepares an empty table for so many records.
func (t *table) makeRoom(n int) {
	for i := range t.shards {
		t.shards[i].records = make(map[string]*record, n/shardCount)
	}
}

func (t *table) shard(key []byte) *shard {
	return &t.shards[maphash.Bytes(t.seed, key)%shardCount]
}

func (t *table) shardOf(key string) *shard {
	return &t.shards[maphash.String(t.seed, key)%shardCount]
}

func (t *table) get(key []byte) *record {
	s := t.shard(key)
	s.mu.RLock()
	r := s.records[string(key)]
	s.mu.RUnlock()
	return r
}

// replace makes what decide returns the record of a key: decide gets the one that is there, or nil,
// and is called under the shard's lock. A new one takes a place of its own, total, if the caller
// has not reserved it. The former record is returned.
func (t *table) replace(
	key string, now int64, reserved bool, decide func(old *record) *record,
) (old *record) {
	s := t.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.records[key]
	r := decide(old)
	if r == old {
		return old
	}
	places := int64(0)
	if reserved {
		places--
	}
	if old != nil {
		t.count(old, -1)
		delete(s.records, key) // the key's text is the record's
		places--
	}
	if r != nil {
		r.lapsed = !r.inForce(now)
		t.count(r, 1)
		s.records[r.key()] = r
		places++
	}
	t.total.Add(places)
	return old
}

func (t *table) count(r *record, n int64) {
	_, scope := splitKey(r.key())
	t.present[scope.Kind][formOf(r.address())].Add(n)
	if !r.lapsed {
		t.inForce[r.reason].Add(n)
	}
}

// reserve takes a place for a record if there is one, at most limit.
func (t *table) reserve(limit int) bool {
	if t.total.Add(1) > int64(limit) {
		t.total.Add(-1)
		return false
	}
	return true
}

// each calls visit with every record, not under a lock, until it returns false.
func (t *table) each(visit func(*record) bool) {
	var some []*record
	for i := range t.shards {
		s := &t.shards[i]
		some = some[:0]
		s.mu.RLock()
		for _, r := range s.records {
			some = append(some, r)
		}
		s.mu.RUnlock()
		for _, r := range some {
			if !visit(r) {
				return
			}
		}
	}
}

// sweep drops the records of one shard that need not be remembered, and marks those that have only
// expired. What they once suppressed counts no more.
func (t *table) sweep(i int, now int64) {
	s := &t.shards[i]
	var over []*record
	s.mu.RLock()
	for _, r := range s.records {
		if !r.inForce(now) && (!r.lapsed || !r.remembered(now)) {
			over = append(over, r)
		}
	}
	s.mu.RUnlock()
	if len(over) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range over {
		switch {
		case s.records[r.key()] != r:
		case r.remembered(now):
			r.lapsed = true
			t.inForce[r.reason].Add(-1)
		default:
			t.count(r, -1)
			delete(s.records, r.key())
			t.total.Add(-1)
		}
	}
}

// query is one look-up.
type query struct {
	rcpt, sender esmtp.Address
	login        string
	now          int64
}

// find returns the record that suppresses a recipient, or nil: that of the mailbox before those of
// its domain and of the domains above it, and of each the global one before that of the sender's
// domain and that of the login. It allocates nothing.
func (t *table) find(q *query) *record {
	domain := len(q.rcpt.ASCIIDomain())
	if domain == 0 {
		return nil
	}
	var room [keyRoom]byte
	address := appendAddress(room[:0], q.rcpt)
	if r := t.inScope(q, address, mailbox, false); r != nil {
		return r
	}
	at := len(address) - domain - 1
	// Who unsubscribed as bob@ means Bob@ as well. A refusal of bob@ proves nothing about Bob@.
	if fold(address, at) {
		if r := t.inScope(q, address, mailbox, true); r != nil {
			return r
		}
	}
	// The local part is not needed any more, and has at least one octet.
	address[at-1] = '*'
	address = address[at-1:]
	if r := t.inScope(q, address, wholeDomain, false); r != nil {
		return r
	}
	if !t.any(belowDomain) || q.rcpt.IsLiteral() {
		return nil
	}
	for i := len(wholePrefix); i < len(address); i++ {
		if address[i] != '.' {
			continue
		}
		// A label has at least one octet: there is room for "*@*" before every dot.
		below := address[i-len(wholePrefix)-1:]
		copy(below, belowPrefix)
		if r := t.inScope(q, below, belowDomain, false); r != nil {
			return r
		}
	}
	return nil
}

func (t *table) any(f form) bool {
	for kind := range t.present {
		if t.present[kind][f].Load() > 0 {
			return true
		}
	}
	return false
}

// inScope looks an address up in every scope that the mail is in. A folded address finds no hard
// bounces.
func (t *table) inScope(q *query, address []byte, f form, folded bool) *record {
	for kind := range ScopeKind(scopeKinds) {
		if t.present[kind][f].Load() == 0 {
			continue
		}
		name := ""
		switch kind {
		case SenderDomain:
			name = q.sender.ASCIIDomain()
		case Login:
			name = q.login
		default:
		}
		if name == "" && kind != Global || len(name) > MaxLogin {
			continue
		}
		r := t.get(appendScope(address, kind, name))
		if r != nil && r.inForce(q.now) && (!folded || r.reason != hardBounce) {
			return r
		}
	}
	return nil
}
