package message

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	mdns "github.com/miekg/dns"
)

// TestTrouble: what the DNS does not say never rejects, and at warn it passes.
func TestTrouble(t *testing.T) {
	for _, c := range []struct {
		name, fails, found string
		sign               func(*dkim.SignOptions)
		reply              string
	}{
		{
			"key", "_domainkey.example.com", "dkim",
			func(*dkim.SignOptions) {}, "451 4.4.3 the message cannot be checked: its key " +
				"s2048._domainkey.example.com cannot be looked up; try again later (ref ",
		},
		{
			"DMARC record", "_dmarc.example.com", "dmarc_record", func(*dkim.SignOptions) {},
			"451 4.4.3 the message cannot be checked: _dmarc.example.com cannot be looked up",
		},
		{
			"organization", "_dmarc.com", "dkim_aligned",
			func(o *dkim.SignOptions) { o.Domain = "news.example.com" },
			"451 4.4.3 the message cannot be checked: _dmarc.com cannot be looked up",
		},
		{
			"SPF and MX", "ple.com", "sender_domain spf dkim dmarc_record dmarc",
			func(*dkim.SignOptions) {},
			"451 4.4.3 the message cannot be checked: the mail server of example.com cannot",
		},
	} {
		for _, level := range []Level{Reject, Defer, Warn} {
			synctest.Test(t, func(t *testing.T) {
				names2, world := resolver(t, zone(t, "news.example.com. 300 IN MX 10 mx.example.com.",
					keyRecord(t, "s2048._domainkey.news.example.com", key2048()))...)
				failing(world, c.fails)
				checker := newChecker(t, config(level), names2, nil)
				octets := wire(sign(t, newsletter(time.Now()), c.sign))
				report := check(t, checker, envelope(t), octets, 100)
				if got := names(report); got != c.found {
					t.Errorf("%s, %s: found %q, want %q:%s", c.name, level, got, c.found, details(report))
				}
				want := ActionDefer
				if level == Warn {
					want = ActionPass
				} else if !strings.HasPrefix(report.Reply.String(), c.reply) {
					t.Errorf("%s, %s: %s", c.name, level, report.Reply)
				}
				if report.Action != want {
					t.Errorf("%s, %s: %s:%s", c.name, level, report.Action, details(report))
				}
				for _, f := range report.Findings {
					if !f.Unknown {
						t.Errorf("%s, %s: %s is not said to be unknown", c.name, level, f.Check)
					}
				}
			})
		}
	}
}

// TestSPFTrouble has a code of its own.
func TestSPFTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, world := resolver(t, zone(t)...)
		failing(world, "ple.org")
		cfg := config(Reject)
		cfg.Levels[SenderDomain] = Off
		env := envelope(t)
		env.From = address(t, "bounce@example.org")
		report := check(t, newChecker(t, cfg, resolver, nil), env, wire(sign(t, newsletter(time.Now()))), 99)
		if !strings.HasPrefix(report.Reply.String(), "451 4.7.24 ") || names(report) != "spf" {
			t.Errorf("%s", details(report))
		}
	})
}

// TestDefer: a level in between has the same code as 4xx.
func TestDefer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		report := check(t, newChecker(t, config(Defer), resolver, nil), envelope(t),
			wire(newsletter(time.Now())), 99)
		if report.Action != ActionDefer || !strings.HasPrefix(report.Reply.String(), "450 4.7.20 there is") {
			t.Errorf("%s", details(report))
		}
	})
}

// TestLater: mail that is signed after us is not said to be unsigned.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		cfg := config(Reject)
		cfg.Position = PositionLater
		checker := newChecker(t, cfg, resolver, nil)
		if report := check(t, checker, envelope(t), wire(newsletter(time.Now())), 99); report.Action != ActionPass {
			t.Errorf("%s", details(report))
		}
		broken := strings.Replace(newsletter(time.Now()), "=One-Click", "=1", 1)
		if report := check(t, checker, envelope(t), wire(broken), 99); names(report) != "one_click" {
			t.Errorf("%s", details(report))
		}
	})
}

// long is a signed message with a body of n octets.
func long(tb testing.TB, n int, change ...signOptions) []byte {
	tb.Helper()
	return wire(sign(tb, newsletter(time.Now())+
		strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", n/63), change...))
}

// slow answers queries for keys after a while; never if that is 0.
func slow(t *testing.T, after time.Duration, records []string) func(string, *mdns.Msg) *mdns.Msg {
	t.Helper()
	rrs := make(map[string]mdns.RR)
	for _, r := range records {
		rr, err := mdns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		rrs[rr.Header().Name] = rr
	}
	return func(_ string, query *mdns.Msg) *mdns.Msg {
		name := query.Question[0].Name
		if !strings.Contains(name, "_domainkey") {
			return nil
		}
		timer := time.NewTimer(after)
		<-timer.C
		m := new(mdns.Msg).SetReply(query)
		m.Answer = append(m.Answer, rrs[name])
		return m
	}
}

// TestSlowKey: a body is held only as long as it has to be, and never longer than a second.
func TestSlowKey(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		after  time.Duration
		held   time.Duration
		finish time.Duration
		found  string
	}{
		{"short body, late key", 60_000, 1500 * time.Millisecond, 0, 1500 * time.Millisecond, ""},
		{"long body, key soon", 1_000_000, 300 * time.Millisecond, 300 * time.Millisecond, 0, ""},
		{"long body, key too late", 1_000_000, 1700 * time.Millisecond, maxHold, 0, "dkim"},
		{"short body, key too late", 60_000, 9 * time.Second, 0, 3 * time.Second, "dkim"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := zone(t)
				resolver, world := resolver(t, records...)
				world.HandleDNS(slow(t, c.after, records))
				cfg := config(Off)
				cfg.Levels[DKIM] = Reject
				cfg.Timeout = 3 * time.Second
				octets := long(t, c.size)
				run := newChecker(t, cfg, resolver, nil).Begin(envelope(t))
				began := time.Now()
				run.Write(octets[:len(octets)/2])
				run.Write(octets[len(octets)/2:])
				held := time.Since(began)
				began = time.Now()
				report := run.Finish(context.Background())
				if took := time.Since(began); held != c.held || took != c.finish || names(report) != c.found {
					t.Errorf("held %s, finished after %s, found %q:%s", held, took, names(report), details(report))
				}
				if c.found != "" && report.Action != ActionDefer {
					t.Errorf("%s", details(report))
				}
			})
		})
	}
}

// TestAbandon ends checks at every stage. A bubble that is left with goroutines in it fails.
func TestAbandon(t *testing.T) {
	for _, signatures := range []int{0, 1, 2, 7} {
		for _, silent := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				records := zone(t)
				resolver, world := resolver(t, records...)
				if silent {
					world.HandleDNS(slow(t, time.Minute, records))
				}
				checker := newChecker(t, config(Reject), resolver, nil)
				message := newsletter(time.Now()) + strings.Repeat("more and more\r\n", 10_000)
				for range signatures {
					message = sign(t, message)
				}
				octets := wire(message)
				for _, n := range []int{0, 10, 900, 1500, 20_000, 90_000, len(octets)} {
					run := checker.Begin(envelope(t))
					run.Write(octets[:min(n, len(octets))])
					run.Close()
					run.Close()

					run = checker.Begin(envelope(t))
					run.Write(octets[:min(n, len(octets))])
					ctx, cancel := context.WithCancel(context.Background())
					cancel()
					run.Finish(ctx)
					run.Close()
				}
				run := checker.Begin(envelope(t))
				run.Write(octets[:len(octets)/3])
				checker.stop() // as Close does while messages are under way
				run.Write(octets[len(octets)/3:])
				if report := run.Finish(context.Background()); report.Action == ActionReject && signatures > 0 {
					t.Errorf("%d signatures: %s", signatures, details(report))
				}
			})
		}
	}
}

// TestSeveralSignatures: one that is good is enough, wherever it is; the From domain's are looked at
// first.
func TestSeveralSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, world := resolver(t, zone(t)...)
		checker := newChecker(t, config(Reject), resolver, nil)
		message := sign(t, newsletter(time.Now()))
		for i := range 20 {
			message = sign(t, message, func(o *dkim.SignOptions) {
				o.Domain = "stranger.example"
				o.Selector = "s" + strings.Repeat("x", i+1)
			})
		}
		if report := check(t, checker, envelope(t), wire(message), 5000); report.Action != ActionPass {
			t.Errorf("%s", details(report))
		}
		asked := 0
		for _, q := range world.Queries() {
			if strings.Contains(q.Name, "_domainkey") {
				asked++
			}
		}
		if asked != maxSignatures {
			t.Errorf("%d keys were looked up", asked)
		}
	})
}

// TestNoEgress: where mail leaves from is not known, so that SPF could pass.
func TestNoEgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		cfg := config(Off)
		cfg.Levels[Aligned], cfg.Levels[SPF] = Reject, Reject
		cfg.Egress = func() []netip.Addr { return nil }
		if report := check(t, newChecker(t, cfg, resolver, nil), envelope(t),
			wire(newsletter(time.Now())), 99); len(report.Findings) != 0 {
			t.Errorf("%s", details(report))
		}
	})
}

// TestAddresses: every address has to pass.
func TestAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, world := resolver(t, zone(t)...)
		cfg := config(Off)
		cfg.Levels[SPF] = Reject
		second := netip.MustParseAddr("2001:db8::25")
		cfg.Egress = func() []netip.Addr { return []netip.Addr{egress, second} }
		checker := newChecker(t, cfg, resolver, nil)
		for range 3 {
			report := check(t, checker, envelope(t), wire(newsletter(time.Now())), 99)
			if !strings.Contains(report.Reply.String(), "SPF of example.com for 2001:db8::25 gives fail") {
				t.Errorf("%s", details(report))
			}
		}
		if n := len(world.Queries()); n != 1 {
			t.Errorf("%d queries", n)
		}
	})
}

func TestNothingToCheck(t *testing.T) {
	checker := newChecker(t, Config{}, nil, nil)
	if checker.Active() || checker.Begin(Envelope{}) != nil {
		t.Error("the zero Config checks something")
	}
	var none *Checker
	run := none.Begin(Envelope{})
	run.Write([]byte("x"))
	if report := run.Finish(context.Background()); report.Action != ActionPass || none.Close() != nil {
		t.Error("a nil Checker does something")
	}
	run.Close()
}

// TestReconfigure: a wrong configuration changes nothing, and a message keeps the one it began with.
func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		checker := newChecker(t, config(Reject), resolver, nil)
		if _, err := checker.Reconfigure(Config{Position: "before"}, nil); err == nil {
			t.Error("a wrong position is taken")
		}
		octets := wire(newsletter(time.Now()))
		run := checker.Begin(envelope(t))
		if _, err := checker.Reconfigure(config(Warn), resolver); err != nil {
			t.Fatal(err)
		}
		run.Write(octets)
		if report := run.Finish(context.Background()); report.Action != ActionReject {
			t.Errorf("%s", details(report))
		}
		if report := check(t, checker, envelope(t), octets, 99); report.Action != ActionPass {
			t.Errorf("%s", details(report))
		}
	})
}

// TestReplies: whatever a message has in it, replies and findings are short lines of printable ASCII.
func TestReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver, _ := resolver(t, zone(t)...)
		checker := newChecker(t, config(Reject), resolver, nil)
		nasty := "\x1b[31m\u202eevil\x7f\xff\"<>%s" + strings.Repeat("x", 300)
		for _, message := range []string{
			"From: \"" + nasty + "@example.org\" <a@example.com>\r\n\r\n",
			"From: a@" + nasty + "\r\n\r\n",
			"From: a@" + strings.Repeat("long.", 45) + "example\r\n\r\n",
			"DKIM-Signature: v=1; a=rsa-sha256; d=" + nasty + "; s=" + nasty + "; h=from; bh=AAAA; b=AAAA\r\n" +
				"From: a@example.com\r\n\r\n",
			"List-Unsubscribe: <" + nasty + ">\r\n" + nasty + "\r\n\r\n",
		} {
			report := check(t, checker, envelope(t), []byte(message), 1000)
			if report.Action != ActionReject {
				t.Errorf("%q passes", message)
			}
			for _, f := range report.Findings {
				for _, text := range append(f.Reply.Lines, f.Detail) {
					if len(text) > 506 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
						t.Errorf("%q", text)
					}
				}
				if !strings.HasSuffix(f.Reply.Text(), "(ref "+report.Ref+")") {
					t.Errorf("%q has no reference", f.Reply)
				}
			}
		}
	})
}
