package policy

import (
	"math"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// valueRange is what the parts of a conjunction leave of the values of one name.
type valueRange struct {
	bound   bool  // only the values of only are left
	only    []any // numbers as float64
	without []any

	low, high          float64
	overLow, underHigh bool // the ends themselves are out
}

func newRange() *valueRange { return &valueRange{low: math.Inf(-1), high: math.Inf(1)} }

// empty says whether no value is left.
func (r *valueRange) empty() bool {
	if r.low > r.high || r.low == r.high && (r.overLow || r.underHigh) {
		return true
	}
	return r.bound && !slices.ContainsFunc(r.only, r.allows)
}

func (r *valueRange) allows(value any) bool {
	if slices.Contains(r.without, value) {
		return false
	}
	number, ok := value.(float64)
	return !ok || (number > r.low || number == r.low && !r.overLow) &&
		(number < r.high || number == r.high && !r.underHigh)
}

func (r *valueRange) keep(values []any) {
	if !r.bound {
		r.bound, r.only = true, values
		return
	}
	r.only = slices.DeleteFunc(slices.Clone(r.only), func(value any) bool {
		return !slices.Contains(values, value)
	})
}

func (r *valueRange) above(limit float64, without bool) {
	if limit > r.low || limit == r.low && without {
		r.low, r.overLow = limit, without
	}
}

func (r *valueRange) below(limit float64, without bool) {
	if limit < r.high || limit == r.high && without {
		r.high, r.underHigh = limit, without
	}
}

// restriction is what a part of a condition says about the values of one name; nil if it says
// nothing that can be told so simply.
func restriction(n ast.Node) (path string, narrow func(*valueRange)) {
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.MemberNode:
		if known, ok := nameOf(n); ok && known.flag != nil {
			return known.Name.Name, func(r *valueRange) { r.keep([]any{true}) }
		}
	case *ast.UnaryNode:
		return negation(n)
	case *ast.BinaryNode:
		if n.Operator == "in" {
			if path, values, ok := membership(n); ok {
				return path, func(r *valueRange) { r.keep(values) }
			}
			return "", nil
		}
		if path, ok := restrictedName(n.Left); ok {
			return path, comparison(n.Operator, n.Right)
		}
		if path, ok := restrictedName(n.Right); ok {
			return path, comparison(mirrored(n.Operator), n.Left)
		}
	}
	return "", nil
}

func negation(n *ast.UnaryNode) (path string, narrow func(*valueRange)) {
	if n.Operator != "!" {
		return "", nil
	}
	if known, ok := nameOf(n.Node); ok && known.flag != nil {
		return known.Name.Name, func(r *valueRange) { r.keep([]any{false}) }
	}
	in, ok := n.Node.(*ast.BinaryNode)
	if !ok || in.Operator != "in" {
		return "", nil
	}
	if path, values, ok := membership(in); ok {
		return path, func(r *valueRange) { r.without = append(r.without, values...) }
	}
	return "", nil
}

// membership is x in ["a", "b"].
func membership(n *ast.BinaryNode) (path string, values []any, ok bool) {
	path, ok = restrictedName(n.Left)
	list, isList := n.Right.(*ast.ArrayNode)
	if !ok || !isList {
		return "", nil, false
	}
	for _, element := range list.Nodes {
		value, ok := literalValue(element)
		if !ok {
			return "", nil, false
		}
		values = append(values, asFloat(value))
	}
	return path, values, len(values) > 0 // an empty list has a warning of its own
}

func restrictedName(n ast.Node) (string, bool) {
	known, ok := nameOf(n)
	return known.Name.Name, ok
}

func mirrored(operator string) string {
	switch operator {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return operator
}

// comparison is what NAME operator literal leaves.
func comparison(operator string, literal ast.Node) func(*valueRange) {
	value, ok := literalValue(literal)
	if !ok {
		return nil
	}
	value = asFloat(value)
	number, isNumber := value.(float64)
	switch {
	case operator == "==":
		return func(r *valueRange) { r.keep([]any{value}) }
	case operator == "!=":
		return func(r *valueRange) { r.without = append(r.without, value) }
	case !isNumber:
		return nil
	}
	switch operator {
	case "<", "<=":
		return func(r *valueRange) { r.below(number, operator == "<") }
	case ">", ">=":
		return func(r *valueRange) { r.above(number, operator == ">") }
	}
	return nil
}
