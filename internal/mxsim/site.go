package mxsim

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mailbox is what is true of a local part.
type Mailbox int

// The states of a mailbox. The zero value is the state of all that no table names.
const (
	NoMailbox Mailbox = iota // does not exist
	Active                   // receives mail
	Full                     // exists, over quota
	Disabled                 // exists, switched off
	Moved                    // gone, with a forwarding address that is told (551)
	Busy                     // exists, gets more mail than it may just now (a temporary refusal)
	BusyHard                 // the same, said with a permanent code
)

// HostState is how a host (or a DNS server) takes connections.
type HostState int

// The states of a host.
const (
	Up        HostState = iota
	Down                // the connection is refused
	BlackHole           // the connection attempt is never answered
)

// TLSMode is what a host makes of STARTTLS.
type TLSMode int

// The modes. Certificates are self-signed.
const (
	NoTLS      TLSMode = iota // not offered
	TLS                       // offered and works
	TLSGarbage                // 220, then octets that are no handshake
	TLSHang                   // 220, then nothing
	TLSRefused                // offered, answered 454
	TLSCut                    // 220, then the connection ends
)

// Host is one server that receives mail. The fields are set before it is added and not changed
// afterwards, except through its methods.
type Host struct {
	Name  string // as in MX records; banner and EHLO replies say it too
	Pref  uint16
	Addrs []netip.Addr // none: the World gives it one
	State HostState
	// Latency is one round trip: waited once before the connection stands and once before each
	// batch of replies, however many commands the batch answers.
	Latency time.Duration
	TLS     TLSMode
	// Wrapper begins every connection with a handshake, as on port 465; TLS still says how it goes.
	Wrapper bool
	// Certificate replaces the self-signed one for "mxsim.test"; see [CA].
	Certificate *tls.Certificate
	// Accounts offers AUTH; nil does not.
	Accounts *Accounts
	// Keywords are the EHLO keywords besides STARTTLS; nil means DefaultKeywords.
	Keywords []string
	// HeloOnly refuses EHLO as a server without extensions does (502).
	HeloOnly bool
	// Wording replaces the site's for this host.
	Wording *Wording
	// Behaviours are asked before those of the site.
	Behaviours []Behaviour
	// DiscardBodies counts and hashes message bodies instead of keeping them (benchmarks).
	DiscardBodies bool
	// DiscardCommands leaves Conn.Commands empty; all else is recorded (benchmarks).
	DiscardCommands bool
	// MaxMessage is the longest message taken, in octets; 0 means 64 MiB.
	MaxMessage int64

	site  *Site   // the first of sites; nil: takes mail for everybody (a relay)
	sites []*Site // whose mail it takes
	tls   certFn  // the World's certificate
	recorder
	group
}

// DefaultKeywords is what a current Postfix offers, as far as simulated here.
func DefaultKeywords() []string {
	return []string{
		"PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8",
	}
}

// Without returns the default keywords without those named.
func Without(keywords ...string) []string {
	kept := DefaultKeywords()
	for _, unwanted := range keywords {
		for i, k := range kept {
			if word, _, _ := strings.Cut(k, " "); strings.EqualFold(word, unwanted) {
				kept = append(kept[:i:i], kept[i+1:]...)
				break
			}
		}
	}
	return kept
}

// Site is one or more mail domains on the same hosts.
type Site struct {
	Name    string // for people
	Domains []string
	Hosts   []*Host
	// Mailboxes is the truth, by local part without regard to case, alike in all domains.
	// Once the site is added it is changed by Set only.
	Mailboxes  map[string]Mailbox
	Wording    *Wording // nil: Postfix
	Behaviours []Behaviour
	DNS        DNSConfig
	// Proves tells that this site, asked at RCPT, says of a mailbox that cannot receive that
	// it cannot, in a way that leaves no doubt (an enhanced code such as 5.1.1, without
	// anything in between that keeps the question from being answered).
	Proves bool

	mu sync.Mutex
}

// DNSConfig is what the DNS says of a site.
type DNSConfig struct {
	NullMX      bool          // RFC 7505
	NoMX        bool          // no MX record: the domain has the addresses of the first host itself
	Mode        DNSMode       // faults, for every name of the site's domains
	Delay       time.Duration // before each answer
	TTL         time.Duration // 0 means 5 minutes
	NegativeTTL time.Duration // 0 means 1 minute
}

// Mailbox returns the state of a local part.
func (s *Site) Mailbox(local string) Mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Mailboxes[strings.ToLower(local)]
}

// Set changes the truth about a local part.
func (s *Site) Set(local string, m Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Mailboxes == nil {
		s.Mailboxes = make(map[string]Mailbox)
	}
	s.Mailboxes[strings.ToLower(local)] = m
}

// has reports whether the site receives mail for the domain.
func (s *Site) has(domain string) bool {
	for _, d := range s.Domains {
		if strings.EqualFold(d, domain) {
			return true
		}
	}
	return false
}

// Truth is the right answer about one address.
type Truth struct {
	Site    *Site   // nil: the domain is not in this world
	Mailbox Mailbox // of an existing domain with mail hosts
	// Receives: mail to this address can be delivered (the mailbox is Active, and the domain has
	// a mail host that is up, with SMTPUTF8 if the address needs that).
	Receives bool
	// Never: no such mailbox or domain, or switched off; mail can never be delivered.
	Never bool
	// Provable: Never, and the DNS or the host says so to everybody who asks at RCPT.
	Provable bool
	// Exists: there is such a mailbox, though it may be full or busy now.
	Exists bool
}

// Truth returns what is true of an address ("local@domain").
func (w *World) Truth(address string) Truth {
	at := strings.LastIndexByte(address, '@')
	local, domain := address[:max(at, 0)], address[at+1:]
	s := w.siteOf(domain)
	switch {
	case s == nil:
		return Truth{Never: true, Provable: true} // NXDOMAIN
	case s.DNS.NullMX, s.DNS.Mode == DNSNXDomain:
		return Truth{Site: s, Never: true, Provable: true}
	case len(s.Hosts) == 0:
		return Truth{Site: s, Never: true}
	}
	t := Truth{Site: s, Mailbox: s.Mailbox(local)}
	for _, h := range s.Hosts {
		able := h.State == Up && (ascii(address) || (!h.HeloOnly && h.offers("SMTPUTF8")))
		t.Receives = t.Receives || (able && t.Mailbox == Active)
	}
	t.Never = t.Mailbox == NoMailbox || t.Mailbox == Disabled || t.Mailbox == Moved
	t.Provable = t.Never && s.Proves
	t.Exists = !t.Never
	return t
}

// join makes the host take mail for a site, too.
func (h *Host) join(s *Site) {
	h.recordMu.Lock()
	defer h.recordMu.Unlock()
	h.sites = append(h.sites, s)
}

// siteOf returns the site that a domain at this host belongs to: the last that has it, else the
// host's first one.
func (h *Host) siteOf(domain string) *Site {
	h.recordMu.Lock()
	defer h.recordMu.Unlock()
	if len(h.sites) < 2 {
		return h.site
	}
	for _, s := range slices.Backward(h.sites) {
		if s.has(domain) {
			return s
		}
	}
	return h.site
}
