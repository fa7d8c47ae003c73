package register

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// batchSize is how many changes are written at once: one wait for the disk.
const batchSize = 10_000

// Suppress adds a suppression, in place of the one that the address has in this scope, and returns
// when the disk has it. The error is a [*FieldError], ErrFull, ErrClosed, or that of the disk: then
// nothing has changed.
func (r *Register) Suppress(s Suppression) error {
	now := time.Now()
	if s.Created.IsZero() {
		s.Created = now
	}
	rec, err := newRecord(&s)
	if err != nil {
		return err
	}
	if !rec.inForce(now.Unix()) {
		return &FieldError{"expires", "the time has passed", "give a later one, or none for never"}
	}
	_, err = r.commit([]change{{rec.key(), rec}})
	return err
}

// Unsuppress removes the suppression of an address, as Suppression has it, in one scope, and
// forgets that it ever bounced. It reports whether there was one. The error is as of Suppress.
func (r *Register) Unsuppress(address string, scope Scope) (bool, error) {
	if r == nil {
		return false, ErrClosed
	}
	var changes []change
	there := false
	for _, folded := range []bool{false, true} {
		var room [keyRoom]byte
		key, _, err := appendKey(room[:0], address, scope, folded)
		if err != nil {
			return false, err
		}
		if len(changes) > 0 && changes[0].key == string(key) {
			break
		}
		if rec := r.table.get(key); rec != nil {
			changes = append(changes, change{key: rec.key()})
			there = there || rec.inForce(time.Now().Unix())
		}
	}
	_, err := r.commit(changes)
	return there && err == nil, err
}

// Filter chooses suppressions: those that are like every field that is set.
type Filter struct {
	Contains string // is in the address, whatever the case of ASCII letters
	Domain   string // is the address's domain, wildcards included; A-labels, any case
	Reason   Reason
	Source   string // exact
	Scope    *Scope
}

func (f *Filter) matcher() (func(*record) bool, error) {
	contains, domain := strings.ToLower(f.Contains), ""
	if f.Domain != "" {
		ascii, err := asciiDomain(f.Domain)
		if err != nil {
			return nil, &FieldError{"domain", err.Error(), "write example.com"}
		}
		domain = ascii
	}
	if f.Reason != "" && !slices.Contains(reasons[:], f.Reason) {
		return nil, &FieldError{"reason", quote(string(f.Reason)) + " is no reason", ""}
	}
	var scope Scope
	if f.Scope != nil {
		var err error
		if scope, err = f.Scope.normal(); err != nil {
			return nil, err
		}
	}
	return func(r *record) bool {
		if f.Reason != "" && reasons[r.reason] != f.Reason ||
			f.Source != "" && r.source.Value() != f.Source ||
			f.Scope != nil && r.scope() != scope {
			return false
		}
		address := r.address()
		if domain != "" {
			at := strings.LastIndexByte(address, '@')
			if strings.TrimPrefix(address[at+1:], "*.") != domain {
				return false
			}
		}
		return contains == "" || strings.Contains(strings.ToLower(address), contains)
	}, nil
}

// List returns the suppressions that a filter chooses, in the order of their addresses, from offset
// on, at most limit, and how many it chooses in all. It looks at every one: some 0.5 s for a
// million and a small offset. A filter that cannot choose anything is a [*FieldError].
func (r *Register) List(f Filter, offset, limit int) (list []Suppression, total int, err error) {
	matches, err := f.matcher()
	if err != nil || r == nil {
		return nil, 0, err
	}
	const most = 1 << 28 // more than there can be; sums of it are no trouble
	offset, limit = min(max(offset, 0), most), min(max(limit, 0), most)
	now := time.Now().Unix()
	var first []*record
	want := offset + limit
	r.table.each(func(rec *record) bool {
		if !rec.inForce(now) || !matches(rec) {
			return true
		}
		total++
		// Only the first are sorted: again and again, but a page is much smaller than the list.
		if first = append(first, rec); len(first) >= 2*want+1000 {
			slices.SortFunc(first, byKey)
			first = first[:want]
		}
		return true
	})
	slices.SortFunc(first, byKey)
	first = first[min(offset, len(first)):min(want, len(first))]
	list = make([]Suppression, len(first))
	for i, rec := range first {
		list[i] = rec.suppression()
	}
	return list, total, nil
}

func byKey(a, b *record) int { return cmp.Compare(a.key(), b.key()) }

// Remove removes the suppressions that a filter chooses, and returns how many they were. The empty
// filter, which would choose all of them, is a [*FieldError]. An error of the disk may come after
// some were removed.
func (r *Register) Remove(f Filter) (int, error) {
	if f == (Filter{}) {
		return 0, &FieldError{"filter", "it chooses everything", "say which, by reason or domain"}
	}
	matches, err := f.matcher()
	if err != nil {
		return 0, err
	}
	if r == nil {
		return 0, ErrClosed
	}
	var changes []change
	now := time.Now().Unix()
	r.table.each(func(rec *record) bool {
		if rec.inForce(now) && matches(rec) {
			changes = append(changes, change{key: rec.key()})
		}
		return true
	})
	removed := 0
	for batch := range slices.Chunk(changes, batchSize) {
		if _, err := r.commit(batch); err != nil {
			return removed, err
		}
		removed += len(batch)
	}
	return removed, nil
}

// committed is what changes came to.
type committed struct{ added, replaced int }

// commit makes changes, on the disk and then in memory: all of them or none.
func (r *Register) commit(changes []change) (committed, error) {
	if r == nil {
		return committed{}, ErrClosed
	}
	r.save.Lock()
	defer r.save.Unlock()
	if r.closed {
		return committed{}, ErrClosed
	}
	now := time.Now().Unix()
	reserved, err := r.reserve(changes, now)
	if err == nil {
		err = r.store.append(changes)
	}
	if err != nil {
		r.table.total.Add(-int64(reserved.n))
		return committed{}, err
	}
	var done committed
	for i, c := range changes {
		old := r.table.replace(c.key, now, reserved.of(i), func(*record) *record { return c.record })
		switch {
		case c.record == nil:
		case old != nil && old.inForce(now):
			done.replaced++
		default:
			done.added++
		}
	}
	r.wakeUp()
	return done, nil
}

// reservation is the places that were taken for changes that will add a record.
type reservation struct {
	n   int
	set []bool // by change
}

func (v *reservation) of(i int) bool { return v.set[i] }

// reserve takes the places. What is taken is in the result, also if it was not enough.
func (r *Register) reserve(changes []change, now int64) (reservation, error) {
	v := reservation{set: make([]bool, len(changes))}
	limit := r.cfg.Load().maxEntries()
	swept := false
	for i, c := range changes {
		if c.record == nil || r.table.get([]byte(c.key)) != nil {
			continue
		}
		if !r.table.reserve(limit) {
			if swept {
				return v, r.errFull()
			}
			for shard := range shardCount {
				r.table.sweep(shard, now)
			}
			swept = true
			if !r.table.reserve(limit) {
				return v, r.errFull()
			}
		}
		v.set[i] = true
		v.n++
	}
	return v, nil
}

// wakeUp lets run look whether there is something to do.
func (r *Register) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
