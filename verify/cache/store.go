package cache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// Bucket is one kind of what a [Store] keeps.
type Bucket uint8

// The buckets, a closed set: their numbers and names are in files. A key begins with the
// [Store.DomainKey] of the domain that it is about, but for those of Words and Sites.
const (
	Verdicts Bucket = 1 + iota // by AddressKey
	Words                      // what verdicts have in common, by a hash of it
	Domains                    // by DomainKey
	Schedule                   // what is to be asked again, by AddressKey
	Sites                      // mail servers, by their names
	Strikes                    // bounces of addresses that used to work, by AddressKey
	bucketEnd
)

// String is the name of the bucket, in lower case.
func (b Bucket) String() string {
	switch b {
	case Verdicts:
		return "verdicts"
	case Words:
		return "words"
	case Domains:
		return "domains"
	case Schedule:
		return "schedule"
	case Sites:
		return "sites"
	case Strikes:
		return "strikes"
	default:
		return "none"
	}
}

// Buckets lists them all.
func Buckets() []Bucket { return []Bucket{Verdicts, Words, Domains, Schedule, Sites, Strikes} }

func buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for b := Verdicts; b < bucketEnd; b++ {
			if !yield(b) {
				return
			}
		}
	}
}

// perDomain reports whether the keys of a bucket begin with that of a domain.
func (b Bucket) perDomain() bool { return b != Words && b != Sites }

// StoreConfig is the behaviour of a [Store]. The zero value of each field is a working default.
type StoreConfig struct {
	FlushEvery time.Duration // what was put is written after this time, at the latest; 0: 1 s
	FlushCount int           // or when there is so much of it; 0: 5000
	// MaxPending bounds the entries that wait to be written, and as many that are being written;
	// what comes beyond is dropped. 0: 50 000.
	MaxPending int
	// MaxBytes bounds the file. When it is nearly full, what expires first goes. 0: 2 GiB, room for
	// more than ten million verdicts.
	MaxBytes int64
	// ReadLimit is the longest wait for the disk by one Get, which then knows nothing. 0: 20 ms.
	ReadLimit time.Duration
	Log       *slog.Logger // nil: no log
}

func (c StoreConfig) withDefaults() StoreConfig {
	c.FlushEvery = cmp.Or(c.FlushEvery, time.Second)
	c.FlushCount = cmp.Or(c.FlushCount, 5000)
	c.MaxPending = cmp.Or(c.MaxPending, 50_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 2<<30)
	c.ReadLimit = cmp.Or(c.ReadLimit, 20*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Store is a file of values that outlives the process. It is a hint that may be lost at any time:
// nothing waits for it, and it never fails, it only knows less. A nil *Store knows nothing, and all
// its methods work.
//
// A Store is safe for concurrent use. [Store.Close] ends the goroutine that it owns.
type Store struct {
	cfg    StoreConfig
	path   string
	keys   *keys
	fixed  bool        // keys do not change any more; touched by run only
	buried []time.Time // when files have died; touched by run only

	file       atomic.Pointer[file] // nil: running without
	generation atomic.Uint32
	urgent     atomic.Bool // somebody waits in Sync

	wake chan struct{} // there is something for run to do
	stop chan struct{} // closed by Close
	cut  chan struct{} // closed when Close cannot wait any longer
	end  sync.Once
	done chan struct{} // closed when run has returned

	mu       sync.Mutex
	pending  *batch // what is to be written next
	flushing *batch // what is being written; nil: nothing
	trouble  trouble
	dropped  int64
	garbled  int64 // values with a wrong checksum
}

// OpenStore opens the cache at path, or begins it, with its secret beside it. It never fails: where a
// file cannot be used, the Store runs without it, says so in the log and in Status, and tries again.
// A garbled file is renamed to PATH.corrupt-TIME and a new one begun. With an empty path it is nil.
func OpenStore(path string, cfg StoreConfig) *Store {
	if path == "" {
		return nil
	}
	s := newStore(path, cfg)
	next := s.open(time.Now())
	go s.run(next)
	return s
}

// OpenExisting opens a cache for a command: it must be there, whole, and not in use. The error says
// what to do.
func OpenExisting(path string, cfg StoreConfig) (*Store, error) {
	s := newStore(path, cfg)
	f, err := s.openExisting()
	if err != nil {
		return nil, err
	}
	s.adopt(f)
	go s.run(time.Time{})
	return s, nil
}

// adopt makes f the file in use.
func (s *Store) adopt(f *file) {
	s.generation.Add(1)
	s.file.Store(f)
}

func newStore(path string, cfg StoreConfig) *Store {
	return &Store{
		cfg: cfg.withDefaults(), path: path, keys: newKeys(newSecret()),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), cut: make(chan struct{}),
		done: make(chan struct{}), pending: newBatch(),
	}
}

// Path is where the file is; "" for a nil Store.
func (s *Store) Path() string {
	if s == nil {
		return ""
	}
	return s.path
}

// Get returns a value that has not expired, also one that was not written yet. The value is the
// caller's. It may wait for the disk, at most StoreConfig.ReadLimit.
func (s *Store) Get(b Bucket, key []byte) (value []byte, ok bool) {
	value, _, ok = s.Lookup(b, key)
	return value, ok
}

// Lookup is Get, and tells when the value expires.
func (s *Store) Lookup(b Bucket, key []byte) (value []byte, expire time.Time, ok bool) {
	if s == nil || b == 0 || b >= bucketEnd || len(key) == 0 || len(key) > maxKey {
		return nil, time.Time{}, false
	}
	now := seconds(time.Now())
	s.mu.Lock()
	o, known := s.recent(b, key)
	s.mu.Unlock()
	if !known {
		o = s.read(b, key)
	}
	if o.deleted || o.expire <= now {
		return nil, time.Time{}, false
	}
	if known {
		o.value = bytes.Clone(o.value)
	}
	return o.value, time.Unix(int64(o.expire), 0), true
}

// recent is what was put or deleted and is not in the file yet. The caller holds s.mu.
func (s *Store) recent(b Bucket, key []byte) (op, bool) {
	if o, known := s.pending.get(b, key); known {
		return o, true
	}
	if s.flushing != nil {
		return s.flushing.get(b, key)
	}
	return op{}, false
}

// read looks into the file.
func (s *Store) read(b Bucket, key []byte) op {
	unknown := op{deleted: true}
	f := s.file.Load()
	if f == nil || f.counts[b].Load() == 0 {
		return unknown
	}
	type found struct {
		op
		state valueState
	}
	answer := make(chan found, 1) // apart from err, since a transaction may go on behind it
	err := f.view(s.cfg.ReadLimit, func(tx *bbolt.Tx) error {
		sealed := tx.Bucket([]byte(b.String())).Get(key)
		if sealed == nil {
			answer <- found{op: unknown}
			return nil
		}
		value, expire, state := unseal(b, key, sealed)
		answer <- found{op: op{value: bytes.Clone(value), expire: expire}, state: state}
		return nil
	})
	if err != nil {
		s.nudge(err)
		return unknown
	}
	switch a := <-answer; a.state {
	case valueGood:
		return a.op
	case valueGarbled:
		s.sawGarbled(f, b, key)
	case valueNewer:
	}
	return unknown
}

// nudge wakes run to look after a file that has died.
func (s *Store) nudge(err error) {
	if errors.Is(err, errCorrupt) || errors.Is(err, errDead) {
		s.kick()
	}
}

func (s *Store) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// maxGarbled is how many values with a wrong checksum condemn a file.
const maxGarbled = 64

// sawGarbled forgets a value that is not what was written, and the file when there are many of them.
func (s *Store) sawGarbled(f *file, b Bucket, key []byte) {
	s.Delete(b, key)
	s.mu.Lock()
	s.garbled++
	n := s.garbled
	s.mu.Unlock()
	if n == 1 {
		s.cfg.Log.Warn("the verdict cache holds a value with a wrong checksum; it is forgotten",
			"path", s.path, "bucket", b.String(), "fix", "if this goes on, look after the disk")
	}
	if n%maxGarbled == 0 {
		f.kill(errCorrupt)
		s.kick()
	}
}

// Put stores a value until expire, soon. It never waits. What is too large (a key of more than 64
// octets, a value of more than 4096) or too much is dropped, and counted; taken is false then.
func (s *Store) Put(b Bucket, key, value []byte, expire time.Time) (taken bool) {
	if s == nil {
		return false
	}
	return s.add(b, key, op{value: bytes.Clone(value), expire: seconds(expire)})
}

// Generation counts the files that were opened: when it changes, what was put before may be gone.
func (s *Store) Generation() uint32 {
	if s == nil {
		return 0
	}
	return s.generation.Load()
}

// Delete forgets a value.
func (s *Store) Delete(b Bucket, key []byte) {
	if s == nil {
		return
	}
	s.add(b, key, op{deleted: true})
}

func (s *Store) add(b Bucket, key []byte, o op) (taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b == 0 || b >= bucketEnd || len(key) == 0 || len(key) > maxKey || len(o.value) > maxValue ||
		!s.pending.add(b, key, o, s.cfg.MaxPending) {
		s.dropped++
		return false
	}
	if n := len(s.pending.ops); n == 1 || n == s.cfg.FlushCount {
		s.kick()
	}
	return true
}

// EraseDomain forgets all that is kept of a domain and of its addresses, by the prefix of their keys.
func (s *Store) EraseDomain(domain string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.erase(s.DomainKey(domain))
	s.kick()
}

// EraseAddress forgets all that is kept of an address, by its AddressKey.
func (s *Store) EraseAddress(key [24]byte) {
	for _, b := range []Bucket{Verdicts, Schedule, Strikes} {
		s.Delete(b, key[:])
	}
}

// Sync writes what waits and returns when it is in the file, for commands. The error says what to do.
func (s *Store) Sync(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.urgent.Store(true)
	defer s.urgent.Store(false)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.kick()
		if ok, detail := s.Status(); !ok {
			return errors.New(detail)
		}
		if s.Stats().Pending == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Range calls fn for each value whose key begins with prefix and that has not expired, in no order,
// until fn returns false. key and value are the caller's. What is put or deleted meanwhile may be
// seen or not. It reads the file in small pieces, and is not for the path of a mail.
func (s *Store) Range(b Bucket, prefix []byte, fn func(key, value []byte, expire time.Time) bool) {
	if s == nil || b == 0 || b >= bucketEnd {
		return
	}
	now := seconds(time.Now())
	s.mu.Lock()
	fresh := newBatch()
	if s.flushing != nil {
		fresh.merge(s.flushing)
	}
	fresh.merge(s.pending)
	s.mu.Unlock()
	for key, o := range fresh.under(b, prefix) {
		if !o.deleted && o.expire > now && !fn(key, bytes.Clone(o.value), time.Unix(int64(o.expire), 0)) {
			return
		}
	}
	f := s.file.Load()
	if f == nil {
		return
	}
	for from, more := prefix, true; more; {
		piece, next, err := f.piece(b, prefix, from)
		if err != nil {
			s.nudge(err)
			return
		}
		for _, e := range piece {
			if _, known := fresh.get(b, e.key); known || e.expire <= now {
				continue
			}
			if !fn(e.key, e.value, time.Unix(int64(e.expire), 0)) {
				return
			}
		}
		from, more = next, next != nil
	}
}

type stored struct {
	key, value []byte
	expire     uint32
}

const (
	pieceSize  = 512
	pieceLimit = 10 * time.Second // nobody's mail waits for it
)

// piece reads some values whose keys begin with prefix, those not below from. next is nil at the end.
func (f *file) piece(b Bucket, prefix, from []byte) (piece []stored, next []byte, err error) {
	type answer struct {
		piece []stored
		next  []byte
	}
	got := make(chan answer, 1)
	err = f.view(pieceLimit, func(tx *bbolt.Tx) error {
		var a answer
		c := tx.Bucket([]byte(b.String())).Cursor()
		for key, sealed := c.Seek(from); bytes.HasPrefix(key, prefix) && key != nil; key, sealed = c.Next() {
			if len(a.piece) == pieceSize {
				a.next = bytes.Clone(key)
				break
			}
			if value, expire, state := unseal(b, key, sealed); state == valueGood {
				a.piece = append(a.piece, stored{bytes.Clone(key), bytes.Clone(value), expire})
			}
		}
		got <- a
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	a := <-got
	return a.piece, a.next, nil
}

// StoreStats is what a [Store] holds.
type StoreStats struct {
	Entries map[Bucket]int64 // in the file, expired ones that were not swept yet included
	Size    int64            // octets of the file
	Used    int64            // of these; the rest is free for what comes
	Pending int              // entries that wait to be written
	Dropped int64            // entries that had no room
	Garbled int64            // values with a wrong checksum, since the start
}

// Stats counts. It is cheap.
func (s *Store) Stats() StoreStats {
	stats := StoreStats{Entries: make(map[Bucket]int64)}
	if s == nil {
		return stats
	}
	s.mu.Lock()
	stats.Pending = len(s.pending.ops) + len(s.pending.erased)
	stats.Dropped, stats.Garbled = s.dropped, s.garbled
	if s.flushing != nil {
		stats.Pending += len(s.flushing.ops) + len(s.flushing.erased)
	}
	s.mu.Unlock()
	if f := s.file.Load(); f != nil {
		for b := range buckets() {
			stats.Entries[b] = f.counts[b].Load()
		}
		stats.Size, stats.Used = f.size.Load(), f.used.Load()
	}
	return stats
}

// Close writes what waits and closes the file. When ctx ends first it leaves both and returns the
// cause. What is put behind it is lost.
func (s *Store) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.end.Do(func() {
		close(s.stop)
		context.AfterFunc(ctx, func() { close(s.cut) })
	})
	select {
	case <-s.done:
		return nil
	case <-s.cut:
		return context.Cause(ctx)
	}
}
