package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gate is the rcptgate binary as a process.
type gate struct {
	t    *testing.T
	addr string // where it listens: "host:port" or "unix:/path"
	dir  string

	cmd    *exec.Cmd // nil while it does not run
	exited chan struct{}
}

// newGate makes a gate that listens at addr with this configuration. It does not start it.
func newGate(t *testing.T, addr, config string) *gate {
	t.Helper()
	g := &gate{t: t, addr: addr, dir: t.TempDir()}
	g.configure(config)
	t.Cleanup(func() {
		if g.cmd != nil {
			g.end(syscall.SIGTERM)
		}
		log := readFile(g.log())
		for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(log, sign) {
				t.Errorf("rcptgate's log has %q", sign)
			}
		}
		if t.Failed() {
			t.Logf("configuration:\n%s\nend of rcptgate's log:\n%s", readFile(g.config()), tail(g.log(), 60))
		}
	})
	return g
}

// start runs the gate and returns when it accepts connections.
func (g *gate) start() {
	g.t.Helper()
	bin, err := binary()
	if err != nil {
		g.t.Fatal(err)
	}
	log, err := os.OpenFile(g.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(bin, "serve", "--config", g.config())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // otherwise each end takes a second
	// It does not outlive a test that dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd, g.exited = cmd, make(chan struct{})
	exited := g.exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // end looks at cmd.ProcessState
	}()
	until(g.t, "rcptgate to listen", func() bool {
		select {
		case <-exited:
			g.t.Fatalf("rcptgate ended: %v\n%s", cmd.ProcessState, tail(g.log(), 20))
		default:
		}
		return g.listens()
	})
}

// listens reports whether a new client would get through.
func (g *gate) listens() bool {
	d := net.Dialer{Timeout: time.Second}
	network, address := "tcp", g.addr
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := d.DialContext(context.Background(), network, address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// signal sends a signal to the running gate.
func (g *gate) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Errorf("signal %v: %v", s, err)
	}
}

// wait waits for the gate's end; unless it was killed, that must be in peace.
func (g *gate) wait() {
	g.t.Helper()
	bound := time.NewTimer(patience)
	defer bound.Stop()
	select {
	case <-g.exited:
	case <-bound.C:
		g.t.Errorf("rcptgate (pid %d) does not end", g.cmd.Process.Pid)
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
	state := g.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); !state.Success() &&
		(!ok || status.Signal() != syscall.SIGKILL) {
		g.t.Errorf("rcptgate ended with %v", state)
	}
	g.cmd = nil
}

// end sends a signal and waits.
func (g *gate) end(s syscall.Signal) {
	g.t.Helper()
	g.signal(s)
	g.wait()
}

// log is the path of the gate's log, of all its runs.
func (g *gate) log() string { return filepath.Join(g.dir, "log") }

// logged returns the lines of the log that contain all of the given texts.
func (g *gate) logged(texts ...string) []string { return matching(g.log(), texts...) }

// awaitLog waits for n lines with all of the given texts.
func (g *gate) awaitLog(n int, texts ...string) {
	g.t.Helper()
	until(g.t, fmt.Sprintf("%d lines of rcptgate's log with %q", n, texts), func() bool {
		return len(g.logged(texts...)) >= n
	})
}

// config is the path of the configuration.
func (g *gate) config() string { return filepath.Join(g.dir, "rcptgate.toml") }

// configure writes the configuration. A gate that runs is not told.
func (g *gate) configure(config string) {
	g.t.Helper()
	if err := os.WriteFile(g.config(), []byte(config), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// What the log says of a reload.
const (
	reloaded = "configuration read again"
	refused  = "configuration not taken over"
)

// reload has the gate take a configuration over.
func (g *gate) reload(config string) {
	g.t.Helper()
	bad, n := len(g.logged(refused)), len(g.logged(reloaded))
	g.configure(config)
	g.signal(syscall.SIGHUP)
	until(g.t, "the reload", func() bool {
		if lines := g.logged(refused); len(lines) > bad {
			g.t.Fatalf("configuration refused: %q", lines[bad:])
		}
		return len(g.logged(reloaded)) > n
	})
}

// refuse has the gate refuse a configuration, with a line that says these texts.
func (g *gate) refuse(config string, texts ...string) {
	g.t.Helper()
	texts = append(texts, refused)
	n, good := len(g.logged(texts...)), len(g.logged(reloaded))
	g.configure(config)
	g.signal(syscall.SIGHUP)
	g.awaitLog(n+1, texts...)
	if len(g.logged(reloaded)) != good {
		g.t.Error("a configuration with a fault was taken over")
	}
}
