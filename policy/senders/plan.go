package senders

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// kind is what a key names.
type kind int

const (
	login kind = iota
	sender
	domain
	client
	pair // a client and a sender domain: who has no login

	kinds int = iota
)

// perNames are the kinds that limits are for, as configured. Read only.
var perNames = []string{"login", "sender", "sender_domain", "client"}

// measure is what a limit counts.
type measure int

const (
	messages measure = iota
	recipients
	measures int = iota
)

func (m measure) String() string {
	if m == messages {
		return "messages"
	}
	return "recipients"
}

// plan is a configuration as Take and Checked use it. Immutable.
type plan struct {
	rules    []rule
	uses     [kinds]bool     // the kinds that rules are for
	cells    [kinds][]string // what the cells of an account of this kind are for: rule.cellName
	hygiene  Hygiene
	watching bool // the breaker works
	holding  bool // and holds
	fails    int  // invalid recipients that end a trial
	lines    int  // of recent
	perShard int
	changed  func(Change)
	log      *slog.Logger
}

// rule is one number of one limit.
type rule struct {
	name   string
	per    kind
	of     measure
	spec   spec
	cell   int // in the account's cells; -1: a window is looked at
	rate   limit.Rate
	detail string
}

// cellName is what a cell is known by in other plans and in the file.
func (r *rule) cellName() string {
	return r.name + ": " + r.of.String() + " " + r.spec.String()
}

// compile checks a configuration. The error is ConfigErrors with all of its faults.
func compile(cfg Config) (*plan, error) {
	p := &plan{
		hygiene: cfg.Hygiene.withDefaults(), changed: cfg.Changed, log: cfg.Log,
		perShard: cmp.Or(cfg.MaxKeys, defaultKeys) / shardCount,
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	f := &faults{index: -1}
	if n := cfg.MaxKeys; n != 0 && (n < leastKeys || n > mostKeys) {
		f.add("max_keys", fmt.Sprintf("%d is not between %d and %d", n, leastKeys, mostKeys),
			"a busy sender takes about 2 KiB")
	}
	if len(cfg.Limits) > mostLimits {
		f.add("limits", fmt.Sprintf("%d limits, at most %d", len(cfg.Limits), mostLimits),
			"a limit counts for each login, sender, domain or client; one for all of them is enough")
	}
	f.checkHygiene(p.hygiene)
	for i, l := range cfg.Limits {
		f.index, f.name = i, l.Name
		f.checkName(cfg.Limits[:i])
		p.addLimit(f, l)
	}
	if f.list != nil {
		return nil, f.list
	}
	p.watching, p.holding = p.hygiene.Mode != "off", p.hygiene.Mode == "enforce"
	for p.fails <= trialSize && limit.LowerBound(p.fails, trialSize) <= p.hygiene.Throttle {
		p.fails++
	}
	p.lines = 32
	for p.lines*len(line{}) < 2*p.hygiene.Distinct {
		p.lines *= 2
	}
	return p, nil
}

func (p *plan) addLimit(f *faults, l Limit) {
	i := slices.Index(perNames, l.Per)
	if i < 0 {
		f.add("per", fmt.Sprintf("%q is nothing to count by", l.Per), oneOf(l.Per, perNames))
		i = 0 // the rest is checked, too
	}
	per := kind(i)
	if len(l.Messages)+len(l.Recipients) == 0 {
		f.add("recipients", "neither messages nor recipients are limited",
			`write recipients = ["200/hour"]`)
	}
	for m, list := range [measures][]string{l.Messages, l.Recipients} {
		var seen []spec
		for n, text := range list {
			field := fmt.Sprintf("%s[%d]", measure(m), n)
			s, detail, hint := parseSpec(text)
			if detail != "" {
				f.add(field, detail, hint)
				continue
			}
			same := func(o spec) bool { return o.unit == s.unit && (o.burst > 0) == (s.burst > 0) }
			if n := slices.IndexFunc(seen, same); n >= 0 {
				f.add(field, fmt.Sprintf("%q and %q are about the same", seen[n], s), "keep one of them")
				continue
			}
			seen = append(seen, s)
			p.addRule(rule{name: l.Name, per: per, of: measure(m), spec: s})
		}
	}
}

func (p *plan) addRule(r rule) {
	p.uses[r.per] = true
	r.cell = -1
	r.detail = fmt.Sprintf("at most %d %s in any %s", r.spec.most, r.of, r.spec.unit)
	if r.spec.burst > 0 {
		r.detail = fmt.Sprintf("%d %s a %s, %d at once", r.spec.most, r.of, r.spec.unit, r.spec.burst)
		r.rate = limit.Rate{Count: r.spec.most, Per: r.spec.unit.length(), Burst: r.spec.burst}
		r.cell = len(p.cells[r.per])
		p.cells[r.per] = append(p.cells[r.per], r.cellName())
	}
	p.rules = append(p.rules, r)
}

// refuses says how long an account has to wait until one more fits; 0: it fits now. The account's
// windows are rolled to now.
func (r *rule) refuses(a *account, c clock) time.Duration {
	if r.cell >= 0 {
		_, wait, _ := r.rate.Next(arrival(a.cells[r.cell].at, c, r.rate), c.time(), 1)
		return wait
	}
	most := uint32(r.spec.most - 1) //nolint:gosec // at most mostNumber
	return a.counts[r.of][r.spec.unit].wait(c, stepSeconds(r.spec.unit), most)
}

// count notes that one more passed in a cell. Windows are counted by account.count.
func (r *rule) count(a *account, c clock) {
	if r.cell < 0 {
		return
	}
	if next, _, ok := r.rate.Next(arrival(a.cells[r.cell].at, c, r.rate), c.time(), 1); ok {
		a.cells[r.cell].at = next.UnixNano()
	}
}
