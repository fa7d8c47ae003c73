package senders

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// TestNil: no table, no limits.
func TestNil(t *testing.T) {
	var table *Table
	table.Checked(alice(), "a", true, start())
	if table.Take(alice(), true, start()) != (Hold{}) || table.TakeKnown(alice(), true, start()) != (Hold{}) ||
		table.Peek(alice(), start()) != (Hold{}) || table.Counters(alice(), start()) != (Counters{State: StateOK}) {
		t.Error("a nil table holds or counts")
	}
	if table.List(start(), 0) != nil || table.Release("alice", start()) || table.Len() != 0 ||
		table.Close() != nil || table.Reconfigure(Config{}) != nil || table.States()[StateOK] != 0 {
		t.Error("a nil table knows somebody")
	}
	if table.Reconfigure(Config{MaxKeys: 1}) == nil {
		t.Error("a fault is not reported")
	}
}

// TestLimits takes recipients of one sender, one each step, and says how many pass.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name      string
		limit     Limit
		step      time.Duration
		takes     int
		perMail   int // recipients of one message
		wantFree  int
		wantWait  time.Duration // of the first that does not
		wantTexts string
	}{
		{
			"minute",
			Limit{Per: "login", Recipients: []string{"10/minute"}},
			0, 30, 1,
			10, 65 * time.Second, "at most 10 recipients in any minute",
		},
		{
			"hour",
			Limit{Per: "sender", Recipients: []string{"10/hour"}},
			time.Minute, 120, 1,
			20, 55 * time.Minute, "at most 10 recipients in any hour",
		},
		{
			"day",
			Limit{Per: "client", Recipients: []string{"10/day"}},
			time.Hour, 72, 1,
			30, 16 * time.Hour, "at most 10 recipients in any day",
		},
		{
			"two",
			Limit{Per: "sender_domain", Recipients: []string{"5/minute", "8/hour"}},
			20 * time.Second, 60, 1,
			8, 65*time.Minute - 160*time.Second, "at most 8 recipients in any hour",
		},
		{
			"messages",
			Limit{Per: "login", Messages: []string{"3/hour"}},
			0, 30, 5,
			15, 65 * time.Minute, "at most 3 messages in any hour",
		},
		{
			"messages with a burst",
			Limit{Per: "login", Messages: []string{"6/hour burst 3"}},
			0, 30, 5,
			15, 10 * time.Minute, "6 messages a hour, 3 at once",
		},
		{
			"the longest wait",
			Limit{Per: "login", Recipients: []string{"5/hour", "5/minute"}},
			0, 30, 1,
			5, 65 * time.Minute, "at most 5 recipients in any hour",
		},
		{
			"both",
			Limit{Per: "login", Messages: []string{"3/hour"}, Recipients: []string{"12/hour"}},
			0, 30, 5,
			12, 65 * time.Minute, "at most 12 recipients in any hour",
		},
		{
			"burst",
			Limit{Per: "login", Recipients: []string{"60/hour burst 5"}},
			10 * time.Second, 60, 1,
			5 + 9, 10 * time.Second, "60 recipients a hour, 5 at once",
		},
		{
			"window and burst",
			Limit{Per: "login", Recipients: []string{"60/hour burst 5", "6/minute"}},
			time.Second, 60, 1, 5, 55 * time.Second, "60 recipients a hour, 5 at once",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.limit.Name = "the limit"
			table := newTable(t, one(tt.limit))
			now, free, first := start(), 0, Hold{}
			inMail := 0 // recipients of the present message that passed
			for i := range tt.takes {
				if i%tt.perMail == 0 {
					inMail = 0
				}
				peeked := table.Peek(alice(), now)
				hold := table.Take(alice(), inMail == 0, now)
				if inMail == 0 && hold != peeked {
					t.Fatalf("Take says %+v behind Peek %+v", hold, peeked)
				}
				if hold.Kind == Free {
					free++
					inMail++
				} else if first.Kind == Free {
					first = hold
				}
				now = now.Add(tt.step)
			}
			if free != tt.wantFree {
				t.Errorf("%d pass, want %d", free, tt.wantFree)
			}
			if first.Kind != Limited || first.Name != "the limit" || first.Wait != tt.wantWait ||
				first.Detail != tt.wantTexts || !strings.HasPrefix(first.Key, tt.limit.Per+":") {
				t.Errorf("%+v", first)
			}
		})
	}
}

// TestWholeOrNothing: what one limit defers does not count for another, and what is deferred does
// not keep a sender out by its retries.
func TestWholeOrNothing(t *testing.T) {
	table := newTable(t, Config{Limits: []Limit{
		{Name: "domain", Per: "sender_domain", Recipients: []string{"5/hour"}},
		{Name: "client", Per: "client", Recipients: []string{"7/hour", "7/day burst 7"}},
	}})
	now := start()
	for range 100 {
		table.Take(alice(), true, now)
		now = now.Add(30 * time.Second)
	}
	other := alice()
	other.SenderDomain = "example.net"
	now, free := start().Add(50*time.Minute), 0
	for range 5 {
		if table.Take(other, true, now).Kind == Free {
			free++
		}
	}
	if free != 2 { // 7 of the client, but 5 that passed
		t.Errorf("%d pass", free)
	}
	if n := table.Counters(alice(), now); n.RecipientsHour != 7 || n.MessagesHour != 7 {
		t.Errorf("%+v", n)
	}
	if hold := table.Take(alice(), true, start().Add(65*time.Minute)); hold.Kind != Limited || hold.Name != "client" {
		t.Errorf("%+v", hold) // of its day's burst not one is back
	}
}

// TestUnknown: what is not known is in no limit.
func TestUnknown(t *testing.T) {
	var limits []Limit
	for _, per := range perNames {
		limits = append(limits, Limit{Name: per, Per: per, Recipients: []string{"1/day"}})
	}
	table := newTable(t, Config{Limits: limits})
	for range 5 {
		if hold := table.Take(Identity{Sender: "@"}, true, start()); hold.Kind != Free {
			t.Errorf("%+v", hold)
		}
	}
	for _, tt := range []struct {
		id   Identity
		want string
	}{
		{Identity{Login: "bob"}, "login:bob"},
		{Identity{Client: "192.0.2.9"}, "client:192.0.2.9"},
		{Identity{Sender: "b@example.net"}, "sender:b@example.net"},
		{Identity{SenderDomain: "example.net"}, "sender_domain:example.net"},
	} {
		if hold := table.Take(tt.id, true, start()); tt.id.Sender == "" && hold.Kind != Free {
			t.Errorf("%+v", hold)
		}
		tt.id.Login += strings.Repeat("x", len(tt.id.Sender)) // a sender alone is nobody
		table.Take(tt.id, true, start())
		if hold := table.Take(tt.id, true, start()); hold.Key != tt.want && tt.id.Sender == "" {
			t.Errorf("%+v: %+v", tt.id, hold)
		}
	}
}

// TestLongNames: names are cut, so that memory has a bound.
func TestLongNames(t *testing.T) {
	table := newTable(t, enforce())
	long := Identity{Login: strings.Repeat("a", 100_000)}
	check(table, long, "a", 50, 50, start())
	hold := table.Take(long, true, start())
	if hold.Kind != Held || len(hold.Key) != len("login:")+320 {
		t.Errorf("%s, a key of %d octets", hold.Kind, len(hold.Key))
	}
	if !table.Release(hold.Key, start()) {
		t.Error("not known by its key")
	}
}

// TestMemory holds what the package comment says about octets.
func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(account{}); n > 512 {
		t.Errorf("an account has %d octets", n)
	}
	if n := unsafe.Sizeof(breaker{}); n > 416 {
		t.Errorf("a breaker has %d octets", n)
	}
	if n := validLines * unsafe.Sizeof(line{}); n != 1024 {
		t.Errorf("the valid recipients take %d octets", n)
	}
}

// TestKeys: the table stays within its bound, and a flood of keys frees none that is held.
func TestKeys(t *testing.T) {
	cfg := enforce()
	cfg.MaxKeys = 1000
	table := newTable(t, cfg)
	check(table, alice(), "a", 50, 50, start())
	now := start()
	for i := range 20_000 {
		now = now.Add(10 * time.Millisecond)
		table.Take(Identity{Login: "flood" + strconv.Itoa(i)}, true, now)
		table.Take(Identity{Login: "steady"}, true, now)
	}
	if n := table.Len(); n > 1000 || n < 900 {
		t.Errorf("%d keys", n)
	}
	if hold := table.Take(alice(), true, now); hold.Kind != Held {
		t.Errorf("%+v", hold)
	}
	if n := table.Counters(Identity{Login: "steady"}, now).RecipientsHour; n != 20_000 {
		t.Errorf("%d: who is active is not forgotten", n)
	}
	for i := range 2000 {
		check(table, Identity{Login: "held" + strconv.Itoa(i)}, "a", 50, 50, now)
	}
	if n := table.Len(); n > 1000 {
		t.Errorf("%d keys", n)
	}
	if hold := table.Take(alice(), true, now); hold.Kind != Free {
		t.Errorf("%+v: of those that are held the first goes, too", hold)
	}
	cfg.MaxKeys = 0
	if err := table.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		table.Take(Identity{Login: "more" + strconv.Itoa(i)}, true, now)
	}
	if n := table.Len(); n < 5000 {
		t.Errorf("%d keys behind a higher bound", n)
	}
	cfg.MaxKeys = 1000
	if err := table.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if n := table.Len(); n > 1000 {
		t.Errorf("%d keys behind a lower bound", n)
	}
}

// TestConcurrent: however many ask at a time, a limit lets as many pass as it says, and the
// accounts stay in order.
func TestConcurrent(t *testing.T) {
	told := &changes{}
	cfg := enforce()
	cfg.MaxKeys, cfg.Changed = 1000, told.add
	cfg.Limits = []Limit{
		{Name: "client", Per: "client", Recipients: []string{"300/hour"}},
		{Name: "domain", Per: "sender_domain", Recipients: []string{"1000/hour", "100/hour burst 100"}},
		{Name: "sender", Per: "sender", Messages: []string{"250/hour"}},
	}
	table := newTable(t, cfg)
	ids := []Identity{
		{Login: "a", Sender: "a@example.com", SenderDomain: "example.com", Client: "192.0.2.1"},
		{Login: "b", Sender: "b@example.com", SenderDomain: "example.net", Client: "192.0.2.1"},
		{Sender: "c@example.com", SenderDomain: "example.org", Client: "192.0.2.1"},
		{Login: "d", Sender: "d@example.com", SenderDomain: "example.com", Client: "192.0.2.2"},
	}
	var passed [4]atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				n := (g + i) % len(ids)
				if table.Take(ids[n], true, start()).Kind == Free {
					passed[n].Add(1)
				}
				table.Checked(Identity{Login: "x" + strconv.Itoa(g)}, strconv.Itoa(i), i%5 == 0, start())
				switch i % 100 {
				case 0:
					table.List(start(), 10)
				case 1:
					table.Peek(ids[n], start())
				case 2:
					table.Counters(ids[n], start())
				case 3:
					if err := table.Reconfigure(cfg); err != nil {
						t.Error(err)
					}
				case 4:
					table.Release("x"+strconv.Itoa(g), start())
				}
			}
		})
	}
	wg.Wait()
	client1 := passed[0].Load() + passed[1].Load() + passed[2].Load()
	domain := passed[0].Load() + passed[3].Load()
	if client1 > 300 || domain > 100 || client1 < 200 || domain != 100 {
		t.Errorf("%d of the client, %d of the domain", client1, domain)
	}
	for n, id := range ids {
		if got := table.Counters(id, start()).RecipientsHour; int64(got) != passed[n].Load() {
			t.Errorf("%+v: %d counted, %d passed", id, got, passed[n].Load())
		}
	}
	checkChains(t, table)
}

// checkChains checks that each account is in the one chain that its state asks for.
func checkChains(t *testing.T, table *Table) {
	t.Helper()
	for i := range table.shards {
		s := &table.shards[i]
		s.mu.Lock()
		n := 0
		for _, c := range []*chain{&s.quiet, &s.kept} {
			var last *account
			for a := c.newest; a != nil; a = a.older {
				n++
				if a.chain != c || a.newer != last || s.accounts[a.hash] != a ||
					(c == &s.kept) != (a.breaker != nil && a.breaker.level >= throttle) {
					t.Errorf("%s is out of order", a.key)
				}
				last = a
			}
			if c.oldest != last {
				t.Error("the chain's end is another")
			}
		}
		if n != len(s.accounts) {
			t.Errorf("%d accounts in chains, %d in all", n, len(s.accounts))
		}
		s.mu.Unlock()
	}
}

// TestReconfigure: what was counted stays; a limit with a burst that stays keeps its state, too.
func TestReconfigure(t *testing.T) {
	old := Config{Limits: []Limit{
		{Name: "slow", Per: "login", Recipients: []string{"24/day burst 3"}},
		{Name: "fast", Per: "login", Recipients: []string{"24/day burst 2"}},
	}}
	table := newTable(t, old)
	free := func() (n int, name string) {
		for {
			hold := table.Take(alice(), true, start())
			if hold.Kind != Free {
				return n, hold.Name
			}
			n++
		}
	}
	if n, name := free(); n != 2 || name != "fast" {
		t.Errorf("%d, %s", n, name)
	}
	if err := table.Reconfigure(Config{Limits: old.Limits[:1]}); err != nil {
		t.Fatal(err)
	}
	if n, name := free(); n != 1 || name != "slow" {
		t.Errorf("%d, %s", n, name)
	}
	err := table.Reconfigure(Config{Limits: []Limit{{Name: "x", Per: "login", Recipients: []string{"3"}}}})
	if err == nil {
		t.Error("a fault is not reported")
	}
	if n, name := free(); n != 0 || name != "slow" {
		t.Errorf("%d, %s: the old limits go on", n, name)
	}
	hourly := one(Limit{Name: "hourly", Per: "login", Recipients: []string{"10/hour"}})
	if err := table.Reconfigure(hourly); err != nil {
		t.Fatal(err)
	}
	if n, name := free(); n != 7 || name != "hourly" {
		t.Errorf("%d, %s: 3 passed before", n, name)
	}
}

// TestTurnedOff: a breaker that is turned off lets go.
func TestTurnedOff(t *testing.T) {
	told := &changes{}
	table := held(t, told)
	if err := table.Reconfigure(Config{Changed: told.add}); err != nil {
		t.Fatal(err)
	}
	if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
		t.Errorf("%q", list)
	}
	cfg := enforce()
	if err := table.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if hold := table.Take(alice(), true, start()); hold.Kind != Free {
		t.Errorf("%+v", hold)
	}
	checkChains(t, table)
}
