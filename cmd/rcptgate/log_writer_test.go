package main

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// TestLogWriter: lines come in order, whole, in few writes, and none waits longer than logDelay.
func TestLogWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got writes
		l := newLogWriter(&got)
		for range 3 {
			if _, err := l.Write([]byte("line\n")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(logDelay)
		synctest.Wait()
		if !slices.Equal(got, writes{"line\nline\nline\n"}) {
			t.Errorf("after %v: %q", logDelay, got)
		}
		got = nil
		long := strings.Repeat("x", logBatch/2) + "\n"
		for range 3 {
			_, _ = l.Write([]byte(long))
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, writes{long, long, long}) {
			t.Errorf("%d writes", len(got))
		}
	})
}
