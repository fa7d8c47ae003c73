package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// benchGate is a gate that runs in a process of its own.
type benchGate struct {
	binary  string
	serve   []string // the command; nil: serve
	config  string   // file
	address string
	http    string
	tree    bench.Tree
	cmd     *exec.Cmd
	ended   chan struct{}
	err     error // how it ended
}

// startGate starts a binary as `serve` does in production, with a generated configuration. It logs
// at the default level, to nowhere unless the lab has a file for it.
func (l *benchLab) startGate(ctx context.Context, binary, relay string) (*benchGate, error) {
	g := &benchGate{binary: binary, serve: l.serve}
	var err error
	if g.address, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if g.http, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	l.gates++
	g.config = filepath.Join(l.dir, fmt.Sprintf("gate%d.toml", l.gates))
	// The log goes nowhere; faults of the configuration are told here.
	if err = l.write(g, relay); err != nil {
		return nil, err
	}
	if fault := g.check(ctx); fault != nil { // a build from before there were provider_files?
		if err = os.WriteFile(g.config, l.config(g, relay), 0o600); err != nil {
			return nil, err
		}
		if g.check(ctx) != nil {
			return nil, fault
		}
	}
	return g, l.launch(ctx, g)
}

func (g *benchGate) check(ctx context.Context) error {
	check := exec.CommandContext(ctx, g.binary, "check-config", "--config", g.config) //nolint:gosec // ours
	var said bytes.Buffer
	check.Stderr = &said
	if err := check.Run(); err != nil {
		return fmt.Errorf("%s check-config: %w\n%s", g.binary, err, said.Bytes())
	}
	return nil
}

// benchProvider is what the benchmarks' own mail servers bear: as much as there is.
const benchProvider = `
[bench]
title = "the benchmarks' own"
mx = ["*.` + benchDomain + `"]
catch_all = "never"
limits = { connections = 20, rcpt_per_session = 1000, rcpt_per_transaction = 1, refusals = 1000, per_minute = 1000000, burst = 1000000 }
sources = ["internal/mxsim"]
`

// write writes the configuration of a gate, and beside it what that refers to.
func (l *benchLab) write(g *benchGate, relay string) error {
	provider := filepath.Join(filepath.Dir(g.config), "bench-provider.toml")
	if err := os.WriteFile(provider, []byte(benchProvider), 0o600); err != nil {
		return err
	}
	config := strings.Replace(string(l.config(g, relay)), "[verify]\n",
		fmt.Sprintf("[verify]\nprovider_files = [%q]\n", provider), 1)
	return os.WriteFile(g.config, []byte(config), 0o600)
}

// launch starts a gate, for the first time or again.
func (l *benchLab) launch(ctx context.Context, g *benchGate) error {
	// It is not killed when ctx ends: stop lets it end properly.
	ctx = context.WithoutCancel(ctx)
	command := g.serve
	if command == nil {
		command = []string{"serve"}
	}
	args := append(slices.Clone(command), "--config", g.config)
	g.cmd = exec.CommandContext(ctx, g.binary, args...) //nolint:gosec // ours
	if l.gateLog != nil {
		g.cmd.Stderr = l.gateLog
	}
	dieWithParent(g.cmd)
	if err := g.cmd.Start(); err != nil {
		return err
	}
	g.tree = bench.Tree{PID: g.cmd.Process.Pid}
	g.ended = make(chan struct{})
	cmd, ended := g.cmd, g.ended
	go func() {
		g.err = cmd.Wait()
		close(ended)
	}()
	if err := waitListening(ctx, g.address); err != nil {
		g.kill()
		return fmt.Errorf("the gate: %w; try %s serve --config %s", err, g.binary, g.config)
	}
	return nil
}

// config has limits that do not get in the way of the numbers. The refusals of one session would
// slow it down otherwise.
func (l *benchLab) config(g *benchGate, relay string) []byte {
	redact := l.gateLog == nil // who asks for the log looks for a message in it
	var policyd string
	if l.policyd {
		policyd = fmt.Sprintf("[policyd]\nlisten = [%q]\n", l.policyAt)
	}
	return fmt.Appendf(nil, `
[log]
redact = %t
%s

[proxy]
listen = [%q]
hostname = "gate.example.com"
max_connections = 30000
max_recipients = 10000
soft_error_limit = 1000000000
hard_error_limit = 1000000000

[relay]
upstreams = [%q]
%s

[verify]
probe_port = %d
allow_networks = ["127.0.0.0/8"]
%s

[verify.dns]
servers = [%q]

[http]
listen = %q

%s`, redact, l.logKeys, g.address, relay, l.relayKeys, l.at.Port, l.verifyKeys, l.at.DNS, g.http, policyd)
}

// stop ends the gate as a service manager does, and waits.
func (g *benchGate) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(benchEnd)
	defer t.Stop()
	select {
	case <-g.ended:
		return g.err
	case <-t.C:
		g.kill()
		return fmt.Errorf("the gate did not end within %v of SIGTERM", benchEnd)
	}
}

// kill ends the gate as a crash does, and waits.
func (g *benchGate) kill() {
	_ = g.cmd.Process.Kill()
	<-g.ended
}

// quiet stops a gate that has served its purpose; how it ends is not measured here.
func (g *benchGate) quiet() { _ = g.stop() }

// warmGate starts a gate and lets it find out about all recipients.
func (l *benchLab) warmGate(ctx context.Context, binary string) (*benchGate, error) {
	g, err := l.startGate(ctx, binary, l.sink)
	if err != nil {
		return nil, err
	}
	if err := l.warmUp(ctx, g); err != nil {
		g.quiet()
		return nil, err
	}
	return g, nil
}

// warmUp asks about all recipients until no server is asked any more.
func (l *benchLab) warmUp(ctx context.Context, g *benchGate) error {
	recipients := append(bench.Recipients(benchRecipients, benchDomains, benchDomain), benchNobody)
	load := bench.Load{
		Work: bench.Work{
			Name: "warm-up", Sessions: 1, Rcpts: 13, Pipelined: true, NoData: true,
		},
		Address: g.address, Recipients: recipients, Messages: (benchRecipients + 1) / 13,
		Refused: 550,
	}
	for range 20 {
		before := l.probes()
		r := load.Run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Errors > 0 {
			return fmt.Errorf("warming up: %w", r.First)
		}
		if l.probes() == before && r.Refused == 1 {
			return nil
		}
	}
	return errors.New("the gate still asks about recipients that it has asked about 20 times")
}
