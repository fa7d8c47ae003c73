package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/rcptgate/rcptgate/verify"
)

// Limits of one condition. Together with the constructs that conditions lack (variables, ranges,
// loops in loops, functions that build longer values) they bound an evaluation: its time by the
// square of its length, its memory by a few times the length of the longest name.
const (
	maxCondition = 8 << 10 // octets
	maxNodes     = 2000    // of the syntax tree
	memoryBudget = 10_000  // list elements that one evaluation may make
)

// conditionFault is what is wrong with a condition; row and column count from 1, 0 is unknown.
type conditionFault struct {
	row, column  int
	detail, hint string
}

// condition is a condition that passed every check.
type condition struct {
	tree    ast.Node    // as written
	program *vm.Program // run with a *facts, it gives a bool
	native  func(*walk) bool
}

// compileCondition turns a condition into a program of expr and, where it can, into a function of
// Go that gives the same and is many times faster. lists are those of the configuration. Lazy names
// ask the verifier when evaluation reaches them, neither earlier nor in another order than written.
// Hence the optimiser of expr stays off: it joins neighbouring loops.
func compileCondition(source string, lists map[string]*list) (*condition, *conditionFault) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, &conditionFault{
			detail: "the condition is missing", hint: `write "true" for a rule that always matches`,
		}
	case len(source) > maxCondition:
		return nil, &conditionFault{
			detail: fmt.Sprintf("the condition has %d octets, more than %d", len(source), maxCondition),
			hint:   "split it into several rules",
		}
	case !utf8.ValidString(source):
		return nil, &conditionFault{detail: "the condition is not valid UTF-8"}
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, faultOf(err)
	}
	c := &conditionCheck{source: source, lists: lists}
	c.node(tree.Node)
	if c.fault != nil {
		return nil, c.fault
	}
	options := append(functions(),
		expr.Env(&facts{}), expr.AsBool(), expr.WarnOnAny(), expr.Optimize(false),
		expr.MaxNodes(maxNodes), expr.DisableAllBuiltins(), expr.Patch(rewriter{lists}))
	for _, allowed := range builtinFunctions {
		options = append(options, expr.EnableBuiltin(allowed))
	}
	program, err := expr.Compile(source, options...)
	if err != nil {
		return nil, faultOf(err)
	}
	// Compile had a tree of its own and changed that.
	compiled := &condition{tree: tree.Node, program: program}
	if native, ok := nativeFlag(tree.Node, lists); ok {
		compiled.native = native
	}
	return compiled, nil
}

// builtinFunctions are the functions of expr that conditions may use: none of them makes a value
// that is longer than its parameters.
var builtinFunctions = []string{
	"all", "any", "none", "one", "hasPrefix", "hasSuffix", "indexOf", "lastIndexOf", "len", "lower",
	"split", "trim", "trimPrefix", "trimSuffix", "upper",
}

// operators are those of conditions, and all that conditions have.
var operators = []string{
	"==", "!=", "<", "<=", ">", ">=", "and", "&&", "or", "||", "in", "contains", "startsWith",
	"endsWith", "matches", "+", "-", "*", "/", "%",
}

// faultOf takes expr's errors apart: they are several lines with a drawing.
func faultOf(err error) *conditionFault {
	if at, ok := errors.AsType[*file.Error](err); ok {
		fault := &conditionFault{row: at.Line, column: at.Column + 1, detail: at.Message}
		if strings.Contains(at.Message, "maximum allowed nodes") {
			fault.detail = fmt.Sprintf("the condition has more than %d parts", maxNodes)
			fault.hint = "split it into several rules"
		}
		return fault
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if strings.HasPrefix(text, "expected bool") {
		return &conditionFault{
			detail: "the condition must be true or false: " + text,
			hint:   `compare with something: verdict == "undeliverable"`,
		}
	}
	return &conditionFault{detail: text}
}

// runtimeDetail is an error of an evaluation on one line.
func runtimeDetail(err error) string {
	fault := faultOf(err)
	if fault.column > 0 {
		return fmt.Sprintf("line %d, column %d: %s", fault.row, fault.column, fault.detail)
	}
	return fault.detail
}

// aboutDomains are the names and the values that depend on whether the recipient's domain accepts
// every address. That takes longer to find out than what its server says of the recipient.
var (
	aboutDomains  = []string{"catch_all", "confidence", "deliverability"}
	domainsValues = []string{string(verify.Risky), string(verify.AcceptAll)}
)

// needsDomains reports whether a condition depends on that.
func needsDomains(tree ast.Node) bool {
	found := ast.Find(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IdentifierNode:
			return slices.Contains(aboutDomains, n.Value)
		case *ast.StringNode:
			return slices.Contains(domainsValues, n.Value)
		}
		return false
	})
	return found != nil
}
