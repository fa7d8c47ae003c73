package register_test

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

var learning = register.Config{LearnBounces: true, LearnComplaints: true}

func addr(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	if s == "" {
		return esmtp.Address{}
	}
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatalf("%s: %v", s, err)
	}
	return a
}

// memory opens a register without files.
func memory(tb testing.TB, cfg register.Config) *register.Register {
	tb.Helper()
	r, err := register.Open(nil, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// on opens a register on a directory, and returns what closes both.
func on(tb testing.TB, path string, cfg register.Config) (*register.Register, func()) {
	tb.Helper()
	dir, err := durable.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := register.Open(dir, cfg)
	if err != nil {
		_ = dir.Close()
		tb.Fatal(err)
	}
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
		if err := dir.Close(); err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(end)
	return r, end
}

func suppress(tb testing.TB, r *register.Register, list ...register.Suppression) {
	tb.Helper()
	for _, s := range list {
		if s.Reason == "" {
			s.Reason = register.Manual
		}
		if err := r.Suppress(s); err != nil {
			tb.Fatal(err)
		}
	}
}

func manual(address string) register.Suppression {
	return register.Suppression{Address: address, Reason: register.Manual}
}

// export is the whole list as CSV, without the header.
func export(tb testing.TB, r *register.Register) string {
	tb.Helper()
	var b strings.Builder
	if err := r.ExportCSV(&b); err != nil {
		tb.Fatal(err)
	}
	_, rows, ok := strings.Cut(b.String(), "\n")
	if !ok {
		tb.Fatalf("no header: %q", b.String())
	}
	return rows
}

// addresses are those on the list, in order.
func addresses(tb testing.TB, r *register.Register) []string {
	tb.Helper()
	list, total, err := r.List(register.Filter{}, 0, 1_000_000)
	if err != nil || total != len(list) {
		tb.Fatal(err, total, len(list))
	}
	var names []string
	for _, s := range list {
		name := s.Address
		if s.Scope != (register.Scope{}) {
			name += " " + s.Scope.String()
		}
		names = append(names, name)
	}
	return names
}

func wantAddresses(tb testing.TB, r *register.Register, want ...string) {
	tb.Helper()
	if got := addresses(tb, r); !slices.Equal(got, want) {
		tb.Errorf("the list is %q, want %q", got, want)
	}
}

func wantCounts(tb testing.TB, r *register.Register, want map[register.Reason]int) {
	tb.Helper()
	got := r.Counts()
	maps.DeleteFunc(got, func(_ register.Reason, n int) bool { return n == 0 })
	if !maps.Equal(got, want) {
		tb.Errorf("counts %v, want %v", got, want)
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	octets, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(octets)
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// await waits for what happens behind.
func await(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatal("never: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// logged is a log that can be read.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
