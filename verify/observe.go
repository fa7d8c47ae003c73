package verify

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// observeTime bounds the look-up of a domain's mail hosts for one observation; the relay has just
// looked them up itself.
const observeTime = 2 * time.Second

// Observe learns from what happened to one recipient of real mail.
//
//   - A delivery makes the mailbox deliverable and ends at once whatever spoke against it.
//   - A refusal to RCPT, or at the end of data where it can only be about this recipient, is proof
//     as a probe's is. But an address that used to get its mail is not refused by its first bounce:
//     it is asked about again, and where nobody can be asked a second bounce refuses it.
//   - Everything else (a deferral, a block, a refused message) is not about the mailbox, but for a
//     full one.
//
// An observation counts only if its server is one of the recipient's domain: a smarthost's "250" is
// no delivery. For that Observe may wait up to 2 seconds for DNS. A verdict that a delivery
// contradicts is counted (Stats) and logged.
func (v *Verifier) Observe(o feedback.Observation) {
	set, now := v.settings.Load(), time.Now()
	ob := observed{
		Observation: o, v: v, set: set, now: now, key: set.key(o.Rcpt), domain: o.Rcpt.ASCIIDomain(),
	}
	if ob.At.IsZero() || ob.At.After(now) {
		ob.At = now
	}
	if set.neverAsked(o.Rcpt, set.local(o.Rcpt)) != "" || now.Sub(ob.At) > bounceExpire || !ob.locate() {
		v.counts.ignored.Add(1)
		return
	}
	switch o.Event {
	case feedback.Delivered:
		v.counts.delivered.Add(1)
		ob.delivered()
	case feedback.Deferred:
		v.counts.deferred.Add(1)
		ob.refused()
	case feedback.Bounced:
		v.counts.bounced.Add(1)
		ob.refused()
	}
}

// observed is one observation on its way.
type observed struct {
	feedback.Observation
	v      *Verifier
	set    *settings
	now    time.Time
	key    string
	domain string
	hosts  uint64
	peer   peer
}

// locate finds out who the server is. It reports whether it is one of the recipient's domain.
func (o *observed) locate() bool {
	if o.MX == "" {
		return false
	}
	if o.set.mx == nil { // nothing to compare with
		o.peer = o.v.recognise(o.set, mx.Set{Domain: o.domain, Hosts: []mx.Host{{Name: o.MX}}})
		return true
	}
	ctx, cancel := context.WithTimeout(o.v.base, observeTime)
	defer cancel()
	set := o.set.mx.Lookup(ctx, o.domain)
	if set.Kind != mx.Hosts {
		return false
	}
	o.hosts, o.peer = hashSet(set), o.v.recognise(o.set, set)
	for _, h := range set.Hosts {
		if strings.EqualFold(h.Name, o.MX) {
			return true
		}
	}
	for _, h := range set.Hosts { // the relay may know it by another name
		addrs, _ := o.set.mx.Addrs(ctx, h.Name)
		for _, a := range addrs {
			if a == o.Addr.Unmap() {
				return true
			}
		}
	}
	return false
}

// historyEvery is how exactly the time of a delivery is kept: not every message is written down.
const historyEvery = 24 * time.Hour

func (o *observed) delivered() {
	v := o.v
	o.settled(false)
	v.see(o.peer, o.key, o.domain, false, o.now)
	past := v.histories.of(o.key, o.now)
	if past.strikes() > 0 || o.At.Sub(past.lastDelivery()) >= historyEvery {
		v.histories.arrived(o.key, o.At, o.now)
	}
	local := o.Rcpt.Local()
	v.domains.note(o.domain, o.hosts, o.now, func(d *domainFacts) bool {
		fresh := d.accept(local)
		if d.arrived < 1<<16-1 {
			d.arrived++
		}
		return fresh || d.arrived%16 == 0 // the count is not worth a write each time
	})
	old, known := v.memory.get(o.key, o.now)
	v.compare(o, old.Value, known)
	switch {
	case known && old.Stored.After(o.At) && old.Value.Verdict == Undeliverable:
		return // refused since: that is the newer word
	case known && old.Value.Verdict == Undeliverable:
		v.memory.forget(o.key)
	case known && old.Value.Verdict == Deliverable && o.now.Sub(old.Stored) < historyEvery:
		return // nothing new
	}
	r := Result{Verdict: Unknown, Reason: ProviderPassive, MX: o.MX, Stage: reply.StageDot, Checked: o.At}
	o.learn(o.judge(r))
}

// judge weighs r with all else that is known.
func (o *observed) judge(r Result) Result {
	e := evidence{
		now: o.now, found: r, trust: trustIn(o.peer.profile), past: o.v.histories.of(o.key, o.now),
	}
	facts := o.v.domains.of(o.domain, o.hosts, o.now)
	e.acceptsAll = facts.acceptsAll(o.peer.general(), o.now)
	e.arrived, e.late = int(facts.arrived), int(facts.late)
	r = judge(e)
	r.Provider = o.peer.name()
	r.CatchAll = e.acceptsAll >= acceptsAllFrom && !o.peer.profile.AcceptAll && r.Verdict == Deliverable
	return r
}

func (o *observed) learn(r Result) {
	refresh, expire := o.set.lifetimes.of(r, 0)
	age := o.now.Sub(o.At)
	if expire -= age; expire > 0 && (r.Verdict != Unknown || r.Reason == MailboxFull) {
		o.v.memory.learn(o.key, r, max(0, refresh-age), expire, o.now)
	}
}

// refused is for a reply that is no delivery.
func (o *observed) refused() {
	class := reply.Classify(reply.Input{
		Code: o.Reply.Code, Enhanced: o.Reply.Enhanced(), Text: o.Reply.Text(), Stage: o.Stage,
		Provider: o.peer.profile.Name,
	})
	if o.Reply.IsZero() {
		return
	}
	if !o.proves(class) {
		if class.Label == reply.MailboxFull && o.personal() {
			r := because(MailboxFull)
			r.Reply, r.Label = trim(o.Reply), class.Label
			r.MX, r.Stage, r.Checked, r.Provider = o.MX, o.Stage, o.At, o.peer.name()
			o.learn(r)
		}
		return
	}
	// As a probe would have read it; proof at the end of data is as good, see proves.
	r := reading(probe.Outcome{Stage: reply.StageRcpt, Reply: o.Reply, MX: o.MX}, class, o.At)
	r.Stage = o.Stage
	if r.Proof {
		o.proof(r)
	}
}

// personal reports whether a reply is to this recipient alone: to RCPT, or to the end of data of a
// message that had no other, or that names it.
func (o *observed) personal() bool {
	return o.Stage == reply.StageRcpt || o.Stage == reply.StageDot &&
		(o.Recipients == 1 || strings.Contains(strings.ToLower(o.Reply.Text()),
			strings.ToLower(o.Rcpt.String())))
}

func (o *observed) proves(class reply.Class) bool {
	return class.Proof && o.Reply.Permanent() && o.personal()
}

// proof is for a refusal of the mailbox.
func (o *observed) proof(r Result) {
	v := o.v
	old, known := v.memory.get(o.key, o.now)
	v.compare(o, old.Value, known)
	if r.Reason == MailboxUnknown {
		if v.see(o.peer, o.key, o.domain, true, o.now) {
			return // in a wave, nothing is held against anybody
		}
		o.noteRefusal()
	}
	strikes, used := v.histories.struck(o.key, o.At, o.now)
	if used && strikes == 0 {
		return // older than the last delivery
	}
	if used && strikes < 2 {
		if known && old.Value.Verdict != Undeliverable {
			v.memory.forget(o.key) // so that the next question asks its server
		}
		return
	}
	if known && old.Value.Verdict == Undeliverable && old.Value.Stage == reply.StageRcpt &&
		o.Stage == reply.StageDot && o.At.Before(old.Stored) {
		return // its server said so itself, and later
	}
	if r = o.judge(r); r.Proof {
		o.learn(r)
		o.settled(true)
		return
	}
	v.memory.forget(o.key)
}

// settled tells whoever keeps a list of its own.
func (o *observed) settled(proof bool) {
	if tell := o.set.cfg.Settled; tell != nil {
		tell(o.Observation, proof)
	}
}

// noteRefusal is what a refusal tells of the domain.
func (o *observed) noteRefusal() {
	local, sender := o.Rcpt.Local(), o.Sender.ASCIIDomain()
	o.v.domains.note(o.domain, o.hosts, o.now, func(d *domainFacts) bool {
		if o.Stage == reply.StageRcpt {
			d.refuse(local, sender, o.At)
			return true
		}
		if d.late < 1<<16-1 { // it was accepted at RCPT, and does not exist
			d.late++
		}
		d.lateAt = max(d.lateAt, o.At.Unix())
		return true
	})
}

// compare holds an observation against the verdict that let the mail pass, or else against what
// is remembered.
func (v *Verifier) compare(o *observed, old Result, known bool) {
	verdict, reason, joined := v.sent.verdict(o.QueueID, o.key)
	if !joined && !o.Orig.IsNull() {
		verdict, reason, joined = v.sent.verdict(o.QueueID, o.set.key(o.Orig))
	}
	if !joined {
		if !known {
			return
		}
		verdict, reason = old.Verdict, old.Reason
	}
	arrived := o.Event == feedback.Delivered
	switch {
	case verdict == Deliverable && !arrived:
		v.counts.deliverableBounced.Add(1)
	case verdict == Undeliverable && arrived:
		v.counts.refusedArrived.Add(1)
	case verdict == Deliverable || verdict == Undeliverable:
		v.counts.agreed.Add(1)
		return
	default:
		return
	}
	v.log.Info("a delivery contradicts a verdict, which is corrected",
		"recipient", o.Rcpt.Redacted(), "verdict", string(verdict), "reason", string(reason),
		"event", string(o.Event), "stage", string(o.Stage), "code", o.Reply.Code, "mx", o.MX,
		"provider", o.peer.profile.Name, "queue_id", o.QueueID)
}

// Relayed tells that the relay took a message for these recipients under its queue id, with the
// verdicts that let them pass: Observe compares them with what becomes of the mail.
func (v *Verifier) Relayed(queueID string, rcpts []*Result) {
	if queueID == "" {
		return
	}
	set := v.settings.Load()
	list := make([]sentRcpt, 0, len(rcpts))
	for _, r := range rcpts {
		if r.Verdict != "" && !r.Address.IsNull() {
			list = append(list, sentRcpt{bitOf(set.key(r.Address)), r.Verdict, r.Reason})
		}
	}
	v.sent.add(queueID, list)
}

// sent is the bounded memory of Relayed: the last sentMost to twice as many recipients.
type sent struct {
	mu            sync.Mutex
	recent, older map[string][]sentRcpt
	rcpts         int // in recent
}

const sentMost = 20_000

type sentRcpt struct {
	address uint64 // a hash of its key
	verdict Verdict
	reason  Reason
}

func (s *sent) add(queueID string, list []sentRcpt) {
	if len(list) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recent == nil || s.rcpts+len(list) > sentMost {
		s.older, s.recent, s.rcpts = s.recent, make(map[string][]sentRcpt), 0
	}
	s.recent[queueID] = list
	s.rcpts += len(list)
}

func (s *sent) verdict(queueID, key string) (verdict Verdict, reason Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ok := s.recent[queueID]
	if !ok {
		list = s.older[queueID]
	}
	address := bitOf(key)
	for i := range list {
		if list[i].address == address {
			return list[i].verdict, list[i].reason, true
		}
	}
	return "", "", false
}

// counters are those of Stats.
type counters struct {
	tests, delivered, deferred, bounced, ignored atomic.Uint64
	agreed, deliverableBounced, refusedArrived   atomic.Uint64
}

func (c *counters) into(s *Stats) {
	s.Tests = c.tests.Load()
	s.Delivered, s.Deferred, s.Bounced = c.delivered.Load(), c.deferred.Load(), c.bounced.Load()
	s.Ignored, s.Agreed = c.ignored.Load(), c.agreed.Load()
	s.DeliverableBounced, s.RefusedArrived = c.deliverableBounced.Load(), c.refusedArrived.Load()
}
