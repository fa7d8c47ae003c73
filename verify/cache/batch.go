package cache

import (
	"bytes"
	"iter"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// op is one value to be written, or to be deleted.
type op struct {
	value   []byte
	expire  uint32
	deleted bool
}

// batch is what one transaction writes: first what it erases, then its values, the last one of each
// key.
type batch struct {
	erased map[[8]byte]bool // by domain key
	ops    map[string]op    // by bucket and key
}

func newBatch() *batch { return &batch{erased: make(map[[8]byte]bool), ops: make(map[string]op)} }

func (b *batch) empty() bool { return len(b.ops) == 0 && len(b.erased) == 0 }

func opKey(bucket Bucket, key []byte, buf []byte) []byte {
	return append(append(buf, byte(bucket)), key...)
}

// add reports whether there was room. Deletions have room always: what was to be forgotten is not to
// come back.
func (b *batch) add(bucket Bucket, key []byte, o op, most int) bool {
	var buf [1 + maxKey]byte
	k := opKey(bucket, key, buf[:0])
	if _, known := b.ops[string(k)]; !known && !o.deleted && len(b.ops) >= most {
		return false
	}
	b.ops[string(k)] = o
	return true
}

// erase forgets all of a domain.
func (b *batch) erase(domain [8]byte) {
	b.erased[domain] = true
	maps.DeleteFunc(b.ops, func(k string, _ op) bool {
		return Bucket(k[0]).perDomain() && len(k) > 8 && k[1:9] == string(domain[:])
	})
}

// get tells what the batch makes of a key; known is false when it leaves it as it is.
func (b *batch) get(bucket Bucket, key []byte) (o op, known bool) {
	var buf [1 + maxKey]byte
	if o, known = b.ops[string(opKey(bucket, key, buf[:0]))]; known {
		return o, true
	}
	if len(b.erased) > 0 && bucket.perDomain() && len(key) >= 8 && b.erased[[8]byte(key)] {
		return op{deleted: true}, true
	}
	return op{}, false
}

// merge adds what came after b.
func (b *batch) merge(later *batch) {
	for domain := range later.erased {
		b.erase(domain)
	}
	maps.Copy(b.ops, later.ops)
}

// under yields what the batch puts or deletes below a prefix.
func (b *batch) under(bucket Bucket, prefix []byte) iter.Seq2[[]byte, op] {
	return func(yield func([]byte, op) bool) {
		for k, o := range b.ops {
			if Bucket(k[0]) == bucket && len(k) > len(prefix) && k[1:1+len(prefix)] == string(prefix) &&
				!yield([]byte(k[1:]), o) {
				return
			}
		}
	}
}

// write does what the batch says, in the order of the keys, which is that of the pages. Without
// grow, keys that the file does not have yet are left out. counts is kept.
func (b *batch) write(tx *bbolt.Tx, grow bool, counts *[bucketEnd]int64) (left int64, err error) {
	for domain := range b.erased {
		if err = eraseDomain(tx, domain, counts); err != nil {
			return 0, err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.ops)) {
		bucket, key, o := Bucket(k[0]), []byte(k[1:]), b.ops[k]
		into := tx.Bucket([]byte(bucket.String()))
		there := into.Get(key) != nil
		switch {
		case o.deleted && there:
			counts[bucket]--
			err = into.Delete(key)
		case o.deleted:
		case !there && !grow:
			left++
		default:
			if !there {
				counts[bucket]++
			}
			err = into.Put(key, seal(bucket, key, o.value, o.expire))
		}
		if err != nil {
			return 0, err
		}
	}
	return left, nil
}

func eraseDomain(tx *bbolt.Tx, domain [8]byte, counts *[bucketEnd]int64) error {
	for bucket := range buckets() {
		if !bucket.perDomain() {
			continue
		}
		from := tx.Bucket([]byte(bucket.String()))
		var keys [][]byte
		c := from.Cursor()
		for key, _ := c.Seek(domain[:]); bytes.HasPrefix(key, domain[:]); key, _ = c.Next() {
			keys = append(keys, bytes.Clone(key))
		}
		for _, key := range keys {
			if err := from.Delete(key); err != nil {
				return err
			}
		}
		counts[bucket] -= int64(len(keys))
	}
	return nil
}
