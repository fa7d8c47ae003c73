package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// run is one Probe under way: the request, and what has happened so far. One goroutine uses it.
type run struct {
	pool    *Pool
	req     Request
	limits  Limits // resolved
	charged bool   // the rate of the group
	steps   []string
}

// step records what happened, for people. Whatever came from the network must be escaped already.
func (r *run) step(format string, args ...any) {
	if len(r.steps) < maxSteps {
		r.steps = append(r.steps, fmt.Sprintf(format, args...))
	}
}

// begin checks the request and our own limits, and walks the hosts within the budget.
func (r *run) begin(ctx context.Context) Outcome {
	p := r.pool
	if err := r.req.check(); err != nil {
		return Outcome{Stage: reply.StageConnect, Err: fmt.Errorf("probe: %w", err)}
	}
	if !p.enter() {
		return Outcome{Stage: reply.StageConnect, Err: ErrClosed}
	}
	defer p.wg.Done()
	domain := r.req.Rcpt.ASCIIDomain()
	if wait, ok := p.domains.Take(domain, time.Now()); !ok {
		err := fmt.Errorf("probe: our own rate for %s is used up for %v", domain, wait.Round(time.Second))
		return Outcome{Stage: reply.StageConnect, LocalLimit: true, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Total)
	defer cancel()
	r.limits = p.cfg.resolve(r.req.Limits)
	if over(ctx) {
		err := fmt.Errorf("probe: no time left: %w", cmp.Or(context.Cause(ctx), context.DeadlineExceeded))
		return Outcome{Stage: reply.StageConnect, Err: err}
	}
	return r.walk(ctx)
}

// walk asks the hosts in their order until one answers, and returns that answer, or the most
// telling of the failures (RFC 5321 section 5.1).
func (r *run) walk(ctx context.Context) Outcome {
	best := Outcome{Stage: reply.StageConnect}
	tried := 0
	for _, host := range r.hosts() {
		addrs, status := r.pool.cfg.Resolver.Addrs(ctx, host.Name)
		if len(addrs) == 0 {
			r.step("%s: no address that may be probed (DNS: %v)", host.Name, status)
			best = better(best, Outcome{
				Stage: reply.StageConnect, MX: host.Name,
				Err: fmt.Errorf("probe: %s has no address that may be probed (DNS: %v)", host.Name, status),
			})
		}
		for _, addr := range r.near(order(addrs)) {
			if tried++; tried > maxAddrs {
				return best
			}
			out, final := r.host(ctx, host.Name, addr)
			if out.LocalLimit && !best.Reply.IsZero() {
				return best // it says more than that our own time is over
			}
			if final {
				return out
			}
			best = better(best, out)
			if over(ctx) || r.pool.base.Err() != nil {
				return best
			}
		}
	}
	return best
}

// order picks the addresses of one host that are tried, the families in turns, so that one without
// a route costs one attempt. IPv4 goes first: it is where a small site's reverse DNS and reputation
// are in order, and hosts that are IPv6 only are reached all the same.
func order(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		f := 0
		if a.Is6() {
			f = 1
		}
		families[f] = append(families[f], a)
	}
	var out []netip.Addr
	for i := 0; len(out) < min(len(addrs), maxAddrsPerHost); i++ {
		for _, f := range families {
			if i < len(f) && len(out) < maxAddrsPerHost {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// why says for people what an outcome without an answer came from.
func (o Outcome) why() string {
	if o.Err != nil {
		return escape(o.Err)
	}
	return o.Reply.String()
}

// better returns the failure that says more; the earlier one of two that say the same.
func better(a, b Outcome) Outcome {
	if weight(b) > weight(a) {
		return b
	}
	return a
}

// weight orders failures: an SMTP refusal, then a connection that broke, then one that was refused,
// then one that timed out (so ConnectTimeout means that nothing else happened), then anything that
// kept us from trying.
func weight(o Outcome) int {
	switch {
	case !o.Reply.IsZero() || o.NoUTF8:
		return 5
	case o.Connected:
		return 4
	case o.Addr.IsValid() && isRefused(o.Err):
		return 3
	case o.ConnectTimeout:
		return 2
	case o.Err != nil:
		return 1
	}
	return 0
}

// host asks at one address. final is true if out ends the walk: an answer to MAIL or RCPT, a limit
// of ours, or ourselves at the other end.
func (r *run) host(ctx context.Context, name string, addr netip.Addr) (out Outcome, final bool) {
	p := r.pool
	out = Outcome{Stage: reply.StageConnect, MX: name, Addr: addr}
	source, err := p.source(r.req.Group, addr)
	if err != nil {
		r.step("%s [%v]: no source address of its family", name, addr)
		out.Err = err
		return out, false
	}
	q := &question{
		req: &r.req, name: name, group: groupKey{source, r.req.Group}, limits: r.limits,
		result: make(chan asked, 1),
	}
	if out, ok := r.admit(q, addr); !ok {
		return out, true
	}
	p.mu.Lock()
	pr := p.peerAt(peerKey{source, addr})
	last, ok := p.down.get(addr, time.Now())
	if !ok {
		last, ok = p.slow.get(addr, time.Now())
	}
	if ok && !pr.greeted() {
		p.tidy(pr)
		p.mu.Unlock()
		r.step("%s [%v]: left alone, a moment ago: %s", name, addr, last.why())
		last.MX, last.Connected = name, false
		return last, last.Self || last.Declined
	}
	p.enqueue(pr, q)
	p.mu.Unlock()
	select {
	case a := <-q.result:
		return r.settled(q, a)
	case <-ctx.Done():
	case <-p.base.Done():
	}
	before, limited, story := p.abandon(pr, q)
	switch before {
	case done:
		return r.settled(q, <-q.result)
	case taken:
		// The session goes on to the end of what was sent, and writes into q until then.
		r.step("%s [%v]: asked for, no answer in time", name, addr)
		out.Connected, out.Stage = true, reply.StageMail
		if q.mailed.Load() {
			out.Stage = reply.StageRcpt
		}
		out.Err = &HostError{What: command(out.Stage), MX: name, Addr: addr, Err: r.ended(ctx)}
	case waiting, gone:
		r.steps = append(r.steps, story...)
		if limited {
			r.step("%s [%v]: all connections stayed busy", name, addr)
			out.LocalLimit = true
			out.Err = fmt.Errorf("probe: no connection to %s came free: %w", name, r.ended(ctx))
			return out, true
		}
		r.step("%s [%v]: no session in time", name, addr)
		out.Err = &HostError{What: "connect", MX: name, Addr: addr, Err: r.ended(ctx)}
	}
	return out, false
}

// ended says why the run does not wait any more.
func (r *run) ended(ctx context.Context) error {
	if r.pool.base.Err() != nil {
		return ErrClosed
	}
	return cmp.Or(context.Cause(ctx), context.DeadlineExceeded)
}

func (r *run) settled(q *question, a asked) (Outcome, bool) {
	if len(r.steps) == 0 {
		r.steps = q.steps[:min(len(q.steps), maxSteps)] // nobody else has them any more
	} else {
		r.steps = append(r.steps, q.steps[:min(len(q.steps), maxSteps-len(r.steps))]...)
	}
	a.out.MX = q.name
	return a.out, a.final
}

// admit asks the limits that end a Probe at once.
func (r *run) admit(q *question, addr netip.Addr) (Outcome, bool) {
	p, now := r.pool, time.Now()
	if p.look(q, now) == limit.Stop {
		r.step("too many recipients of %s were refused, it is not asked for a while", r.req.Rcpt.ASCIIDomain())
		return q.harvested(addr), false
	}
	if q.group.name == "" || r.charged {
		return Outcome{}, true
	}
	wait, ok := p.rates.TakeAt(q.group.String(), q.limits.Rate, now)
	if ok {
		r.charged = true
		return Outcome{}, true
	}
	err := fmt.Errorf("probe: our own rate for %s is used up for %v", q.group.name, wait.Round(time.Second))
	r.step("%v", err)
	return Outcome{Stage: reply.StageConnect, MX: q.name, Addr: addr, LocalLimit: true, Err: err}, false
}

// harvested is the outcome of a question that is not asked because too many were refused.
func (q *question) harvested(addr netip.Addr) Outcome {
	return Outcome{
		Stage: reply.StageConnect, MX: q.name, Addr: addr, LocalLimit: true,
		Err: fmt.Errorf("probe: too many recipients of %s were refused lately", q.req.Rcpt.ASCIIDomain()),
	}
}

// hosts are the hosts to try, in their order (RFC 5321 section 5.1); of those with the same
// preference one that a session is open to goes first.
func (r *run) hosts() []mx.Host {
	hosts := r.req.Set.Hosts
	hosts = hosts[:min(len(hosts), maxHosts)]
	if len(hosts) < 2 || hosts[0].Pref != hosts[1].Pref {
		return hosts
	}
	hosts = slices.Clone(hosts)
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(hosts, func(a, b mx.Host) int {
		if c := cmp.Compare(a.Pref, b.Pref); c != 0 {
			return c
		}
		return cmp.Compare(min(p.names[b.Name], 1), min(p.names[a.Name], 1))
	})
	return hosts
}

// near moves an address that a session is open to to the front.
func (r *run) near(addrs []netip.Addr) []netip.Addr {
	if len(addrs) < 2 {
		return addrs
	}
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, addr := range addrs {
		source, err := p.source(r.req.Group, addr)
		if pr := p.peers[peerKey{source, addr}]; err == nil && pr != nil && pr.greeted() {
			return append([]netip.Addr{addr}, append(addrs[:i:i], addrs[i+1:]...)...)
		}
	}
	return addrs
}
