package senders

import (
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func benchConfig(limits int) Config {
	cfg := enforce()
	cfg.Hygiene.Distinct = -1
	for i := range limits {
		cfg.Limits = append(cfg.Limits, Limit{
			Name: "limit" + strconv.Itoa(i), Per: perNames[i%len(perNames)],
			Messages: []string{"900000000/hour"}, Recipients: []string{"900000000/day"},
		})
	}
	return cfg
}

func identities(n int) []Identity {
	list := make([]Identity, n)
	for i := range list {
		name := "user" + strconv.Itoa(i)
		list[i] = Identity{
			Login: name, Sender: name + "@example.com", SenderDomain: "d" + strconv.Itoa(i%100) + ".test",
			Client: "192.0.2." + strconv.Itoa(i%250),
		}
	}
	return list
}

// recipients are so many names that no memory of recent ones holds them.
func benchRecipients() []string {
	list := make([]string, 1<<14)
	for i := range list {
		list[i] = "somebody" + strconv.Itoa(i) + "@example.org"
	}
	return list
}

// BenchmarkRecipient is what one recipient costs: Take and Checked.
func BenchmarkRecipient(b *testing.B) {
	rcpts := benchRecipients()
	for _, bb := range []struct {
		name            string
		limits, senders int
	}{
		{"no limits/1 sender", 0, 1},
		{"no limits/1000 senders", 0, 1000},
		{"4 limits/1000 senders", 4, 1000},
		{"8 limits/20000 senders", 8, 20_000},
	} {
		table, ids := newTable(b, benchConfig(bb.limits)), identities(bb.senders)
		warm(table, ids)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			now, i := start(), 0
			for b.Loop() {
				id := ids[i%len(ids)]
				table.Take(id, i&3 == 0, now)
				table.Checked(id, rcpts[i&(len(rcpts)-1)], i&63 == 0, now)
				now = now.Add(time.Millisecond)
				i++
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			var worker atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				now, i := start(), int(worker.Add(1))*7919
				for pb.Next() {
					id := ids[i%len(ids)]
					table.Take(id, i&3 == 0, now)
					table.Checked(id, rcpts[i&(len(rcpts)-1)], i&63 == 0, now)
					now = now.Add(time.Millisecond)
					i++
				}
			})
		})
	}
}

// warm makes all accounts, and their memory of recipients as large as valid ones make it.
func warm(table *Table, ids []Identity) {
	for _, id := range ids {
		table.Take(id, true, start())
		for j := range 200 {
			table.Checked(id, "w"+strconv.Itoa(j), false, start())
		}
	}
}

func BenchmarkCounters(b *testing.B) {
	table, ids := newTable(b, benchConfig(4)), identities(1000)
	warm(table, ids)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Counters(ids[i%len(ids)], start())
		i++
	}
}

// BenchmarkHeld is a recipient that is deferred.
func BenchmarkHeld(b *testing.B) {
	table := newTable(b, benchConfig(4))
	check(table, alice(), "a", 50, 50, start())
	b.ReportAllocs()
	for b.Loop() {
		table.Take(alice(), true, start())
	}
}

// BenchmarkFull is a table of 100,000 senders: what it takes to save it, to sweep it and to list it.
func BenchmarkFull(b *testing.B) {
	var before, behind runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cfg := enforce()
	cfg.MaxKeys = 200_000
	table, ids := newTable(b, cfg), identities(100_000)
	warm(table, ids)
	runtime.GC()
	runtime.ReadMemStats(&behind)
	size := float64(behind.HeapAlloc-before.HeapAlloc) / float64(len(ids))
	now := start().Add(time.Minute)
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if err := table.writeTo(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(size, "B/sender")
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			table.sweep(now)
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if len(table.List(now, 50)) != 50 {
				b.Fatal("not 50")
			}
		}
	})
}

// BenchmarkEvict is a flood of new senders into a table that is full.
func BenchmarkEvict(b *testing.B) {
	cfg := enforce()
	cfg.MaxKeys = 10_000
	table, ids := newTable(b, cfg), identities(100_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Take(ids[i%len(ids)], true, start())
		i++
	}
}
