package cache_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// TestFullDisk: without room the Store goes on by what waits, says so, and writes it when there is room
// again. The disk is a small tmpfs, where one can be mounted.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv(childVar)
	if dir == "" {
		cmd := child(t, t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, syscall.EPERM):
			t.Skip("only root may mount a small disk; TestFileLimit is much the same")
		case err != nil:
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip(err)
	}
	fullDisk(t, dir, func() error {
		return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=100m")
	})
}

// TestFileLimit is TestFullDisk with a limit on the size of files.
func TestFileLimit(t *testing.T) {
	dir := inChild(t)
	if dir == "" {
		return
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	small := was
	small.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	fullDisk(t, dir, func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was) })
}

func fullDisk(t *testing.T, dir string, grow func() error) {
	t.Helper()
	path := filepath.Join(dir, "cache")
	var log logged
	s := cache.OpenStore(path, quick(&log))
	n := 0
	for ; n < 40_000; n++ {
		s.Put(cache.Verdicts, key(n), fmt.Appendf(nil, "value %d", n), inAnHour())
		if n%500 == 0 {
			<-time.After(time.Millisecond)
			if ok, _ := s.Status(); !ok {
				break
			}
		}
	}
	await(t, "the full disk is told", func() bool { ok, _ := s.Status(); return !ok })
	_, detail := s.Status()
	if !strings.Contains(detail, "make room") || strings.Contains(log.String(), "renamed_to") {
		t.Errorf("Status: %s; log: %s", detail, &log)
	}
	s.Put(cache.Verdicts, key(n), fmt.Appendf(nil, "value %d", n), inAnHour())
	for _, i := range []int{0, n / 2, n} {
		if !has(s, i) {
			t.Errorf("value %d of %d is not known", i, n)
		}
	}
	if err := grow(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_, detail := s.Status()
			t.Logf("%s; %+v; log: %s", detail, s.Stats(), &log)
		}
	})
	await(t, "all is written", func() bool { ok, _ := s.Status(); return ok && s.Stats().Pending == 0 })
	closeStore(t, s)
	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	for i := range n {
		if !has(s, i) {
			t.Fatalf("value %d of %d is gone; log: %s", i, n, &log)
		}
	}
}
