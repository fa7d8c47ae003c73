package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is a page of the documentation.
type page struct {
	path   string // from the top of the repository
	prose  string // all outside of blocks
	blocks []block
}

// block is a fenced block of a page.
type block struct {
	page       string
	line       int // of its first line
	lang, text string
	note       string // the comment on the line before it: "not run: it needs systemd"
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// notRun is the reason why a block of commands is not run, "" if it is.
func (b block) notRun() string {
	reason, marked := strings.CutPrefix(b.note, "not run: ")
	if !marked {
		return ""
	}
	return reason
}

// readPage takes a page apart. A fence that is not closed, or whose line says more than a language,
// fails the test.
func readPage(t *testing.T, path string) page {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	p := page{path: path}
	var prose strings.Builder
	var open *block
	last := ""
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		lang, fence := strings.CutPrefix(line, "```")
		lang = strings.TrimSpace(lang)
		switch {
		case fence && open == nil:
			note, _ := strings.CutPrefix(strings.TrimSpace(last), "<!-- ")
			note, comment := strings.CutSuffix(note, " -->")
			if !comment {
				note = ""
			}
			open = &block{page: path, line: n + 1, lang: lang, note: note}
			if strings.ContainsAny(lang, " {`") {
				t.Errorf("%s:%d: a fence that says %q", path, n, lang)
			}
		case fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line
		default:
			prose.WriteString(line)
		}
		last = line
	}
	if open != nil {
		t.Errorf("%s is not closed", open)
	}
	p.prose = prose.String()
	return p
}

// documentation is every page that people read.
func documentation(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(append(paths, more...), "../README.md", "../SECURITY.md", "../CONTRIBUTING.md")
	var pages []page
	for _, path := range paths {
		pages = append(pages, readPage(t, strings.TrimPrefix(path, "../")))
	}
	return pages
}

// anchors are the names that links to headings of the page may have, made as GitHub makes them.
func (p page) anchors() map[string]bool {
	names := map[string]bool{}
	drop := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	link := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	for line := range strings.Lines(p.prose) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		title = strings.ToLower(strings.TrimSpace(link.ReplaceAllString(title, "$1")))
		name := strings.ReplaceAll(drop.ReplaceAllString(title, ""), " ", "-")
		unique := name
		for i := 1; names[unique]; i++ {
			unique = fmt.Sprintf("%s-%d", name, i)
		}
		names[unique] = true
	}
	return names
}
