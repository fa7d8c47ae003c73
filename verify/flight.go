package verify

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// flight is one asking about one address, however many wait for it.
type flight struct {
	set    *settings
	start  time.Time
	done   chan struct{} // closed when result and steps are set
	result Result
	ttl    time.Duration // of the DNS answer, where that alone decided
	steps  []Step
}

// join returns the flight that asks about the question's address, a new one if there
// is none. inLine tells that somebody waits for it; such flights may use all of
// Config.MaxFlights, those behind only half. reason is why there is no flight.
//
// The flight is detached from ctx but for its values: the caller only waits for it.
func (v *Verifier) join(ctx context.Context, q Question, sender esmtp.Address, inLine bool) (
	f *flight, reason Reason,
) {
	key, domain := q.Address.Key(), q.Address.ASCIIDomain()
	v.mu.Lock()
	defer v.mu.Unlock()
	set := v.settings.Load()
	most := set.cfg.MaxFlights
	if !inLine {
		most /= 2
	}
	if f := v.flights[key]; f != nil {
		return f, ""
	}
	switch {
	case v.closed:
		return nil, Closing
	case len(v.flights) >= most, v.perDomain[domain] >= max(1, set.cfg.MaxFlights/domainShare):
		return nil, LocalLimit
	case !inLine && !q.Budget.takeBehind():
		return nil, BudgetSpent
	}
	f = &flight{set: set, start: time.Now(), done: make(chan struct{})}
	v.flights[key] = f
	v.perDomain[domain]++
	detached := context.WithoutCancel(ctx)
	v.running.Go(func() { v.fly(detached, f, q, sender) })
	return f, ""
}

// domainShare is the part of all flights that one domain may have, as a divisor: a
// domain whose servers hang must leave room for the others.
const domainShare = 4

// fly runs a flight to its end.
func (v *Verifier) fly(ctx context.Context, f *flight, q Question, sender esmtp.Address) {
	ctx, cancel := context.WithTimeout(ctx, f.set.cfg.ProbeTimeout)
	defer cancel()
	//nolint:contextcheck // v.base is ended by Close; it is apart from ctx on purpose.
	defer context.AfterFunc(v.base, cancel)()
	defer v.land(f, q)
	f.result = v.ask(ctx, f, q, sender)
	if v.base.Err() != nil && f.result.Verdict == Unknown {
		f.result = because(Closing) // cut by Close: nothing was learnt
		return
	}
	v.learn(f, q, sender)
}

// land wakes those who wait. A fault of ours in ask or below must not end the
// process, which has other people's mail in hand: it is logged and means Unknown.
func (v *Verifier) land(f *flight, q Question) {
	if fault := recover(); fault != nil {
		f.result = because(Temporary)
		v.log.Error("internal error in a verification; please report it",
			"recipient", q.Address.Redacted(), "error", fmt.Sprint(fault), "stack", string(debug.Stack()))
	}
	key, domain := q.Address.Key(), q.Address.ASCIIDomain()
	v.mu.Lock()
	delete(v.flights, key)
	if v.perDomain[domain]--; v.perDomain[domain] == 0 {
		delete(v.perDomain, domain)
	}
	v.mu.Unlock()
	close(f.done)
}

func (f *flight) step(what, detail string) {
	f.steps = append(f.steps, Step{At: time.Since(f.start), What: what, Detail: detail})
}

// ask is the walk below memory: breaker, DNS, pauses, probe, judgement.
func (v *Verifier) ask(ctx context.Context, f *flight, q Question, sender esmtp.Address) Result {
	if v.breaker.blocks(time.Now()) {
		_, _, detail := v.breaker.state()
		f.step("breaker", "probing is off: "+detail)
		return because(Breaker)
	}
	set := f.set.mx.Lookup(ctx, q.Address.ASCIIDomain())
	f.step("mx", describe(set))
	if r, ok := judgeSet(set, time.Now()); ok {
		f.ttl = set.TTL
		return r
	}
	if r, ok := v.standing.hold("", set, sender, q.Address, time.Now()); ok {
		f.step("pause", fmt.Sprintf("%s said %s (%s); not asked again for %v",
			r.MX, r.Reply, r.Reason, r.RetryAfter.Round(time.Second)))
		return r
	}
	if !v.breaker.admit(time.Now()) {
		f.step("breaker", "probing is off")
		return because(Breaker)
	}
	return v.probe(ctx, f, probe.Request{
		Set: set, Sender: sender, Rcpt: q.Address, Helo: f.set.cfg.Helo,
	})
}

func (v *Verifier) probe(ctx context.Context, f *flight, req probe.Request) Result {
	at := time.Since(f.start)
	f.step("probe", "from <"+req.Sender.String()+">, greeting as "+req.Helo)
	out := f.set.pool.Probe(ctx, req)
	for _, s := range out.Steps {
		f.steps = append(f.steps, Step{At: at, What: "probe", Detail: s})
	}
	now := time.Now()
	switch {
	case out.Connected:
		v.breaker.connected(now)
	case out.ConnectTimeout:
		v.breaker.timedOut(out.Addr, now)
	}
	class := reply.Classify(reply.Input{
		Code: out.Reply.Code, Enhanced: out.Reply.Enhanced(), Text: out.Reply.Text(), Stage: out.Stage,
	})
	if out.Reply.IsZero() {
		class = reply.Class{} // there is nothing to classify
	}
	r := judge(out, class, now)
	switch {
	case out.Err != nil:
		f.step("broken", string(out.Stage)+": "+string(esmtp.AppendEscaped(nil, out.Err.Error(), false)))
	case !out.Reply.IsZero():
		f.step("classify", fmt.Sprintf("rule %q: %s, about the %s, confidence %.2f, proof: %t",
			class.Rule, class.Label, class.Subject, class.Confidence, class.Proof))
	}
	f.step("judge", string(r.Verdict)+", "+string(r.Reason))
	return r
}

// learn keeps what a flight brought, where it belongs.
func (v *Verifier) learn(f *flight, q Question, sender esmtp.Address) {
	r, now := &f.result, time.Now()
	if r.Cached { // an old pause, which has its own end
		return
	}
	if pause := v.standing.learn("", nil, *r, sender, q.Address, now); pause > 0 {
		r.RetryAfter = pause
	}
	refresh, expire := f.set.lifetimes.of(*r, f.ttl)
	v.memory.learn(q.Address.Key(), *r, refresh, expire, now)
	if expire > 0 {
		r.Expire = now.Add(expire)
		if r.Verdict == Unknown {
			r.RetryAfter = expire
		}
	}
}

// describe tells people what DNS said.
func describe(set mx.Set) string {
	var b strings.Builder
	b.WriteString(set.Kind.String())
	for i, h := range set.Hosts {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%d %s", sep, h.Pref, h.Name)
	}
	if set.Implicit {
		b.WriteString(" (no MX record: the domain's own address)")
	}
	if set.Detail != "" {
		b.WriteString(" (" + set.Detail + ")")
	}
	return b.String()
}
