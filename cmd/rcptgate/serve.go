package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
)

// drainTime is how long open transactions have when the gate is told to stop. Service managers wait
// 30 s or more before they kill.
const drainTime = 25 * time.Second

func newServeCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gate",
		Long: `Serve listens for SMTP clients, has every recipient decided, and passes mail to the relay.
The log goes to standard error.

SIGTERM and SIGINT end it: open transactions have 25 seconds to finish. A second signal
ends it at once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return serve(cmd.Context(), cfg, cmd.ErrOrStderr(), signals)
		},
	}
	configFlag(cmd, &path, "the configuration")
	return cmd
}

// serve runs until a signal comes or a listener breaks.
func serve(
	ctx context.Context, cfg *config.Config, stderr io.Writer, signals <-chan os.Signal,
) error {
	log := newLogger(stderr, cfg.Log)
	for _, warning := range cfg.Warnings() {
		log.Warn("configuration", "key", warning.Key, "problem", warning.Problem, "fix", warning.Fix)
	}
	raiseFileLimit(log)
	listeners, err := listenAll(ctx, cfg.Proxy.Listen)
	if err != nil {
		return err
	}
	g, err := buildGate(cfg, log) //nolint:contextcheck // what it closes on failure outlives no ctx
	if err != nil {
		closeAll(listeners)
		return err
	}
	broken := make(chan error, len(listeners))
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() { broken <- g.server.Serve(l) })
		log.Info("listening", "network", l.Addr().Network(), "address", l.Addr().String())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { g.checkRelay(ctx, log) })
	v := buildVersion()
	log.Info("ready", "hostname", cfg.Hostname(), "mode", cfg.Verify.Mode,
		"policy", cfg.Policy.Mode, "version", v.version, "pid", os.Getpid())

	cause := waitForEnd(ctx, log, signals, broken)
	cancel()
	err = g.drain(log, signals) //nolint:contextcheck // draining begins when ctx has ended
	running.Wait()
	switch {
	case cause != nil:
		return failed(fmt.Sprintf("a listener broke: %v", cause), "start the gate again")
	case err != nil:
		return failed("stopped before all transactions had ended", "")
	}
	return nil
}

// checkRelay tells early what the relay cannot do. A relay that is down may still come up.
func (g *gate) checkRelay(ctx context.Context, log *slog.Logger) {
	if err := g.relay.Check(ctx); err != nil && ctx.Err() == nil {
		log.Warn("relay does not answer; until it does, mail gets 451",
			"error", err.Error(), "hint", "check relay.upstreams and that the relay runs")
	}
}

// waitForEnd returns when a signal comes (nil) or a listener breaks (why).
func waitForEnd(
	ctx context.Context, log *slog.Logger, signals <-chan os.Signal, broken <-chan error,
) error {
	select {
	case s := <-signals:
		log.Info("stopping", "signal", s.String(), "drain_limit_s", drainTime.Seconds())
		return nil
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-broken:
		log.Error("listener broke", "error", fmt.Sprint(err))
		if err == nil {
			err = errors.New("it was closed")
		}
		return err
	}
}

// drain lets open transactions end, within drainTime or until another signal comes.
func (g *gate) drain(log *slog.Logger, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	go func() {
		select {
		case s := <-signals:
			log.Warn("stopping at once", "signal", s.String())
			cancel()
		case <-ctx.Done():
		}
	}()
	start := time.Now()
	err := g.shutdown(ctx)
	if err != nil {
		log.Error("stopped", "error", err.Error(), "after_ms", time.Since(start).Milliseconds())
		return err
	}
	log.Info("stopped", "after_ms", time.Since(start).Milliseconds())
	return nil
}

// listenAll opens every listener, or none.
func listenAll(ctx context.Context, endpoints []config.Endpoint) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, endpoint := range endpoints {
		l, err := listen(ctx, endpoint)
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

func listen(ctx context.Context, endpoint config.Endpoint) (net.Listener, error) {
	network, address := endpoint.Network()
	if network == "unix" {
		if err := removeStale(ctx, address); err != nil {
			return nil, listenFailure(endpoint, err)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, listenFailure(endpoint, err)
	}
	if network == "unix" {
		// The gate and the mail server run as different users. Who may connect is decided by the
		// permissions of the directory.
		if err := os.Chmod(address, 0o666); err != nil { //nolint:gosec // see above
			_ = l.Close()
			return nil, listenFailure(endpoint, err)
		}
	}
	return l, nil
}

// removeStale removes a socket that a process left behind when it was killed, which is one that
// nobody listens on. Everything else at the path stays, and listening fails.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil //nolint:nilerr // Listen says better what is wrong
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

// listenFailure says what to do about a listener that does not open.
func listenFailure(endpoint config.Endpoint, err error) error {
	text := fmt.Sprintf("cannot listen on %s: %v", endpoint, rootCause(err))
	_, isUnix := endpoint.Unix()
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && isUnix:
		return failed(text, "another process serves this socket, or another file is in its place")
	case errors.Is(err, syscall.EADDRINUSE):
		return failed(text, fmt.Sprintf("another process has the port; see which with "+
			"`ss -ltnp`, or change proxy.listen (%s)", endpoint))
	case errors.Is(err, os.ErrPermission) && isUnix:
		return failed(text, "the directory must be writable for the user that runs rcptgate")
	case errors.Is(err, os.ErrPermission):
		return failed(text, "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return failed(text, "this machine does not have that address; see `ip address`")
	case errors.Is(err, os.ErrNotExist):
		return failed(text, "create the directory of the socket")
	default:
		return failed(text, "check proxy.listen")
	}
}

// rootCause is an error without what the net package puts in front of it.
func rootCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}

// raiseFileLimit takes all file descriptors that the system grants: a client has two, and a probe
// one. Go raises the soft limit by itself at start; this tells how far that went.
func raiseFileLimit(log *slog.Logger) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("cannot read the limit of open files", "error", err.Error())
		return
	}
	if limit.Cur < limit.Max {
		raised := syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
			log.Warn("cannot raise the limit of open files", "limit", limit.Cur, "error", err.Error())
			return
		}
		limit = raised
	}
	log.Debug("open files", "limit", limit.Cur)
}
