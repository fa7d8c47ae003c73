package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
)

// condition is what /readyz, the metrics and the watchdog look at, from any goroutine.
type condition struct {
	draining atomic.Bool

	mu     sync.Mutex
	cfg    *config.Config // in use
	since  time.Time      // when it was read
	faults string         // of the last one that was not taken over; "" after a success
}

func (c *condition) adopted(cfg *config.Config, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg, c.since, c.faults = cfg, now, ""
}

func (c *condition) refused(faults []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = faults[0]
	if more := len(faults) - 1; more > 0 {
		c.faults += fmt.Sprintf(" (and %d more)", more)
	}
}

func (c *condition) configuration() (cfg *config.Config, since time.Time, faults string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg, c.since, c.faults
}

// checks is the answer of /readyz. It may be called from any goroutine, and does not wait.
func (s *service) checks() []web.Check {
	parts := s.gate.parts()
	cfg, _, _ := s.health.configuration()
	list := []web.Check{s.checkService(), s.checkConfig(parts), checkUpstreams(cfg, parts)}
	list = append(list, checkProbing(parts.verification), checkOwn(s.gate.own.report()))
	list = append(list, s.checkRelayLog(parts.verification.verifier.Stats()), checkStore(s.gate.store))
	list = append(list, checkPolicy(s.gate.kept, parts.engine.Lists()))
	list = append(list, checkCertificate("certificate", s.certs, cfg.Proxy.TLSCertFile)...)
	return append(list, checkCertificate("certificate of http", s.webTLS, cfg.HTTP.TLSCertificate)...)
}

// checkCertificate tells how long a certificate is good, if there is one.
func checkCertificate(part string, certs *certificates, file string) []web.Check {
	end, ok := certs.end()
	if !ok {
		return nil
	}
	check := web.Check{Part: part, Detail: "good until " + dateOf(end)}
	if time.Now().After(end) {
		check.State = web.Degraded
		check.Detail = fmt.Sprintf("expired on %s; renew %s", dateOf(end), file)
	}
	return []web.Check{check}
}

func (s *service) checkService() web.Check {
	if s.health.draining.Load() {
		return web.Check{
			Part: "service", State: web.Failed,
			Detail: fmt.Sprintf("stopping; open connections: %d", s.gate.server.Open()),
		}
	}
	return web.Check{Part: "service", Detail: "taking mail"}
}

func (s *service) checkConfig(parts *gateParts) web.Check {
	_, since, faults := s.health.configuration()
	check := web.Check{Part: "configuration", Detail: "in use since " + dateOf(since)}
	if faults != "" {
		check.State = web.Degraded
		check.Detail = fmt.Sprintf("that of %s stays, the new one has faults: %s", dateOf(since), faults)
	} else if err := parts.verification.domains.Err(); err != nil {
		check.State = web.Degraded
		check.Detail = fmt.Sprintf("a changed list of internal domains is not taken over: %v", err)
	}
	return check
}

// checkPolicy tells whether what the policy keeps is safe, and its lists are those of their files.
func checkPolicy(k *kept, lists []policy.ListStatus) web.Check {
	check := web.Check{Part: "policy", Detail: "keeps what it knows in memory only"}
	if k.path != "" {
		check.Detail = "keeps what it knows in " + k.path
	}
	for _, list := range lists {
		if list.Err != nil {
			check.State = web.Degraded
			check.Detail = fmt.Sprintf("the list %s is that of %s, its file has a fault: %v",
				list.Name, dateOf(list.Read), list.Err)
		}
	}
	if ok, detail := k.register.Status(); !ok {
		check.State, check.Detail = web.Degraded, detail
	}
	return check
}

func (s *service) buildInfo() web.Build {
	v := buildVersion()
	return web.Build{Version: v.version, Commit: v.commit, GoVersion: v.goVersion}
}

// chooseWatched chooses the listener that the watchdog looks at: one that this machine may connect
// to without being refused, if there is one.
func (s *service) chooseWatched() {
	var best *socket
	rank := func(socket *socket) int {
		switch {
		case socket.place.kind == kindHTTP || socket.place.kind == kindPolicyd:
			return 0
		case socket.place.kind == kindSMTPS:
			return 1
		case !socket.place.endpoint.Loopback():
			return 2
		}
		return 3
	}
	for _, socket := range s.sockets {
		if rank(socket) > 0 && (best == nil || rank(socket) > rank(best)) {
			best = socket
		}
	}
	s.watched.Store(best)
}

// answers is the watchdog's question: does the gate answer a client? While it stops, nobody is
// answered any more, and the drain has its own limit.
func (s *service) answers(ctx context.Context) error {
	if s.health.draining.Load() {
		return nil
	}
	socket := s.watched.Load()
	cfg, _, _ := s.health.configuration()
	switch {
	case socket == nil && !cfg.TakesMail():
		return nil
	case socket == nil:
		return errors.New("there is no listener for mail")
	}
	within := func(networks []config.Network) func(netip.Addr) bool {
		return func(addr netip.Addr) bool {
			return slices.ContainsFunc(networks, func(n config.Network) bool { return n.Contains(addr) })
		}
	}
	err := selfCheck{
		address: socket.Addr(), implicitTLS: socket.place.kind == kindSMTPS,
		allowed: within(cfg.Proxy.ClientNetworks), header: within(cfg.Proxy.ProxyProtocolNetworks),
	}.run(ctx)
	if err != nil && (s.health.draining.Load() || socket.removed.Load()) {
		return nil
	}
	return err
}

// checkUpstreams tells whether the relay takes mail.
func checkUpstreams(cfg *config.Config, parts *gateParts) web.Check {
	if !cfg.TakesMail() {
		return web.Check{Part: "relay", Detail: "not used: the gate is only asked (proxy.listen is empty)"}
	}
	healthy, detail := parts.relay.Healthy()
	switch {
	case !healthy:
		return web.Check{Part: "relay", State: web.Failed, Detail: "no upstream takes mail, it gets 451: " + detail}
	case detail != "":
		return web.Check{Part: "relay", State: web.Degraded, Detail: "another upstream takes the mail: " + detail}
	}
	return web.Check{Part: "relay", Detail: "no upstream is known to be down"}
}
