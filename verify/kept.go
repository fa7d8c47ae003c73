package verify

import (
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// kept is a bounded memory of values with the store behind it: what is pushed out, or was learnt
// before a restart, is read again when it is needed. It is safe for concurrent use.
type kept[V any] struct {
	codec  keptCodec[V]
	store  *cache.Store // nil: memory only
	memory *cache.Cache[V]

	mu sync.Mutex // update reads and writes under it
}

// keptCodec is where and how long values are kept, and their form in the store.
type keptCodec[V any] struct {
	bucket cache.Bucket
	life   time.Duration // of a value that is not updated
	key    func(store *cache.Store, key string) []byte
	append func(V, []byte) []byte
	read   func([]byte) (V, bool)
}

func newKept[V any](size int, store *cache.Store, codec keptCodec[V]) *kept[V] {
	return &kept[V]{codec: codec, store: store, memory: cache.New[V](size)}
}

func (k *kept[V]) get(key string, now time.Time) (v V, ok bool) {
	if e, ok := k.memory.Get(key, now); ok {
		return e.Value, true
	}
	if k.store == nil {
		return v, false
	}
	raw, ok := k.store.Get(k.codec.bucket, k.codec.key(k.store, key))
	if !ok {
		return v, false
	}
	if v, ok = k.codec.read(raw); ok {
		k.put(key, v, now)
	}
	return v, ok
}

func (k *kept[V]) put(key string, v V, now time.Time) {
	end := now.Add(k.codec.life)
	k.memory.Put(key, cache.Entry[V]{Value: v, Stored: now, Refresh: end, Expire: end})
}

// update changes the value of key. change gets the zero value and false where there is none, and
// returns false to leave everything as it is.
func (k *kept[V]) update(key string, now time.Time, change func(old V, ok bool) (V, bool)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, changed := change(k.get(key, now))
	if !changed {
		return
	}
	k.put(key, v, now)
	if k.store != nil {
		k.store.Put(k.codec.bucket, k.codec.key(k.store, key), k.codec.append(v, nil),
			now.Add(k.codec.life))
	}
}

func (k *kept[V]) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.memory.Delete(key)
	if k.store != nil {
		k.store.Delete(k.codec.bucket, k.codec.key(k.store, key))
	}
}

// forgetSuffix forgets, in memory only, all keys that end so; the store is told by its domain.
func (k *kept[V]) forgetSuffix(suffix string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.memory.DeleteFunc(func(key string) bool { return strings.HasSuffix(key, suffix) })
}

func (k *kept[V]) sweep(now time.Time) { k.memory.Sweep(now) }
