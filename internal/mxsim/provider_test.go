package mxsim_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// playing starts a world with one site of a provider in it.
func playing(t *testing.T, name, domain string, as mxsim.Disguise) *mxsim.World {
	t.Helper()
	p, ok := mxsim.ProviderNamed(name)
	if !ok {
		t.Fatalf("no provider %q", name)
	}
	w := mxsim.New(mxsim.Config{})
	t.Cleanup(w.Close)
	w.Add(p.Site(domain, as, map[string]mxsim.Mailbox{
		"anna": mxsim.Active, "full": mxsim.Full, "off": mxsim.Disabled, "busy": mxsim.Busy,
		"flooded": mxsim.BusyHard,
	}))
	return w
}

// TestProviders asks each provider about somebody, about nobody, and about the other states.
func TestProviders(t *testing.T) {
	const (
		someone = "RCPT TO:<anna@example.com>"
		nobody  = "RCPT TO:<nobody@example.com>"
		full    = "RCPT TO:<full@example.com>"
		off     = "RCPT TO:<off@example.com>"
		busy    = "RCPT TO:<busy@example.com>"
	)
	data := func(reply string) []string { return []string{"DATA", "354", "x\r\n.", reply} }
	late := func(reply string) []string {
		return append([]string{nobody, "250"}, data(reply)...)
	}
	cases := map[string][]string{
		"google": {
			someone, "250 2.1.5 OK", nobody, "550-5.1.1 The email account that you tried to reach does not exist",
			full, "452-4.2.2", off, "550-5.2.1", busy, "450-4.2.1 The user you are trying to contact is receiving",
			"RCPT TO:<flooded@example.com>", "550-5.2.1 The user you are trying to contact is receiving",
		},
		"exchangeonline": {someone, "250 2.1.5 Recipient OK", nobody, "550 5.4.1 Recipient address rejected: Access denied."},
		"outlook": {
			someone, "250", nobody, "452 4.5.3 Too many recipients (AS780090)", "RSET", "250",
			"MAIL FROM:<>", "550 5.7.1 ", "MAIL FROM:<sender@example.net>", "250",
			nobody, "550 5.5.0 Requested action not taken: mailbox unavailable",
		},
		"yahoo":      late("552 1 Requested mail action aborted, mailbox not found"),
		"yahoojp":    late("554 delivery error: dd This user doesn't have a example.com account (nobody@example.com) [-5] - mx1.mail.yahoo.co.jp"),
		"apple":      {someone, "250", nobody, "550 5.1.1 <nobody@example.com>: user does not exist", off, "550 5.1.1 <off@example.com>: inactive", full, "552 5.2.2"},
		"gmx":        {someone, "250 OK", nobody, "550 Requested action not taken: mailbox unavailable", full, "552-Requested mail action aborted"},
		"webde":      {someone, "250 OK", nobody, "550 Requested action not taken: mailbox unavailable", full, "550 <full@example.com>: Requested mail action aborted: exceeded storage"},
		"mailru":     late("550 Message was not accepted -- invalid mailbox.  Local mailbox nobody@example.com is unavailable: user not found"),
		"yandex":     {someone, "250", nobody, "550 5.7.1 No such user!"},
		"qq":         {someone, "250", nobody, "550 Mailbox not found."},
		"netease":    {someone, "250", nobody, "550 User not found: nobody@example.com"},
		"zoho":       {someone, "250", nobody, "550 5.1.1 User unknown"},
		"mimecast":   {someone, "451 Internal resources are temporarily unavailable", nobody, "451 Internal resources"},
		"proofpoint": {someone, "421 4.1.1 <anna@example.com>: Recipient address rejected: unverified address: Address verification in progress", "", ""},
		"proofpoint_essentials": {
			someone, "250", nobody, "550 5.7.1 <nobody@example.com> User email address is marked as invalid",
		},
		"barracuda": {someone, "451 4.7.1 <anna@example.com>: Recipient address rejected: Greylisted for 5 minutes"},
		"cisco":     {someone, "250", nobody, "550 #5.1.0 Address rejected."},
		"trendmicro": {
			someone, "250", nobody, "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown",
		},
		"rackspace":  {someone, "250", nobody, "550 5.1.1 <nobody@example.com>: Email address could not be found"},
		"godaddy":    {someone, "250", nobody, "550 5.1.1 <nobody@example.com> Recipient not found."},
		"ovh":        {someone, "250", nobody, "550 5.1.1"},
		"ionos":      {someone, "250", nobody, "550 Requested action not taken: mailbox unavailable"},
		"orange":     {someone, "250", nobody, "550 5.1.1 <nobody@example.com> Adresse d au moins", full, "552 5.1.1 <full@example.com> Boite du destinataire pleine"},
		"comcast":    {someone, "250", nobody, "550 5.1.1", busy, "452 4.1.1 <busy@example.com> too many recent messages"},
		"tonline":    {someone, "250", nobody, "550 5.1.1 user unknown", full, "552 5.2.2 Over STORAGE quota"},
		"fastmail":   {someone, "250", nobody, "550 5.1.1"},
		"protonmail": {someone, "250", nobody, "550 5.1.1 <nobody@example.com>: Recipient address rejected: Address does not exist"},
		"amazon_ses": {someone, "250", nobody, "550 5.1.1 Requested action not taken: mailbox unavailable"},
		"zerospam":   {someone, "450 4.2.0 <anna@example.com>: Recipient address rejected: example.com greylisted for 60 seconds by ZEROSPAM", nobody, "554 5.7.1 <nobody@example.com>: Recipient address rejected: Not in recipient list"},
		"postfix":    {someone, "450 4.7.1", nobody, "550 5.1.1"},
		"exim":       {someone, "250 Accepted", nobody, "550 Unknown user"},
		"exchange":   late("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient nobody@example.com not found"),
		"opensmtpd":  {someone, "451 Temporary failure", nobody, "451 Temporary failure"},
		mxsim.Harvested: {
			someone, "250", nobody, "550 5.1.1", nobody, "550 5.1.1", nobody, "550 5.1.1", nobody, "550 5.1.1",
			nobody, "550 5.1.1", nobody, "550 5.1.1", nobody, "554 5.7.1 mx1.example-com.test You have been blocked",
			someone, "554 5.7.1", "RSET", "554 5.7.1", "QUIT", "221", "", "",
		},
	}
	for _, p := range mxsim.Providers() {
		dialog := cases[p.Name]
		if dialog == nil {
			t.Errorf("%s is not tested", p.Name)
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := playing(t, p.Name, "example.com", mxsim.Plain)
				play(hello(t, w), dialog)
			})
		})
	}
}

// TestProviderProfiles: the profiles recognise those who are played, by MX name or by banner.
func TestProviderProfiles(t *testing.T) {
	table, err := provider.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mxsim.Providers() {
		profile, known := table.Get(p.Name)
		if !known && p.Name != mxsim.Harvested {
			t.Errorf("%s: no profile", p.Name)
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			w := playing(t, p.Name, "example.com", mxsim.Plain)
			var names []string
			for _, h := range w.Sites()[0].Hosts {
				names = append(names, h.Name)
			}
			found := table.Find("example.com", names).Name
			if want := p.Name; known && !profile.Software && found != want || known && profile.Software && found != provider.Generic {
				t.Errorf("%s: MX %q is %s", p.Name, names, found)
			}
			if known && profile.AcceptAll && p.Tells != mxsim.AfterDot {
				t.Errorf("%s: the profile says that it accepts all, here it does not", p.Name)
			}
		})
		if !known || len(profile.Banner) == 0 || p.Name == "outlook" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			w := playing(t, p.Name, "example.com", mxsim.HiddenNames)
			if name := w.Sites()[0].Hosts[0].Name; name != "mx1.example.com" {
				t.Errorf("%s: hidden as %s", p.Name, name)
			}
			banner := connect(t, w.DialContext, address(w, 0)).want("connect", "220")
			want := p.Name
			if p.Name == "exchangeonline" { // its host name was the only difference
				want = "exchange"
			}
			if found, ok := table.ByBanner(banner); !ok || found.Name != want {
				t.Errorf("%s: banner %q is %v", p.Name, banner, found)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			w := playing(t, p.Name, "example.com", mxsim.HiddenAll)
			banner := connect(t, w.DialContext, address(w, 0)).want("connect", "220")
			if found, ok := table.ByBanner(banner); ok {
				t.Errorf("%s: banner %q is %v all the same", p.Name, banner, found)
			}
		})
	}
}

// TestGreylistersPass: who comes back is answered by the truth.
func TestGreylistersPass(t *testing.T) {
	for name, wait := range map[string]time.Duration{
		"mimecast": time.Minute, "proofpoint": 30 * time.Second, "barracuda": 5 * time.Minute,
		"zerospam": time.Minute, "postfix": 5 * time.Minute, "opensmtpd": 25 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := playing(t, name, "example.com", mxsim.Plain)
			p := hello(t, w)
			p.write("RCPT TO:<anna@example.com>\r\n")
			if got := p.reply(); got[0] != '4' {
				t.Errorf("%s: %q at first", name, got)
			}
			time.Sleep(wait - time.Second)
			p = hello(t, w)
			p.write("RCPT TO:<anna@example.com>\r\n")
			if got := p.reply(); got[0] != '4' {
				t.Errorf("%s: %q too early", name, got)
			}
			time.Sleep(time.Second)
			hello(t, w).say("RCPT TO:<anna@example.com>", "250")
		})
	}
}

// TestSharedHosts: two customers of one provider have their own mailboxes and one memory.
func TestSharedHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		google, _ := mxsim.ProviderNamed("google")
		one := google.Site("gmail.com", mxsim.Plain, map[string]mxsim.Mailbox{"anna": mxsim.Active})
		two := google.Site("example.com", mxsim.Plain, map[string]mxsim.Mailbox{"bela": mxsim.Active}, one.Hosts...)
		two.Behaviours = []mxsim.Behaviour{mxsim.CatchAll()}
		guard := &mxsim.Guard{Count: 2}
		one.Hosts[0].Behaviours = append(one.Hosts[0].Behaviours, guard.Behaviour())
		w.Add(one, two)
		p := hello(t, w)
		play(p, []string{
			"RCPT TO:<anna@gmail.com>", "250", "RCPT TO:<bela@gmail.com>", "550", "RCPT TO:<bela@example.com>", "250",
			"RCPT TO:<anna@example.com>", "250 2.1.5 Ok", "RCPT TO:<x@example.net>", "554 5.7.1",
		})
		if truth := w.Truth("bela@gmail.com"); !truth.Never || !truth.Provable || truth.Exists {
			t.Errorf("truth %+v", truth)
		}
		if truth := w.Truth("bela@example.com"); !truth.Receives || !truth.Exists {
			t.Errorf("truth %+v", truth)
		}
		if clients, _ := guard.Blocked(); clients != 1 { // bela, anna and x are three unknown ones
			t.Errorf("%d clients blocked", clients)
		}
	})
}

// TestErrorDelay: the reply to a client that made enough mistakes takes its time.
func TestErrorDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple(mxsim.ErrorDelay(2, time.Second)))
		p := hello(t, w)
		begin := time.Now()
		for range 4 { // the third and fourth wait
			p.say("RCPT TO:<nobody@example.com>", "550")
		}
		p.say("QUIT", "221")
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("four refusals took %v", took)
		}
	})
}

func TestHabits(t *testing.T) {
	const mail, rset = "MAIL FROM:<s@example.net>", "RSET"
	const anna, nobody = "RCPT TO:<anna@example.com>", "RCPT TO:<nobody@example.com>"
	wave := new(mxsim.Wave)
	cases := []struct {
		name   string
		behave []mxsim.Behaviour
		dialog []string
	}{
		{"limit of a transaction", []mxsim.Behaviour{mxsim.TransactionLimit(1, "452 4.5.3 too many")}, []string{
			mail, "250", anna, "250", anna, "452 4.5.3", rset, "250", mail, "250", anna, "250",
		}},
		{"rate limit, then block", []mxsim.Behaviour{mxsim.RateLimit{
			Stage: mxsim.Mail, Count: 1, Per: time.Minute, Text: "451 4.7.650 slower", After: 2, Block: "550 5.7.1 (S3150)",
		}.Behaviour()}, []string{
			mail, "250", rset, "250", mail, "451 4.7.650", "SLEEP 60s", "", mail, "250", rset, "250",
			mail, "451 4.7.650", mail, "550 5.7.1", "SLEEP 1h", "", mail, "550 5.7.1",
		}},
		{"guard of a session", []mxsim.Behaviour{(&mxsim.Guard{Session: 1}).Behaviour()}, []string{
			mail, "250", nobody, "550 5.1.1", anna, "250", nobody, "554 5.7.1", anna, "554 5.7.1", "CONNECT", "554 5.7.1",
		}},
		{"guard by time", []mxsim.Behaviour{(&mxsim.Guard{Count: 1, Per: time.Minute, Text: "421 4.7.0 go"}).Behaviour()}, []string{
			mail, "250", nobody, "550 5.1.1", "SLEEP 60s", "", nobody, "550 5.1.1", nobody, "421 4.7.0", "CONNECT", "421 4.7.0",
		}},
		{"verification in progress", []mxsim.Behaviour{mxsim.VerifyInProgress(time.Minute)}, []string{
			mail, "250", nobody, "421 4.1.1", "SLEEP 60s", "", "CONNECT", "220", mail, "250", nobody, "550 5.1.1", anna, "421 4.1.1",
		}},
		{"hint of a greylister", []mxsim.Behaviour{
			mxsim.GreylistSaying(5*time.Minute, true, "451 4.7.1 Greylisting in action, please come back in {wait} ({seconds}, {minutes})"),
		}, []string{
			mail, "250", nobody, "451 4.7.1 Greylisting in action, please come back in 00:05:00 (300, 5)", "SLEEP 48s", "",
			nobody, "451 4.7.1 Greylisting in action, please come back in 00:04:12 (252, 5)", "SLEEP 252s", "", nobody, "550 5.1.1",
		}},
		{"one HELO name", []mxsim.Behaviour{mxsim.OneHelo("450 no")}, []string{
			mail, "250", rset, "250", "EHLO other.example.net", "250", mail, "450 no", "EHLO CLIENT.example.net", "250", mail, "250",
		}},
		{"wave of false refusals", []mxsim.Behaviour{wave.Behaviour()}, []string{
			mail, "250", anna, "250", "WAVE", "", anna, "550-5.1.1 The email account", "CALM", "", anna, "250",
		}},
		{"421 after some recipients", []mxsim.Behaviour{mxsim.RcptLimit(2, "421 4.7.0 {host} enough")}, []string{
			mail, "250", anna, "250", rset, "250", mail, "250", anna, "250", anna, "421 4.7.0 mx.example.com enough", "", "",
		}},
		{"listed at the banner", []mxsim.Behaviour{mxsim.Refuse(mxsim.Connect, mxsim.GMXListed)}, []string{
			"CONNECT", "554-gmx.net (mxgmx014) Nemesis ESMTP Service not available",
		}},
		{"policy in the words of an unknown user", []mxsim.Behaviour{mxsim.Refuse(mxsim.Rcpt, mxsim.GMXPolicy)}, []string{
			mail, "250", anna, "550-Requested action not taken: mailbox unavailable\n550-Reject due to policy restrictions.\n550 For",
		}},
		{"our address in the words of a refused recipient", []mxsim.Behaviour{mxsim.Refuse(mxsim.Rcpt, mxsim.ERSDUL)}, []string{
			mail, "250", anna, "550 5.7.1 <anna@example.com>: Recipient address rejected: Mail from <5.255.255.1> was refused due to the sender IP found in ERS-DUL",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mxsim.New(mxsim.Config{})
				defer w.Close()
				w.Add(simple(c.behave...))
				p := connect(t, w.DialContext, address(w, 0))
				if c.dialog[0] != "CONNECT" {
					p.want("connect", "220")
					p.say("EHLO client.example.net", "250")
				}
				for i := 0; i < len(c.dialog); i += 2 {
					line, want := c.dialog[i], c.dialog[i+1]
					switch verb, arg, _ := strings.Cut(line, " "); verb {
					case "SLEEP":
						d, err := time.ParseDuration(arg)
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(d)
					case "CONNECT":
						p = connect(t, w.DialContext, address(w, 0))
						p.want("connect", want)
					case "WAVE":
						wave.Start()
					case "CALM":
						wave.Stop()
					default:
						play(p, c.dialog[i:i+2])
					}
				}
			})
		})
	}
}
