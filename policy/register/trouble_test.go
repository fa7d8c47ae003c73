package register_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy/register"
)

// TestTroubleEnds: the alarm goes when the disk is well again, without a change.
func TestTroubleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		r, end := on(t, path, learning)
		blocked := filepath.Join(path, changesFile)
		if err := os.Mkdir(blocked, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.Suppress(manual("bob@example.com")); err == nil {
			t.Error("it was saved")
		}
		<-time.After(5 * time.Minute)
		synctest.Wait()
		if ok, _ := r.Status(); ok {
			t.Error("all is well")
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if ok, detail := r.Status(); !ok {
			t.Error(detail)
		}
		suppress(t, r, manual("bob@example.com"))
		end()
		r, end = on(t, path, learning)
		wantAddresses(t, r, "bob@example.com")
		end()
	})
}

// TestStorm: more bounces at once than may wait for the disk are learned all the same.
func TestStorm(t *testing.T) {
	path := t.TempDir()
	r, end := on(t, path, learning)
	for i := range 25_000 {
		r.Bounced(addr(t, fmt.Sprintf("gone%d@example.com", i)), noSuchUser, time.Now())
	}
	wantCounts(t, r, map[register.Reason]int{register.HardBounce: 25_000})
	end()
	r.Bounced(addr(t, "late@example.com"), noSuchUser, time.Now())
	r, _ = on(t, path, learning)
	wantCounts(t, r, map[register.Reason]int{register.HardBounce: 25_000})
}

// TestNoRoom: what the disk does not take is not made, and says so; then it goes on. The changes
// are a directory here, which takes nothing.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		blocked := filepath.Join(path, changesFile)
		var log logged
		cfg := learning
		cfg.Log = log.logger()
		r, end := on(t, path, cfg)
		if err := os.Mkdir(blocked, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			err := r.Suppress(manual("bob@example.com"))
			if err == nil || !strings.Contains(err.Error(), "is not made") ||
				!strings.Contains(err.Error(), path) {
				t.Error(err)
			}
		}
		if ok, detail := r.Status(); ok || !strings.Contains(detail, "is not made") {
			t.Error(ok, detail)
		}
		wantAddresses(t, r)
		wantCounts(t, r, nil)
		// What was learned holds meanwhile, up to a limit.
		for i := range 10_100 {
			r.Bounced(addr(t, fmt.Sprintf("gone%d@example.com", i)), noSuchUser, time.Now())
		}
		if n := len(addresses(t, r)); n != 10_000 {
			t.Errorf("%d were learned", n)
		}
		<-time.After(2 * time.Minute)
		if !strings.Contains(log.String(), "not saved yet") ||
			!strings.Contains(log.String(), "lost=100") {
			t.Errorf("%s", &log)
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Minute)
		if ok, detail := r.Status(); !ok {
			t.Error(detail)
		}
		suppress(t, r, manual("bob@example.com"))
		want := export(t, r)
		end()
		r, end = on(t, path, cfg)
		if got := export(t, r); got != want || strings.Count(got, "\n") != 10_001 {
			t.Errorf("%d octets after a restart, want %d", len(got), len(want))
		}
		end()
	})
}
