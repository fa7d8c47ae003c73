package policy

import (
	"net/netip"

	"github.com/expr-lang/expr/ast"
)

// rewriter turns lazy names into calls and literal lists and networks into constants. It sees
// conditions that passed conditionCheck.
type rewriter struct{}

// Visit implements ast.Visitor; expr calls it on the leaves first.
func (rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if known, ok := lookupName(n.Value); ok && known.Lazy {
			ast.Patch(node, &ast.CallNode{
				Callee:    &ast.IdentifierNode{Value: lazyFunction(n.Value)},
				Arguments: []ast.Node{&ast.IdentifierNode{Value: "$env"}},
			})
		}
	case *ast.BinaryNode:
		if set, ok := stringSet(n); ok {
			n.Right = set
		}
	case *ast.CallNode:
		if networks, ok := networksOf(n); ok {
			n.Arguments = []ast.Node{n.Arguments[0], networks}
		}
	}
}

// stringSet makes x in ["a", "b"] a look-up.
func stringSet(n *ast.BinaryNode) (ast.Node, bool) {
	list, ok := n.Right.(*ast.ArrayNode)
	if n.Operator != "in" || !ok || len(list.Nodes) == 0 {
		return nil, false
	}
	set := make(map[string]struct{}, len(list.Nodes))
	for _, element := range list.Nodes {
		word, ok := element.(*ast.StringNode)
		if !ok {
			return nil, false
		}
		set[word.Value] = struct{}{}
	}
	constant := &ast.ConstantNode{Value: set}
	constant.SetLocation(list.Location())
	return constant, true
}

// networksOf parses the networks of a call of inNetwork.
func networksOf(n *ast.CallNode) (ast.Node, bool) {
	called, ok := pathOf(n.Callee)
	if !ok || called != inNetworkName || len(n.Arguments) < 2 {
		return nil, false
	}
	networks := make([]netip.Prefix, 0, len(n.Arguments)-1)
	for _, argument := range n.Arguments[1:] {
		literal, ok := argument.(*ast.StringNode)
		if !ok {
			return nil, false
		}
		network, err := netip.ParsePrefix(literal.Value)
		if err != nil {
			return nil, false
		}
		networks = append(networks, network)
	}
	constant := &ast.ConstantNode{Value: networks}
	constant.SetLocation(n.Location())
	return constant, true
}
