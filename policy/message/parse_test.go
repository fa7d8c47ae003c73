package message

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
)

func TestRecord(t *testing.T) {
	strict := func(dkim, spf bool) (r record) {
		r = record{p: policyNone, psd: 'u'}
		r.strict.dkim, r.strict.spf = dkim, spf
		return r
	}
	for _, c := range []struct {
		txt  string
		want record
		no   bool
		void bool
	}{
		{txt: "v=DMARC1", want: record{p: policyNone, psd: 'u'}},
		{txt: "v=DMARC1;", want: record{p: policyNone, psd: 'u'}},
		{txt: "v=DMARC1; p=reject", want: record{p: policyReject, psd: 'u'}},
		{txt: "V = DMARC1 ;P\t= ReJect; sp=Quarantine;np=NONE", want: record{p: policyReject, sp: policyQuarantine, np: policyNone, psd: 'u'}},
		{txt: "v=DMARC1; pct=abc; ri=0; rf=iodef; junk; =; x=y; p=quarantine;;", want: record{p: policyQuarantine, psd: 'u'}},
		{txt: "v=DMARC1; p=reject; p=none", want: record{p: policyReject, psd: 'u'}},
		{txt: "v=DMARC1; p=reject; t=y; psd=n", want: record{p: policyReject, testing: true, psd: 'n'}},
		{txt: "v=DMARC1; t=1; psd=x", want: record{p: policyNone, psd: 'u'}},
		{txt: "v=DMARC1; psd=Y; rua=mailto:a@b.example", want: record{p: policyNone, psd: 'y', rua: true}},
		{txt: "v=DMARC1; adkim=S; aspf=r", want: strict(true, false)},
		{txt: "v=DMARC1; adkim=x; aspf=s", want: strict(false, true)},
		{txt: "v=DMARC1; p=rejekt", want: record{p: policyNone, psd: 'u', invalid: "p"}, void: true},
		{txt: "v=DMARC1; p=reject; sp=all; rua=mailto:a@b.example", want: record{p: policyNone, psd: 'u', invalid: "sp", rua: true}},
		{txt: "v=DMARC1; p=reject; np=; rua=nothing", want: record{p: policyNone, psd: 'u', invalid: "np"}, void: true},
		{txt: "", no: true},
		{txt: "v=dmarc1; p=none", no: true},
		{txt: "v=DMARC10; p=none", no: true},
		{txt: "v=DMARC1 p=none", no: true},
		{txt: "p=none; v=DMARC1", no: true},
		{txt: " v=DMARC1; p=none", want: record{p: policyNone, psd: 'u'}},
		{txt: "v=spf1 -all", no: true},
	} {
		got, ok := parseRecord(c.txt)
		if ok == c.no || got != c.want && !c.no || got.void() != c.void {
			t.Errorf("%q: %+v, %v, void %v", c.txt, got, ok, got.void())
		}
	}
}

func TestRecordPolicy(t *testing.T) {
	for _, c := range []struct {
		txt                   string
		own, below, nowhereAt policyTag
	}{
		{"p=reject", policyReject, policyReject, policyReject},
		{"p=reject; sp=none", policyReject, policyNone, policyNone},
		{"p=none; np=reject", policyNone, policyNone, policyReject},
		{"p=none; sp=quarantine; np=reject", policyNone, policyQuarantine, policyReject},
		{"p=reject; sp=quarantine; np=none; t=y", policyQuarantine, policyNone, policyNone},
	} {
		r, _ := parseRecord("v=DMARC1; " + c.txt)
		if a, b, n := r.policy(false, true), r.policy(true, true), r.policy(true, false); a != c.own ||
			b != c.below || n != c.nowhereAt {
			t.Errorf("%s: %s, %s, %s", c.txt, a, b, n)
		}
	}
}

// TestWalk has the examples of RFC 9989 sections 4.10 and 4.10.2 among others.
func TestWalk(t *testing.T) {
	const policy, none = "v=DMARC1; p=reject", "v=DMARC1; p=none; psd=n"
	for _, c := range []struct {
		name, start string
		txt         map[string]string // more than one record separated by |; "!" fails
		asked       string
		org, record string
		unknown     bool
	}{
		{
			"eight labels and more", "a.b.c.d.e.f.g.h.i.j.mail.example.com", nil,
			"a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com " +
				"i.j.mail.example.com j.mail.example.com mail.example.com example.com com",
			"a.b.c.d.e.f.g.h.i.j.mail.example.com", "", false,
		},
		{
			"eight labels", "a.b.c.d.e.mail.example.com", nil,
			"a.b.c.d.e.mail.example.com b.c.d.e.mail.example.com c.d.e.mail.example.com " +
				"d.e.mail.example.com e.mail.example.com mail.example.com example.com com",
			"a.b.c.d.e.mail.example.com", "", false,
		},
		{
			"the fewest labels", "a.mail.example.com",
			map[string]string{"mail.example.com": policy, "example.com": policy},
			"a.mail.example.com mail.example.com example.com com", "example.com", "example.com", false,
		},
		{
			"its own record, of another organization", "mail.example.com",
			map[string]string{"mail.example.com": policy, "example.com": policy},
			"mail.example.com example.com com", "example.com", "mail.example.com", false,
		},
		{
			"public suffix", "a.mail.example.com",
			map[string]string{"com": "v=DMARC1; psd=y"},
			"a.mail.example.com mail.example.com example.com com", "example.com", "com", false,
		},
		{
			"its own is a public suffix", "example.com",
			map[string]string{"example.com": "v=DMARC1; psd=y"},
			"example.com", "example.com", "example.com", false,
		},
		{
			"psd=y ends the walk", "a.b.example.com",
			map[string]string{"example.com": "v=DMARC1; psd=y", "com": policy},
			"a.b.example.com b.example.com example.com", "b.example.com", "example.com", false,
		},
		{
			"psd=n ends the walk", "a.b.example.com",
			map[string]string{"b.example.com": none, "example.com": policy},
			"a.b.example.com b.example.com", "b.example.com", "b.example.com", false,
		},
		{
			"several records at a name", "mail.example.com",
			map[string]string{"mail.example.com": policy + "|" + policy, "example.com": policy + "|v=spf1 -all"},
			"mail.example.com example.com com", "example.com", "example.com", false,
		},
		{
			"void record", "mail.example.com",
			map[string]string{"mail.example.com": "v=DMARC1; p=x", "example.com": policy},
			"mail.example.com example.com com", "example.com", "example.com", false,
		},
		{
			"DNS fails", "mail.example.com",
			map[string]string{"example.com": "!", "com": policy},
			"mail.example.com example.com", "mail.example.com", "", true,
		},
		{
			"DNS fails, but it has its own", "mail.example.com",
			map[string]string{"mail.example.com": policy, "example.com": "!"},
			"mail.example.com example.com", "mail.example.com", "mail.example.com", true,
		},
		{"one label", "localhost", nil, "localhost", "localhost", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			w := walk(context.Background(), func(_ context.Context, name string) dns.Answer {
				domain := strings.TrimPrefix(name, "_dmarc.")
				asked = append(asked, domain)
				switch txt := c.txt[domain]; txt {
				case "":
					return dns.Answer{Status: dns.NXDomain}
				case "!":
					return dns.Answer{}
				default:
					return dns.Answer{Status: dns.NoError, Txt: strings.Split(txt, "|")}
				}
			}, c.start)
			if got := strings.Join(asked, " "); got != c.asked {
				t.Errorf("asked %s, want %s", got, c.asked)
			}
			f, _, missing := w.record()
			if f.domain != c.record || (w.unknown != "") != c.unknown || !c.unknown && w.org != c.org {
				t.Errorf("record of %q (missing %q), organization %q, unknown %q", f.domain, missing, w.org, w.unknown)
			}
		})
	}
}

func TestMailboxes(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"bob@example.com", "|bob@example.com"},
		{" Bob <bob@example.com> ", "Bob|bob@example.com"},
		{`"Smith, Bob" <bob@example.com>, eve@example.org`, "Smith, Bob|bob@example.com |eve@example.org"},
		{`Bob (the (best) one\)) Smith <bob(x)@ (y) example.com (z)>`, "Bob Smith|bob@example.com"},
		{`=?utf-8?q?B=C3=B6b?= <bob@example.com>`, "=?utf-8?q?B=C3=B6b?=|bob@example.com"},
		{`bob @ example . com`, "|bob@example.com"},
		{`"b o b"@example.com`, `|"b o b"@example.com`},
		{`Böb <bob@exämple.com>`, "Böb|bob@exämple.com"},
		{"Bob <bob@[192.0.2.1]>", "Bob|bob@[192.0.2.1]"},
		{"Team: a@example.com, B <b@example.com>;", "|a@example.com B|b@example.com"},
		{"nobody:;", ""},
		{"", ""},
		{",, a@example.com,,", "|a@example.com"},
		{"Mr. B.O.B. <bob@example.com>", "Mr. B.O.B.|bob@example.com"},
		{"bob", "!"},
		{"Bob <bob>", "!"},
		{"Bob <>", "!"},
		{"Bob <bob@example.com", "!"},
		{"<bob@example.com> eve@example.org", "!"},
		{"bob@example.com <eve@example.org>", "bob@example.com|eve@example.org"},
		{"bob@example.com eve@example.org", "!"},
		{"<@route.example:bob@example.com>", "!"},
		{"<<bob@example.com>>", "!"},
		{"a@b@example.com", "!"},
		{`"bob@example.com`, "!"},
		{"(bob@example.com", "!"},
		{"Team: a@example.com", "!"},
		{"A: B: a@example.com;;", "!"},
		{"a@example.com;", "!"},
		{"bob@example.com, eve", "!"},
		{strings.Repeat("(", 21) + strings.Repeat(")", 21) + "a@example.com", "!"},
		{strings.Repeat("a@example.com,", 101), "!"},
		{strings.Repeat("x", 9000), "!"},
	} {
		list, fault := parseMailboxes(c.value)
		var got []string
		for _, m := range list {
			got = append(got, m.display+"|"+m.addr.String())
		}
		text := strings.Join(got, " ")
		if fault != "" {
			text = "!"
		}
		if text != c.want {
			t.Errorf("%.60q: %q (%s), want %q", c.value, text, fault, c.want)
		}
	}
}

func TestShows(t *testing.T) {
	for value, want := range map[string]string{
		"Bob <bob@example.com>":                          "",
		`"bob@example.com" <bob@example.com>`:            "",
		`"BOB@Example.com" <bob@example.com>`:            "",
		`"Bob (paypal@example.org)" <bob@example.com>`:   "paypal@example.org",
		`eve@example.org <bob@example.com>`:              "eve@example.org",
		`"Bob @ Work" <bob@example.com>`:                 "",
		`"Bob at @example.org's desk" <bob@example.com>`: "",
	} {
		list, fault := parseMailboxes(value)
		if fault != "" || len(list) != 1 || list[0].shows() != want {
			t.Errorf("%s: %v %s", value, list, fault)
		}
	}
}

func TestURIs(t *testing.T) {
	for _, c := range []struct{ value, uris, fault string }{
		{"<https://example.com/a>", "https://example.com/a", ""},
		{"<mailto:a@example.com>, <https://example.com/a,b>", "mailto:a@example.com https://example.com/a,b", ""},
		{"(web) <https://example.com/a\t b> (mail), <mailto:x@example.com?subject=a b>", "https://example.com/ab mailto:x@example.com?subject=ab", ""},
		{",,<HTTPS://EXAMPLE.com>,", "HTTPS://EXAMPLE.com", ""},
		{"<mailto:a@example.com>", "mailto:a@example.com", "it has no https URI"},
		{"<https://a.example>, <https://b.example>", "https://a.example https://b.example", "it has more than one https URI"},
		{"<https://a.example>, <http://a.example>", "https://a.example http://a.example", "it has a URI of http, without TLS"},
		{"<https:///a>", "https:///a", "its https URI has no host"},
		{"<https://a.example:x/>", "https://a.example:x/", "it has something that is no URI"},
		{"https://example.com/a", "!", ""},
		{"<https://example.com/a", "!", ""},
		{"<https://a.example> <https://b.example>", "!", ""},
		{"<https://a.example> or reply", "!", ""},
		{"", "!", ""},
		{"(nothing)", "!", ""},
		{strings.Repeat("<x:y>,", 21), "!", ""},
		{strings.Repeat("x", 9000), "!", ""},
	} {
		uris, fault := parseURIs(c.value)
		got := strings.Join(uris, " ")
		if fault != "" {
			got = "!"
		}
		if got != c.uris {
			t.Errorf("%.60q: %q (%s)", c.value, got, fault)
		}
		if fault == "" && oneClickURI(uris) != c.fault {
			t.Errorf("%.60q: %q, want %q", c.value, oneClickURI(uris), c.fault)
		}
	}
}

func TestHeader(t *testing.T) {
	h := parseHeader([]byte(crlf(`Received: a
 b
	c
from : x
odd line
 more of it
: nothing
X-Empty:
SUBJECT:  a
  b ` + "\n\nbody: no\n")))
	if len(h.fields) != 6 || h.badLine != 5 || h.count[kindFrom] != 1 || h.count[kindSubject] != 1 {
		t.Fatalf("%+v", h)
	}
	if h.fields[0].lines != 3 || h.text(kindFrom, 10) != "x" || h.text(kindSubject, 10) != "a  b" {
		t.Errorf("%d lines, %q, %q", h.fields[0].lines, h.text(kindFrom, 10), h.text(kindSubject, 10))
	}
	if value, whole := h.first(kindSubject).value(2); value != "a " || whole {
		t.Errorf("%q %v", value, whole)
	}
	if h := parseHeader([]byte(" folded from nothing\r\nA: b\r\n")); h.badLine != 1 || len(h.fields) != 1 {
		t.Errorf("%+v", h)
	}
}

func TestLimits(t *testing.T) {
	for name, octets := range map[string]string{
		"1001 fields":    strings.Repeat("a: b\r\n", 1001),
		"1001 lines":     "a: b\r\n" + strings.Repeat(" c\r\n", 1000),
		"a long field":   "a: b\r\n" + strings.Repeat(" "+strings.Repeat("x", 900)+"\r\n", 80),
		"a long line":    "a: " + strings.Repeat("x", maxField),
		"at the limit: ": strings.Repeat("a: b\r\n", 999) + "a: b\r\n" + strings.Repeat(" c\r\n", 999),
	} {
		if h := parseHeader([]byte(octets)); (h.excess != "") != !strings.HasPrefix(name, "at") {
			t.Errorf("%s: %q", name, h.excess)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	_, err := New(Config{
		Position: "before", BulkAuto: -1, Timeout: -time.Second, Helo: "a b",
		Levels: map[Check]Level{"dkin": Warn, DKIM: 9},
	}, nil, nil, nil)
	var faults ConfigErrors
	if !errors.As(err, &faults) || len(faults) != 6 {
		t.Fatalf("%v", err)
	}
	for _, f := range faults {
		if f.Detail == "" || f.Hint == "" {
			t.Errorf("%v has no hint", f)
		}
	}
	if _, err := New(Config{Levels: all(Log)}, nil, nil, nil); err == nil {
		t.Error("no resolver, but checks that need it")
	}
	var level Level
	if err := level.UnmarshalText([]byte("warn")); err != nil || level != Warn {
		t.Error(level, err)
	}
	if level.UnmarshalText([]byte("Warn")) == nil {
		t.Error("a level is taken that is none")
	}
}

// TestTable: what the documentation is made of is complete.
func TestTable(t *testing.T) {
	levels := BulkLevels()
	for _, info := range Checks() {
		if info.Finds == "" || info.text == "" || info.advice == "" || info.enhanced == [2]int{} {
			t.Errorf("%s is not described", info.Check)
		}
		if levels[info.Check] == Off {
			t.Errorf("%s is off for bulk senders", info.Check)
		}
	}
}
