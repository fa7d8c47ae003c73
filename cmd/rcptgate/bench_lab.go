package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/bench"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// benchStart is how long a server may take to start or to end.
const benchStart = 15 * time.Second

// benchEnd is how long a gate may take to end: more than it allows open transactions.
const benchEnd = 40 * time.Second

// benchLab is the servers around the gate, each a process of its own. close ends all of them.
type benchLab struct {
	self   string // this binary
	gate   string
	dir    string
	stderr io.Writer
	world  *mxsim.World
	at     mxsim.Listening
	sink   string
	gates  int
	// relayKeys are further lines of [relay] in the gates' configuration.
	relayKeys string
	// logKeys are those of [log].
	logKeys string
	// serve is the command of gates that are started while it is set, instead of serve.
	serve []string
	// verifyKeys are further lines of [verify].
	verifyKeys string
	// policyAt is where a gate that is started while policyd is set serves policy delegation.
	policyAt string
	policyd  bool
	// gateLog takes the logs of all gates; nil: nobody does.
	gateLog *os.File
	ends    []func()
}

func newBenchLab(ctx context.Context, gate string, stderr io.Writer) (*benchLab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, failed(fmt.Sprintf("cannot find the own binary: %v", err), "")
	}
	l := &benchLab{
		self: self, gate: gate, stderr: stderr,
		verifyKeys: `probe_idle_timeout = "1s"`, // a gate that has come to rest has no probes
	}
	if gate == "" {
		l.gate = self
	}
	if l.dir, err = os.MkdirTemp("", "rcptgate-bench-"); err != nil {
		return nil, failed(err.Error(), "set TMPDIR to a directory that is writable")
	}
	l.ends = append(l.ends, func() { _ = os.RemoveAll(l.dir) })
	l.world = benchWorld()
	l.ends = append(l.ends, l.world.Close)
	if l.at, err = l.world.Listen(ctx); err == nil {
		l.sink, _, err = l.server(ctx, "sink")
	}
	if err == nil {
		l.policyAt, err = freeAddress(ctx)
	}
	if err != nil {
		l.close()
		return nil, failed(err.Error(), "bench needs Linux and the addresses of 127.0.0.0/8")
	}
	return l, nil
}

func (l *benchLab) close() {
	for _, end := range slices.Backward(l.ends) {
		end()
	}
	l.ends = nil
}

// server starts one of the servers of package bench as a process. It ends with this one, however
// that ends, because its standard input does.
func (l *benchLab) server(ctx context.Context, args ...string) (string, bench.Tree, error) {
	//nolint:gosec // the own binary
	cmd := exec.CommandContext(ctx, l.self, append([]string{"bench", "server"}, args...)...)
	cmd.Stderr = l.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", bench.Tree{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", bench.Tree{}, err
	}
	if err := cmd.Start(); err != nil {
		return "", bench.Tree{}, err
	}
	l.ends = append(l.ends, func() { _ = stdin.Close(); _ = cmd.Wait() })
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", bench.Tree{}, fmt.Errorf("%s did not start: %w", args[0], err)
	}
	return strings.TrimSpace(address), bench.Tree{PID: cmd.Process.Pid}, nil
}

// newBenchServerCmd is the other side of server.
func newBenchServerCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "server sink|splice|echo [UPSTREAM]",
		Short:  "One of bench's own servers, until standard input ends",
		Hidden: true,
		Args:   cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return failed(err.Error(), "")
			}
			writef(cmd.OutOrStdout(), "%s\n", l.Addr())
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				cancel()
			}()
			switch {
			case args[0] == "sink":
				return bench.Sink(ctx, l)
			case args[0] == "echo":
				return bench.Echo(ctx, l)
			case args[0] == "splice" && len(args) == 2:
				return bench.Splice(ctx, l, args[1])
			default:
				return usageError(fmt.Sprintf("no such server: %q", args), "sink, echo, or splice UPSTREAM")
			}
		},
	}
}

// freeAddress is a loopback address with a port that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

var errNotStarted = errors.New("it does not listen")

// waitListening returns when somebody accepts connections there.
func waitListening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, benchStart)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", address, errNotStarted, err)
		}
	}
}
