package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/health"
	"github.com/rcptgate/rcptgate/verify/provider"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// ownRecords are those of a gate whose names fit together.
var ownRecords = []string{
	"gate.example.net. 300 IN A 5.9.0.1",
	"1.0.9.5.in-addr.arpa. 300 IN PTR gate.example.net.",
}

// eventually asks until the answer to a request has the lines. The deadline is only there so that a
// fault ends.
func (s *served) eventually(address, path string, lines ...string) {
	s.t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body := s.get(address, path)
		missing := ""
		for _, line := range lines {
			if !strings.Contains("\n"+body, "\n"+line) {
				missing = line
			}
		}
		if status == http.StatusOK && missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("%s: status %d, without %q:\n%s", path, status, missing, body)
		}
	}
}

// TestOwnAddress: what is wrong with our address is told in words and numbers, a reload looks again,
// and it can be turned off. Mail passes all the time.
func TestOwnAddress(t *testing.T) {
	_, upstream := testRelay(t)
	world, at, err := newTestWorld(t)
	t.Cleanup(world.Close)
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Record(
		"2.0.0.127.bl.example.org. 300 IN A 127.0.0.2",
		"9.0.9.5.bl.example.org. 300 IN A 127.0.0.4",
	); err != nil {
		t.Fatal(err)
	}
	base := worldConfig("127.0.0.1:0", upstream, at) + "[http]\nlisten = \"127.0.0.1:0\"\n[verify.health]\n"
	s := startServe(t, base+"addresses = [\"5.9.0.9\"]\ndnsbl_zones = [\"bl.example.org\"]\n")
	found := s.logged("a finding about the address that probes leave from")
	address := s.listening("http")
	if found["kind"] != "dnsbl" || found["severity"] != "warning" || found["pkg"] != "verify" {
		t.Errorf("the first finding: %v", found)
	}
	s.want(address, "/readyz", 200, "ready, degraded",
		"degraded  own address: 5.9.0.9 is on the block list bl.example.org (127.0.0.4); to do: find out why")
	if _, body := s.get(address, "/readyz"); !strings.Contains(body, "(and 2 more: see the log)\n") {
		t.Errorf("/readyz does not count the others:\n%s", body)
	}
	s.want(address, "/metrics", 200, "rcptgate_ready 1",
		`rcptgate_own_address_findings{kind="dnsbl",severity="warning"} 1`,
		`rcptgate_own_address_findings{kind="helo",severity="warning"} 1`,
		`rcptgate_own_address_findings{kind="ptr",severity="warning"} 1`,
		"rcptgate_own_address_last_check_timestamp_seconds ")

	s.write(base + "addresses = [\"5.9.0.1\"]\n")
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	s.eventually(address, "/readyz", "ready\n", "ok        own address: nothing is wrong with it, looked at ")

	s.write(base + "interval = \"0s\"\n")
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	s.want(address, "/readyz", 200, "ready\n", "ok        own address: not looked after ")
	if _, body := s.get(address, "/metrics"); strings.Contains(body, "own_address") {
		t.Errorf("metrics of what is turned off:\n%s", body)
	}

	s.write(strings.Replace(base, "[verify]\n", "[verify]\nmode = \"passive\"\n", 1))
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	s.want(address, "/readyz", 200, "ready\n", "ok        own address: not looked after ",
		"ok        probing: passive: no mail server is asked")
	s.stop()
}

// TestRefusedByProvider: a provider that refuses this host is named, a small site is only counted.
func TestRefusedByProvider(t *testing.T) {
	_, upstream := testRelay(t)
	world := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(world.Close)
	refuse := mxsim.Refuse(mxsim.Connect, "554 5.7.1 your address is listed")
	world.Add(
		&mxsim.Site{
			Domains: []string{"large.example.com"}, Behaviours: []mxsim.Behaviour{refuse},
			Hosts: []*mxsim.Host{{Name: "aspmx.l.google.com"}},
		},
		&mxsim.Site{
			Domains: []string{"small.example.com"}, Behaviours: []mxsim.Behaviour{refuse},
			Hosts: []*mxsim.Host{{Name: "mx.small.example.com"}},
		},
	)
	at, err := world.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Record(ownRecords...); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, at)+"[http]\nlisten = \"127.0.0.1:0\"\n"+
		"[verify.health]\ninterval = \"1s\"\naddresses = [\"5.9.0.1\"]\n")
	address, site := s.listening("smtp"), s.listening("http")
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@small.example.com>", "250") // unknown passes
	s.eventually(site, "/readyz", "ready\n", "ok        probing: mail servers can be asked; left alone for a while: 1 other site\n")
	d.say("RCPT TO:<anna@large.example.com>", "250")
	s.eventually(site, "/readyz", "ready, degraded", "degraded  probing: google (until ",
		"degraded  own address: google refuses this host: aspmx.l.google.com said 554 (connect)")
	s.want(site, "/metrics", 200,
		`rcptgate_provider_pauses{provider="google",reason="blocked_ip"} 1`,
		`rcptgate_provider_pauses{provider="other",reason="blocked_ip"} 1`,
		`rcptgate_own_address_findings{kind="blocked",severity="warning"} 1`)
	d.say("QUIT", "221")
	s.stop()
}

// TestLearns: a delivery in the relay's log is compared with the verdict, and what is known is in the
// file.
func TestLearns(t *testing.T) {
	_, upstream := testRelay(t)
	at := testWorld(t)
	dir := t.TempDir()
	log, path := filepath.Join(dir, "mail.log"), filepath.Join(dir, "verdicts.db")
	write(t, log, nil)
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, at)+"[http]\nlisten = \"127.0.0.1:0\"\n"+
		"[verify.cache]\npath = \""+path+"\"\n[verify.feedback]\nhistory = true\nrelay_log = \""+log+"\"\n")
	address, site := s.listening("smtp"), s.listening("http")
	s.want(site, "/readyz", 200, "ok        cache: "+path+": in use")
	s.want(site, "/metrics", 200, "rcptgate_relay_log_readable 1", "rcptgate_cache_file_ok 1",
		`rcptgate_deliveries_total{event="delivered"} 0`, `rcptgate_verdict_checks_total{result="agreed"} 0`)
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.send("anna@example.com")
	d.say("QUIT", "221")
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(time.Now().Format(time.RFC3339Nano) + " mail postfix/smtp[7]: 4XyZ: to=<anna@example.com>, " +
		"relay=mx.example.com[127.0.0.9]:25, delay=1, delays=0.1/0/0.4/0.5, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1)\n")
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s.eventually(site, "/metrics", `rcptgate_deliveries_total{event="delivered"} 1`,
		`rcptgate_verdict_checks_total{result="agreed"} 1`, "rcptgate_relay_log_lines_total 1",
		"rcptgate_remembered_deliveries 1", `rcptgate_cache_entries{bucket="verdicts"} 1`)
	s.eventually(site, "/readyz", "ok        relay log: read until ")
	if _, body := s.get(site, "/readyz"); !strings.Contains(body, ", 1 delivery learned\n") {
		t.Errorf("/readyz does not count the delivery:\n%s", body)
	}
	s.stop()
}

// TestTroubleBesideMail: a log and a file that cannot be used are told, and mail passes.
func TestTroubleBesideMail(t *testing.T) {
	relay, upstream := testRelay(t)
	absent := filepath.Join(t.TempDir(), "absent")
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, testWorld(t))+"[http]\nlisten = \"127.0.0.1:0\"\n"+
		"[verify.cache]\npath = \""+absent+"/verdicts.db\"\n[verify.feedback]\nrelay_log = \""+absent+"/mail.log\"\n")
	address, site := s.listening("smtp"), s.listening("http")
	s.eventually(site, "/readyz", "ready, degraded", "degraded  relay log: not read since ",
		"degraded  cache: "+absent+"/verdicts.db: cannot open it: ")
	s.want(site, "/metrics", 200, "rcptgate_relay_log_readable 0", "rcptgate_cache_file_ok 0", "rcptgate_ready 1")
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.send("anna@example.com")
	d.say("QUIT", "221")
	if n := len(relay.Messages()); n != 1 {
		t.Errorf("%d messages at the relay", n)
	}
	s.stop()
}

// TestEgressIsLookedAt: the address that the first probe shows is looked at soon, not in an hour.
func TestEgressIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := mxsim.New(mxsim.Config{})
		defer world.Close()
		if err := world.Record(ownRecords...); err != nil {
			t.Fatal(err)
		}
		resolver, err := dns.New(dns.Config{Servers: []string{"192.0.2.53"}, Dial: world.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer resolver.Close()
		var seen atomic.Bool
		var own ownHealth
		own.use(context.WithoutCancel(t.Context()), health.Config{
			DNS: resolver, Helo: "gate.example.net", Every: time.Hour,
			Addrs: func() []netip.Addr {
				if seen.Load() {
					return []netip.Addr{netip.MustParseAddr("5.9.0.1")}
				}
				return nil
			},
		})
		synctest.Wait()
		if findings, _, ok := own.report(); !ok || len(findings) != 1 || findings[0].Kind != health.KindAddress {
			t.Fatalf("before: %v", findings)
		}
		seen.Store(true)
		<-time.After(egressEvery + time.Second)
		synctest.Wait()
		if findings, _, _ := own.report(); len(findings) > 0 {
			t.Errorf("after the first probe: %v", findings)
		}
		own.end()
		if _, _, ok := own.report(); ok {
			t.Error("a report behind the end")
		}
		own.end() // again
	})
}

// TestBlocks: who refuses this host, of those who are not asked now.
func TestBlocks(t *testing.T) {
	table, err := provider.Load()
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	pause := func(group string, reason verify.Reason) verify.Pause {
		return verify.Pause{
			Group: group, Reason: reason, Until: until, MX: "mx." + group, Stage: reply.StageMail, Code: 550,
		}
	}
	small := []verify.Pause{
		pause("mx.a.example", verify.BlockedIP), pause("mx.b.example", verify.BlockedIP),
		pause("mx.c.example", verify.RateLimited),
	}
	google := health.Block{Provider: "google", Detail: "mx.google said 550 (mail)", Until: until}
	for _, test := range []struct {
		pauses []verify.Pause
		want   []health.Block
	}{
		{nil, nil},
		{small, nil},
		{[]verify.Pause{pause("google", verify.RateLimited)}, nil},
		{append(small, pause("google", verify.BlockedIP)), []health.Block{google}},
		{append(small, pause("generic", verify.BlockedIP)), []health.Block{
			{Provider: "a group of other sites", Detail: "3 sites", Until: until},
		}},
	} {
		if diff := cmp.Diff(test.want, blocks(test.pauses, table), cmp.Comparer(
			func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", test.pauses, diff)
		}
	}
}

// TestReadyLines are the words of what cannot be brought about soon.
func TestReadyLines(t *testing.T) {
	at := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	notice := health.Finding{Severity: health.Notice, What: "a", Fix: "b"}
	read := func(c feedback.Counts) feedback.Status { return feedback.Status{Counts: c, Last: at} }
	for _, test := range []struct {
		got  web.Check
		want web.State
		text string
	}{
		{
			probingCheck(verify.Mode{Passive: true, ByItself: true, Since: at, Detail: "no way out"}, "google", ""), web.Degraded,
			"passive by itself, off since 2026-01-05T10:00:00Z, unknown recipients pass: no way out",
		},
		{probingCheck(verify.Mode{Passive: true}, "", ""), web.OK, "passive: no mail server is asked (verify.mode)"},
		{
			probingCheck(verify.Mode{}, "google", "2 other sites"), web.Degraded,
			"google refused this host and is left alone; its unknown recipients pass; paused too: 2 other sites",
		},
		{probingCheck(verify.Mode{}, "", "2 other sites"), web.OK, "mail servers can be asked; left alone for a while: 2 other sites"},
		{probingCheck(verify.Mode{}, "", ""), web.OK, "mail servers can be asked"},
		{checkOwn(nil, time.Time{}, true), web.OK, "not looked at yet"},
		{checkOwn([]health.Finding{notice, notice}, at, true), web.OK, "no warning, but a notice: a; to do: b (and 1 more: see the log)"},
		{
			checkOwn([]health.Finding{{Severity: health.Critical, Subject: "x", What: "it failed", Fix: "b"}}, at, true),
			web.Degraded, "x: it failed; to do: b",
		},
		{relayLogCheck(feedback.Status{}, false, verify.Stats{}), web.OK, "none is read (verify.feedback.relay_log)"},
		{relayLogCheck(feedback.Status{}, true, verify.Stats{}), web.OK, "read, nothing new in it yet"},
		{
			relayLogCheck(read(feedback.Counts{Lines: 9, Deliveries: 3}), true, verify.Stats{Delivered: 1, Bounced: 2}),
			web.OK, "read until 2026-01-05T10:00:00Z, 3 deliveries learned",
		},
		{
			relayLogCheck(read(feedback.Counts{Lines: 100}), true, verify.Stats{}), web.OK,
			"read until 2026-01-05T10:00:00Z, 0 deliveries learned; no line is of a delivery: is it the relay's log, and does verify.feedback.labels fit?",
		},
		{
			relayLogCheck(read(feedback.Counts{Lines: 9, Deliveries: 3, Observed: 3}), true, verify.Stats{Ignored: 3}), web.OK,
			"read until 2026-01-05T10:00:00Z, 0 deliveries learned; those in it went to other servers than the recipients' own (a smarthost?)",
		},
		{
			relayLogCheck(read(feedback.Counts{Lines: 9, Deliveries: 3, Internal: 2, Excluded: 1}), true, verify.Stats{}), web.OK,
			"read until 2026-01-05T10:00:00Z, 0 deliveries learned; those in it went to the relay's own mailboxes, filters and smarthosts",
		},
		{
			relayLogCheck(feedback.Status{Fault: "it is gone; bring it back", Failed: at}, true, verify.Stats{}), web.Degraded,
			"not read since 2026-01-05T10:00:00Z, nothing is learned: it is gone; bring it back",
		},
		{checkStore(nil), web.OK, "memory only"},
	} {
		if test.got.State != test.want || test.got.Detail != test.text {
			t.Errorf("%v %q, want %v %q", test.got.State, test.got.Detail, test.want, test.text)
		}
	}
}
