package register_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/rcptgate/rcptgate/policy/register"
)

// TestFileLimit: a disk that takes some of a change and not the rest of it, by a limit on the size
// of files. The test must not run beside others.
func TestFileLimit(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()
	path := t.TempDir()
	r, end := on(t, path, register.Config{})
	suppress(t, r, manual("first@example.com"))
	want := export(t, r)

	small := was
	small.Cur = 20_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&rows, "user%d@example.com\n", i)
	}
	for _, strict := range []bool{false, true} {
		opts := register.ImportOptions{Strict: strict}
		report, err := r.ImportCSV(strings.NewReader(rows.String()), opts)
		if !errors.Is(err, syscall.EFBIG) || report.Added != 0 || report.Rows != 5_000 {
			t.Fatalf("%+v, %v", report, err)
		}
		if got := export(t, r); got != want {
			t.Fatalf("%d octets instead of the list before", len(got))
		}
		if ok, _ := r.Status(); ok {
			t.Error("all is well")
		}
	}
	// Something small has room.
	suppress(t, r, manual("second@example.com"))
	if ok, detail := r.Status(); !ok {
		t.Error(detail)
	}
	n := 2
	for ; ; n++ {
		if err := r.Suppress(manual(fmt.Sprintf("more%d@example.com", n))); err != nil {
			break
		}
	}
	want = export(t, r)
	end()
	restore()
	var log logged
	r, _ = on(t, path, register.Config{Log: log.logger()})
	if got := export(t, r); got != want || len(addresses(t, r)) != n || log.String() != "" {
		t.Errorf("%d octets after a restart, want %d; %s", len(got), len(want), &log)
	}
}
