package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/expr-lang/expr"

	"github.com/rcptgate/rcptgate/verify"
)

// Name is one name that a condition may use.
type Name struct {
	Name string
	Type string // "string", "number", "bool" or "list"

	// Lazy names need the verifier: reaching one may start a probe and wait for it.
	Lazy bool

	// Values is the closed set of values, nil if any is possible. A comparison with another value
	// is a fault, since it could never be true.
	Values []string

	Doc string
}

// Names lists every name that a condition may use, in the order of the documentation.
func Names() []Name {
	list := make([]Name, len(names))
	for i, n := range names {
		list[i] = n.Name
	}
	return list
}

// name adds to the documentation what the engine needs.
type name struct {
	Name

	// literal checks a literal that the name is compared with by ==, != or in. It returns what is
	// wrong with it and what to write, or "", "".
	literal func(value any) (detail, hint string)

	// lower: the values have no capital letters, so that contains, startsWith and endsWith never
	// find one.
	lower bool

	// One of these gives the value, when an evaluation reaches the name. A list has none: it only
	// stands behind "in".
	text   func(*walk) string
	flag   func(*walk) bool
	whole  func(*walk) int
	number func(*walk) float64
}

const (
	marksName   = "marks"
	listsGroup  = "lists"
	listsMember = "lists.NAME"
)

// names is the vocabulary. Read only.
var names = slices.Concat(clientNames, senderNames, recipientNames, mailNames, verdictNames)

var clientNames = []name{
	text("client.addr", `IP address of the client, as XFORWARD or the connection says; "" if unknown`,
		func(w *walk) string { return w.clientAddr() }).check(checkAddrLiteral),
	text("client.name", `verified host name of the client, lower case; "" if unknown`,
		func(w *walk) string { return w.clientName() }).domain(),
	text("client.helo", "what the client greeted with, as it wrote it",
		func(w *walk) string { return w.tx.Client.Helo }),
	text("client.login", `SASL user; "" if unknown (Postfix does not tell it by XFORWARD)`,
		func(w *walk) string { return w.tx.Client.Login }),
}

var senderNames = []name{
	text("sender.address", "sender as local@domain, domain as in sender.domain; "+
		`"" for the null sender`,
		func(w *walk) string { return w.senderAddress() }).check(checkAddressLiteral),
	text("sender.local", "local part of the sender, unquoted, case as written",
		func(w *walk) string { return w.tx.Mail.From.Local() }),
	text("sender.domain", "domain of the sender, lower case, A-labels (xn--...)",
		func(w *walk) string { return w.tx.Mail.From.ASCIIDomain() }).domain(),
	truth("sender.role", "as recipient.role, of the sender",
		func(w *walk) bool { return isRole(w.tx.Mail.From.Local()) }),
	truth("sender.free", "as recipient.free, of the sender",
		func(w *walk) bool { return isFree(w.tx.Mail.From.ASCIIDomain()) }),
	whole("sender.messages_minute", "messages of the sender (its login; else the client and the "+
		"sender's domain) in the last minute, with this one",
		func(w *walk) int { return w.counters().MessagesMinute }),
	whole("sender.messages_hour", "the same in the last hour",
		func(w *walk) int { return w.counters().MessagesHour }),
	whole("sender.messages_day", "the same in the last day",
		func(w *walk) int { return w.counters().MessagesDay }),
	whole("sender.recipients_minute", "recipients of the sender in the last minute, with this one",
		func(w *walk) int { return w.counters().RecipientsMinute }),
	whole("sender.recipients_hour", "the same in the last hour",
		func(w *walk) int { return w.counters().RecipientsHour }),
	whole("sender.recipients_day", "the same in the last day",
		func(w *walk) int { return w.counters().RecipientsDay }),
	fraction("sender.invalid", "share of the sender's recipients of the last day that do not exist, "+
		"0 to 1", func(w *walk) float64 { return w.counters().Invalid }),
	text("sender.state", "what list hygiene says about the sender",
		func(w *walk) string { return string(w.counters().State) }).oneOf(stateValues),
}

var recipientNames = []name{
	text("recipient.address", "recipient as local@domain, domain as in recipient.domain",
		func(w *walk) string { return w.recipientAddress() }).check(checkAddressLiteral),
	text("recipient.local", "local part of the recipient, unquoted, case as written",
		func(w *walk) string { return w.rcpt.To.Local() }),
	text("recipient.domain", `domain of the recipient, lower case, A-labels (xn--...); "" for `+
		`<postmaster>`, func(w *walk) string { return w.rcpt.To.ASCIIDomain() }).domain(),
	truth("recipient.role", "the local part belongs to a role, not to a person: info, sales, abuse, "+
		"postmaster, list-request, noreply, ...",
		func(w *walk) bool { return isRole(w.rcpt.To.Local()) }),
	truth("recipient.disposable", "the domain, or one above it, gives out mailboxes to be thrown away",
		func(w *walk) bool { return isDisposable(w.rcpt.To.ASCIIDomain()) }),
	truth("recipient.free", "anybody gets a mailbox at the domain for nothing: gmail.com, ...",
		func(w *walk) bool { return isFree(w.rcpt.To.ASCIIDomain()) }),
}

// mailNames are those of the message and of what rules before this one left.
var mailNames = []name{
	text("door", "where the question came in, at the proxy or at the Postfix policy service",
		func(w *walk) string {
			if w.tx.Door == "" {
				return DoorSMTP
			}
			return w.tx.Door
		}).oneOf([]string{DoorSMTP, DoorPolicyd}),
	whole("size", "octets of the message as the client announced them (SIZE=); 0 if it did not",
		func(w *walk) int { return clampSize(w.tx.Mail.Size) }),
	truth("null_sender", "the message is a bounce: MAIL FROM:<>",
		func(w *walk) bool { return w.tx.Mail.From.IsNull() }),
	truth("trusted", "the session came through a mail server that gave XFORWARD",
		func(w *walk) bool { return w.tx.Client.Trusted }),
	truth("suppressed", "the recipient is on the suppression list for this sender; rules see it only "+
		`with policy.suppression.mode = "rules", as it is refused before them otherwise`,
		func(w *walk) bool { return w.isSuppressed() }),
	group(marksName, `what rules before this one marked the recipient with, for "NAME" in marks`),
	group(listsMember, "entries of the file that policy.lists has under this name, for "+
		"recipient.address in lists.NAME"),
}

var verdictNames = []name{
	lazyText("verdict", "what is known about the mailbox",
		func(r *verify.Result) string { return string(verdictOf(r)) }).oneOf(verdictValues),
	lazyFlag("proof", "the verdict undeliverable is proven: by a refusal of this very recipient, "+
		"a null MX, or a domain that does not exist", isProven),
	lazyText("reason", "why the verdict is what it is",
		func(r *verify.Result) string { return string(r.Reason) }).oneOf(reasonValues()),
	lazyNumber("confidence", "how sure the verdict is, 0 to 1",
		func(r *verify.Result) float64 { return r.Confidence }),
	lazyNumber("deliverability", "probability that mail to the mailbox will be delivered, 0 to 1",
		func(r *verify.Result) float64 { return r.Deliverability }),
	lazyText("provider", `mail provider of the recipient's domain; "" if not known`,
		func(r *verify.Result) string { return r.Provider }),
	lazyFlag("catch_all", "the domain is known to accept every local part",
		func(r *verify.Result) bool { return r.CatchAll }),
	lazyText("mx", `mail server that was asked, lower case; "" if none was`,
		func(r *verify.Result) string { return strings.ToLower(r.MX) }).domain(),
	lazyText("stage", `how far the conversation with the mail server came; "" if there was none`,
		func(r *verify.Result) string { return string(r.Stage) }).oneOf(stageValues),
}

func text(path, doc string, get func(*walk) string) name {
	return name{Name: Name{Name: path, Type: "string", Doc: doc}, text: get}
}

func truth(path, doc string, get func(*walk) bool) name {
	return name{Name: Name{Name: path, Type: "bool", Doc: doc}, flag: get}
}

func whole(path, doc string, get func(*walk) int) name {
	return name{Name: Name{Name: path, Type: "number", Doc: doc}, whole: get}
}

// fraction is a name whose values are from 0 to 1: comparisons with percentages are faults.
func fraction(path, doc string, get func(*walk) float64) name {
	n := name{Name: Name{Name: path, Type: "number", Doc: doc}, number: get}
	return n.check(checkFractionLiteral(path))
}

func group(path, doc string) name { return name{Name: Name{Name: path, Type: "list", Doc: doc}} }

func lazyText(path, doc string, get func(*verify.Result) string) name {
	return text(path, doc, func(w *walk) string { return get(w.ask()) }).lazy()
}

func lazyFlag(path, doc string, get func(*verify.Result) bool) name {
	return truth(path, doc, func(w *walk) bool { return get(w.ask()) }).lazy()
}

func lazyNumber(path, doc string, get func(*verify.Result) float64) name {
	return fraction(path, doc, func(w *walk) float64 { return get(w.ask()) }).lazy()
}

func (n name) lazy() name {
	n.Lazy = true
	return n
}

func (n name) check(literal func(any) (string, string)) name {
	n.literal = literal
	return n
}

func (n name) domain() name {
	n.lower = true
	return n.check(checkDomainLiteral)
}

func (n name) oneOf(values []string) name {
	n.Values = values
	return n.check(closedSet(n.Name.Name, values))
}

// value is the name's value for expr.
func (n *name) value(w *walk) any {
	switch {
	case n.text != nil:
		return n.text(w)
	case n.flag != nil:
		return n.flag(w)
	case n.whole != nil:
		return n.whole(w)
	default:
		return n.number(w)
	}
}

// function is what the name is to expr: a call with the environment.
func (n *name) function() expr.Option {
	var kind any
	switch {
	case n.text != nil:
		kind = new(func(*facts) string)
	case n.flag != nil:
		kind = new(func(*facts) bool)
	case n.whole != nil:
		kind = new(func(*facts) int)
	default:
		kind = new(func(*facts) float64)
	}
	return expr.Function(nameFunction(n.Name.Name), func(params ...any) (any, error) {
		if len(params) == 1 {
			if f, ok := params[0].(*facts); ok {
				return n.value(f.walk), nil
			}
		}
		return nil, fmt.Errorf("%s: evaluated outside of a walk", n.Name.Name)
	}, kind)
}

// lookupName finds a name of the vocabulary.
func lookupName(path string) (*name, bool) {
	for i := range names {
		if names[i].Name.Name == path {
			return &names[i], true
		}
	}
	return nil, false
}

// allNames is every name as written in conditions, for hints.
func allNames() []string {
	list := make([]string, len(names))
	for i := range names {
		list[i] = names[i].Name.Name
	}
	return list
}

// membersOf lists the names under a group such as "client"; none if it is no group.
func membersOf(group string) []string {
	var list []string
	for _, path := range allNames() {
		if strings.HasPrefix(path, group+".") {
			list = append(list, path)
		}
	}
	return list
}

// nameFunction is the internal name of the function behind a name. Nobody can write it in a
// condition: the parentheses are part of it.
func nameFunction(path string) string { return path + "()" }

// functions are the functions of conditions: those behind the names, and inNetwork, whose networks
// were parsed when the rule was compiled.
func functions() []expr.Option {
	var options []expr.Option
	for i := range names {
		if names[i].Type != "list" {
			options = append(options, names[i].function())
		}
	}
	return append(options,
		expr.Function(inNetworkName, inNetwork, new(func(string, []netip.Prefix) bool)),
		expr.Function(inListFunction, inList, new(func(string, *list) bool)),
		expr.Function(markedFunction, marked, new(func(*facts, string) bool)))
}

// The internal functions behind x in lists.NAME and "NAME" in marks.
const (
	inListFunction = "in lists()"
	markedFunction = "in marks()"
)

func inList(params ...any) (any, error) {
	if len(params) == 2 {
		value, isString := params[0].(string)
		if l, ok := params[1].(*list); isString && ok {
			return l.match(value), nil
		}
	}
	return nil, errors.New("lists: evaluated outside of a rule")
}

func marked(params ...any) (any, error) {
	if len(params) == 2 {
		f, ok := params[0].(*facts)
		if mark, isString := params[1].(string); isString && ok {
			return f.walk.marked(mark), nil
		}
	}
	return nil, errors.New("marks: evaluated outside of a walk")
}

const inNetworkName = "inNetwork"

// inNetwork says whether an address lies in one of the networks. What is no address lies in none.
func inNetwork(params ...any) (any, error) {
	if len(params) != 2 {
		return nil, fmt.Errorf("inNetwork: %d parameters, not 2", len(params))
	}
	text, isString := params[0].(string)
	networks, isList := params[1].([]netip.Prefix)
	if !isString || !isList {
		return nil, fmt.Errorf("inNetwork: cannot use %T and %T", params[0], params[1])
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false, nil //nolint:nilerr // an unknown client is in no network; that is an answer
	}
	addr = addr.Unmap().WithZone("")
	for _, network := range networks {
		if network.Contains(addr) {
			return true, nil
		}
	}
	return false, nil
}
