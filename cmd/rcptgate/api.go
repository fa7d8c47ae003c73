package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/verify"
)

// control is the API on its socket, for the commands of this machine.
type control struct {
	endpoint config.Endpoint
	socket   net.Listener // nil: none
	server   *web.Server
}

// buildAPI makes the API and opens the control socket. It comes after all parts are there.
func (s *service) buildAPI(ctx context.Context) error {
	s.history = web.NewHistory(s.metrics)
	api := web.NewAPI(s.apiParts, s.log)
	s.web.Mount(api)
	if err := s.web.MountDashboard(); err != nil {
		return err
	}
	s.control = control{endpoint: s.cfg.ControlSocket(), server: web.NewControl(api, s.log)}
	tokens, err := s.openTokens(s.cfg)
	if err != nil {
		return err
	}
	s.web.UseTokens(tokens)
	s.web.LimitRate(s.cfg.HTTP.Rate)
	s.control.socket, err = listenControl(ctx, s.control.endpoint)
	return err
}

// openTokens reads the tokens that cfg names.
func (s *service) openTokens(cfg *config.Config) (*web.Tokens, error) {
	tokens, err := web.OpenTokens(cfg.HTTP.TokensFile, s.log)
	if err != nil {
		return nil, &failure{code: exitUsage, text: err.Error(), plain: true}
	}
	return tokens, nil
}

// serveControl answers commands until the socket is closed.
func (s *service) serveControl() {
	if s.control.socket == nil {
		return
	}
	path, _ := s.control.endpoint.Unix()
	s.log.Info("listening", "network", "unix", "address", path, "kind", "control", "inherited", false)
	s.running.Go(func() { _ = s.control.server.Serve(s.control.socket) })
}

// endControl ends what commands have asked for, within quitTime.
func (s *service) endControl(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quitTime)
	defer cancel()
	_ = s.control.server.Shutdown(ctx)
}

// apiParts is what the API shows and changes, as it is now.
func (s *service) apiParts() web.Parts {
	k := s.gate.kept
	v := func() *verify.Verifier { return s.gate.parts().verification.verifier }
	return web.Parts{
		Register: k.register, Senders: k.senders, Journal: k.journal, Status: s.status,
		Metrics: s.metrics, History: s.history, Config: s.configuration,
		Verifier: v(), MaxVerifications: s.places(), Classify: classifyReply, Explain: s.explain,
		Drain:     s.askDrain,
		Providers: func() []web.Provider { return providerStates(s.gate.parts().verification) },
		Memory: web.Memory{
			Address: func(a esmtp.Address) error { v().Forget(a); return nil },
			Domain:  func(domain string) error { v().ForgetDomain(domain); return nil },
			Provider: func(name string) error {
				return k.forgetProvider(v(), name, time.Now())
			},
			Look: func(a esmtp.Address) (verify.Remembered, bool) { return v().Look(a) },
			LookDomain: func(ctx context.Context, domain string) verify.RememberedDomain {
				return v().LookDomain(ctx, domain)
			},
			Counts: s.cacheCounts,
		},
	}
}

func (s *service) status() web.Status {
	cfg, since, _ := s.health.configuration()
	build := s.buildInfo()
	return web.Status{
		Version: build.Version, Commit: build.Commit, Started: s.started, Config: cfg.Name(),
		Loaded: since, Mode: cfg.Verify.Mode, Policy: cfg.Policy.Mode, Preset: cfg.Policy.Preset,
		Checks: s.checks(), Connections: s.gate.server.Open(), Relay: relayStates(s.gate.parts()),
		Own: s.ownAnswer(), Files: fileLimit(),
	}
}

// forgottenName is the file of the providers whose verdicts are void, and since when.
const forgottenName = "forgotten.json"

// forgottenFor is longer than any verdict lives.
const forgottenFor = 366 * 24 * time.Hour

// forgetProvider makes all verdicts about a provider's mailboxes void, also those in the cache's
// file, which a gate that starts later must not believe either. Only a provider with a profile can be
// forgotten, so that nobody fills the file.
func (k *kept) forgetProvider(v *verify.Verifier, name string, now time.Time) error {
	k.forgetting.Lock()
	defer k.forgetting.Unlock()
	if !v.ForgetProvider(name, now) {
		return &register.FieldError{
			Field: "name", Detail: "there is no provider " + strconv.Quote(name),
			Hint: "write one as verdicts and GET /v1/providers name it; of a site without a profile, " +
				"forget the domains",
		}
	}
	if k.forgotten == nil {
		k.forgotten = make(map[string]time.Time)
	}
	k.forgotten[name] = now
	return k.dir.Write(forgottenName, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(k.forgotten)
	})
}

// restoreForgotten tells the verifier what was forgotten before this process. A file that cannot be
// read is told: verdicts that somebody did not believe are in use again.
func (k *kept) restoreForgotten(v *verify.Verifier) error {
	k.forgetting.Lock()
	defer k.forgetting.Unlock()
	_, err := k.dir.Read(forgottenName, func(r io.Reader) error {
		return json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&k.forgotten)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", k.dir.Path(forgottenName), err)
	}
	maps.DeleteFunc(k.forgotten, func(name string, at time.Time) bool {
		return time.Since(at) > forgottenFor || !v.ForgetProvider(name, at)
	})
	return nil
}
