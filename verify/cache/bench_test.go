package cache_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// sizeVar is how many entries the file of BenchmarkStoreGet and BenchmarkOpen has; 10000000 takes
// a minute and 2 GB.
const sizeVar = "RCPTGATE_CACHE_BENCH_ENTRIES"

func benchEntries(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv(sizeVar))
	if err != nil {
		return 200_000
	}
	return n
}

// sortedKey is a key as long as that of an address, in the order of i.
func sortedKey(i int) []byte {
	k := make([]byte, 24)
	binary.BigEndian.PutUint64(k, uint64(i)*1_000_003)
	binary.BigEndian.PutUint64(k[8:], uint64(i)*0x9e3779b97f4a7c15)
	return k
}

func buildStore(b *testing.B, n int) (path string) {
	b.Helper()
	path = tempPath(b)
	s := cache.OpenStore(path, patient())
	secret := s.Secret()
	closeStore(b, s)
	err := cache.Build(path, secret, n, make([]byte, 28), uint32(time.Now().Unix())+86400, sortedKey)
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(n), "octets/entry")
	return path
}

// BenchmarkOpen is a start with a large file.
func BenchmarkOpen(b *testing.B) {
	n := benchEntries(b)
	path := buildStore(b, n)
	for b.Loop() {
		s := cache.OpenStore(path, cache.StoreConfig{})
		if got := s.Stats().Entries[cache.Verdicts]; got != int64(n) {
			b.Fatalf("%d entries", got)
		}
		if _, ok := s.Get(cache.Verdicts, sortedKey(n/2)); !ok {
			b.Fatal("not there")
		}
		closeStore(b, s)
	}
}

// BenchmarkStoreGet is a look-up that memory could not answer, of what is there and of what is not.
func BenchmarkStoreGet(b *testing.B) {
	n := benchEntries(b)
	s := cache.OpenStore(buildStore(b, n), patient())
	defer closeStore(b, s)
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%t", known), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k := sortedKey(rand.IntN(n))
				if !known {
					k[23] ^= 1
				}
				if _, ok := s.Get(cache.Verdicts, k); ok != known {
					b.Fatal("wrong")
				}
			}
		})
	}
}

// BenchmarkStorePut is a value that is put, in random order of keys, and its part of the writing
// behind: with a million in the file, what one verdict takes of the disk.
func BenchmarkStorePut(b *testing.B) {
	path := tempPath(b)
	s := cache.OpenStore(path, cache.StoreConfig{ReadLimit: time.Minute})
	value := make([]byte, 28)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		k := s.KeyOf("user" + strconv.Itoa(n) + "@d" + strconv.Itoa(n%1000) + ".example.com")
		s.Put(cache.Verdicts, k[:], value, inAnHour())
		if n++; n%20_000 == 0 {
			await(b, "there is room", func() bool { return s.Stats().Pending < 20_000 })
		}
	}
	await(b, "all is written", func() bool { return s.Stats().Pending == 0 })
	stats := s.Stats()
	b.ReportMetric(float64(stats.Used)/float64(stats.Entries[cache.Verdicts]), "octets/entry")
	closeStore(b, s)
}
