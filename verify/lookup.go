package verify

import (
	"context"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// Remembered is what is kept of one mailbox.
type Remembered struct {
	Result                  Result
	Stored, Refresh, Expire time.Time // Refresh: it is asked again from then on
	InFile                  bool      // only the Store has it
	Delivered               time.Time // when mail for it was last seen to arrive; zero: not within memory
}

// RememberedDomain is what is kept of one domain.
type RememberedDomain struct {
	Report    *DomainReport // nil: nothing
	Provider  string        // name of the profile; "" where there is none
	Mailboxes int           // verdicts about its mailboxes in the Store

	// MX is what DNS says now of a Verifier that asks; the zero Set otherwise.
	MX mx.Set
}

// Look returns what is remembered of an address, fresh or not. Nobody is asked, and nothing changes.
func (v *Verifier) Look(a esmtp.Address) (Remembered, bool) {
	return v.memory.look(v.settings.Load().key(a), v.histories, time.Now())
}

// LookSaved is [Verifier.Look] of a Store that no Verifier uses.
func LookSaved(s *cache.Store, a esmtp.Address) (Remembered, bool) {
	set := &settings{providers: providersOf(Config{}.withDefaults())}
	return newMemory(0, s).look(set.key(a), newHistories(s), time.Now())
}

func (m *memory) look(key string, histories *histories, now time.Time) (r Remembered, ok bool) {
	var found record
	if ok = m.table.Get(m.hash(key), now.UnixNano(), &found); !ok && m.store != nil {
		var k saidKey
		if found, k, ok = m.load(key); ok {
			found.said, r.InFile = k.said(), true
		}
	}
	r.Delivered = histories.of(key, now).lastDelivery()
	if !ok || !found.alive(now.UnixNano()) || m.forgotten.has(&found) {
		return Remembered{Delivered: r.Delivered}, false
	}
	var e cache.Entry[Result]
	found.entry(&e)
	r.Result, r.Stored, r.Refresh, r.Expire = e.Value, e.Stored, e.Refresh, e.Expire
	return r, true
}

// LookDomain returns what is remembered of a domain (A-labels, lower case). In active mode DNS is asked
// for its mail hosts, until ctx ends.
func (v *Verifier) LookDomain(ctx context.Context, domain string) RememberedDomain {
	set := v.settings.Load()
	var d RememberedDomain
	p := peer{profile: set.providers.Find(domain, nil)}
	if set.mx != nil && !set.cfg.Passive {
		d.MX = set.mx.Lookup(ctx, domain)
		p = v.recognise(set, d.MX)
	}
	d.Provider = p.name()
	d.Mailboxes = mailboxes(v.memory.store, domain)
	d.Report = v.domains.look(domain, p)
	return d
}

// LookSavedDomain is [Verifier.LookDomain] of a Store that no Verifier uses.
func LookSavedDomain(s *cache.Store, domain string) RememberedDomain {
	p := peer{profile: &provider.Profile{Name: provider.Generic}}
	if table := providersOf(Config{}.withDefaults()); table != nil {
		p.profile = table.Find(domain, nil)
	}
	return RememberedDomain{
		Report: newDomains(s).look(domain, p), Provider: p.name(), Mailboxes: mailboxes(s, domain),
	}
}

func (d *domains) look(domain string, p peer) *DomainReport {
	now := time.Now()
	facts := d.of(domain, 0, now)
	if facts.hosts == 0 {
		return nil
	}
	return facts.report(p.general(), now)
}

// mailboxes counts the verdicts of a domain in a store.
func mailboxes(s *cache.Store, domain string) (n int) {
	if s == nil {
		return 0
	}
	prefix := s.DomainKey(domain)
	s.Range(cache.Verdicts, prefix[:], func(_, _ []byte, _ time.Time) bool { n++; return true })
	return n
}
