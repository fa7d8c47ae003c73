package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// run is one Probe under way: the request, and what has happened so far. One goroutine uses it.
type run struct {
	pool  *Pool
	req   Request
	steps []string
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
	//nolint:contextcheck // p.base is ended by Close; it is apart from ctx on purpose.
	defer context.AfterFunc(p.base, cancel)()
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
	for i, host := range r.req.Set.Hosts {
		if i == maxHosts {
			break
		}
		addrs, status := r.pool.cfg.Resolver.Addrs(ctx, host.Name)
		if len(addrs) == 0 {
			r.step("%s: no address that may be probed (DNS: %v)", host.Name, status)
			best = better(best, Outcome{
				Stage: reply.StageConnect, MX: host.Name,
				Err: fmt.Errorf("probe: %s has no address that may be probed (DNS: %v)", host.Name, status),
			})
		}
		for _, addr := range order(addrs) {
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
			if over(ctx) {
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
	release, err := p.hosts.Acquire(ctx, addr.String())
	if err == nil && over(ctx) { // handed over by one whose time ended as ours does
		release()
		err = context.DeadlineExceeded
	}
	if err != nil {
		r.step("%s [%v]: all %d connections stayed busy", name, addr, p.cfg.PerHost)
		out.LocalLimit = true
		out.Err = fmt.Errorf("probe: no connection to %s came free: %w", name, err)
		return out, true
	}
	// Asked here and not before the wait for a slot, in which hundreds may have been refused.
	if domain := r.req.Rcpt.ASCIIDomain(); p.harvested(domain) {
		release()
		r.step("too many recipients of %s were refused, it is not asked for a while", domain)
		out.LocalLimit = true
		out.Err = fmt.Errorf("probe: too many recipients of %s were refused lately", domain)
		return out, true
	}
	if s := p.take(ctx, addr, r.req.Helo); s != nil {
		s.release = release
		r.step("%s [%v]: session kept from before, %d recipients so far", name, addr, s.asked)
		switch out, how := r.ask(ctx, s); how {
		case answered:
			return out, true
		case failed:
			release()
			return out, false
		case stale:
			r.step("%s [%v]: the kept session is of no use, once more on a new one", name, addr)
		}
	}
	if before, ok := p.down.get(addr, time.Now()); ok {
		release()
		r.step("%s [%v]: left alone, a moment ago: %s", name, addr, before.why())
		before.MX, before.Connected = name, false
		return before, before.Self
	}
	s, out, final := r.open(ctx, name, addr, release)
	if s == nil {
		return out, final
	}
	out, how := r.ask(ctx, s)
	if how != answered {
		release()
	}
	return out, how == answered
}

// envelope returns the commands for s. NoUTF8 of out is set if the host lacks SMTPUTF8 and the
// recipient as written needs it; ok is false if there is nothing that can be asked there.
func (r *run) envelope(s *session, out *Outcome) (mail esmtp.Mail, rcpt esmtp.Rcpt, ok bool) {
	mail.From, rcpt.To = r.req.Sender, r.req.Rcpt
	if !mail.From.NeedsUTF8() && !rcpt.To.NeedsUTF8() {
		return mail, rcpt, true
	}
	if _, offered := s.client.Extension("SMTPUTF8"); offered {
		mail.UTF8 = true
		return mail, rcpt, true
	}
	out.NoUTF8 = rcpt.To.NeedsUTF8()
	if rcpt.To, ok = rcpt.To.ASCII(); !ok {
		return mail, rcpt, false
	}
	mail.From, ok = mail.From.ASCII()
	return mail, rcpt, ok
}
