package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// BenchmarkCheck is a check of 100,000 simulated addresses of 500 sites, as a process of its own that
// is killed half way: addresses a second, the most memory that either process had, and how long the
// second one took to go on.
func BenchmarkCheck(b *testing.B) {
	const sites, each = 500, 200 // which a site allows at once
	for b.Loop() {
		world := mxsim.New(mxsim.Config{Loopback: true})
		boxes := make(map[string]mxsim.Mailbox)
		for i := range each {
			if i%10 != 0 {
				boxes[fmt.Sprintf("p%d", i)] = mxsim.Active
			}
		}
		var list strings.Builder
		for i := range sites {
			domain := fmt.Sprintf("d%d.example.com", i)
			world.Add(&mxsim.Site{
				Domains: []string{domain}, Mailboxes: boxes,
				Hosts: []*mxsim.Host{{Name: "mx." + domain, DiscardCommands: true}},
			})
			for p := range each {
				fmt.Fprintf(&list, "p%d@%s\n", p, domain)
			}
		}
		at, err := world.Listen(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		dir := b.TempDir()
		for name, text := range map[string]string{
			"list.csv": list.String(), "gate.toml": worldConfig("127.0.0.1:0", "127.0.0.1:9", at),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		start := time.Now()
		first := halfWay(b, dir)
		resumed, second := toTheEnd(b, dir)
		b.ReportMetric(sites*each/time.Since(start).Seconds(), "addresses/s")
		b.ReportMetric(float64(max(first, second))/1024, "MB-peak")
		b.ReportMetric(float64(resumed.Milliseconds()), "ms-to-resume")
		world.Close()
	}
}

// halfWay kills a check when half of its journal is written, and returns the most memory that it had,
// in KiB.
func halfWay(b *testing.B, dir string) (peak int64) {
	b.Helper()
	cmd, said := bulkCommand(b, dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Minute); ; {
		<-tick.C
		info, err := os.Stat(filepath.Join(dir, "out.csv"+journalSuffix))
		peak = max(peak, peakOf(cmd.Process.Pid))
		if err == nil && info.Size() > 6<<20 {
			break
		}
		if time.Now().After(deadline) {
			b.Errorf("it takes too long: %s", said)
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	return peak
}

// peakOf is the most memory that a process has had, in KiB; 0 where that is not to be had. Rusage would
// count the memory of the process that started it, too.
func peakOf(pid int) (kib int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

// toTheEnd resumes it.
func toTheEnd(b *testing.B, dir string) (resumed time.Duration, peak int64) {
	b.Helper()
	cmd, _ := bulkCommand(b, dir)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	line, err := said.ReadString('\n')
	resumed = time.Since(start)
	if err != nil || !strings.HasPrefix(line, "rcptgate: resuming: ") {
		b.Errorf("it says %q, %v", line, err)
	}
	ended := make(chan []byte, 1)
	go func() {
		rest, _ := io.ReadAll(said)
		ended <- rest
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var rest []byte
	for rest == nil {
		select {
		case rest = <-ended:
		case <-tick.C:
			peak = max(peak, peakOf(cmd.Process.Pid))
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Errorf("%v: %s", err, rest)
	}
	b.Logf("%s%s", line, rest)
	return resumed, peak
}
