package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
)

// reload reads the configuration again. All that is new is built first; only when nothing is left
// that can fail does it take the place of the old, in one go. A fault leaves everything as it was.
func (s *service) reload(ctx context.Context) {
	s.manager.reloading()
	cfg, err := s.load()
	if err == nil {
		err = s.replace(ctx, cfg)
	}
	s.metrics.Reload(err == nil)
	if err != nil {
		s.refuse(err)
		s.manager.ready(status("taking mail, with the old configuration: the new one has faults"))
		return
	}
	s.log.Info("configuration read again", "file", cfg.Name(), "mode", cfg.Verify.Mode,
		"policy", cfg.Policy.Mode)
	s.manager.ready(status("taking mail"))
}

// replace puts cfg in the place of the configuration in use, or changes nothing.
func (s *service) replace(ctx context.Context, cfg *config.Config) error {
	tokens, err := s.openTokens(cfg)
	if err != nil {
		return err
	}
	want := places(cfg)
	opened, err := openSockets(ctx, s.sockets, want)
	if err != nil {
		return err
	}
	next, err := s.gate.prepare(ctx, cfg)
	if err != nil {
		closeAll(opened)
		return err
	}
	if err := s.certs.use(certificateFilesOf(cfg)); err != nil {
		closeAll(opened)
		next.discard() //nolint:contextcheck // it outlives no ctx
		return failed(err.Error(), "")
	}
	if err := s.webTLS.use(webCertificateOf(cfg)); err != nil {
		_ = s.certs.use(certificateFilesOf(s.cfg)) // back to those that were in use
		closeAll(opened)
		next.discard() //nolint:contextcheck // it outlives no ctx
		return failed(err.Error(), "")
	}
	// From here on nothing fails.
	s.web.UseTokens(tokens)
	s.web.LimitRate(cfg.HTTP.Rate)
	if cfg.ControlSocket() != s.control.endpoint {
		s.log.Warn("http.control_socket changes when the gate is started again",
			"socket", string(s.control.endpoint))
	}
	s.warn(cfg)
	s.meetRelay(ctx, next)
	if cfg.Log.Format != s.cfg.Log.Format {
		s.log.Warn("log.format changes when the gate is started again", "format", cfg.Log.Format)
	}
	s.levels.set(cfg.Log)
	s.cfg = cfg
	s.gate.adopt(cfg, next) //nolint:contextcheck // what it ends behind outlives ctx
	s.health.adopted(cfg, time.Now())
	for _, socket := range opened {
		s.sockets[socket.place] = socket
		s.start(ctx, socket)
	}
	for _, place := range slices.Collect(maps.Keys(s.sockets)) {
		if !slices.Contains(want, place) {
			s.remove(ctx, place)
		}
	}
	s.chooseWatched()
	return nil
}

// meetTime is how long a reload waits for the new relay. One that is down must not hold it up.
const meetTime = 2 * time.Second

// meetRelay checks the relay of a new configuration before clients come to it: what it offers
// decides what they are offered, AUTH for one. When time is over the check goes on beside.
func (s *service) meetRelay(ctx context.Context, next *gateParts) {
	met := make(chan struct{})
	s.running.Go(func() {
		defer close(met)
		s.checkRelay(ctx, next)
	})
	limit := time.NewTimer(meetTime)
	defer limit.Stop()
	select {
	case <-met:
	case <-limit.C:
	case <-ctx.Done():
	}
}

// remove closes a listener. Its open connections go on.
func (s *service) remove(ctx context.Context, p place) {
	socket := s.sockets[p]
	delete(s.sockets, p)
	socket.removed.Store(true)
	pause(ctx, socket)
	_ = socket.Close()
	s.log.Info("not listening any more", "network", socket.Addr().Network(),
		"address", socket.Addr().String(), "kind", p.kind)
}

// refuse logs every fault of a configuration that is not taken over.
func (s *service) refuse(err error) {
	faults := []string{err.Error()}
	if fault, ok := errors.AsType[*failure](err); ok {
		switch {
		case fault.plain: // FILE:LINE:COLUMN: ..., one a line
			faults = strings.Split(fault.text, "\n")
		case fault.hint != "":
			faults[0] += "; " + fault.hint
		}
	}
	s.health.refused(faults)
	for _, fault := range faults {
		s.log.Error("configuration not taken over", "fault", fault,
			"consequence", "the old configuration stays")
	}
}

// front adds to the proxy's configuration what does not come from the file.
func (s *service) front(cfg *proxy.Config) {
	cfg.TLS = s.certs.config()
	cfg.Hooks = proxy.Hooks{
		Connection: s.metrics.Connection,
		Recipient: func(
			_ *policy.Transaction, d *policy.Decision, relayed bool, reply esmtp.Reply, _ time.Time,
		) {
			s.metrics.Recipient(d, relayed, reply)
		},
		Message: func(_ *policy.Transaction, m *proxy.Message) {
			s.metrics.Message(string(m.Outcome), m.Octets, m.Total, m.Relaying)
			countChecks(s.metrics, m.Checks)
		},
	}
}

func webCertificateOf(cfg *config.Config) certificateFiles {
	return certificateFiles{cert: cfg.HTTP.TLSCertificate, key: cfg.HTTP.TLSKey}
}

func certificateFilesOf(cfg *config.Config) certificateFiles {
	return certificateFiles{cert: cfg.Proxy.TLSCertFile, key: cfg.Proxy.TLSKeyFile}
}
