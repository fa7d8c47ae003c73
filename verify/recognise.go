package verify

import (
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// A provider that does not show in the names of its mail hosts may show in their banners, once one
// has been heard. That is remembered by host.
const (
	bannersSize = 16_384
	bannerKeep  = 30 * 24 * time.Hour
)

// peer is who receives the mail of a domain.
type peer struct {
	profile *provider.Profile
	// group is what limits and pauses are kept by: the provider, or the site of the mail hosts.
	group    string
	site     string
	named    bool // the provider is told by its MX records or the domain
	byBanner bool
}

// recognise finds out who receives the mail of set's domain.
func (v *Verifier) recognise(s *settings, set mx.Set) peer {
	names := make([]string, len(set.Hosts))
	for i, h := range set.Hosts {
		names[i] = h.Name
	}
	p := peer{profile: s.providers.Find(set.Domain, names)}
	p.site = siteOf(set.Hosts)
	if p.profile.Name == provider.Generic && len(names) > 0 {
		if e, ok := v.banners.Get(strings.ToLower(names[0]), time.Now()); ok {
			if known, ok := s.providers.Get(e.Value); ok {
				p.profile, p.byBanner = known, true
			}
		}
	}
	return p.grouped()
}

// name is that of the provider's profile, "" where it is not known.
func (p peer) name() string {
	if p.profile == nil || p.profile.Name == provider.Generic {
		return ""
	}
	return p.profile.Name
}

func (p peer) grouped() peer {
	p.group = p.profile.Group(p.site, p.byBanner)
	p.named = p.group == p.profile.Name && p.group != p.site
	return p
}

// heard takes account of a banner.
func (v *Verifier) heard(s *settings, p peer, out probe.Outcome) peer {
	if out.Banner == "" || p.profile.Name != provider.Generic {
		return p
	}
	known, ok := s.providers.ByBanner(out.Banner)
	if !ok {
		return p
	}
	now := time.Now()
	end := now.Add(bannerKeep)
	v.banners.Put(strings.ToLower(out.MX),
		cache.Entry[string]{Value: known.Name, Stored: now, Refresh: end, Expire: end})
	p.profile, p.byBanner = known, true
	return p.grouped()
}

// greeted is the probe's question at each new session: whose limits hold, and whether to go on.
func (v *Verifier) greeted(s *settings, p peer) func(string) (string, probe.Limits, bool) {
	return func(banner string) (string, probe.Limits, bool) {
		profile := p.profile
		if profile.Name == provider.Generic {
			if known, ok := s.providers.ByBanner(banner); ok {
				profile = known
			}
		}
		limits := v.standing.pace(p.group, limitsOf(profile), time.Now())
		return p.group, limits, !profile.Passive
	}
}

func limitsOf(p *provider.Profile) probe.Limits {
	return probe.Limits{
		Connections: p.Limits.Connections, RcptPerSession: p.Limits.RcptPerSession,
		RcptPerTransaction: p.Limits.RcptPerTransaction, Refusals: p.Limits.Refusals,
		Rate: limit.Rate{Count: p.Limits.PerMinute, Per: time.Minute, Burst: p.Limits.Burst},
	}
}

// siteOf names the mail hosts of a domain that belong to nobody who is known: by the first of the
// preferred ones, so that all domains with the same hosts are one site. What one of them says of us
// must not silence the mail hosts of others that happen to be named below the same domain.
func siteOf(hosts []mx.Host) string {
	site := ""
	for _, h := range hosts {
		name := strings.ToLower(h.Name)
		if h.Pref == hosts[0].Pref && (site == "" || name < site) {
			site = name
		}
	}
	return site
}

// general is the probability that a domain of the provider accepts every address, before anything
// is known of it.
func (p peer) general() float64 {
	switch {
	case p.profile.AcceptAll:
		return 0.999
	case p.profile.Name == provider.Generic, p.profile.Software:
		return priorAcceptAll
	}
	return min(max(1-p.profile.Acceptance, 0.01), 0.99)
}
