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
	Action string // "accept", "reject", "defer" or "continue"

	// Code, EnhancedCode and Text make the reply of a rule that refuses; zero values choose them by
	// what is known. A code that is written out is used whatever the verdict.
	Code         int
	EnhancedCode string
	Text         string

	// Mark and Header are for rules that accept or continue. Mark is what "NAME" in marks finds in
	// later rules, and what message checks and the journal see. Header is a field that is put on top
	// of the message, "X-Rcptgate: {verdict} {reason}".
	Mark   string
	Header string

	File string // where the rule stands, for errors
	Line int
}

// maxRules bounds a rule set. Evaluation is linear in it.
const maxRules = 1000

const builtinPrefix = "built-in: "

// actionValues are the actions of rules. Read only.
var actionValues = []Action{Accept, Reject, Defer, Continue}

// Codes that a rule may write out: those of RFC 5321 section 4.2.3 and RFC 7505 that are answers to
// RCPT. 421 is not among them: it ends the client's session, and with it every other recipient.
var (
	deferCodes  = []int{450, 451, 452}
	rejectCodes = []int{550, 551, 552, 553, 554, 556}
)

// compileRules checks and compiles the configured rules and, behind them, those of the preset. All
// faults of all rules are reported.
func compileRules(
	configured []Rule, preset string, lists map[string]*list,
) ([]*compiledRule, RuleErrors) {
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
		c := &ruleCompiler{rule: rule, index: i, lists: lists}
		if rule.Name == "" {
			c.rule.Name = fmt.Sprintf("rule %d", i+1)
		}
		c.name(seen)
		compiled = append(compiled, c.compile())
		faults = append(faults, c.faults...)
	}
	builtin, unknown := builtinRules(preset)
	faults = append(faults, unknown...)
	for i, rule := range builtin {
		c := &ruleCompiler{rule: rule, index: len(configured) + i}
		own := c.compile()
		own.builtin = true
		compiled = append(compiled, own)
		faults = append(faults, c.faults...)
	}
	return compiled, faults
}

// ruleCompiler compiles one rule and collects its faults.
type ruleCompiler struct {
	rule   Rule
	index  int
	lists  map[string]*list
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
	condition, fault := compileCondition(c.rule.When, c.lists)
	if fault != nil {
		c.fail("when", fault.row, fault.column, fault.detail, fault.hint)
	} else {
		compiled.condition, compiled.native = condition.program, condition.native
		compiled.domains = needsDomains(condition.tree)
	}
	if !c.action(compiled) {
		return compiled
	}
	c.marks(compiled)
	if compiled.action == Accept || compiled.action == Continue {
		c.noReply(compiled.action)
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

// noReply refuses the parts of a reply where the rule has none.
func (c *ruleCompiler) noReply(action Action) {
	const hint = "remove it, or use the action reject or defer"
	detail := "accept has no reply of ours: the relay answers"
	if action == Continue {
		detail = "continue has no reply: a later rule decides"
	}
	if c.rule.Code != 0 {
		c.fail("code", 0, 0, detail, hint)
	}
	if c.rule.EnhancedCode != "" {
		c.fail("enhanced_code", 0, 0, detail, hint)
	}
	if c.rule.Text != "" {
		c.fail("text", 0, 0, detail, hint)
	}
}

// marks checks what the rule leaves on the recipient and the message.
func (c *ruleCompiler) marks(compiled *compiledRule) {
	switch compiled.action {
	case Accept:
	case Continue:
		if c.rule.Mark == "" && c.rule.Header == "" {
			c.fail("action", 0, 0, "a rule that continues without a mark or header does nothing",
				`write mark = "NAME", and in a later rule "NAME" in marks`)
		}
	default:
		const hint = "remove it, or use the action accept or continue"
		if c.rule.Mark != "" {
			c.fail("mark", 0, 0, "a refused recipient has no marks", hint)
		}
		if c.rule.Header != "" {
			c.fail("header", 0, 0, "a refused recipient gets no message", hint)
		}
		return
	}
	if c.rule.Mark != "" {
		if detail, hint := checkMark(c.rule.Mark); detail != "" {
			c.fail("mark", 0, 0, detail, hint)
		}
	}
	if c.rule.Header != "" {
		header, column, detail, hint := parseHeader(c.rule.Header)
		if detail != "" {
			c.fail("header", min(column, 1), column, detail, hint)
		}
		compiled.header = header
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
		text, column, detail, hint := parseTemplate(c.rule.Text, placeholders)
		if detail != "" {
			row := min(column, 1)
			c.fail("text", row, column, detail, hint)
		}
		compiled.text = text
	}
}
