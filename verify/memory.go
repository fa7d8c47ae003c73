package verify

import (
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// memory is what is known, by the key of the address. It has three sections, so
// that a flood of one kind cannot push out the others.
type memory struct {
	positive  *cache.Cache[Result] // Deliverable and Risky
	negative  *cache.Cache[Result] // Undeliverable
	temporary *cache.Cache[Result] // Unknown
}

func newMemory(size int) *memory {
	return &memory{
		positive:  cache.New[Result](size),
		negative:  cache.New[Result](size),
		temporary: cache.New[Result](size / 2),
	}
}

func (m *memory) resize(size int) {
	m.positive.Resize(size)
	m.negative.Resize(size)
	m.temporary.Resize(size / 2)
}

func (m *memory) section(v Verdict) *cache.Cache[Result] {
	switch v {
	case Deliverable, Risky:
		return m.positive
	case Undeliverable:
		return m.negative
	default:
		return m.temporary
	}
}

func (m *memory) get(key string, now time.Time) (cache.Entry[Result], bool) {
	if e, ok := m.positive.Get(key, now); ok {
		return e, true
	}
	if e, ok := m.negative.Get(key, now); ok {
		return e, true
	}
	return m.temporary.Get(key, now)
}

// put stores e in the section of its verdict and removes what the others have. An
// address has one flight, so nobody else puts it at the same time.
func (m *memory) put(key string, e cache.Entry[Result]) {
	section := m.section(e.Value.Verdict)
	section.Put(key, e)
	for _, other := range []*cache.Cache[Result]{m.positive, m.negative, m.temporary} {
		if other != section {
			other.Delete(key)
		}
	}
}

func (m *memory) forget(key string) {
	m.positive.Delete(key)
	m.negative.Delete(key)
	m.temporary.Delete(key)
}

func (m *memory) sweep(now time.Time) {
	m.positive.Sweep(now)
	m.negative.Sweep(now)
	m.temporary.Sweep(now)
}

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
			m.positive.Put(key, old)
			return
		case ok && old.Value.Verdict == Undeliverable && !aboutMailbox(r):
			return
		case ok && old.Value.Verdict == Undeliverable:
			m.negative.Delete(key)
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
