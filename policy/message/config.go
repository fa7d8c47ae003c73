package message

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The positions of the gate relative to the signer. Config.Position "" is PositionVerify.
const (
	PositionVerify = "verify" // mail is signed before it comes here
	PositionLater  = "later"  // mail is signed after us
)

// defaultTimeout of Config.Timeout.
const defaultTimeout = 5 * time.Second

// Config says what to check. The zero value checks nothing.
type Config struct {
	// Levels of the checks; a check that is not in it is off.
	Levels map[Check]Level
	// Position is PositionVerify (also "") or PositionLater.
	Position string
	// BulkAuto is the number of messages that a From domain may send to one receiver in 24 hours
	// before checks at the level warn are enforced for that receiver, from then on. Receivers begin
	// at 5000; 4000 warns early. 0: never.
	BulkAuto int
	// Timeout is the longest that Finish waits for the DNS. 0: 5 s.
	Timeout time.Duration
	// Egress tells the addresses that the mail leaves from, for SPF. nil or none: SPF is not
	// checked, and DMARC is not said to fail where it could pass by SPF.
	Egress func() []netip.Addr
	// Helo is the name that the relay greets with, for the SPF of mail from <>. "": such mail's SPF
	// is not checked.
	Helo string
	// Enforced, if not nil, is told once when a From domain begins to be a bulk sender. It must not
	// wait.
	Enforced func(BulkSender)
}

// ConfigError is one fault of a Config, for the person who wrote it.
type ConfigError struct {
	Field  string // "position", "levels", "bulk_auto", "timeout", "helo"
	Name   string // the key within levels
	Detail string // what is wrong
	Hint   string // what to write instead
}

// Error is the fault on one line.
func (e *ConfigError) Error() string {
	field := e.Field
	if e.Name != "" {
		field += "." + e.Name
	}
	return field + ": " + e.Detail + "; " + e.Hint
}

// ConfigErrors is every fault of a Config.
type ConfigErrors []*ConfigError

// Error is one fault a line.
func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single faults to errors.Is and errors.As.
func (e ConfigErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

// settings is a Config that has been checked. But for messages it is never changed.
type settings struct {
	Config
	levels map[Check]Level // without those that are off, or do not apply to the position
	// resolver is nil only if no check needs it.
	resolver *dns.Resolver
	messages sync.WaitGroup // those that are being checked by it
}

// drained waits until no message is checked by the settings any more, or ctx ends. None may begin.
func (s *settings) drained(ctx context.Context) {
	if s == nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.messages.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

func newSettings(cfg Config) (*settings, error) {
	if faults := cfg.faults(); len(faults) > 0 {
		return nil, faults
	}
	s := &settings{Config: cfg, levels: make(map[Check]Level)}
	if s.Timeout == 0 {
		s.Timeout = defaultTimeout
	}
	for i := range checks {
		info := &checks[i]
		if info.Signed && cfg.Position == PositionLater {
			continue
		}
		if level := cfg.Levels[info.Check]; level != Off {
			s.levels[info.Check] = level
		}
	}
	return s, nil
}

// any reports whether one of the checks is on.
func (s *settings) any(list ...Check) bool {
	return slices.ContainsFunc(list, func(c Check) bool { return s.levels[c] != Off })
}

// signatures reports whether DKIM has to be verified.
func (s *settings) signatures() bool {
	return s.any(DKIM, DKIMWeak, DKIMCovered, DKIMAligned, DMARC, Aligned, OneClickCovered,
		FreeProvider)
}

// names reports whether a check needs the DNS.
func (s *settings) names() bool {
	return s.signatures() || s.any(SPF, DMARCRecord, SenderDomain)
}

// CheckConfig returns every fault of cfg as ConfigErrors, nil if there is none.
func CheckConfig(cfg Config) error {
	if faults := cfg.faults(); len(faults) > 0 {
		return faults
	}
	return nil
}

func (cfg *Config) faults() ConfigErrors {
	var faults ConfigErrors
	add := func(field, name, detail, hint string) {
		faults = append(faults, &ConfigError{Field: field, Name: name, Detail: detail, Hint: hint})
	}
	if p := cfg.Position; p != "" && p != PositionVerify && p != PositionLater {
		add("position", "", fmt.Sprintf("unknown position %q", p),
			`write "verify" if mail is signed before it comes here, "later" if after`)
	}
	var names []string
	for name := range cfg.Levels {
		names = append(names, string(name))
	}
	slices.Sort(names)
	for _, name := range names {
		level := cfg.Levels[Check(name)]
		if infoOf(Check(name)) == nil {
			add("levels", name, "there is no such check", "valid: "+checkNames())
		}
		if level < Off || level > Reject {
			add("levels", name, "unknown level", "write off, log, warn, defer or reject")
		}
	}
	if cfg.BulkAuto < 0 {
		add("bulk_auto", "", "it is negative", "write a number of messages a day, or 0 for never")
	}
	if cfg.Timeout < 0 {
		add("timeout", "", "it is negative", `write a duration, as "5s"`)
	}
	if cfg.Helo != "" {
		if _, err := esmtp.ParseAddress("postmaster@"+cfg.Helo, false); err != nil {
			add("helo", "", "it is not a host name", "write the name that the relay greets with")
		}
	}
	return faults
}

func checkNames() string {
	list := make([]string, len(checks))
	for i := range checks {
		list[i] = string(checks[i].Check)
	}
	return strings.Join(list, ", ")
}
