package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy"
)

// TestFind: an entry is found at once, by any way, the newest first.
func TestFind(t *testing.T) {
	j := open(t, Config{Path: journalPath(t)})
	tx := transaction(t)
	for n := range 5 {
		j.record(tx, refused(t, fmt.Sprintf("bob%d@example.net", n), fmt.Sprintf("REF%d", n)))
		j.record(tx, accepted(t, "anna@example.com"))
	}
	j.record(tx, shadowed(t, "carl@example.test", "SHADOW"))
	e, ok := j.Find("REF3")
	if !ok || e.Recipient != "bob3@example.net" {
		t.Errorf("found %v, %+v", ok, e)
	}
	if _, ok := j.Find("NOSUCH"); ok {
		t.Error("found what is not there")
	}
	for _, c := range []struct {
		f    Filter
		want string // references
		n    int
	}{
		{Filter{}, "SHADOW  REF4  REF3  REF2  REF1  REF0", 11},
		{Filter{Limit: 2}, "SHADOW ", 2},
		{Filter{Limit: -1, Refused: true}, "SHADOW REF4 REF3 REF2 REF1 REF0", 6},
		{Filter{Action: "reject", Limit: 2}, "SHADOW REF4", 2},
		{Filter{Action: "accept", Limit: 1}, "", 1},
		{Filter{Recipient: "bob2@Example.NET"}, "REF2", 1},
		{Filter{Recipient: "@example.test"}, "SHADOW", 1},
		{Filter{Sender: "news@shop.example.org", Recipient: "bob1@example.net"}, "REF1", 1},
		{Filter{Sender: "<>"}, "", 0},
		{Filter{Client: "192.0.2.0/24", Login: "news", Reason: "mailbox_unknown", Limit: 1}, "SHADOW", 1},
		{Filter{Client: "198.51.100.1"}, "", 0},
		{Filter{Login: "new"}, "", 0},
		{Filter{Rule: "built-in: everything else", Provider: "google", Limit: 1}, "", 1},
		{Filter{From: time.Now().Add(time.Hour)}, "", 0},
		{Filter{To: time.Now().Add(-time.Hour)}, "", 0},
		{Filter{Kind: KindMessage}, "", 0},
		{Filter{Transaction: "3F2A-1", Session: "3F2A", Ref: "REF0"}, "REF0", 1},
		{Filter{Action: "explode"}, "", 0},
	} {
		got := j.Search(c.f)
		if refs(got) != c.want || len(got) != c.n {
			t.Errorf("%+v: %d entries, %q; want %d, %q", c.f, len(got), refs(got), c.n, c.want)
		}
	}
	shut(t, j)
	if e, ok := j.Find("REF0"); !ok || e.Ref != "REF0" {
		t.Error("memory is gone after Close")
	}
	archive := NewArchive(j.cfg())
	e, ok, _, err := archive.Find(t.Context(), "REF0")
	if !ok || err != nil || e.Recipient != "bob0@example.net" {
		t.Errorf("in the file: %v, %v", ok, err)
	}
	found, report, err := archive.Search(t.Context(), Filter{Refused: true, Limit: 3})
	if err != nil || refs(found) != "SHADOW REF4 REF3" || report.Files != 1 {
		t.Errorf("in the file: %q, %+v, %v", refs(found), report, err)
	}
	if _, _, err := archive.Search(t.Context(), Filter{Client: "here"}); err == nil {
		t.Error("a wrong filter is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := archive.Search(ctx, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that was cancelled: %v", err)
	}
	if _, report, _ := archive.Bounded(2000).Search(t.Context(), Filter{Limit: -1}); !report.Bounded {
		t.Error("the bound of a search is not kept, or not said")
	}
}

// cfg is what an archive of the journal needs.
func (j *Journal) cfg() Config {
	a := j.Archive()
	return Config{Path: a.path, Secret: a.secret}
}

// TestRedactedSearch: who has an address finds it in whatever form it was written.
func TestRedactedSearch(t *testing.T) {
	secret := []byte("0123456789abcdef")
	j := open(t, Config{Redact: RedactHash, Secret: secret})
	tx := transaction(t)
	j.record(tx, refused(t, "bob@example.net", "HASHED"))
	if err := j.Reconfigure(Config{Redact: RedactLocal, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	j.record(tx, refused(t, "bob@example.net", "LOCAL"))
	if err := j.Reconfigure(Config{Secret: secret}); err != nil {
		t.Fatal(err)
	}
	j.record(tx, refused(t, "bob@example.net", "WHOLE"))
	j.record(tx, refused(t, "ben@example.net", "OTHER"))
	found := j.Search(Filter{Recipient: "bob@example.net", Login: "news"})
	if refs(found) != "WHOLE LOCAL HASHED" {
		t.Errorf("found %q", refs(found))
	}
	if got := found[2].Recipient; !strings.HasPrefix(got, hashMark) {
		t.Errorf("%q is no hash", got)
	}
	if found := j.Search(Filter{Recipient: found[2].Recipient}); refs(found) != "HASHED" {
		t.Errorf("by the hash itself: %q", refs(found))
	}
}

// TestRefusalsLast: refusals stay longer than what was accepted, in order, and within the limits.
func TestRefusalsLast(t *testing.T) {
	j := open(t, Config{Recent: 20, Refusals: 30, Queue: 100_000})
	tx := transaction(t)
	for n := range 1000 {
		if n%10 == 0 {
			j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("R%d", n)))
		} else {
			j.record(tx, accepted(t, "anna@example.com"))
		}
	}
	all := j.Search(Filter{Limit: -1})
	if len(all) != 50 {
		t.Errorf("%d entries, want 20 and 30", len(all))
	}
	last := 1000
	for _, e := range all {
		var n int
		if e.Ref == "" {
			continue
		}
		if _, err := fmt.Sscanf(e.Ref, "R%d", &n); err != nil || n >= last {
			t.Fatalf("%s behind R%d", e.Ref, last)
		}
		last = n
	}
	if last != 1000-10*32 {
		t.Errorf("the oldest refusal is R%d", last)
	}
	small := open(t, Config{MemoryOctets: 40 << 10})
	for range 1000 {
		small.record(tx, refused(t, "bob@example.net", "REF"))
	}
	small.gather()
	if s := small.Stats(); s.Entries != 1000 || s.Octets > 40<<10 || s.Octets < 30<<10 {
		t.Errorf("memory: %+v", s)
	}
	none := open(t, Config{Recent: -1, Refusals: -1})
	none.record(tx, refused(t, "bob@example.net", "REF"))
	none.gather()
	if s := none.Stats(); s.Entries != 1 || s.Lines != 0 {
		t.Errorf("no memory: %+v", s)
	}
}

// TestOverflow: a full queue loses decisions, which are counted and said once a minute, and holds
// nobody up.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		j, err := Open(Config{Queue: 10}, slog.New(slog.NewTextHandler(&out, nil)))
		if err != nil {
			t.Fatal(err)
		}
		tx, d := transaction(t), refused(t, "bob@example.net", "REF")
		for range 25 {
			j.record(tx, d) // no time passes, so nothing is gathered
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if s := j.Stats(); s.Entries != 10 || s.Lost != 15 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "lost=15") != 1 || strings.Count(got, "\n") != 1 {
			t.Errorf("the log says:\n%s", got)
		}
		j.record(tx, d)
		time.Sleep(time.Second)
		if s := j.Stats(); s.Entries != 11 {
			t.Errorf("afterwards: %+v", s)
		}
		shut(t, j)
		j.record(tx, d)
		if s := j.Stats(); s.Entries != 11 || s.Lost != 16 {
			t.Errorf("after Close: %+v", s)
		}
		if err := j.Reconfigure(Config{}); err == nil {
			t.Error("a closed journal can be configured")
		}
	})
}

// TestRetention: what is older than MaxAge is forgotten.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, Config{MaxAge: time.Hour, Recent: 2})
		tx := transaction(t)
		for n := range 6 {
			j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("REF%d", n)))
			time.Sleep(15 * time.Minute)
		}
		if got := refs(j.Search(Filter{})); got != "REF5 REF4 REF3 REF2" {
			t.Errorf("after 90 minutes: %q", got)
		}
		time.Sleep(2 * time.Hour)
		if got := refs(j.Search(Filter{})); got != "" {
			t.Errorf("after hours: %q", got)
		}
		shut(t, j)
	})
}

// TestTail: live views have what comes, and a slow one misses without holding up anybody.
func TestTail(t *testing.T) {
	j := open(t, Config{})
	tx := transaction(t)
	j.record(tx, refused(t, "old@example.net", "OLD"))
	all, err := j.Tail(Filter{Refused: true, To: time.Unix(1, 0)}, 100)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := j.Tail(Filter{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		j.record(tx, accepted(t, "anna@example.com"))
		j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("REF%d", n)))
	}
	j.gather()
	for n := range 3 {
		if e := <-all.C; e.Ref != fmt.Sprintf("REF%d", n) {
			t.Errorf("%q comes as number %d", e.Ref, n)
		}
	}
	if slow.Missed() != 5 || all.Missed() != 0 {
		t.Errorf("missed %d and %d", slow.Missed(), all.Missed())
	}
	slow.Close()
	slow.Close()
	<-slow.C
	if _, more := <-slow.C; more {
		t.Error("a closed view goes on")
	}
	if _, err := j.Tail(Filter{Client: "x"}, 1); err == nil {
		t.Error("a wrong filter is no error")
	}
	for range maxTails - 1 {
		if _, err := j.Tail(Filter{}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Tail(Filter{}, 1); err == nil {
		t.Error("live views without end")
	}
	shut(t, j)
	if _, more := <-all.C; more {
		t.Error("a view outlives the journal")
	}
	all.Close()
	if _, err := j.Tail(Filter{}, 1); err == nil {
		t.Error("a live view of a closed journal")
	}
}

// TestNil: no journal is one that keeps nothing.
func TestNil(t *testing.T) {
	var j *Journal
	j.record(transaction(t), refused(t, "bob@example.net", "REF"))
	j.Message(transaction(t), &Message{})
	j.Reopen()
	if _, ok := j.Find("REF"); ok || len(j.Search(Filter{})) > 0 || j.Stats() != (Stats{}) {
		t.Error("nothing keeps something")
	}
	if _, ok := j.Story(t.Context(), "REF"); ok {
		t.Error("nothing tells a story")
	}
	if _, err := j.Tail(Filter{}, 1); err == nil {
		t.Error("nothing can be watched")
	}
	if err := errors.Join(j.Reconfigure(Config{}), j.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestCheck: what is wrong is said, all of it, with the next step.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Redact: "hash"}, "openssl rand"},
		{Config{Redact: "some"}, `write "off", "local" or "hash"`},
		{Config{MaxAge: -1, Queue: -1}, "max_age"},
		{Config{MaxAge: -1, Queue: -1}, "negative queue"},
		{Config{MaxSize: 1000}, "262144 or more"},
		{Config{Webhook: Webhook{URL: "listmonk"}}, "scheme"},
		{Config{Webhook: Webhook{URL: "https://a:b@example.com/"}}, "use user and password"},
		{Config{Webhook: Webhook{URL: "https:///x"}}, "no host"},
		{Config{Webhook: Webhook{URL: "https://x\x00"}}, "cannot be read"},
		{Config{Webhook: Webhook{URL: "https://example.com/", Password: "x"}}, "no user"},
		{Config{Webhook: Webhook{URL: "https://example.com/", Attempts: -1}}, "negative"},
		{Config{Path: "/nonexistent-directory/journal"}, "make its directory"},
		{Config{Path: os.TempDir()}, "no regular file"},
	} {
		j, err := Open(c.cfg, nil)
		if c.want == "" && err == nil {
			shut(t, j)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || c.want == "" {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}

// TestParallel: writers, readers and changes of the configuration side by side lose nothing.
func TestParallel(t *testing.T) {
	j := open(t, Config{Path: journalPath(t), Queue: 1 << 20, Recent: 100, MemoryOctets: 1 << 20})
	tx, d := transaction(t), refused(t, "bob@example.net", "REF")
	ok := accepted(t, "anna@example.com")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				j.record(tx, d)
				j.record(tx, ok)
			}
		})
	}
	for n := range 3 {
		group.Go(func() {
			for k := range 10 {
				for _, e := range j.Search(Filter{Limit: -1}) {
					if e.Recipient != "bob@example.net" && e.Recipient != "anna@example.com" {
						t.Errorf("read %+v", e)
						return
					}
				}
				if n == 0 {
					if err := j.Reconfigure(Config{Path: j.cfg().Path, Queue: 1 << 20, Recent: 10 * k}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	shut(t, j)
	if s := j.Stats(); s.Entries != 8000 || s.Lost+s.Unsaved != 0 {
		t.Errorf("%+v", s)
	}
	_, report, err := j.Archive().Search(t.Context(), Filter{Limit: -1})
	if err != nil || report.Entries != 8000 || report.Notes() != nil {
		t.Errorf("in the file: %+v, %v", report, err)
	}
}

// TestGateAnswers: a recipient that no rule decided has the action that its reply means.
func TestGateAnswers(t *testing.T) {
	j := open(t, Config{})
	j.Decision(transaction(t), &policy.Decision{}, reply452, false)
	found := j.Search(Filter{Refused: true})
	if len(found) != 1 || found[0].Action != "defer" || found[0].Rule != "" || found[0].Recipient != "" {
		t.Errorf("%+v", found)
	}
}
