package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// TestReasonsAreComplete reads the constants of package verify: each reason, verdict and stage can
// be compared with.
func TestReasonsAreComplete(t *testing.T) {
	for name, where := range map[string][2]string{
		"reason": {"../verify", "Reason"}, "verdict": {"../verify", "Verdict"},
		"stage": {"../verify/reply", "Stage"},
	} {
		want := constants(t, where[0], where[1])
		got := slices.DeleteFunc(slices.Clone(valuesOf(t, name)), func(s string) bool { return s == "" })
		slices.Sort(got)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %v, constants %v", name, got, want)
		}
	}
}

func valuesOf(t *testing.T, name string) []string {
	t.Helper()
	for _, n := range policy.Names() {
		if n.Name == name {
			return n.Values
		}
	}
	t.Fatalf("no name %q", name)
	return nil
}

// constants are the values of the string constants of a type, sorted.
func constants(t *testing.T, dir, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if named, ok := spec.Type.(*ast.Ident); ok && named.Name == typeName && len(spec.Values) == 1 {
				if value, ok := spec.Values[0].(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(value.Value)
					values = append(values, text)
				}
			}
			return true
		})
	}
	slices.Sort(values)
	return values
}

// packageComment is doc.go as people read it.
func packageComment(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(source), "\n//", "\n")
}

// TestNamesAreDocumented: the package comment lists every name, and no other.
func TestNamesAreDocumented(t *testing.T) {
	comment := packageComment(t)
	_, section, _ := strings.Cut(comment, "The names that cost nothing:")
	section, _, _ = strings.Cut(section, "Names lists them")
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\t([a-z_.]+(?:NAME)?) {2,}\S`).FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
	}
	var want []string
	for _, n := range policy.Names() {
		want = append(want, n.Name)
		if n.Doc == "" || n.Type == "" {
			t.Errorf("name without documentation: %+v", n)
		}
	}
	if !slices.Equal(documented, want) {
		t.Errorf("documented %v\nnames %v", documented, want)
	}
}

// TestReplyTableIsDocumented: the table of the package comment is what the engine does.
func TestReplyTableIsDocumented(t *testing.T) {
	_, table, _ := strings.Cut(packageComment(t), "\tcondition ")
	table, _, _ = strings.Cut(table, "\n\n")
	row := regexp.MustCompile(`(?m)^\t([a-z0-9_, ]+?)(?: +(\d{3} [\d.]+)| +as defer)? +(\d{3} [\d.]+)$`)
	reasons := valuesOf(t, "reason")
	documented := make(map[string]bool)
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		names := strings.Split(m[1], ", ")
		if m[1] == "everything else" {
			names = slices.DeleteFunc(slices.Clone(reasons), func(s string) bool { return documented[s] })
		}
		for _, name := range names {
			documented[name] = true
			when, r := "verdict != stage", unknown(verify.Reason(name))
			if m[2] != "" {
				r.Verdict, r.Proof = verify.Undeliverable, true
			}
			if name == "asked nothing" {
				when = "true"
			}
			for action, want := range map[string]string{"reject": m[2], "defer": m[3]} {
				if want == "" {
					want = m[3]
				}
				d := engine(t, &known{result: r}, policy.Rule{When: when, Action: action}).
					Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
				if got := strconv.Itoa(d.Reply.Code) + " " + d.Reply.Enhanced().String(); got != want {
					t.Errorf("%s %s: %s, documented %s", name, action, got, want)
				}
			}
		}
	}
	if len(documented) != len(reasons)+1 {
		t.Errorf("%d rows for %d reasons", len(documented), len(reasons))
	}
}
