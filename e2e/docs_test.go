package e2e

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocs holds the pages to the program and to each other: each block of TOML is a configuration
// that check-config takes, JSON is JSON, each link leads somewhere, and each command, flag, key and
// metric that is named exists.
func TestDocs(t *testing.T) {
	pages := documentation(t)
	t.Run("blocks", func(t *testing.T) { checkBlocks(t, pages) })
	t.Run("links", func(t *testing.T) { checkLinks(t, pages) })
	t.Run("commands", func(t *testing.T) { checkCommands(t, pages) })
	t.Run("keys", func(t *testing.T) { checkKeys(t, pages) })
	t.Run("metrics", func(t *testing.T) { checkMetrics(t, pages) })
	t.Run("promises", checkPromises)
	t.Run("pictures", func(t *testing.T) { checkPictures(t, pages) })
}

// checkBlocks reads the blocks of configurations and of JSON. Commands must say that they are
// commands, or nobody runs them.
func checkBlocks(t *testing.T, pages []page) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	files := newCertificates(t)
	files.issue("mail.example.com", inDays(30))
	files.write("passwords", fragment(t, "smarthost/passwords"))
	files.write("vips", "ceo@example.net\n")
	files.write("domains", "example.com\n")
	files.write("tokens", "me read,write "+strings.Repeat("0123456789abcdef", 4)+"\n")
	commands := regexp.MustCompile(`(?m)^(#|\$)? ?(bin/)?(rcptgate [a-z-]+|make|curl|postfix|postconf|apt-get|systemctl|journalctl|go|git) `)
	tables := 0
	for _, p := range pages {
		for _, b := range p.blocks {
			switch b.lang {
			case "toml":
				tables++
				file := filepath.Join(t.TempDir(), "block.toml")
				// The files that pages speak of are there, but elsewhere.
				text := strings.ReplaceAll(b.text, `"/etc/rcptgate/`, `"`+files.dir+`/`)
				text = strings.ReplaceAll(text, `"file:/etc/rcptgate/`, `"file:`+files.dir+`/`)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command(bin, "check-config", "--config", file).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s\n%s", b, err, b.text, out)
				}
			case "json":
				if !json.Valid([]byte(b.text)) {
					t.Errorf("%s is no JSON:\n%s", b, b.text)
				}
			case "":
				if commands.MatchString(b.text) && p.path != "docs/commands.md" && !strings.Contains(b.text, "inet") {
					t.Errorf("%s has commands: mark it as sh\n%s", b, b.text)
				}
			case "sh", "yaml", "text", "cases", "csv", "promql", "jsonl":
			default:
				t.Errorf("%s: nobody knows what %q is", b, b.lang)
			}
		}
	}
	if tables < 30 {
		t.Errorf("only %d blocks of TOML were found", tables)
	}
}

// checkLinks follows each link that leads to a file of the repository, and to a heading in it.
func checkLinks(t *testing.T, pages []page) {
	t.Helper()
	anchors := map[string]map[string]bool{}
	for _, p := range pages {
		anchors[p.path] = p.anchors()
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	n := 0
	for _, p := range pages {
		for _, match := range link.FindAllStringSubmatch(p.prose, -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := p.path
			if file != "" {
				target = filepath.Join(filepath.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", p.path, match[1])
			} else if anchor != "" && !anchors[target][anchor] {
				t.Errorf("%s: %s has no heading #%s", p.path, target, anchor)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links were found", n)
	}
}

// code finds what is written as code in the text of a page.
var code = regexp.MustCompile("`([^`\n]+)`")

// checkCommands looks for each command, and each of its flags, in docs/commands.md, which is
// generated from the program. Hidden commands tell of themselves.
func checkCommands(t *testing.T, pages []page) {
	t.Helper()
	help := commandHelp(t)
	call := regexp.MustCompile(`(?:^|[\s;|&$(])(?:bin/)?rcptgate ([^|>#\n;]+)`)
	flag := regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*|-[a-z])(?:[\s=]|$)`)
	n := 0
	for _, p := range pages {
		for _, text := range codeOf(p) {
			for _, match := range call.FindAllStringSubmatch(text, -1) {
				n++
				command, text, err := help.of(strings.Fields(match[1]))
				if err != nil {
					t.Errorf("%s: rcptgate %s: %v", p.path, match[1], err)
				}
				for _, f := range flag.FindAllStringSubmatch(match[1], -1) {
					if text != "" && f[1] != "--help" && f[1] != "-h" && !strings.Contains(text, f[1]) {
						t.Errorf("%s: rcptgate %s: %s has no flag %s", p.path, match[1], command, f[1])
					}
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d commands were found", n)
	}
}

// codeOf is all of a page that is commands, or may be: spans of code, and blocks of sh with their
// lines joined.
func codeOf(p page) (texts []string) {
	for _, match := range code.FindAllStringSubmatch(p.prose, -1) {
		texts = append(texts, match[1])
	}
	for _, b := range commandBlocks(p) {
		texts = append(texts, strings.ReplaceAll(b.text, "\\\n", " "))
	}
	return texts
}

// commandTexts are the texts of docs/commands.md, by the command.
type commandTexts map[string]string

func commandHelp(t *testing.T) commandTexts {
	t.Helper()
	help := commandTexts{}
	name := ""
	for line := range strings.Lines(readPage(t, "docs/commands.md").prose) {
		if title := strings.TrimLeft(line, "#"); title != line {
			name = strings.TrimSpace(title)
		}
		help[name] += line
	}
	return help
}

// of finds the command that words begin with, and its text; none for a word that stands for a
// command, as COMMAND.
func (help commandTexts) of(words []string) (command, text string, err error) {
	command = "rcptgate"
	for i, word := range words {
		// "policy test|show|names"
		word, _, _ = strings.Cut(strings.TrimRight(word, ",."), `\`)
		if help[command+" "+word] == "" {
			words = words[i:]
			break
		}
		command += " " + word
	}
	if command != "rcptgate" {
		return command, help[command], nil
	}
	if !regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(words[0]) {
		return command, "", nil
	}
	bin, err := binary()
	if err != nil {
		return command, "", err
	}
	args := words[:1]
	if len(words) > 1 && regexp.MustCompile(`^[a-z]+$`).MatchString(words[1]) {
		args = words[:2]
	}
	out, err := exec.Command(bin, append(slices.Clone(args), "--help")...).CombinedOutput()
	return strings.Join(append([]string{command}, args...), " "), string(out), err
}

// checkKeys looks for each key that is written with its table, `verify.cache.path`, in
// docs/configuration.md, which is generated from the program.
func checkKeys(t *testing.T, pages []page) {
	t.Helper()
	reference := readPage(t, "docs/configuration.md")
	known := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^(?:- `([a-z_.]+)`:|## ([a-z.]+)$|### `\\[\\[([a-z.]+)\\]\\]`$)").
		FindAllStringSubmatch(reference.prose, -1) {
		key := match[1] + match[2] + match[3]
		for known[key] = true; strings.Contains(key, "."); known[key] = true {
			key = key[:strings.LastIndexByte(key, '.')]
		}
	}
	key := regexp.MustCompile(`^(proxy|relay|verify|policy|policyd|http|log)(\.[a-z_]+)+$`)
	free := []string{"policy.lists.", "policy.message.checks.", "log.levels."}
	n := 0
	for _, p := range pages {
		for _, match := range code.FindAllStringSubmatch(p.prose, -1) {
			name, _, _ := strings.Cut(match[1], " = ")
			if !key.MatchString(name) {
				continue
			}
			n++
			isFree := slices.ContainsFunc(free, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
			if !known[name] && !isFree && name != "policy.message.checks" {
				t.Errorf("%s: there is no key %s", p.path, name)
			}
		}
	}
	if len(known) < 120 || n < 100 {
		t.Errorf("%d keys are known, %d were found", len(known), n)
	}
}

// checkMetrics looks for each metric in docs/metrics.md, which a test holds to the program.
func checkMetrics(t *testing.T, pages []page) {
	t.Helper()
	reference := readPage(t, "docs/metrics.md").prose
	metric := regexp.MustCompile(`rcptgate_[a-z0-9_]*[a-z0-9](_?\*)?`)
	n := 0
	for _, p := range pages {
		texts := []string{p.prose}
		for _, b := range p.blocks {
			texts = append(texts, b.text)
		}
		for _, name := range metric.FindAllString(strings.Join(texts, "\n"), -1) {
			n++
			base, family := strings.CutSuffix(name, "*")
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !family {
				base += "`"
			}
			if !strings.Contains(reference, "`"+base) {
				t.Errorf("%s: there is no metric %s", p.path, name)
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d metrics were found", n)
	}
}

// checkPictures: each drawing is on a page, can be read in the dark and by those who hear pages, and
// is small.
func checkPictures(t *testing.T, pages []page) {
	t.Helper()
	pictures, err := filepath.Glob("../docs/pictures/*")
	if err != nil || len(pictures) == 0 {
		t.Fatalf("%d pictures, %v", len(pictures), err)
	}
	for _, path := range pictures {
		text := readFile(path)
		for _, want := range []string{"<title ", "<desc ", "prefers-color-scheme: dark", "viewBox="} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
		if len(text) > 10_000 || xml.Unmarshal([]byte(text), new(struct{})) != nil {
			t.Errorf("%s is large (%d octets), or no XML", path, len(text))
		}
		link := "](pictures/" + filepath.Base(path) + ")"
		if !slices.ContainsFunc(pages, func(p page) bool { return strings.Contains(p.prose, link) }) {
			t.Errorf("%s is on no page", path)
		}
	}
}

// checkPromises looks for each test that docs/security.md names as the one that holds a promise, and
// for each line of the unit that it explains.
func checkPromises(t *testing.T) {
	text := readPage(t, "docs/security.md").prose
	named := regexp.MustCompile("`([a-z/0-9]+)`: ((?:Test|Fuzz)\\w+)").FindAllStringSubmatch(text, -1)
	for _, match := range named {
		files, err := filepath.Glob(filepath.Join("..", match[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			return strings.Contains(readFile(file), "\nfunc "+match[2]+"(")
		}) {
			t.Errorf("%s has no %s", match[1], match[2])
		}
	}
	unit := readFile("../deploy/systemd/rcptgate.service")
	lines := regexp.MustCompile("`([A-Z][A-Za-z]+=[^`]*)`").FindAllStringSubmatch(text, -1)
	for _, match := range lines {
		if !strings.Contains(unit, "\n"+match[1]+"\n") {
			t.Errorf("rcptgate.service has no line %s", match[1])
		}
	}
	if len(named) < 50 || len(lines) < 10 {
		t.Errorf("%d tests and %d lines were found", len(named), len(lines))
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
