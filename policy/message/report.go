package message

import (
	"crypto/rand"
	"slices"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Action is what is to be done with a message.
type Action int

// The actions.
const (
	ActionPass   Action = iota // send the final dot
	ActionDefer                // refuse for now, with Report.Reply
	ActionReject               // refuse, with Report.Reply
)

// String is the action as in logs.
func (a Action) String() string {
	switch a {
	case ActionDefer:
		return "defer"
	case ActionReject:
		return "reject"
	case ActionPass:
		return "pass"
	}
	return "unknown"
}

// Finding is what one check found.
type Finding struct {
	Check Check
	Level Level // what follows from it, which the DNS and bulk_auto may have changed
	// Detail says in words what it is, in printable ASCII.
	Detail string
	// Unknown: the DNS did not say whether something is wrong.
	Unknown bool
	// Enforced: bulk_auto raised the level.
	Enforced bool
	// Reply is the reply that this finding would give, were it enforced.
	Reply esmtp.Reply
}

// Report is the result of all checks.
type Report struct {
	Action   Action
	Reply    esmtp.Reply // of the finding that decided; zero with ActionPass
	Findings []Finding   // in the order of Checks
	Ref      string      // the reference in the replies: the Envelope's, or made with the first finding
	// FromDomain is the domain of the author as A-labels; "" if there is not exactly one.
	FromDomain string
	// Receiver is for whose mail bulk_auto enforces the warnings; "": it does not.
	Receiver string
	// Elapsed is the time from Begin to the report.
	Elapsed time.Duration
}

// report judges the evidence, and counts the message if it goes on.
func (r *Run) report(e *evidence) Report {
	s := r.settings
	out := Report{FromDomain: e.from, Ref: r.env.Ref}
	key := e.bulkDomain()
	if s.BulkAuto > 0 && key != "" {
		for _, rcpt := range r.env.Recipients {
			if name := receiver(rcpt); name != "" && r.checker.bulk.bulk(key, name) {
				e.bulk, out.Receiver = true, name
				break
			}
		}
	}
	found := make(map[Check]bool)
	for i := range checks {
		info := &checks[i]
		level := s.levels[info.Check]
		if level == Off {
			continue
		}
		o := e.check(info.Check, found)
		if !o.bad && !o.unknown {
			continue
		}
		found[info.Check] = true
		if out.Ref == "" {
			out.Ref = rand.Text()[:8]
		}
		f := newFinding(info, level, o, key, out.Receiver, out.Ref)
		out.Findings = append(out.Findings, f)
		if a := f.action(); a > out.Action {
			out.Action, out.Reply = a, f.Reply
		}
	}
	if out.Action == ActionPass {
		r.count(key, e.now)
	}
	out.Elapsed = time.Since(r.began)
	return out
}

func newFinding(info *Info, level Level, o outcome, domain, receiver, ref string) Finding {
	f := Finding{Check: info.Check, Level: level, Detail: o.detail, Unknown: o.unknown}
	if receiver != "" && level == Warn && info.Enforced {
		f.Level, f.Enforced = Reject, true
		f.Detail += "; enforced, as " + safe(domain) + " sends in bulk to " + receiver
	}
	if o.unknown {
		f.Level = min(f.Level, Defer)
	}
	f.Reply = newReply(info, &f, o.enhanced, ref)
	return f
}

func (f *Finding) action() Action {
	switch f.Level {
	case Reject:
		return ActionReject
	case Defer:
		return ActionDefer
	case Off, Log, Warn:
	}
	return ActionPass
}

// newReply writes one line of at most 512 octets: what is wrong, in detail, what to do.
//
//	550 5.7.20 there is no valid DKIM signature: it has no DKIM-Signature; sign the message (ref …)
func newReply(info *Info, f *Finding, enhanced [2]int, ref string) esmtp.Reply {
	const room = 512 - len("550 5.111.111 \r\n")
	if enhanced == ([2]int{}) {
		enhanced = info.enhanced
	}
	code, class := 550, 5
	text, advice := info.text, info.advice
	switch {
	case f.Unknown:
		code, class = 451, 4
		text, advice = "the message cannot be checked", "try again later"
		enhanced = [2]int{4, 3}
		if info.Check == SPF {
			enhanced = [2]int{7, 24} // RFC 7372 section 3.2
		}
	case f.Level == Defer:
		code, class = 450, 4
	}
	suffix := "; " + advice + " (ref " + ref + ")"
	text += ": " + f.Detail
	if most := room - len(suffix); len(text) > most {
		text = text[:most]
	}
	return esmtp.NewReply(code, esmtp.EnhancedCode{class, enhanced[0], enhanced[1]}, text+suffix)
}

// bulkDomain is by what a sender is counted: its organization, where that is known.
func (e *evidence) bulkDomain() string {
	if w := e.walks[e.from]; w != nil && w.unknown == "" {
		return w.org
	}
	return e.from
}

// count counts a message that goes on, once for each recipient: every copy is a message to the
// receiver.
func (r *Run) count(domain string, now time.Time) {
	limit := r.settings.BulkAuto
	if limit <= 0 || domain == "" {
		return
	}
	copies := make(map[string]int)
	var names []string
	for _, rcpt := range r.env.Recipients {
		name := receiver(rcpt)
		if name == "" {
			continue
		}
		if copies[name]++; copies[name] == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		s, began := r.checker.bulk.add(domain, name, copies[name], limit, now)
		if !began {
			continue
		}
		r.checker.log.Warn("a domain sends in bulk from now on", "from_domain", safe(domain),
			"receiver", name, "messages", strconv.Itoa(s.Count))
		if r.settings.Enforced != nil {
			r.settings.Enforced(s)
		}
	}
}
