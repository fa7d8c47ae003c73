package verify

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// Forget drops what is known of an address, for the next question to ask anew.
func (v *Verifier) Forget(a esmtp.Address) {
	key := v.settings.Load().key(a)
	v.memory.forget(key)
	v.histories.kept.forget(key)
	v.grey.forget(a.Key())
}

// ForgetDomain drops what is known of a domain and of all its mailboxes, in memory and on disk, for
// the next question to ask anew. The domain is taken in any case, as A-labels.
func (v *Verifier) ForgetDomain(domain string) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	v.memory.forgetDomain(domain)
	v.domains.kept.forget(domain)
	v.histories.kept.forgetSuffix("@" + domain)
	v.grey.forgetDomain(domain)
}

// ForgetProvider drops the verdicts about mailboxes at a provider, by the name of its profile, that
// were made until at. They stay where they are and are not read any more, also those that come from
// the store: it is the caller who remembers at beyond the end of the process, for as long as verdicts
// live. There is nothing to forget of a name that no profile has, and known is false: so what is kept
// is bounded by the profiles.
func (v *Verifier) ForgetProvider(name string, at time.Time) (known bool) {
	_, known = v.settings.Load().providers.Get(name)
	if known && name != provider.Generic { // of which verdicts tell no name
		v.memory.forgotten.add(name, at)
		return true
	}
	return false
}

// forgotten says until when verdicts about a provider's mailboxes are void. Reading it costs nothing
// while nothing is forgotten.
type forgotten struct {
	mu    sync.Mutex
	until atomic.Pointer[map[string]int64] // Unix nanoseconds by provider; nil: none
}

func (f *forgotten) add(name string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[string]int64{}
	if old := f.until.Load(); old != nil {
		maps.Copy(next, *old)
	}
	next[name] = max(next[name], at.UnixNano())
	f.until.Store(&next)
}

// has reports whether a verdict is void.
func (f *forgotten) has(r *record) bool {
	until := f.until.Load()
	return until != nil && r.said != nil && r.stored <= (*until)[r.said.provider]
}
