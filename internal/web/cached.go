package web

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// LookUp asks what is remembered: of an address and its domain, or of a domain.
type LookUp struct {
	Address string `json:"address,omitempty"`
	Domain  string `json:"domain,omitempty"`
}

// LookedUp is what is remembered.
type LookedUp struct {
	Address string          `json:"address,omitempty"`
	Mailbox *CachedMailbox  `json:"mailbox,omitempty"` // missing: nothing is known
	Domain  CachedDomain    `json:"domain"`
	Arrived *CachedDelivery `json:"delivery,omitempty"` // missing: none was seen
}

// CachedDelivery tells when mail for an address was last seen to arrive.
type CachedDelivery struct {
	Time time.Time `json:"time"`
}

// CachedMailbox is a remembered verdict.
type CachedMailbox struct {
	Verdict        string    `json:"verdict"`
	Reason         string    `json:"reason"`
	Confidence     float64   `json:"confidence"`
	Deliverability float64   `json:"deliverability"`
	Provider       string    `json:"provider,omitempty"`
	MX             string    `json:"mx,omitempty"`
	Stage          string    `json:"stage,omitempty"`
	Label          string    `json:"label,omitempty"`
	Reply          string    `json:"reply,omitempty"` // the mail server's, without the address
	CatchAll       bool      `json:"catch_all"`
	Tier           string    `json:"tier"` // "memory", or "file" if it is only there
	Age            int64     `json:"age_s"`
	Stored         time.Time `json:"stored"`
	Checked        time.Time `json:"checked,omitzero"` // when its server, or DNS, was asked
	Refresh        time.Time `json:"refresh"`          // from then on it is asked again
	Expires        time.Time `json:"expires"`
}

// CachedDomain is what is remembered of a domain.
type CachedDomain struct {
	Domain    string       `json:"domain"`
	Known     bool         `json:"known"` // there are Facts
	Provider  string       `json:"provider,omitempty"`
	MX        []MailHost   `json:"mx"`              // by DNS, now; empty where nobody is asked
	DNS       string       `json:"dns,omitempty"`   // what DNS says where there is no mail host
	Mailboxes int          `json:"mailboxes"`       // verdicts about its mailboxes in the file
	Facts     *DomainFacts `json:"facts,omitempty"` // missing: nothing is known
}

// MailHost is one of a domain's mail servers.
type MailHost struct {
	Name       string `json:"name"`
	Preference int    `json:"preference"`
}

// DomainFacts is how a domain behaves: see verify.DomainReport.
type DomainFacts struct {
	AcceptsAll float64   `json:"accepts_all"` // the probability that it accepts every address
	Accepted   int       `json:"accepted"`
	Tries      int       `json:"tries"`
	Invented   int       `json:"invented"`
	Late       int       `json:"late"`
	Arrived    int       `json:"arrived"`
	Refused    time.Time `json:"refused,omitzero"`
	Tested     time.Time `json:"tested,omitzero"`
}

// CacheCounts is what the cache holds, and how often it was of use since the start.
type CacheCounts struct {
	Memory CacheMemory `json:"memory"`
	File   *CacheFile  `json:"file,omitempty"` // missing: there is none
	// Hits are recipients whose verdict was known, by where it was; Misses those where DNS or a mail
	// server had to be asked.
	Hits   CacheHits `json:"hits"`
	Misses uint64    `json:"misses"`
}

// CacheMemory is the part in memory. Expired entries that were not swept yet count.
type CacheMemory struct {
	Deliverable   int    `json:"deliverable"` // risky ones among them
	Undeliverable int    `json:"undeliverable"`
	Unknown       int    `json:"unknown"`
	Domains       int    `json:"domains"`
	Deliveries    int    `json:"deliveries"` // addresses that mail was seen to arrive at
	Limit         int64  `json:"limit"`      // octets, verify.cache.memory
	Evicted       uint64 `json:"evicted"`    // verdicts that had no room any more
}

// CacheFile is the part on disk.
type CacheFile struct {
	Path     string           `json:"path"`
	OK       bool             `json:"ok"`
	Detail   string           `json:"detail"`
	SecretID string           `json:"secret_id"`
	Octets   int64            `json:"octets"` // of the file
	Used     int64            `json:"used"`   // of these
	Limit    int64            `json:"limit"`  // verify.cache.max_size
	Dropped  int64            `json:"dropped"`
	Entries  map[string]int64 `json:"entries"` // by bucket
}

// CacheHits are those of each tier.
type CacheHits struct {
	Memory uint64 `json:"memory"`
	File   uint64 `json:"file"`
}

func (c *call) lookUp() error {
	var asked LookUp
	if err := c.decode(&asked); err != nil {
		return err
	}
	var answer LookedUp
	var domain string
	switch {
	case asked.Address != "" && asked.Domain != "":
		return badField("domain", "there is an address, too", "leave one of them out")
	case asked.Address != "":
		a, err := esmtp.ParseAddress(asked.Address, true)
		if err != nil || a.ASCIIDomain() == "" {
			return badField("address", shown(asked.Address)+" is no address", "write bob@example.com")
		}
		domain = a.ASCIIDomain()
		if err := c.lookUpMailbox(a, &answer); err != nil {
			return err
		}
	default:
		a, err := esmtp.ParseAddress("x@"+asked.Domain, true)
		if err != nil {
			return badField("domain", shown(asked.Domain)+" is no domain", "write example.com")
		}
		domain = a.ASCIIDomain()
	}
	look := c.parts.Memory.LookDomain
	if look == nil {
		return missing("cache", "see verify.cache in the configuration")
	}
	// DNS may be slow; what is remembered is told nevertheless.
	ctx, cancel := context.WithTimeout(c.r.Context(), requestTime/2)
	defer cancel()
	found := look(ctx, domain)
	answer.Domain = cachedDomain(domain, &found)
	return c.reply(answer)
}

func (c *call) lookUpMailbox(a esmtp.Address, answer *LookedUp) error {
	look := c.parts.Memory.Look
	if look == nil {
		return missing("cache", "see verify.cache in the configuration")
	}
	answer.Address = a.String()
	found, ok := look(a)
	if ok {
		answer.Mailbox = cachedMailbox(&found, time.Now())
	}
	if !found.Delivered.IsZero() {
		answer.Arrived = &CachedDelivery{found.Delivered.UTC()}
	}
	return nil
}

func cachedMailbox(m *verify.Remembered, now time.Time) *CachedMailbox {
	r, tier := &m.Result, "memory"
	if m.InFile {
		tier = "file"
	}
	c := &CachedMailbox{
		Verdict: string(r.Verdict), Reason: string(r.Reason), Confidence: r.Confidence,
		Deliverability: r.Deliverability, Provider: r.Provider, MX: r.MX, Stage: string(r.Stage),
		Label: string(r.Label), CatchAll: r.CatchAll, Tier: tier,
		Age: int64(math.Max(0, now.Sub(m.Stored).Seconds())), Stored: m.Stored.UTC(),
		Refresh: m.Refresh.UTC(), Expires: m.Expire.UTC(),
	}
	if !r.Reply.IsZero() {
		c.Reply = r.Reply.String()
	}
	if !r.Checked.IsZero() {
		c.Checked = r.Checked.UTC()
	}
	return c
}

func cachedDomain(domain string, d *verify.RememberedDomain) CachedDomain {
	c := CachedDomain{
		Domain: domain, Known: d.Report != nil, Provider: d.Provider, Mailboxes: d.Mailboxes,
		MX: []MailHost{},
	}
	for _, host := range d.MX.Hosts {
		c.MX = append(c.MX, MailHost{host.Name, int(host.Pref)})
	}
	if d.MX.Domain != "" && len(d.MX.Hosts) == 0 {
		c.DNS = d.MX.Kind.String()
	}
	if r := d.Report; r != nil {
		c.Facts = &DomainFacts{
			AcceptsAll: thousandths(r.AcceptsAll), Accepted: r.Accepted, Tries: r.Tries,
			Invented: r.Invented, Late: r.Late, Arrived: r.Arrived, Refused: r.Refused, Tested: r.Tested,
		}
	}
	return c
}

func (c *call) cache() error {
	if c.parts.Memory.Counts == nil || c.parts.Metrics == nil {
		return problem(http.StatusServiceUnavailable, "there is no gate that runs",
			"start it: systemctl start rcptgate; until then `rcptgate cache stats` reads the file")
	}
	answer := c.parts.Memory.Counts()
	sums := c.parts.Metrics.totals()
	answer.Hits.Memory = uint64(max(0, sums.hits-float64(answer.Hits.File)))
	answer.Misses = uint64(sums.misses)
	return c.reply(answer)
}
