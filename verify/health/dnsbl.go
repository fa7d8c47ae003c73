package health

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// The test entries of RFC 5782 section 5: of each family, one that every list has and one that none
// has.
var (
	listed4   = netip.AddrFrom4([4]byte{127, 0, 0, 2})
	unlisted4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	listed6   = netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 0x7f, 15: 2})
	unlisted6 = netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 0x7f, 15: 1})

	// entries is where lists answer from (RFC 5782 section 2.1); errorsOf is where Spamhaus and others
	// say that they do not answer this resolver.
	entries  = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	errorsOf = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 255, 255}), 24)
)

// listing is what a zone says of an address.
type listing int

const (
	notAnswered listing = iota // DNS failed
	unusable                   // an answer that is none
	notListed
	isListed
)

// blockList asks one zone for all addresses, if it can be believed.
func (l *look) blockList(ctx context.Context, zone string, addrs []netip.Addr) {
	zone = strings.ToLower(strings.Trim(zone, ". "))
	for _, six := range []bool{false, true} {
		var of []netip.Addr
		for _, a := range addrs {
			if a.Is6() == six {
				of = append(of, a)
			}
		}
		if len(of) > 0 {
			l.blockListFamily(ctx, zone, six, of)
		}
	}
}

func (l *look) blockListFamily(ctx context.Context, zone string, six bool, addrs []netip.Addr) {
	family, in, out := "IPv4", listed4, unlisted4
	if six {
		family, in, out = "IPv6", listed6, unlisted6
	}
	var keys []key
	for _, a := range addrs {
		keys = append(keys, key{KindDNSBL, a.String(), showZone(zone)})
	}
	of := key{kind: KindZone, subject: showZone(zone), part: family}
	positive, answer := l.ask(ctx, zone, in)
	switch {
	case positive == notAnswered:
		l.unanswered(of, answer, keys...)
		return
	case positive == unusable:
		l.disbelieve(of, "it "+refusal(answer), keys)
		return
	case positive == notListed && six:
		return // a list of IPv4 addresses: it says nothing of ours
	case positive == notListed:
		l.disbelieve(of, "it does not list the test entry "+in.String()+
			": it is no block list, or gives this resolver no answers", keys)
		return
	}
	negative, answer := l.ask(ctx, zone, out)
	switch negative {
	case notAnswered:
		l.unanswered(of, answer, keys...)
		return
	case unusable:
		l.disbelieve(of, "it "+refusal(answer), keys)
		return
	case isListed:
		l.disbelieve(of, "it lists everything, the test entry "+out.String()+" too", keys)
		return
	case notListed:
	}
	for i, a := range addrs {
		l.listed(ctx, zone, a, keys[i])
	}
}

// disbelieve says that a zone is of no use.
func (l *look) disbelieve(of key, why string, keys []key) {
	for _, k := range keys {
		l.open[k] = true
	}
	l.finding(of, Notice, of.subject+" cannot be believed: "+why,
		"ask it through a resolver of your own (verify.dns.servers: public resolvers are refused), with "+
			"a key if its operator wants one, or take it out of verify.health.dnsbl_zones")
}

// listed looks one address up in a zone that can be believed.
func (l *look) listed(ctx context.Context, zone string, a netip.Addr, k key) {
	state, answer := l.ask(ctx, zone, a)
	switch state {
	case notAnswered:
		l.unanswered(key{KindZone, k.part, a.String()}, answer, k)
	case unusable:
		l.disbelieve(key{KindZone, k.part, a.String()}, "it "+refusal(answer), []key{k})
	case isListed:
		what := a.String() + " is on the block list " + showZone(zone) + " (" + join(answer.Addrs) + ")"
		if m := meaning(zone, answer.Addrs); m != "" {
			what += ": " + m
		}
		if txt := l.config.DNS.TXT(ctx, entryName(a, zone)); txt.Status == dns.NoError {
			what += "; it says " + quote(txt.Txt[0])
		}
		l.finding(k, Warning, what, "find out why at the list's site and end the cause (a hacked "+
			"account, bought addresses) before you ask for removal; until then, mail and probes are refused")
	case notListed:
	}
}

// ask looks an address up in a zone.
func (l *look) ask(ctx context.Context, zone string, a netip.Addr) (listing, dns.Answer) {
	answer := l.config.DNS.A(ctx, entryName(a, zone))
	switch {
	case answer.Status == dns.Failure:
		return notAnswered, answer
	case len(answer.Addrs) == 0:
		return notListed, answer
	}
	for _, code := range answer.Addrs {
		if !entries.Contains(code) || errorsOf.Contains(code) {
			return unusable, answer
		}
	}
	return isListed, answer
}

// entryName is the name that a zone has an address under (RFC 5782 sections 2.1 and 2.4).
func entryName(a netip.Addr, zone string) string {
	const hexDigits = "0123456789abcdef"
	var b []byte
	octets := a.AsSlice()
	for _, o := range slices.Backward(octets) {
		if len(octets) == 4 {
			b = append(strconv.AppendInt(b, int64(o), 10), '.')
		} else {
			b = append(b, hexDigits[o&15], '.', hexDigits[o>>4], '.')
		}
	}
	return string(b) + zone
}

// refusal says what an answer means that is none.
func refusal(answer dns.Answer) string {
	for _, code := range answer.Addrs {
		switch code.String() {
		// https://www.spamhaus.org/faqs/dnsbl-usage/ (return codes)
		case "127.255.255.252":
			return "says that its name is misspelt (" + code.String() + ")"
		case "127.255.255.254":
			return "does not answer public resolvers (" + code.String() + ")"
		case "127.255.255.255":
			return "has had too many questions from this resolver (" + code.String() + ")"
		}
		if errorsOf.Contains(code) {
			return "answers with an error (" + code.String() + ")"
		}
	}
	return "answers with addresses outside 127.0.0.0/8 (" + join(answer.Addrs) +
		"), as a parked domain does"
}

// meaning explains the codes of Spamhaus, whose zones are used most
// (https://www.spamhaus.org/faqs/dnsbl-usage/).
func meaning(zone string, codes []netip.Addr) string {
	if !strings.HasSuffix(zone, ".spamhaus.org") && !strings.HasSuffix(zone, ".dq.spamhaus.net") {
		return ""
	}
	var out []string
	for _, code := range codes {
		word := ""
		switch code.As4()[3] {
		case 2:
			word = "SBL, spam was seen from its network"
		case 3:
			word = "CSS, low-quality mail was seen from it"
		case 4, 5, 6, 7:
			word = "XBL, malware or an open proxy was seen on it"
		case 9:
			word = "DROP, a hijacked network"
		case 10, 11:
			word = "PBL, its provider says that it should not send mail by itself"
		}
		if word != "" && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, "; ")
}

// showZone hides the key that Spamhaus' data query service has in its names.
func showZone(zone string) string {
	if rest, ok := strings.CutSuffix(zone, ".dq.spamhaus.net"); ok {
		if _, list, keyed := strings.Cut(rest, "."); keyed {
			return "…." + list + ".dq.spamhaus.net"
		}
	}
	return zone
}

// quote makes words from DNS safe to print.
func quote(s string) string {
	const most = 200
	return strconv.QuoteToASCII(s[:min(len(s), most)])
}
