package senders

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// stateOf is the state after so many different recipients, the invalid ones last.
func stateOf(t *testing.T, h Hygiene, invalid, all int) State {
	t.Helper()
	h.Mode = "enforce"
	table := newTable(t, Config{Hygiene: h})
	now := start()
	check(table, alice(), "good", 0, all-invalid, now)
	check(table, alice(), "bad", invalid, invalid, now)
	return table.Counters(alice(), now).State
}

// TestBreakerNumbers has the smallest numbers of invalid recipients that lead to each state, and
// those before them. They were worked out from the formula of Wilson (1927) with z = 1.645.
func TestBreakerNumbers(t *testing.T) {
	for _, tt := range []struct {
		invalid, all int
		want         State
	}{
		{3, 5, StateOK},
		{5, 5, StateOK},
		{49, 49, StateOK}, // too few to say anything
		{50, 50, StateHold},
		{0, 1000, StateOK},
		{4, 50, StateOK},
		{5, 50, StateWarn},
		{6, 50, StateThrottle},
		{8, 50, StateThrottle},
		{9, 50, StateHold},
		{4, 60, StateOK},
		{5, 60, StateWarn},
		{6, 60, StateThrottle}, // 10 % as it is seen, surely 5.3 %: no hold
		{9, 60, StateThrottle},
		{10, 60, StateHold},
		{7, 100, StateOK},
		{8, 100, StateWarn},
		{9, 100, StateThrottle},
		{14, 100, StateThrottle},
		{15, 100, StateHold},
		{12, 200, StateOK},
		{13, 200, StateWarn},
		{16, 200, StateThrottle},
		{26, 200, StateThrottle},
		{27, 200, StateHold},
		{50, 1000, StateOK},
		{51, 1000, StateWarn},
		{62, 1000, StateThrottle},
		{99, 1000, StateThrottle},
		{99, 20_000, StateOK},
		{100, 20_000, StateHold}, // 100 different ones
	} {
		if got := stateOf(t, Hygiene{}, tt.invalid, tt.all); got != tt.want {
			t.Errorf("%d of %d: %s, want %s", tt.invalid, tt.all, got, tt.want)
		}
	}
}

func TestBreakerConfigured(t *testing.T) {
	for _, tt := range []struct {
		h            Hygiene
		invalid, all int
		want         State
	}{
		{Hygiene{Minimum: 10}, 9, 9, StateOK},
		{Hygiene{Minimum: 10}, 10, 10, StateHold},
		{Hygiene{Minimum: 10, Hold: 0.9, Throttle: 0.5}, 10, 10, StateThrottle},
		{Hygiene{Distinct: 10}, 9, 40, StateOK},
		{Hygiene{Distinct: 10}, 10, 40, StateHold},
		{Hygiene{Distinct: -1}, 200, 20_000, StateOK},
		{Hygiene{Distinct: 1000, Hold: 0.2}, 115, 1000, StateThrottle},
		{Hygiene{Distinct: 1000, Hold: 0.2}, 999, 20_000, StateWarn},
		{Hygiene{Distinct: 1000, Hold: 0.2}, 1000, 20_000, StateHold},
	} {
		if got := stateOf(t, tt.h, tt.invalid, tt.all); got != tt.want {
			t.Errorf("%+v: %d of %d: %s, want %s", tt.h, tt.invalid, tt.all, got, tt.want)
		}
	}
}

// TestSameRecipient: who is asked for again and again counts once.
func TestSameRecipient(t *testing.T) {
	table := newTable(t, enforce())
	now := start()
	for i := range 5000 {
		table.Checked(alice(), "dead"+strconv.Itoa(i%4)+"@example.org", true, now)
		table.Checked(alice(), "alive"+strconv.Itoa(i%46)+"@example.org", false, now)
		now = now.Add(5 * time.Second)
	}
	n := table.Counters(alice(), now)
	if n.InvalidHour != 4 || n.Invalid != 4./50 || n.State != StateOK {
		t.Errorf("%+v", n)
	}

	// There is room for as many as may be invalid.
	cfg := enforce()
	cfg.Hygiene.Distinct, cfg.Hygiene.Mode = 1000, "warn"
	table = newTable(t, cfg)
	for range 3 {
		check(table, alice(), "dead", 900, 900, now)
	}
	if n := table.Counters(alice(), now).InvalidHour; n != 900 {
		t.Errorf("%d of 900 recipients", n)
	}
}

// TestBelowWarn: a sender whose share of invalid recipients is never above that of a warning, in
// neither window, is never even warned about, in whatever order and rhythm they come.
func TestBelowWarn(t *testing.T) {
	type event struct {
		hour, day int64
		invalid   bool
	}
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		told := &changes{}
		cfg := enforce()
		cfg.Hygiene.Minimum, cfg.Hygiene.Distinct, cfg.Changed = 10, -1, told.add
		table := newTable(t, cfg)
		var events []event
		seen := 0
		now, pause := start(), 1+rnd.IntN(120)
		for i := range 1500 {
			now = now.Add(time.Duration(rnd.IntN(pause*1000)) * time.Millisecond)
			if rnd.IntN(200) == 0 {
				now = now.Add(time.Duration(rnd.IntN(300)) * time.Minute)
			}
			c := clockAt(now)
			below := func(invalid bool) bool { // with this event
				hourAll, hourBad, dayAll, dayBad := 1, 0, 1, 0
				if invalid {
					hourBad, dayBad = 1, 1
				}
				for _, e := range events {
					in := c.step[hour]-e.hour < slots
					hourAll, hourBad = hourAll+b2i(in), hourBad+b2i(in && e.invalid)
					in = c.step[day]-e.day < slots
					dayAll, dayBad = dayAll+b2i(in), dayBad+b2i(in && e.invalid)
				}
				return 25*hourBad <= hourAll && 25*dayBad <= dayAll // 4 %
			}
			if !below(false) { // what is valid left the window: the next campaign, on another day
				now = now.Add(27 * time.Hour)
				c = clockAt(now)
			}
			invalid := rnd.IntN(10) == 0 && below(true)
			seen += b2i(invalid)
			events = append(events, event{c.step[hour], c.step[day], invalid})
			table.Checked(alice(), strconv.Itoa(i), invalid, now)
			if hold := table.Take(alice(), true, now); hold.Kind != Free {
				t.Fatalf("seed %d, recipient %d: %+v", seed, i, hold)
			}
		}
		if list := told.take(); list != nil || seen < 5 {
			t.Errorf("seed %d: %q, %d invalid", seed, list, seen)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestSurely: whatever the order, the state never says more than the bound of the worse window.
func TestSurely(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		cfg := enforce()
		cfg.Hygiene.Distinct = -1
		table := newTable(t, cfg)
		part, worst, bad := 1+rnd.IntN(20), 0., 0
		for i := range 500 {
			invalid := rnd.IntN(part) == 0
			if invalid {
				bad++
			}
			if i+1 >= 50 {
				worst = max(worst, limit.LowerBound(bad, i+1))
			}
			table.Checked(alice(), strconv.Itoa(i), invalid, start())
			want := StateOK
			for _, l := range []struct {
				share float64
				state State
			}{{0.04, StateWarn}, {0.05, StateThrottle}, {0.10, StateHold}} {
				if worst > l.share {
					want = l.state
				}
			}
			if got := table.Counters(alice(), start()).State; got != want {
				t.Fatalf("seed %d: %d of %d: %s, want %s (%.3f)", seed, bad, i+1, got, want, worst)
			}
		}
	}
}

// held is a table with a sender on hold since start.
func held(t *testing.T, told *changes) *Table {
	t.Helper()
	cfg := enforce()
	cfg.Changed = told.add
	table := newTable(t, cfg)
	check(table, alice(), "a", 9, 50, start())
	if list := told.take(); !slices.Equal(list, []string{"ok>hold"}) {
		t.Fatalf("%q", list)
	}
	return table
}

func TestHoldAndTrial(t *testing.T) {
	told := &changes{}
	table := held(t, told)
	now := start()
	hold := table.Take(alice(), true, now.Add(time.Minute))
	want := Hold{
		Kind: Held, Name: "list hygiene", Key: "login:alice", Wait: 59 * time.Minute, KnownOnly: true,
		Detail: "9 of 50 recipients in the last hour are invalid, surely more than 10.8 %",
	}
	if hold != want {
		t.Errorf("%+v\nwant %+v", hold, want)
	}
	if hold := table.TakeKnown(alice(), true, now.Add(time.Minute)); hold.Kind != Free {
		t.Errorf("a known recipient: %+v", hold)
	}
	if n := table.Counters(alice(), now.Add(time.Minute)); n.RecipientsHour != 1 || n.MessagesDay != 1 {
		t.Errorf("%+v; the known recipient counts, the held one does not", n)
	}
	if hold := table.Take(alice(), true, now.Add(time.Hour-1)); hold.Wait != 1 {
		t.Errorf("%+v", hold)
	}

	// A trial of which 3 are invalid begins the hour again, whatever comes behind them.
	now = now.Add(time.Hour)
	for i := range 20 {
		if hold := table.Peek(alice(), now); hold.Kind != Free {
			t.Fatalf("Peek at %d of the trial: %+v", i, hold)
		}
		if hold := table.Take(alice(), true, now); hold.Kind != Free {
			t.Fatalf("%d of the trial: %+v", i, hold)
		}
	}
	if hold := table.Take(alice(), true, now); hold.Kind != Held || hold.Wait != 10*time.Minute {
		t.Errorf("number 21 of the trial: %+v", hold)
	}
	check(table, alice(), "b", 3, 20, now)
	if list := told.take(); !slices.Equal(list, []string{"hold>hold"}) {
		t.Fatalf("%q", list)
	}
	if hold := table.Take(alice(), true, now); hold.Kind != Held || hold.Wait != time.Hour ||
		hold.Detail != "3 of 3 recipients of the trial are invalid" {
		t.Errorf("behind the trial: %+v", hold)
	}

	// One of which 2 are invalid ends it, and everything is forgotten.
	now = now.Add(time.Hour)
	if hold := table.Take(alice(), true, now); hold.Kind != Free {
		t.Errorf("%+v", hold)
	}
	check(table, alice(), "c", 2, 19, now)
	if list := told.take(); list != nil {
		t.Fatalf("%q", list)
	}
	check(table, alice(), "d", 0, 1, now)
	if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
		t.Fatalf("%q", list)
	}
	if n := table.Counters(alice(), now); n.State != StateOK || n.Invalid != 0 || n.InvalidHour != 0 {
		t.Errorf("%+v", n)
	}
}

// TestTrialRounds: recipients that no verdict came of are replaced, 10 minutes later.
func TestTrialRounds(t *testing.T) {
	told := &changes{}
	table := held(t, told)
	now := start().Add(2 * time.Hour)
	passed := func() (n int) {
		for table.Take(alice(), false, now).Kind == Free {
			n++
		}
		return n
	}
	if n := passed(); n != 20 {
		t.Errorf("%d", n)
	}
	check(table, alice(), "b", 1, 5, now)
	now = now.Add(10*time.Minute - time.Second)
	if n := passed(); n != 0 {
		t.Errorf("%d before the round is over", n)
	}
	now = now.Add(time.Second)
	if n := passed(); n != 15 {
		t.Errorf("%d in the second round, want what is missing", n)
	}
	check(table, alice(), "c", 0, 15, now)
	if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
		t.Errorf("%q", list)
	}
	if n := table.Counters(alice(), now); n.RecipientsHour != 35 {
		t.Errorf("%+v", n)
	}
}

// TestTrialOfTheSame: who was counted before counts in the trial, too.
func TestTrialOfTheSame(t *testing.T) {
	told := &changes{}
	table := held(t, told)
	now := start().Add(time.Hour)
	table.Take(alice(), true, now)
	for i := range 20 {
		table.Checked(alice(), "a"+strconv.Itoa(20+i)+"@example.org", false, now)
	}
	if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
		t.Errorf("%q", list)
	}
}

// TestHoldClockSetBack: a clock that is set back does not make the rest longer.
func TestHoldClockSetBack(t *testing.T) {
	table := held(t, &changes{})
	if hold := table.Take(alice(), true, start().Add(-time.Second)); hold.Kind != Free {
		t.Errorf("%+v, of a rest that lies further ahead than any", hold)
	}
	table = held(t, &changes{})
	table.Release("alice", start().Add(100*time.Hour))
	check(table, alice(), "b", 50, 50, start())
	if hold := table.Take(alice(), true, start()); hold.Kind != Held {
		t.Errorf("%+v, in a grace that lies further ahead than any", hold)
	}
}

func TestThrottle(t *testing.T) {
	told := &changes{}
	cfg := enforce()
	cfg.Changed = told.add
	table := newTable(t, cfg)
	now := start()
	check(table, alice(), "good", 0, 54, now)
	check(table, alice(), "bad", 6, 6, now) // by way of a warning, which 5 of 59 are
	if list := told.take(); !slices.Equal(list, []string{"ok>warn", "warn>throttle"}) {
		t.Fatalf("%q", list)
	}
	passed := 0
	for range 600 { // a minute
		now = now.Add(100 * time.Millisecond)
		if hold := table.Take(alice(), true, now); hold.Kind == Free {
			passed++
		} else if hold.Kind != Throttled || hold.KnownOnly || hold.Wait <= 0 || hold.Wait > time.Second {
			t.Fatalf("%+v", hold)
		}
	}
	if passed != 60 {
		t.Errorf("%d in a minute", passed)
	}
	check(table, alice(), "worse", 15, 15, now)
	if list := told.take(); !slices.Equal(list, []string{"throttle>hold"}) {
		t.Fatalf("%q", list)
	}
	if hold := table.Take(alice(), true, now); hold.Kind != Held || hold.Wait != time.Hour {
		t.Errorf("%+v", hold)
	}
}

// TestThrottleTrial: 20 pass at once behind the hour, and one a second besides.
func TestThrottleTrial(t *testing.T) {
	table := newTable(t, enforce())
	check(table, alice(), "good", 0, 54, start())
	check(table, alice(), "bad", 6, 6, start())
	now, passed := start().Add(time.Hour), 0
	for range 50 {
		if table.Take(alice(), true, now).Kind == Free {
			passed++
		}
	}
	if passed != 21 {
		t.Errorf("%d, want the 20 of the trial and one", passed)
	}
	check(table, alice(), "new", 0, 20, now)
	for range 50 {
		if hold := table.Take(alice(), true, now); hold.Kind != Free {
			t.Fatalf("behind the trial: %+v", hold)
		}
	}
}

// TestWarn: a warning holds nobody, and ends after an hour if the share has fallen.
func TestWarn(t *testing.T) {
	told := &changes{}
	cfg := enforce()
	cfg.Changed = told.add
	table := newTable(t, cfg)
	now := start()
	check(table, alice(), "good", 0, 45, now)
	check(table, alice(), "bad", 5, 5, now)
	check(table, alice(), "more", 0, 500, now)
	if hold := table.Take(alice(), true, now); hold.Kind != Free {
		t.Errorf("%+v", hold)
	}
	table.Take(alice(), true, now.Add(time.Hour-time.Second))
	if list := told.take(); !slices.Equal(list, []string{"ok>warn"}) {
		t.Errorf("%q", list)
	}
	table.Take(alice(), true, now.Add(time.Hour))
	if list := told.take(); !slices.Equal(list, []string{"warn>ok"}) {
		t.Errorf("%q", list)
	}
	if n := table.Counters(alice(), now.Add(time.Hour)); n.Invalid != 5./550 {
		t.Errorf("%+v: what was counted stays", n)
	}
}

// TestModes: off counts no verdicts, warn holds nobody.
func TestModes(t *testing.T) {
	for _, mode := range []string{"", "off", "warn"} {
		told := &changes{}
		table := newTable(t, Config{Hygiene: Hygiene{Mode: mode}, Changed: told.add})
		check(table, alice(), "a", 200, 200, start())
		if hold := table.Take(alice(), true, start()); hold.Kind != Free {
			t.Errorf("%q: %+v", mode, hold)
		}
		n, want, wantTold := table.Counters(alice(), start()), StateOK, []string(nil)
		if mode == "warn" {
			want, wantTold = StateHold, []string{"ok>hold"}
		}
		if n.State != want || n.RecipientsDay != 1 || (n.Invalid == 1) != (mode == "warn") {
			t.Errorf("%q: %+v", mode, n)
		}
		if list := told.take(); !slices.Equal(list, wantTold) {
			t.Errorf("%q: %q", mode, list)
		}
	}
}

func TestRelease(t *testing.T) {
	for _, key := range []string{"login:alice", "alice"} {
		told := &changes{}
		table := held(t, told)
		now := start().Add(time.Minute)
		if table.Release("bob", now) || table.Release("client:192.0.2.1/example.com", now) {
			t.Error("somebody who is not known is released")
		}
		if !table.Release(key, now) {
			t.Fatal("not known")
		}
		if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
			t.Errorf("%q", list)
		}
		// The grace: worse than before, but no more than warned about.
		check(table, alice(), "b", 150, 200, now)
		now = now.Add(time.Hour - time.Second)
		check(table, alice(), "c", 1, 1, now)
		if hold := table.Take(alice(), true, now); hold.Kind != Free {
			t.Errorf("%+v", hold)
		}
		if list := told.take(); !slices.Equal(list, []string{"ok>warn"}) {
			t.Errorf("%q", list)
		}
		// What was counted in the grace is judged behind it.
		check(table, alice(), "d", 1, 1, now.Add(time.Second))
		if list := told.take(); !slices.Equal(list, []string{"warn>hold"}) {
			t.Errorf("%q", list)
		}
	}
}

// TestClient: without a login a client's mail of one domain is a sender, and has a key that
// Release takes.
func TestClient(t *testing.T) {
	for _, tt := range []struct {
		id  Identity
		key string
	}{
		{Identity{Client: "192.0.2.1", SenderDomain: "example.com"}, "client:192.0.2.1/example.com"},
		{Identity{Client: "2001:db8::1", SenderDomain: "example.com"}, "client:2001:db8::1/example.com"},
		{Identity{Client: "2001:db8::/64", SenderDomain: "example.com"}, "client:2001:db8::/64/example.com"},
		{Identity{Client: "192.0.2.1", Sender: "@"}, "client:192.0.2.1/<>"},
		{Identity{SenderDomain: "example.com"}, "client:/example.com"},
	} {
		table := newTable(t, enforce())
		check(table, tt.id, "a", 50, 50, start())
		hold := table.Take(tt.id, true, start())
		if hold.Kind != Held || hold.Key != tt.key {
			t.Errorf("%+v: %+v", tt.id, hold)
		}
		other := tt.id
		other.SenderDomain += ".test"
		if hold := table.Take(other, true, start()); hold.Kind != Free {
			t.Errorf("%+v: %+v", other, hold)
		}
		list := table.List(start(), 0)
		if len(list) != 2 || list[0].Key != tt.key || list[0].Client != tt.id.Client ||
			list[0].SenderDomain != tt.id.SenderDomain {
			t.Errorf("%+v", list)
		}
		if !table.Release(hold.Key, start()) || table.Take(tt.id, true, start()).Kind != Free {
			t.Errorf("%s is not released", hold.Key)
		}
	}
	table := newTable(t, enforce())
	check(table, Identity{}, "a", 50, 50, start())
	if hold := table.Take(Identity{}, true, start()); hold.Kind != Free || table.Len() != 0 {
		t.Errorf("nobody in particular: %+v", hold)
	}
}

func ExampleConfigError() {
	err := Check(Config{Limits: []Limit{{Name: "per account", Per: "login", Recipients: []string{"9/h"}}}})
	fmt.Println(err)
	// Output:
	// limit 1 "per account": recipients[0]: "h" is no unit; did you mean "9/hour"? valid: minute, hour, day
}
