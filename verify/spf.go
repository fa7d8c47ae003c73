package verify

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"blitiri.com.ar/go/spf"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
)

const (
	spfKeep      = time.Hour       // a result that says something
	spfKeepError = 5 * time.Minute // one that does not
	spfTimeout   = 3 * time.Second // for all of its DNS questions
	spfSize      = 16_384          // domains remembered
)

// senders tells whether a probe may come from the sender of the mail in hand. Such a probe is judged
// like the mail will be, and greylists know the mail from it; but where SPF (RFC 7208) does not let
// our address send for that domain it would be judged worse, and its fallback is better.
//
// SPF asks about the address that probes leave from: one of verify.bind_addresses, or what earlier
// connections left from. Behind NAT that is a private address, so that nothing is known and nothing is
// checked: name the public one in verify.bind_addresses only if it is on this host.
type senders struct {
	results *cache.Cache[spf.Result] // by our address and the domain

	mu      sync.Mutex
	learned [2]netip.Addr // the last public address of IPv4 and IPv6 that a connection left from
}

func newSenders() *senders { return &senders{results: cache.New[spf.Result](spfSize)} }

// saw notes where a connection left from.
func (s *senders) saw(source netip.Addr) {
	source = source.Unmap()
	if !public(source) {
		return
	}
	family := 0
	if source.Is6() {
		family = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learned[family] = source
}

// public reports whether others may see us at addr.
func public(addr netip.Addr) bool {
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598
	return addr.IsValid() && addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr)
}

// egress are the addresses that probes leave from: those configured, or else what was seen.
func (s *senders) egress(configured []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range configured {
		if a = a.Unmap(); public(a) {
			out = append(out, a)
		}
	}
	if len(configured) > 0 {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.learned {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// usable reports whether a probe may come from sender, and says why not. It waits for DNS, at most
// spfTimeout; what it cannot find out is no reason against the sender.
func (s *senders) usable(
	ctx context.Context, names *dns.Resolver, configured []netip.Addr, helo string, sender esmtp.Address,
) (ok bool, why string) {
	if names == nil {
		return true, ""
	}
	ctx, cancel := context.WithTimeout(ctx, spfTimeout)
	defer cancel()
	for _, addr := range s.egress(configured) {
		if r := s.check(ctx, names, addr, helo, sender.ASCIIDomain()); r == spf.Fail || r == spf.SoftFail {
			return false, "SPF of " + sender.ASCIIDomain() + " for " + addr.String() + ": " + string(r)
		}
	}
	return true, ""
}

// check is one SPF check, remembered. The local part is that which RFC 7208 section 4.3 prescribes
// where there is none: results that differ by it are rare, and not worth a check for each.
func (s *senders) check(
	ctx context.Context, names *dns.Resolver, addr netip.Addr, helo, domain string,
) spf.Result {
	key := addr.String() + " " + domain
	now := time.Now()
	if e, ok := s.results.Get(key, now); ok {
		return e.Value
	}
	r, _ := spf.CheckHostWithSender(addr.AsSlice(), helo, "postmaster@"+domain,
		spf.WithContext(ctx), spf.WithResolver(names.Lookups()))
	keep := spfKeep
	if r == spf.TempError || ctx.Err() != nil {
		keep = spfKeepError
	}
	end := now.Add(keep)
	s.results.Put(key, cache.Entry[spf.Result]{Value: r, Stored: now, Refresh: end, Expire: end})
	return r
}
