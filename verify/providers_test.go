package verify_test

import (
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/provider"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// played is a site of a simulated provider with the mailbox anna.
func played(tb testing.TB, name, domain string, as mxsim.Disguise) *mxsim.Site {
	tb.Helper()
	p, ok := mxsim.ProviderNamed(name)
	if !ok {
		tb.Fatalf("no provider %q is played", name)
	}
	return p.Site(domain, as, map[string]mxsim.Mailbox{
		"anna": mxsim.Active, "full": mxsim.Full, "disabled": mxsim.Disabled,
	})
}

// profiles are the built-in ones, with their manners.
func profiles(tb testing.TB) *provider.Table {
	tb.Helper()
	table, err := provider.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// says makes a site answer so at a stage.
func says(s *mxsim.Site, stage mxsim.Stage, text string) *mxsim.Site {
	for _, h := range s.Hosts {
		h.Behaviours = append([]mxsim.Behaviour{mxsim.Refuse(stage, text)}, h.Behaviours...)
	}
	return s
}

// TestSituations is each situation that mail servers bring us into, with the verdict, the reason and
// the next step: when to ask again, or nothing.
func TestSituations(t *testing.T) {
	plain := func(name, domain string) func() *mxsim.Site {
		return func() *mxsim.Site { return played(t, name, domain, mxsim.Plain) }
	}
	with := func(b ...mxsim.Behaviour) func() *mxsim.Site {
		return func() *mxsim.Site { return site("example.com", b...) }
	}
	names := func(d mxsim.DNSConfig) func() *mxsim.Site {
		return func() *mxsim.Site { s := site("example.com"); s.DNS = d; return s }
	}
	type after struct{ least, most time.Duration }
	atOnce, minutes, quarter, hours := after{}, after{time.Minute, 10 * time.Minute}, after{10 * time.Minute, time.Hour},
		after{time.Hour, 24 * time.Hour}

	tests := []struct {
		name     string
		site     func() *mxsim.Site
		rcpt     string
		verdict  verify.Verdict
		reason   verify.Reason
		stage    reply.Stage
		provider string
		retry    after
	}{
		{"exists at Gmail", plain("google", "gmail.com"), "anna@gmail.com", verify.Deliverable, verify.MailboxExists, "rcpt", "google", atOnce},
		{"unknown at Gmail", plain("google", "gmail.com"), "nobody@gmail.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "google", atOnce},
		{"disabled at Gmail", plain("google", "gmail.com"), "disabled@gmail.com", verify.Undeliverable, verify.MailboxDisabled, "rcpt", "google", atOnce},
		{"full at Gmail", plain("google", "gmail.com"), "full@gmail.com", verify.Risky, verify.MailboxFull, "rcpt", "google", atOnce},
		{
			"busy at Gmail", func() *mxsim.Site {
				return says(played(t, "google", "gmail.com", mxsim.Plain), mxsim.Rcpt,
					"450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered. Please resend your message at a later time. https://support.google.com/mail/?p=ReceivingRate a1 - gsmtp")
			}, "anna@gmail.com", verify.Unknown, verify.Busy, "rcpt", "google", quarter,
		},
		{
			"busy at Gmail, with a 5xx", func() *mxsim.Site {
				return says(played(t, "google", "gmail.com", mxsim.Plain), mxsim.Rcpt,
					"550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered. For more information, please visit https://support.google.com/mail/?p=ReceivingRatePerm a1 - gsmtp")
			}, "anna@gmail.com", verify.Unknown, verify.Busy, "rcpt", "google", quarter,
		},
		{"exists at Microsoft 365", plain("exchangeonline", "example.com"), "anna@example.com", verify.Deliverable, verify.MailboxExists, "rcpt", "exchangeonline", atOnce},
		{"5.4.1 of Microsoft 365 (DBEB)", plain("exchangeonline", "example.com"), "nobody@example.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "exchangeonline", atOnce},
		{
			"5.4.1 of somebody else", with(mxsim.Refuse(mxsim.Rcpt, "550 5.4.1 Relay access denied")),
			"anna@example.com", verify.Unknown, verify.Policy, "rcpt", "postfix", minutes,
		},
		{"exists at Outlook.com", plain("outlook", "outlook.com"), "anna@outlook.com", verify.Deliverable, verify.MailboxExists, "rcpt", "outlook", atOnce},
		{"unknown at Outlook.com", plain("outlook", "outlook.com"), "nobody@outlook.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "outlook", atOnce},
		{"Yahoo, which accepts all", plain("yahoo", "yahoo.com"), "nobody@yahoo.com", verify.Unknown, verify.ProviderPassive, "", "yahoo", minutes},
		{"iCloud", plain("apple", "icloud.com"), "nobody@icloud.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "apple", atOnce},
		{"GMX, without enhanced codes", plain("gmx", "gmx.de"), "nobody@gmx.de", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "gmx", atOnce},
		{"Yandex, with 5.7.1", plain("yandex", "yandex.ru"), "nobody@yandex.ru", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "yandex", atOnce},
		{"Proofpoint, which looks it up first", plain("proofpoint", "example.com"), "anna@example.com", verify.Unknown, "", "rcpt", "proofpoint", minutes},
		{"Mimecast, which greylists all", plain("mimecast", "example.com"), "anna@example.com", verify.Unknown, verify.Greylisted, "rcpt", "mimecast", minutes},

		{"greylisted", with(mxsim.Greylist(5 * time.Minute)), "anna@example.com", verify.Unknown, verify.Greylisted, "rcpt", "postfix", minutes},
		{
			"greylisted, and told for how long", with(mxsim.GreylistSaying(25*time.Minute, true, "451 4.7.1 Greylisting in action, please come back in {wait}")),
			"anna@example.com", verify.Unknown, verify.Greylisted, "rcpt", "postfix", quarter,
		},
		{"full", func() *mxsim.Site {
			s := site("example.com")
			s.Mailboxes["anna"] = mxsim.Full
			return s
		}, "anna@example.com", verify.Risky, verify.MailboxFull, "rcpt", "postfix", atOnce},
		{"blocked in the banner", with(mxsim.Refuse(mxsim.Connect, "554 5.7.1 Your IP address is blocked by Spamhaus")), "anna@example.com", verify.Unknown, verify.BlockedIP, "connect", "", hours},
		{"blocked at EHLO", with(mxsim.Refuse(mxsim.Helo, "550 5.7.1 Client host rejected: your IP address is listed")), "anna@example.com", verify.Unknown, verify.BlockedIP, "helo", "", hours},
		{"blocked at MAIL", with(mxsim.Refuse(mxsim.Mail, "550 5.7.1 Service unavailable; client host [5.255.255.1] blocked using Spamhaus")), "anna@example.com", verify.Unknown, verify.BlockedIP, "mail", "", hours},
		{"blocked at RCPT", with(mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 Service unavailable; client host [5.255.255.1] blocked using Spamhaus")), "anna@example.com", verify.Unknown, verify.BlockedIP, "rcpt", "", hours},
		{"sender refused", with(mxsim.RefuseSender("550 5.7.23 SPF validation failed", "shop.example.org")), "anna@example.com", verify.Unknown, verify.BlockedSender, "mail", "postfix", quarter},
		{"rate limited", with(mxsim.Refuse(mxsim.Rcpt, "421 4.7.28 too much mail from your IP address, slow down")), "anna@example.com", verify.Unknown, verify.RateLimited, "rcpt", "postfix", quarter},
		{"tarpit", with(mxsim.TarpitAll(time.Second)), "nobody@example.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "postfix", atOnce},
		{"421 in mid-session", with(mxsim.CommandLimit(2)), "anna@example.com", verify.Unknown, verify.RateLimited, "", "", quarter},
		{"null MX", names(mxsim.DNSConfig{NullMX: true}), "anna@example.com", verify.Undeliverable, verify.NullMX, "", "", atOnce},
		{"SERVFAIL", names(mxsim.DNSConfig{Mode: mxsim.DNSServFail}), "anna@example.com", verify.Unknown, verify.DNSFailure, "", "", after{time.Second, 10 * time.Minute}},
		{"dead first MX", func() *mxsim.Site {
			s := site("example.com")
			s.Hosts[0].State = mxsim.Down
			s.Hosts = append(s.Hosts, &mxsim.Host{Name: "mx2.example.com", Pref: 20})
			return s
		}, "nobody@example.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "postfix", atOnce},
		{"first MX that does not answer", func() *mxsim.Site {
			s := site("example.com")
			s.Hosts[0].State = mxsim.BlackHole
			s.Hosts = append(s.Hosts, &mxsim.Host{Name: "mx2.example.com", Pref: 20})
			return s
		}, "nobody@example.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "postfix", atOnce},
		{"TLS garbage", func() *mxsim.Site {
			s := site("example.com")
			s.Hosts[0].TLS = mxsim.TLSGarbage
			return s
		}, "nobody@example.com", verify.Undeliverable, verify.MailboxUnknown, "rcpt", "postfix", atOnce},
		{"accepts all", with(mxsim.CatchAll()), "nobody@example.com", verify.Deliverable, verify.MailboxExists, "rcpt", "postfix", atOnce},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, verify.Config{Providers: profiles(t)}, func(w *world) {
				q := w.question(tt.rcpt)
				q.Trace = true
				r := w.v.Verify(w.t.Context(), q)
				if tt.reason == "" {
					tt.reason = r.Reason
				}
				want(w.t, r, tt.verdict, tt.reason)
				if tt.stage != "" && r.Stage != tt.stage || tt.provider != "" && r.Provider != tt.provider {
					w.t.Errorf("stage %q, provider %q", r.Stage, r.Provider)
				}
				if r.RetryAfter < tt.retry.least || tt.retry.most > 0 && r.RetryAfter > tt.retry.most ||
					tt.retry == atOnce && r.RetryAfter != 0 {
					w.t.Errorf("retry after %v, want %v to %v", r.RetryAfter, tt.retry.least, tt.retry.most)
				}
				if (r.Verdict != verify.Deliverable) && r.NextStep() == "" {
					w.t.Errorf("no next step for %s", r.Reason)
				}
				if w.t.Failed() {
					for _, s := range r.Steps {
						w.t.Logf("%v %s: %s", s.At, s.What, s.Detail)
					}
				}
			}, tt.site())
		})
	}
}

// TestBusyIsNoPause: a word about one busy mailbox holds nothing against the provider.
func TestBusyIsNoPause(t *testing.T) {
	s := played(t, "google", "gmail.com", mxsim.Plain)
	for _, h := range s.Hosts {
		h.Behaviours = append([]mxsim.Behaviour{func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
			return mxsim.Say("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered. https://support.google.com/mail/?p=ReceivingRate a1 - gsmtp"),
				e.Stage == mxsim.Rcpt && e.Local == "busy"
		}}, h.Behaviours...)
	}
	inBubble(t, verify.Config{Providers: profiles(t)}, func(w *world) {
		t := w.t
		want(t, w.verify("busy@gmail.com"), verify.Unknown, verify.Busy)
		want(t, w.verify("anna@gmail.com"), verify.Deliverable, verify.MailboxExists)
		want(t, w.verify("nobody@gmail.com"), verify.Undeliverable, verify.MailboxUnknown)
		r := w.verify("busy@gmail.com")
		if !r.Cached || r.RetryAfter != 15*time.Minute {
			t.Errorf("cached %t, retry after %v", r.Cached, r.RetryAfter)
		}
		if len(w.v.Pauses()) != 0 {
			t.Errorf("pauses: %+v", w.v.Pauses())
		}
	}, s)
}

// TestRateLimitAfterFirst: what is said to the second recipient is about us and not held against it,
// and the first keeps its verdict.
func TestRateLimitAfterFirst(t *testing.T) {
	inBubble(t, verify.Config{Providers: profiles(t)}, func(w *world) {
		t := w.t
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		want(t, w.verify("nobody@example.com"), verify.Unknown, verify.RateLimited)
		want(t, w.verify("anna@example.com"), verify.Deliverable, verify.MailboxExists)
		if p := w.v.Pauses(); len(p) != 1 || p[0].Group != "mx.example.com" {
			t.Errorf("pauses: %+v", p)
		}
	}, site("example.com", func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		return mxsim.Say("450 4.7.1 Too many recipients from your IP address, slow down"), e.Stage == mxsim.Rcpt && e.Local != "anna"
	}))
}

// TestHiddenProvider: a provider that its MX names do not tell is known by its banner, is asked or
// left alone as its profile says, and is remembered.
func TestHiddenProvider(t *testing.T) {
	inBubble(t, verify.Config{Providers: profiles(t)}, func(w *world) {
		t := w.t
		for range 2 {
			r := w.verify("nobody@example.com")
			want(t, r, verify.Unknown, verify.ProviderPassive)
			if r.Provider != "yahoo" {
				t.Errorf("provider %q", r.Provider)
			}
			sleep(time.Hour)
		}
		if n := len(w.Host("mx1.example.com").Record().Conns); n != 1 {
			t.Errorf("%d connections, want 1: its banner told", n)
		}
		if n := w.asked("mx1.example.com"); n != 0 {
			t.Errorf("asked %d times", n)
		}
	}, played(t, "yahoo", "example.com", mxsim.HiddenNames))

	// Nothing tells: that it accepts everything is found out.
	cfg := looksInto()
	cfg.Providers = profiles(t)
	inBubble(t, cfg, func(w *world) {
		t := w.t
		w.look("anna@example.com")
		sleep(11 * time.Minute)
		want(t, w.look("nobody@example.com"), verify.Risky, verify.AcceptAll)
		w.bounced("nobody@example.com", "mx1.example.com", reply.StageDot, "552 1 Requested mail action aborted, mailbox not found")
		want(t, w.look("nobody@example.com"), verify.Undeliverable, verify.MailboxUnknown)
	}, played(t, "yahoo", "example.com", mxsim.HiddenAll))
}

// TestWaveAtGoogle: in a wave of false refusals no good recipient is refused beyond the first twenty,
// those that used to work even less, and afterwards all is as before.
func TestWaveAtGoogle(t *testing.T) {
	wave := new(mxsim.Wave)
	s := played(t, "google", "gmail.com", mxsim.Plain)
	for _, h := range s.Hosts {
		h.Behaviours = append([]mxsim.Behaviour{wave.Behaviour()}, h.Behaviours...)
	}
	for i := range 300 {
		s.Mailboxes[mailbox(i)] = mxsim.Active
	}
	inBubble(t, verify.Config{Providers: profiles(t)}, func(w *world) {
		t := w.t
		for i := range 30 {
			want(t, w.verify(mailbox(i)+"@gmail.com"), verify.Deliverable, verify.MailboxExists)
			sleep(time.Second)
		}
		sleep(time.Hour)
		wave.Start()
		refused := 0
		for i := 100; i < 180; i++ {
			if r := w.verify(mailbox(i) + "@gmail.com"); r.Proof {
				refused++
			} else if i > 120 {
				want(t, r, verify.Unknown, verify.Incident)
			}
			sleep(2 * time.Second)
		}
		if refused > 20 {
			t.Errorf("%d good recipients refused", refused)
		}
		// Those refused at first are not refused any more.
		for i := 100; i < 110; i++ {
			if r := w.verify(mailbox(i) + "@gmail.com"); r.Proof {
				t.Errorf("%s is still refused", r.Address)
			}
		}
		// The log tells of bounces; nothing is held against anybody.
		w.bounced(mailbox(3)+"@gmail.com", s.Hosts[0].Name, reply.StageRcpt, "550 5.1.1 The email account that you tried to reach does not exist")
		want(t, w.verify(mailbox(3)+"@gmail.com"), verify.Deliverable, verify.MailboxExists)
		wave.Stop()
		sleep(20 * time.Minute)
		for i := 200; i < 215; i++ {
			want(t, w.verify(mailbox(i)+"@gmail.com"), verify.Deliverable, verify.MailboxExists)
		}
		want(t, w.verify("nobody@gmail.com"), verify.Undeliverable, verify.MailboxUnknown)
	}, s)
}

func mailbox(i int) string { return "user" + string(rune('a'+i%26)) + string(rune('a'+i/26)) }
