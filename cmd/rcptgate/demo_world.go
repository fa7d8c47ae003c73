package main

import (
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	demoGreylist = 5 * time.Minute // as Postgrey
	demoTarpit   = time.Minute     // far beyond every budget of the demo
	demoLatency  = 20 * time.Millisecond
)

// demoMail is one message of the campaign.
type demoMail struct {
	title  string
	sender string // "" is the null sender <>
	rcpts  []string
}

const demoSender = "news@shop.example.org"

// demoCampaign is what is sent, one message after the other, each with its recipients pipelined.
func demoCampaign() []demoMail {
	return slices.Concat(demoServers(), demoProviders())
}

func demoServers() []demoMail {
	return []demoMail{
		{title: "Servers that say clearly who exists", sender: demoSender, rcpts: []string{
			"anna@postfix.test", "bela@postfix.test", "typo.anna@postfix.test", "left.us@postfix.test",
			"clara@gmail-like.test", "clra@gmail-like.test", "dora@exim-codes.test", "dorra@exim-codes.test",
			"closed@exim-codes.test", "emil@helo-only.test", "emill@helo-only.test",
		}},
		{title: "Domains that take no mail, or none from here", sender: demoSender, rcpts: []string{
			"anybody@null-mx.test", "anybody@no-such-domain.test", "anybody@no-mail-host.test",
			"boss@intern.test", "printer@office.local", "fritz@implicit.test", "frizt@implicit.test",
		}},
		{title: "Servers that leave it open", sender: demoSender, rcpts: []string{
			"gustav@exim.test", "gustaf@exim.test", "hanna@microsoft-like.test", "hannah@microsoft-like.test",
			"ida@yahoo-like.test", "anything@catch-all.test", "full@postfix.test",
			"jörg@no-utf8.test",
		}},
		{title: "Servers that refuse us, not the mailbox", sender: demoSender, rcpts: []string{
			"karl@blocked.test", "nobody@blocked.test", "lena@blocked-banner.test", "nobody@blocked-mail.test",
			"moritz@picky.test", "nina@rate-limit.test", "otto@rate-limit.test", "paula@rate-limit.test",
		}},
		{title: "Servers in trouble", sender: demoSender, rcpts: []string{
			"rosa@backup-mx.test", "rossa@backup-mx.test", "stefan@tarpit.test", "theo@all-down.test",
			"uwe@black-hole.test", "vera@dns-broken.test", "wanda@tls-broken.test", "wnda@tls-broken.test",
			"xaver@hostile.test", "yvonne@busy.test",
		}},
		{title: "Servers that want us to come again", sender: demoSender, rcpts: []string{
			"zoe@greylist.test", "nobody@greylist.test", "zoe@greylist-all.test", "nobody@greylist-all.test",
		}},
		{title: "Some of them once more", sender: demoSender, rcpts: []string{
			"zoe@greylist.test", "nobody@greylist.test", "anna@postfix.test", "typo.anna@postfix.test",
			"anybody@no-such-domain.test",
		}},
		{title: "A bounce (null sender): from memory only", rcpts: []string{
			"anna@postfix.test", "typo.anna@postfix.test", "never.asked@catch-all.test",
		}},
	}
}

// demoInternal are the domains that the demo's relay delivers itself.
func demoInternal() []string { return []string{"intern.test"} }

// demoSites is the simulated internet, with the truth about its mailboxes.
func demoSites() []*mxsim.Site {
	sites := slices.Concat(demoClearSites(), demoOpenSites(), demoTroubleSites(), demoProviderSites())
	for _, s := range sites {
		for _, h := range s.Hosts {
			h.Latency = demoLatency
		}
	}
	return sites
}

// demoSite is a site with one host; mailboxes that are named exist.
func demoSite(domain, name string, mailboxes ...string) *mxsim.Site {
	truth := make(map[string]mxsim.Mailbox, len(mailboxes))
	for _, m := range mailboxes {
		truth[m] = mxsim.Active
	}
	return &mxsim.Site{
		Name: name, Domains: []string{domain}, Mailboxes: truth,
		Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
	}
}

func demoClearSites() []*mxsim.Site {
	postfix := demoSite("postfix.test", "Postfix", "anna", "bela")
	postfix.Mailboxes["full"] = mxsim.Full
	postfix.Mailboxes["left.us"] = mxsim.Disabled
	postfix.Hosts[0].TLS = mxsim.TLS
	gmail := demoSite("gmail-like.test", "Gmail's wording", "clara")
	gmail.Wording = mxsim.Gmail()
	gmail.Hosts[0].TLS = mxsim.TLS
	codes := demoSite("exim-codes.test", "Exim with enhanced codes", "dora")
	codes.Mailboxes["closed"] = mxsim.Disabled
	codes.Wording = mxsim.EximEnhanced()
	old := demoSite("helo-only.test", "a server without ESMTP", "emil")
	old.Hosts[0].HeloOnly = true
	null := &mxsim.Site{
		Name: "a domain with a null MX", Domains: []string{"null-mx.test"},
		DNS: mxsim.DNSConfig{NullMX: true},
	}
	empty := &mxsim.Site{Name: "a domain without mail host", Domains: []string{"no-mail-host.test"}}
	implicit := demoSite("implicit.test", "a domain without MX records", "fritz")
	implicit.DNS.NoMX = true
	sites := []*mxsim.Site{postfix, gmail, codes, old, null, empty, implicit}
	for _, s := range []*mxsim.Site{postfix, gmail, codes, old, implicit} {
		s.Proves = true
	}
	return sites
}

func demoOpenSites() []*mxsim.Site {
	exim := demoSite("exim.test", "Exim without enhanced codes", "gustav")
	exim.Wording = mxsim.Exim()
	microsoft := demoSite("microsoft-like.test", "Microsoft 365's wording", "hanna")
	microsoft.Wording = mxsim.Microsoft365()
	yahoo := demoSite("yahoo-like.test", "accepts all, refuses after the message", "ida")
	yahoo.Behaviours = []mxsim.Behaviour{
		mxsim.AcceptThenRefuse("552 1 Requested mail action aborted, mailbox not found"),
	}
	all := demoSite("catch-all.test", "takes mail for everybody", "anything", "never.asked")
	all.Behaviours = []mxsim.Behaviour{mxsim.CatchAll()}
	ascii := demoSite("no-utf8.test", "a server without SMTPUTF8", "jörg")
	ascii.Hosts[0].Keywords = mxsim.Without("SMTPUTF8")
	first := demoSite("greylist.test", "Postgrey behind Postfix", "zoe")
	first.Behaviours = []mxsim.Behaviour{mxsim.Greylist(demoGreylist)}
	first.Proves = true
	every := demoSite("greylist-all.test", "greylisting of everybody", "zoe")
	every.Behaviours = []mxsim.Behaviour{mxsim.GreylistAll(demoGreylist)}
	return []*mxsim.Site{exim, microsoft, yahoo, all, ascii, first, every}
}

func demoTroubleSites() []*mxsim.Site {
	behaving := func(domain, name string, b mxsim.Behaviour, mailboxes ...string) *mxsim.Site {
		s := demoSite(domain, name, mailboxes...)
		s.Behaviours = []mxsim.Behaviour{b}
		return s
	}
	state := func(domain, name string, state mxsim.HostState, mailboxes ...string) *mxsim.Site {
		s := demoSite(domain, name, mailboxes...)
		s.Hosts[0].State = state
		return s
	}
	backup := state("backup-mx.test", "its first MX is down", mxsim.Down, "rosa")
	backup.Hosts = append(backup.Hosts, &mxsim.Host{Name: "mx2.backup-mx.test", Pref: 20})
	backup.Proves = true
	broken := demoSite("dns-broken.test", "its DNS servers fail", "vera")
	broken.DNS.Mode = mxsim.DNSServFail
	noTLS := demoSite("tls-broken.test", "STARTTLS breaks the connection", "wanda")
	noTLS.Hosts[0].TLS = mxsim.TLSGarbage
	noTLS.Proves = true
	const listed = "550 5.7.1 Service unavailable; Client host [{peer}] blocked using bl.example.net"
	return []*mxsim.Site{
		behaving("blocked.test", "blocks us at RCPT", mxsim.Refuse(mxsim.Rcpt, listed), "karl"),
		behaving("blocked-mail.test", "blocks us at MAIL", mxsim.Refuse(mxsim.Mail, listed)),
		behaving("blocked-banner.test", "blocks us in its banner",
			mxsim.Refuse(mxsim.Connect, "554 5.7.1 {host} no SMTP service for [{peer}] here"), "lena"),
		behaving("picky.test", "refuses the sender's domain",
			mxsim.RefuseSender("553 5.1.8 <{from}>: Sender address rejected", "shop.example.org"),
			"moritz"),
		behaving("rate-limit.test", "takes one recipient a connection",
			mxsim.RcptLimit(1, "452 4.5.3 Too many recipients"), "nina", "otto", "paula"),
		backup,
		behaving("tarpit.test", "answers RCPT after a minute",
			mxsim.Tarpit(mxsim.Rcpt, demoTarpit), "stefan"),
		state("all-down.test", "its only MX is down", mxsim.Down, "theo"),
		state("black-hole.test", "its MX never answers", mxsim.BlackHole, "uwe"),
		broken,
		noTLS,
		behaving("hostile.test", "sends escape sequences", mxsim.ControlOctets(mxsim.Rcpt), "xaver"),
		behaving("busy.test", "ends the connection at RCPT",
			mxsim.Refuse(mxsim.Rcpt, "421 4.3.2 {host} Service shutting down"), "yvonne"),
	}
}
