package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// quitTime is how long probe sessions have for their QUIT when a command ends.
const quitTime = 2 * time.Second

// verification is all that answers questions about mailboxes.
type verification struct {
	dns      *dns.Resolver
	domains  *mx.Domains
	hosts    *mx.Resolver
	pool     *probe.Pool
	settings verify.Config
	verifier *verify.Verifier // nil until it is needed
}

// buildVerification composes the verifier. ctx bounds the look-up of the relay's address. store is
// where it keeps what it knows; nil: only in memory.
func buildVerification(
	ctx context.Context, cfg *config.Config, store *cache.Store, log *slog.Logger,
) (*verification, error) {
	v, err := buildBelow(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	v.settings.Store = store
	v.verifier = verify.New(v.settings, v.hosts, v.pool)
	return v, nil
}

// buildBelow composes what the verifier stands on.
func buildBelow(
	ctx context.Context, cfg *config.Config, log *slog.Logger,
) (*verification, error) {
	domains, err := mx.NewDomains(cfg.Verify.InternalDomains)
	if err != nil {
		return nil, usageError(fmt.Sprintf("%s: verify.internal_domains: %v", cfg.Name(), err),
			"run `rcptgate check-config`")
	}
	domains.LogTo(logFor(log, logVerify))
	settings, err := cfg.VerifyConfig(logFor(log, logVerify))
	if err != nil {
		return nil, &failure{code: exitUsage, text: err.Error(), plain: true}
	}
	if settings.Providers, err = cfg.Providers(); err != nil {
		return nil, usageError(fmt.Sprintf("%s: verify.provider_files: %v", cfg.Name(), err),
			"run `rcptgate check-config`")
	}
	resolver, err := dns.New(cfg.DNSConfig(logFor(log, logDNS)))
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
	dial := mx.Dialer(filter, cfg.Verify.BindAddresses)
	pool := cfg.ProbeConfig(dial, hosts, logFor(log, logProbe))
	pool.Bind = cfg.Verify.BindAddresses
	pool.DialFrom = func(source netip.Addr) esmtp.DialFunc {
		return mx.Dialer(filter, []netip.Addr{source})
	}
	return &verification{
		dns: resolver, domains: domains, hosts: hosts, settings: settings,
		pool: probe.NewPool(pool),
	}, nil
}

// shutdown ends what is still being asked. When ctx ends first that is cut off, which is no fault:
// nobody waits for it any more. Every mail server gets its QUIT, within quitTime.
func (v *verification) shutdown(ctx context.Context) {
	if v.verifier != nil {
		_ = v.verifier.Close(ctx)
	}
	quit, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTime)
	defer cancel()
	_ = v.pool.Close(quit) // a mail server that hangs is left
	v.dns.Close()
}

// close is shutdown for commands that have their answer: what was still being asked is of no use.
func (v *verification) close() {
	ctx, cancel := context.WithTimeout(context.Background(), quitTime)
	defer cancel()
	v.shutdown(ctx)
}

// gate is the whole program of serve, but for its listeners. adopt and shutdown are for one caller;
// anybody may look at parts.
type gate struct {
	log    *slog.Logger
	server *proxy.Server
	front  func(*proxy.Config) // adds the certificate and the hooks

	store    *cache.Store // nil: memory only
	learning learning
	own      ownHealth

	current atomic.Pointer[gateParts]
	behind  sync.WaitGroup  // ends what adopt has replaced
	base    context.Context // of that; ends in shutdown
	cancel  context.CancelFunc
}

// gateParts is what a new configuration replaces.
type gateParts struct {
	verification *verification
	engine       *policy.Engine
	relay        *relay.Pool
}

func (g *gate) parts() *gateParts { return g.current.Load() }

// buildGate composes the gate. Nothing is connected to yet, but for the look-up of the relay.
func buildGate(cfg *config.Config, log *slog.Logger) (*gate, error) {
	return buildGateWith(cfg, log, func(*proxy.Config) {})
}

func buildGateWith(
	cfg *config.Config, log *slog.Logger, front func(*proxy.Config),
) (*gate, error) {
	store := openStore(cfg, log)
	v, err := buildVerification(context.Background(), cfg, store, log)
	if err != nil {
		closeStore(store)
		return nil, err
	}
	engine, err := policy.New(cfg.PolicyConfig(), v.verifier, logFor(log, logPolicy))
	if err != nil {
		v.close()
		closeStore(store)
		return nil, usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	parts := &gateParts{
		verification: v, engine: engine, relay: relay.New(cfg.RelayConfig(), logFor(log, logRelay)),
	}
	g := &gate{log: log, front: front, store: store}
	g.base, g.cancel = context.WithCancel(context.Background())
	g.current.Store(parts)
	g.server = proxy.New(g.frontConfig(cfg), engine, parts.relay, logFor(log, logProxy))
	g.learning.observe = func(o feedback.Observation) { g.parts().verification.verifier.Observe(o) }
	g.learn(cfg)
	return g, nil
}

// openStore opens the file that outlives the gate. It never fails: see cache.OpenStore.
func openStore(cfg *config.Config, log *slog.Logger) *cache.Store {
	if cfg.Verify.Cache.Path == "" {
		return nil
	}
	return cache.OpenStore(cfg.Verify.Cache.Path, cache.StoreConfig{
		MaxBytes: int64(cfg.Verify.Cache.MaxSize), Log: logFor(log, logVerify),
	})
}

func closeStore(store *cache.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	_ = store.Close(ctx) // it has logged what is wrong
}

// storeTime is how long the last writes of the cache's file may take.
const storeTime = 5 * time.Second

// learn reads the relay's log that cfg names.
func (g *gate) learn(cfg *config.Config) {
	from, _ := cfg.FeedbackConfig(logFor(g.log, logVerify))
	if err := g.learning.use(g.base, cfg, from); err != nil {
		g.log.Error("the relay's log is not read", "error", err.Error()) // check-config would have told
	}
}

func (g *gate) frontConfig(cfg *config.Config) proxy.Config {
	front := cfg.ProxyConfig()
	g.front(&front)
	front.Hooks.Relayed = func(queueID string, rcpts []*verify.Result) {
		g.parts().verification.verifier.Relayed(queueID, rcpts)
	}
	return front
}

// prepare builds all parts of a new configuration, with the verifier that is there. Nothing changes
// before adopt, which cannot fail. Parts that are not adopted are to be discarded.
func (g *gate) prepare(ctx context.Context, cfg *config.Config) (*gateParts, error) {
	below, err := buildBelow(ctx, cfg, g.log)
	if err != nil {
		return nil, err
	}
	verifier := g.parts().verification.verifier
	engine, err := policy.New(cfg.PolicyConfig(), verifier, logFor(g.log, logPolicy))
	if err != nil {
		below.close() //nolint:contextcheck // it outlives no ctx
		return nil, usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	return &gateParts{
		verification: below, engine: engine, relay: relay.New(cfg.RelayConfig(), logFor(g.log, logRelay)),
	}, nil
}

func (p *gateParts) discard() {
	p.verification.close()
	_ = p.relay.Close()
}

// adopt swaps the parts. Open transactions end with the old ones, which are closed behind them; all
// that is known of mailboxes stays.
func (g *gate) adopt(cfg *config.Config, next *gateParts) {
	old, below := g.parts(), next.verification
	below.verifier = old.verification.verifier
	below.settings.Store = g.store
	drained := below.verifier.Reconfigure(below.settings, below.hosts, below.pool)
	g.server.Reconfigure(g.frontConfig(cfg), next.engine, next.relay)
	g.current.Store(next)
	g.learn(cfg)
	g.lookAfter(cfg)
	g.behind.Go(func() {
		drained(g.base)
		replaced := *old.verification
		replaced.verifier = nil // it lives on
		replaced.close()
	})
	g.behind.Go(func() { _ = old.relay.Close() })
}

// shutdown lets the open transactions end, then everything below them. When ctx ends first, what is
// left is cut off and the error says so: it is about mail, never about probes.
func (g *gate) shutdown(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	parts := g.parts()
	g.learning.end()
	g.own.end()
	probes, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTime)
	defer cancel()
	parts.verification.shutdown(probes)
	_ = parts.relay.Close() //nolint:contextcheck // it bounds its QUITs itself
	g.cancel()
	g.behind.Wait()
	closeStore(g.store) //nolint:contextcheck // it has a time of its own
	return err
}
