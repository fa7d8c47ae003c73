package journal

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// BenchmarkMail is what the mail path pays for a recipient of messages of 50, of several senders at
// the same time, to mail servers in turn.
func BenchmarkMail(b *testing.B) {
	j := open(b, Config{Redact: RedactLocal, Queue: 1 << 20})
	var decisions []*policy.Decision
	for i := range 1000 {
		d := accepted(b, fmt.Sprintf("user%d@d%d.example.com", i, i%50))
		d.Result.MX, d.Result.Cached = fmt.Sprintf("mx%d.example.net", i%5), true
		d.Result.Checked = time.Now().Add(time.Duration(-i) * time.Second)
		decisions = append(decisions, d)
	}
	var sessions atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		session := sessions.Add(1)
		tx := transaction(b)
		for n := 0; pb.Next(); n++ {
			if n%50 == 0 {
				tx = transaction(b)
				tx.ID = strconv.FormatInt(session, 16) + "-" + strconv.Itoa(n)
			}
			j.record(tx, decisions[(n+int(session)*37)%len(decisions)])
		}
	})
	b.StopTimer()
	if lost := j.Stats().Lost; lost > 0 {
		b.Errorf("%d were lost", lost)
	}
}

// BenchmarkWhole is all that a decision costs: the mail path, its line if there is a file, and
// memory. CPU is that of all goroutines, and counts other work of the machine less than ns/op does.
func BenchmarkWhole(b *testing.B) {
	one, other := transaction(b), transaction(b)
	other.Session, other.ID, other.Client.Login = "3F2B", "3F2B-1", "shop@example.org"
	for _, c := range []struct {
		name, mode string
		file       bool
		d          *policy.Decision
		txs        [2]*policy.Transaction
	}{
		{"memory/accepted", RedactLocal, false, accepted(b, "anna@example.com"), [2]*policy.Transaction{one, one}},
		{"memory/refused", RedactLocal, false, refused(b, "bob@example.net", "KX2M7QRT"), [2]*policy.Transaction{one, one}},
		{"file/off", RedactOff, true, accepted(b, "anna@example.com"), [2]*policy.Transaction{one, one}},
		{"file/local", RedactLocal, true, accepted(b, "anna@example.com"), [2]*policy.Transaction{one, one}},
		{"file/mixed", RedactLocal, true, accepted(b, "anna@example.com"), [2]*policy.Transaction{one, other}},
		{"file/refused", RedactLocal, true, refused(b, "bob@example.net", "KX2M7QRT"), [2]*policy.Transaction{one, one}},
		{"file/hash", RedactHash, true, accepted(b, "anna@example.com"), [2]*policy.Transaction{one, one}},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := Config{Redact: c.mode, Secret: make([]byte, 32)}
			if c.file {
				cfg.Path = journalPath(b)
			}
			j := open(b, cfg)
			b.ReportAllocs()
			n, began := 0, cpuTime(b)
			for b.Loop() {
				if j.record(c.txs[n&1], c.d); n%1000 == 0 {
					j.gather()
				}
				n++
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(n), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has used in user mode.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano())
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
