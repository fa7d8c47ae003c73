package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// Greylists of the campaign wait so long, instead of minutes: the relay's retries come as fast.
const campaignGreylist = 8 * time.Second

// campaignSeed makes every run the same.
const campaignSeed = 20260101

// campaignWorld is the simulated internet of the campaign: 44 domains, with the truth about their
// mailboxes.
type campaignWorld struct {
	domains []campaignDomain
	google  mxsim.Wave // refuses everybody at the domains of Google while it lasts
}

// campaignDomain is one domain and its people.
type campaignDomain struct {
	name string
	site *mxsim.Site
	dead int // of a hundred recipients of a mailing
}

// newCampaignWorld has the providers show as much of themselves as the disguise says.
func newCampaignWorld(as mxsim.Disguise) *campaignWorld {
	w := &campaignWorld{}
	for _, p := range mxsim.Providers() {
		w.provider(p, as)
	}
	w.others()
	return w
}

func (w *campaignWorld) add(name string, dead int, site *mxsim.Site) {
	w.domains = append(w.domains, campaignDomain{name: name, site: site, dead: dead})
}

// provider adds the domains of one provider, with customers where it has many.
func (w *campaignWorld) provider(p mxsim.Provider, as mxsim.Disguise) {
	switch p.Name {
	case "postfix":
		p.Habits = campaignHabits(mxsim.RefusalLimit(20), mxsim.Greylist(campaignGreylist))
	case "opensmtpd", "barracuda", "mimecast", "zerospam":
		all := p.Name != "zerospam"
		p.Habits = campaignHabits(mxsim.GreylistSaying(campaignGreylist, all, campaignLater(p.Name)))
		if p.Name == "barracuda" {
			p.Habits = campaignHabits(mxsim.GreylistSaying(campaignGreylist, all, campaignLater(p.Name)),
				mxsim.TellAfterData())
		}
	case "qq", "netease":
		// Their limits of a minute are for less mail than this.
		p.Habits = campaignHabits()
	case "proofpoint":
		p.Habits = campaignHabits(mxsim.VerifyInProgress(campaignGreylist))
	case "google":
		habits := p.Habits
		p.Habits = func() []mxsim.Behaviour {
			return append([]mxsim.Behaviour{w.google.Behaviour()}, habits()...)
		}
	}
	dead := 8
	switch p.Name {
	case mxsim.Harvested, "rackspace", "ovh":
		dead = 25 // an old list
	case "yahoojp", "zerospam", "exchange":
		return // their behaviour is there already
	}
	domain := p.Name
	first := p.Site(campaignName(domain, 0), as, nil)
	w.add(campaignName(domain, 0), dead, first)
	if p.Name == "google" || p.Name == "exchangeonline" {
		for i := 1; i < 3; i++ {
			name := campaignName(domain, i)
			w.add(name, dead, p.Site(name, as, nil, first.Hosts...))
		}
	}
}

func campaignHabits(b ...mxsim.Behaviour) func() []mxsim.Behaviour {
	return func() []mxsim.Behaviour { return b }
}

func campaignLater(provider string) string {
	switch provider {
	case "mimecast":
		return "451 Internal resources are temporarily unavailable - " +
			"https://community.mimecast.com/docs/DOC-1369#451 [abcDEF]"
	case "barracuda":
		return "451 4.7.1 <{rcpt}>: Recipient address rejected: Greylisted for {seconds} seconds"
	case "zerospam":
		return "450 4.2.0 <{rcpt}>: Recipient address rejected: {domain} greylisted for {seconds} seconds"
	}
	return "451 Temporary failure, please try again later."
}

func campaignName(provider string, i int) string {
	label := []byte(provider)
	for at := range label {
		if label[at] == '_' {
			label[at] = '-'
		}
	}
	if i == 0 {
		return string(label) + ".campaign.test"
	}
	return fmt.Sprintf("%s%d.campaign.test", label, i)
}

// others adds the sites that are nobody's in particular.
func (w *campaignWorld) others() {
	plain := func(name string, dead int, b ...mxsim.Behaviour) *mxsim.Site {
		domain := name + ".campaign.test"
		site := demoSite(domain, name)
		site.Behaviours, site.Proves = b, true
		w.add(domain, dead, site)
		return site
	}
	plain("selective", 8)
	plain("old-list", 20)
	plain("catch-all", 0, mxsim.CatchAll()).Proves = false
	plain("blocks-at-rcpt", 8, mxsim.Refuse(mxsim.Rcpt,
		"550 5.7.1 Service unavailable; Client host [{peer}] blocked using bl.example.net")).Proves = false
	plain("picky", 8, mxsim.RefuseSender("553 5.1.8 <{from}>: Sender address rejected",
		campaignSenderDomain)).Proves = false
	plain("tarpit", 8, mxsim.Tarpit(mxsim.Rcpt, 12*time.Second)).Proves = false
	plain("tls-garbage", 8).Hosts[0].TLS = mxsim.TLSGarbage
	dead := plain("dead-first-mx", 8)
	dead.Hosts[0].State = mxsim.Down
	dead.Hosts = append(dead.Hosts, &mxsim.Host{Name: "mx2.dead-first-mx.campaign.test", Pref: 20})
	w.add("null-mx.campaign.test", 100, &mxsim.Site{
		Name: "a null MX", Domains: []string{"null-mx.campaign.test"}, DNS: mxsim.DNSConfig{NullMX: true},
	})
	w.add("gone.campaign.test", 100, nil) // NXDOMAIN
}

// campaignHopeless tells of a domain whose servers take no mail from us, whoever it is for.
func campaignHopeless(domain string) bool {
	return strings.HasPrefix(domain, "blocks-at-rcpt.") || strings.HasPrefix(domain, "picky.")
}

// sites are what the World is made of.
func (w *campaignWorld) sites() []*mxsim.Site {
	var sites []*mxsim.Site
	for _, d := range w.domains {
		if d.site == nil {
			continue
		}
		for _, h := range d.site.Hosts {
			h.Latency, h.DiscardBodies = demoLatency, true
		}
		sites = append(sites, d.site)
	}
	return sites
}

// populate makes the people of the domains and the two mailings, each of so many recipients. Six of
// ten recipients of the second were in the first, the dead among them too: nobody cleans the list.
func (w *campaignWorld) populate(size int) (mailings [2][]string) {
	//nolint:gosec // repeatable, not secret
	dice := rand.New(rand.NewPCG(campaignSeed, campaignSeed))
	each := size / len(w.domains)
	next := 0
	for _, d := range w.domains {
		n := each
		switch {
		case next < size%len(w.domains):
			n++
			next++
		case d.dead == 100:
			n = each
		}
		if d.dead == 100 {
			n = max(1, each/5)
		}
		first := w.people(d, n, 0)
		again := first[:len(first)*6/10]
		mailings[0] = append(mailings[0], first...)
		mailings[1] = append(append(mailings[1], again...), w.people(d, n-len(again), n)...)
	}
	for i := range mailings {
		for len(mailings[i]) < size { // where there are few, the selective site has more
			at := len(mailings[i])
			mailings[i] = append(mailings[i], w.person(w.domains[0], 10_000+i*size+at, true))
		}
		dice.Shuffle(len(mailings[i]), func(a, b int) {
			mailings[i][a], mailings[i][b] = mailings[i][b], mailings[i][a]
		})
	}
	return mailings
}

// people makes n recipients of a domain, the dead spread evenly among them.
func (w *campaignWorld) people(d campaignDomain, n, from int) []string {
	people := make([]string, n)
	for i := range people {
		at := from + i
		people[i] = w.person(d, at, at*d.dead/100 == (at+1)*d.dead/100)
	}
	return people
}

func (w *campaignWorld) person(d campaignDomain, number int, alive bool) string {
	local := fmt.Sprintf("person%d", number)
	if d.site != nil && alive {
		d.site.Set(local, mxsim.Active)
	}
	return local + "@" + d.name
}
