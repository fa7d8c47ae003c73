// Package provider knows the large mail providers, security gateways and mail server programs: how
// to recognise them, how far their answer to RCPT can be believed, and how much asking they bear.
//
// That knowledge is data: one TOML file for each profile in profiles/, with its sources. Load reads
// them, and lays the administrator's own TOML over them, in the same syntax:
//
//	table, err := provider.Load()
//	p := table.Find("example.com", []string{"aspmx.l.google.com"})
//	// p.Name == "google"; p.Limits.Connections == 2
//
// A document is a TOML table for each profile, with the keys that [Keys] lists:
//
//	[google]                  # a known name: only the keys written here change
//	limits.per_minute = 30
//
//	[our_partner]             # a new name: a new profile
//	title = "Our partner"
//	mx = ["*.mx.partner.example"]
//	catch_all = "test"
//	limits = { connections = 5, rcpt_per_session = 100 }
//
// What a profile does not say of trust, limits and pauses it takes from "generic", which is also
// what [Table.Find] returns where nothing is known. A profile that is not an operator but a program
// (Postfix, Exim, ...; Software is true) is recognised by its banner only.
//
// PATTERNS. A pattern of mx is a host name. A leading "*." stands for one or more labels, a "*"
// elsewhere for any octets within its label: "*.l.google.com", "mx*.mail.com",
// "inbound-smtp.*.amazonaws.com". The last two labels are always literal. An exact name beats a
// name with "*" within labels, and that beats a leading "*."; of several the longest counts.
//
// SECURITY. MX records and banners are what their owners want them to be. A host that calls itself
// Google in its banner shares nothing with Google but its manners: limits and pauses of a host
// that was recognised by its banner must be kept for its own site, or it could have the real one
// paused. See [Profile.Group].
//
// LIMITS. The profiles are what could be found out from public sources, and age. Names are bounded
// ([MaxProfiles]) and are safe as metric labels. A Table does not change and is safe for concurrent
// use.
package provider

import (
	"slices"
	"strings"
	"time"
)

// Generic is the name of the profile for everybody who is not known.
const Generic = "generic"

// MaxProfiles bounds how many profiles there can be, the built-in ones included: their names are
// metric labels.
const MaxProfiles = 200

// The values of Profile.CatchAll.
const (
	CatchAllNever = "never"
	CatchAllTest  = "test"
)

// Profile is what is known of one provider. It must not be changed.
type Profile struct {
	Name  string // "google": snake_case, of a bounded set
	Title string // for people: "Gmail and Google Workspace"

	MX      []string // patterns of its MX hosts' names; see PATTERNS
	Domains []string // recipient domains that are its own, not its customers': "gmail.com"
	Banner  []string // lower-case parts of a banner or EHLO reply that tell it

	// Software: a program that anybody may run, not an operator. Its hosts have no limits in
	// common; see Group.
	Software bool

	// Refusal is how far a refusal that reads "no such user" can be believed, Acceptance how far a
	// 250 at RCPT can, both 0 to 1, of a domain that is not known to take mail for everybody.
	Refusal, Acceptance float64
	// AcceptAll: every RCPT is accepted and unknown mailboxes are refused after the message: the
	// answer to RCPT says nothing.
	AcceptAll bool
	// CatchAll is CatchAllNever where a made-up recipient must not be tried at Domains because the
	// answer is known (or at any domain, if there are no Domains), else CatchAllTest. Ask
	// TestsCatchAll.
	CatchAll string
	// Passive: never asked. What is known comes from deliveries.
	Passive bool

	// Greylists: its first answer to a stranger is often a deferral, which usually passes after
	// GreylistDelay.
	Greylists     bool
	GreylistDelay time.Duration

	Limits Limits
	// RatePause is how long to leave it alone after it said "too much", BlockPause after it said
	// that our address is blocked.
	RatePause, BlockPause time.Duration

	Fold Fold // of addresses at Domains

	Sources []string // where all that is from
}

// Limits are what we allow ourselves at one provider, from one address. All are above 0.
type Limits struct {
	Connections        int // at one time
	RcptPerSession     int // recipients until QUIT
	RcptPerTransaction int // recipients after one MAIL
	Refusals           int // refused recipients until QUIT
	PerMinute          int // recipients a minute, in the long run
	Burst              int // recipients at once, after a rest
}

// Fold says which spellings of a local part are one mailbox.
type Fold struct {
	Case bool // Anna = anna
	Dots bool // a.nna = anna
	Plus bool // anna+news = anna
}

// OwnDomain reports whether domain (A-label, lower case) is one of the provider's own.
func (p *Profile) OwnDomain(domain string) bool { return slices.Contains(p.Domains, domain) }

// TestsCatchAll reports whether a made-up recipient at domain (A-label, lower case) may be tried
// and can tell something.
func (p *Profile) TestsCatchAll(domain string) bool {
	if p.Passive || p.AcceptAll {
		return false
	}
	return p.CatchAll != CatchAllNever || len(p.Domains) > 0 && !p.OwnDomain(domain)
}

// Group returns the key under which limits and pauses are kept: the provider's name if its MX
// records or domain told who it is, or site (which names the MX hosts), which is for
// programs, for the generic profile and for everybody who was recognised by a banner only.
func (p *Profile) Group(site string, byBanner bool) string {
	if byBanner || p.Software || p.Name == Generic {
		return site
	}
	return p.Name
}

// FoldLocal returns the spelling under which a local part at domain (A-label, lower case) is
// remembered: itself, unless it is proven that the provider delivers several spellings to one
// mailbox.
func (p *Profile) FoldLocal(local, domain string) string {
	if p.Fold == (Fold{}) || !p.OwnDomain(domain) {
		return local
	}
	folded := local
	if p.Fold.Plus {
		if name, _, tagged := strings.Cut(folded, "+"); tagged && name != "" {
			folded = name
		}
	}
	if p.Fold.Dots && strings.Contains(folded, ".") {
		folded = strings.ReplaceAll(folded, ".", "")
	}
	if p.Fold.Case {
		folded = lowerASCII(folded)
	}
	if folded == "" {
		return local
	}
	return folded
}

// lowerASCII returns s with A-Z in lower case. Other letters stay: their case folding differs from
// one mail system to the next.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
