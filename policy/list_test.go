package policy_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy"
)

// TestListReload: a changed file is taken over behind, without a restart; a broken or a vanished one
// is told once and changes nothing.
func TestListReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vips")
	write := func(text string, when time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		write("bob@example.net\n", time.Now().Add(-time.Hour))
		e, err := policy.New(policy.Config{
			Lists: map[string]string{"vips": path},
			Rules: []policy.Rule{{Name: "it", When: "recipient.address in lists.vips", Action: "accept"}},
		}, &known{result: existing()}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		listed := func(rcpt string) bool {
			return e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, rcpt)).Rule == "it"
		}
		later := func(want string, rcpt string) {
			t.Helper()
			time.Sleep(6 * time.Second)
			listed(rcpt) // has the file looked at
			synctest.Wait()
			if got := listed(rcpt); got != (want == "listed") {
				t.Errorf("%s is listed: %v; log %s", rcpt, got, log.String())
			}
		}
		if !listed("bob@example.net") || listed("eve@example.net") {
			t.Error("the list as it was at first")
		}
		write("eve@example.net\n", time.Now().Add(-time.Minute))
		if listed("eve@example.net") {
			t.Error("taken over at once: on the way of mail")
		}
		later("listed", "eve@example.net")
		write("eve@example.net\n*.example.org\n", time.Now().Add(-time.Minute))
		later("listed", "eve@example.net")
		later("listed", "eve@example.net")
		status := e.Lists()
		if len(status) != 1 || status[0].Err == nil || status[0].Entries != 1 || status[0].Name != "vips" {
			t.Errorf("status %+v", status)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), path+":2:") {
			t.Errorf("log: %s", log.String())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		later("listed", "eve@example.net")
		write("bob@example.net\n", time.Now().Add(5*time.Second+500*time.Millisecond))
		later("not listed: whoever writes it may not be done", "bob@example.net")
		later("listed", "bob@example.net")
		if got := e.Lists()[0]; got.Err != nil {
			t.Errorf("status %+v", got)
		}
	})
}

func TestListFaults(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("a@example.com\n192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{
		"Vips": {"/x", `"Vips" cannot stand in a condition`}, "no": {"etc/x", "no path from the root"},
		"gone": {filepath.Join(dir, "gone"), "no such file"}, "dir": {dir, "not a file"},
		"bad": {bad, bad + `:2: "192.0.2.0/24": lists have no networks`},
	} {
		_, err := policy.New(policy.Config{
			Lists: map[string]string{name: want[0]},
			Rules: []policy.Rule{{When: "recipient.address in lists." + name, Action: "accept"}},
		}, nil, nil)
		faults, ok := errors.AsType[policy.RuleErrors](err)
		if !ok || len(faults) != 1 || faults[0].Field != "lists."+name || faults[0].Index != -1 ||
			!strings.Contains(faults[0].Detail, want[1]) || faults[0].Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
