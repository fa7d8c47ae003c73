package feedback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseEntry(t *testing.T) {
	const cursor = `"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795518000000000"`
	for name, tt := range map[string]struct {
		line           string
		ok             bool
		label, message string
	}{
		"text":      {`{` + cursor + `,"MESSAGE":"a\u00fc\"b","SYSLOG_IDENTIFIER":"postfix/smtp"}`, true, "postfix/smtp", `aü"b`},
		"octets":    {`{` + cursor + `,"MESSAGE":[97,255],"SYSLOG_IDENTIFIER":"x"}`, true, "x", "a\xff"},
		"too long":  {`{` + cursor + `,"MESSAGE":null,"SYSLOG_IDENTIFIER":"x"}`, true, "x", ""},
		"twice":     {`{` + cursor + `,"MESSAGE":["a","b"],"SYSLOG_IDENTIFIER":"x"}`, true, "x", ""},
		"no octets": {`{` + cursor + `,"MESSAGE":[300]}`, true, "", ""},
		"no cursor": {`{"MESSAGE":"a"}`, false, "", ""},
		"no time":   {`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"-1"}`, false, "", ""},
		"blank":     {`{"__CURSOR":"s=1 --x","__REALTIME_TIMESTAMP":"1"}`, false, "", ""},
		"no JSON":   {`-- No entries --`, false, "", ""},
		"nothing":   {``, false, "", ""},
	} {
		e, ok := parseEntry([]byte(tt.line))
		if ok != tt.ok || string(e.label) != tt.label || string(e.message) != tt.message {
			t.Errorf("%s: %v %+v", name, ok, e)
		}
	}
}

// fakeCommand is a journalctl that has said what it has to say.
type fakeCommand struct {
	ctx context.Context //nolint:containedctx // as exec.CommandContext keeps it
	out io.Reader
	err error
}

func (c *fakeCommand) lines() io.Reader { return c.out }
func (c *fakeCommand) wait() error      { return c.err }

// Read waits until it is stopped, like --follow.
func (c *fakeCommand) Read([]byte) (int, error) {
	<-c.ctx.Done()
	return 0, io.EOF
}

func journalLine(n int) string {
	return fmt.Sprintf(`{"__CURSOR":"c=%d","__REALTIME_TIMESTAMP":"%d","SYSLOG_IDENTIFIER":"postfix/smtp",`+
		`"MESSAGE":"A%d: to=<a%d@example.com>, relay=mx.example.com[192.0.2.1]:25, dsn=2.0.0, status=sent (250 ok)"}`+
		"\n", n, 1795518000000000+n, n, n)
}

func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var kept []byte
		f, err := New(Config{
			Path: Journal, Save: func(b []byte) error { kept = slices.Clone(b); return nil },
			Load: func() ([]byte, error) { return nil, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		var calls [][]string
		var starts []time.Duration
		began := time.Now()
		f.source.(*journal).start = func(ctx context.Context, args []string) (command, error) {
			calls = append(calls, args)
			starts = append(starts, time.Since(began))
			switch len(calls) {
			case 1:
				return &fakeCommand{ctx: ctx, out: strings.NewReader(journalLine(1) + strings.Repeat("x", 3*maxEntry) +
					"\n" + journalLine(2) + `{"MESSAGE":"cut`), err: errors.New("killed")}, nil
			case 2, 3:
				return &fakeCommand{ctx: ctx, out: strings.NewReader(""), err: errors.New("failed to seek to cursor")}, nil
			case 4:
				return nil, errors.New("no such program")
			}
			c := &fakeCommand{ctx: ctx}
			c.out = io.MultiReader(strings.NewReader(journalLine(1)+journalLine(2)+journalLine(3)), c)
			return c, nil
		}
		var got []string
		done := make(chan error)
		go func() {
			done <- f.Follow(ctx, func(o Observation) { got = append(got, o.QueueID+" "+o.At.UTC().Format(time.RFC3339Nano)) })
		}()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := f.Status(); !strings.Contains(s.Fault, "failed to seek") || s.Failed.IsZero() || s.Observed != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s := f.Status(); s.Fault != "" || s.Observed != 3 {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []string{
			"A1 2026-11-24T11:00:00.000001Z", "A2 2026-11-24T11:00:00.000002Z", "A3 2026-11-24T11:00:00.000003Z",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if string(kept) != `{"cursor":"c=3","time":1795518000000003}` {
			t.Errorf("kept %s", kept)
		}
		where := func(i int) string { return strings.Join(calls[i][4:len(calls[i])-1], " ") }
		if where(0) != "--lines=0" || where(1) != "--no-tail --after-cursor=c=2" ||
			where(4) != "--no-tail --since=@1795518000" {
			t.Errorf("%q", calls)
		}
		if starts[4] != (1+2+4+8)*time.Second {
			t.Errorf("started after %v", starts)
		}
	})
}

// The arguments must be those of the journalctl of this system: it does not begin with bad ones.
func TestJournalctlKnowsTheArguments(t *testing.T) {
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Skip("journalctl is not installed")
	}
	for _, at := range []cursor{{}, {Time: 1}, {Cursor: "s=0;i=1", Time: 1}} {
		j := newJournal(false)
		j.at = at
		args, _ := j.args(at.Cursor == "")
		args = append(args, "--directory="+t.TempDir(), "--no-pager")
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--follow" })
		out, err := exec.CommandContext(t.Context(), "journalctl", args...).CombinedOutput()
		if strings.Contains(string(out), "option") || strings.Contains(string(out), "argument") && at.Cursor == "" {
			t.Errorf("journalctl %q: %v\n%s", args, err, out)
		}
	}
}

// The real way to start a program and to end it, with a script in the place of journalctl.
func TestJournalctlIsStopped(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' '" + strings.TrimSpace(journalLine(1)) + "'\necho why >&2\nexec sleep 600\n"
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	f, err := New(Config{Path: Journal})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Follow(ctx, func(Observation) { n++; cancel() }); err != nil || n != 1 {
		t.Errorf("%v, %d observations", err, n)
	}
}
