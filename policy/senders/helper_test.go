package senders

import (
	"bytes"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
)

// enforce is the breaker with its default numbers.
func enforce() Config { return Config{Hygiene: Hygiene{Mode: "enforce"}} }

// start is a time at the beginning of a step of each window.
func start() time.Time { return time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC) }

// newTable is a table for tests that give the time themselves: nothing sweeps it, nothing saves it.
func newTable(tb testing.TB, cfg Config) *Table {
	tb.Helper()
	table, err := open(cfg, nil, start())
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// runTable is a table by the clock of the test.
func runTable(tb testing.TB, cfg Config, dir *durable.Dir) *Table {
	tb.Helper()
	table, err := New(cfg, dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := table.Close(); err != nil {
			tb.Error(err)
		}
	})
	return table
}

func openDir(tb testing.TB, path string) *durable.Dir {
	tb.Helper()
	dir, err := durable.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = dir.Close() })
	return dir
}

func alice() Identity {
	return Identity{
		Login: "alice", Sender: "a@example.com", SenderDomain: "example.com", Client: "192.0.2.1",
	}
}

// check has invalid of all recipients checked, all different, the invalid ones first.
func check(table *Table, id Identity, prefix string, invalid, all int, now time.Time) {
	for i := range all {
		table.Checked(id, prefix+strconv.Itoa(i)+"@example.org", i < invalid, now)
	}
}

// changes collects what Changed is told.
type changes struct {
	mu   sync.Mutex
	list []Change
}

func (c *changes) add(change Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, change)
}

// take returns what was told since the last call, as "ok>hold".
func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, change := range c.list {
		list = append(list, string(change.From)+">"+string(change.To))
	}
	c.list = nil
	return list
}

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
