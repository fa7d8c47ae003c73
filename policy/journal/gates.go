package journal

import (
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy"
)

// Suppression is why a recipient stands on the suppression list: see register.Suppression.
type Suppression struct {
	Address  string    `json:"address"` // or a pattern, "*@example.com"
	Scope    string    `json:"scope,omitempty"`
	Reason   string    `json:"reason,omitempty"` // "hard_bounce", "complaint", ...
	Evidence string    `json:"evidence,omitempty"`
	Source   string    `json:"source,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
}

// Override is why a recipient passed: see register.Override.
type Override struct {
	Kind    string    `json:"kind"` // "address", "domain", "provider"
	Name    string    `json:"name"`
	Note    string    `json:"note,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// Hold is why a sender had to wait: see senders.Hold.
type Hold struct {
	Kind   string `json:"kind"`          // "limited", "throttled", "held"
	Name   string `json:"name"`          // the limit's, or "list hygiene"
	Key    string `json:"key,omitempty"` // "login:alice", "sender_domain:example.com", ...
	Detail string `json:"detail,omitempty"`
	Wait   int64  `json:"wait_s,omitempty"` // seconds
}

const (
	hardBounce      = "hard_bounce"
	suppressionGate = "built-in: suppression list"
)

// gates copies what stood before the rules.
func (x *extra) gates(d *policy.Decision) {
	if s := d.Suppression; s != nil {
		x.suppression = &Suppression{
			Address: s.Address, Scope: s.Scope.String(), Reason: string(s.Reason),
			Evidence: s.Evidence, Source: s.Source, Created: s.Created, Expires: s.Expires,
		}
	}
	if o := d.Override; o != nil {
		x.override = &Override{
			Kind: string(o.Kind), Name: o.Name, Note: o.Note, Created: o.Created, Expires: o.Expires,
		}
	}
	if h := d.Hold; h != nil {
		x.hold = &Hold{
			Kind: h.Kind.String(), Name: h.Name, Key: h.Key, Detail: h.Detail,
			Wait: int64((h.Wait + time.Second - 1) / time.Second),
		}
	}
}

func (f *formatter) gates(x *extra) {
	l := &f.line
	if s := x.suppression; s != nil {
		l.open("suppression")
		l.text("address", f.name(s.Address))
		l.text("scope", f.keyed(s.Scope))
		l.text("reason", s.Reason)
		l.text("evidence", f.words(s.Evidence))
		l.text("source", f.words(s.Source))
		l.time("created", s.Created)
		l.time("expires", s.Expires)
		l.close()
	}
	if o := x.override; o != nil {
		l.open("override")
		l.text("kind", o.Kind)
		l.text("name", f.name(o.Name))
		l.text("note", f.words(o.Note))
		l.time("created", o.Created)
		l.time("expires", o.Expires)
		l.close()
	}
	if h := x.hold; h != nil {
		l.open("hold")
		l.text("kind", h.Kind)
		l.text("name", h.Name)
		l.text("key", f.keyed(h.Key))
		l.text("detail", f.words(h.Detail))
		l.number("wait_s", h.Wait)
		l.close()
	}
}

// gates explains what stood before the rules.
func (x *explainer) gates(e *Entry) {
	if s := e.Suppression; s != nil {
		x.head("The suppression list")
		x.line("Address", s.Address, prefixed(", for mail of ", scopeWords(s.Scope)))
		x.line("Reason", strings.ReplaceAll(s.Reason, "_", " "), prefixed(", says ", s.Source))
		x.line("Evidence", s.Evidence)
		x.line("Since", orNever(s.Created), until(s.Expires))
	}
	if o := e.Override; o != nil {
		x.head("The override")
		x.line("Lets pass", "the "+o.Kind+" ", o.Name)
		x.line("Note", o.Note)
		x.line("Since", orNever(o.Created), until(o.Expires))
	}
	if h := e.Hold; h != nil {
		x.head("The sender")
		x.line("Must wait", holdWords(h.Kind), prefixed(": ", h.Name))
		x.line("Who", h.Key)
		x.line("Why", h.Detail)
		x.line("How long", prefixed("at least ", wait(1000*h.Wait)))
	}
}

func scopeWords(scope string) string {
	if scope == "" || scope == "global" {
		return "everybody"
	}
	return scope
}

func until(t time.Time) string {
	if t.IsZero() {
		return ", without an end"
	}
	return ", until " + when(t)
}

func holdWords(kind string) string {
	switch kind {
	case "limited":
		return "it has reached a limit"
	case "throttled":
		return "it is slowed down"
	case "held":
		return "it is held"
	default:
		return kind
	}
}

// nextGate is what can be done about what stood before the rules. done: nothing else can.
func (x *explainer) nextGate(e *Entry) (done bool) {
	switch {
	case e.Suppression != nil && e.Refused():
		x.say("If the address is right after all, take it off the suppression list:")
		x.say("  rcptgate suppress remove -c FILE " + shellWord(whole(e.Suppression.Address)) +
			scopeOption(e.Suppression.Scope))
		if e.Rule != suppressionGate { // a rule decided, for this reason or another
			return false
		}
		x.say("or let it pass for some time:")
		x.allow(e)
	case e.Hold != nil && e.Refused():
		x.say("Mail passes by itself once the sender is within its limits. See how it stands:")
		x.say("  rcptgate senders list -c FILE")
		if e.Hold.Kind != "limited" {
			x.say("If its list is good, or has been cleaned, let it go on:")
			x.say("  rcptgate senders release -c FILE " + shellWord(wholeKey(e.Hold.Key)))
		}
	case e.Override != nil:
		x.say("An override let it pass. To end that:")
		x.say("  rcptgate override revoke -c FILE " + overrideWord(e.Override))
	default:
		return false
	}
	return true
}

func (x *explainer) allow(e *Entry) {
	x.say("  rcptgate override allow -c FILE " + shellWord(whole(e.Recipient)) + " --for 7d --note 'why'")
}

func scopeOption(scope string) string {
	if scope == "" || scope == "global" {
		return ""
	}
	return " --scope " + shellWord(wholeKey(scope))
}

// wholeKey is whole for "login:alice" and the like.
func wholeKey(key string) string {
	kind, name, ok := strings.Cut(key, ":")
	if !ok {
		return whole(key)
	}
	if whole(name) != name {
		return kind + ":NAME"
	}
	return key
}

func overrideWord(o *Override) string {
	switch o.Kind {
	case "provider":
		return "--provider " + shellWord(o.Name)
	case "domain":
		return "--domain " + shellWord(o.Name)
	default:
		return shellWord(whole(o.Name))
	}
}
