package policy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestSets: what comes with the program says what it should of well-known names.
func TestSets(t *testing.T) {
	for local, want := range map[string]bool{
		"info": true, "Abuse": true, "POSTMASTER": true, "news-request": true, "owner-news": true,
		"info+shop": true, "no-reply": true, "anna": false, "informatik": false, "": false,
		"-request": false, "owner-": false, strings.Repeat("a", 400): false, "ınfo": false,
	} {
		if got := isRole(local); got != want {
			t.Errorf("isRole(%.20q): %v", local, got)
		}
	}
	for domain, want := range map[string]bool{
		"mailinator.com": true, "x.mailinator.com": true, "MAILINATOR.COM": true, "example.com": false,
		"mailinator.com.example": false, "com": false, "": false, "[192.0.2.1]": false,
		strings.Repeat("a.", 200) + "mailinator.com": false,
	} {
		if got := isDisposable(domain); got != want {
			t.Errorf("isDisposable(%.20q): %v", domain, got)
		}
	}
	for domain, want := range map[string]bool{
		"gmail.com": true, "yahoo.co.uk": true, "gmx.net": true, "web.de": true, "icloud.com": true,
		"outlook.com": true, "mail.ru": true, "a.gmail.com": false, "example.com": false, "": false,
	} {
		if got := isFree(domain); got != want {
			t.Errorf("isFree(%q): %v", domain, got)
		}
	}
	if n := disposableDomains().count; n < 8000 {
		t.Errorf("%d disposable domains", n)
	}
}

// TestSetFiles: each file tells its source and date, and holds what look-ups find.
func TestSetFiles(t *testing.T) {
	for name, text := range map[string]string{
		"role": roleText, "disposable": disposableText, "free": freeText,
	} {
		if !strings.Contains(text, "# Source: ") || !strings.Contains(text, "2026-") {
			t.Errorf("%s: no source or date", name)
		}
		seen := make(map[string]bool)
		for line := range strings.Lines(text) {
			word := strings.TrimSuffix(line, "\n")
			if word == "" || word[0] == '#' {
				continue
			}
			if seen[word] || word != strings.ToLower(strings.TrimSpace(word)) {
				t.Errorf("%s: %q is there twice, or not as it is compared", name, word)
			}
			seen[word] = true
		}
	}
}

func TestParseList(t *testing.T) {
	set, _, err := parseList([]byte("# comment\r\n\n  Boss@Example.COM  OK\n" +
		"vip.example\n.sub.example\n*@all.example\n*@.deep.example\njoe\nbücher.example\nü@.bücher.example\n" +
		"boss@example.com\n192.0.2.7\n"))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{
		"boss@example.com": true, "BOSS@example.com": true, "bossy@example.com": false,
		"example.com": false, "anna@vip.example": true, "vip.example": true, "a.vip.example": false,
		"anna@a.sub.example": true, "b.a.sub.example": true, "sub.example": false, "anna@sub.example": false,
		"anna@all.example": true, "all.example": true, "x@a.all.example": false, "x@a.deep.example": true,
		"joe": true, "Joe": true, "joe@": false, "": false, "xn--bcher-kva.example": true,
		"a@xn--bcher-kva.example": true, "ü@.xn--bcher-kva.example": true, "192.0.2.7": true,
		"192.0.2.70": false, "#": false, strings.Repeat("x", 400): false, "\n": false, "a\nb": false,
		"joe\nxn--bcher-kva.example": false,
	} {
		if got := set.match(value); got != want {
			t.Errorf("match(%.40q): %v", value, got)
		}
	}
	if set.count != 9 {
		t.Errorf("%d entries", set.count)
	}
}

func TestParseListFaults(t *testing.T) {
	for entry, want := range map[string]string{
		"*.example.com": `write ".example.com"`, "@example.com": "half an address", "anna@": "half an address",
		"192.0.2.0/24": "inNetwork", "2001:db8::/32": "inNetwork", "a\x01b": "control character",
		"a\x7f": "control character", "\xff\xfe": "not UTF-8", "bü..cher": "not a domain",
		strings.Repeat("x", 321): "321 octets", "anna@bü..cher": "not a domain",
	} {
		_, line, err := parseList([]byte("ok.example\n\n" + entry + "\n"))
		if err == nil || line != 3 || !strings.Contains(err.Error(), want) ||
			strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == utf8.RuneError }) {
			t.Errorf("%q: line %d, %v", entry, line, err)
		}
	}
	many := strings.Repeat("a\n", maxListEntries+1)
	if _, line, err := parseList([]byte(many)); err == nil || line != maxListEntries+1 {
		t.Errorf("more than a million: line %d, %v", line, err)
	}
}

// FuzzParseList: a list is sound or has a fault with its line; every entry of a sound one is found
// as it was written, in any case of letters, and nothing that is not in the file.
func FuzzParseList(f *testing.F) {
	f.Add([]byte("a@example.com\n.example.net x\n*@example.org\r\n# c\nbücher.example\n"))
	f.Add([]byte("\n\n\x00\nA\xffB\n@\n*@\n*.\n/8\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, line, err := parseList(data)
		if err != nil {
			if line < 1 || line > strings.Count(string(data), "\n")+1 {
				t.Fatalf("line %d: %v", line, err)
			}
			return
		}
		for raw := range strings.Lines(string(data)) {
			word, _, _ := strings.Cut(strings.Trim(strings.ReplaceAll(raw, "\t", " "), " \r\n"), " ")
			word, _, _ = strings.Cut(word, "\r")
			if word == "" || word[0] == '#' || !isASCII([]byte(word)) {
				continue
			}
			entry := strings.TrimPrefix(word, "*@")
			if !set.match(entry) || !set.match(strings.ToUpper(entry)) {
				t.Fatalf("%q is not found", word)
			}
		}
		if set.match("nobody@nowhere.invalid") && !strings.Contains(strings.ToLower(string(data)), "invalid") {
			t.Fatal("finds what is not there")
		}
	})
}

// million is a list of a million entries.
func million() []byte {
	var b strings.Builder
	for i := range maxListEntries {
		fmt.Fprintf(&b, "person%07d@d%d.example\n", i, i%1000)
	}
	return []byte(b.String())
}

func TestMatchAllocates(t *testing.T) {
	set, _, err := parseList([]byte("boss@example.com\n.sub.example\n"))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		set.match("Boss@EXAMPLE.com")
		set.match("nobody@a.b.c.example.net")
		isRole("Info+x")
		isDisposable("A.B.mailinator.com")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseList(b *testing.B) {
	data := million()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := parseList(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	set, _, err := parseList(million())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("hit", func(b *testing.B) {
		for b.Loop() {
			if !set.match("Person0500000@d0.example") {
				b.Fatal("not found")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		for b.Loop() {
			if set.match("nobody@a.b.example.net") {
				b.Fatal("found")
			}
		}
	})
}
