package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
)

// logged collects a log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// quick flushes at once.
func quick(log *logged) cache.StoreConfig {
	return cache.StoreConfig{FlushEvery: time.Millisecond, ReadLimit: time.Minute, Log: log.logger()}
}

// patient waits for a busy machine, where a gate would ask anew instead.
func patient() cache.StoreConfig {
	return cache.StoreConfig{FlushEvery: time.Millisecond, ReadLimit: time.Minute}
}

func tempPath(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "verdicts.db")
}

func closeStore(tb testing.TB, s *cache.Store) {
	tb.Helper()
	if err := s.Close(context.Background()); err != nil {
		tb.Errorf("Close: %v", err)
	}
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

func key(i int) []byte { return fmt.Appendf(nil, "domain%02d-key-%09d", i%100, i) }

// fill puts n values and waits until they are in the file.
func fill(tb testing.TB, s *cache.Store, n int) {
	tb.Helper()
	for i := range n {
		s.Put(cache.Verdicts, key(i), fmt.Appendf(nil, "value %d", i), inAnHour())
	}
	await(tb, "everything is written", func() bool { return s.Stats().Pending == 0 })
}

// await polls for what another goroutine brings about, with a generous end.
func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("not within a minute: %s", what)
		}
	}
}

func has(s *cache.Store, i int) bool {
	value, ok := s.Get(cache.Verdicts, key(i))
	return ok && string(value) == fmt.Sprintf("value %d", i)
}

func TestStoreSurvives(t *testing.T) {
	path := tempPath(t)
	var log logged
	s := cache.OpenStore(path, quick(&log))
	if ok, detail := s.Status(); !ok || !strings.Contains(detail, path) {
		t.Fatalf("Status: %v, %q", ok, detail)
	}
	s.Put(cache.Verdicts, []byte("a"), []byte("1"), inAnHour())
	s.Put(cache.Domains, []byte("a"), []byte("2"), inAnHour())
	s.Put(cache.Verdicts, []byte("b"), []byte("3"), inAnHour())
	if v, ok := s.Get(cache.Verdicts, []byte("a")); !ok || string(v) != "1" {
		t.Errorf("before it is written: %q, %v", v, ok)
	}
	s.Delete(cache.Verdicts, []byte("b"))
	if v, ok := s.Get(cache.Verdicts, []byte("b")); ok {
		t.Errorf("deleted: %q", v)
	}
	closeStore(t, s)

	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	for _, want := range []struct {
		bucket     cache.Bucket
		key, value string
	}{{cache.Verdicts, "a", "1"}, {cache.Domains, "a", "2"}, {cache.Verdicts, "b", ""}, {cache.Sites, "a", ""}} {
		v, ok := s.Get(want.bucket, []byte(want.key))
		if string(v) != want.value || ok != (want.value != "") {
			t.Errorf("%s %s after a restart: %q, %v", want.bucket, want.key, v, ok)
		}
	}
	if n := s.Stats().Entries[cache.Verdicts]; n != 1 {
		t.Errorf("%d verdicts, want 1", n)
	}
	if log.String() != "" {
		t.Errorf("log: %s", &log)
	}
	for _, name := range []string{path, cache.SecretPath(path)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestStoreExpires(t *testing.T) {
	path := tempPath(t)
	synctest.Test(t, func(t *testing.T) {
		s := cache.OpenStore(path, patient())
		defer closeStore(t, s)
		s.Put(cache.Verdicts, []byte("soon"), []byte("1"), time.Now().Add(time.Minute))
		s.Put(cache.Verdicts, []byte("late"), []byte("2"), time.Now().Add(24*time.Hour))
		time.Sleep(30 * time.Second)
		if _, expire, ok := s.Lookup(cache.Verdicts, []byte("soon")); !ok || time.Until(expire) != 30*time.Second {
			t.Errorf("before its end: %v, %v", expire, ok)
		}
		time.Sleep(30 * time.Second)
		if _, ok := s.Get(cache.Verdicts, []byte("soon")); ok {
			t.Error("there at its end")
		}
		time.Sleep(time.Hour) // the sweep comes by
		if n := s.Stats().Entries[cache.Verdicts]; n != 1 {
			t.Errorf("%d entries after the sweep, want 1", n)
		}
		if _, ok := s.Get(cache.Verdicts, []byte("late")); !ok {
			t.Error("the sweep took what lives")
		}
	})
}

func TestNilStore(t *testing.T) {
	s := cache.OpenStore("", patient())
	if s != nil {
		t.Fatal("a Store without a path")
	}
	s.Put(cache.Verdicts, []byte("a"), []byte("1"), inAnHour())
	s.Delete(cache.Verdicts, []byte("a"))
	s.EraseDomain("example.com")
	s.Range(cache.Verdicts, nil, func(_, _ []byte, _ time.Time) bool { t.Error("something there"); return true })
	if _, ok := s.Get(cache.Verdicts, []byte("a")); ok {
		t.Error("remembers")
	}
	if ok, _ := s.Status(); !ok {
		t.Error("memory only is trouble")
	}
	anna, err := esmtp.ParseAddress("anna@example.com", false)
	if err != nil {
		t.Fatal(err)
	}
	if k, d := s.AddressKey(anna), s.DomainKey("example.com"); !bytes.Equal(k[:8], d[:]) || k == ([24]byte{}) {
		t.Errorf("keys %x, %x", k, d)
	}
	_ = s.Stats()
	closeStore(t, s)
}

func TestKeys(t *testing.T) {
	path := tempPath(t)
	s := cache.OpenStore(path, patient())
	keys := map[[24]byte]string{}
	for _, text := range []string{"anna@example.com", "Anna@example.com", "anna@example.org", `"a@b"@example.com`} {
		a, err := esmtp.ParseAddress(text, false)
		if err != nil {
			t.Fatal(err)
		}
		k, d := s.AddressKey(a), s.DomainKey(a.ASCIIDomain())
		if !bytes.Equal(k[:8], d[:]) {
			t.Errorf("%s: the key does not begin with its domain's", text)
		}
		if k != s.KeyOf(a.Key()) {
			t.Errorf("%s: KeyOf differs", text)
		}
		if other, ok := keys[k]; ok {
			t.Errorf("%s has the key of %s", text, other)
		}
		keys[k] = text
	}
	first, id := s.DomainKey("example.com"), s.SecretID()
	closeStore(t, s)

	s = cache.OpenStore(path, patient())
	if s.DomainKey("example.com") != first || s.SecretID() != id {
		t.Error("other keys after a restart")
	}
	closeStore(t, s)

	s = cache.OpenStore(tempPath(t), patient())
	defer closeStore(t, s)
	if s.DomainKey("example.com") == first || s.SecretID() == id {
		t.Error("two caches with the same keys")
	}
}

// TestEraseDomain: all of a domain goes, at once, in every bucket that knows of it, and does not come
// back from what was waiting or from the file.
func TestEraseDomain(t *testing.T) {
	path := tempPath(t)
	s := cache.OpenStore(path, patient())
	put := func(address string, b cache.Bucket) {
		k := s.KeyOf(address)
		s.Put(b, k[:], []byte("x"), inAnHour())
	}
	known := func(address string, b cache.Bucket) bool {
		k := s.KeyOf(address)
		_, ok := s.Get(b, k[:])
		return ok
	}
	put("a@example.com", cache.Verdicts)
	put("a@example.com", cache.Strikes)
	put("a@example.org", cache.Verdicts)
	await(t, "written", func() bool { return s.Stats().Pending == 0 })
	put("b@example.com", cache.Verdicts)
	s.EraseDomain("example.com")
	put("c@example.com", cache.Verdicts)
	check := func(when string) {
		t.Helper()
		for address, want := range map[string]bool{
			"a@example.com": false, "b@example.com": false, "c@example.com": true, "a@example.org": true,
		} {
			if known(address, cache.Verdicts) != want {
				t.Errorf("%s %s: known %v", address, when, !want)
			}
		}
		if known("a@example.com", cache.Strikes) {
			t.Errorf("strikes are still there %s", when)
		}
	}
	check("at once")
	closeStore(t, s)
	s = cache.OpenStore(path, patient())
	defer closeStore(t, s)
	check("after a restart")
	if n := s.Stats().Entries[cache.Verdicts]; n != 2 {
		t.Errorf("%d verdicts, want 2", n)
	}
}

func TestRange(t *testing.T) {
	s := cache.OpenStore(tempPath(t), cache.StoreConfig{ReadLimit: time.Minute, FlushEvery: time.Hour, FlushCount: 3000})
	defer closeStore(t, s)
	for i := range 3000 {
		s.Put(cache.Sites, key(i), []byte("old"), inAnHour())
	}
	await(t, "written", func() bool { return s.Stats().Pending == 0 })
	s.Put(cache.Sites, key(7), []byte("new"), inAnHour())
	s.Delete(cache.Sites, key(107))
	s.Put(cache.Sites, key(9907), []byte("new"), inAnHour())
	var got []string
	s.Range(cache.Sites, []byte("domain07"), func(key, value []byte, _ time.Time) bool {
		got = append(got, string(key)+"="+string(value))
		return true
	})
	slices.Sort(got)
	if len(got) != 30 || got[0] != "domain07-key-000000007=new" || got[1] != "domain07-key-000000207=old" ||
		got[29] != "domain07-key-000009907=new" {
		t.Errorf("%d: %v", len(got), got)
	}
	n := 0
	s.Range(cache.Sites, nil, func(_, _ []byte, _ time.Time) bool { n++; return n < 2000 })
	if n != 2000 {
		t.Errorf("stopped after %d", n)
	}
}

// TestPendingIsBounded: what has no room is dropped, but never what is to be forgotten.
func TestPendingIsBounded(t *testing.T) {
	s := cache.OpenStore(tempPath(t), cache.StoreConfig{ReadLimit: time.Minute, FlushEvery: time.Hour, FlushCount: 1 << 30, MaxPending: 100})
	defer closeStore(t, s)
	for i := range 1000 {
		s.Put(cache.Verdicts, key(i), []byte("x"), inAnHour())
	}
	s.Put(cache.Verdicts, key(5), []byte("y"), inAnHour())
	s.Delete(cache.Verdicts, key(2000))
	s.Put(cache.Verdicts, bytes.Repeat([]byte("k"), 65), []byte("x"), inAnHour())
	s.Put(cache.Verdicts, key(6), make([]byte, 4097), inAnHour())
	if stats := s.Stats(); stats.Pending != 101 || stats.Dropped != 902 {
		t.Errorf("%+v", stats)
	}
	if v, _ := s.Get(cache.Verdicts, key(5)); string(v) != "y" {
		t.Errorf("not replaced: %q", v)
	}
}

// TestStoreConcurrent is for the race detector.
func TestStoreConcurrent(t *testing.T) {
	s := cache.OpenStore(tempPath(t), cache.StoreConfig{ReadLimit: time.Minute, FlushEvery: time.Millisecond, FlushCount: 50})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				k := s.KeyOf(fmt.Sprintf("u%d@d%d.example.com", i, g))
				s.Put(cache.Verdicts, k[:], []byte("v"), inAnHour())
				if _, ok := s.Get(cache.Verdicts, k[:]); !ok {
					t.Error("not there")
				}
				switch i % 100 {
				case 1:
					s.Delete(cache.Verdicts, k[:])
				case 50:
					s.Stats()
					s.Status()
				case 99:
					s.Range(cache.Verdicts, nil, func(_, _ []byte, _ time.Time) bool { return true })
				}
			}
		})
	}
	wg.Wait()
	closeStore(t, s)
}
