package senders

import (
	"fmt"
	"log/slog"
)

// Config is what a Table is made from. The zero value counts, and limits nothing.
type Config struct {
	Limits  []Limit // at most 64
	Hygiene Hygiene
	MaxKeys int // keys that are known at a time, 1,000 to 10,000,000; 0: 100,000

	// Changed is told of every change of a sender's state, once no lock is held. It is called from
	// Take, Checked, Release and the sweep of each minute, maybe at the same time, and must not
	// wait. Nil: nobody is told.
	Changed func(Change)

	Log *slog.Logger // faults of the file of state; nil: none are logged
}

// Limit keeps each login, sender, sender domain or client to some messages and recipients.
type Limit struct {
	Name string // stands in replies and logs: printable ASCII, at most 64 octets; unique
	Per  string // "login", "sender", "sender_domain" or "client"

	// "200/hour" or "200/hour burst 20"; units minute, hour, day. A limit has at least one of both,
	// and all that it has are kept.
	Messages, Recipients []string
}

// Hygiene sets the list-hygiene breaker. The zero value is off; a number that is 0 is the default
// that stands beside it.
type Hygiene struct {
	Mode string // "off" ("" too), "warn": states are told but hold nobody, or "enforce"

	Minimum  int     // recipients in a window before a share counts, 50; at least 10
	Warn     float64 // shares of invalid recipients, 0.04
	Throttle float64 // 0.05
	Hold     float64 // 0.10
	Distinct int     // invalid recipients in an hour that hold, 100; at most 10,000; -1: none
}

// The defaults, and what bounds the configuration.
const (
	defaultKeys     = 100_000
	leastKeys       = 1_000
	mostKeys        = 10_000_000
	mostLimits      = 64
	mostName        = 64
	leastMinimum    = 10
	mostMinimum     = 1_000_000
	mostDistinct    = 10_000
	defaultMinimum  = 50
	defaultWarn     = 0.04
	defaultThrottle = 0.05
	defaultHold     = 0.10
	defaultDistinct = 100
)

// The times of the breaker; see the package comment.
const (
	trialSize    = 20      // recipients
	restSeconds  = 60 * 60 // of throttle and hold before the trial, and of a warning at least
	graceSeconds = 60 * 60 // behind a Release; not above restSeconds, see ahead
	roundSeconds = 10 * 60 // until the trial's recipients without a verdict are replaced
)

// idleSeconds is how long a key is remembered that is not active: all its windows are empty then.
const idleSeconds = 26 * 60 * 60

func (h Hygiene) withDefaults() Hygiene {
	if h.Mode == "" {
		h.Mode = "off"
	}
	if h.Minimum == 0 {
		h.Minimum = defaultMinimum
	}
	if h.Distinct == 0 {
		h.Distinct = defaultDistinct
	}
	for _, d := range []struct {
		v   *float64
		def float64
	}{{&h.Warn, defaultWarn}, {&h.Throttle, defaultThrottle}, {&h.Hold, defaultHold}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return h
}

// Check reports every fault of a configuration as ConfigErrors; nil if there is none.
func Check(cfg Config) error {
	_, err := compile(cfg)
	return err
}

// faults collects what is wrong.
type faults struct {
	list  ConfigErrors
	index int // of the limit that is being checked, -1: none
	name  string
}

func (f *faults) add(field, detail, hint string) {
	f.list = append(f.list,
		&ConfigError{Index: f.index, Name: f.name, Field: field, Detail: detail, Hint: hint})
}

// checkHygiene checks h, whose defaults are filled in.
func (f *faults) checkHygiene(h Hygiene) {
	if modes := []string{"off", "warn", "enforce"}; !contains(modes, h.Mode) {
		f.add("hygiene.mode", fmt.Sprintf("%q is no mode", h.Mode), oneOf(h.Mode, modes))
	}
	if h.Minimum < leastMinimum || h.Minimum > mostMinimum {
		f.add("hygiene.minimum",
			fmt.Sprintf("%d is not between %d and %d", h.Minimum, leastMinimum, mostMinimum),
			"fewer recipients say nothing about a list; the default is 50")
	}
	if h.Distinct != -1 && (h.Distinct < 1 || h.Distinct > mostDistinct) {
		f.add("hygiene.distinct",
			fmt.Sprintf("%d is not between 1 and %d", h.Distinct, mostDistinct),
			"-1 holds nobody for their number; the default is 100")
	}
	good := true
	for _, s := range []struct {
		field string
		share float64
	}{{"hygiene.warn", h.Warn}, {"hygiene.throttle", h.Throttle}, {"hygiene.hold", h.Hold}} {
		if s.share > 0 && s.share < 1 {
			continue
		}
		good = false
		hint := "write a share above 0 and below 1"
		if s.share >= 1 && s.share < 100 {
			hint = fmt.Sprintf("shares are parts of one: %g for %g %%", s.share/100, s.share)
		}
		f.add(s.field, fmt.Sprintf("%g is no share", s.share), hint)
	}
	if good && (h.Warn > h.Throttle || h.Throttle > h.Hold) {
		f.add("hygiene.throttle",
			fmt.Sprintf("warn (%g), throttle (%g) and hold (%g) do not rise", h.Warn, h.Throttle, h.Hold),
			"each may not be above the one that follows")
	}
}

// checkName checks the name of the limit at f.index against those of the limits before.
func (f *faults) checkName(before []Limit) {
	switch {
	case f.name == "":
		f.add("name", "a limit needs a name", `it stands in replies: "per account"`)
		return
	case len(f.name) > mostName:
		f.add("name", fmt.Sprintf("%d octets, at most %d", len(f.name), mostName), "shorten it")
	}
	for _, c := range []byte(f.name) {
		if c < ' ' || c > '~' {
			f.add("name", fmt.Sprintf("%q is not printable ASCII", f.name), "it stands in replies")
			break
		}
	}
	if f.name == hygieneName {
		f.add("name", fmt.Sprintf("%q is the breaker's", f.name), "choose another name")
	}
	for i := range before {
		if before[i].Name == f.name {
			f.add("name", fmt.Sprintf("limit %d has the name %q, too", i+1, f.name),
				"names must differ")
			return
		}
	}
}
