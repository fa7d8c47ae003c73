package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/expr-lang/expr"

	"github.com/rcptgate/rcptgate/internal/esmtp"
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
		list[i] = n.doc
	}
	return list
}

// name adds to the documentation what the engine needs.
type name struct {
	doc Name

	// literal checks a literal that the name is compared with by ==, != or in. It returns what is
	// wrong with it and what to write, or "", "".
	literal func(value any) (detail, hint string)

	// lazy is what a lazy name compiles to: the function is called when evaluation reaches it.
	lazy     func(params ...any) (any, error)
	function any // its type, as expr.Function wants it
}

// names is the vocabulary. Read only.
var names = []name{
	{doc: Name{
		Name: "client.addr", Type: "string",
		Doc: "IP address of the client, as XFORWARD or the connection says; \"\" if unknown",
	}, literal: checkAddrLiteral},
	{doc: Name{
		Name: "client.name", Type: "string",
		Doc: "verified host name of the client, lower case; \"\" if unknown",
	}, literal: checkDomainLiteral},
	{doc: Name{
		Name: "client.helo", Type: "string",
		Doc: "what the client greeted with, as it wrote it",
	}},
	{doc: Name{
		Name: "client.login", Type: "string",
		Doc: "SASL user; \"\" if unknown (Postfix does not tell it by XFORWARD)",
	}},
	{doc: Name{
		Name: "sender.address", Type: "string",
		Doc: "sender as local@domain, domain as in sender.domain; \"\" for the null sender",
	}},
	{doc: Name{
		Name: "sender.local", Type: "string",
		Doc: "local part of the sender, unquoted, case as written",
	}},
	{doc: Name{
		Name: "sender.domain", Type: "string",
		Doc: "domain of the sender, lower case, A-labels (xn--...)",
	}, literal: checkDomainLiteral},
	{doc: Name{
		Name: "recipient.address", Type: "string",
		Doc: "recipient as local@domain, domain as in recipient.domain",
	}},
	{doc: Name{
		Name: "recipient.local", Type: "string",
		Doc: "local part of the recipient, unquoted, case as written",
	}},
	{doc: Name{
		Name: "recipient.domain", Type: "string",
		Doc: "domain of the recipient, lower case, A-labels (xn--...); \"\" for <postmaster>",
	}, literal: checkDomainLiteral},
	{doc: Name{
		Name: "size", Type: "number",
		Doc: "octets of the message as the client announced them (SIZE=); 0 if it did not",
	}},
	{doc: Name{
		Name: "null_sender", Type: "bool",
		Doc: "the message is a bounce: MAIL FROM:<>",
	}},
	{doc: Name{
		Name: "trusted", Type: "bool",
		Doc: "the session came through a mail server that gave XFORWARD",
	}},
	{
		doc: Name{
			Name: "verdict", Type: "string", Lazy: true, Values: verdictValues,
			Doc: "what is known about the mailbox",
		}, literal: closedSet("verdict", verdictValues), function: new(func(*facts) string),
		lazy: lazily(func(w *walk) any { return string(w.verdict()) }),
	},
	{
		doc: Name{
			Name: "proof", Type: "bool", Lazy: true,
			Doc: "the verdict undeliverable is proven: by a refusal of this very recipient, a null MX, " +
				"or a domain that does not exist",
		}, function: new(func(*facts) bool),
		lazy: lazily(func(w *walk) any { return w.proven() }),
	},
	{
		doc: Name{
			Name: "reason", Type: "string", Lazy: true, Values: reasonValues(),
			Doc: "why the verdict is what it is",
		}, literal: closedSet("reason", reasonValues()), function: new(func(*facts) string),
		lazy: lazily(func(w *walk) any { return string(w.ask().Reason) }),
	},
	{
		doc: Name{
			Name: "confidence", Type: "number", Lazy: true,
			Doc: "how sure the verdict is, 0 to 1",
		}, literal: checkFractionLiteral("confidence"), function: new(func(*facts) float64),
		lazy: lazily(func(w *walk) any { return w.ask().Confidence }),
	},
	{
		doc: Name{
			Name: "deliverability", Type: "number", Lazy: true,
			Doc: "probability that mail to the mailbox will be delivered, 0 to 1",
		}, literal: checkFractionLiteral("deliverability"), function: new(func(*facts) float64),
		lazy: lazily(func(w *walk) any { return w.ask().Deliverability }),
	},
	{
		doc: Name{
			Name: "provider", Type: "string", Lazy: true,
			Doc: "mail provider of the recipient's domain; \"\" if not known",
		}, function: new(func(*facts) string),
		lazy: lazily(func(w *walk) any { return w.ask().Provider }),
	},
	{
		doc: Name{
			Name: "catch_all", Type: "bool", Lazy: true,
			Doc: "the domain is known to accept every local part",
		}, function: new(func(*facts) bool),
		lazy: lazily(func(w *walk) any { return w.ask().CatchAll }),
	},
	{
		doc: Name{
			Name: "mx", Type: "string", Lazy: true,
			Doc: "mail server that was asked; \"\" if none was",
		}, literal: checkDomainLiteral, function: new(func(*facts) string),
		lazy: lazily(func(w *walk) any { return w.ask().MX }),
	},
	{
		doc: Name{
			Name: "stage", Type: "string", Lazy: true, Values: stageValues,
			Doc: "how far the conversation with the mail server came; \"\" if there was none",
		}, literal: closedSet("stage", stageValues), function: new(func(*facts) string),
		lazy: lazily(func(w *walk) any { return string(w.ask().Stage) }),
	},
}

// lazily turns a question about the walk into the function that a lazy name compiles to.
func lazily(get func(*walk) any) func(...any) (any, error) {
	return func(params ...any) (any, error) {
		if len(params) == 1 {
			if f, ok := params[0].(*facts); ok {
				return get(f.walk), nil
			}
		}
		return nil, fmt.Errorf("called with %d parameters outside of a walk", len(params))
	}
}

// lookupName finds a name of the vocabulary.
func lookupName(path string) (*name, bool) {
	for i := range names {
		if names[i].doc.Name == path {
			return &names[i], true
		}
	}
	return nil, false
}

// allNames is every name as written in conditions, for hints.
func allNames() []string {
	list := make([]string, len(names))
	for i := range names {
		list[i] = names[i].doc.Name
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
		if names[i].lazy != nil {
			options = append(options,
				expr.Function(lazyFunction(names[i].doc.Name), names[i].lazy, names[i].function))
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

// closedSet is the literal check of an enumeration.
func closedSet(path string, values []string) func(any) (string, string) {
	return func(value any) (string, string) {
		text, ok := value.(string)
		if !ok {
			return "", "" // the type check says it better
		}
		for _, valid := range values {
			if text == valid {
				return "", ""
			}
		}
		return fmt.Sprintf("%s is never %q", path, text), oneOf(text, values)
	}
}

// checkFractionLiteral catches percentages: confidence > 90 would never be true.
func checkFractionLiteral(path string) func(any) (string, string) {
	return func(value any) (string, string) {
		var number float64
		switch v := value.(type) {
		case int:
			number = float64(v)
		case float64:
			number = v
		default:
			return "", ""
		}
		if number >= 0 && number <= 1 {
			return "", ""
		}
		return fmt.Sprintf("%s is a number from 0 to 1, never compared with %v", path, number),
			"write 0.9 for 90 %"
	}
}

// checkDomainLiteral catches literals that no domain of ours equals: those are lower case A-labels.
func checkDomainLiteral(value any) (detail, hint string) {
	text, ok := value.(string)
	if !ok || text == "" || strings.HasPrefix(text, "[") {
		return "", ""
	}
	if strings.Contains(text, "@") {
		return fmt.Sprintf("a domain is never %q", text),
			"compare .address with an address, .domain with what follows the @"
	}
	if strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") {
		return fmt.Sprintf("a domain is never %q", text),
			fmt.Sprintf("write %q, or domain endsWith %q for its subdomains",
				strings.Trim(text, "."), "."+strings.Trim(text, "."))
	}
	folded := strings.ToLower(text)
	if address, err := esmtp.ParseAddress("x@"+text, true); err == nil {
		folded = address.ASCIIDomain()
	}
	if folded != text {
		return fmt.Sprintf("domains are compared in lower case and as A-labels, never %q", text),
			fmt.Sprintf("write %q", folded)
	}
	return "", ""
}

// checkAddrLiteral catches literals that no client.addr equals.
func checkAddrLiteral(value any) (detail, hint string) {
	text, ok := value.(string)
	if !ok || text == "" {
		return "", ""
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return fmt.Sprintf("client.addr is one address, never the network %q", text),
			fmt.Sprintf("write inNetwork(client.addr, %q)", text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Sprintf("client.addr is an IP address, never %q", text),
			"compare client.name with a host name"
	}
	if written := addr.Unmap().WithZone("").String(); written != text {
		return fmt.Sprintf("client.addr is never written %q", text), fmt.Sprintf("write %q", written)
	}
	return "", ""
}
