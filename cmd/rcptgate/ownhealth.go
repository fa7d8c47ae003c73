package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/health"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// egressEvery is the time between looks at which addresses probes leave from: the first probe tells
// them, and nobody wants to wait an hour for what is wrong with them.
const egressEvery = time.Minute

// ownHealth looks after the addresses that probes leave from while the gate runs. use and end are for
// one caller; anybody may ask for the report.
type ownHealth struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	monitor *health.Monitor // nil: none
}

// use begins to look at what c says. It is called again after a reload, for then the old resolver
// ends.
func (o *ownHealth) use(ctx context.Context, c health.Config) {
	o.end()
	ctx, o.cancel = context.WithCancel(ctx)
	o.done = make(chan struct{})
	monitor := health.New(c)
	o.mu.Lock()
	o.monitor = monitor
	o.mu.Unlock()
	done := o.done
	go func() {
		defer close(done)
		var watching sync.WaitGroup
		watching.Go(func() { watchEgress(ctx, monitor, c.Addrs) })
		monitor.Run(ctx)
		watching.Wait()
	}()
}

// watchEgress looks again when other addresses are known.
func watchEgress(ctx context.Context, monitor *health.Monitor, addrs func() []netip.Addr) {
	before := addrs()
	tick := time.NewTicker(egressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now := addrs(); !slices.Equal(before, now) {
			before = now
			monitor.Check(ctx)
		}
	}
}

// end returns when nothing is looked at any more.
func (o *ownHealth) end() {
	if o.cancel == nil {
		return
	}
	o.cancel()
	<-o.done
	o.cancel = nil
	o.mu.Lock()
	o.monitor = nil
	o.mu.Unlock()
}

// report is what was found; last is when DNS was asked last, zero if that goes on for the first
// time; ok is false if nothing is looked after.
func (o *ownHealth) report() (findings []health.Finding, last time.Time, ok bool) {
	o.mu.Lock()
	monitor := o.monitor
	o.mu.Unlock()
	if monitor == nil {
		return nil, time.Time{}, false
	}
	return monitor.Report(), monitor.Last(), true
}

// lookAfter looks after the addresses that probes leave from, as cfg wants it.
func (g *gate) lookAfter(cfg *config.Config) {
	c, ok := cfg.HealthConfig(logFor(g.log, logVerify))
	if !ok {
		g.own.end()
		return
	}
	v := g.parts().verification
	c.DNS = v.dns
	c.Addrs, c.Port25 = v.verifier.Egress, v.verifier.Breaker
	c.Blocks = func() []health.Block { return blocks(v.verifier.Pauses(), v.settings.Providers) }
	g.own.use(g.base, c)
}

// otherSites stands for the mail servers of nobody in particular, in findings and in metrics.
const otherSites = "other"

// providerOf is the name of the profile that a group of mail servers goes by, or otherSites: names of
// sites are without bound.
func providerOf(table *provider.Table, group string) string {
	if table == nil || group == provider.Generic {
		return otherSites
	}
	if p, ok := table.Get(group); ok {
		return p.Name
	}
	return otherSites
}

// manySites is how many small sites must refuse this host until that tells more about it than about
// them.
const manySites = 3

// blocks are the providers that refuse this host. Small sites count together, if they are many.
func blocks(pauses []verify.Pause, table *provider.Table) []health.Block {
	var list []health.Block
	others, last := 0, time.Time{}
	for _, p := range pauses {
		if p.Reason != verify.BlockedIP {
			continue
		}
		name := providerOf(table, p.Group)
		if name == otherSites {
			others++
			if p.Until.After(last) {
				last = p.Until
			}
			continue
		}
		list = append(list, health.Block{Provider: name, Detail: saidBy(p), Until: p.Until})
	}
	if others >= manySites {
		list = append(list, health.Block{
			Provider: "a group of other sites",
			Detail:   strconv.Itoa(others) + " sites",
			Until:    last,
		})
	}
	return list
}

// saidBy tells in short what a pause goes back to.
func saidBy(p verify.Pause) string {
	said := "ended the connection"
	if p.Code != 0 {
		said = "said " + strconv.Itoa(p.Code)
	}
	return fmt.Sprintf("%s %s (%s)", cmp.Or(p.MX, "a mail server"), said, cmp.Or(string(p.Stage), "connect"))
}
