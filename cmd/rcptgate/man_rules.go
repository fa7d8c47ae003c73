package main

import (
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/message"
)

// rulesPage is rcptgate-rules(7): how to write rules. Its tables are those of the packages that
// evaluate them.
func rulesPage(when time.Time) manPage {
	page := manPage{name: "rcptgate-rules", section: 7}
	r := newRoff(page, when)
	r.section("NAME")
	r.line("rcptgate-rules - the rules that decide about recipients")
	r.section("DESCRIPTION")
	r.prose(rulesIntroduction)
	r.section("KEYS OF A RULE")
	for _, key := range ruleKeys() {
		r.item(r.bold(key.name))
		r.line(key.text)
	}
	r.section("CONDITIONS")
	r.prose(rulesConditions)
	r.subsection("Names that cost nothing")
	r.names(false)
	r.subsection("Names that ask the recipient's mail server")
	r.line("They are lazy: it is asked, once for each recipient, when an evaluation reaches the first " +
		"of them. && and || evaluate their right side only when it matters.")
	r.names(true)
	r.section("REFUSALS")
	r.prose(rulesRefusals)
	r.section("PRESETS")
	for _, preset := range policy.Presets() {
		r.item(r.bold(preset.Name))
		r.line(preset.Doc)
		var rules strings.Builder
		for _, rule := range preset.Rules {
			writef(&rules, "%s: %s if %s\n", rule.Name, rule.Action, rule.When)
		}
		r.verbatim(rules.String())
	}
	r.section("CHECKS OF MESSAGES")
	r.line("What policy.message.checks can name, and what each of them finds; in brackets the level " +
		"that the preset bulk gives it.")
	for _, check := range message.Checks() {
		r.item(r.bold(string(check.Check)) + " [" + check.Bulk.String() + "]")
		text := check.Finds + "."
		if check.Signed {
			text += ` Off with position = "later".`
		}
		r.line(text)
	}
	r.section("EXAMPLES")
	r.verbatim(rulesExample)
	r.section("SEE ALSO")
	r.references("rcptgate(1)", "rcptgate-explain(1)", "rcptgate-check-config(1)", "rcptgate.toml(5)")
	page.text = r.String()
	return page
}

func (r *roff) names(lazy bool) {
	for _, name := range policy.Names() {
		if name.Lazy != lazy {
			continue
		}
		r.item(r.bold(name.Name) + " (" + name.Type + ")")
		text := name.Doc
		if name.Values != nil && len(name.Values) < 10 {
			text += ". One of " + strings.Join(name.Values, ", ")
		}
		r.line(text + ".")
	}
}

const rulesIntroduction = `Rules decide what becomes of a recipient: relay it, refuse it for now, or refuse it for good.
They are tables [[policy.rules]] of the configuration. They are tried in order, and the first
whose condition is true decides. Behind them stand the rules of the preset that policy.preset
names.

With policy.mode = "shadow" everything is decided and recorded, but accepted.`

// ruleKeys describes the keys of config.Rule; a test compares the two.
func ruleKeys() []struct{ name, text string } {
	return []struct{ name, text string }{
		{"name", "Unique; it stands in the log, in metrics and in explanations."},
		{"when", "The condition, an expression that gives true or false."},
		{"action", "accept (the relay's reply is the client's), reject (5xx), defer (4xx), or continue: " +
			"leave a mark or a header and go on with the next rule."},
		{"mark", `For accept and continue: a name for "NAME" in marks in later rules, and for the journal. ` +
			"Small letters, digits, - and _."},
		{"header", `For accept and continue: a header field for the message, such as ` +
			`"X-Rcptgate: {verdict} {reason}". Nothing that names a recipient may stand in it.`},
		{"code", "For defer 450, 451 or 452; for reject 550, 551, 552, 553, 554 or 556."},
		{"enhanced_code", `RFC 3463, its class that of the action, such as "5.7.1".`},
		{"text", "One line of ASCII, at most 400 octets, with {recipient} {domain} {sender} {client} " +
			"{verdict} {reason} {mx} {code} {enhanced} {stage} {rule} {marks} {ref}. Without {ref} the " +
			"reference is appended."},
	}
}

const rulesConditions = `Conditions are expressions of https://expr-lang.org. Operators: == != < <= > >= && || ! (and, or,
not), in, contains, startsWith, endsWith, matches (RE2, with a literal pattern), + - * / % and
c ? a : b. Functions: inNetwork(address, network...), all, any, none, one, hasPrefix,
hasSuffix, indexOf, lastIndexOf, len, lower, split, trim, trimPrefix, trimSuffix, upper.

A comparison with a value that a name never has is a fault that check-config tells. A condition
that breaks when it is evaluated (a division by zero) has not matched.`

const rulesRefusals = `A verdict refuses for good only by proof, whatever the rule says. A reject whose condition asked
the recipient's mail server and got no proof becomes a defer, unless the rule writes its code
out. A mark that a verdict set carries that on. In an "or", therefore, write what needs no verdict
first, or make it a rule of its own.

Every refusal carries a reference, "(ref KX2M7QRT)", that also stands in the log and in the
journal. Codes that a rule does not write out are chosen by what is known of the recipient: 550
5.1.1 for a mailbox that does not exist, 452 4.2.2 for one that is full.`

const rulesExample = `[[policy.rules]]
name = "our own domain needs no probe"
when = 'recipient.domain == "example.com"'
action = "accept"

[[policy.rules]]
name = "big messages only to people we know of"
when = 'size > 10_000_000 && verdict != "deliverable"'
action = "defer"
text = "{recipient} is not confirmed yet; try again later"`
