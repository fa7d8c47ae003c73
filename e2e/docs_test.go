package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs holds the pages to the program: each block of TOML is a configuration that check-config
// takes, each command exists, and the README's short form of master.cf says nothing that the
// tested fragment does not.
func TestDocs(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	files := newCertificates(t)
	files.issue("mail.example.com", inDays(30))
	files.write("passwords", fragment(t, "smarthost/passwords"))
	files.write("vips", "ceo@example.net\n")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	command := regexp.MustCompile("(?m)(?:`|^|bin/)rcptgate ([a-z-]+)")
	known := map[string]bool{}
	for _, page := range append(pages, "../README.md") {
		text := readFile(page)
		for i, match := range block.FindAllStringSubmatch(text, -1) {
			file := filepath.Join(t.TempDir(), fmt.Sprintf("block%d.toml", i))
			// The files that pages speak of are there, but elsewhere.
			text := strings.ReplaceAll(match[1], `"/etc/rcptgate/`, `"`+files.dir+`/`)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(bin, "check-config", "--config", file).CombinedOutput(); err != nil {
				t.Errorf("%s, block %d: %v\n%s\n%s", page, i+1, err, match[1], out)
			}
		}
		for _, match := range command.FindAllStringSubmatch(text, -1) {
			if name := match[1]; !known[name] {
				known[name] = true
				if out, err := exec.Command(bin, name, "--help").CombinedOutput(); err != nil {
					t.Errorf("%s: rcptgate %s: %v\n%s", page, name, err, out)
				}
			}
		}
	}
	option := regexp.MustCompile(`-o (\S+)`)
	tested := fragment(t, "filter/master.cf") + "\n"
	for _, match := range option.FindAllStringSubmatch(readFile("../README.md"), -1) {
		if !strings.Contains(tested, "-o "+match[1]+"\n") {
			t.Errorf("README.md: -o %s is not in the fragment filter/master.cf", match[1])
		}
	}
}

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
