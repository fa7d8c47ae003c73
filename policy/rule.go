package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Rule is one [[policy.rules]] table.
type Rule struct {
	Name   string // unique; "" becomes "rule 3" by its position
	When   string // the condition
	Action string // "accept", "reject" or "defer"

	// Code, EnhancedCode and Text make the reply of a rule that refuses; zero values choose them by
	// what is known. A code that is written out is used whatever the verdict.
	Code         int
	EnhancedCode string
	Text         string

	File string // where the rule stands, for errors
	Line int
}

// maxRules bounds a rule set. Evaluation is linear in it.
const maxRules = 1000

const builtinPrefix = "built-in: "

// BuiltinRules are the rules that follow the configured ones. They are rules like all others.
func BuiltinRules() []Rule {
	return []Rule{
		{
			Name:   builtinPrefix + "refuse what is proven undeliverable",
			When:   `verdict == "undeliverable" && proof`,
			Action: Reject.String(),
		},
		{
			Name:   builtinPrefix + "accept everything else",
			When:   "true",
			Action: Accept.String(),
		},
	}
}

// natively are the conditions of the built-in rules once more, for speed: most recipients meet no
// other. A test holds both to the same answers.
var natively = [...]func(*walk) bool{
	func(w *walk) bool { return isProven(w.ask()) },
	func(*walk) bool { return true },
}

// actionValues are the actions of rules. Read only.
var actionValues = []Action{Accept, Reject, Defer}

// Codes that a rule may write out: those of RFC 5321 section 4.2.3 and RFC 7505 that are answers to
// RCPT. 421 is not among them: it ends the client's session, and with it every other recipient.
var (
	deferCodes  = []int{450, 451, 452}
	rejectCodes = []int{550, 551, 552, 553, 554, 556}
)

// compileRules checks and compiles the configured rules and, behind them, the built-in ones. All
// faults of all rules are reported.
func compileRules(configured []Rule) ([]*compiledRule, RuleErrors) {
	if len(configured) > maxRules {
		return nil, RuleErrors{{
			Index: -1, Field: "rules",
			Detail: fmt.Sprintf("%d rules, more than %d", len(configured), maxRules),
			Hint:   `join rules: recipient.domain in ["example.com", "example.net"]`,
		}}
	}
	var (
		compiled []*compiledRule
		faults   RuleErrors
		seen     = make(map[string]int)
	)
	for i, rule := range configured {
		c := &ruleCompiler{rule: rule, index: i}
		if rule.Name == "" {
			c.rule.Name = fmt.Sprintf("rule %d", i+1)
		}
		c.name(seen)
		compiled = append(compiled, c.compile())
		faults = append(faults, c.faults...)
	}
	for i, rule := range BuiltinRules() {
		c := &ruleCompiler{rule: rule, index: len(configured) + i}
		own := c.compile()
		own.builtin, own.native = true, natively[i]
		compiled = append(compiled, own)
		faults = append(faults, c.faults...)
	}
	return compiled, faults
}

// ruleCompiler compiles one rule and collects its faults.
type ruleCompiler struct {
	rule   Rule
	index  int
	faults RuleErrors
}

func (c *ruleCompiler) fail(field string, row, column int, detail, hint string) {
	c.faults = append(c.faults, &RuleError{
		Rule: c.rule.Name, Index: c.index, Field: field,
		File: c.rule.File, Line: c.rule.Line, Row: row, Column: column,
		Detail: detail, Hint: hint,
	})
}

// name checks that the name can stand in a log line and tells the rule apart.
func (c *ruleCompiler) name(seen map[string]int) {
	switch first, taken := seen[c.rule.Name]; {
	case taken:
		c.fail("name", 0, 0, fmt.Sprintf("rule %d has the same name", first+1),
			"give each rule its own name: the log tells rules apart by it")
	case strings.HasPrefix(c.rule.Name, builtinPrefix):
		c.fail("name", 0, 0, fmt.Sprintf("names that begin with %q are taken", builtinPrefix),
			"give the rule another name")
	case len(c.rule.Name) > 100:
		c.fail("name", 0, 0, "the name is longer than 100 octets", "shorten it")
	case strings.ContainsFunc(c.rule.Name, func(r rune) bool { return r < ' ' || r > '~' }):
		c.fail("name", 0, 0, "the name has characters beyond printable ASCII",
			"it stands in the log: write printable ASCII")
	}
	if _, taken := seen[c.rule.Name]; !taken {
		seen[c.rule.Name] = c.index
	}
}

func (c *ruleCompiler) compile() *compiledRule {
	compiled := &compiledRule{Rule: c.rule}
	program, fault := compileCondition(c.rule.When)
	if fault != nil {
		c.fail("when", fault.row, fault.column, fault.detail, fault.hint)
	}
	compiled.condition = program
	compiled.domains = fault == nil && needsDomains(c.rule.When)
	if !c.action(compiled) {
		return compiled
	}
	if compiled.action == Accept {
		c.noReply()
		return compiled
	}
	c.reply(compiled)
	return compiled
}

func (c *ruleCompiler) action(compiled *compiledRule) bool {
	valid := make([]string, len(actionValues))
	for i, action := range actionValues {
		valid[i] = action.String()
		if c.rule.Action == valid[i] {
			compiled.action = action
			return true
		}
	}
	detail := fmt.Sprintf("unknown action %q", c.rule.Action)
	if c.rule.Action == "" {
		detail = "the action is missing"
	}
	c.fail("action", 0, 0, detail, oneOf(c.rule.Action, valid))
	return false
}

// noReply refuses the parts of a reply where the relay's reply is the client's.
func (c *ruleCompiler) noReply() {
	const hint = "remove it, or use the action reject or defer"
	if c.rule.Code != 0 {
		c.fail("code", 0, 0, "accept has no reply of ours: the relay answers", hint)
	}
	if c.rule.EnhancedCode != "" {
		c.fail("enhanced_code", 0, 0, "accept has no reply of ours: the relay answers", hint)
	}
	if c.rule.Text != "" {
		c.fail("text", 0, 0, "accept has no reply of ours: the relay answers", hint)
	}
}

// reply checks what the rule says about its reply.
func (c *ruleCompiler) reply(compiled *compiledRule) {
	codes, class := rejectCodes, 5
	if compiled.action == Defer {
		codes, class = deferCodes, 4
	}
	if c.rule.Code != 0 && !slices.Contains(codes, c.rule.Code) {
		list := make([]string, len(codes))
		for i, code := range codes {
			list[i] = strconv.Itoa(code)
		}
		hint := fmt.Sprintf("the codes of %s: %s", compiled.action, strings.Join(list, ", "))
		if c.rule.Code == 421 {
			hint += "; 421 would end the client's session with all its other recipients"
		}
		c.fail("code", 0, 0, fmt.Sprintf("%d is no code of %s", c.rule.Code, compiled.action), hint)
	}
	if c.rule.EnhancedCode != "" {
		enhanced, ok := esmtp.ParseEnhancedCode(c.rule.EnhancedCode)
		switch {
		case !ok:
			c.fail("enhanced_code", 0, 0,
				fmt.Sprintf("%q is no enhanced code", c.rule.EnhancedCode),
				fmt.Sprintf(`write class.subject.detail, such as "%d.7.1" (RFC 3463)`, class))
		case enhanced[0] != class:
			c.fail("enhanced_code", 0, 0,
				fmt.Sprintf("the class of %q does not fit %s", c.rule.EnhancedCode, compiled.action),
				fmt.Sprintf("write %q", esmtp.EnhancedCode{class, enhanced[1], enhanced[2]}.String()))
		default:
			compiled.enhanced = enhanced
		}
	}
	if c.rule.Text != "" {
		text, column, detail, hint := parseTemplate(c.rule.Text)
		if detail != "" {
			row := min(column, 1)
			c.fail("text", row, column, detail, hint)
		}
		compiled.text = text
	}
}
