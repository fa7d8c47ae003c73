package bulk

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

// largeList writes a list of n addresses of n/20 domains, and the journal of a check that has asked
// about all but one of them.
func largeList(tb testing.TB, n int) (list, journal string) {
	tb.Helper()
	var rows strings.Builder
	for i := range n {
		fmt.Fprintf(&rows, "%d,somebody.of.that.name%d@d%d.example.com,\"Somebody, %d\"\n", i, i, i%(n/20), i)
	}
	dir := tb.TempDir()
	list, journal = filepath.Join(dir, "list.csv"), filepath.Join(dir, "journal")
	if err := os.WriteFile(list, []byte(rows.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	l, err := Open(list, nil, ListOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	b := appendLine(nil, headerLine(l, "test"))
	for i := range int32(n - 1) {
		a := Answer{
			Verdict: verify.Deliverable, Reason: verify.MailboxExists, Confidence: 0.987, Deliverability: 0.999,
			Provider: "postfix", MX: fmt.Sprintf("mx.d%d.example.com", int(i)%(n/20)), Code: 250,
			Checked: time.Unix(1_800_000_000, 0),
		}
		b = appendLine(appendLine(b, numberLine(lineAsking, i)), answerLine(i, &a))
	}
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return list, journal
}

func resumeLarge(tb testing.TB, list, journal string) (*List, *Run) {
	tb.Helper()
	l, err := Open(list, nil, ListOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	r, err := Start(l, Config{Journal: journal, Options: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	return l, r
}

// TestLargeList: what a list of 100,000 addresses holds in memory, with all its answers, and while it is
// written.
func TestLargeList(t *testing.T) {
	const most = 300 * 100_000 // octets, as the package says, less what domains take
	list, journal := largeList(t, 100_000)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	start := time.Now()
	l, r := resumeLarge(t, list, journal)
	defer l.Close()
	took := time.Since(start)
	held := heap() - before
	if p := r.Progress(); p.Resumed != 99_999 || p.All != 100_000 || p.Lost != 0 {
		t.Errorf("progress %+v", p)
	}
	if held > most {
		t.Errorf("%d octets are held, more than %d", held, most)
	}
	t.Logf("%.1f MB are held; resumed in %v", float64(held)/1e6, took)
	if err := r.Write(io.Discard, CSV); err != nil {
		t.Error(err)
	}
	if more := heap() - before; more > most {
		t.Errorf("%d octets are held behind the writing", more)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(l)
}

// BenchmarkResume is how long a check of 100,000 addresses takes to go on where it was.
func BenchmarkResume(b *testing.B) {
	list, journal := largeList(b, 100_000)
	for b.Loop() {
		l, r := resumeLarge(b, list, journal)
		l.Close()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
