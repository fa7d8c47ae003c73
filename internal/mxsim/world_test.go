package mxsim_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

func simple(b ...mxsim.Behaviour) *mxsim.Site {
	return &mxsim.Site{
		Domains: []string{"example.com"},
		Hosts:   []*mxsim.Host{{Name: "mx.example.com", Pref: 10}},
		Mailboxes: map[string]mxsim.Mailbox{
			"Anna": mxsim.Active, "full": mxsim.Full, "off": mxsim.Disabled, "gone": mxsim.Moved,
			"a b": mxsim.Active,
		},
		Behaviours: b,
	}
}

func TestMailboxTableIsTheTruth(t *testing.T) {
	cases := []struct {
		wording *mxsim.Wording
		rcpt    string
		want    string
	}{
		{nil, "anna@example.com", "250 2.1.5"},
		{nil, "ANNA@EXAMPLE.COM", "250 2.1.5"},
		{nil, `"a b"@example.com`, "250 2.1.5"},
		{nil, "nobody@example.com", "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown"},
		{nil, "full@example.com", "452 4.2.2"},
		{nil, "off@example.com", "550 5.2.1"},
		{nil, "gone@example.com", "551 5.1.6"},
		{nil, "anna@example.org", "554 5.7.1"},
		{mxsim.Exim(), "nobody@example.com", "550 Unknown user"},
		{mxsim.EximEnhanced(), "nobody@example.com", "550-5.1.1 "},
		{mxsim.EximEnhanced(), "full@example.com", "552 5.2.2"},
		{mxsim.Gmail(), "nobody@example.com", "550-5.1.1 The email account"},
		{mxsim.Microsoft365(), "nobody@example.com", "550 5.4.1"},
		{mxsim.Yandex(), "nobody@example.com", "550 5.7.1 No such user!"},
	}
	for _, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			w := mxsim.New(mxsim.Config{})
			defer w.Close()
			site := simple()
			site.Wording = c.wording
			w.Add(site)
			p := hello(t, w)
			p.say("RCPT TO:<"+c.rcpt+">", c.want)
			p.say("QUIT", "221")
		})
	}
}

func TestGreylisting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple(mxsim.Greylist(5 * time.Minute)))
		p := hello(t, w)
		p.say("RCPT TO:<anna@example.com>", "450 4.7.1")
		p.say("RCPT TO:<nobody@example.com>", "550 5.1.1")
		time.Sleep(4 * time.Minute)
		p.say("RCPT TO:<anna@example.com>", "450 4.7.1")
		time.Sleep(time.Minute)
		p.say("RCPT TO:<anna@example.com>", "250")
		p.say("RSET", "250")
		p.say("MAIL FROM:<other@example.net>", "250")
		p.say("RCPT TO:<anna@example.com>", "450 4.7.1")
	})
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple(mxsim.GreylistAll(time.Minute)))
		p := hello(t, w)
		p.say("RCPT TO:<nobody@example.com>", "450 4.7.1")
		time.Sleep(time.Minute)
		p.say("RCPT TO:<nobody@example.com>", "550 5.1.1")
	})
}

func TestMessagesAreKeptOctetByOctet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net")
		defer relay.Close()
		p := connect(t, relay.DialContext, "127.0.0.1:25")
		p.want("connect", "220 relay.example.net")
		if got := p.say("EHLO gate.example.com", "250"); !strings.Contains(got, "XFORWARD NAME ADDR") {
			t.Errorf("EHLO reply %q", got)
		}
		p.say("XFORWARD NAME=spike.example.net ADDR=192.0.2.1", "250")
		p.say("XFORWARD HELO=spike", "250")
		p.say("MAIL FROM:<a@example.net> SIZE=100 BODY=8BITMIME", "250")
		p.say("RCPT TO:<b@example.org> NOTIFY=NEVER", "250")
		p.say("DATA", "354")
		body := "Subject: x\r\n\r\n..\r\n.a\n.\n.\r.\r\n\r\r\n\x00\xff" + strings.Repeat("y", 200000) + "\r\n"
		for i := 0; i < len(body); i += 7 { // cut anywhere
			p.write(strings.ReplaceAll(body[i:min(i+7, len(body))], "\x01", ""))
		}
		got := p.say(".", "250 2.0.0 Ok: queued as ")
		m := relay.Messages()
		if len(m) != 1 || !strings.HasSuffix(got, m[0].ID) {
			t.Fatalf("%d messages, reply %q", len(m), got)
		}
		want := "Subject: x\r\n\r\n.\r\na\n.\n.\r.\r\n\r\r\n\x00\xff" + strings.Repeat("y", 200000) + "\r\n"
		if !bytes.Equal(m[0].Body, []byte(want)) || m[0].Octets != int64(len(want)) {
			t.Errorf("body of %d octets differs from what was sent (%d)", len(m[0].Body), len(want))
		}
		if m[0].From != "a@example.net" || m[0].Rcpts[0] != "b@example.org" ||
			m[0].XForward["ADDR"] != "192.0.2.1" || m[0].XForward["HELO"] != "spike" {
			t.Errorf("envelope %+v", m[0])
		}
		p.say("MAIL FROM:<a@example.net>", "250")
		p.say("RCPT TO:<b@example.org>", "250")
		p.say("DATA", "354")
		p.say("x\r\n.", "250")
		if x := relay.Messages()[1].XForward; x != nil {
			t.Errorf("XFORWARD attributes %v outlived their message", x)
		}
	})
}

func TestDialFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		site := simple()
		site.Hosts[0].State = mxsim.Down
		hole := &mxsim.Host{Name: "mx2.example.com", Pref: 20, State: mxsim.BlackHole}
		site.Hosts = append(site.Hosts, hole)
		w.Add(site)
		if _, err := w.DialContext(t.Context(), "tcp", address(w, 0)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a host that is down: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := w.DialContext(ctx, "tcp", netip.AddrPortFrom(hole.Addrs[0], 25).String())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("black hole: %v after %v", err, time.Since(begin))
		}
		if _, err := w.DialContext(t.Context(), "tcp", "8.8.8.8:25"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("an address of nobody: %v", err)
		}
	})
}

func TestTLS(t *testing.T) {
	for _, c := range []struct {
		mode  mxsim.TLSMode
		reply string
		works bool
	}{{mxsim.TLS, "220", true}, {mxsim.TLSGarbage, "220", false}, {mxsim.TLSRefused, "454", false}, {mxsim.TLSCut, "220", false}} {
		synctest.Test(t, func(t *testing.T) {
			w := mxsim.New(mxsim.Config{})
			defer w.Close()
			site := simple()
			site.Hosts[0].TLS = c.mode
			w.Add(site)
			p := connect(t, w.DialContext, address(w, 0))
			p.want("connect", "220")
			if got := p.say("EHLO x.example.net", "250"); !strings.Contains(got, "STARTTLS") {
				t.Fatalf("EHLO reply %q", got)
			}
			p.say("STARTTLS", c.reply)
			if c.reply != "220" {
				return
			}
			secure := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
			err := secure.HandshakeContext(t.Context())
			if (err == nil) != c.works {
				t.Fatalf("handshake: %v", err)
			}
			if err != nil {
				return
			}
			p.conn = secure
			p.br.Reset(secure)
			if got := p.say("EHLO x.example.net", "250"); strings.Contains(got, "STARTTLS") {
				t.Errorf("STARTTLS offered inside TLS: %q", got)
			}
			p.say("QUIT", "221")
			if rec := site.Hosts[0].Record(); !rec.Conns[0].TLS || !rec.Conns[0].Quit {
				t.Errorf("record %+v", rec.Conns[0])
			}
		})
	}
}

func TestRecordAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		site := simple(mxsim.Tarpit(mxsim.Rcpt, 3*time.Second))
		site.Hosts[0].Latency = 100 * time.Millisecond
		w.Add(site)
		begin := time.Now()
		p := connect(t, w.DialContext, address(w, 0))
		p.want("connect", "220")
		p.say("EHLO x.example.net", "250")
		if got := time.Since(begin); got != 300*time.Millisecond {
			t.Errorf("connect, banner and EHLO took %v, want three round trips", got)
		}
		begin = time.Now()
		p.write("MAIL FROM:<a@example.net>\r\nNOOP\r\nRSET\r\n")
		for range 3 {
			p.want("batch", "250")
		}
		if got := time.Since(begin); got != 100*time.Millisecond {
			t.Errorf("three commands in one write took %v, want one round trip", got)
		}
		p.say("MAIL FROM:<a@example.net>", "250")
		begin = time.Now()
		p.say("RCPT TO:<anna@example.com>", "250")
		if got := time.Since(begin); got != 3100*time.Millisecond {
			t.Errorf("tarpit took %v", got)
		}
		q := hello(t, w)
		_ = q.conn.Close()
		synctest.Wait()
		rec := site.Hosts[0].Record()
		if rec.Peak != 2 || rec.Open != 1 || len(rec.WithoutQuit()) != 1 || rec.Count(mxsim.Rcpt) != 1 {
			t.Errorf("peak %d, open %d, without QUIT %d, RCPTs %d", rec.Peak, rec.Open,
				len(rec.WithoutQuit()), rec.Count(mxsim.Rcpt))
		}
	})
}

func TestDNS(t *testing.T) {
	cases := []struct {
		name  string
		qtype uint16
		rcode int
		want  string // in the answer section
	}{
		{"example.com", dns.TypeMX, dns.RcodeSuccess, "10 mx.example.com."},
		{"EXAMPLE.com", dns.TypeMX, dns.RcodeSuccess, "10 mx.example.com."},
		{"mx.example.com", dns.TypeA, dns.RcodeSuccess, "5.0.0.1"},
		{"mx.example.com", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"example.com", dns.TypeTXT, dns.RcodeSuccess, "v=spf1 -all"},
		{"1.0.0.5.in-addr.arpa", dns.TypePTR, dns.RcodeSuccess, "mx.example.com."},
		{"alias.example.com", dns.TypeMX, dns.RcodeSuccess, "10 mx.example.com."},
		{"nothing.example.com", dns.TypeA, dns.RcodeNameError, ""},
		{"com", dns.TypeMX, dns.RcodeSuccess, ""},
		{"null.example.org", dns.TypeMX, dns.RcodeSuccess, "0 ."},
		{"implicit.example.org", dns.TypeMX, dns.RcodeSuccess, ""},
		{"implicit.example.org", dns.TypeA, dns.RcodeSuccess, "5.2.0.1"},
		{"empty.example.org", dns.TypeMX, dns.RcodeSuccess, ""},
		{"empty.example.org", dns.TypeA, dns.RcodeSuccess, ""},
		{"nx.example.org", dns.TypeMX, dns.RcodeNameError, ""},
		{"fail.example.org", dns.TypeMX, dns.RcodeServerFailure, ""},
		{"refused.example.org", dns.TypeMX, dns.RcodeRefused, ""},
	}
	synctest.Test(t, func(t *testing.T) {
		w := dnsWorld(t)
		defer w.Close()
		for _, c := range cases {
			r := ask(t, w.DialContext, "udp", "9.9.9.9:53", c.name, c.qtype)
			var records []string
			for _, rr := range r.Answer {
				records = append(records, rr.String())
			}
			answer := strings.Join(records, "\n")
			if r.Rcode != c.rcode || !strings.Contains(answer, c.want) || (c.want == "") != (answer == "") {
				t.Errorf("%s %s: %s %q", c.name, dns.TypeToString[c.qtype], dns.RcodeToString[r.Rcode], answer)
			}
			negative := answer == "" && (r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError)
			if negative != (len(r.Ns) == 1) {
				t.Errorf("%s: SOA %v", c.name, r.Ns)
			}
		}
		if r := ask(t, w.DialContext, "udp", "9.9.9.9:53", "big.example.org", dns.TypeMX); !r.Truncated {
			t.Errorf("over UDP: %v", r)
		}
		if r := ask(t, w.DialContext, "tcp", "9.9.9.9:53", "big.example.org", dns.TypeMX); r.Truncated || len(r.Answer) != 1 {
			t.Errorf("over TCP: %v", r)
		}
		begin := time.Now()
		ask(t, w.DialContext, "udp", "9.9.9.9:53", "slow.example.org", dns.TypeMX)
		if got := time.Since(begin); got != 1500*time.Millisecond {
			t.Errorf("slow answer took %v", got)
		}
		if q := w.Queries(); len(q) != len(cases)+3 || q[0].Name != "example.com" || q[0].Type != "MX" {
			t.Errorf("%d queries", len(q))
		}
	})
}

func dnsWorld(t *testing.T) *mxsim.World {
	t.Helper()
	w := mxsim.New(mxsim.Config{})
	site := func(domain string, config mxsim.DNSConfig) *mxsim.Site {
		return &mxsim.Site{
			Domains: []string{domain}, DNS: config,
			Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
		}
	}
	null := &mxsim.Site{Domains: []string{"null.example.org"}, DNS: mxsim.DNSConfig{NullMX: true}}
	w.Add(simple(), null, site("implicit.example.org", mxsim.DNSConfig{NoMX: true}),
		&mxsim.Site{Domains: []string{"empty.example.org"}},
		&mxsim.Site{Domains: []string{"nx.example.org"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSNXDomain}},
		site("fail.example.org", mxsim.DNSConfig{Mode: mxsim.DNSServFail}),
		site("refused.example.org", mxsim.DNSConfig{Mode: mxsim.DNSRefused}),
		site("big.example.org", mxsim.DNSConfig{Mode: mxsim.DNSTruncated}),
		site("slow.example.org", mxsim.DNSConfig{Delay: 1500 * time.Millisecond}),
	)
	if err := w.Record(`example.com. 60 IN TXT "v=spf1 -all"`, "alias.example.com. CNAME example.com."); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTruth(t *testing.T) {
	w := dnsWorld(t)
	defer w.Close()
	w.Sites()[0].Proves = true
	cases := []struct {
		address                   string
		receives, never, provable bool
	}{
		{"anna@example.com", true, false, false},
		{"nobody@example.com", false, true, true},
		{"full@example.com", false, false, false},
		{"off@example.com", false, true, true},
		{"x@null.example.org", false, true, true},
		{"x@nx.example.org", false, true, true},
		{"x@unheard-of.test", false, true, true},
		{"x@empty.example.org", false, true, false},
		{"x@implicit.example.org", false, true, false},
	}
	for _, c := range cases {
		got := w.Truth(c.address)
		if got.Receives != c.receives || got.Never != c.never || got.Provable != c.provable {
			t.Errorf("%s: %+v", c.address, got)
		}
	}
}

func TestResolversAndOverrides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := dnsWorld(t)
		defer w.Close()
		w.Resolver(netip.MustParseAddr("9.9.9.10"), mxsim.Down)
		w.Resolver(netip.MustParseAddr("9.9.9.11"), mxsim.BlackHole)
		if _, err := w.DialContext(t.Context(), "udp", "9.9.9.10:53"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a DNS server that is down: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.DialContext(ctx, "udp", "9.9.9.11:53"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a DNS server in a black hole: %v", err)
		}
		w.HandleDNS(func(_ string, query *dns.Msg) *dns.Msg {
			if query.Question[0].Qtype == dns.TypeTXT {
				return new(dns.Msg).SetRcode(query, dns.RcodeNotImplemented)
			}
			return nil
		})
		if r := ask(t, w.DialContext, "udp", "9.9.9.9:53", "example.com", dns.TypeTXT); r.Rcode != dns.RcodeNotImplemented {
			t.Errorf("override: %v", r)
		}
		if r := ask(t, w.DialContext, "udp", "9.9.9.9:53", "example.com", dns.TypeMX); len(r.Answer) != 1 {
			t.Errorf("what the override leaves: %v", r)
		}
	})
}

func TestSilentDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		site := simple()
		site.DNS.Mode = mxsim.DNSSilent
		w.Add(site)
		conn, err := w.DialContext(t.Context(), "udp", "9.9.9.9:53")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		m := new(dns.Msg).SetQuestion("example.com.", dns.TypeMX)
		_, _, err = (&dns.Client{Timeout: 2 * time.Second}).ExchangeWithConnContext(t.Context(), m, &dns.Conn{Conn: conn})
		if err == nil {
			t.Error("an answer of a silent server")
		}
	})
}

func TestTheWorldChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple())
		p := hello(t, w)
		p.say("RCPT TO:<new@example.com>", "550 5.1.1")
		w.Sites()[0].Set("New", mxsim.Active)
		p.say("RCPT TO:<new@example.com>", "250")
		moved := simple()
		moved.Hosts[0] = &mxsim.Host{Name: "mx.other.example.net"}
		w.Add(moved)
		r := ask(t, w.DialContext, "udp", "9.9.9.9:53", "example.com", dns.TypeMX)
		if len(r.Answer) != 1 || !strings.Contains(r.Answer[0].String(), "mx.other.example.net.") {
			t.Errorf("after the domain moved: %v", r.Answer)
		}
		if w.Host("MX.other.example.net.") != moved.Hosts[0] {
			t.Error("no host of that name")
		}
		relay := mxsim.NewRelay("relay.example.net")
		at := netip.MustParseAddrPort("5.9.9.9:2525")
		w.Attach(at, &relay.Host)
		connect(t, w.DialContext, at.String()).want("attached", "220 relay.example.net")
	})
}
