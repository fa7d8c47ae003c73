package health

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// look is one look at DNS.
type look struct {
	config Config
	found  map[key]Finding
	open   map[key]bool // could not be answered this time
	blind  bool         // not even the addresses are known this time
}

func (l *look) finding(k key, s Severity, what, fix string) {
	l.found[k] = Finding{Kind: k.kind, Severity: s, Subject: k.subject, What: what, Fix: fix}
}

// unanswered marks a question that DNS had no answer to. Findings of these keys stay.
func (l *look) unanswered(of key, a dns.Answer, keys ...key) {
	for _, k := range keys {
		l.open[k] = true
	}
	of.part += " unanswered"
	l.finding(of, Notice, "it could not be looked up: "+a.Detail,
		"see to the resolver (verify.dns.servers), or wait: the next look asks again")
}

func (l *look) all(ctx context.Context) {
	addrs := l.addresses(ctx)
	helo := l.helo(ctx, addrs)
	for _, a := range addrs {
		l.reverse(ctx, a, helo)
	}
	for _, zone := range l.config.Zones {
		l.blockList(ctx, zone, addrs)
	}
}

// addresses returns those that mail servers see, as far as they are known.
func (l *look) addresses(ctx context.Context) []netip.Addr {
	const fix = "set verify.health.addresses to the addresses that mail servers see"
	if len(l.config.Public) > 0 {
		return unmapped(l.config.Public)
	}
	var own []netip.Addr
	if l.config.Addrs != nil {
		own = unmapped(l.config.Addrs())
	}
	public := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return !isPublic(a) })
	k := key{kind: KindAddress, subject: "address"}
	switch {
	case len(public) > 0:
		return public
	case len(own) > 0:
		k.subject = own[0].String()
	}
	a := l.config.DNS.Addrs(ctx, l.config.Helo)
	l.blind = a.Status == dns.Failure
	guess := slices.DeleteFunc(unmapped(a.Addrs), func(a netip.Addr) bool { return !isPublic(a) })
	what := "it is not known yet which address probes leave from"
	if len(own) > 0 {
		what = "probes leave from an address that is not public; mail servers see another one, " +
			"which is not known here (NAT)"
	}
	if len(guess) > 0 {
		what += fmt.Sprintf("; looked at instead is where the EHLO name %s leads: %s", l.config.Helo,
			join(guess))
	}
	l.finding(k, Notice, what, fix)
	return guess
}

// unmapped returns at most maxAddrs addresses, each once.
func unmapped(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() && !slices.Contains(out, a) && len(out) < maxAddrs {
			out = append(out, a)
		}
	}
	return out
}

var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10) // RFC 6598

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}

func join[T fmt.Stringer](items []T) string {
	s := make([]string, len(items))
	for i, item := range items {
		s[i] = item.String()
	}
	return strings.Join(s, ", ")
}

// helo looks at the EHLO name, and returns its folded form; "" if it is not one to compare with.
func (l *look) helo(ctx context.Context, addrs []netip.Addr) string {
	const fix = "set verify.helo (or proxy.hostname) to the name that the PTR record of the address " +
		"has, and give that name an address record"
	name := strings.ToLower(strings.TrimSuffix(l.config.Helo, "."))
	form := key{KindHelo, name, "form"}
	if why := badHelo(name); why != "" {
		l.finding(form, Warning, "the EHLO name "+strconv.Quote(name)+" "+why+
			"; many servers refuse such a greeting", fix)
		return ""
	}
	missing := key{KindHelo, name, "missing"}
	keys := []key{missing}
	for _, a := range addrs {
		keys = append(keys, key{KindHelo, name, a.String()})
	}
	answer := l.config.DNS.Addrs(ctx, name)
	switch answer.Status {
	case dns.Failure:
		l.unanswered(key{kind: KindHelo, subject: name}, answer, keys...)
	case dns.NoData, dns.NXDomain:
		l.finding(missing, Warning, "the EHLO name "+name+" has no address ("+answer.Status.String()+
			"); many servers refuse such a greeting", fix)
	case dns.NoError:
		have := unmapped(answer.Addrs)
		for i, a := range addrs {
			if !slices.Contains(have, a) {
				l.finding(keys[i+1], Warning, fmt.Sprintf(
					"the EHLO name %s leads to %s, not to %s, which probes leave from", name, join(have), a),
					"add the address to the name, or greet with a name that has it (verify.helo)")
			}
		}
	}
	return name
}

// privateDomains are last labels that the public DNS does not have (RFC 6761, RFC 6762 appendix G).
var privateDomains = [...]string{
	"local", "localdomain", "lan", "internal", "localhost", "invalid", "home", "corp", "private",
}

// badHelo says what keeps a name from being a full host name (RFC 5321 section 2.3.5).
func badHelo(name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case name == "":
		return "is empty"
	case err == nil, strings.HasPrefix(name, "["):
		return "is an address"
	case last == name:
		return "has no domain"
	case slices.Contains(privateDomains[:], last):
		return "is not one of the public DNS"
	}
	return ""
}

// reverse looks at the PTR record of an address and whether its name leads back (forward-confirmed
// reverse DNS).
func (l *look) reverse(ctx context.Context, addr netip.Addr, helo string) {
	const fix = "ask who provides the address (hosting, network) to set its PTR record to the EHLO " +
		"name, and give that name an address record with this address"
	at := func(part string) key { return key{KindPTR, addr.String(), part} }
	missing, back := at("missing"), at("back")
	keys := []key{missing, back, at("helo"), at("looks")}
	ptr := l.config.DNS.PTR(ctx, addr)
	switch ptr.Status {
	case dns.Failure:
		l.unanswered(at(""), ptr, keys...)
		return
	case dns.NoData, dns.NXDomain:
		l.finding(missing, Warning, addr.String()+" has no PTR record ("+ptr.Status.String()+
			"); Google, Microsoft and others refuse or doubt such hosts", fix)
		return
	case dns.NoError:
	}
	var confirmed []string
	var failed dns.Answer
	for _, name := range ptr.Names {
		answer := l.config.DNS.Addrs(ctx, name)
		switch {
		case slices.Contains(unmapped(answer.Addrs), addr):
			confirmed = append(confirmed, name)
		case answer.Status == dns.Failure:
			failed = answer
		}
	}
	switch {
	case len(confirmed) == 0 && failed.Detail != "":
		l.unanswered(at(""), failed, keys[1:]...)
	case len(confirmed) == 0:
		l.finding(back, Warning, fmt.Sprintf(
			"the PTR record of %s names %s, which does not lead back to it", addr, shown(ptr.Names)), fix)
	default:
		l.names(at, addr, confirmed, helo)
	}
}

// names looks at confirmed names of an address.
func (l *look) names(at func(string) key, addr netip.Addr, confirmed []string, helo string) {
	const fix = "one name for both, which is this host's own, is what servers trust most"
	if helo != "" && !slices.Contains(confirmed, helo) {
		l.finding(at("helo"), Notice, fmt.Sprintf("the PTR record of %s names %s; the EHLO name is %s",
			addr, shown(confirmed), helo), fix)
	}
	if !slices.ContainsFunc(confirmed, func(name string) bool { return !looksDynamic(name, addr) }) {
		l.finding(at("looks"), Notice, fmt.Sprintf("the name of %s, %s, is made of the address: many "+
			"servers take it for a dial-up line's", addr, shown(confirmed)), fix)
	}
}

// looksDynamic reports a name with the numbers of its IPv4 address, in any order.
func looksDynamic(name string, addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	numbers := strings.FieldsFunc(name, func(r rune) bool { return r < '0' || r > '9' })
	for _, octet := range addr.As4() {
		if !slices.ContainsFunc(numbers, func(n string) bool {
			n = strings.TrimLeft(n, "0")
			return n == strconv.Itoa(int(octet)) || n == "" && octet == 0
		}) {
			return false
		}
	}
	return true
}

// shown lists names from DNS, which have only printable characters (see dns.MX), at most three.
func shown(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
