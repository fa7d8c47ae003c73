package policy

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// Conditions of the usual kinds are compiled to functions of Go. They give what the machine of expr
// gives, which a fuzz test holds, but take nanoseconds and no memory: the machine fetches each name
// by reflection and puts each value into an interface. What is not here runs there.

// nativeFlag compiles a part that is true or false; ok is false where only the machine can.
func nativeFlag(n ast.Node, lists map[string]*list) (run func(*walk) bool, ok bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		value := n.Value
		return func(*walk) bool { return value }, true
	case *ast.IdentifierNode, *ast.MemberNode:
		known, ok := nameOf(n)
		return known.flag, ok && known.flag != nil
	case *ast.UnaryNode:
		part, ok := nativeFlag(n.Node, lists)
		if !ok || n.Operator != "!" && n.Operator != "not" {
			return nil, false
		}
		return func(w *walk) bool { return !part(w) }, true
	case *ast.BinaryNode:
		return nativeBinary(n, lists)
	case *ast.ConditionalNode:
		condition, ok := nativeFlag(n.Cond, lists)
		yes, okYes := nativeFlag(n.Exp1, lists)
		no, okNo := nativeFlag(n.Exp2, lists)
		return func(w *walk) bool {
			if condition(w) {
				return yes(w)
			}
			return no(w)
		}, ok && okYes && okNo
	case *ast.CallNode:
		return nativeNetwork(n)
	}
	return nil, false
}

func nameOf(n ast.Node) (name, bool) {
	path, _ := pathOf(n)
	known, ok := lookupName(path)
	if !ok {
		return name{}, false
	}
	return *known, true
}

func nativeBinary(n *ast.BinaryNode, lists map[string]*list) (func(*walk) bool, bool) {
	switch n.Operator {
	case "and", "&&":
		left, ok := nativeFlag(n.Left, lists)
		right, okRight := nativeFlag(n.Right, lists)
		return func(w *walk) bool { return left(w) && right(w) }, ok && okRight
	case "or", "||":
		left, ok := nativeFlag(n.Left, lists)
		right, okRight := nativeFlag(n.Right, lists)
		return func(w *walk) bool { return left(w) || right(w) }, ok && okRight
	case "in":
		return nativeIn(n, lists)
	case "matches":
		return nativeMatch(n)
	case "contains", "startsWith", "endsWith":
		return nativePart(n)
	}
	if run, ok := nativeTexts(n); ok {
		return run, true
	}
	if run, ok := nativeNumbers(n); ok {
		return run, true
	}
	left, ok := nativeFlag(n.Left, lists)
	right, okRight := nativeFlag(n.Right, lists)
	switch n.Operator {
	case "==":
		return func(w *walk) bool { return left(w) == right(w) }, ok && okRight
	case "!=":
		return func(w *walk) bool { return left(w) != right(w) }, ok && okRight
	}
	return nil, false
}

// nativeText compiles a part that is a string.
func nativeText(n ast.Node) (func(*walk) string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		value := n.Value
		return func(*walk) string { return value }, true
	case *ast.IdentifierNode, *ast.MemberNode:
		known, ok := nameOf(n)
		return known.text, ok && known.text != nil
	case *ast.BuiltinNode:
		if len(n.Arguments) != 1 {
			return nil, false
		}
		text, ok := nativeText(n.Arguments[0])
		switch n.Name {
		case "lower":
			return func(w *walk) string { return strings.ToLower(text(w)) }, ok
		case "upper":
			return func(w *walk) string { return strings.ToUpper(text(w)) }, ok
		}
	}
	return nil, false
}

func nativeTexts(n *ast.BinaryNode) (func(*walk) bool, bool) {
	left, ok := nativeText(n.Left)
	right, okRight := nativeText(n.Right)
	if !ok || !okRight {
		return nil, false
	}
	switch n.Operator {
	case "==":
		return func(w *walk) bool { return left(w) == right(w) }, true
	case "!=":
		return func(w *walk) bool { return left(w) != right(w) }, true
	case "<":
		return func(w *walk) bool { return left(w) < right(w) }, true
	case "<=":
		return func(w *walk) bool { return left(w) <= right(w) }, true
	case ">":
		return func(w *walk) bool { return left(w) > right(w) }, true
	case ">=":
		return func(w *walk) bool { return left(w) >= right(w) }, true
	}
	return nil, false
}

func nativePart(n *ast.BinaryNode) (func(*walk) bool, bool) {
	text, ok := nativeText(n.Left)
	part, okPart := nativeText(n.Right)
	if !ok || !okPart {
		return nil, false
	}
	switch n.Operator {
	case "startsWith":
		return func(w *walk) bool { return strings.HasPrefix(text(w), part(w)) }, true
	case "endsWith":
		return func(w *walk) bool { return strings.HasSuffix(text(w), part(w)) }, true
	default:
		return func(w *walk) bool { return strings.Contains(text(w), part(w)) }, true
	}
}

func nativeMatch(n *ast.BinaryNode) (func(*walk) bool, bool) {
	text, ok := nativeText(n.Left)
	pattern, isLiteral := n.Right.(*ast.StringNode)
	if !ok || !isLiteral {
		return nil, false
	}
	compiled, err := regexp.Compile(pattern.Value)
	if err != nil {
		return nil, false
	}
	return func(w *walk) bool { return compiled.MatchString(text(w)) }, true
}

// shortList is how many words are looked through faster than hashed.
const shortList = 8

func nativeIn(n *ast.BinaryNode, lists map[string]*list) (func(*walk) bool, bool) {
	if path, _ := pathOf(n.Right); path == marksName {
		mark, ok := n.Left.(*ast.StringNode)
		if !ok {
			return nil, false
		}
		name := mark.Value
		return func(w *walk) bool { return w.marked(name) }, true
	}
	text, ok := nativeText(n.Left)
	if !ok {
		return nil, false
	}
	if l, ok := (rewriter{lists}).listOf(n.Right); ok {
		return func(w *walk) bool { return l.match(text(w)) }, true
	}
	written, ok := n.Right.(*ast.ArrayNode)
	if !ok || len(written.Nodes) == 0 {
		return nil, false
	}
	var (
		few []string
		set = make(map[string]struct{}, len(written.Nodes))
	)
	for _, element := range written.Nodes {
		word, ok := element.(*ast.StringNode)
		if !ok {
			return nil, false
		}
		few = append(few, word.Value)
		set[word.Value] = struct{}{}
	}
	if len(few) <= shortList {
		return func(w *walk) bool { return slices.Contains(few, text(w)) }, true
	}
	return func(w *walk) bool {
		_, found := set[text(w)]
		return found
	}, true
}

// nativeNetwork compiles inNetwork(client.addr, ...): the address needs no parsing there.
func nativeNetwork(n *ast.CallNode) (func(*walk) bool, bool) {
	constant, ok := networksOf(n)
	if !ok {
		return nil, false
	}
	networks, ok := constant.(*ast.ConstantNode).Value.([]netip.Prefix)
	if path, _ := pathOf(n.Arguments[0]); !ok || path != "client.addr" {
		return nil, false
	}
	return func(w *walk) bool {
		addr := w.tx.Client.Addr.Unmap().WithZone("")
		return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
	}, true
}

// number is a part that is a number: whole or, if that is nil, a fraction.
type number struct {
	whole    func(*walk) int
	fraction func(*walk) float64
}

func nativeNumber(n ast.Node) (number, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.UnaryNode:
		literal, ok := literalValue(n)
		switch value := literal.(type) {
		case int:
			return number{whole: func(*walk) int { return value }}, ok
		case float64:
			return number{fraction: func(*walk) float64 { return value }}, ok
		}
	case *ast.IdentifierNode, *ast.MemberNode:
		if known, ok := nameOf(n); ok {
			return number{known.whole, known.number}, known.whole != nil || known.number != nil
		}
	}
	return number{}, false
}

func nativeNumbers(n *ast.BinaryNode) (func(*walk) bool, bool) {
	left, ok := nativeNumber(n.Left)
	right, okRight := nativeNumber(n.Right)
	if !ok || !okRight {
		return nil, false
	}
	if left.whole != nil && right.whole != nil {
		return compare(n.Operator, left.whole, right.whole)
	}
	return compare(n.Operator, left.asFraction(), right.asFraction())
}

func (n number) asFraction() func(*walk) float64 {
	if n.whole == nil {
		return n.fraction
	}
	return func(w *walk) float64 { return float64(n.whole(w)) }
}

func compare[T int | float64](operator string, left, right func(*walk) T) (func(*walk) bool, bool) {
	switch operator {
	case "==":
		return func(w *walk) bool { return left(w) == right(w) }, true
	case "!=":
		return func(w *walk) bool { return left(w) != right(w) }, true
	case "<":
		return func(w *walk) bool { return left(w) < right(w) }, true
	case "<=":
		return func(w *walk) bool { return left(w) <= right(w) }, true
	case ">":
		return func(w *walk) bool { return left(w) > right(w) }, true
	case ">=":
		return func(w *walk) bool { return left(w) >= right(w) }, true
	}
	return nil, false
}
