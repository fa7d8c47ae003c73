package e2e

import (
	"context"
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
	addr string // where it listens
	dir  string

	cmd    *exec.Cmd // nil while it does not run
	exited chan struct{}
}

// newGate makes a gate that listens at addr with this configuration. It does not start it.
func newGate(t *testing.T, addr, config string) *gate {
	t.Helper()
	g := &gate{t: t, addr: addr, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(g.dir, "rcptgate.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
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
			t.Logf("configuration:\n%s\nend of rcptgate's log:\n%s", config, tail(g.log(), 60))
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
	cmd := exec.Command(bin, "serve", "--config", filepath.Join(g.dir, "rcptgate.toml"))
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
	conn, err := d.DialContext(context.Background(), "tcp", g.addr)
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
