package policy

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Warnings finds configured rules, and parts of their conditions, that can never matter: behind a
// rule that decides everything, with a condition that is never true or that an earlier rule decides
// on already, with a mark that no rule before sets. They are no faults: the rules run as they are.
// Rules that New refuses get none.
func Warnings(cfg Config) RuleErrors {
	c := &ruleWarnings{
		rules: cfg.Rules, decided: make(map[string]int), set: make(map[string]int), unconditional: -1,
	}
	for i, rule := range cfg.Rules {
		if _, seen := c.set[rule.Mark]; rule.Mark != "" && !seen {
			c.set[rule.Mark] = i
		}
	}
	for i, rule := range cfg.Rules {
		tree, err := parser.Parse(rule.When)
		if err != nil {
			continue
		}
		ast.Walk(&tree.Node, sameWords{})
		c.index, c.rule = i, rule
		c.check(tree.Node)
	}
	return c.found
}

// sameWords gives the operators that have two spellings one.
type sameWords struct{}

func (sameWords) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&":
			n.Operator = "and"
		case "||":
			n.Operator = "or"
		}
	case *ast.UnaryNode:
		if n.Operator == "not" {
			n.Operator = "!"
		}
	}
}

// ruleWarnings goes through the rules in order.
type ruleWarnings struct {
	rules []Rule
	found RuleErrors

	index int // of the rule in hand
	rule  Rule

	set           map[string]int // marks, with the first rule that sets each
	unconditional int            // the rule that decides everything; -1: none so far
	// decided has conditions as text, with the rule that decides whenever one of them is true.
	decided map[string]int
}

// warn notes one warning; at is nil for the whole condition.
func (c *ruleWarnings) warn(at ast.Node, detail, hint string) {
	w := &RuleError{
		Rule: c.rule.Name, Index: c.index, Field: "when", File: c.rule.File, Line: c.rule.Line,
		Detail: detail, Hint: hint,
	}
	if w.Rule == "" {
		w.Rule = fmt.Sprintf("rule %d", c.index+1)
	}
	if at != nil {
		bound := (&file.Error{Location: begin(at)}).Bind(file.NewSource(c.rule.When))
		w.Row, w.Column = bound.Line, bound.Column+1
	}
	c.found = append(c.found, w)
}

// begin is where a part begins: expr places operators at themselves.
func begin(n ast.Node) file.Location {
	at := n.Location()
	ast.Find(n, func(inner ast.Node) bool {
		if inner.Location().From < at.From {
			at = inner.Location()
		}
		return false
	})
	return at
}

func (c *ruleWarnings) named(i int) string {
	if name := c.rules[i].Name; name != "" {
		return fmt.Sprintf("rule %d %q", i+1, name)
	}
	return fmt.Sprintf("rule %d", i+1)
}

func (c *ruleWarnings) check(tree ast.Node) {
	if c.unconditional >= 0 {
		c.warn(nil, "is never reached: "+c.named(c.unconditional)+" decides everything before it",
			"put it before that rule, or remove it")
		return
	}
	before := len(c.found)
	ast.Find(tree, func(n ast.Node) bool {
		c.part(n)
		return false
	})
	c.conjunctions(tree)
	truth, constant := constantOf(tree)
	switch {
	case constant && !truth && len(c.found) == before:
		c.warn(nil, "the condition is never true", "remove the rule, or correct its condition")
	case !constant:
		if i, covered := c.covered(tree); covered {
			c.warn(nil, "never matters: "+c.named(i)+" decides whenever this condition is true",
				"put the narrower rule first, or remove it")
		}
	}
	if c.rule.Action == Continue.String() {
		return
	}
	if constant && truth {
		c.unconditional = c.index
	}
	if !usesMarks(tree) { // marks may change on the way to the next rule
		for _, text := range alternatives(tree) {
			if _, known := c.decided[text]; !known {
				c.decided[text] = c.index
			}
		}
	}
}

// part looks at x in [] and "NAME" in marks.
func (c *ruleWarnings) part(n ast.Node) {
	in, ok := n.(*ast.BinaryNode)
	if !ok || in.Operator != "in" {
		return
	}
	if list, ok := in.Right.(*ast.ArrayNode); ok && len(list.Nodes) == 0 {
		c.warn(in.Right, "nothing is in an empty list", "write its values, or remove this part")
	}
	mark, ok := in.Left.(*ast.StringNode)
	if path, _ := pathOf(in.Right); !ok || path != marksName {
		return
	}
	switch first, set := c.set[mark.Value]; {
	case !set:
		set := sortedKeys(c.set)
		hint := `set it in a rule before: action = "continue", mark = "` + mark.Value + `"`
		if near := nearest(mark.Value, set); near != "" {
			hint = fmt.Sprintf("did you mean %q? or ", near) + hint
		}
		c.warn(in.Left, fmt.Sprintf("no rule sets the mark %q", mark.Value), hint)
	case first >= c.index:
		c.warn(in.Left, fmt.Sprintf("the mark %q is set by %s, which is not before this rule",
			mark.Value, c.named(first)), "put that rule before this one")
	}
}

func usesMarks(tree ast.Node) bool {
	return ast.Find(tree, func(n ast.Node) bool {
		path, _ := pathOf(n)
		return path == marksName
	}) != nil
}

// constantOf evaluates what does not depend on the mail; known is false if it does.
func constantOf(n ast.Node) (truth, known bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return n.Value, true
	case *ast.UnaryNode:
		truth, known = constantOf(n.Node)
		return !truth, known && n.Operator == "!"
	case *ast.ConditionalNode:
		truth, known = constantOf(n.Cond)
		if !known {
			return false, false
		}
		if truth {
			return constantOf(n.Exp1)
		}
		return constantOf(n.Exp2)
	case *ast.BinaryNode:
		return constantBinary(n)
	}
	return false, false
}

func constantBinary(n *ast.BinaryNode) (truth, known bool) {
	switch n.Operator {
	case "and", "or":
		left, okLeft := constantOf(n.Left)
		right, okRight := constantOf(n.Right)
		decides := n.Operator == "or" // a side that is so decides by itself
		if okLeft && left == decides || okRight && right == decides {
			return decides, true
		}
		return !decides, okLeft && okRight
	case "in":
		list, ok := n.Right.(*ast.ArrayNode)
		return false, ok && len(list.Nodes) == 0
	case "==", "!=":
		left, okLeft := literalValue(n.Left)
		right, okRight := literalValue(n.Right)
		return (asFloat(left) == asFloat(right)) == (n.Operator == "=="), okLeft && okRight
	}
	return false, false
}

// asFloat makes numbers comparable with each other.
func asFloat(value any) any {
	if whole, ok := value.(int); ok {
		return float64(whole)
	}
	return value
}

// covered says whether an earlier rule decides whenever n is true.
func (c *ruleWarnings) covered(n ast.Node) (rule int, covered bool) {
	if i, ok := c.decided[n.String()]; ok {
		return i, true
	}
	binary, ok := n.(*ast.BinaryNode)
	if !ok {
		return 0, false
	}
	switch binary.Operator {
	case "and":
		if i, ok := c.covered(binary.Left); ok {
			return i, true
		}
		return c.covered(binary.Right)
	case "or":
		left, okLeft := c.covered(binary.Left)
		right, okRight := c.covered(binary.Right)
		return max(left, right), okLeft && okRight
	case "in":
		last := 0
		equal := equalities(binary)
		for _, text := range equal {
			i, ok := c.decided[text]
			if !ok {
				return 0, false
			}
			last = max(last, i)
		}
		return last, len(equal) > 0
	}
	return 0, false
}

// alternatives are conditions as text, each of which makes n true.
func alternatives(n ast.Node) []string {
	list := []string{n.String()}
	binary, ok := n.(*ast.BinaryNode)
	if !ok {
		return list
	}
	switch binary.Operator {
	case "or":
		return slices.Concat(list, alternatives(binary.Left), alternatives(binary.Right))
	case "in":
		return append(list, equalities(binary)...)
	}
	return list
}

// equalities are x == "a" and x == "b" of x in ["a", "b"].
func equalities(n *ast.BinaryNode) []string {
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok {
		return nil
	}
	var texts []string
	for _, element := range list.Nodes {
		if _, ok := literalValue(element); !ok {
			return nil
		}
		texts = append(texts, (&ast.BinaryNode{Operator: "==", Left: n.Left, Right: element}).String())
	}
	return texts
}

// conjunctions looks at each chain of "and" for parts that exclude each other.
func (c *ruleWarnings) conjunctions(tree ast.Node) {
	inner := make(map[ast.Node]bool)
	ast.Find(tree, func(n ast.Node) bool {
		if binary, ok := n.(*ast.BinaryNode); ok && binary.Operator == "and" {
			inner[binary.Left], inner[binary.Right] = true, true
		}
		return false
	})
	ast.Find(tree, func(n ast.Node) bool {
		if binary, ok := n.(*ast.BinaryNode); ok && binary.Operator == "and" && !inner[n] {
			c.conjunction(binary)
		}
		return false
	})
}

func (c *ruleWarnings) conjunction(n *ast.BinaryNode) {
	var (
		parts  []ast.Node
		ranges = make(map[string]*valueRange)
	)
	for _, side := range []ast.Node{n.Left, n.Right} {
		parts = appendConjuncts(parts, side)
	}
	for _, part := range parts {
		path, narrow := restriction(part)
		if narrow == nil {
			continue
		}
		if ranges[path] == nil {
			ranges[path] = newRange()
		}
		if narrow(ranges[path]); ranges[path].empty() {
			c.warn(part, "the parts about "+path+" exclude each other: "+
				"together they are never true", `join them by "or", or make two rules of them`)
			return
		}
	}
}

func appendConjuncts(parts []ast.Node, n ast.Node) []ast.Node {
	if binary, ok := n.(*ast.BinaryNode); ok && binary.Operator == "and" {
		return appendConjuncts(appendConjuncts(parts, binary.Left), binary.Right)
	}
	return append(parts, n)
}
