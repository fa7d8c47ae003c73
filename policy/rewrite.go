package policy

import (
	"net/netip"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// rewriter turns names into calls and literal lists, lists from files and networks into constants.
// It sees conditions that passed conditionCheck.
type rewriter struct{ lists map[string]*list }

// Visit implements ast.Visitor; expr calls it on the leaves first.
func (r rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode, *ast.MemberNode:
		path, _ := pathOf(n)
		if known, ok := lookupName(path); ok && known.Type != "list" {
			ast.Patch(node, call(nameFunction(path), environmentNode()))
		}
	case *ast.BinaryNode:
		if n.Operator != "in" {
			return
		}
		if set, ok := stringSet(n); ok {
			n.Right = set
		} else if l, ok := r.listOf(n.Right); ok {
			ast.Patch(node, call(inListFunction, n.Left, constant(n.Right, l)))
		} else if path, _ := pathOf(n.Right); path == marksName {
			ast.Patch(node, call(markedFunction, environmentNode(), n.Left))
		}
	case *ast.CallNode:
		if networks, ok := networksOf(n); ok {
			n.Arguments = []ast.Node{n.Arguments[0], networks}
		}
	}
}

func call(function string, arguments ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: function}, Arguments: arguments}
}

func environmentNode() ast.Node { return &ast.IdentifierNode{Value: "$env"} }

// constant is a value in the place of a part that was written.
func constant(written ast.Node, value any) ast.Node {
	n := &ast.ConstantNode{Value: value}
	n.SetLocation(written.Location())
	return n
}

// listOf finds the list that a name such as lists.vips means.
func (r rewriter) listOf(n ast.Node) (*list, bool) {
	name, ok := listName(n)
	if !ok {
		return nil, false
	}
	l, ok := r.lists[name]
	return l, ok
}

// listName is NAME of lists.NAME.
func listName(n ast.Node) (string, bool) {
	path, ok := pathOf(n)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(path, listsGroup+".")
}

// stringSet makes x in ["a", "b"] a look-up.
func stringSet(n *ast.BinaryNode) (ast.Node, bool) {
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok || len(list.Nodes) == 0 {
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
	return constant(list, set), true
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
	return constant(n, networks), true
}
