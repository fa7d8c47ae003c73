package verify

import (
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	breakerNetworks = 5                // that time out at connect ...
	breakerWindow   = 10 * time.Minute // ... while none answers for so long
	breakerTrial    = 10 * time.Minute // between trials while probing is off
)

// breaker puts the gate into passive mode when it has to, and takes it back. It notices that it is our own way out that is closed (port 25 blocked, a
// broken route) and not all those mail servers: then waiting for connects that time
// out would only slow the mail down. Closed, as in a fuse, it lets probes pass.
type breaker struct {
	log *slog.Logger

	mu       sync.Mutex
	timeouts map[netip.Prefix]time.Time // last timeout of each network, in the window
	success  time.Time                  // last connect that was answered
	open     time.Time                  // since when probing is off; zero: it is on
	trial    time.Time                  // next trial while it is off
}

func newBreaker(log *slog.Logger) *breaker {
	return &breaker{log: log, timeouts: make(map[netip.Prefix]time.Time)}
}

// blocks reports whether a probe would be stopped at now.
func (b *breaker) blocks(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open.IsZero() && now.Before(b.trial)
}

// admit lets a probe pass, which then must be made; while probing is off, one every
// ten minutes.
func (b *breaker) admit(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.IsZero() {
		return true
	}
	if now.Before(b.trial) {
		return false
	}
	b.trial = now.Add(breakerTrial)
	return true
}

// connected records that a mail server was reached.
func (b *breaker) connected(now time.Time) {
	b.mu.Lock()
	since := b.open
	b.success, b.open, b.trial = now, time.Time{}, time.Time{}
	b.mu.Unlock()
	if !since.IsZero() {
		b.log.Info("probing is on again, passive mode ends: a mail server was reached",
			"off_for", now.Sub(since))
	}
}

// timedOut records that a connect to addr was not answered at all. A connect that is
// refused is neither a success nor a timeout: the server, or our own firewall, spoke.
func (b *breaker) timedOut(addr netip.Addr, now time.Time) {
	network, ok := networkOf(addr)
	if !ok {
		return
	}
	b.mu.Lock()
	for n, at := range b.timeouts {
		if now.Sub(at) > breakerWindow {
			delete(b.timeouts, n)
		}
	}
	// More than are needed say nothing new, and the map stays small.
	if _, known := b.timeouts[network]; known || len(b.timeouts) < breakerNetworks {
		b.timeouts[network] = now
	}
	opens := b.open.IsZero() && len(b.timeouts) >= breakerNetworks &&
		now.Sub(b.success) > breakerWindow
	if opens {
		b.open, b.trial = now, now.Add(breakerTrial)
	}
	b.mu.Unlock()
	if opens {
		b.log.Warn("probing is off: no mail server can be reached; passive mode until a trial can",
			"networks", breakerNetworks, "window", breakerWindow, "next_trial", breakerTrial,
			"fix", "open outgoing TCP port 25 for this host (firewall, hosting provider), "+
				`or set verify.mode = "passive"`)
	}
}

// state is what Verifier.Breaker returns.
func (b *breaker) state() (open bool, since time.Time, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.IsZero() {
		return false, time.Time{}, ""
	}
	return true, b.open, "connects to mail servers in " + strconv.Itoa(breakerNetworks) +
		" networks timed out and none was answered; the next trial is at " +
		b.trial.UTC().Format(time.RFC3339) + "; is outgoing TCP port 25 open?"
}

// networkOf is the /24 or /48 of an address.
func networkOf(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap()
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	p, err := addr.WithZone("").Prefix(bits)
	return p, err == nil && addr.IsValid()
}
