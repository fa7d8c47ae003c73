package message

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
)

// TestBrokenTask: a fault in a check is logged and leaves it without a value.
func TestBrokenTask(t *testing.T) {
	var log bytes.Buffer
	workers := crew{log: slog.New(slog.NewTextHandler(&log, nil))}
	broken := begin(t.Context(), &workers, func(context.Context) int { panic("a fault") })
	sound := begin(t.Context(), &workers, func(context.Context) int { return 7 })
	if _, ok := broken.wait(t.Context()); ok {
		t.Error("it has a value")
	}
	if n, ok := sound.wait(t.Context()); !ok || n != 7 {
		t.Errorf("the other: %d, %v", n, ok)
	}
	workers.Wait()
	if text := log.String(); !strings.Contains(text, "a fault") || !strings.Contains(text, "task_test.go") {
		t.Errorf("the log does not tell: %s", text)
	}
}
