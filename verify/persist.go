package verify

import (
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

const (
	// worthSaving is the shortest life for which a verdict is written to disk: what is not known for
	// sure lives for minutes, and a domain's null MX as long as its DNS answer.
	worthSaving = 15 * time.Minute
	// wordsOutlive is how much longer the words stay on disk than the verdicts that use them: with
	// that they need not be written for each.
	wordsOutlive = 7 * 24 * time.Hour
)

// save writes a record behind. What is not worth it may contradict an older verdict there, which then
// goes.
func (m *memory) save(key string, r *record) {
	if m.store == nil {
		return
	}
	disk := m.store.KeyOf(key)
	if sectionOf(&r.said.key) == temporary || r.expire-r.stored < int64(worthSaving) {
		if _, ok := m.store.Get(cache.Verdicts, disk[:]); ok {
			m.store.Delete(cache.Verdicts, disk[:])
		}
		return
	}
	expire := time.Unix(0, r.expire)
	h := m.saveWords(r.said, expire)
	m.store.Put(cache.Verdicts, disk[:], r.disk(h), expire)
}

// saveWords writes the words that a record points at, unless they are there for as long already.
func (m *memory) saveWords(s *said, expire time.Time) wordsHash {
	blob := s.key.disk()
	h := hashWords(blob)
	generation := uint64(m.store.Generation()) << 32
	if s.onDisk.Load() >= generation|uint64(unixSeconds(expire.UnixNano())) {
		return h
	}
	expire = expire.Add(wordsOutlive)
	if m.store.Put(cache.Words, h[:], blob, expire) {
		s.onDisk.Store(generation | uint64(unixSeconds(expire.UnixNano())))
	}
	return h
}

// load finds what only the store knows.
func (m *memory) load(key string) (r record, k saidKey, ok bool) {
	disk := m.store.KeyOf(key)
	value, expire, ok := m.store.Lookup(cache.Verdicts, disk[:])
	if !ok {
		return record{}, saidKey{}, false
	}
	return loadRecord(m.store, value, expire)
}

func loadRecord(s *cache.Store, value []byte, expire time.Time) (r record, k saidKey, ok bool) {
	r, h, ok := parseDisk(value, expire)
	if !ok {
		return record{}, saidKey{}, false
	}
	blob, ok := s.Get(cache.Words, h[:])
	if !ok {
		return record{}, saidKey{}, false
	}
	if k, ok = parseSaid(blob); !ok {
		return record{}, saidKey{}, false
	}
	return r, k, true
}

func (m *memory) unsave(key string) {
	if m.store != nil {
		disk := m.store.KeyOf(key)
		m.store.Delete(cache.Verdicts, disk[:])
	}
}
