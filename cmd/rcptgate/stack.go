package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// quitTime is how long probe sessions have for their QUIT when a command ends.
const quitTime = 2 * time.Second

// verification is all that answers questions about mailboxes.
type verification struct {
	dns      *dns.Resolver
	pool     *probe.Pool
	verifier *verify.Verifier
}

// buildVerification composes the verifier. ctx bounds the look-up of the relay's address.
func buildVerification(
	ctx context.Context, cfg *config.Config, log *slog.Logger,
) (*verification, error) {
	domains, err := mx.NewDomains(cfg.Verify.InternalDomains)
	if err != nil {
		return nil, usageError(fmt.Sprintf("%s: verify.internal_domains: %v", cfg.Name(), err),
			"run `rcptgate check-config`")
	}
	verifyConfig, err := cfg.VerifyConfig(log)
	if err != nil {
		return nil, &failure{code: exitUsage, text: err.Error(), plain: true}
	}
	resolver, err := dns.New(cfg.DNSConfig(log))
	if err != nil {
		return nil, failed(fmt.Sprintf("DNS: %v", err), "set verify.dns.servers")
	}
	lookup, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	relayAddrs, err := mx.RelayAddrs(lookup, cfg.UpstreamAddresses())
	if err != nil {
		log.Warn("relay has no address yet", "error", err.Error())
	}
	filter := mx.NewFilter(cfg.FilterConfig(relayAddrs))
	hosts := cfg.MXResolver(resolver, domains, filter)
	pool := probe.NewPool(cfg.ProbeConfig(mx.Dialer(filter, cfg.Verify.BindAddresses), hosts, log))
	return &verification{
		dns: resolver, pool: pool, verifier: verify.New(verifyConfig, hosts, pool),
	}, nil
}

// shutdown ends what is still being asked; every mail server gets its QUIT, within ctx.
func (v *verification) shutdown(ctx context.Context) error {
	err := errors.Join(v.verifier.Close(ctx), v.pool.Close(ctx))
	v.dns.Close()
	return err
}

// close is shutdown for commands that have their answer: what was still being asked is of no use.
func (v *verification) close() {
	ctx, cancel := context.WithTimeout(context.Background(), quitTime)
	defer cancel()
	_ = v.shutdown(ctx)
}

// gate is the whole program of serve, but for its listeners.
type gate struct {
	verification *verification
	engine       *policy.Engine
	relay        *relay.Pool
	server       *proxy.Server
}

// buildGate composes the gate. Nothing is connected to yet, but for the look-up of the relay.
func buildGate(cfg *config.Config, log *slog.Logger) (*gate, error) {
	v, err := buildVerification(context.Background(), cfg, log)
	if err != nil {
		return nil, err
	}
	engine, err := policy.New(cfg.PolicyConfig(), v.verifier, log)
	if err != nil {
		v.close()
		return nil, usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	relays := relay.New(cfg.RelayConfig(), log)
	return &gate{
		verification: v, engine: engine, relay: relays,
		server: proxy.New(cfg.ProxyConfig(), engine, relays, log),
	}, nil
}

// shutdown lets the open transactions end, then everything below them. When ctx ends first, what is
// left is cut off and the error says so.
func (g *gate) shutdown(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	quit, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTime)
	defer cancel()
	err = errors.Join(err, g.verification.shutdown(quit))
	return errors.Join(err, g.relay.Close()) //nolint:contextcheck // it bounds its QUITs itself
}
