package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/expr-lang/expr"

	"github.com/rcptgate/rcptgate/verify"
)

// Name is one name that a condition may use.
type Name struct {
	Name string
	Type string // "string", "number" or "bool"

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

	// get is what a lazy name compiles to: it is called when evaluation reaches the name.
	get      func(params ...any) (any, error)
	function any // its type, as expr.Function wants it
}

// names is the vocabulary. Read only.
var names = []name{
	free("client.addr", "string",
		`IP address of the client, as XFORWARD or the connection says; "" if unknown`).
		check(checkAddrLiteral),
	free("client.name", "string",
		`verified host name of the client, lower case; "" if unknown`).domain(),
	free("client.helo", "string", "what the client greeted with, as it wrote it"),
	free("client.login", "string",
		`SASL user; "" if unknown (Postfix does not tell it by XFORWARD)`),
	free("sender.address", "string",
		`sender as local@domain, domain as in sender.domain; "" for the null sender`).
		check(checkAddressLiteral),
	free("sender.local", "string", "local part of the sender, unquoted, case as written"),
	free("sender.domain", "string",
		"domain of the sender, lower case, A-labels (xn--...)").domain(),
	free("recipient.address", "string",
		"recipient as local@domain, domain as in recipient.domain").check(checkAddressLiteral),
	free("recipient.local", "string", "local part of the recipient, unquoted, case as written"),
	free("recipient.domain", "string",
		`domain of the recipient, lower case, A-labels (xn--...); "" for <postmaster>`).domain(),
	free("size", "number",
		"octets of the message as the client announced them (SIZE=); 0 if it did not"),
	free("null_sender", "bool", "the message is a bounce: MAIL FROM:<>"),
	free("trusted", "bool", "the session came through a mail server that gave XFORWARD"),

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

// free is a name whose value is a field of facts.
func free(path, kind, doc string) name { return name{Name: Name{Name: path, Type: kind, Doc: doc}} }

func lazyText(path, doc string, get func(*verify.Result) string) name {
	n := lazily(path, "string", doc, func(r *verify.Result) any { return get(r) })
	n.function = new(func(*facts) string)
	return n
}

func lazyFlag(path, doc string, get func(*verify.Result) bool) name {
	n := lazily(path, "bool", doc, func(r *verify.Result) any { return get(r) })
	n.function = new(func(*facts) bool)
	return n
}

// lazyNumber is a name whose values are fractions: comparisons with percentages are faults.
func lazyNumber(path, doc string, get func(*verify.Result) float64) name {
	n := lazily(path, "number", doc, func(r *verify.Result) any { return get(r) })
	n.function = new(func(*facts) float64)
	return n.check(checkFractionLiteral(path))
}

// lazily is a name whose value is asked of the verifier.
func lazily(path, kind, doc string, get func(*verify.Result) any) name {
	n := free(path, kind, doc)
	n.Lazy = true
	n.get = func(params ...any) (any, error) {
		if len(params) == 1 {
			if f, ok := params[0].(*facts); ok {
				return get(f.walk.ask()), nil
			}
		}
		return nil, fmt.Errorf("%s: evaluated outside of a walk", path)
	}
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

// lazyFunction is the internal name of the function behind a lazy name. Nobody can write it in a
// condition: the parentheses are part of it.
func lazyFunction(path string) string { return path + "()" }

// functions are the functions of conditions: the lazy names and inNetwork, whose networks were
// parsed when the rule was compiled.
func functions() []expr.Option {
	var options []expr.Option
	for i := range names {
		if names[i].Lazy {
			options = append(options,
				expr.Function(lazyFunction(names[i].Name.Name), names[i].get, names[i].function))
		}
	}
	return append(options, expr.Function(inNetworkName, inNetwork,
		new(func(string, []netip.Prefix) bool)))
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
