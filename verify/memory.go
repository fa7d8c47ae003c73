package verify

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// The sections of memory. What is known for sure has a share that nothing else can take: neither a
// flood of addresses that do not exist, nor one of addresses at domains that accept everything.
const (
	positive  = iota // Deliverable, at a domain that does not accept everything
	negative         // Undeliverable
	doubtful         // Risky, and Deliverable where everything is
	temporary        // Unknown
	sections
)

func memorySections() []cache.Section {
	return []cache.Section{
		positive:  {Share: 0.80},
		negative:  {Share: 0.10, Borrows: true},
		doubtful:  {Share: 0.05, Borrows: true},
		temporary: {Share: 0.05, Borrows: true},
	}
}

func sectionOf(k *saidKey) int {
	switch {
	case k.verdict == Undeliverable:
		return negative
	case k.verdict == Deliverable && !k.catchAll:
		return positive
	case k.verdict == Deliverable, k.verdict == Risky:
		return doubtful
	}
	return temporary
}

const (
	// recordCost is what a record takes in a cache.Table, measured by BenchmarkMemoryPerEntry.
	recordCost = 180
	// wordsShare is the part of memory, as a divisor, for the texts of replies.
	wordsShare = 8
)

// memory is what is known, by the key of the address: in memory, bounded in octets, and in the store
// behind it, which may be nil. What only the store knows comes into memory when it is asked for.
type memory struct {
	hasher cache.Hasher
	table  *cache.Table[record]
	words  [sections]words
	store  *cache.Store

	hits, misses atomic.Uint64 // of the store

	forgotten forgotten
}

// newMemory returns a memory of about this many octets.
func newMemory(octets int64, store *cache.Store) *memory {
	m := &memory{hasher: cache.NewHasher(), store: store}
	for i := range m.words {
		m.words[i].table = make(map[saidKey]*said)
	}
	m.table = cache.NewTable(recordsIn(octets), memorySections(),
		func(r record, now int64) bool { return r.alive(now) },
		func(section int, r record) { m.words[section].release(r.said) })
	m.boundWords(octets)
	return m
}

func recordsIn(octets int64) int { return int((octets - octets/wordsShare) / recordCost) }

func (m *memory) boundWords(octets int64) {
	for i, s := range memorySections() {
		w := &m.words[i]
		w.mu.Lock()
		w.most = int(float64(octets/wordsShare) * max(s.Share, 0.1))
		w.mu.Unlock()
	}
}

func (m *memory) resize(octets int64) {
	m.table.Resize(recordsIn(octets))
	m.boundWords(octets)
}

// lens counts the records of each kind, expired ones that were not swept yet included.
func (m *memory) lens() (deliverable, undeliverable, unknown int) {
	return m.table.Len(positive) + m.table.Len(doubtful), m.table.Len(negative), m.table.Len(temporary)
}

func splitKey(key string) (local, domain string) {
	at := strings.LastIndexByte(key, '@')
	return key[:max(0, at)], key[at+1:]
}

func (m *memory) hash(key string) cache.Hash { return m.hasher.Hash(splitKey(key)) }

func (m *memory) get(key string, now time.Time) (e cache.Entry[Result], ok bool) {
	ok = m.read(key, now, &e)
	return e, ok
}

// read is get without a copy.
func (m *memory) read(key string, now time.Time, e *cache.Entry[Result]) bool {
	var r record
	h := m.hash(key)
	if !m.table.Get(h, now.UnixNano(), &r) {
		if m.store == nil {
			return false
		}
		var k saidKey
		if r, k, _ = m.load(key); !r.alive(now.UnixNano()) {
			m.misses.Add(1)
			return false
		}
		m.hits.Add(1)
		r = m.keep(h, r, k)
	}
	if m.forgotten.has(&r) {
		return false
	}
	r.entry(e)
	return true
}

// fresh writes what memory itself has of an address at now (Unix nanoseconds) to r, if it need not
// be asked for again.
func (m *memory) fresh(local, domain string, now int64, r *Result) bool {
	var found record
	if !m.table.Get(m.hasher.Hash(local, domain), now, &found) ||
		now >= found.stored+int64(found.refresh)*int64(refreshUnit) || m.forgotten.has(&found) {
		return false
	}
	found.result(r)
	r.Cached = true
	if r.Verdict == Unknown {
		r.RetryAfter = time.Duration(found.expire - now)
	}
	return true
}

// keep puts a record into memory, and returns it with its said.
func (m *memory) keep(h cache.Hash, r record, k saidKey) record {
	section := sectionOf(&k)
	r.said = m.words[section].take(k)
	m.table.Put(h, section, r)
	return r
}

// put stores e in memory and in the store. An address has one flight, so nobody else puts it at the
// same time.
func (m *memory) put(key string, e cache.Entry[Result]) {
	local, domain := splitKey(key)
	k := keyOfSaid(&e.Value, masked(e.Value.Reply, local, domain))
	r := m.keep(m.hasher.Hash(local, domain), newRecord(&e), k)
	m.save(key, &r)
}

func (m *memory) forget(key string) {
	m.table.Delete(m.hash(key))
	m.unsave(key)
}

// forgetDomain drops all that is known of a domain and of its mailboxes.
func (m *memory) forgetDomain(domain string) {
	m.table.DeleteDomain(m.hasher.Hash("", domain))
	m.store.EraseDomain(domain)
}

func (m *memory) sweep(now time.Time) { m.table.Sweep(now.UnixNano()) }

// learn keeps the answer r of a flight, made at now.
//
// Not knowing never replaces knowing: a probe that failed leaves a deliverable
// mailbox deliverable until its end, asked again after a while; and it leaves a
// proof, which is asked again in line each time. But a reply to RCPT that is no
// refusal any more (450 where it was 550) ends the proof.
func (m *memory) learn(key string, r Result, refresh, expire time.Duration, now time.Time) {
	if r.Verdict == Unknown {
		old, ok := m.get(key, now)
		switch {
		case ok && (old.Value.Verdict == Deliverable || old.Value.Verdict == Risky):
			old.Refresh = now.Add(max(expire, dnsRetry))
			m.put(key, old)
			return
		case ok && old.Value.Verdict == Undeliverable && !aboutMailbox(r):
			return
		case ok && old.Value.Verdict == Undeliverable:
			m.forget(key)
		}
	}
	if expire <= 0 {
		return
	}
	r.Steps, r.Elapsed = nil, 0
	r.Expire = now.Add(expire)
	m.put(key, cache.Entry[Result]{
		Value: r, Stored: now, Refresh: now.Add(refresh), Expire: r.Expire,
	})
}
