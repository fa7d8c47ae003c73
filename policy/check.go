package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// conditionCheck walks the syntax tree as it was written and finds what expr would allow but a
// condition must not have: unknown names, comparisons that can never be true, loops without bound.
type conditionCheck struct {
	source string
	lists  map[string]*list
	inLoop bool
	fault  *conditionFault
}

// fail keeps the first fault.
func (c *conditionCheck) fail(at ast.Node, detail, hint string) {
	if c.fault != nil {
		return
	}
	bound := (&file.Error{Location: at.Location()}).Bind(file.NewSource(c.source))
	c.fault = &conditionFault{row: bound.Line, column: bound.Column + 1, detail: detail, hint: hint}
}

// first is the leftmost name of an access: expr places a.b at b.
func first(n ast.Node) ast.Node {
	for {
		member, ok := n.(*ast.MemberNode)
		if !ok {
			return n
		}
		n = member.Node
	}
}

func (c *conditionCheck) nodes(list ...ast.Node) {
	for _, n := range list {
		c.node(n)
	}
}

func (c *conditionCheck) node(n ast.Node) {
	if c.fault != nil {
		return
	}
	switch n := n.(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.PointerNode:
		if n.Name != "" {
			c.fail(n, "#"+n.Name+" is not available in conditions", "# is the element of the list")
		}
	case *ast.IdentifierNode:
		c.name(n, n.Value)
	case *ast.MemberNode:
		c.member(n)
	case *ast.UnaryNode:
		c.node(n.Node)
	case *ast.BinaryNode:
		c.binary(n)
	case *ast.ConditionalNode:
		c.nodes(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		c.nodes(n.Nodes...)
	case *ast.PredicateNode:
		c.node(n.Node)
	case *ast.BuiltinNode:
		c.builtin(n)
	case *ast.CallNode:
		c.call(n)
	default:
		c.fail(n, "this is not available in conditions",
			"conditions are made of names, literals, lists, functions and the operators "+
				strings.Join(operators, " "))
	}
}

func (c *conditionCheck) name(at ast.Node, path string) {
	if strings.HasPrefix(path, listsGroup+".") {
		c.fail(at, path+" is a list of a file", "write recipient.address in "+path)
		return
	}
	if path == marksName {
		c.fail(at, "marks is a list", `write "NAME" in marks`)
		return
	}
	if _, ok := lookupName(path); ok {
		return
	}
	if members := membersOf(path); members != nil {
		c.fail(at, path+" is a group of names", "write one of "+strings.Join(members, ", "))
		return
	}
	c.fail(at, fmt.Sprintf("unknown name %q", path), oneOf(path, allNames()))
}

func (c *conditionCheck) member(n *ast.MemberNode) {
	path, ok := pathOf(n)
	if !ok || n.Optional {
		c.fail(n, "this access is not available in conditions", oneOf("", allNames()))
		return
	}
	c.name(n, path)
}

// pathOf is the dotted name of an identifier or of a member of one.
func pathOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		group, isName := n.Node.(*ast.IdentifierNode)
		property, isWord := n.Property.(*ast.StringNode)
		if isName && isWord {
			return group.Value + "." + property.Value, true
		}
	}
	return "", false
}

func (c *conditionCheck) binary(n *ast.BinaryNode) {
	if !slices.Contains(operators, n.Operator) {
		c.fail(n, fmt.Sprintf("operator %s is not available in conditions", n.Operator),
			"valid: "+strings.Join(operators, " "))
		return
	}
	if n.Operator == "in" && c.group(n) {
		return
	}
	c.nodes(n.Left, n.Right)
	switch n.Operator {
	case "==", "!=", "<", "<=", ">", ">=":
		c.literal(n.Left, n.Right, n.Operator)
		c.literal(n.Right, n.Left, n.Operator)
	case "in":
		if list, ok := n.Right.(*ast.ArrayNode); ok {
			for _, element := range list.Nodes {
				c.literal(n.Left, element, "==")
			}
		}
	case "contains", "startsWith", "endsWith":
		c.part(n.Left, n.Right)
	case "matches":
		c.pattern(n.Right)
	}
}

// group checks x in lists.NAME and "NAME" in marks; false if it is neither.
func (c *conditionCheck) group(n *ast.BinaryNode) bool {
	if path, _ := pathOf(n.Right); path == marksName {
		mark, isWord := n.Left.(*ast.StringNode)
		if !isWord {
			c.fail(first(n.Left), "a mark must be a literal", `write it in quotes: "NAME" in marks`)
		} else if detail, hint := checkMark(mark.Value); detail != "" {
			c.fail(n.Left, detail, hint)
		}
		return true
	}
	name, isList := listName(n.Right)
	if !isList {
		return false
	}
	c.node(n.Left)
	if _, known := c.lists[name]; known {
		return true
	}
	hint := "name its file in the configuration: lists." + name + ` = "/etc/rcptgate/` + name + `"`
	if defined := sortedKeys(c.lists); len(defined) > 0 {
		hint = oneOf(name, defined) + "; or " + hint
	}
	c.fail(n.Right, fmt.Sprintf("there is no list %q", name), hint)
	return true
}

// literal checks a literal against the name that it is compared with.
func (c *conditionCheck) literal(named, literal ast.Node, operator string) {
	path, ok := pathOf(named)
	if !ok {
		return
	}
	known, ok := lookupName(path)
	if !ok || known.literal == nil {
		return
	}
	if _, isWord := literal.(*ast.StringNode); isWord && operator != "==" && operator != "!=" {
		return // an order of words is odd, but not impossible
	}
	value, ok := literalValue(literal)
	if !ok {
		return
	}
	if detail, hint := known.literal(value); detail != "" {
		c.fail(literal, detail, hint)
	}
}

func literalValue(n ast.Node) (any, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode:
		return n.Value, true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.UnaryNode:
		switch value, _ := literalValue(n.Node); value := value.(type) {
		case int:
			return -value, n.Operator == "-"
		case float64:
			return -value, n.Operator == "-"
		}
	}
	return nil, false
}

// part checks a literal that is looked for within a name whose values are lower case.
func (c *conditionCheck) part(named, literal ast.Node) {
	path, _ := pathOf(named)
	known, isName := lookupName(path)
	text, isWord := literal.(*ast.StringNode)
	if !isName || !known.lower || !isWord {
		return
	}
	if folded := strings.ToLower(text.Value); folded != text.Value {
		c.fail(literal, fmt.Sprintf("%s is lower case and never holds %q", path, text.Value),
			fmt.Sprintf("write %q", folded))
	}
}

// pattern wants a literal: what comes from the network must never be run as a regular expression.
func (c *conditionCheck) pattern(n ast.Node) {
	pattern, ok := n.(*ast.StringNode)
	if !ok {
		c.fail(first(n), "the pattern of matches must be a literal",
			`write it in quotes: matches "^a.*z$"`)
		return
	}
	if _, err := regexp.Compile(pattern.Value); err != nil {
		c.fail(n, strings.TrimPrefix(err.Error(), "error parsing regexp: "),
			"the syntax of patterns is RE2's: https://github.com/google/re2/wiki/Syntax")
	}
}

func (c *conditionCheck) builtin(n *ast.BuiltinNode) {
	if !slices.Contains(builtinFunctions, n.Name) {
		c.unknownFunction(n, n.Name)
		return
	}
	if len(n.Arguments) == 0 {
		c.fail(n, n.Name+" needs a parameter", "")
		return
	}
	if _, loop := n.Arguments[len(n.Arguments)-1].(*ast.PredicateNode); !loop {
		c.nodes(n.Arguments...)
		return
	}
	if c.inLoop {
		c.fail(n, "a loop inside a loop is not available in conditions", "split it into several rules")
		return
	}
	c.node(n.Arguments[0])
	c.inLoop = true
	c.nodes(n.Arguments[1:]...)
	c.inLoop = false
}

func (c *conditionCheck) unknownFunction(at ast.Node, called string) {
	if _, isName := lookupName(called); isName {
		c.fail(at, called+" is a name, not a function", "write it without parentheses")
		return
	}
	c.fail(at, fmt.Sprintf("unknown function %q", called),
		oneOf(called, append([]string{inNetworkName}, builtinFunctions...)))
}

// call checks inNetwork, the only function besides expr's own.
func (c *conditionCheck) call(n *ast.CallNode) {
	called, ok := pathOf(n.Callee)
	if !ok || called != inNetworkName {
		c.unknownFunction(n, called)
		return
	}
	if len(n.Arguments) < 2 {
		c.fail(n, "inNetwork needs an address and a network",
			`write inNetwork(client.addr, "192.0.2.0/24")`)
		return
	}
	c.node(n.Arguments[0])
	for _, argument := range n.Arguments[1:] {
		literal, ok := argument.(*ast.StringNode)
		if !ok {
			c.fail(first(argument), "the networks of inNetwork must be literals", `write "192.0.2.0/24"`)
			return
		}
		if detail, hint := checkNetwork(literal.Value); detail != "" {
			c.fail(argument, detail, hint)
		}
	}
}

func checkNetwork(text string) (detail, hint string) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			return fmt.Sprintf("%q is an address, not a network", text),
				fmt.Sprintf("write %q", netip.PrefixFrom(addr, addr.BitLen()).String())
		}
		return fmt.Sprintf("%q is not a network", text), `write "192.0.2.0/24" or "2001:db8::/32"`
	}
	if prefix.Addr().Is4In6() {
		return fmt.Sprintf("no client is in the network %q", text),
			"write the IPv4 network itself: client addresses are never written as IPv4-mapped"
	}
	if prefix != prefix.Masked() {
		return fmt.Sprintf("the network %q has bits set behind its prefix", text),
			fmt.Sprintf("write %q", prefix.Masked().String())
	}
	return "", ""
}
