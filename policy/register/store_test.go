package register_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

const (
	snapshotFile  = "suppressions.tsv"
	changesFile   = "suppressions.changes.tsv"
	oldFile       = "suppressions.old-changes.tsv"
	overridesFile = "overrides.tsv"
	version       = "rcptgate suppressions 1\n"
)

// entry is a line of a file.
func entry(address string) string {
	return "+\t" + address + "\tglobal\tmanual\t\t0\t2026-01-02T03:04:05Z\tnever\tadmin\t\n"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestFileFormat pins what the files look like, and that what they say comes back.
func TestFileFormat(t *testing.T) {
	path := t.TempDir()
	r, end := on(t, path, register.Config{})
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	suppress(t, r,
		register.Suppression{
			Address: "bob@example.com", Reason: register.HardBounce, Code: 550,
			Enhanced: esmtp.EnhancedCode{5, 1, 1}, Evidence: "550 5.1.1 \tno", Source: "admin",
			Created: created, Expires: created.AddDate(900, 0, 0), Bounces: 2,
		},
		register.Suppression{
			Address: "*@example.org", Created: created,
			Scope: register.Scope{Kind: register.Login, Name: "alice"},
		})
	if there, err := r.Unsuppress("bob@example.com", register.Scope{}); !there || err != nil {
		t.Error(there, err)
	}
	const want = version + `# + address	scope	reason	reply	bounces	created	expires	source	evidence
# - address	scope
+	bob@example.com	global	hard_bounce	550 5.1.1	2	2026-01-02T03:04:05Z	2926-01-02T03:04:05Z	admin	550 5.1.1 \x09no
+	*@example.org	login:alice	manual		0	2026-01-02T03:04:05Z	never		
-	bob@example.com	global
`
	if got := read(t, filepath.Join(path, changesFile)); got != want {
		t.Errorf("the file:\n%s\nwant:\n%s", got, want)
	}
	before := export(t, r)
	end()
	r, _ = on(t, path, register.Config{})
	if got := export(t, r); got != before {
		t.Errorf("%s\nwant:\n%s", got, before)
	}
	info, err := os.Stat(filepath.Join(path, changesFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestEveryPrefix: wherever a crash cuts the changes, the list is as it was after some change, and
// goes on from there.
func TestEveryPrefix(t *testing.T) {
	path := t.TempDir()
	r, end := on(t, path, register.Config{})
	head := 0
	var states []string
	note := func() { states = append(states, export(t, r)) }
	note()
	for i := range 4 {
		suppress(t, r, manual(fmt.Sprintf("user%d@example.com", i%3)))
		if i == 0 {
			head = strings.Index(read(t, filepath.Join(path, changesFile)), "\n+") + 1
		}
		note()
	}
	if _, err := r.Unsuppress("user1@example.com", register.Scope{}); err != nil {
		t.Fatal(err)
	}
	note()
	end()
	whole := read(t, filepath.Join(path, changesFile))
	for n := range len(whole) + 1 {
		near := n == len(whole) || strings.Contains(whole[max(n-2, 0):min(n+2, len(whole))], "\n")
		if !near && n%7 != 0 {
			continue
		}
		cut := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(cut, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(cut, changesFile), whole[:n])
		var log logged
		r, end := on(t, cut, register.Config{Log: log.logger()})
		state := 0
		if n > head {
			state = strings.Count(whole[head:n], "\n")
		}
		if got := export(t, r); got != states[state] {
			t.Fatalf("cut at %d: %q, want %q", n, got, states[state])
		}
		torn := n > 0 && whole[n-1] != '\n'
		if strings.Contains(log.String(), "not finished") != torn {
			t.Errorf("cut at %d: %s", n, &log)
		}
		suppress(t, r, manual("next@example.com"))
		want := export(t, r)
		end()
		r, end = on(t, cut, register.Config{Log: log.logger()})
		if got := export(t, r); got != want || strings.Contains(log.String(), "damaged") {
			t.Fatalf("cut at %d, then changed: %q, want %q; %s", n, got, want, &log)
		}
		end()
	}
}

// TestDamagedLines: they are told and left out, the rest is used, and the file is kept.
func TestDamagedLines(t *testing.T) {
	path := t.TempDir()
	damaged := version + entry("a@example.com") +
		"+\tb@example.com\n" + // line 3
		"\x00\x00\x00\x00\n" +
		entry("no address") +
		strings.Replace(entry("c@example.com"), "manual", "spite", 1) +
		strings.Replace(entry("c@example.com"), "2026", "20x6", 1) +
		"+" + strings.Repeat("x", 200_000) + "\n" + // line 8
		"-\ta@example.com\teverybody\n" +
		entry("D@Example.com") // by hand, and fine
	write(t, filepath.Join(path, snapshotFile), damaged)
	write(t, filepath.Join(path, changesFile), "garbage\n"+entry("e@example.com"))
	write(t, filepath.Join(path, overridesFile), "rcptgate overrides 1\nnonsense\n"+
		"+\tprovider\tgoogle\t2026-01-02T03:04:05Z\t2999-01-02T03:04:05Z\twhy\n")
	var log logged
	r, end := on(t, path, register.Config{Log: log.logger()})
	wantAddresses(t, r, "a@example.com", "d@example.com", "e@example.com")
	if o := r.Overrides(); len(o) != 1 || o[0].Name != "google" || o[0].Note != "why" {
		t.Errorf("%+v", o)
	}
	for _, line := range []int{3, 4, 5, 6, 7, 8, 9} {
		if !strings.Contains(log.String(), fmt.Sprintf("%s line=%d ", snapshotFile, line)) {
			t.Errorf("line %d is not told", line)
		}
	}
	if !strings.Contains(log.String(), changesFile+" line=1 ") ||
		!strings.Contains(log.String(), overridesFile+" line=2 ") ||
		strings.Contains(log.String(), "line=10 ") {
		t.Errorf("%s", &log)
	}
	if got := read(t, filepath.Join(path, snapshotFile+".damaged")); got != damaged {
		t.Errorf("%d octets are kept of %d", len(got), len(damaged))
	}
	// Then the list is written anew, and there is nothing to tell any more.
	await(t, "the list is written anew", func() bool {
		return !strings.Contains(read(t, filepath.Join(path, snapshotFile)), "b@example.com") &&
			!exists(filepath.Join(path, oldFile))
	})
	end()
	log = logged{}
	if err := os.Remove(filepath.Join(path, overridesFile)); err != nil {
		t.Fatal(err)
	}
	r, _ = on(t, path, register.Config{Log: log.logger()})
	wantAddresses(t, r, "a@example.com", "d@example.com", "e@example.com")
	if log.String() != "" {
		t.Errorf("%s", &log)
	}
}

// TestManyDamagedLines: a file that is none is told in a few lines.
func TestManyDamagedLines(t *testing.T) {
	path := t.TempDir()
	write(t, filepath.Join(path, snapshotFile),
		strings.Repeat("noise\n", 10_000)+entry("a@example.com"))
	var log logged
	r, _ := on(t, path, register.Config{Log: log.logger()})
	wantAddresses(t, r, "a@example.com")
	if n := strings.Count(log.String(), "\n"); n > 30 || !strings.Contains(log.String(), "lines=9980") {
		t.Errorf("%d lines: %s", n, &log)
	}
}

func TestLaterVersion(t *testing.T) {
	for name, text := range map[string]string{
		snapshotFile:  "rcptgate suppressions 2\n",
		changesFile:   "rcptgate overrides 1\n",
		overridesFile: "rcptgate overrides 12\n",
	} {
		path := t.TempDir()
		write(t, filepath.Join(path, name), text)
		dir, err := durable.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = register.Open(dir, register.Config{})
		if err == nil || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
		if got := read(t, filepath.Join(path, name)); got != text {
			t.Errorf("%s is %q now", name, got)
		}
		_ = dir.Close()
	}
}

// TestCompaction: many changes become a list, while changes go on.
func TestCompaction(t *testing.T) {
	path := t.TempDir()
	r, end := on(t, path, learning)
	var rows strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&rows, "user%d@example.com\n", i%15_000)
	}
	report, err := r.ImportCSV(strings.NewReader(rows.String()), register.ImportOptions{})
	if err != nil || report.Added != 15_000 || report.Replaced != 15_000 {
		t.Fatalf("%+v, %v", report, err)
	}
	snapshot := filepath.Join(path, snapshotFile)
	for i := 0; !exists(snapshot) || exists(filepath.Join(path, oldFile)); i++ {
		suppress(t, r, manual(fmt.Sprintf("hand%d@example.com", i)))
		if i%2 == 0 {
			if _, err := r.Unsuppress(fmt.Sprintf("user%d@example.com", i), register.Scope{}); err != nil {
				t.Fatal(err)
			}
		}
		r.Bounced(addr(t, fmt.Sprintf("gone%d@example.com", i)), noSuchUser, time.Now())
		<-time.After(time.Millisecond)
	}
	want := export(t, r)
	end()
	if n := strings.Count(read(t, snapshot), "\n+"); n < 15_000 {
		t.Errorf("the list was written with %d entries", n)
	}
	if n := len(read(t, filepath.Join(path, changesFile))); n > 1<<20 {
		t.Errorf("the changes still have %d octets", n)
	}
	r, _ = on(t, path, learning)
	if got := export(t, r); got != want {
		t.Errorf("after a restart %d octets, want %d", len(got), len(want))
	}
}

// TestCrashWhileCompacting: whatever is there of the three files, it is the list.
func TestCrashWhileCompacting(t *testing.T) {
	remove := func(address string) string { return "-\t" + address + "\tglobal\n" }
	first := version + entry("a@example.com") + entry("b@example.com")
	old := version + remove("a@example.com") + entry("c@example.com") + entry("d@example.com")
	changes := version + remove("c@example.com") + entry("a@example.com")
	second := version + entry("b@example.com") + entry("d@example.com") + entry("c@example.com")
	// As it may be if a change was made while the list was written.
	later := version + entry("b@example.com") + entry("d@example.com") + entry("a@example.com")
	for name, files := range map[string]map[string]string{
		"before the list is there":     {snapshotFile: first, oldFile: old, changesFile: changes},
		"before the old ones are gone": {snapshotFile: second, oldFile: old, changesFile: changes},
		"changes were in it":           {snapshotFile: later, oldFile: old, changesFile: changes},
		"done":                         {snapshotFile: second, changesFile: changes},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for name, text := range files {
				write(t, filepath.Join(path, name), text)
			}
			r, end := on(t, path, register.Config{})
			want := []string{"a@example.com", "b@example.com", "d@example.com"}
			wantAddresses(t, r, want...)
			await(t, "the old changes are gone", func() bool {
				return !exists(filepath.Join(path, oldFile))
			})
			wantAddresses(t, r, want...)
			end()
			r, _ = on(t, path, register.Config{})
			wantAddresses(t, r, want...)
		})
	}
}

// TestExpiredIsNotLoaded: nor does an expired entry leave the one that it replaced.
func TestExpiredIsNotLoaded(t *testing.T) {
	path := t.TempDir()
	write(t, filepath.Join(path, changesFile), version+entry("a@example.com")+entry("b@example.com")+
		strings.Replace(entry("a@example.com"), "never", "2026-02-01T00:00:00Z", 1))
	r, _ := on(t, path, register.Config{})
	wantAddresses(t, r, "b@example.com")
	wantCounts(t, r, map[register.Reason]int{register.Manual: 1})
}

// TestCloseWhileBusy: changes and look-ups from everywhere, and then the end.
func TestCloseWhileBusy(t *testing.T) {
	path := t.TempDir()
	r, end := on(t, path, learning)
	var wg sync.WaitGroup
	sender := addr(t, "news@sender.test")
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				name := fmt.Sprintf("user%d@example.com", (i*7+g)%50)
				rcpt := addr(t, name)
				switch i % 6 {
				case 0:
					if err := r.Suppress(manual(name)); err != nil {
						t.Error(err)
					}
				case 1:
					if _, err := r.Unsuppress(name, register.Scope{}); err != nil {
						t.Error(err)
					}
				case 2:
					r.Bounced(rcpt, noSuchUser, time.Now())
				case 3:
					r.Complained(rcpt, sender)
				case 4:
					r.Delivered(rcpt, time.Now().Add(time.Second))
				default:
					if err := r.Allow(register.Override{Kind: register.AllowAddress, Name: name}); err != nil {
						t.Error(err)
					}
				}
				r.Suppressed(rcpt, sender, "alice", time.Now())
				r.Allowed(rcpt, time.Now())
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			export(t, r)
			r.Counts()
			r.Status()
		}
	})
	wg.Wait()
	want, overrides := export(t, r), len(r.Overrides())
	total := 0
	for _, n := range r.Counts() {
		total += n
	}
	if n := strings.Count(want, "\n"); n != total || overrides != 50 {
		t.Errorf("%d entries counted as %d, %d overrides", n, total, overrides)
	}
	end()
	r, _ = on(t, path, learning)
	if got := export(t, r); got != want {
		t.Errorf("after a restart:\n%s\nwant:\n%s", got, want)
	}
	if len(r.Overrides()) != overrides {
		t.Error("overrides are gone")
	}
}
