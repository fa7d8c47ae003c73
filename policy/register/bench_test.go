package register_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

const million = 1_000_000

func millionth(i int) string { return fmt.Sprintf("firstname.l%d@domain%d.example", i, i%50_000) }

// millionRows is a CSV file of a million addresses that bounced.
func millionRows() string {
	var b strings.Builder
	b.WriteString("address,reason,reply,created\n")
	for i := range million {
		fmt.Fprintf(&b, "%s,hard_bounce,550 5.1.1,2026-01-02T03:04:05Z\n", millionth(i))
	}
	return b.String()
}

// imported is a register in memory with a million entries.
func imported(b *testing.B) *register.Register {
	b.Helper()
	r := memory(b, register.Config{})
	if _, err := r.ImportCSV(strings.NewReader(millionRows()), register.ImportOptions{}); err != nil {
		b.Fatal(err)
	}
	return r
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLoad opens a list of a million, and tells what an entry takes.
func BenchmarkLoad(b *testing.B) {
	const gmail = "550 5.1.1 The email account that you tried to reach does not exist"
	for _, evidence := range []string{"", gmail} {
		b.Run(fmt.Sprintf("evidence=%d", len(evidence)), func(b *testing.B) {
			path := b.TempDir()
			file, err := os.Create(filepath.Join(path, snapshotFile))
			if err != nil {
				b.Fatal(err)
			}
			w := bufio.NewWriter(file)
			_, _ = w.WriteString(version)
			for i := range million {
				_, _ = fmt.Fprintf(w, "+\t%s\tglobal\thard_bounce\t550 5.1.1\t1\t2026-01-02T03:04:05Z\t"+
					"2999-01-02T03:04:05Z\tfeedback\t%s\n", millionth(i), evidence)
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
			if err := file.Close(); err != nil {
				b.Fatal(err)
			}
			dir, err := durable.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer dir.Close()
			before := heap()
			var size uint64
			for b.Loop() {
				r, err := register.Open(dir, register.Config{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				size = heap() - before
				if n := r.Counts()[register.HardBounce]; n != million {
					b.Fatal(n)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(size)/million, "octets/entry")
		})
	}
}

// BenchmarkSuppressed looks up among a million, one after the other and all at once.
func BenchmarkSuppressed(b *testing.B) {
	r := imported(b)
	sender := addr(b, "news@sender.test")
	now := time.Now()
	const some = 1 << 16
	hits, misses := make([]esmtp.Address, some), make([]esmtp.Address, some)
	for i := range hits {
		hits[i] = addr(b, millionth(i*7919%million))
		misses[i] = addr(b, "x"+millionth(i*7919%million))
	}
	for name, list := range map[string][]esmtp.Address{"hit": hits, "miss": misses} {
		want := name == "hit"
		run := func(b *testing.B) {
			b.Helper()
			b.ReportAllocs()
			b.Run("serial", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, found := r.Suppressed(list[i%some], sender, "", now); found != want {
						b.Fatal(found)
					}
				}
			})
			b.Run("parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						if _, found := r.Suppressed(list[i%some], sender, "", now); found != want {
							b.Error(found)
							return
						}
					}
				})
			})
		}
		b.Run(name, run)
	}
	// Every kind of scope and wildcard has to be looked at.
	suppress(b, r, manual("*@blocked.test"), manual("*@*.blocked.test"),
		register.Suppression{Address: "a@b.test", Scope: register.Scope{Kind: register.Login, Name: "x"}},
		register.Suppression{
			Address: "a@b.test", Scope: register.Scope{Kind: register.SenderDomain, Name: "sender.test"},
		})
	b.Run("miss/everything", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, found := r.Suppressed(misses[i%some], sender, "alice", now); found {
				b.Fatal("found")
			}
		}
	})
}

// BenchmarkImport imports a million rows into files, with fsync.
func BenchmarkImport(b *testing.B) {
	rows := millionRows()
	for b.Loop() {
		b.StopTimer()
		r, end := on(b, b.TempDir(), register.Config{})
		b.StartTimer()
		report, err := r.ImportCSV(strings.NewReader(rows), register.ImportOptions{})
		if err != nil || report.Added != million {
			b.Fatalf("%+v, %v", report, err)
		}
		b.StopTimer()
		end()
		b.StartTimer()
	}
}

func BenchmarkExport(b *testing.B) {
	r := imported(b)
	for b.Loop() {
		if err := r.ExportCSV(discard{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkList is a page of a million.
func BenchmarkList(b *testing.B) {
	r := imported(b)
	for b.Loop() {
		if _, total, err := r.List(register.Filter{Contains: "name.l"}, 100, 50); total != million {
			b.Fatal(total, err)
		}
	}
}

// BenchmarkSuppress is one change by hand: mostly fsync.
func BenchmarkSuppress(b *testing.B) {
	r, _ := on(b, b.TempDir(), register.Config{})
	for b.Loop() {
		suppress(b, r, manual("bob@example.com"))
	}
}

// BenchmarkDelivered is what every delivery costs beside a million hard bounces.
func BenchmarkDelivered(b *testing.B) {
	r := imported(b)
	rcpt := addr(b, "somebody@example.com")
	b.ReportAllocs()
	for b.Loop() {
		r.Delivered(rcpt, time.Time{})
	}
}

func BenchmarkAllowed(b *testing.B) {
	r := memory(b, register.Config{})
	for i := range 1000 {
		for kind, name := range map[register.OverrideKind]string{
			register.AllowAddress: fmt.Sprintf("u%d@example.com", i),
			register.AllowDomain:  fmt.Sprintf(".d%d.test", i),
		} {
			if err := r.Allow(register.Override{Kind: kind, Name: name}); err != nil {
				b.Fatal(err)
			}
		}
	}
	rcpt, now := addr(b, "somebody@mail.example.com"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, found := r.Allowed(rcpt, now); found {
			b.Fatal("allowed")
		}
	}
}
