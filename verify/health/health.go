package health

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// Severity is how bad a finding is.
type Severity string

// The severities, a closed set.
const (
	Notice   Severity = "notice"   // not known, or not as usual
	Warning  Severity = "warning"  // mail servers refuse or doubt this host because of it
	Critical Severity = "critical" // nothing can be asked at all
)

// Kind is what a finding is about; a bounded set, fit for a metric's label.
type Kind string

// The kinds.
const (
	KindAddress Kind = "address" // which address mail servers see
	KindPTR     Kind = "ptr"     // reverse DNS
	KindHelo    Kind = "helo"    // the EHLO name
	KindDNSBL   Kind = "dnsbl"   // a block list has the address
	KindZone    Kind = "zone"    // a block list that cannot be asked
	KindPort25  Kind = "port25"  // no mail server can be reached
	KindBlocked Kind = "blocked" // a provider refuses this host
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind     Kind
	Severity Severity
	Subject  string // an address, a name, a zone, a provider
	What     string // what is the case, a sentence without its full stop
	Fix      string // what to do
	Since    time.Time
}

// Block is a provider that refuses this host.
type Block struct {
	Provider string
	Addr     netip.Addr // of ours; invalid: not known
	Detail   string     // what it said, in printable characters
	Until    time.Time  // when it is asked again; zero: not known
}

// Config says what is looked at.
type Config struct {
	// DNS answers the questions.
	DNS *dns.Resolver
	// Helo is the name that probes greet with.
	Helo string
	// Addrs returns the addresses that probes leave from, as this host knows them: those that they
	// are bound to, or were seen to leave from. nil or none: not known.
	Addrs func() []netip.Addr
	// Public are the addresses that mail servers see instead, behind NAT. Empty: those of Addrs.
	Public []netip.Addr
	// Zones are DNS block lists to ask, "zen.spamhaus.org". Empty: none is asked.
	Zones []string
	// Every is the time between looks at DNS. 0: an hour.
	Every time.Duration
	// Port25 tells whether outgoing port 25 seems closed, since when, and why that is thought
	// (verify.Verifier.Breaker). nil: not known.
	Port25 func() (closed bool, since time.Time, detail string)
	// Blocks returns the providers that refuse this host now. nil: not known.
	Blocks func() []Block
	// Log gets each finding when it begins, and when it is over. nil: none.
	Log *slog.Logger
}

const (
	defaultEvery = time.Hour
	// liveEvery is the time between looks at what the verifier has learned.
	liveEvery = time.Minute
	// maxLook bounds one look with all its questions.
	maxLook = 5 * time.Minute

	maxAddrs = 16
	maxZones = 20
)

// Monitor looks after the addresses that probes leave from.
type Monitor struct {
	config Config
	log    *slog.Logger
	look   sync.Mutex // one at a time
	learn  sync.Mutex // so, too

	mu       sync.Mutex
	findings map[key]Finding
	learned  map[key]Finding // by the verifier
	last     time.Time
}

// key tells findings apart: what a Finding says of it may change.
type key struct {
	kind    Kind
	subject string
	part    string // of the kind
}

// New returns a Monitor that has not looked yet.
func New(c Config) *Monitor {
	m := &Monitor{config: c, log: c.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.config.Every <= 0 {
		m.config.Every = defaultEvery
	}
	m.config.Zones = m.config.Zones[:min(len(c.Zones), maxZones)]
	return m
}

// Run looks now and then until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	m.Check(ctx)
	next := time.NewTimer(m.jitter())
	defer next.Stop()
	live := time.NewTicker(min(liveEvery, m.config.Every))
	defer live.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-live.C:
			m.checkLearned()
		case <-next.C:
			m.Check(ctx)
			next.Reset(m.jitter())
		}
	}
}

// jitter keeps many hosts from asking at the same time.
func (m *Monitor) jitter() time.Duration {
	tenth := int64(m.config.Every / 10)
	return m.config.Every + time.Duration(rand.Int64N(2*tenth+1)-tenth) //nolint:gosec // no secret
}

// Report returns the findings of now, the worst first. It does not ask anybody.
func (m *Monitor) Report() []Finding {
	m.mu.Lock()
	all := make([]Finding, 0, len(m.findings)+len(m.learned))
	for _, of := range []map[key]Finding{m.findings, m.learned} {
		for _, f := range of {
			all = append(all, f)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity.rank(), a.Severity.rank()), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.What, b.What))
	})
	return all
}

// Last returns when DNS was looked at last; zero: not yet.
func (m *Monitor) Last() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (s Severity) rank() int {
	switch s {
	case Critical:
		return 3
	case Warning:
		return 2
	default:
		return 1
	}
}

// Check looks at everything at once, and returns the findings, as Report.
func (m *Monitor) Check(ctx context.Context) []Finding {
	m.look.Lock()
	defer m.look.Unlock()
	m.checkLearned()
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	l := &look{config: m.config, found: make(map[key]Finding), open: make(map[key]bool)}
	l.all(ctx)
	if ctx.Err() != nil {
		return m.Report() // an unfinished look is no evidence
	}
	m.mu.Lock()
	before := m.findings
	for k, f := range before {
		if _, again := l.found[k]; !again && (l.blind || l.open[k]) {
			l.found[k] = f // what could not be asked is as it was
		}
	}
	m.findings, m.last = since(l.found, before), time.Now()
	m.mu.Unlock()
	m.tell(before, l.found)
	return m.Report()
}

// checkLearned takes over what the verifier has learned.
func (m *Monitor) checkLearned() {
	m.learn.Lock()
	defer m.learn.Unlock()
	found := learned(m.config)
	m.mu.Lock()
	before := m.learned
	m.learned = since(found, before)
	m.mu.Unlock()
	m.tell(before, found)
}

// since gives each finding the time of its beginning.
func since(found, before map[key]Finding) map[key]Finding {
	for k, f := range found {
		if old, ok := before[k]; ok {
			f.Since = old.Since
		} else if f.Since.IsZero() {
			f.Since = time.Now()
		}
		found[k] = f
	}
	return found
}

// tell logs what is new and what is over.
func (m *Monitor) tell(before, now map[key]Finding) {
	for _, k := range sorted(now) {
		f := now[k]
		if _, known := before[k]; known {
			continue
		}
		say := m.log.Warn
		if f.Severity == Notice {
			say = m.log.Info
		}
		say("a finding about the address that probes leave from", "kind", string(f.Kind),
			"severity", string(f.Severity), "subject", f.Subject,
			"what", f.What, "fix", f.Fix)
	}
	for _, k := range sorted(before) {
		f := before[k]
		if _, still := now[k]; !still {
			m.log.Info("a finding is over", "kind", string(f.Kind), "subject", f.Subject, "what", f.What,
				"lasted", time.Since(f.Since).Round(time.Second))
		}
	}
}

func sorted(of map[key]Finding) []key {
	keys := make([]key, 0, len(of))
	for k := range of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.subject, b.subject),
			strings.Compare(a.part, b.part))
	})
	return keys
}

// learned turns what the verifier knows into findings.
func learned(c Config) map[key]Finding {
	found := make(map[key]Finding)
	if c.Port25 != nil {
		if closed, since, detail := c.Port25(); closed {
			found[key{kind: KindPort25}] = Finding{
				Kind: KindPort25, Severity: Critical, Subject: "port 25", Since: since,
				What: "mail servers cannot be reached: " + detail,
				Fix: "open outgoing TCP port 25 for this host (firewall, hosting provider), or set " +
					`verify.mode = "passive"`,
			}
		}
	}
	if c.Blocks == nil {
		return found
	}
	for _, b := range c.Blocks() {
		ours := "this host"
		if b.Addr.IsValid() {
			ours = b.Addr.String()
		}
		f := Finding{
			Kind: KindBlocked, Severity: Warning, Subject: b.Provider,
			What: b.Provider + " refuses " + ours,
			Fix: "see its words with rcptgate explain; check reverse DNS, the EHLO name and block lists, " +
				"and send less for a while",
		}
		if b.Detail != "" {
			f.What += ": " + b.Detail
		}
		if !b.Until.IsZero() {
			f.What += "; it is not asked before " + b.Until.UTC().Format(time.RFC3339)
		}
		found[key{KindBlocked, b.Provider, ours}] = f
	}
	return found
}
