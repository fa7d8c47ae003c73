package e2e

import (
	"os"
	"strings"
	"testing"
)

// fragment returns the code block of docs/postfix.md that follows "<!-- fragment: NAME -->", with
// the given replacements. Each must occur: a fragment that was edited away from its test is seen.
func fragment(t *testing.T, name string, oldnew ...string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/postfix.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- fragment: "+name+" -->\n```")
	if !found {
		t.Fatalf("docs/postfix.md has no fragment %s", name)
	}
	block, _, closed := strings.Cut(rest, "\n```\n")
	_, block, opened := strings.Cut(block, "\n")
	if !closed || !opened {
		t.Fatalf("docs/postfix.md: fragment %s is no code block", name)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(block, oldnew[i]) {
			t.Fatalf("docs/postfix.md: fragment %s does not contain %q", name, oldnew[i])
		}
	}
	return strings.NewReplacer(oldnew...).Replace(block) + "\n"
}
