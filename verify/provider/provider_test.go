package provider

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func load(tb testing.TB, overrides ...string) *Table {
	tb.Helper()
	documents := make([][]byte, len(overrides))
	for i, o := range overrides {
		documents[i] = []byte(o)
	}
	table, err := Load(documents...)
	if err != nil {
		tb.Fatalf("Load: %v", err)
	}
	return table
}

// TestProfiles checks what holds of every built-in profile.
func TestProfiles(t *testing.T) {
	table := load(t)
	for _, name := range table.Names() {
		p, _ := table.Get(name)
		data, err := os.ReadFile("profiles/" + name + ".toml")
		if err != nil {
			t.Errorf("%s: not in a file of its own: %v", name, err)
		} else if n := strings.Count("\n"+string(data), "\n["); n != 1 {
			t.Errorf("%s: %d tables in its file, want 1", name, n)
		}
		if p.Title == "" || p.Title == name || len(p.Sources) == 0 {
			t.Errorf("%s: title %q, sources %q", name, p.Title, p.Sources)
		}
		if name != Generic && len(p.MX) == 0 && (!p.Software || len(p.Banner) == 0) {
			t.Errorf("%s: neither MX patterns nor, for a program, a banner", name)
		}
		l := p.Limits
		if l.Connections < 1 || l.Connections > 2 || l.RcptPerSession < 4 || l.RcptPerSession > 50 ||
			l.RcptPerTransaction != 1 || l.Refusals < 3 || l.Refusals > 5 ||
			l.PerMinute < 5 || l.PerMinute > 120 || l.Burst < l.RcptPerSession || l.Burst > 300 {
			t.Errorf("%s: limits %+v are not polite, or too polite to be of use", name, l)
		}
		if p.RatePause < 15*time.Minute || p.BlockPause < p.RatePause || p.GreylistDelay < time.Minute {
			t.Errorf("%s: pauses %v, %v, greylisting %v", name, p.RatePause, p.BlockPause, p.GreylistDelay)
		}
		if p.Refusal < 0.5 || p.Acceptance > 0.97 || p.AcceptAll != (p.Acceptance == 0) {
			t.Errorf("%s: refusal %v, acceptance %v, accept_all %v", name, p.Refusal, p.Acceptance, p.AcceptAll)
		}
		if p.AcceptAll && !p.Passive {
			t.Errorf("%s: asked although RCPT says nothing", name)
		}
	}
}

// TestFind looks up host names as they are in MX records.
func TestFind(t *testing.T) {
	table := load(t)
	cases := []struct{ domain, host, want string }{
		{"gmail.com", "gmail-smtp-in.l.google.com", "google"},
		{"gmail.com", "alt4.gmail-smtp-in.l.google.com.", "google"},
		{"example.com", "ASPMX.L.GOOGLE.COM", "google"},
		{"example.com", "aspmx2.googlemail.com", "google"},
		{"example.com", "smtp.google.com", "google"},
		{"example.com", "example-com.mail.protection.outlook.com", "exchangeonline"},
		{"example.com", "example-com.a-v1.mx.microsoft", "exchangeonline"},
		{"hotmail.com", "hotmail-com.olc.protection.outlook.com", "outlook"},
		{"yahoo.com", "mta5.am0.yahoodns.net", "yahoo"},
		{"att.net", "al-ip4-mx-vip1.prodigy.net", "att"},
		{"icloud.com", "mx01.mail.icloud.com", "apple"},
		{"gmx.de", "mx00.emig.gmx.net", "gmx"},
		{"mail.com", "mx00.mail.com", "gmx"},
		{"web.de", "mx-ha02.web.de", "webde"},
		{"example.com", "mx00.ionos.de", "ionos"},
		{"example.com", "mx01.kundenserver.de", "ionos"},
		{"qq.com", "mx3.qq.com", "qq"},
		{"example.com", "mxbiz1.qq.com", "qq"},
		{"163.com", "163mx01.mxmail.netease.com", "netease"},
		{"example.com", "us-smtp-inbound-1.mimecast.com", "mimecast"},
		{"example.com", "mx1-us1.ppe-hosted.com", "proofpoint_essentials"},
		{"example.com", "mxa-00123401.gslb.pphosted.com", "proofpoint"},
		{"example.com", "d12345a.ess.barracudanetworks.com", "barracuda"},
		{"example.com", "mx1.hc1234-56.iphmx.com", "cisco"},
		{"example.com", "inbound-smtp.eu-west-1.amazonaws.com", "amazon_ses"},
		{"example.com", "mx1.mail.ovh.net", "ovh"},
		{"t-online.de", "mx00.t-online.de", "tonline"},
		{"proton.me", "mail.protonmail.ch", "protonmail"},
		{"example.com", "in1-smtp.messagingengine.com", "fastmail"},
		{"example.com", "mx.zoho.eu", "zoho"},
		{"yandex.ru", "mx.yandex.ru", "yandex"},
		{"gmail.com", "mx.example.net", "google"}, // by its domain
		{"yahoo.com", "", "yahoo"},
		// Not these:
		{"example.com", "mx.example.com", Generic},
		{"example.com", "", Generic},
		{"example.com", "google.com.example.com", Generic},
		{"example.com", "evil-l.google.com.example.net", Generic},
		{"example.com", "notgoogle.com", Generic},
		{"example.com", "google.com", Generic},
		{"example.com", "mail.com", Generic},
		{"example.com", "ftp.mail.com", Generic},
		{"example.com", "inbound-smtp.a.b.amazonaws.com", Generic},
		{"example.com", ".", Generic},
		{"", "com", Generic},
	}
	for _, c := range cases {
		var hosts []string
		if c.host != "" {
			hosts = []string{c.host, "mx2.example.org"}
		}
		if p := table.Find(c.domain, hosts); p.Name != c.want {
			t.Errorf("Find(%q, %q) = %s, want %s", c.domain, c.host, p.Name, c.want)
		}
	}
	first := table.Find("example.com", []string{"mx.example.com", "aspmx.l.google.com"})
	if first.Name != Generic {
		t.Errorf("a backup MX decided: %s", first.Name)
	}
}

// TestPublishedPatterns looks up host names that match the patterns of other programs, kept in
// testdata, under the name that these have for the provider.
func TestPublishedPatterns(t *testing.T) {
	data, err := os.ReadFile("testdata/mx_hosts.json")
	if err != nil {
		t.Fatal(err)
	}
	var providers map[string][]struct{ Pattern, Host string }
	if err := json.Unmarshal(data, &providers); err != nil {
		t.Fatal(err)
	}
	table := load(t)
	for name, hosts := range providers {
		for _, h := range hosts {
			if !regexp.MustCompile(h.Pattern).MatchString(h.Host) {
				t.Errorf("%s: %s is no example of %s", name, h.Host, h.Pattern)
			}
			got := table.Find("example.com", []string{h.Host}).Name
			if got != name && !strings.HasPrefix(got, name+"_") {
				t.Errorf("%s: %s is %s", name, h.Host, got)
			}
		}
	}
}

func TestByBanner(t *testing.T) {
	cases := []struct{ banner, want string }{
		{"mx.google.com ESMTP d9443c01a7336-20a1b2c3d4esm - gsmtp", "google"},
		{"DB5EUR01FT056.mail.protection.outlook.com Microsoft ESMTP MAIL Service ready at Tue, 24 Nov", "exchangeonline"},
		{"mail.example.com Microsoft ESMTP MAIL Service ready at Tue, 24 Nov", "exchange"},
		{"gmx.net (mxgmx014) Nemesis ESMTP Service ready", "gmx"},
		{"web.de (mxweb012) Nemesis ESMTP Service ready", "webde"},
		{"kundenserver.de (mxeue110) Nemesis ESMTP Service ready", "ionos"},
		{"mailin12.aul.t-online.de T-Online ESMTP receiver fssmtpd2025 ready.", "tonline"},
		{"mailin029.protonmail.ch ESMTP Postfix", "protonmail"}, // an operator before its program
		{"mx.example.com ESMTP Postfix (Debian/GNU)", "postfix"},
		{"mx.example.com ESMTP Exim 4.96 Tue, 24 Nov 2026", "exim"},
		{"mx.example.com ESMTP OpenSMTPD", "opensmtpd"},
		{"mx.example.com ESMTP ready", ""},
		{"", ""},
	}
	table := load(t)
	for _, c := range cases {
		p, ok := table.ByBanner(c.banner)
		if ok != (c.want != "") || ok && p.Name != c.want {
			t.Errorf("ByBanner(%q) = %v, %v; want %q", c.banner, p, ok, c.want)
		}
	}
}

func TestProfileMethods(t *testing.T) {
	table := load(t)
	get := func(name string) *Profile { p, _ := table.Get(name); return p }
	for _, c := range []struct {
		name, domain string
		want         bool
	}{
		{"google", "gmail.com", false},
		{"google", "example.com", true},
		{"yahoo", "example.com", false},
		{"outlook", "hotmail.com", false},
		{"att", "example.com", false},
		{"exchangeonline", "example.com", true},
		{Generic, "example.com", true},
		{"mailru", "mail.ru", false},
	} {
		if got := get(c.name).TestsCatchAll(c.domain); got != c.want {
			t.Errorf("%s tests a catch-all at %s: %v", c.name, c.domain, got)
		}
	}
	for _, c := range []struct{ name, domain, local, want string }{
		{"google", "gmail.com", "A.n.Na+news", "anna"},
		{"google", "example.com", "A.n.Na+news", "A.n.Na+news"},
		{"google", "gmail.com", "...", "..."},
		{"google", "gmail.com", "+x", "+x"},
		{"google", "gmail.com", "ÄB", "Äb"},
		{"outlook", "hotmail.com", "An.na+x", "an.na+x"},
		{Generic, "gmail.com", "Anna", "Anna"},
	} {
		if got := get(c.name).FoldLocal(c.local, c.domain); got != c.want {
			t.Errorf("%s folds %q to %q, want %q", c.name, c.local, got, c.want)
		}
	}
	if g := get("google").Group("example.com", false); g != "google" {
		t.Errorf("Google by its MX has group %q", g)
	}
	for _, g := range []string{
		get("google").Group("example.com", true), get("postfix").Group("example.com", false),
		get(Generic).Group("example.com", false),
	} {
		if g != "example.com" {
			t.Errorf("group %q for a host that only says who it is", g)
		}
	}
}

// TestOverrides lays an administrator's documents over the built-in profiles.
func TestOverrides(t *testing.T) {
	table := load(t, `
[google]
limits.per_minute = 7
[generic.limits]
connections = 9
[partner]
title = "Our partner"
mx = ["*.mx.partner.example", "mx.zoho.eu"]
catch_all = "never"
refusal = 1
[outlook]
passive = true
`, "[google]\nlimits = { burst = 8 }\n[partner]\nrate_pause = \"2h\"\n")
	google := table.Find("gmail.com", nil)
	if l := google.Limits; l.PerMinute != 7 || l.Burst != 8 || l.Connections != 2 || google.Refusal != 0.99 {
		t.Errorf("google: %+v", google)
	}
	if g := table.Find("", nil); g.Limits.Connections != 9 || g.Limits.Burst != 200 {
		t.Errorf("generic: %+v", g.Limits)
	}
	partner := table.Find("example.com", []string{"a.mx.partner.example"})
	if partner.Name != "partner" || partner.Title != "Our partner" || partner.Limits.Connections != 9 ||
		partner.Refusal != 1 || partner.Acceptance != 0.8 || partner.RatePause != 2*time.Hour {
		t.Errorf("partner: %+v", partner)
	}
	if p := table.Find("example.com", []string{"mx.zoho.eu"}); p.Name != "partner" {
		t.Errorf("an exact name lost to a built-in pattern: %s", p.Name)
	}
	if !table.Find("hotmail.com", nil).Passive {
		t.Error("outlook is still asked")
	}
	taken := load(t, "[a]\nmx = [\"mx.yandex.ru\"]\ndomains = [\"gmail.com\"]\n[zz]\nmx = [\"*.google.com\"]\n")
	if a, z := taken.Find("gmail.com", []string{"mx.yandex.ru"}), taken.Find("x", []string{"a.google.com"}); a.Name != "a" || z.Name != "zz" {
		t.Errorf("patterns that an administrator takes over: %s, %s", a.Name, z.Name)
	}
	if p := taken.Find("gmail.com", nil); p.Name != "a" {
		t.Errorf("a domain that an administrator takes over: %s", p.Name)
	}
}

func TestFaults(t *testing.T) {
	cases := []struct{ document, want string }{
		{"[google]\nlimits.connections = 0", `provider profile google: limits.connections: 0 is not allowed; write a whole number from 1 to 100`},
		{"[google]\nrefusal = \"high\"", `provider profile google: refusal: "high" is not allowed; write a number from 0 to 1`},
		{"[google]\nrefusal = nan", `provider profile google: refusal: NaN is not allowed; write a number from 0 to 1`},
		{"[google]\nrate_pause = 5", `provider profile google: rate_pause: 5 is not allowed; write a duration from "1s" to "168h", such as "5m"`},
		{"[google]\nconnections = 5", `provider profile google: connections: unknown key; did you mean limits.connections?`},
		{"[google]\nlimits.speed = 5", `provider profile google: limits.speed: unknown key; the keys are title, mx`},
		{"[google]\nlimits = 5", `provider profile google: limits: unknown key; the keys are`},
		{"[google]\ncatch_all = \"no\"", `provider profile google: catch_all: "no" is not allowed; write "never" or "test"`},
		{"[google]\nmx = [\"*.com\"]", `provider profile google: mx: [*.com] is not allowed; write a list of host names`},
		{"[google]\nmx = [\"Mx.example.com\"]", `is not allowed`},
		{"[google]\nmx = [\"*.a*.example.com\"]", `is not allowed`},
		{"[google]\ndomains = [\"*.example.com\"]", `is not allowed`},
		{"[google]\nbanner = [\"ESMTP Example\"]", `is not allowed`},
		{"[google]\nmx = { a = 1 }", `a table is not allowed`},
		{"[Google]\ntitle = \"x\"", `provider profile Google: not a name for a profile; use 1 to 32 of a-z`},
		{"google = 1", `provider profiles: google: a key outside a profile; write it below a line like [google]`},
		{"[new]\ntitle = \"x\"", `provider profile new: mx: nothing tells who this is; write mx, domains or banner`},
		{"[a]\nmx=[\"mx.example.com\"]\n[b]\nmx=[\"mx.example.com\"]", `provider profile b: mx: "mx.example.com" belongs to profile a too; remove it from one of them`},
		{"[generic]\nmx=[\"mx.example.com\"]", `provider profile generic: mx: the generic profile is for those who have none`},
		{"[postfix]\nmx=[\"mx.example.com\"]", `provider profile postfix: software: a program has no MX hosts`},
		{"[google\n", `provider profiles, line 1: not valid TOML: `},
		{"[google]\ntitle = \"\\u001b[2J\"", `title: "\\x1b[2J" is not allowed`},
	}
	for _, c := range cases {
		_, err := Load([]byte(c.document))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %s", c.document, err, c.want)
		}
		if fault, ok := errors.AsType[*Error](err); err != nil && (!ok || fault.Problem == "") {
			t.Errorf("%q: %T", c.document, err)
		}
	}
	var many strings.Builder
	for i := range MaxProfiles {
		many.WriteString("[p" + strings.Repeat("x", i%25) + string(rune('a'+i/25)) + "]\nmx=[\"mx.example.com\"]\n")
	}
	if _, err := Load([]byte(many.String())); err == nil || !strings.Contains(err.Error(), "too many profiles") {
		t.Errorf("more than %d profiles: %v", MaxProfiles, err)
	}
}

// TestPrecedence: exact, then "*" within labels, then "*." with the longest name.
func TestPrecedence(t *testing.T) {
	table := load(t, `
[far]
mx = ["*.example.net"]
[near]
mx = ["*.mx.example.net"]
[star]
mx = ["a*.mx.example.net"]
[star_longer]
mx = ["ab*.mx.example.net"]
[name]
mx = ["abc.mx.example.net"]
`)
	for host, want := range map[string]string{
		"abc.mx.example.net": "name", "abd.mx.example.net": "star_longer", "a.mx.example.net": "star",
		"b.mx.example.net": "near", "x.a.mx.example.net": "near", "mx.example.net": "far", "example.net": Generic,
	} {
		if p := table.Find("", []string{host}); p.Name != want {
			t.Errorf("%s is %s, want %s", host, p.Name, want)
		}
	}
}

// FuzzLoad: no document may crash it, harm a terminal, or make profiles that break the rules.
func FuzzLoad(f *testing.F) {
	files, err := os.ReadDir("profiles")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile("profiles/" + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("[new]\nmx = [\"*.mx.example.com\", \"a*b.example.net\"]\nlimits = { burst = 3 }\nfold.plus = true")
	f.Add("[google]\nlimits.connections = -1\n[x]\ny = [[1]]\n[[z]]\na = 1979-05-27T07:32:00Z")
	base, err := builtin()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		merged := document{}
		for name, values := range base.merged {
			merged[name] = maps.Clone(values)
		}
		l := loader{merged: merged, origin: maps.Clone(base.origin)}
		table, err := l.load([]byte(text))
		if err != nil {
			for i := range len(err.Error()) {
				if c := err.Error()[i]; c != '\n' && (c < 0x20 || c >= 0x7f) {
					t.Fatalf("an octet %#x in the message %q", c, err)
				}
			}
			return
		}
		names := table.Names()
		if !slices.IsSorted(names) || len(names) > MaxProfiles || !slices.Contains(names, Generic) {
			t.Fatalf("names %q", names)
		}
		for _, name := range names {
			p, ok := table.Get(name)
			l := p.Limits
			if !ok || !validName(name) || min(l.Connections, l.RcptPerSession, l.RcptPerTransaction, l.Refusals, l.PerMinute, l.Burst) < 1 ||
				p.Refusal < 0 || p.Refusal > 1 || p.Acceptance < 0 || p.Acceptance > 1 || p.RatePause < time.Second || p.BlockPause < time.Second {
				t.Fatalf("profile %+v", p)
			}
			for _, pattern := range p.MX {
				host := strings.ReplaceAll(pattern, "*", "x")
				if found := table.Find("", []string{host}); found == table.generic {
					t.Fatalf("%s: pattern %q does not find %q", name, pattern, host)
				}
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	table := load(b)
	hosts := []string{"alt4.gmail-smtp-in.l.google.com"}
	unknown := []string{"mx01.some.where.example.com"}
	b.ReportAllocs()
	for b.Loop() {
		table.Find("gmail.com", hosts)
		table.Find("example.com", unknown)
	}
}

func BenchmarkByBanner(b *testing.B) {
	table := load(b)
	b.ReportAllocs()
	for b.Loop() {
		table.ByBanner("mx.example.com ESMTP Postfix (Debian/GNU)\nmx.example.com")
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(); err != nil {
			b.Fatal(err)
		}
	}
}
