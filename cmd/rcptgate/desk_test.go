package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// desk is where an administrator works: a configuration, its directory, and maybe a gate.
type desk struct {
	t      *testing.T
	dir    string
	config string
	stdin  string // of the next command
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	d.config = filepath.Join(d.dir, "gate.toml")
	d.write("gate.toml", fmt.Sprintf(`[proxy]
hostname = "gate.example.com"
[relay]
upstreams = ["127.0.0.1:9"]
[verify.cache]
path = %q
[policy]
state_directory = %q
[policy.journal]
path = %q
`, filepath.Join(d.dir, "verdicts.db"), d.state(), filepath.Join(d.dir, "journal.jsonl")))
	return d
}

func (d *desk) state() string { return filepath.Join(d.dir, "state") }

func (d *desk) write(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// rcptgate runs a command in this process. Its flag --config is added.
func (d *desk) rcptgate(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(append(args, "--config", d.config), strings.NewReader(d.stdin), &o, &e)
	d.stdin = ""
	return code, o.String(), e.String()
}

// step is a command with what it should do: patterns of standard output and error, which are empty
// if the pattern is.
type step struct {
	args      string // between blanks; ~ in an argument is a blank
	code      int
	out, errs string
}

func (d *desk) steps(list []step) {
	d.t.Helper()
	for _, s := range list {
		args := strings.Fields(s.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		code, out, errs := d.rcptgate(args...)
		if code != s.code || !matches(s.out, out) || !matches(s.errs, errs) {
			d.t.Errorf("rcptgate %s: exit code %d\n%s%s\nwant %d\n%s\n%s", s.args, code, out, errs, s.code, s.out, s.errs)
		}
	}
}

func matches(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	return regexp.MustCompile(`(?ms)` + pattern).MatchString(text)
}

// open serves the control socket of this configuration, as a gate does, until the end.
func (d *desk) open() (stop func()) {
	d.t.Helper()
	cfg, err := config.Load(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	dir, err := durable.Open(cfg.Policy.StateDirectory)
	if err != nil {
		d.t.Fatal(err)
	}
	list, err := register.Open(dir, cfg.RegisterConfig(log))
	if err != nil {
		d.t.Fatal(err)
	}
	table, err := senders.New(cfg.SendersConfig(log), dir)
	if err != nil {
		d.t.Fatal(err)
	}
	entries, err := journal.Open(cfg.JournalConfig(nil), log)
	if err != nil {
		d.t.Fatal(err)
	}
	parts := web.Parts{Register: list, Senders: table, Journal: entries, Memory: cacheMemory(cfg)}
	server := web.NewControl(web.NewAPI(func() web.Parts { return parts }, log), log)
	l, err := listenControl(d.t.Context(), cfg.ControlSocket())
	if err != nil {
		d.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return func() {
		ctx := context.WithoutCancel(d.t.Context())
		for _, err := range []error{
			server.Shutdown(ctx), <-served, entries.Close(ctx), table.Close(), list.Close(), dir.Close(),
		} {
			if err != nil {
				d.t.Error(err)
			}
		}
	}
}

// both runs a test with a gate and without one: commands must not tell the difference.
func both(t *testing.T, test func(d *desk)) {
	t.Helper()
	t.Run("gate", func(t *testing.T) {
		d := newDesk(t)
		stop := d.open()
		defer stop()
		test(d)
	})
	t.Run("alone", func(t *testing.T) {
		d := newDesk(t)
		if err := os.Mkdir(d.state(), 0o700); err != nil {
			t.Fatal(err)
		}
		test(d)
	})
}
