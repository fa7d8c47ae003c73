package mx

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// Lookup finds the hosts that receive the mail of domain, which is an A-label domain as
// esmtp.Address.ASCIIDomain gives it. ctx bounds the wait; when it ends, the Set is a Failure or
// says what was known by then.
func (r *Resolver) Lookup(ctx context.Context, domain string) Set {
	domain = fold(domain)
	set := Set{Domain: domain}
	if set.Kind, set.Detail = r.unasked(domain); set.Kind != Hosts {
		return set
	}
	answer := r.DNS.MX(ctx, domain)
	set.TTL = answer.TTL
	switch answer.Status {
	case dns.NXDomain:
		set.Kind, set.Detail = NXDomain, "the domain does not exist"
		return set
	case dns.NoData:
		return r.implicit(ctx, set)
	case dns.NoError:
		return r.explicit(ctx, set, answer.MX)
	default:
		set.Kind, set.Detail = Failure, "MX of "+domain+": "+answer.Detail
		return set
	}
}

// unasked decides about the domains that DNS is not asked for. The Kind Hosts means: ask.
func (r *Resolver) unasked(domain string) (Kind, string) {
	switch {
	case domain == "":
		return NotProbed, "there is no domain"
	case r.Internal.Match(domain):
		return Internal, "the domain is in internal_domains"
	case strings.HasPrefix(domain, "["):
		return Literal, "an address literal is never probed"
	case r.ours(domain):
		return NotProbed, "the domain is this host's own name or the relay's"
	case isAddress(domain):
		return NotProbed, "an IP address is no mail domain"
	case !isHostName(domain):
		return NotProbed, "not a domain name of the Internet"
	case !strings.Contains(domain, "."):
		return NotProbed, "a name of a single label is of the local network"
	}
	if suffix := privateSuffix(domain); suffix != "" {
		return NotProbed, "names under ." + suffix + " are of the local network"
	}
	return Hosts, ""
}

// privateSuffix returns the top-level label of a name that the public DNS does not serve, so that
// NXDOMAIN for it proves nothing: the relay may know it from another source. Special-use names of
// RFC 6761, 6762 (with its appendix G), 7686, 8375 and 9476, .internal as reserved by ICANN in
// 2024, and .localdomain as distributions set it.
func privateSuffix(domain string) string {
	if domain == "home.arpa" || strings.HasSuffix(domain, ".home.arpa") {
		return "home.arpa"
	}
	switch tld := domain[strings.LastIndexByte(domain, '.')+1:]; tld {
	case "local", "localhost", "localdomain", "internal", "intranet", "private", "corp", "home",
		"lan", "onion", "alt":
		return tld
	}
	return ""
}

// ours reports whether name is a name of this host or of the relay.
func (r *Resolver) ours(name string) bool {
	same := func(own string) bool { return own != "" && fold(own) == name }
	return slices.ContainsFunc(r.OwnNames, same) || slices.ContainsFunc(r.RelayHosts, same)
}

// isAddress reports whether name is an IPv4 or IPv6 address, in any usual form: a name whose last
// label is a number cannot be in DNS, and some resolvers take it for an address.
func isAddress(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// isHostName reports whether the folded name can name a host: labels of letters, digits, hyphens
// and underscores (which real hosts have), at most 63 octets each and 253 in all (RFC 1123 section
// 2.1, RFC 1035 section 2.3.4).
func isHostName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

// implicit handles a domain without MX records: its own addresses take their place (RFC 5321
// section 5.1), and only then; after a failed MX query they prove nothing.
func (r *Resolver) implicit(ctx context.Context, set Set) Set {
	h := r.hostAddrs(ctx, set.Domain)
	set.TTL = min(set.TTL, h.answer.TTL)
	switch {
	case h.own:
		set.Kind, set.Detail = NotProbed, "the domain is this host: "+h.forbidden.Error()
	case len(h.usable) > 0:
		set.Kind, set.Implicit = Hosts, true
		set.Hosts = []Host{{Name: set.Domain}}
	case h.forbidden != nil:
		set.Kind, set.Detail = NotProbed, h.forbidden.Error()
	case h.answer.Status == dns.NoData:
		set.Kind, set.Detail = NoHosts, "the domain has no MX, A or AAAA record"
	case h.answer.Status == dns.NXDomain:
		set.Kind, set.Detail = Failure, "the name server denies the name for A and AAAA, not for MX"
	default:
		set.Kind, set.Detail = Failure, "addresses of "+set.Domain+": "+h.answer.Detail
	}
	return set
}

// explicit handles a domain with MX records.
func (r *Resolver) explicit(ctx context.Context, set Set, records []dns.MX) Set {
	if len(records) == 1 && records[0].Host == "." { // whatever the preference (RFC 7505 section 3)
		set.Kind, set.Detail = NullMX, "the domain receives no mail (null MX)"
		return set
	}
	hosts, skipped := r.namedHosts(records)
	for _, h := range hosts {
		if r.ours(h.Name) {
			set.Kind, set.Detail = NotProbed, "MX "+h.Name+" is this host or the relay"
			return set
		}
	}
	if len(hosts) == 0 {
		set.Kind, set.Detail = NotProbed, "no MX record names a host: "+strings.Join(skipped, ", ")
		return set
	}
	more := len(hosts) - maxHosts
	hosts = hosts[:min(len(hosts), maxHosts)]
	return judge(set, hosts, r.resolveAll(ctx, hosts), len(skipped) > 0, more > 0)
}

// namedHosts returns the records that name a host, in the order to try them, and those that do
// not: the root beside other records (RFC 7505 section 3), addresses, localhost, garbage.
func (r *Resolver) namedHosts(records []dns.MX) (hosts []Host, skipped []string) {
	for _, rec := range records {
		name := fold(rec.Host)
		switch {
		case rec.Host == ".": // says nothing beside others
		case isAddress(name), !isHostName(name), name == "localhost",
			strings.HasSuffix(name, ".localhost"):
			skipped = append(skipped, fmt.Sprintf("%.60q", rec.Host))
		default:
			hosts = append(hosts, Host{name, rec.Pref})
		}
	}
	//nolint:gosec // spreads the load over hosts; nothing rests on its being unpredictable
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b Host) int { return int(a.Pref) - int(b.Pref) })
	return hosts, skipped
}

// resolveAll asks for the addresses of all hosts side by side. Once one is usable the others have
// hostsGrace left; what is not known then counts as a failure, and the answer is cached later.
func (r *Resolver) resolveAll(ctx context.Context, hosts []Host) []hostAnswer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type indexed struct {
		i int
		h hostAnswer
	}
	answers := make(chan indexed, len(hosts))
	for i, host := range hosts {
		go func() { answers <- indexed{i, r.hostAddrs(ctx, host.Name)} }()
	}
	found := make([]hostAnswer, len(hosts))
	var grace *time.Timer
	for range hosts {
		got := <-answers
		found[got.i] = got.h
		if len(got.h.usable) > 0 && grace == nil {
			grace = time.AfterFunc(hostsGrace, cancel)
			defer grace.Stop()
		}
	}
	return found
}

// judge concludes from what is known of each host. Hosts that surely have no address are left out;
// those whose addresses could not be learned stay, and are asked for again when it is their turn.
// more: not all hosts were looked at, so that their having no address cannot be concluded.
func judge(set Set, hosts []Host, found []hostAnswer, skipped, more bool) Set {
	var failure, forbidden string
	usable := false
	for i, h := range found {
		if h.own {
			set.Kind, set.Hosts = NotProbed, nil
			set.Detail = "MX " + hosts[i].Name + " is ours: " + h.forbidden.Error()
			return set
		}
		switch {
		case len(h.usable) > 0:
			usable = true
		case h.forbidden != nil:
			forbidden = "MX " + hosts[i].Name + ": " + h.forbidden.Error()
			continue
		case h.answer.Status == dns.Failure:
			failure = "addresses of MX " + hosts[i].Name + ": " + h.answer.Detail
		default:
			continue
		}
		set.Hosts = append(set.Hosts, hosts[i])
	}
	set.TTL = lowestTTL(set.TTL, found)
	switch {
	case usable:
		set.Kind = Hosts
		return set
	case failure != "":
		set.Kind, set.Detail = Failure, failure
	case forbidden != "":
		set.Kind, set.Detail = NotProbed, forbidden
	case skipped:
		set.Kind, set.Detail = NotProbed, "MX records name no host, or one without an address"
	case more:
		set.Kind = Failure
		set.Detail = fmt.Sprintf("none of the first %d MX hosts has an address", maxHosts)
	default:
		set.Kind, set.Detail = NoHosts, "no MX host has an address"
	}
	set.Hosts = nil
	return set
}

// lowestTTL leaves failures out: they are asked again on their own when their host's turn comes,
// and a backup MX that does not resolve must not make the whole Set short-lived.
func lowestTTL(ttl time.Duration, found []hostAnswer) time.Duration {
	for _, h := range found {
		if h.answer.Status != dns.Failure {
			ttl = min(ttl, h.answer.TTL)
		}
	}
	return ttl
}
