package verify

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// flight is one asking about one address, however many wait for it. When it has landed there is a
// verdict; it may go on behind to find out about the domain, and then it is settled.
type flight struct {
	set    *settings
	q      Question
	key    string
	sender esmtp.Address
	start  time.Time

	done   chan struct{} // closed when result and steps are set
	result Result
	steps  []Step

	settled chan struct{} // closed when final and later are set
	final   Result        // by what is known of the domain now
	later   []Step        // those after steps
	landed  bool          // steps is not written to any more
	hurry   chan struct{} // closed when somebody waits for it to be settled
	hurried sync.Once

	leave func()        // of the client's share
	ttl   time.Duration // of the DNS answer, where that alone decided
	to    mx.Set
	hosts uint64 // hashSet of to; 0: nobody was looked up
	peer  peer
	found Result // before it was weighed
}

// join returns the flight that asks about the question's address, a new one if there
// is none. inLine tells that somebody waits for it; such flights may use all of
// Config.MaxFlights, those behind only half. reason is why there is no flight.
//
// The flight is detached from ctx but for its values: the caller only waits for it.
func (v *Verifier) join(ctx context.Context, w *walk, inLine bool) (f *flight, reason Reason) {
	domain := w.q.Address.ASCIIDomain()
	v.mu.Lock()
	defer v.mu.Unlock()
	set := v.settings.Load()
	most := set.cfg.MaxFlights
	if !inLine {
		most /= 2
	}
	if f := v.flights[w.key]; f != nil {
		return f, ""
	}
	switch {
	case v.closed:
		return nil, Closing
	case len(v.flights) >= most, v.perDomain[domain] >= max(1, set.cfg.MaxFlights/domainShare):
		return nil, LocalLimit
	}
	leave, why := v.clients.enter(w.q.Client, time.Now())
	if why != "" {
		w.step("client", why)
		return nil, LocalLimit
	}
	if !inLine && !w.q.Budget.takeBehind() {
		leave()
		return nil, BudgetSpent
	}
	f = &flight{
		set: set, q: w.q, key: w.key, sender: w.sender, start: time.Now(), leave: leave,
		done: make(chan struct{}), settled: make(chan struct{}), hurry: make(chan struct{}),
	}
	v.flights[w.key] = f
	v.perDomain[domain]++
	detached := context.WithoutCancel(ctx)
	v.running.Go(func() { v.fly(detached, f) })
	return f, ""
}

// domainShare is the part of all flights that one domain may have, as a divisor: a
// domain whose servers hang must leave room for the others.
const domainShare = 4

// fly runs a flight to its end.
func (v *Verifier) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, f.set.cfg.ProbeTimeout)
	defer cancel()
	//nolint:contextcheck // v.base is ended by Close; it is apart from ctx on purpose.
	defer context.AfterFunc(v.base, cancel)()
	defer v.settle(f)
	defer func() { v.fault(f, recover()) }()
	if v.land(ctx, f) {
		v.testDomain(ctx, f)
	}
}

// land brings the verdict and wakes those who wait. It reports whether the domain is to be looked
// into behind it.
func (v *Verifier) land(ctx context.Context, f *flight) (behind bool) {
	defer func() {
		if v.fault(f, recover()) {
			f.result, behind = because(Temporary), false
		}
		v.wake(f, behind)
	}()
	f.found = v.ask(ctx, f)
	if v.base.Err() != nil && f.found.Verdict == Unknown {
		f.result = because(Closing) // cut by Close: nothing was learnt
		return false
	}
	now := time.Now()
	v.clients.learn(f.q.Client, f.key, f.found, now)
	v.watch(f, now)
	f.result = v.weigh(f, now)
	v.learn(f, now)
	return v.wantsTest(f, now)
}

// fault logs a fault of ours. It must not end the process, which has other people's mail in hand:
// it means Unknown.
func (v *Verifier) fault(f *flight, fault any) bool {
	if fault == nil {
		return false
	}
	v.log.Error("internal error in a verification; please report it",
		"recipient", f.q.Address.Redacted(), "error", fmt.Sprint(fault), "stack", string(debug.Stack()))
	return true
}

// wake ends the flight for those who wait for the verdict.
func (v *Verifier) wake(f *flight, behind bool) {
	f.final, f.landed = f.result, true
	f.leave()
	domain := f.q.Address.ASCIIDomain()
	v.mu.Lock()
	delete(v.flights, f.key)
	if v.perDomain[domain]--; v.perDomain[domain] == 0 {
		delete(v.perDomain, domain)
	}
	if behind {
		v.tests[domain] = f
	}
	v.mu.Unlock()
	close(f.done)
}

// settle ends a flight for good.
func (v *Verifier) settle(f *flight) {
	domain := f.q.Address.ASCIIDomain()
	v.mu.Lock()
	if v.tests[domain] == f {
		delete(v.tests, domain)
	}
	v.mu.Unlock()
	close(f.settled)
}

func (f *flight) step(what, detail string) {
	s := Step{At: time.Since(f.start), What: what, Detail: detail}
	if f.landed {
		f.later = append(f.later, s)
		return
	}
	f.steps = append(f.steps, s)
}

// ask is the walk below memory: breaker, DNS, provider, pauses, probe.
func (v *Verifier) ask(ctx context.Context, f *flight) Result {
	if v.breaker.blocks(time.Now()) {
		_, _, detail := v.breaker.state()
		f.step("breaker", "probing is off: "+detail)
		return because(Breaker)
	}
	f.to = f.set.mx.Lookup(ctx, f.q.Address.ASCIIDomain())
	f.step("mx", describe(f.to))
	if r, ok := judgeSet(f.to, time.Now()); ok {
		f.ttl = f.to.TTL
		return r
	}
	f.hosts = hashSet(f.to)
	f.peer = v.recognise(f.set, f.to)
	f.step("provider", f.peer.describe())
	if f.peer.profile.Passive {
		return because(ProviderPassive)
	}
	v.chooseSender(ctx, f)
	if r, ok := v.standing.hold(f.peer.group, f.to, f.sender, f.q.Address, time.Now()); ok {
		f.step("pause", fmt.Sprintf("%s said %s (%s); not asked again for %v",
			r.MX, r.Reply, r.Reason, r.RetryAfter.Round(time.Second)))
		return r
	}
	if !v.breaker.admit(time.Now()) {
		f.step("breaker", "probing is off")
		return because(Breaker)
	}
	out, class := v.probe(ctx, f, f.q.Address)
	return reading(out, class, time.Now())
}

// chooseSender takes the fallback instead of the envelope's sender where SPF does not let us send for
// its domain.
func (v *Verifier) chooseSender(ctx context.Context, f *flight) {
	cfg := &f.set.cfg
	if f.sender != f.q.Sender || !cfg.ProbeSender.IsNull() || !usableSender(cfg.FallbackSender) {
		return
	}
	ok, why := v.senders.usable(ctx, f.set.mx.DNS, cfg.Sources, cfg.Helo, f.sender)
	if !ok {
		f.step("sender", why+"; asked from the fallback sender")
		f.sender = cfg.FallbackSender
	}
}

func (p peer) describe() string {
	if p.profile.Title == "" {
		return p.profile.Name
	}
	text := fmt.Sprintf("%s (%s)", p.profile.Name, p.profile.Title)
	switch {
	case p.byBanner:
		text += ", by an earlier banner"
	case p.profile.Passive:
		text += ": never asked, because its answers say nothing or it does not want to be; " +
			"deliveries tell"
	}
	return text
}

// probe asks about one address and classifies the answer; class is zero if there is nothing to
// classify.
func (v *Verifier) probe(ctx context.Context, f *flight, rcpt esmtp.Address) (
	out probe.Outcome, class reply.Class,
) {
	at := time.Since(f.start)
	f.step("probe", "from <"+f.sender.String()+">, greeting as "+f.set.cfg.Helo)
	out = f.set.pool.Probe(ctx, probe.Request{
		Set: f.to, Sender: f.sender, Rcpt: rcpt, Helo: f.set.cfg.Helo,
		Group: f.peer.group, Limits: v.standing.pace(f.peer.group, limitsOf(f.peer.profile), time.Now()),
		Greeted: v.greeted(f.set, f.peer),
	})
	f.add(at, out.Steps)
	now := time.Now()
	switch {
	case out.Connected:
		v.breaker.connected(now)
		v.senders.saw(out.Source)
	case out.ConnectTimeout:
		v.breaker.timedOut(out.Addr, now)
	}
	if was := f.peer.profile; !f.landed {
		if f.peer = v.heard(f.set, f.peer, out); f.peer.profile != was {
			f.step("provider", f.peer.profile.Name+" ("+f.peer.profile.Title+"), by its banner")
		}
	}
	defer func() {
		if told := f.set.cfg.Asked; told != nil {
			told(Asked{Provider: f.peer.name(), Result: resultOf(out, class), Elapsed: out.Elapsed})
		}
	}()
	switch {
	case out.Err != nil:
		f.step("broken", string(out.Stage)+": "+string(esmtp.AppendEscaped(nil, out.Err.Error(), false)))
	case !out.Reply.IsZero():
		class = reply.Classify(reply.Input{
			Code: out.Reply.Code, Enhanced: out.Reply.Enhanced(), Text: out.Reply.Text(),
			Stage: out.Stage, Provider: f.peer.profile.Name,
		})
		f.step("classify", fmt.Sprintf("rule %q: %s, about the %s, confidence %.2f, proof: %t",
			class.Rule, class.Label, class.Subject, class.Confidence, class.Proof))
	}
	return out, class
}

func (f *flight) add(at time.Duration, details []string) {
	for _, detail := range details {
		f.step("probe", detail)
		if f.landed {
			f.later[len(f.later)-1].At = at
		} else {
			f.steps[len(f.steps)-1].At = at
		}
	}
}

// weigh judges what was found together with all else that is known.
func (v *Verifier) weigh(f *flight, now time.Time) Result {
	domain := f.q.Address.ASCIIDomain()
	e := evidence{
		now: now, found: f.found, trust: trustIn(f.peer.profile), past: v.histories.of(f.key, now),
		incident: v.guard.open(f.peer.group, now),
	}
	if e.incident && e.found.Reason == LocalLimit {
		e.found = because(Incident) // so many refusals have met our own limits too
	}
	if old, ok := v.memory.get(f.key, now); ok && old.Value.Proof && old.Value.Stage == reply.StageDot {
		e.bounce = old.Value
	}
	if f.hosts != 0 {
		facts := v.domains.of(domain, f.hosts, now)
		e.acceptsAll = facts.acceptsAll(f.peer.general(), now)
		e.arrived, e.late = int(facts.arrived), int(facts.late)
		e.refusesFirst = facts.refusesFirst(f.q.Address.Local(), f.sender.ASCIIDomain(), now)
		if text := facts.describe(f.peer.general(), now); text != "" {
			f.step("domain", text)
		}
	}
	if text := e.past.describe(now); text != "" {
		f.step("history", text)
	}
	r := judge(e)
	r.Provider = f.peer.name()
	f.step("judge", fmt.Sprintf("%s, %s, confidence %.2f, deliverability %.2f",
		r.Verdict, r.Reason, r.Confidence, r.Deliverability))
	return r
}

// watch takes the answer as evidence about the domain and the provider.
func (v *Verifier) watch(f *flight, now time.Time) {
	local, domain := f.q.Address.Local(), f.q.Address.ASCIIDomain()
	r := &f.found
	if r.Cached || f.hosts == 0 || r.Stage != reply.StageRcpt {
		return
	}
	switch r.Reason {
	case Greylisted:
		v.domains.note(domain, f.hosts, now, func(d *domainFacts) bool { return d.greylist(local) })
		return
	case MailboxExists, MailboxUnknown:
	default:
		return
	}
	refused := r.Reason == MailboxUnknown
	if v.see(f.peer, f.key, domain, refused, now) && refused {
		return // in a wave, refusals tell nothing of the domain
	}
	v.domains.note(domain, f.hosts, now, func(d *domainFacts) bool {
		if refused {
			d.refuse(local, f.sender.ASCIIDomain(), now)
			return true
		}
		return d.accept(local)
	})
}

// see tells the guard of an answer about a mailbox and undoes what was learnt from a wave before it
// was noticed. It reports whether there is one.
func (v *Verifier) see(p peer, key, domain string, refused bool, now time.Time) bool {
	a := answerSeen{
		at: now, address: bitOf(key), domain: bitOf(domain), refused: refused,
		own: p.profile.OwnDomain(domain), known: v.histories.of(key, now).worked(),
	}
	if !a.known {
		e, ok := v.memory.get(key, now)
		a.known = ok && e.Value.Verdict == Deliverable
	}
	if refused {
		a.key = key
	}
	open, undo := v.guard.see(p.group, p.named, a)
	for _, key := range undo {
		if e, ok := v.memory.get(key, now); ok && e.Value.Verdict == Undeliverable {
			v.memory.forget(key)
		}
		v.histories.pardon(key, now.Add(-waveWindow), now)
	}
	return open
}

// learn keeps what a flight brought, where it belongs.
func (v *Verifier) learn(f *flight, now time.Time) {
	if f.found.Cached { // an old pause, which has its own end
		f.result.Cached, f.result.RetryAfter = true, f.found.RetryAfter
		return
	}
	if pause := v.standing.learn(
		f.peer.group, f.peer.profile, f.found, f.sender, f.q.Address, now); pause > 0 {
		f.result.RetryAfter = pause
	}
	f.keep(v, &f.result, now)
}

// keep puts r into memory and sets its times.
func (f *flight) keep(v *Verifier, r *Result, now time.Time) {
	refresh, expire := f.set.lifetimes.of(*r, f.ttl)
	old, known := v.memory.get(f.key, now)
	if known && r.Proof && old.Value.Proof && r.Checked.Equal(old.Value.Checked) {
		// The old proof stands; it is asked again later, and ends when it was to.
		old.Refresh = now.Add(refresh)
		r.Expire = old.Expire
		v.memory.put(f.key, old)
		return
	}
	if known && old.Value.Proof && r.Verdict == Deliverable {
		v.memory.forget(f.key) // also where the new word is not kept
	}
	if expire > 0 && !r.Checked.IsZero() {
		expire -= max(0, now.Sub(r.Checked)) // of a bounce that was seen long ago
	}
	if expire > 0 && r.Verdict == Unknown {
		expire = max(expire, r.RetryAfter) // by its server's own words
	}
	v.memory.learn(f.key, *r, refresh, expire, now)
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
