package dns

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Limits on what one answer may make us keep.
const (
	maxChain     = 8    // CNAME links from the name asked for
	maxRecords   = 20   // records used
	maxTXT       = 4096 // octets of one TXT record
	maxTXTs      = 8192 // octets of all TXT records
	maxShownName = 253  // characters of a name that is written without escapes

	minTTL         = 30 * time.Second
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
	failureTTL     = 30 * time.Second
)

var (
	errChain    = errors.New("a CNAME chain of more than 8 links, or a loop")
	errReferral = errors.New("a referral: the server does not resolve for us")
)

// chain is how far CNAME records led. open is the name at its end if the message says nothing of
// it, so that it has to be asked for.
type chain struct {
	links int
	open  string
}

// unpack parses the response to the query that had identifier id and question q. The error is errNotOurs if identifier or question differ, errTruncated
// if the server could not send all, errMalformed if it cannot be read.
func unpack(wire []byte, id uint16, q question) (*mdns.Msg, error) {
	const header, response, truncated = 12, 1 << 15, 1 << 9
	if len(wire) < header || binary.BigEndian.Uint16(wire) != id {
		return nil, errNotOurs
	}
	flags := binary.BigEndian.Uint16(wire[2:])
	if flags&response == 0 {
		return nil, errNotOurs
	}
	msg := new(mdns.Msg)
	err := msg.Unpack(wire)
	// A refusal may come without the question (BIND and others cut it); an answer may not.
	bare := len(msg.Question) == 0 && msg.Rcode != mdns.RcodeSuccess &&
		msg.Rcode != mdns.RcodeNameError
	switch {
	case !bare && !asks(msg, q):
		if err != nil && len(msg.Question) == 0 {
			return nil, errMalformed
		}
		return nil, errNotOurs
	case flags&truncated != 0: // also when unpacking failed: that is where it was cut
		return nil, errTruncated
	case err != nil || msg.Opcode != mdns.OpcodeQuery:
		return nil, errMalformed
	}
	return msg, nil
}

func asks(msg *mdns.Msg, q question) bool {
	if len(msg.Question) != 1 {
		return false
	}
	asked := msg.Question[0]
	return asked.Qtype == q.qtype && asked.Qclass == mdns.ClassINET &&
		strings.EqualFold(asked.Name, q.name)
}

// read says what msg answers to q. It is pure; msg has passed unpack.
func read(msg *mdns.Msg, q question) (Answer, chain) {
	if msg.Rcode != mdns.RcodeSuccess && msg.Rcode != mdns.RcodeNameError {
		rcode, ok := mdns.RcodeToString[msg.Rcode]
		if !ok {
			rcode = "an unknown error"
		}
		return failed("the server says " + rcode), chain{}
	}
	owner, ttl, links, err := follow(msg.Answer, q)
	if err != nil {
		return failed(err.Error()), chain{}
	}
	a := Answer{}
	recordTTL, found := a.collect(msg.Answer, owner, q.qtype)
	switch {
	case found && msg.Rcode == mdns.RcodeNameError:
		return failed("the server denies the name and has records of it"), chain{}
	case found && len(a.MX)+len(a.Addrs)+len(a.Names)+len(a.Txt) == 0:
		return failed("the records are empty or too large"), chain{}
	case found:
		a.Status, a.TTL = NoError, clamp(min(ttl, recordTTL), maxTTL)
		return a, chain{links: links}
	}
	negative, soa := negativeTTL(msg.Ns, owner)
	a.TTL = clamp(min(ttl, negative), maxNegativeTTL)
	switch {
	case msg.Rcode == mdns.RcodeNameError:
		a.Status = NXDomain
		return a, chain{links: links}
	case !soa && refers(msg.Ns):
		return failed(errReferral.Error()), chain{}
	case links > 0 && !soa:
		return a, chain{links: links, open: owner}
	}
	a.Status = NoData
	return a, chain{links: links}
}

func failed(detail string) Answer {
	return Answer{Status: Failure, Detail: detail, TTL: failureTTL}
}

// follow walks the CNAME records from q.name to the name that has the records, or should have.
func follow(answer []mdns.RR, q question) (owner string, ttl time.Duration, links int, err error) {
	owner, ttl = q.name, maxTTL
	for {
		next := ""
		for _, rr := range answer {
			if !owned(rr, owner) {
				continue
			}
			if rr.Header().Rrtype == q.qtype {
				return owner, ttl, links, nil
			}
			if cname, ok := rr.(*mdns.CNAME); ok && next == "" {
				next, ttl = strings.ToLower(cname.Target), min(ttl, seconds(cname.Hdr.Ttl))
			}
		}
		if next == "" {
			return owner, ttl, links, nil
		}
		if links++; links > maxChain {
			return "", 0, 0, errChain
		}
		if !plainName(next) {
			return "", 0, 0, errors.New("a CNAME to a name that cannot be a host name")
		}
		owner = next
	}
}

func owned(rr mdns.RR, owner string) bool {
	return rr.Header().Class == mdns.ClassINET && strings.EqualFold(rr.Header().Name, owner)
}

// collect takes the records of owner into a, without doubles, and returns their lowest TTL.
func (a *Answer) collect(rrs []mdns.RR, owner string, qtype uint16) (time.Duration, bool) {
	ttl, found := maxTTL, false
	octets := 0
	for _, rr := range rrs {
		if rr.Header().Rrtype != qtype || !owned(rr, owner) {
			continue
		}
		ttl, found = min(ttl, seconds(rr.Header().Ttl)), true
		switch rr := rr.(type) {
		case *mdns.MX:
			a.MX = append(a.MX, MX{shownName(rr.Mx), rr.Preference})
		case *mdns.A:
			a.addAddr(rr.A)
		case *mdns.AAAA:
			a.addAddr(rr.AAAA)
		case *mdns.PTR:
			a.Names = append(a.Names, shownName(rr.Ptr))
		case *mdns.TXT:
			txt := rawText(rr.Txt)
			if len(txt) <= maxTXT && octets+len(txt) <= maxTXTs {
				a.Txt = append(a.Txt, txt)
				octets += len(txt)
			}
		}
	}
	a.limit()
	return ttl, found
}

func (a *Answer) addAddr(ip []byte) {
	// A record with empty RDATA (RFC 2136 uses them) has no address: it is not one.
	if addr, ok := netip.AddrFromSlice(ip); ok && len(a.Addrs) < maxRecords {
		a.Addrs = append(a.Addrs, addr)
	}
}

// limit sorts the MX records before it cuts: the preferred ones must not depend on the order in
// which the server lists them, and a null MX is one only if no other record stands beside it.
func (a *Answer) limit() {
	slices.SortStableFunc(a.MX, func(x, y MX) int {
		return cmp.Or(cmp.Compare(x.Pref, y.Pref), strings.Compare(x.Host, y.Host))
	})
	a.MX = slices.Compact(a.MX)
	a.MX = slices.Clip(a.MX[:min(len(a.MX), maxRecords)])
	a.Names = slices.Clip(a.Names[:min(len(a.Names), maxRecords)])
	a.Txt = slices.Clip(a.Txt[:min(len(a.Txt), maxRecords)])
}

// negativeTTL is the lower of the SOA record's TTL and its MINIMUM field (RFC 2308 section 5), if
// the record is of a zone that owner lies in. Without one, nothing is to be remembered for long.
func negativeTTL(authority []mdns.RR, owner string) (ttl time.Duration, ok bool) {
	for _, rr := range authority {
		if soa, ok := rr.(*mdns.SOA); ok && mdns.IsSubDomain(soa.Hdr.Name, owner) {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl)), true
		}
	}
	return minTTL, false
}

// refers reports a referral: name servers of somebody else instead of an answer. An authoritative
// or misconfigured server sends that, and it must not be read as NODATA.
func refers(authority []mdns.RR) bool {
	return slices.ContainsFunc(authority, func(rr mdns.RR) bool {
		return rr.Header().Rrtype == mdns.TypeNS
	})
}

// seconds reads a TTL; one with the highest bit set counts as 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func clamp(ttl, most time.Duration) time.Duration { return min(max(ttl, minTTL), most) }

// shownName folds a name for Answer. A name longer than any host name has escapes; it is cut, and
// keeps a backslash, by which everybody sees that it is no host name.
func shownName(name string) string {
	if name == "." {
		return name
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > maxShownName {
		return `\` + name[:maxShownName-1]
	}
	return name
}

// rawText joins the strings of a TXT record and undoes the escapes of the parser.
func rawText(parts []string) string {
	var b bytes.Buffer
	for _, s := range parts {
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c == '\\' && i+1 < len(s) {
				i++
				c = s[i]
				if i+2 < len(s) && isDigits(s[i:i+3]) {
					c = (s[i]-'0')*100 + (s[i+1]-'0')*10 + (s[i+2] - '0')
					i += 2
				}
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isDigits(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
