package senders

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// saved is the file of a directory; "" if there is none.
func saved(t *testing.T, dir string) string {
	t.Helper()
	octets, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(octets)
}

// stateless is what List says, without what a restart forgets.
func stateless(list []Status) []Status {
	for i := range list {
		if list[i].Why == "" {
			list[i].Since = time.Time{}
		}
	}
	return list
}

func everything() Config {
	cfg := enforce()
	cfg.Limits = []Limit{
		{Name: "sender", Per: "sender", Messages: []string{"100/day"}},
		{Name: "even", Per: "sender_domain", Recipients: []string{"24/day burst 4"}},
		{Name: "client", Per: "client", Recipients: []string{"10/hour"}},
	}
	return cfg
}

// TestRestart: what was counted, and who is held, is there after a restart, and ends when it would
// have ended.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		dir := openDir(t, path)
		told := &changes{}
		cfg := everything()
		table := runTable(t, cfg, dir)
		bob := Identity{Client: "192.0.2.7", SenderDomain: "example.net"}
		check(table, alice(), "a", 15, 60, time.Now())
		check(table, bob, "a", 2, 60, time.Now())
		for range 3 {
			table.Take(bob, true, time.Now())
			time.Sleep(time.Minute)
		}
		want := stateless(table.List(time.Now(), 0))
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}

		cfg.Changed = told.add
		table = runTable(t, cfg, dir)
		if got := stateless(table.List(time.Now(), 0)); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		if n := table.Len(); n != 4 { // two senders, and a domain and a client with limits
			t.Errorf("%d keys", n)
		}
		hold := table.Take(alice(), true, time.Now())
		if hold.Kind != Held || hold.Wait != 57*time.Minute ||
			hold.Detail != "15 of 50 recipients in the last hour are invalid, surely more than 20.6 %" {
			t.Errorf("%+v", hold)
		}
		if hold := table.Take(bob, true, time.Now()); hold.Kind != Free {
			t.Errorf("%+v", hold)
		}
		if hold := table.Take(bob, true, time.Now()); hold.Name != "even" || hold.Wait != 57*time.Minute {
			t.Errorf("the burst is not what it was: %+v", hold)
		}
		checkChains(t, table)

		// It is over by itself, and nothing is left in the file.
		time.Sleep(30 * time.Hour)
		if list := told.take(); !slices.Equal(list, []string{"hold>ok"}) {
			t.Errorf("%q", list)
		}
		if n := table.Len(); n != 0 {
			t.Errorf("%d keys behind a day of rest", n)
		}
		if file := saved(t, path); strings.Count(file, "\n") != 1 {
			t.Error(file)
		}
	})
}

// TestRestartLater: state that is too old by then is not there after a restart.
func TestRestartLater(t *testing.T) {
	for _, tt := range []struct {
		away  time.Duration
		state State
		hour  int // recipients
		day   int
		keys  int
	}{
		{time.Minute, StateHold, 60, 60, 1},
		{70 * time.Minute, StateHold, 0, 60, 1},
		{25 * time.Hour, StateHold, 0, 60, 1},
		{26*time.Hour + time.Minute, "", 0, 0, 0},
		{1000 * time.Hour, "", 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := openDir(t, t.TempDir())
			table := runTable(t, enforce(), dir)
			check(table, alice(), "a", 15, 60, time.Now())
			if err := table.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tt.away)
			table = runTable(t, enforce(), dir)
			list := table.List(time.Now(), 0)
			if len(list) != tt.keys {
				t.Fatalf("%s: %+v", tt.away, list)
			}
			for _, st := range list {
				if st.State != tt.state || st.Hour.Recipients != tt.hour || st.Day.Recipients != tt.day {
					t.Errorf("%s: %+v", tt.away, st)
				}
			}
			wantFree := tt.away >= time.Hour // by the trial
			if hold := table.Take(alice(), true, time.Now()); (hold.Kind == Free) != wantFree {
				t.Errorf("%s: %+v", tt.away, hold)
			}
		})
	}
}

// TestSaves: each minute, if there is something to save.
func TestSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		table := runTable(t, Config{}, openDir(t, path))
		time.Sleep(5 * time.Minute)
		if file := saved(t, path); file != "" {
			t.Error(file)
		}
		for _, id := range identities(10) {
			table.Take(id, true, time.Now())
		}
		time.Sleep(time.Minute + time.Second)
		if file := saved(t, path); !strings.Contains(file, `"name":"user7"`) {
			t.Error(file)
		}
		if err := os.Remove(filepath.Join(path, fileName)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if file := saved(t, path); file != "" {
			t.Errorf("saved though nothing was counted: %s", file)
		}
		table.Take(Identity{Login: "\xff"}, true, time.Now())
		table.Take(Identity{Login: "<ö> \"\n"}, true, time.Now())
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		file := saved(t, path)
		if strings.Count(file, "\n") != 12 || !strings.Contains(file, `"name":"<ö> \"\n"`) {
			t.Error(file)
		}
	})
}

// TestCannotSave: a disk that is full is reported once, and mail goes on.
func TestCannotSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state")
		log := &logged{}
		table, err := New(Config{Log: log.logger()}, openDir(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			table.Take(alice(), true, time.Now())
			time.Sleep(time.Minute + time.Second)
		}
		if n := strings.Count(log.String(), "cannot be saved"); n != 1 {
			t.Errorf("reported %d times: %s", n, log)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + time.Second) // nothing new is counted, but the file is missing
		if file := saved(t, path); !strings.Contains(file, "alice") || !strings.Contains(log.String(), "again") {
			t.Errorf("%s: %s", file, log)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		table.Take(alice(), true, time.Now())
		if err := table.Close(); err == nil {
			t.Error("Close says that it was saved")
		}
	})
}

const (
	goodHeader = `{"format":"rcptgate senders 1"}` + "\n"
	goodLine   = `{"kind":"login","name":"alice","active":946684800,` +
		`"recipients":{"day":[131484,5]}}` + "\n"
)

// TestDamaged: a damaged file is reported, what can be read of it is used, and it is replaced.
func TestDamaged(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		keys       int
		logged     string
	}{
		{"empty", "", 0, "line 1 does not say"},
		{"another file", "hello\n" + goodLine, 0, "line 1 does not say"},
		{"later version", strings.Replace(goodHeader, "1", "2", 1) + goodLine, 0, "line 1 does not say"},
		{"zeros", strings.Repeat("\x00", 4096), 0, "line 1 does not say"},
		{"cut", goodHeader + goodLine + goodLine[:30], 1, "first_bad_line=3"},
		{"a bad line", goodHeader + "}{\n" + goodLine + "\n", 1, "bad_lines=2 first_bad_line=2"},
		{"a long line", goodHeader + goodLine + strings.Repeat("a", 1<<20), 1, "behind line 2: bufio.Scanner: token too long"},
		{"kind", goodHeader + strings.Replace(goodLine, "login", "user", 1), 0, `kind \"user\" is not known`},
		{"no name", goodHeader + strings.Replace(goodLine, "alice", "", 1), 0, "not one of a login"},
		{"long name", goodHeader + strings.Replace(goodLine, "alice", strings.Repeat("a", 321), 1), 0, "not one of a login"},
		{"count", goodHeader + strings.Replace(goodLine, "484,5", "484,-5", 1), 0, "recipients by day: the counts are impossible"},
		{"counts", goodHeader + strings.Replace(goodLine, "484,5", "484,1000000000,1", 1), 0, "impossible"},
		{"step", goodHeader + strings.Replace(goodLine, "131484", "-1", 1), 0, "it is no window"},
		{
			"state", goodHeader + strings.Replace(goodLine, `}}`, `},"hygiene":{"state":"held"}}`, 1), 0,
			`state \"held\" is not known`,
		},
		{
			"reply", goodHeader + strings.Replace(goodLine, `}}`, `},"hygiene":{"state":"hold","why":"\r\n"}}`, 1), 0,
			"not a line of ASCII",
		},
		{
			"verdicts", goodHeader + strings.Replace(goodLine, `}}`,
				`},"hygiene":{"state":"hold","day":{"all":[131484,1],"invalid":[131484,2]}}}`, 1), 0, "verdicts by day: 2 of 1",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			path := t.TempDir()
			dir := openDir(t, path)
			if err := os.WriteFile(filepath.Join(path, fileName), []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			log := &logged{}
			table := runTable(t, Config{Log: log.logger()}, dir)
			if n := table.Len(); n != tt.keys || !strings.Contains(log.String(), tt.logged) {
				t.Errorf("%s: %d keys; %s", tt.name, n, log)
			}
			if tt.keys == 1 && table.Counters(alice(), time.Now()).RecipientsDay != 5 {
				t.Errorf("%s: %+v", tt.name, table.List(time.Now(), 0))
			}
			if hold := table.Peek(alice(), time.Now()); hold.Kind != Free {
				t.Errorf("%s: %+v", tt.name, hold)
			}
			time.Sleep(time.Minute + time.Second)
			list, faults, err := readFile(strings.NewReader(saved(t, path)), table.plan.Load(), clockAt(time.Now()))
			if len(list) != tt.keys || faults.count != 0 || err != nil {
				t.Errorf("%s: the new file: %d keys, %+v, %v", tt.name, len(list), faults, err)
			}
		})
	}
}

// FuzzReadFile: no file is a fault of ours, and what was read is written in a way that is read as the
// same.
func FuzzReadFile(f *testing.F) {
	f.Add([]byte(goodHeader + goodLine))
	f.Add([]byte(goodHeader + strings.Replace(goodLine, "}}", `},"cells":{"even: recipients 24/day burst 4":`+
		`946700000000000000},"hygiene":{"state":"throttle","since":946684800,"until":946688400,"trial":true,`+
		`"tried":5,"failed":1,"why":"x","hour":{"all":[3155616,9,0,1],"invalid":[3155616,1]}}}`, 1)))
	now := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
	p, err := compile(everything())
	if err != nil {
		f.Fatal(err)
	}
	read := func(t *testing.T, file []byte) (lines []string, accounts []*account, whole bool) {
		t.Helper()
		list, faults, err := readFile(bytes.NewReader(file), p, clockAt(now))
		for _, a := range list {
			line, err := json.Marshal(a.record(clockAt(now)))
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		return lines, list, err == nil && faults.count == 0
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		lines, accounts, _ := read(t, file)
		again, _, whole := read(t, []byte(goodHeader+strings.Join(lines, "\n")))
		if !slices.Equal(again, lines) || !whole {
			t.Fatalf("%q\nis read as\n%q", lines, again)
		}
		for _, a := range accounts {
			for m := range a.counts {
				for u := range a.counts[m] {
					checkWindow(t, &a.counts[m][u])
				}
			}
			if b := a.breaker; b != nil {
				for _, w := range []*window{&b.hour.all, &b.hour.bad, &b.day.all, &b.day.bad} {
					checkWindow(t, w)
				}
				if b.judge(&p.hygiene).level > hold || !isPrintable(b.why) {
					t.Fatalf("%+v", b)
				}
			}
		}
	})
}

func checkWindow(t *testing.T, w *window) {
	t.Helper()
	sum := uint32(0)
	for _, n := range w.n {
		sum += n
	}
	if sum != w.sum || sum > mostNumber {
		t.Fatalf("%+v", w)
	}
}

// TestReadTwice: a key that is there twice is one key.
func TestReadTwice(t *testing.T) {
	dir := openDir(t, t.TempDir())
	err := dir.Write(fileName, func(w io.Writer) error {
		_, err := io.WriteString(w, goodHeader+goodLine+goodLine)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	table, err := open(enforce(), dir, time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if n := table.Len(); n != 1 {
		t.Errorf("%d keys", n)
	}
	checkChains(t, table)
}
