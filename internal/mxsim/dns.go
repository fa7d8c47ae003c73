package mxsim

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// DNSMode is a fault of the DNS for a site's domains.
type DNSMode int

// The modes.
const (
	DNSNormal    DNSMode = iota
	DNSNXDomain          // no such domain
	DNSServFail          // SERVFAIL
	DNSRefused           // REFUSED
	DNSSilent            // never an answer
	DNSTruncated         // over UDP only a truncated answer, over TCP the whole
)

// Query is one DNS query that was received.
type Query struct {
	At      time.Time
	Network string // "udp" or "tcp", as dialled
	Name    string // lower case, without the last dot
	Type    string // "MX", "A", ...
}

// maxCNAMEs is how long a chain of aliases the server follows, as resolvers do.
const maxCNAMEs = 16

// Record adds DNS records in the format of a zone file, for example
// "example.com. 300 IN TXT \"v=spf1 -all\"". They come besides what follows from the sites.
func (w *World) Record(lines ...string) error {
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			return err
		}
		owner := canonical(rr.Header().Name)
		w.mu.Lock()
		w.records[owner] = append(w.records[owner], rr)
		w.mu.Unlock()
	}
	return nil
}

// Resolver sets the state of the DNS server at an address in memory; all others are Up. A
// BlackHole never takes the connection.
func (w *World) Resolver(addr netip.Addr, state HostState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resolvers[addr] = state
}

// HandleDNS lets f answer queries first. f returns nil to leave a query to the World, or the
// whole response (an answer of a hostile server, too).
func (w *World) HandleDNS(f func(network string, query *dns.Msg) *dns.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.override = f
}

// Queries returns the DNS queries so far.
func (w *World) Queries() []Query {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Query(nil), w.queries...)
}

// serveStream answers queries on a connection with TCP framing.
func (w *World) serveStream(ctx context.Context, conn net.Conn, network string) {
	dc := &dns.Conn{Conn: conn}
	for {
		query, err := dc.ReadMsg()
		if err != nil {
			return
		}
		response := w.answer(ctx, network, query)
		if response == nil {
			<-ctx.Done()
			return
		}
		if dc.WriteMsg(response) != nil {
			return
		}
	}
}

// answer returns the response to a query, after its delay; nil means that there is none.
func (w *World) answer(ctx context.Context, network string, query *dns.Msg) *dns.Msg {
	if len(query.Question) != 1 {
		return new(dns.Msg).SetRcode(query, dns.RcodeFormatError)
	}
	q := query.Question[0]
	w.mu.Lock()
	w.queries = append(w.queries, Query{
		At: time.Now(), Network: network, Name: canonical(q.Name), Type: dns.TypeToString[q.Qtype],
	})
	override := w.override
	w.mu.Unlock()
	if override != nil {
		if response := override(network, query); response != nil {
			return response
		}
	}
	site := w.zone(canonical(q.Name))
	config := DNSConfig{}
	if site != nil {
		config = site.DNS
	}
	if !pause(ctx, config.Delay) {
		return nil
	}
	response := new(dns.Msg).SetReply(query)
	response.RecursionAvailable = true
	if opt := query.IsEdns0(); opt != nil {
		response.SetEdns0(1232, false)
	}
	switch config.Mode {
	case DNSSilent:
		return nil
	case DNSServFail:
		response.Rcode = dns.RcodeServerFailure
		return response
	case DNSRefused:
		response.Rcode = dns.RcodeRefused
		return response
	case DNSTruncated:
		if network == "udp" {
			response.Truncated = true
			return response
		}
	case DNSNXDomain, DNSNormal:
	}
	w.resolve(response, q, config)
	return response
}

// resolve fills in the answer section, following aliases, or the SOA record of a negative answer.
func (w *World) resolve(response *dns.Msg, q dns.Question, config DNSConfig) {
	name := canonical(q.Name)
	exists := false
	for range maxCNAMEs {
		records := w.lookup(name)
		exists = len(records) > 0 || w.hasBelow(name)
		var alias *dns.CNAME
		found := false
		for _, rr := range records {
			if rr.Header().Rrtype == q.Qtype {
				response.Answer = append(response.Answer, rr)
				found = true
			}
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
		}
		if found {
			return
		}
		if alias == nil {
			break
		}
		response.Answer = append(response.Answer, alias)
		name = canonical(alias.Target)
	}
	if !exists {
		response.Rcode = dns.RcodeNameError
	}
	negative := seconds(config.NegativeTTL, time.Minute)
	response.Ns = append(response.Ns, &dns.SOA{
		Hdr: header(parent(name), dns.TypeSOA, negative),
		Ns:  "ns.mxsim.test.", Mbox: "hostmaster.mxsim.test.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negative,
	})
}

// lookup returns all records of a name.
func (w *World) lookup(name string) []dns.RR {
	w.mu.Lock()
	defer w.mu.Unlock()
	records := append([]dns.RR(nil), w.records[name]...)
	if s := w.domains[name]; s != nil && s.DNS.Mode != DNSNXDomain {
		records = append(records, domainRecords(s, name)...)
	}
	if h := w.names[name]; h != nil {
		ttl := uint32(300)
		if h.site != nil {
			ttl = seconds(h.site.DNS.TTL, 5*time.Minute)
		}
		records = append(records, addrRecords(name, h.Addrs, ttl)...)
	}
	if h := w.reverse(name); h != nil && h.Name != "" {
		records = append(records, &dns.PTR{Hdr: header(name, dns.TypePTR, 300), Ptr: dns.Fqdn(h.Name)})
	}
	return records
}

// domainRecords returns what a mail domain has: a NS record (so that the name exists), and MX
// records, a null MX or the addresses of an implicit MX.
func domainRecords(s *Site, domain string) []dns.RR {
	ttl := seconds(s.DNS.TTL, 5*time.Minute)
	records := []dns.RR{&dns.NS{Hdr: header(domain, dns.TypeNS, ttl), Ns: "ns.mxsim.test."}}
	switch {
	case s.DNS.NullMX:
		records = append(records, &dns.MX{Hdr: header(domain, dns.TypeMX, ttl), Mx: "."})
	case s.DNS.NoMX:
		if len(s.Hosts) > 0 && !strings.EqualFold(s.Hosts[0].Name, domain) {
			records = append(records, addrRecords(domain, s.Hosts[0].Addrs, ttl)...)
		}
	default:
		for _, h := range s.Hosts {
			records = append(records, &dns.MX{
				Hdr: header(domain, dns.TypeMX, ttl), Preference: h.Pref, Mx: dns.Fqdn(h.Name),
			})
		}
	}
	return records
}

func addrRecords(name string, addrs []netip.Addr, ttl uint32) []dns.RR {
	var records []dns.RR
	for _, a := range addrs {
		if a.Is4() {
			records = append(records, &dns.A{Hdr: header(name, dns.TypeA, ttl), A: a.AsSlice()})
		} else {
			hdr := header(name, dns.TypeAAAA, ttl)
			records = append(records, &dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
		}
	}
	return records
}

// reverse returns the host of an in-addr.arpa or ip6.arpa name. The caller holds mu.
func (w *World) reverse(name string) *Host {
	if !strings.HasSuffix(name, ".arpa") {
		return nil
	}
	for addr, h := range w.hosts {
		if arpa, err := dns.ReverseAddr(addr.String()); err == nil && canonical(arpa) == name {
			return h
		}
	}
	return nil
}

// hasBelow reports whether a name is an empty non-terminal: nothing there, but something below.
func (w *World) hasBelow(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	suffix := "." + name
	for other := range w.records {
		if strings.HasSuffix(other, suffix) {
			return true
		}
	}
	for other := range w.names {
		if strings.HasSuffix(other, suffix) {
			return true
		}
	}
	for other, s := range w.domains {
		if strings.HasSuffix(other, suffix) && s.DNS.Mode != DNSNXDomain {
			return true
		}
	}
	return false
}

// zone returns the site of a name: its domain, a name below it, or a name of one of its hosts.
func (w *World) zone(name string) *Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.names[name]; h != nil && h.site != nil {
		return h.site
	}
	for n := name; n != ""; n = parent(n) {
		if s := w.domains[n]; s != nil {
			return s
		}
	}
	return nil
}

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func seconds(d, otherwise time.Duration) uint32 {
	if d <= 0 {
		d = otherwise
	}
	return uint32(d / time.Second) //nolint:gosec // TTLs of tests are small
}

// canonical returns a name in lower case, without the last dot.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}
