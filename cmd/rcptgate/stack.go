package main

import (
	"context"
	"errors"
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
	"github.com/rcptgate/rcptgate/proxy/policyd"
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

// buildVerification composes the verifier of a command, which keeps what it knows in memory. ctx
// bounds the look-up of the relay's address.
func buildVerification(
	ctx context.Context, cfg *config.Config, log *slog.Logger,
) (*verification, error) {
	v, err := buildBelow(ctx, cfg, uncounted{}, log)
	if err != nil {
		return nil, err
	}
	v.verifier = verify.New(v.settings, v.hosts, v.pool)
	return v, nil
}

// buildBelow composes what the verifier stands on.
func buildBelow(
	ctx context.Context, cfg *config.Config, counts counts, log *slog.Logger,
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
	settings.Asked = counts.Asked
	asking := cfg.DNSConfig(logFor(log, logDNS))
	asking.Asked = func(qtype string, status dns.Status) { counts.Resolved(qtype, status.String()) }
	resolver, err := dns.New(asking)
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
	front  front

	kept    *kept
	policyd *policyd.Server

	store    *cache.Store // nil: memory only
	learning learning
	own      ownHealth

	current atomic.Pointer[gateParts]
	behind  sync.WaitGroup  // ends what adopt has replaced
	base    context.Context // of that; ends in shutdown
	cancel  context.CancelFunc
}

// front is what the gate's servers get that is not in the configuration.
type front struct {
	smtp   func(*proxy.Config) // adds the certificate and the hooks
	counts counts

	unrecorded bool // no hook records a recipient or a message: see newBenchUnrecordedCmd
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
	return buildGateWith(cfg, log, front{smtp: func(*proxy.Config) {}, counts: uncounted{}})
}

func buildGateWith(
	cfg *config.Config, log *slog.Logger, front front,
) (*gate, error) {
	g := &gate{log: log, front: front}
	parts, err := g.buildParts(cfg)
	if err != nil {
		g.kept.close(context.Background())
		closeStore(g.store)
		return nil, err
	}
	g.base, g.cancel = context.WithCancel(context.Background())
	g.current.Store(parts)
	g.server = proxy.New(g.frontConfig(cfg), parts.engine, parts.relay, logFor(log, logProxy))
	g.policyd = policyd.New(g.policydConfig(cfg), parts.engine, logFor(log, logPolicy))
	g.learning.observe = func(o feedback.Observation) { g.parts().verification.verifier.Observe(o) }
	g.learn(cfg)
	return g, nil
}

// buildParts composes what there is before anything is served.
func (g *gate) buildParts(cfg *config.Config) (*gateParts, error) {
	g.store = openStore(cfg, g.log)
	v, err := buildBelow(context.Background(), cfg, g.front.counts, g.log)
	if err != nil {
		return nil, err
	}
	if g.kept, err = openKept(cfg, v.dns, g.egress, g.front.counts, g.log); err != nil {
		v.close()
		return nil, err
	}
	v.settings.Store, v.settings.Settled = g.store, g.kept.settled
	v.verifier = verify.New(v.settings, v.hosts, v.pool)
	if err := g.kept.restoreForgotten(v.verifier); err != nil {
		g.log.Warn("it is not known any more which providers' verdicts to forget", "error", err.Error(),
			"hint", "run `rcptgate override forget --provider NAME` again, and remove the file")
	}
	engine, err := g.newEngine(cfg, v.verifier)
	if err != nil {
		v.close()
		return nil, err
	}
	return &gateParts{
		verification: v, engine: engine, relay: relay.New(cfg.RelayConfig(), logFor(g.log, logRelay)),
	}, nil
}

// egress is where probes were seen to leave from, and with them mail.
func (g *gate) egress() []netip.Addr { return g.parts().verification.verifier.Egress() }

func (g *gate) newEngine(cfg *config.Config, verifier *verify.Verifier) (*policy.Engine, error) {
	settings := cfg.PolicyConfig()
	settings.Register, settings.Senders = g.kept.register, g.kept.senders
	engine, err := policy.New(settings, verifier, logFor(g.log, logPolicy))
	if err != nil {
		return nil, usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	return engine, nil
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
	front.Checks = g.kept.checker
	g.front.smtp(&front)
	if g.kept.watchFront(&front.Hooks); g.front.unrecorded {
		front.Hooks = proxy.Hooks{}
	}
	front.Hooks.Relayed = func(queueID string, rcpts []*verify.Result) {
		g.parts().verification.verifier.Relayed(queueID, rcpts)
	}
	return front
}

func (g *gate) policydConfig(cfg *config.Config) policyd.Config {
	settings := cfg.PolicydConfig()
	settings.Hooks = g.kept.policydHooks()
	settings.Hooks.Relayed = func(queueID string, rcpts []*verify.Result) {
		g.parts().verification.verifier.Relayed(queueID, rcpts)
	}
	return settings
}

// prepare builds all parts of a new configuration, with the verifier that is there. Nothing changes
// before adopt, which cannot fail. Parts that are not adopted are to be discarded.
func (g *gate) prepare(ctx context.Context, cfg *config.Config) (*gateParts, error) {
	below, err := buildBelow(ctx, cfg, g.front.counts, g.log)
	if err != nil {
		return nil, err
	}
	engine, err := g.newEngine(cfg, g.parts().verification.verifier)
	if err != nil {
		below.close() //nolint:contextcheck // it outlives no ctx
		return nil, err
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
	below.settings.Store, below.settings.Settled = g.store, g.kept.settled
	checked := g.kept.reconfigure(cfg, below.dns, g.egress, g.log)
	drained := below.verifier.Reconfigure(below.settings, below.hosts, below.pool)
	g.server.Reconfigure(g.frontConfig(cfg), next.engine, next.relay)
	g.policyd.Reconfigure(g.policydConfig(cfg), next.engine)
	g.current.Store(next)
	g.learn(cfg)
	g.lookAfter(cfg)
	g.behind.Go(func() {
		drained(g.base)
		checked(g.base)
		replaced := *old.verification
		replaced.verifier = nil // it lives on
		replaced.close()
	})
	g.behind.Go(func() { _ = old.relay.Close() })
}

// shutdown lets the open transactions end, then everything below them. When ctx ends first, what is
// left is cut off and the error says so: it is about mail, never about probes.
func (g *gate) shutdown(ctx context.Context) error {
	asked := make(chan error, 1)
	go func() { asked <- g.policyd.Shutdown(ctx) }()
	err := errors.Join(g.server.Shutdown(ctx), <-asked)
	parts := g.parts()
	g.learning.end()
	g.own.end()
	probes, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTime)
	defer cancel()
	parts.verification.shutdown(probes)
	_ = parts.relay.Close() //nolint:contextcheck // it bounds its QUITs itself
	g.cancel()
	g.behind.Wait()
	saving, cancelSaving := context.WithTimeout(context.WithoutCancel(ctx), keptTime)
	defer cancelSaving()
	g.kept.close(saving)
	closeStore(g.store) //nolint:contextcheck // it has a time of its own
	return err
}
