package message

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"blitiri.com.ar/go/spf"

	"github.com/rcptgate/rcptgate/internal/dns"
)

const (
	spfKeep        = 5 * time.Minute  // a result that says something
	spfKeepUnknown = 30 * time.Second // one that does not
	spfSize        = 4096             // results remembered
)

// spfResult is what SPF says of a domain for all our addresses.
type spfResult struct {
	domain  string
	pass    bool
	unknown bool   // the DNS failed
	why     string // it does not pass
}

// spfChecker checks SPF (RFC 7208) and remembers what it found for some minutes.
type spfChecker struct {
	mu      sync.Mutex
	results map[spfKey]spfEntry
}

type spfKey struct {
	addr   netip.Addr
	domain string
}

type spfEntry struct {
	result spf.Result
	expire time.Time
}

func newSPFChecker() *spfChecker {
	return &spfChecker{results: make(map[spfKey]spfEntry)}
}

// all checks every address; the first that does not pass decides, and one that is known to fail more
// than one that is not known.
func (c *spfChecker) all(
	ctx context.Context, names *dns.Resolver, addrs []netip.Addr, helo, domain string,
) spfResult {
	out := spfResult{domain: domain, pass: true}
	for _, addr := range addrs {
		switch r := c.one(ctx, names, addr.Unmap(), helo, domain); r {
		case spf.Pass:
		case spf.TempError:
			out.pass, out.unknown = false, true
			out.why = "SPF of " + domain + " cannot be looked up"
		default:
			return spfResult{domain: domain, why: "SPF of " + domain + " for " + addr.String() +
				" gives " + string(r)}
		}
	}
	return out
}

// one is the check for one address, remembered. The local part is that of RFC 7208 section 4.3: a
// result that differs by it is rare, and not worth a check for each.
func (c *spfChecker) one(
	ctx context.Context, names *dns.Resolver, addr netip.Addr, helo, domain string,
) spf.Result {
	key := spfKey{addr, domain}
	c.mu.Lock()
	e, ok := c.results[key]
	c.mu.Unlock()
	if ok && time.Now().Before(e.expire) {
		return e.result
	}
	r, _ := spf.CheckHostWithSender(addr.AsSlice(), helo, "postmaster@"+domain,
		spf.WithContext(ctx), spf.WithResolver(names.Lookups()))
	if ctx.Err() != nil {
		return spf.TempError // nobody waits; what came of it says nothing
	}
	keep := spfKeep
	if r == spf.TempError {
		keep = spfKeepUnknown
	}
	c.put(key, spfEntry{r, time.Now().Add(keep)})
	return r
}

func (c *spfChecker) put(key spfKey, e spfEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.results) >= spfSize {
		for k := range c.results { // any sixteenth: they are cheap to find out again
			if len(c.results) < spfSize-spfSize/16 {
				break
			}
			delete(c.results, k)
		}
	}
	c.results[key] = e
}
