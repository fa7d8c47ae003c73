package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdns "github.com/miekg/dns"
)

func compareAddr() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}) }

func TestRead(t *testing.T) {
	const soa = "test. 900 IN SOA ns.test. root.test. 1 2 3 4 300"
	tests := []struct {
		name   string
		rcode  int
		qtype  uint16
		answer []string
		ns     []string
		want   Answer
		chain  chain
	}{
		{
			name: "MX sorted by preference and folded", qtype: mdns.TypeMX,
			answer: []string{
				"a.test. 300 IN MX 20 Two.Test.", "A.TEST. 100 IN MX 10 one.test.",
				"a.test. 300 IN MX 20 two.test.",
			},
			want: Answer{
				Status: NoError, MX: []MX{{"one.test", 10}, {"two.test", 20}}, TTL: 100 * time.Second,
			},
		},
		{
			name: "null MX", qtype: mdns.TypeMX, answer: []string{"a.test. 300 IN MX 10 ."},
			want: Answer{Status: NoError, MX: []MX{{".", 10}}, TTL: 300 * time.Second},
		},
		{
			name: "records of another name only", qtype: mdns.TypeMX,
			answer: []string{"evil.test. 300 IN MX 10 mx.evil.test."}, ns: []string{soa},
			want: Answer{Status: NoData, TTL: 300 * time.Second},
		},
		{
			name: "records of another name beside ours", qtype: mdns.TypeA,
			answer: []string{"evil.test. 9 IN A 5.9.0.1", "a.test. 60 IN A 5.9.0.2"},
			want:   Answer{Status: NoError, Addrs: addrs("5.9.0.2"), TTL: time.Minute},
		},
		{
			name: "class CHAOS", qtype: mdns.TypeTXT,
			answer: []string{`a.test. 60 CH TXT "x"`}, ns: []string{soa},
			want: Answer{Status: NoData, TTL: 300 * time.Second},
		},
		{
			name: "CNAME chain in any order", qtype: mdns.TypeMX,
			answer: []string{
				"c.test. 300 IN MX 10 mx.test.", "b.test. 50 IN CNAME c.test.",
				"a.test. 200 IN CNAME B.test.",
			},
			want:  Answer{Status: NoError, MX: []MX{{"mx.test", 10}}, TTL: 50 * time.Second},
			chain: chain{links: 2},
		},
		{
			name: "CNAME chain that ends nowhere", qtype: mdns.TypeMX, ns: []string{soa},
			answer: []string{"a.test. 200 IN CNAME b.test."},
			want:   Answer{Status: NoData, TTL: 200 * time.Second}, chain: chain{links: 1},
		},
		{
			name: "CNAME chain left to us", qtype: mdns.TypeMX,
			answer: []string{"a.test. 200 IN CNAME b.test."},
			want:   Answer{TTL: 30 * time.Second}, chain: chain{links: 1, open: "b.test."},
		},
		{
			name: "CNAME loop", qtype: mdns.TypeMX,
			answer: []string{"a.test. 200 IN CNAME b.test.", "b.test. 200 IN CNAME a.test."},
			want:   failed(errChain.Error()),
		},
		{
			name: "CNAME to garbage", qtype: mdns.TypeMX,
			answer: []string{`a.test. 200 IN CNAME b\032b.test.`},
			want:   failed("a CNAME to a name that cannot be a host name"),
		},
		{
			name: "NODATA, lower of SOA TTL and minimum", qtype: mdns.TypeMX,
			ns:   []string{"test. 60 IN SOA ns.test. root.test. 1 2 3 4 300"},
			want: Answer{Status: NoData, TTL: time.Minute},
		},
		{
			name: "NODATA without SOA", qtype: mdns.TypeMX,
			want: Answer{Status: NoData, TTL: 30 * time.Second},
		},
		{
			name: "NODATA with another zone's SOA", qtype: mdns.TypeMX,
			ns:   []string{"example. 900 IN SOA ns.example. root.example. 1 2 3 4 900"},
			want: Answer{Status: NoData, TTL: 30 * time.Second},
		},
		{
			name: "referral", qtype: mdns.TypeMX, ns: []string{"test. 900 IN NS ns.test."},
			want: failed(errReferral.Error()),
		},
		{
			name: "NXDOMAIN for at most an hour", qtype: mdns.TypeMX, rcode: mdns.RcodeNameError,
			ns:   []string{"test. 86400 IN SOA ns.test. root.test. 1 2 3 4 86400"},
			want: Answer{Status: NXDomain, TTL: time.Hour},
		},
		{
			name: "NXDOMAIN with records", qtype: mdns.TypeMX, rcode: mdns.RcodeNameError,
			answer: []string{"a.test. 300 IN MX 10 mx.test."},
			want:   failed("the server denies the name and has records of it"),
		},
		{
			name: "SERVFAIL", qtype: mdns.TypeMX, rcode: mdns.RcodeServerFailure,
			want: failed("the server says SERVFAIL"),
		},
		{
			name: "REFUSED", qtype: mdns.TypeMX, rcode: mdns.RcodeRefused,
			want: failed("the server says REFUSED"),
		},
		{
			name: "TTL above the limit", qtype: mdns.TypeA,
			answer: []string{"a.test. 2000000000 IN A 5.9.0.1"},
			want:   Answer{Status: NoError, Addrs: addrs("5.9.0.1"), TTL: 24 * time.Hour},
		},
		{
			name: "TTL with the highest bit set", qtype: mdns.TypeA,
			answer: []string{"a.test. 4294967295 IN A 5.9.0.1"},
			want:   Answer{Status: NoError, Addrs: addrs("5.9.0.1"), TTL: 30 * time.Second},
		},
		{
			name: "TXT joined and unescaped", qtype: mdns.TypeTXT,
			answer: []string{`a.test. 60 IN TXT "v=spf1 " "a\"b\\c\007\255"`},
			want:   Answer{Status: NoError, Txt: []string{"v=spf1 a\"b\\c\a\xff"}, TTL: time.Minute},
		},
		{
			name: "PTR", qtype: mdns.TypePTR, answer: []string{"a.test. 60 IN PTR Host.Test."},
			want: Answer{Status: NoError, Names: []string{"host.test"}, TTL: time.Minute},
		},
		{
			name: "MX to an escaped name", qtype: mdns.TypeMX,
			answer: []string{`a.test. 60 IN MX 5 a\032b\.c.test.`},
			want:   Answer{Status: NoError, MX: []MX{{`a\ b\.c.test`, 5}}, TTL: time.Minute},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := question{"a.test.", tt.qtype}
			m := new(mdns.Msg).SetQuestion(q.name, q.qtype)
			m.Response, m.Rcode = true, tt.rcode
			m.Answer, m.Ns = parseRRs(t, tt.answer...), parseRRs(t, tt.ns...)
			msg, err := unpack(pack(m), m.Id, q)
			if err != nil {
				t.Fatal(err)
			}
			got, c := read(msg, q)
			if diff := cmp.Diff(tt.want, got, compareAddr(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if c != tt.chain {
				t.Errorf("chain %+v, want %+v", c, tt.chain)
			}
		})
	}
}

func TestReadLimits(t *testing.T) {
	q := question{"a.test.", mdns.TypeMX}
	m := new(mdns.Msg).SetQuestion(q.name, q.qtype)
	m.Response = true
	for i := range 200 { // the preferred ones come last
		m.Answer = append(m.Answer, parseRRs(t,
			fmt.Sprintf("a.test. 60 IN MX %d mx%d.test.", 1000-i, i))...)
	}
	got, _ := read(m, q)
	if len(got.MX) != maxRecords || got.MX[0] != (MX{"mx199.test", 801}) {
		t.Errorf("%d records, first %v", len(got.MX), got.MX[0])
	}

	q.qtype, m.Answer = mdns.TypeTXT, nil
	for i := range 30 {
		m.Answer = append(m.Answer, &mdns.TXT{
			Hdr: mdns.RR_Header{Name: q.name, Rrtype: mdns.TypeTXT, Class: mdns.ClassINET},
			Txt: slices.Repeat([]string{strings.Repeat("x", 250)}, i+1),
		})
	}
	got, _ = read(m, q)
	octets := 0
	for _, txt := range got.Txt {
		octets += len(txt)
		if len(txt) > maxTXT {
			t.Errorf("a TXT record of %d octets", len(txt))
		}
	}
	if octets > maxTXTs || len(got.Txt) == 0 {
		t.Errorf("%d octets in %d TXT records", octets, len(got.Txt))
	}

	long := strings.Repeat(`\001`, 60)
	if name := shownName(strings.Repeat(long+".", 4)); len(name) > maxShownName || name[0] != '\\' {
		t.Errorf("a name of %d characters: %s", len(name), name)
	}
}

func TestEmptyRecords(t *testing.T) {
	q := question{"a.test.", mdns.TypeA}
	m := new(mdns.Msg).SetQuestion(q.name, q.qtype)
	m.Response = true
	m.Answer = []mdns.RR{&mdns.A{
		Hdr: mdns.RR_Header{Name: q.name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 60},
	}}
	if got, _ := read(m, q); got.Status != Failure {
		t.Errorf("an A record without an address: %+v", got)
	}
}

func TestMerge(t *testing.T) {
	v4 := Answer{Status: NoError, Addrs: addrs("5.9.0.1"), TTL: time.Hour}
	v6 := Answer{Status: NoError, Addrs: addrs("2a01::1"), TTL: time.Minute}
	nodata := Answer{Status: NoData, TTL: time.Minute}
	nx := Answer{Status: NXDomain, TTL: time.Minute}
	fail := Answer{Detail: "SERVFAIL", TTL: failureTTL}
	tests := []struct {
		a, aaaa Answer
		status  Status
		n       int
	}{
		{v4, v6, NoError, 2},
		{v4, nodata, NoError, 1},
		{v4, fail, NoError, 1},
		{fail, v6, NoError, 1},
		{nx, v6, NoError, 1},
		{nodata, nodata, NoData, 0},
		{nx, nodata, NoData, 0},
		{nodata, nx, NoData, 0},
		{nx, nx, NXDomain, 0},
		{nx, fail, Failure, 0},
		{fail, nodata, Failure, 0},
		{fail, fail, Failure, 0},
	}
	for _, tt := range tests {
		got := merge(tt.a, tt.aaaa)
		if got.Status != tt.status || len(got.Addrs) != tt.n {
			t.Errorf("merge(%v, %v) = %v with %d addresses, want %v with %d",
				tt.a.Status, tt.aaaa.Status, got.Status, len(got.Addrs), tt.status, tt.n)
		}
		if got.Status == Failure && got.Detail == "" {
			t.Errorf("merge(%v, %v) does not say why", tt.a.Status, tt.aaaa.Status)
		}
	}
}
