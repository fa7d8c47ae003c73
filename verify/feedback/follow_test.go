package feedback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func delivery(n int) string {
	return fmt.Sprintf("Nov 24 11:00:00 mail postfix/smtp[1]: A%d: to=<a%d@example.com>, "+
		"relay=mx.example.com[192.0.2.1]:25, dsn=2.0.0, status=sent (250 ok)\n", n, n)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	synctest.Test(t, func(t *testing.T) {
		var kept []byte
		var saves int
		var log bytes.Buffer
		c := Config{
			Path: path, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Load: func() ([]byte, error) { return kept, nil },
			Save: func(b []byte) error {
				if saves++; saves == 2 {
					return errors.New("disk full")
				}
				kept = bytes.Clone(b)
				return nil
			},
		}
		var got []string
		run := func(while func(f *Follower)) {
			f, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- f.Follow(ctx, func(o Observation) { got = append(got, o.QueueID) }) }()
			while(f)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		pause := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		run(func(f *Follower) {
			pause(3 * time.Second)
			if s := f.Status(); !strings.Contains(s.Fault, "no such file") || s.Lines != 0 {
				t.Errorf("%+v", s)
			}
			appendTo(t, path, delivery(1))
			pause(time.Second)
			if s := f.Status(); s.Fault != "" || s.Observed != 1 || time.Since(s.Last) > time.Second {
				t.Errorf("%+v", s)
			}
			for n := 2; n < 10; n++ {
				appendTo(t, path, delivery(n))
				pause(pollEvery)
			}
			appendTo(t, path, delivery(10)[:50])
			pause(pollEvery)
		})
		if saves > 6 {
			t.Errorf("saved %d times in 4 seconds", saves)
		}
		appendTo(t, path, delivery(10)[50:]+delivery(11))
		run(func(*Follower) { pause(time.Second) })
		if want := "A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11"; strings.Join(got, " ") != want {
			t.Errorf("got %v", got)
		}
		for _, words := range []string{"cannot be read", "is read again", "cannot be kept", "kept again"} {
			if n := strings.Count(log.String(), words); n != 1 {
				t.Errorf("%d times %q in\n%s", n, words, log.String())
			}
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []Config{
		{},
		{Path: "x", Labels: []string{"postfix/smtp[1]"}},
		{Path: "x", Labels: []string{"*/*"}},
		{Path: "x", Relays: []string{"a b"}},
		{Path: "x", Relays: []string{"host:0"}},
		{Path: "x", Relays: []string{"*"}},
		{Path: "x", Relays: []string{"[::1]:99999"}},
	} {
		_, err := New(c)
		var e *ConfigError
		if !errors.As(err, &e) || e.Fix == "" || !strings.Contains(err.Error(), e.Field) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
