package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for a condition. Tests do not depend on it: it is there to end them.
const patience = 60 * time.Second

// base is the directory of this run. Postfix's own user must be able to reach it, so it is not a
// t.TempDir, which only its owner can.
var base string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		base, err = os.MkdirTemp("", "rcptgate-e2e-")
		if err == nil {
			err = os.Chmod(base, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(base)
		return m.Run()
	}())
}

// binary builds rcptgate once, with the race detector if the tests have it.
var binary = sync.OnceValues(func() (string, error) {
	// The test's result depends on all sources; go test notices the files that a test looks at,
	// and does not answer from its cache when one of them has changed.
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	bin := filepath.Join(base, "rcptgate")
	args := []string{"build", "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../cmd/rcptgate")...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// host returns the n-th (1 to 254) loopback address of this process. Other processes have others,
// and the kernel gives none of them to outgoing connections: a port that was free stays free.
func host(n int) netip.Addr {
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, byte(128 + pid/254%127), byte(1 + pid%254), byte(n)})
}

// freePort returns an unused "host:port" of that address.
func freePort(t *testing.T, addr netip.Addr) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// portOf returns the port of "host:port".
func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// until waits for a condition that other processes bring about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// readFile returns the whole of a log, "" if there is none yet.
func readFile(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(content)
}

// tail returns the last lines of a log, for the report of a failure.
func tail(path string, n int) string {
	lines := strings.SplitAfter(readFile(path), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// matching returns the lines of a log that contain all of the given texts.
func matching(path string, texts ...string) []string {
	var lines []string
	for line := range strings.Lines(readFile(path)) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
