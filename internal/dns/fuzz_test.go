package dns

import (
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// FuzzAnswer lets a hostile server answer with any octets. Whatever they are: no panic, nothing
// over the limits, no record whose owner is not the name asked for or reached from it by CNAMEs,
// and no conclusion about a name from a message that is not an answer about it.
func FuzzAnswer(f *testing.F) {
	for _, records := range [][]string{
		{"a.test. 60 IN MX 10 mx.test.", "b.test. 60 IN MX 5 evil.test."},
		{"a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.test."},
		{"a.test. 60 IN CNAME b.test.", "b.test. 60 IN A 5.9.0.1", "b.test. 60 IN AAAA 2a01::1"},
		{`a.test. 60 IN TXT "a\"b\007"`, "a.test. 60 IN PTR x.test.", "a.test. 60 IN MX 0 ."},
		{"test. 60 IN SOA ns.test. root.test. 1 2 3 4 5", "test. 60 IN NS ns.test."},
	} {
		for _, qtype := range []uint16{mdns.TypeMX, mdns.TypeA, mdns.TypeTXT} {
			m := new(mdns.Msg).SetQuestion("a.test.", qtype)
			m.Id, m.Response = 7, true
			m.Answer = parseRRs(f, records...)
			m.Ns = m.Answer
			f.Add(pack(m), qtype)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, qtype uint16) {
		q := question{"a.test.", qtype}
		msg, err := unpack(wire, 7, q)
		if err != nil {
			return
		}
		a, c := read(msg, q)
		checkBounds(t, a, c)
		reachable := reachableNames(msg, q.name)
		allowed := make(map[string]bool)
		for _, rr := range msg.Answer {
			if reachable[strings.ToLower(rr.Header().Name)] && rr.Header().Class == mdns.ClassINET {
				allowed[recordKey(rr)] = true
			}
		}
		for _, key := range answerKeys(a) {
			if !allowed[key] {
				t.Errorf("%s is not a record of %s in %v", key, q.name, msg)
			}
		}
		if a.Status == NXDomain && (msg.Rcode != mdns.RcodeNameError || len(msg.Question) != 1) {
			t.Errorf("NXDOMAIN out of %v", msg)
		}
	})
}

func checkBounds(t *testing.T, a Answer, c chain) {
	t.Helper()
	octets := 0
	for _, txt := range a.Txt {
		octets += len(txt)
	}
	if len(a.MX) > maxRecords || len(a.Addrs) > maxRecords || len(a.Txt) > maxRecords ||
		len(a.Names) > maxRecords || octets > maxTXTs || c.links > maxChain {
		t.Errorf("over the limits: %+v %+v", a, c)
	}
	if a.TTL < minTTL || a.TTL > maxTTL || (a.Status != NoError && a.TTL > time.Hour) {
		t.Errorf("TTL %v of %v", a.TTL, a.Status)
	}
	n := len(a.MX) + len(a.Addrs) + len(a.Txt) + len(a.Names)
	if (a.Status == NoError) != (n > 0) {
		t.Errorf("%v with %d records", a.Status, n)
	}
	if a.Status == Failure && a.Detail == "" && c.open == "" {
		t.Error("a failure without a reason")
	}
	names := slices.Clone(a.Names)
	for _, mx := range a.MX {
		names = append(names, mx.Host)
	}
	for _, name := range names {
		bad := func(r rune) bool { return r < ' ' || r > '~' }
		if len(name) > maxShownName || strings.ContainsFunc(name, bad) {
			t.Errorf("name %q", name)
		}
	}
}

// reachableNames is the closure of the CNAME records over the name asked for.
func reachableNames(msg *mdns.Msg, name string) map[string]bool {
	reachable := map[string]bool{name: true}
	for range len(msg.Answer) {
		for _, rr := range msg.Answer {
			cname, ok := rr.(*mdns.CNAME)
			if ok && reachable[strings.ToLower(cname.Hdr.Name)] {
				reachable[strings.ToLower(cname.Target)] = true
			}
		}
	}
	return reachable
}

// recordKey writes what a record says, in the form that answerKeys has.
func recordKey(rr mdns.RR) string {
	switch rr := rr.(type) {
	case *mdns.MX:
		return "mx " + shownName(rr.Mx)
	case *mdns.A:
		return "addr " + rr.A.String()
	case *mdns.AAAA:
		return "addr " + rr.AAAA.String()
	case *mdns.PTR:
		return "ptr " + shownName(rr.Ptr)
	case *mdns.TXT:
		return "txt " + rawText(rr.Txt)
	}
	return ""
}

func answerKeys(a Answer) []string {
	var keys []string
	for _, mx := range a.MX {
		keys = append(keys, "mx "+mx.Host)
	}
	for _, addr := range a.Addrs {
		// net.IP writes a v4-mapped address as IPv4, netip does not.
		keys = append(keys, "addr "+addr.Unmap().String())
	}
	for _, name := range a.Names {
		keys = append(keys, "ptr "+name)
	}
	for _, txt := range a.Txt {
		keys = append(keys, "txt "+txt)
	}
	return keys
}
