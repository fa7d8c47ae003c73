package bulk

import (
	"context"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// VerifierAsker asks through a Verifier.
type VerifierAsker struct {
	Verifier *verify.Verifier
	Sender   esmtp.Address // zero: the fallback sender

	// Those of the Verifier. Without Hosts nobody is asked (passive mode).
	Hosts     *mx.Resolver
	Providers *provider.Table
}

// Ask implements Asker. Whether a domain accepts everything is found out too.
func (a *VerifierAsker) Ask(ctx context.Context, address esmtp.Address) verify.Result {
	return a.Verifier.Verify(ctx, verify.Question{
		Address: address, Sender: a.Sender, UTF8: address.NeedsUTF8(), CatchAll: true,
	})
}

// Site implements Asker. Sites and their rates are those of the Verifier's own limits, which hold
// all the same: to know them only saves asking in vain.
func (a *VerifierAsker) Site(ctx context.Context, domain string) Site {
	if a.Hosts == nil {
		return Site{}
	}
	set := a.Hosts.Lookup(ctx, domain)
	switch set.Kind {
	case mx.Hosts:
	case mx.NullMX, mx.NXDomain, mx.Internal, mx.Literal, mx.NotProbed:
		return Site{}
	default: // nothing is known: it may have mail servers by the time that it is asked about
		return Site{Key: domain}
	}
	names := make([]string, len(set.Hosts))
	first := ""
	for i, h := range set.Hosts {
		names[i] = h.Name
		if h.Pref == set.Hosts[0].Pref && (first == "" || h.Name < first) {
			first = h.Name
		}
	}
	profile := a.Providers.Find(set.Domain, names)
	if profile.Passive {
		return Site{}
	}
	return Site{Key: profile.Group(first, false), Rate: limit.Rate{
		Count: profile.Limits.PerMinute, Per: time.Minute, Burst: profile.Limits.Burst,
	}}
}
