package mx

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

func TestDomainsMatch(t *testing.T) {
	d, err := NewDomains([]string{
		"Example.com", ".example.org", "[192.0.2.1]", "trailing.example.net.", "localhost",
	})
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]bool{
		"example.com": true, "a.example.com": false, "xexample.com": false, "com": false,
		"example.org": false, "a.example.org": true, "a.b.example.org": true, "aexample.org": false,
		"[192.0.2.1]": true, "[192.0.2.2]": false,
		"trailing.example.net": true, "localhost": true, "": false, ".": false, ".example.org": false,
	} {
		if d.Match(domain) != want {
			t.Errorf("Match(%q) = %v", domain, !want)
		}
	}
	if d.Len() != 5 || d.Err() != nil {
		t.Errorf("%d entries, %v", d.Len(), d.Err())
	}
	var none *Domains
	if none.Match("example.com") || none.Len() != 0 || none.Err() != nil {
		t.Error("a nil list is not empty")
	}
}

// A U-label in the list means what it means in a recipient.
func TestDomainsFoldAsAddressesDo(t *testing.T) {
	for _, domain := range []string{"Bücher.Example.NET", "xn--bcher-kva.example.net", "EXAMPLE.com."} {
		a, err := esmtp.ParseAddress("anna@"+domain, true)
		d, listErr := NewDomains([]string{domain, "." + domain})
		if (err == nil) != (listErr == nil) {
			t.Errorf("%s: in an address %v, in the list %v", domain, err, listErr)
			continue
		}
		if err == nil && (!d.Match(a.ASCIIDomain()) || !d.Match("sub."+a.ASCIIDomain())) {
			t.Errorf("%s is in the list and does not match", a.ASCIIDomain())
		}
	}
}

func TestDomainsErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	for entry, want := range map[string]string{
		"":                                     "not a domain",
		".":                                    "not a domain",
		"..example.com":                        "not a domain",
		"a b":                                  "not a domain",
		"*.example.com":                        `write ".example.com"`,
		"anna@example.com":                     "write its domain",
		"hash:/etc/postfix/relay_domains":      "--from-postfix",
		"file:relative":                        "from the root",
		"file:" + dir + "/none":                "no such file",
		write("bad", "a.test\n\n# x\n@b\n"):    "bad:4: \"@b\": an address",
		write("nested", "file:/etc/x\n"):       "nested:1: a list in a file",
		write("binary", "\x7fELF\x00\x01\x02"): "binary:1:",
	} {
		if _, err := NewDomains([]string{"example.com", entry}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", entry, err, want)
		}
	}
}

func TestDomainsFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "domains")
	edit := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("# our domains\n\n  a.test OK # a Postfix table\r\n.b.test\tx\n")
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDomains([]string{"fixed.test", "file:" + path})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		d.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
		expect := func(want string) {
			t.Helper()
			var got []string
			for _, name := range []string{"fixed.test", "a.test", "x.b.test", "c.test"} {
				if d.Match(name) {
					got = append(got, name)
				}
			}
			if fmt.Sprint(got) != "["+want+"]" {
				t.Errorf("%v, want %s", got, want)
			}
		}
		expect("fixed.test a.test x.b.test")
		edit("c.test\n")
		expect("fixed.test a.test x.b.test") // not looked at yet
		time.Sleep(filesEvery)
		expect("fixed.test c.test")

		edit("a.test\nnot a domain@\n")
		time.Sleep(filesEvery)
		expect("fixed.test a.test")
		edit("a.test\nb@d\n")
		time.Sleep(filesEvery)
		expect("fixed.test a.test")
		if d.Err() == nil || !strings.Contains(d.Err().Error(), "domains:2") {
			t.Errorf("%v", d.Err())
		}
		edit("c.test\n")
		time.Sleep(filesEvery)
		expect("fixed.test c.test")
		if d.Err() != nil {
			t.Error(d.Err())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filesEvery)
		expect("fixed.test c.test")
		if d.Err() == nil {
			t.Error("a file that is gone is no fault")
		}
		again := strings.Count(log.String(), `read again" entries`)
		if not := strings.Count(log.String(), "not taken over"); again != 3 || not != 2 {
			t.Errorf("%d lists read again, %d not taken over:\n%s", again, not, log.String())
		}
	})
}

func BenchmarkDomainsMatch(b *testing.B) {
	d, err := NewDomains([]string{"example.com", ".example.org"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d.Match("mail.branch.example.net") {
			b.Fatal("matched")
		}
	}
}

// FuzzDomains reads arbitrary list files. The oracle is a plain walk over the entries.
func FuzzDomains(f *testing.F) {
	f.Add("example.com\n.example.org x\n# c\n", "a.example.org")
	f.Add("[192.0.2.1]\n", "[192.0.2.1]")
	f.Add(".example.org", ".example.org")
	f.Add("bücher.test\nEXAMPLE.com.", "xn--bcher-kva.test")
	f.Fuzz(func(t *testing.T, text, domain string) {
		all := make(entries)
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if len(words) > 0 && !strings.HasPrefix(words[0], "#") && all.add(words[0]) != nil {
				return
			}
		}
		d := &Domains{}
		d.current.Store(&all)
		want := false
		for e := range all {
			if strings.ContainsAny(e, " \t\r\n") || e != strings.ToLower(e) || e == "." || e == "" {
				t.Errorf("entry %q", e)
			}
			if strings.HasPrefix(e, ".") {
				want = want || (strings.HasSuffix(domain, e) && len(domain) > len(e))
			} else {
				want = want || domain == e
			}
		}
		if d.Match(domain) != want {
			t.Errorf("Match(%q) = %v in %v", domain, !want, all)
		}
	})
}
