package mxsim

import (
	"fmt"
	"strings"
	"time"
)

// Provider plays one real provider: the names of its MX hosts, its words and its habits. Make sites
// of it with Site.
type Provider struct {
	Name  string // as verify/provider calls it
	Title string // for people
	// MX are the names of its hosts, by preference; {domain} is the recipient domain with "-" for
	// ".", as Microsoft writes it.
	MX      []string
	Wording func() *Wording
	// Habits returns its behaviours, with a memory of their own.
	Habits func() []Behaviour
	// Tells is what asking can find out of unknown mailboxes.
	Tells Tells
	TLS   TLSMode
}

// Tells is when a server says that a mailbox does not exist.
type Tells int

// The values of Tells.
const (
	AtRcpt   Tells = iota // at RCPT, in words or codes that mean just that
	AfterDot              // after the message: only deliveries tell
	AtNoTime              // never: the mail is taken
)

// Disguise is how much a provider's site shows of who it is.
type Disguise int

// The disguises.
const (
	Plain       Disguise = iota // real MX names, real banner
	HiddenNames                 // MX names of the customer's domain; the banner tells
	HiddenAll                   // neither names nor banner tell; the replies are as always
)

// Site returns a site of the provider for one domain. Without hosts it has its own; with those of
// another site (Site.Hosts) it shares them and their memory, as customers of one provider do. Then
// the disguise is that of the other.
func (p Provider) Site(domain string, as Disguise, mailboxes map[string]Mailbox, hosts ...*Host) *Site {
	s := &Site{
		Name: p.Title, Domains: []string{domain}, Mailboxes: mailboxes, Hosts: hosts,
		Proves: p.Tells == AtRcpt,
	}
	if len(hosts) > 0 {
		return s
	}
	wording := p.Wording()
	if as == HiddenAll {
		wording.Banner, wording.Hello = "220 {host} ESMTP ready", "250 {host}"
	}
	habits := p.habits()
	for i, name := range p.MX {
		name = strings.ReplaceAll(name, "{domain}", strings.ReplaceAll(domain, ".", "-"))
		if as != Plain {
			name = fmt.Sprintf("mx%d.%s", i+1, domain)
		}
		s.Hosts = append(s.Hosts, &Host{
			Name: name, Pref: uint16(10 * (i + 1)),
			TLS: p.TLS, Wording: wording, Behaviours: habits,
		})
	}
	return s
}

func (p Provider) habits() []Behaviour {
	if p.Habits == nil {
		return nil
	}
	return p.Habits()
}

// ProviderNamed returns the provider of that name.
func ProviderNamed(name string) (Provider, bool) {
	for _, p := range Providers() {
		if p.Name == name {
			return p, true
		}
	}
	return Provider{}, false
}

// Providers returns all that can be played, in the order of the documentation. The limits are lower
// than the real ones, so that a campaign of some thousand recipients would meet them if it were not
// polite.
func Providers() []Provider {
	none := func() []Behaviour { return nil }
	some := func(b ...Behaviour) []Behaviour { return b }
	return []Provider{
		{
			Name: "google", Title: "Gmail and Google Workspace", Wording: Gmail, TLS: TLS,
			MX: []string{"gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"},
			Habits: func() []Behaviour {
				return some(RateLimit{Stage: Mail, Count: 600, Per: time.Minute, Text: googleSlower}.Behaviour())
			},
		},
		{
			Name: "exchangeonline", Title: "Microsoft 365 (Exchange Online)", Wording: Microsoft365, TLS: TLS,
			MX: []string{"{domain}.mail.protection.outlook.com"},
			Habits: func() []Behaviour {
				return some(RateLimit{Stage: Mail, Count: 600, Per: time.Minute, Text: microsoftBusy}.Behaviour())
			},
		},
		{
			Name: "outlook", Title: "Outlook.com", Wording: Outlook, TLS: TLS,
			MX: []string{"{domain}.olc.protection.outlook.com"},
			Habits: func() []Behaviour {
				return some(
					RateLimit{
						Stage: Mail, Count: 120, Per: time.Minute, Text: outlookSlower,
						After: 20, Block: outlookBlocked,
					}.Behaviour(),
					RefuseSender(outlookNoNull, ""), TransactionLimit(1, outlookSecond),
					(&Guard{Count: 60, Per: time.Hour, Text: outlookBlocked}).Behaviour(),
				)
			},
		},
		{
			Name: "yahoo", Title: "Yahoo and AOL", Wording: Yahoo, TLS: TLS, Tells: AfterDot,
			MX: []string{"mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"},
			Habits: func() []Behaviour {
				return some(
					RateLimit{Stage: Mail, Count: 120, Per: time.Minute, Text: yahooSlower}.Behaviour(),
					TellAfterData(),
				)
			},
		},
		{
			Name: "yahoojp", Title: "Yahoo! Japan", Wording: YahooJapan, Tells: AfterDot,
			MX: []string{"mx1.mail.yahoo.co.jp"},
			Habits: func() []Behaviour {
				return some(TellAfterData())
			},
		},
		{
			Name: "apple", Title: "iCloud", Wording: ICloud, TLS: TLS,
			MX: []string{"mx01.mail.icloud.com", "mx02.mail.icloud.com"}, Habits: func() []Behaviour {
				return some(RcptLimit(20, "421 4.7.0 {host} Error: too many recipients in this session"))
			},
		},
		{
			Name: "gmx", Title: "GMX", Wording: GMX, TLS: TLS,
			MX: []string{"mx00.emig.gmx.net", "mx01.emig.gmx.net"}, Habits: func() []Behaviour {
				return some((&Guard{Session: 8, Text: gmxHarvest}).Behaviour(), OneHelo(gmxHelo))
			},
		},
		{
			Name: "webde", Title: "WEB.DE", Wording: WebDE, TLS: TLS,
			MX: []string{"mx-ha02.web.de", "mx-ha03.web.de"}, Habits: func() []Behaviour {
				return some((&Guard{Session: 8, Text: gmxHarvest}).Behaviour(), OneHelo(gmxHelo))
			},
		},
		{
			Name: "mailru", Title: "Mail.ru", Wording: MailRu, TLS: TLS, Tells: AfterDot,
			MX: []string{"mxs.mail.ru"}, Habits: func() []Behaviour {
				return some(TellAfterData())
			},
		},
		{
			Name: "yandex", Title: "Yandex", Wording: Yandex, TLS: TLS, MX: []string{"mx.yandex.ru"},
			Habits: none,
		},
		{
			Name: "qq", Title: "QQ Mail", Wording: QQ,
			MX: []string{"mx1.qq.com", "mx2.qq.com", "mx3.qq.com"}, Habits: func() []Behaviour {
				return some(RateLimit{Stage: Mail, Count: 25, Per: time.Minute, Text: qqFrequency}.Behaviour())
			},
		},
		{
			Name: "netease", Title: "NetEase", Wording: NetEase,
			MX: []string{"163mx01.mxmail.netease.com", "163mx02.mxmail.netease.com"},
			Habits: func() []Behaviour {
				return some(RateLimit{Stage: Mail, Count: 25, Per: time.Minute, Text: neteaseLimit}.Behaviour())
			},
		},
		{
			Name: "zoho", Title: "Zoho Mail", Wording: Zoho, TLS: TLS, MX: []string{"mx.zoho.com", "mx2.zoho.com"},
			Habits: none,
		},
		{
			Name: "mimecast", Title: "Mimecast", Wording: Mimecast, TLS: TLS,
			MX: []string{"us-smtp-inbound-1.mimecast.com", "us-smtp-inbound-2.mimecast.com"},
			Habits: func() []Behaviour {
				return some(GreylistSaying(time.Minute, true, mimecastLater))
			},
		},
		{
			Name: "proofpoint", Title: "Proofpoint", Wording: Proofpoint, TLS: TLS,
			MX:     []string{"mxa-00123401.gslb.pphosted.com", "mxb-00123401.gslb.pphosted.com"},
			Habits: func() []Behaviour { return some(VerifyInProgress(30 * time.Second)) },
		},
		{
			Name: "proofpoint_essentials", Title: "Proofpoint Essentials", Wording: ProofpointEssentials, TLS: TLS,
			MX: []string{"mx1-us1.ppe-hosted.com", "mx2-us1.ppe-hosted.com"}, Habits: none,
		},
		{
			Name: "barracuda", Title: "Barracuda", Wording: BarracudaLate, TLS: TLS, Tells: AfterDot,
			MX: []string{"d12345a.ess.barracudanetworks.com", "d12345b.ess.barracudanetworks.com"},
			Habits: func() []Behaviour {
				return some(
					GreylistSaying(5*time.Minute, true, barracudaLater),
					TellAfterData(),
				)
			},
		},
		{
			Name: "cisco", Title: "Cisco Secure Email", Wording: Cisco, TLS: TLS,
			MX: []string{"mx1.hc1234-56.iphmx.com", "mx2.hc1234-56.iphmx.com"},
			Habits: func() []Behaviour {
				return some(
					RefusalLimit(10),
					(&Guard{Count: 25, Per: time.Hour, Text: ironportHarv}).Behaviour(),
				)
			},
		},
		{
			Name: "trendmicro", Title: "Trend Micro Email Security", Wording: TrendMicro, TLS: TLS,
			MX: []string{"in.tmes.trendmicro.com"}, Habits: none,
		},
		{
			Name: "rackspace", Title: "Rackspace Email", Wording: Rackspace, TLS: TLS,
			MX: []string{"mx1.emailsrvr.com", "mx2.emailsrvr.com"}, Habits: none,
		},
		{
			Name: "godaddy", Title: "GoDaddy", Wording: GoDaddy, TLS: TLS,
			MX: []string{"smtp.secureserver.net", "mailstore1.secureserver.net"},
			Habits: func() []Behaviour {
				return some(RateLimit{Stage: Rcpt, Count: 150, Per: time.Hour, Text: godaddyLimit}.Behaviour())
			},
		},
		{
			Name: "ovh", Title: "OVHcloud", Wording: OVH, TLS: TLS, MX: []string{"mx1.mail.ovh.net", "mx2.mail.ovh.net"},
			Habits: none,
		},
		{
			Name: "ionos", Title: "IONOS", Wording: IONOS, TLS: TLS,
			MX: []string{"mx00.ionos.de", "mx01.ionos.de"}, Habits: func() []Behaviour {
				return some((&Guard{Session: 8, Text: gmxHarvest}).Behaviour(), OneHelo(gmxHelo))
			},
		},
		{
			Name: "orange", Title: "Orange", Wording: Orange, TLS: TLS,
			MX: []string{"smtp-in.orange.fr"}, Habits: func() []Behaviour {
				return some(
					connLimitSaying(2, orangeFull),
					RcptLimit(100, "421 mwinf5c38 ME Service not available, closing OFR_109 [109]"),
				)
			},
		},
		{
			Name: "comcast", Title: "Comcast", Wording: Comcast, TLS: TLS, MX: []string{"mx1.comcast.net", "mx2.comcast.net"},
			Habits: none,
		},
		{
			Name: "tonline", Title: "T-Online", Wording: TOnline, TLS: TLS,
			MX: []string{"mx00.t-online.de", "mx01.t-online.de"}, Habits: none,
		},
		{
			Name: "fastmail", Title: "Fastmail", Wording: Fastmail, TLS: TLS,
			MX: []string{"in1-smtp.messagingengine.com", "in2-smtp.messagingengine.com"}, Habits: none,
		},
		{
			Name: "protonmail", Title: "Proton Mail", Wording: Proton, TLS: TLS,
			MX: []string{"mail.protonmail.ch", "mailsec.protonmail.ch"}, Habits: none,
		},
		{
			Name: "amazon_ses", Title: "Amazon SES", Wording: AmazonSES, TLS: TLS,
			MX: []string{"inbound-smtp.eu-west-1.amazonaws.com"}, Habits: none,
		},
		{
			Name: "zerospam", Title: "ZEROSPAM", Wording: zerospam, TLS: TLS,
			MX: []string{"mx1.zerospam.ca"}, Habits: func() []Behaviour {
				return some(GreylistSaying(time.Minute, false, zerospamLater))
			},
		},
		{
			Name: "postfix", Title: "Postfix with Postgrey", Wording: Postfix, TLS: TLS,
			MX: []string{"mx.{domain}.test"}, Habits: func() []Behaviour {
				return some(RefusalLimit(20), ErrorDelay(10, time.Second), Greylist(5*time.Minute))
			},
		},
		{Name: "exim", Title: "Exim", Wording: Exim, MX: []string{"mail.{domain}.test"}, Habits: none},
		{
			Name: "exchange", Title: "Exchange Server", Wording: ExchangeServer, TLS: TLS, Tells: AfterDot,
			MX: []string{"exchange.{domain}.test"}, Habits: func() []Behaviour {
				return some(TellAfterData())
			},
		},
		{
			Name: "opensmtpd", Title: "OpenSMTPD behind spamd", Wording: OpenSMTPD,
			MX: []string{"mx.{domain}.test"}, Habits: func() []Behaviour {
				return some(GreylistSaying(25*time.Minute, true, "451 Temporary failure, please try again later."))
			},
		},
		{
			Name: Harvested, Title: "blocks harvesters for good", Wording: Postfix,
			MX: []string{"mx1.{domain}.test", "mx2.{domain}.test"}, Habits: func() []Behaviour {
				return some((&Guard{Session: 6, Count: 12, Per: time.Minute, Text: harvested}).Behaviour())
			},
		},
	}
}

// Harvested is the name of a site, of no provider, that blocks a client for the rest of its life
// after 6 unknown recipients in a session or 12 in a minute.
const Harvested = "harvest_block"

// connLimitSaying is ConnLimit in other words.
func connLimitSaying(n int, text string) Behaviour {
	limit := ConnLimit(n)
	return func(s *Session, e Event) (Answer, bool) {
		_, over := limit(s, e)
		return Say(text), over
	}
}
