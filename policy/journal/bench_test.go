package journal

import (
	"testing"

	"github.com/rcptgate/rcptgate/policy"
)

// BenchmarkDecision is what the mail path pays for a decision. The queue is emptied by itself, as
// beside real mail.
func BenchmarkDecision(b *testing.B) {
	for _, c := range []struct {
		name string
		d    *policy.Decision
	}{{"accepted", accepted(b, "anna@example.com")}, {"refused", refused(b, "bob@example.net", "KX2M7QRT")}} {
		b.Run(c.name, func(b *testing.B) {
			j := open(b, Config{Path: journalPath(b), Queue: 1024})
			tx := transaction(b)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n++; n%1000 == 0 {
					b.StopTimer()
					j.gather()
					b.StartTimer()
				}
				j.record(tx, c.d)
			}
			b.StopTimer()
			j.gather()
			if s := j.Stats(); s.Lost > 0 || s.Entries != uint64(n) {
				b.Errorf("not all was kept: %+v, of %d", s, n)
			}
		})
	}
}

// BenchmarkWhole is all that a decision costs: the mail path, its line, and memory.
func BenchmarkWhole(b *testing.B) {
	for _, mode := range []string{RedactOff, RedactLocal, RedactHash} {
		b.Run(mode, func(b *testing.B) {
			j := open(b, Config{Redact: mode, Secret: make([]byte, 32)})
			tx, d := transaction(b), refused(b, "bob@example.net", "KX2M7QRT")
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if j.record(tx, d); n%100 == 0 {
					j.gather()
				}
				n++
			}
		})
	}
}

// BenchmarkFind finds the oldest of 60,000 entries.
func BenchmarkFind(b *testing.B) {
	j := open(b, Config{Queue: 100_000})
	tx, d := transaction(b), refused(b, "bob@example.net", "OLDEST00")
	j.record(tx, d)
	d.Ref = "KX2M7QRT"
	for range 59_000 {
		j.record(tx, d)
	}
	j.gather()
	b.ReportMetric(float64(j.Stats().Octets)/59_001, "octets/entry")
	for b.Loop() {
		if _, ok := j.Find("OLDEST00"); !ok {
			b.Fatal("not found")
		}
	}
}
