package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// The list of these tests.
const (
	bulkSites  = 12
	bulkPeople = 60 // of each site
)

// bulkWorld is a world of its own, and the configuration that leads there.
func bulkWorld(t *testing.T, latency time.Duration) (w *mxsim.World, dir string) {
	t.Helper()
	w = mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(w.Close)
	boxes := make(map[string]mxsim.Mailbox)
	for i := range bulkPeople {
		if i%8 != 0 {
			boxes[fmt.Sprintf("p%d", i)] = mxsim.Active
		}
	}
	for i := range bulkSites {
		domain := fmt.Sprintf("d%d.example.com", i)
		w.Add(&mxsim.Site{
			Domains: []string{domain}, Mailboxes: boxes,
			Hosts: []*mxsim.Host{{Name: "mx." + domain, Latency: latency}},
		})
	}
	at, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	var list strings.Builder
	list.WriteString("id;email\r\n")
	for n := range bulkSites * bulkPeople {
		fmt.Fprintf(&list, "%d;p%d@d%d.example.com\r\n", n, n%bulkPeople, n/bulkPeople)
	}
	for name, text := range map[string]string{
		"list.csv": list.String(),
		// No test here is about slow mail servers: on a busy machine each of them may be one.
		"gate.toml": strings.Replace(worldConfig("127.0.0.1:0", "127.0.0.1:9", at),
			`rcpt_budget = "2s"`, `rcpt_budget = "20s"`, 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w, dir
}

// bulkCommand is `rcptgate check` of the list in dir, as a process of its own.
func bulkCommand(tb testing.TB, dir string, more ...string) (*exec.Cmd, *bytes.Buffer) {
	tb.Helper()
	bin, err := exec.LookPath("rcptgate")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), bin, append([]string{
		"check", "--config", "gate.toml", "--patience", "0", "-o", "out.csv", "list.csv",
	}, more...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	return cmd, &said
}

// askedFor is how often each address of the list was asked for.
func askedFor(w *mxsim.World) map[string]int {
	n := make(map[string]int)
	for _, s := range w.Sites() {
		for _, h := range s.Hosts {
			for _, c := range h.Record().Conns {
				for _, cmd := range c.Commands {
					if path, ok := strings.CutPrefix(cmd.Line, "RCPT TO:<p"); ok {
						n["p"+path[:strings.IndexByte(path, '>')]]++
					}
				}
			}
		}
	}
	return n
}

func totalOf(n map[string]int) (sum int) {
	for _, x := range n {
		sum += x
	}
	return sum
}

// bulkRows are the rows of a result without what depends on the time and on the order of the questions
// (how sure a verdict is, is learnt from the answers before).
func bulkRows(t *testing.T, dir string) (rows []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "out.csv"))
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma = ';'
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all {
		rows = append(rows, strings.Join([]string{row[0], row[1], row[2], row[3], row[6], row[7], row[8]}, " "))
	}
	return rows
}

// killed starts the check and kills it when the servers were asked for more, until it gets to its end.
func killed(t *testing.T, w *mxsim.World, dir string, more ...string) (kills int) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		cmd, said := bulkCommand(t, dir, more...)
		before := totalOf(askedFor(w))
		until := before + 80 + rand.IntN(80)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		go func() { end <- cmd.Wait() }()
		for running := true; running; {
			select {
			case err := <-end:
				if err != nil {
					t.Fatalf("%v: %s", err, said)
				}
				return kills
			case <-tick.C:
				running = totalOf(askedFor(w)) < until
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "out.csv")); err == nil {
			if err := <-end; err != nil { // it was faster
				t.Fatalf("%v: %s", err, said)
			}
			return kills
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-end //nolint:errcheck // it was killed
		kills++
	}
}

// TestCheckKilled: a check that is killed again and again (SIGKILL) asks nobody twice, and its result is
// that of a check that was left alone, but for those that were being asked about at that moment.
// With --ask-lost it is that result to the last row, and only those were asked about twice.
func TestCheckKilled(t *testing.T) {
	_, alone := bulkWorld(t, 20*time.Millisecond)
	cmd, said := bulkCommand(t, alone)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	want := bulkRows(t, alone)
	if n := strings.Count(strings.Join(want, "\n"), " deliverable mailbox_exists "); n != bulkSites*(bulkPeople-8) {
		t.Fatalf("%d are good in a check that was left alone", n)
	}

	w, dir := bulkWorld(t, 20*time.Millisecond)
	kills := killed(t, w, dir)
	for address, n := range askedFor(w) {
		if n > 1 {
			t.Errorf("%s was asked for %d times", address, n)
		}
	}
	got, lost := bulkRows(t, dir), 0
	if len(got) != len(want) {
		t.Fatalf("%d rows, not %d", len(got), len(want))
	}
	for i := range want {
		switch {
		case strings.Contains(got[i], " unknown interrupted "):
			lost++
		case got[i] != want[i]:
			t.Errorf("%q, not %q", got[i], want[i])
		}
	}
	t.Logf("killed %d times, %d of %d answers are lost", kills, lost, len(want)-1)
	if kills < 3 || lost > kills*64 {
		t.Errorf("killed %d times, %d lost", kills, lost)
	}
	if _, err := os.Stat(filepath.Join(dir, "out.csv"+journalSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is left: %v", err)
	}

	w, dir = bulkWorld(t, 20*time.Millisecond)
	kills = killed(t, w, dir, "--ask-lost")
	if got := bulkRows(t, dir); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("with --ask-lost: %q", got)
	}
	twice := 0
	for _, n := range askedFor(w) {
		twice += n - 1
	}
	t.Logf("killed %d times, %d asked about twice", kills, twice)
	if twice > kills*64 {
		t.Errorf("%d were asked about twice", twice)
	}
}

// TestCheckInterrupted: Ctrl-C lets the questions end, says how to go on, and loses nothing.
func TestCheckInterrupted(t *testing.T) {
	w, dir := bulkWorld(t, 100*time.Millisecond)
	cmd, said := bulkCommand(t, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for totalOf(askedFor(w)) < 100 {
		<-tick.C
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	for _, line := range []string{
		"rcptgate: stopping: questions that are under way have 20s to end; once more to end at once\n",
		"rcptgate: error: stopped: ", " of 720 addresses have their answer\n",
		"rcptgate: hint: run the same command again to resume: nobody is asked twice\n",
	} {
		if !strings.Contains(said.String(), line) {
			t.Errorf("it does not say %q: %s", line, said)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a result: %v", err)
	}
	cmd, said = bulkCommand(t, dir)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if !strings.Contains(said.String(), "rcptgate: resuming: ") || strings.Contains(said.String(), "cut off") {
		t.Errorf("it says %s", said)
	}
	for address, n := range askedFor(w) {
		if n != 1 {
			t.Errorf("%s was asked for %d times", address, n)
		}
	}
	for _, row := range bulkRows(t, dir) {
		if strings.Contains(row, " unknown ") {
			t.Errorf("%q", row)
		}
	}
}

// TestCheckInterruptedTwice: the second Ctrl-C waits for nothing.
func TestCheckInterruptedTwice(t *testing.T) {
	w, dir := bulkWorld(t, time.Hour) // nobody answers
	cmd, _ := bulkCommand(t, dir)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(w.Host("mx.d0.example.com").Record().Conns) == 0 {
		<-tick.C
	}
	said := bufio.NewScanner(stderr)
	for range 2 {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		for said.Scan() && !strings.Contains(said.Text(), "once more to end at once") {
		}
	}
	err = cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != os.Interrupt { //nolint:forcetypeassert // so on Unix
		t.Errorf("it ended with %v", err)
	}
}

// TestBulkMeter: what progress looks like, on a terminal and elsewhere.
func TestBulkMeter(t *testing.T) {
	var out bytes.Buffer
	start := time.Unix(0, 0)
	m := &bulkMeter{w: &out, last: start}
	p := bulk.Progress{All: 100_000, Done: 1200, Verdicts: map[verify.Verdict]int{
		verify.Deliverable: 900, verify.Undeliverable: 240, verify.Unknown: 60,
	}}
	m.show(p, start.Add(time.Minute))
	if got, want := out.String(), "rcptgate: 1,200 of 100,000, 1 %, 20.0/s, 1h22m0s left, "+
		"deliverable 75 %, undeliverable 20 %, risky 0 %, unknown 5 %\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out.Reset()
	m.bar = true
	p.Done, p.Waiting = 99_990, 10
	m.show(p, start.Add(2*time.Minute))
	if got := out.String(); !strings.HasPrefix(got, "\r\x1b[K[###################-] 99,990 of 100,000, 99 %, ") ||
		!strings.Contains(got, "waiting for 10") || len([]rune(got)) > 79+4 {
		t.Errorf("drew %q", got)
	}
	out.Reset()
	m.clear()
	m.clear()
	if out.String() != "\r\x1b[K" {
		t.Errorf("cleared with %q", out.String())
	}
}
