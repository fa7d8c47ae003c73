package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// TestCacheInUse: while a gate has the cache, every command on it says who has it and what to do.
func TestCacheInUse(t *testing.T) {
	dir := t.TempDir()
	path, config := filepath.Join(dir, "verdicts.db"), filepath.Join(dir, "gate.toml")
	text := fmt.Sprintf("[proxy]\nhostname = \"gate.example.com\"\n[verify.cache]\npath = %q\n", path)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := cache.OpenStore(path, cache.StoreConfig{})
	defer func() {
		if err := gate.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	head := `{"format":"rcptgate cache","version":1,"secret_id":"` + gate.SecretID() + `"}`
	for _, args := range [][]string{
		{"stats"}, {"export"}, {"import"}, {"forget", "anna@example.com"},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"cache", args[0], "--config", config}, args[1:]...),
			strings.NewReader(head), &out, &errs)
		if code != exitFailed || out.Len() > 0 || !strings.Contains(errs.String(), "another process uses the file") ||
			!strings.Contains(errs.String(), "hint: stop the gate first") {
			t.Errorf("%v: exit code %d, %s%s", args, code, &out, &errs)
		}
	}
}
