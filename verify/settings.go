package verify

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// settings is what Reconfigure replaces. It never changes: a question and a flight each keep the
// one that they began with.
type settings struct {
	cfg       Config
	lifetimes lifetimes
	mx        *mx.Resolver
	pool      *probe.Pool
	providers *provider.Table
	own       map[string]bool // keys of our own addresses, in lower case

	ownDomains map[string]bool // of own
}

func newSettings(cfg Config, resolver *mx.Resolver, pool *probe.Pool) *settings {
	cfg = cfg.withDefaults()
	s := &settings{
		cfg: cfg,
		lifetimes: lifetimes{
			positiveRefresh: cfg.PositiveRefresh, positiveExpire: cfg.PositiveExpire,
			negativeRefresh: cfg.NegativeRefresh, negativeExpire: cfg.NegativeExpire,
			temporaryExpire: cfg.TemporaryExpire,
		},
		mx: resolver, pool: pool, providers: providersOf(cfg),
	}
	s.own, s.ownDomains = s.ownAddresses(), make(map[string]bool)
	for key := range s.own {
		_, domain := splitKey(key)
		s.ownDomains[domain] = true
	}
	return s
}

func providersOf(cfg Config) *provider.Table {
	if cfg.Providers != nil {
		return cfg.Providers
	}
	table, err := provider.Load()
	if err != nil { // a fault of the build, which the tests of package provider exclude
		cfg.Log.Error("internal error: the provider profiles cannot be read; please report it",
			"error", err.Error())
	}
	return table
}

// profile returns the profile of that name, or the generic one.
func (s *settings) profile(name string) *provider.Profile {
	if p, ok := s.providers.Get(name); ok {
		return p
	}
	return s.providers.Find("", nil)
}

// key is what an address is remembered by: the mailbox, in the one spelling of several that its
// provider delivers to it.
func (s *settings) key(a esmtp.Address) string { return keyOf(s.local(a), a) }

// local is the local part of an address in that spelling.
func (s *settings) local(a esmtp.Address) string {
	domain := a.ASCIIDomain()
	if p := s.providers.Find(domain, nil); p.Fold != (provider.Fold{}) {
		return p.FoldLocal(a.Local(), domain)
	}
	return a.Local()
}

func keyOf(local string, a esmtp.Address) string { return local + "@" + a.ASCIIDomain() }

// secretOf is the secret of invented recipients.
func secretOf(cfg Config) []byte {
	if len(cfg.Secret) > 0 {
		return cfg.Secret
	}
	if secret := cfg.Store.Secret(); len(secret) > 0 {
		return secret
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (package crypto/rand)
	return secret
}

// Reconfigure changes all but Config.Log, Config.Store and Config.Secret, for questions from now on.
// What is known stays known until the end that it was given, and the breaker and the pauses of mail
// servers stay as they are.
//
// Flights that are under way end as they began. drained waits for them, or until ctx ends: only
// behind it may the caller close the old pool and the old resolver.
func (v *Verifier) Reconfigure(
	cfg Config, resolver *mx.Resolver, pool *probe.Pool,
) (drained func(ctx context.Context)) {
	set := newSettings(cfg, resolver, pool)
	v.mu.Lock()
	before := v.settings.Load()
	v.settings.Store(set)
	flights := v.snapshot()
	v.mu.Unlock()
	if before.cfg.CacheOctets != set.cfg.CacheOctets {
		v.memory.resize(set.cfg.CacheOctets)
	}
	return func(ctx context.Context) { _ = await(ctx, flights) }
}

// snapshot lists the flights. The caller holds v.mu.
func (v *Verifier) snapshot() []*flight {
	flights := make([]*flight, 0, len(v.flights))
	for _, f := range v.flights {
		flights = append(flights, f)
	}
	for _, f := range v.tests {
		flights = append(flights, f)
	}
	return flights
}

// await returns when all flights are settled, or the cause of ctx's end.
func await(ctx context.Context, flights []*flight) error {
	for _, f := range flights {
		select {
		case <-f.settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Asked is how one asking of a provider's mail servers ended.
type Asked struct {
	Provider string // name of the profile; "" where there is none
	// Result is the label of the reply that ended it (package verify/reply), or "unreachable",
	// "broken" (there was no reply), "self" (we reached ourselves), "declined" (by its banner it is a
	// provider that is not asked now) or "local_limit" (of ours; nobody was asked).
	Result  string
	Elapsed time.Duration
}

// Stats is what a Verifier holds at one moment.
type Stats struct {
	Flights int // recipients that are being asked about

	// What is remembered, by verdict, expired entries that were not swept yet included.
	Deliverable   int // and risky
	Undeliverable int
	Unknown       int

	Domains   int // whose behaviour is known
	Histories int // addresses that mail was seen to arrive at
	Incidents int // providers whose refusals are not believed for now

	Octets  int64  // memory that all that is remembered may take, about
	Evicted uint64 // recipients that memory had no room for any more

	Tests uint64 // invented recipients that were asked for

	// What memory lacked and was looked for in the Store, and whether that had it.
	StoreHits, StoreMisses uint64

	// What the relay's log told, and how often it contradicted a verdict of ours: mail for a
	// deliverable mailbox was refused as for one that does not exist, and mail arrived at one that
	// was undeliverable. Agreed is how often it did not.
	Delivered, Deferred, Bounced       uint64
	Ignored                            uint64 // not from a mail server of the recipient's domain
	Agreed                             uint64
	DeliverableBounced, RefusedArrived uint64
}

// Stats counts. It is cheap enough for a scrape, not for each question.
func (v *Verifier) Stats() Stats {
	v.mu.Lock()
	flights := len(v.flights)
	v.mu.Unlock()
	deliverable, undeliverable, unknown := v.memory.lens()
	s := Stats{
		Flights: flights, Deliverable: deliverable, Undeliverable: undeliverable, Unknown: unknown,
		Domains: v.domains.kept.memory.Len(), Histories: v.histories.kept.memory.Len(),
		Incidents: v.guard.count(time.Now()),
		Octets:    v.settings.Load().cfg.CacheOctets, Evicted: v.memory.table.Evicted(),
		StoreHits: v.memory.hits.Load(), StoreMisses: v.memory.misses.Load(),
	}
	v.counts.into(&s)
	return s
}

// neverAsked returns why an address is not asked about and nothing can be known of
// it; "" if it may be. local is its local part as it is remembered.
func (s *settings) neverAsked(a esmtp.Address, local string) Reason {
	domain := a.ASCIIDomain()
	switch {
	case domain == "", a.IsLiteral():
		return NotProbed
	case s.mx != nil && s.mx.Internal.Match(domain):
		return InternalDomain
	case strings.ContainsAny(a.Local(), "%!@"):
		// A route inside the local part (user%host@relay, host!user@relay): whom such
		// mail reaches is up to the relay, and the domain's server would not tell.
		return NotProbed
	case s.ownDomains[domain] && s.own[strings.ToLower(keyOf(local, a))]:
		return OwnAddress
	}
	return ""
}

// askAs returns the sender to ask with, or the reason why only memory may answer.
func (s *settings) askAs(q Question) (sender esmtp.Address, quiet Reason) {
	switch {
	case q.NullSender:
		return sender, NullSender
	case q.Helo != "" && s.isOwnName(q.Helo):
		return sender, Self
	case s.cfg.Passive:
		return sender, Passive
	case q.MemoryOnly:
		return sender, NotProbed
	}
	for _, sender := range []esmtp.Address{s.cfg.ProbeSender, q.Sender, s.cfg.FallbackSender} {
		if usableSender(sender) {
			return sender, ""
		}
	}
	return sender, NullSender
}

// usableSender reports whether any mail server may be asked with this MAIL FROM.
func usableSender(a esmtp.Address) bool {
	return !a.IsNull() && !a.IsLiteral() && !a.NeedsUTF8() && strings.Contains(a.ASCIIDomain(), ".")
}

func (s *settings) isOwnName(helo string) bool {
	helo = strings.TrimSuffix(helo, ".")
	if strings.EqualFold(helo, s.cfg.Helo) {
		return true
	}
	for _, name := range s.cfg.OwnNames {
		if strings.EqualFold(helo, strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// ownAddresses are those that probes come from, and the one that Postfix calls back
// with: a server that verifies our sender must not make us verify in turn.
func (s *settings) ownAddresses() map[string]bool {
	cfg := &s.cfg
	own := make(map[string]bool)
	for _, a := range []esmtp.Address{cfg.ProbeSender, cfg.FallbackSender} {
		if !a.IsNull() {
			own[strings.ToLower(s.key(a))] = true
		}
	}
	for _, name := range append([]string{cfg.Helo}, cfg.OwnNames...) {
		own["double-bounce@"+strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return own
}
