package message

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
)

// TestBulkAuto: warnings of a domain are enforced once it has sent much to a receiver, for that
// receiver's mail, also after a restart.
func TestBulkAuto(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		dir, err := durable.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		var told []BulkSender
		cfg := config(Warn)
		cfg.BulkAuto = 10
		cfg.Enforced = func(s BulkSender) { told = append(told, s) }
		checker, err := New(cfg, resolver, dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		unsigned := wire(newsletter(time.Now()))
		env := envelope(t)
		env.Recipients = []Recipient{
			{Domain: "gmail.com", Provider: "google"},
			{Domain: "googlemail.com", Provider: "google"},
			{Domain: "workspace.example", Provider: "google"}, // no personal account
			{Domain: "example.net"},
		}
		for range 5 { // two copies each
			if report := check(t, checker, env, unsigned, 99); report.Action != ActionPass ||
				names(report) != "dkim" || report.Receiver != "" {
				t.Fatalf("%s", details(report))
			}
		}
		enforced := func(checker *Checker) {
			t.Helper()
			report := check(t, checker, env, unsigned, 99)
			if report.Action != ActionReject || report.Receiver != "google" || !report.Findings[0].Enforced ||
				!strings.Contains(report.Reply.String(), "enforced, as example.com sends in bulk to google") {
				t.Fatalf("%s", details(report))
			}
			other := env
			other.Recipients = []Recipient{{Domain: "yahoo.com", Provider: "yahoo"}}
			if report := check(t, checker, other, unsigned, 99); report.Action != ActionPass {
				t.Fatalf("%s", details(report))
			}
		}
		enforced(checker)
		if len(told) != 1 || told[0].Domain != "example.com" || told[0].Count != 10 {
			t.Errorf("told %v", told)
		}
		if err := checker.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour) // once bulk, always bulk
		checker = newChecker(t, cfg, resolver, dir)
		unsigned = wire(newsletter(time.Now()))
		enforced(checker)
		if list := checker.BulkSenders(); len(list) != 2 || list[1].Receiver != "google" ||
			list[1].Count != 0 || list[1].Since.IsZero() || list[0].Count != 1 {
			t.Errorf("%v", list)
		}
		if !checker.ForgetBulk("example.com", "google") || checker.ForgetBulk("example.com", "google") {
			t.Error("forgetting does not tell whether there was something")
		}
		if report := check(t, checker, env, unsigned, 99); report.Action != ActionPass {
			t.Errorf("%s", details(report))
		}
	})
}

// TestBulkWindow: what is older than a day counts no more.
func TestBulkWindow(t *testing.T) {
	table := bulkTable{counts: make(map[bulkKey]*bulkCount)}
	now := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	for hour := range 100 {
		s, began := table.add("example.com", "google", 10, 250, now.Add(time.Duration(hour)*time.Hour))
		if want := min(hour+1, bulkHours) * 10; s.Count != want || began {
			t.Fatalf("after %d hours: %d, want %d; began %v", hour, s.Count, want, began)
		}
	}
	if s, _ := table.add("example.com", "google", 1, 250, now.Add(1000*time.Hour)); s.Count != 1 {
		t.Errorf("after a month: %d", s.Count)
	}
	if s, _ := table.add("example.com", "google", 1, 250, now); s.Count != 2 { // the clock was set back
		t.Errorf("with another clock: %d", s.Count)
	}
}

// TestBulkBounded: a flood of domains does not push out those that matter.
func TestBulkBounded(t *testing.T) {
	table := bulkTable{counts: make(map[bulkKey]*bulkCount)}
	now := time.Now()
	table.add("busy.example", "google", 5000, 4000, now)
	for i := range 3 * bulkSize {
		table.add(fmt.Sprintf("d%d.example", i), "google", 1, 4000, now)
	}
	if len(table.counts) > bulkSize || !table.bulk("busy.example", "google") {
		t.Errorf("%d counts", len(table.counts))
	}
}

// TestBulkFile: a file that is garbled costs what is garbled.
func TestBulkFile(t *testing.T) {
	dir, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	now := time.Now()
	table := bulkTable{counts: make(map[bulkKey]*bulkCount)}
	table.add("example.com", "google", 5000, 4000, now)
	if err := table.save(dir); err != nil {
		t.Fatal(err)
	}
	loaded := bulkTable{counts: make(map[bulkKey]*bulkCount)}
	if err := loaded.load(dir, now); err != nil || !loaded.bulk("example.com", "google") {
		t.Fatal(err, loaded.list(now))
	}
	early := bulkTable{counts: make(map[bulkKey]*bulkCount)}
	if err := early.load(dir, now.Add(-48*time.Hour)); err != nil || len(early.counts) != 0 {
		t.Error(err, "counts from the future")
	}
}
