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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
)

func newServeCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gate",
		Long: `Serve listens for SMTP clients, has every recipient decided, and passes mail to the relay.
The log goes to standard error.

SIGHUP reads the configuration again: all of it, or nothing if it has a fault. SIGTERM and
SIGINT end the gate: open transactions have proxy.drain_timeout to finish. A second one ends
it at once. Under systemd, serve tells how it is (sd_notify) and takes sockets that systemd
holds, which makes a restart lose no connection: see docs/operations.md.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (*config.Config, error) { return loadConfig(path) }
			signals := make(chan os.Signal, 4)
			// Before anything else: a SIGHUP during the start must not end the process.
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return (&service{load: load}).serve(cmd.Context(), cmd.ErrOrStderr(), signals)
		},
	}
	configFlag(cmd, &path, "the configuration")
	return cmd
}

// service is serve at work. Its methods are for one goroutine but where they say otherwise.
type service struct {
	load    func() (*config.Config, error)
	cfg     *config.Config
	log     *slog.Logger
	levels  *logLevels
	manager manager

	certs   *certificates
	webTLS  *certificates // of http.listen
	metrics *web.Metrics
	web     *web.Server
	control control
	history *web.History
	gate    *gate
	started time.Time
	sockets sockets
	running sync.WaitGroup
	broken  chan error // from listeners
	health  condition
	drains  chan time.Duration     // asked for over the API; 0: within proxy.drain_timeout
	within  time.Duration          // that was asked for; 0: nothing was
	watched atomic.Pointer[socket] // the listener that the watchdog looks at

	unrecorded bool // see newBenchUnrecordedCmd
}

// serve runs until a signal comes or a listener breaks.
func (s *service) serve(ctx context.Context, stderr io.Writer, signals <-chan os.Signal) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	s.cfg, s.broken, s.drains = cfg, make(chan error), make(chan time.Duration, 1)
	lines := newLogWriter(stderr)
	defer func() { _ = lines.Flush() }()
	s.log, s.levels = newLeveledLogger(lines, cfg.Log)
	s.manager = manager{s.log}
	s.certs, s.webTLS = &certificates{log: s.log}, &certificates{log: s.log}
	s.warn(cfg)
	raiseFileLimit(s.log)
	if err := s.build(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.running.Go(func() { collect(ctx) })
	s.running.Go(func() { s.history.Run(ctx) })
	for _, place := range places(cfg) {
		s.start(ctx, s.sockets[place])
	}
	s.serveControl()
	s.running.Go(func() { s.checkRelay(ctx, s.gate.parts()) })
	v := buildVersion()
	s.log.Info("ready", "hostname", cfg.Hostname(), "mode", cfg.Verify.Mode,
		"policy", cfg.Policy.Mode, "version", v.version, "pid", os.Getpid())
	s.manager.ready(status("taking mail"))
	// Also while open transactions end: a watchdog must not cut them off.
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	s.running.Go(func() { s.manager.watch(watched, s.answers) })

	cause := s.wait(ctx, signals)
	cancel()
	err = s.drain(signals) //nolint:contextcheck // draining begins when ctx has ended
	unwatch()
	s.running.Wait()
	switch {
	case cause != nil:
		return failed(fmt.Sprintf("a listener broke: %v", cause), "start the gate again")
	case err != nil:
		return failed("stopped before all transactions had ended", "")
	}
	return nil
}

func (s *service) warn(cfg *config.Config) {
	for _, warning := range cfg.Warnings() {
		s.log.Warn("configuration", "key", warning.Key, "problem", warning.Problem, "fix", warning.Fix)
	}
}

// build opens the listeners and composes all parts, or nothing.
func (s *service) build(ctx context.Context) error {
	want := places(s.cfg)
	s.sockets = assign(inheritSockets(s.log), want, s.log)
	opened, err := openSockets(ctx, s.sockets, want)
	if err != nil {
		s.closeSockets()
		return err
	}
	for _, socket := range opened {
		s.sockets[socket.place] = socket
	}
	if err = s.certs.use(certificateFilesOf(s.cfg)); err != nil {
		s.closeSockets()
		return failed(fmt.Sprintf("the certificate: %v", err), "run `rcptgate check-config`")
	}
	if err = s.webTLS.use(webCertificateOf(s.cfg)); err != nil {
		s.closeSockets()
		return failed(fmt.Sprintf("the certificate of http.listen: %v", err), "run `rcptgate check-config`")
	}
	if s.metrics, err = web.NewMetrics(s.buildInfo(), s.sources()); err != nil {
		s.closeSockets()
		return failed(fmt.Sprintf("the metrics: %v", err), "report this; it is a fault of rcptgate")
	}
	s.gate, err = buildGateWith(s.cfg, s.log, front{smtp: s.front, counts: s.metrics, unrecorded: s.unrecorded}) //nolint:contextcheck // it outlives no ctx
	if err != nil {
		s.closeSockets()
		return err
	}
	s.gate.lookAfter(s.cfg)
	s.web = web.New(s.metrics, s.checks, s.log)
	s.started = time.Now()
	s.health.adopted(s.cfg, s.started)
	s.chooseWatched()
	if err := s.buildAPI(ctx); err != nil {
		s.closeSockets()
		stopped, cancel := context.WithCancel(ctx)
		cancel() // nothing has begun that would have to end
		_ = s.gate.shutdown(stopped)
		return err
	}
	return nil
}

func (s *service) closeSockets() {
	for _, socket := range s.sockets {
		_ = socket.Close()
	}
}

// start serves one listener, until it is closed.
func (s *service) start(ctx context.Context, socket *socket) {
	serve := s.gate.server.Serve
	switch socket.place.kind {
	case kindSMTPS:
		serve = s.gate.server.ServeTLS
	case kindPolicyd:
		serve = s.gate.policyd.Serve
	case kindHTTP:
		serve = func(l net.Listener) error { return s.web.Serve(webListener(l, s.webTLS)) }
	}
	s.log.Info("listening", "network", socket.Addr().Network(), "address", socket.Addr().String(),
		"kind", socket.place.kind, "inherited", socket.inherited)
	s.running.Go(func() {
		err := serve(socket)
		if socket.removed.Load() {
			return
		}
		select {
		case s.broken <- err:
		case <-ctx.Done(): // the gate stops: that is why it ended
		}
	})
}

// checkRelay tells early what the relay cannot do. A relay that is down may still come up.
func (s *service) checkRelay(ctx context.Context, parts *gateParts) {
	if cfg, _, _ := s.health.configuration(); !cfg.TakesMail() {
		return
	}
	if err := parts.relay.Check(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("relay does not answer; until it does, mail gets 451",
			"error", err.Error(), "hint", "check relay.upstreams and that the relay runs")
	}
}

// wait serves signals. It returns when one ends the gate (nil) or a listener breaks (why).
func (s *service) wait(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case received := <-signals:
			if received == syscall.SIGHUP {
				s.reload(ctx)
				continue
			}
			s.log.Info("stopping", "signal", received.String(),
				"drain_limit_s", time.Duration(s.cfg.Proxy.DrainTimeout).Seconds())
			return nil
		case s.within = <-s.drains:
			s.log.Info("stopping", "signal", "api", "drain_limit_s", s.drainLimit().Seconds())
			return nil
		case <-ctx.Done():
			s.log.Info("stopping")
			return nil
		case err := <-s.broken:
			s.log.Error("listener broke", "error", fmt.Sprint(err))
			if err == nil {
				err = errors.New("it was closed")
			}
			return err
		}
	}
}

// drain lets open transactions end, within proxy.drain_timeout or until another signal comes.
func (s *service) drain(signals <-chan os.Signal) error {
	limit := s.drainLimit()
	s.health.draining.Store(true)
	s.manager.stopping(limit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go s.hurry(ctx, cancel, signals)
	start := time.Now()
	for _, socket := range s.sockets {
		if socket.place.kind != kindHTTP { // that one tells how far the drain is
			pause(ctx, socket)
		}
	}
	s.endControl(ctx) // before what it changes is saved
	err := s.gate.shutdown(ctx)
	quit, cancelQuit := context.WithTimeout(context.Background(), quitTime)
	defer cancelQuit()
	_ = s.web.Shutdown(quit) // who reads metrics that slowly is cut off
	if err != nil {
		s.log.Error("stopped", "error", err.Error(), "after_ms", time.Since(start).Milliseconds())
		return err
	}
	s.log.Info("stopped", "after_ms", time.Since(start).Milliseconds())
	return nil
}

// pauseTime bounds the wait for a connection to be handed over.
const pauseTime = time.Second

func pause(ctx context.Context, socket *socket) {
	ctx, cancel := context.WithTimeout(ctx, pauseTime)
	defer cancel()
	socket.Pause(ctx)
}

// hurry ends the drain when a second signal to stop comes.
func (s *service) hurry(ctx context.Context, cancel func(), signals <-chan os.Signal) {
	for {
		select {
		case received := <-signals:
			if received == syscall.SIGHUP {
				s.log.Info("stopping; the configuration is not read again")
				continue
			}
			s.log.Warn("stopping at once", "signal", received.String())
			cancel()
			return
		case <-ctx.Done():
			return
		}
	}
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
