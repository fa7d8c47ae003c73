package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify/mx"
)

// needPostconf skips the test where there is no postconf. CI must have it.
func needPostconf(t *testing.T) {
	t.Helper()
	if _, err := postfixProgram("postconf"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("postconf is not installed; run .ci/setup")
	}
	t.Skip("postconf is not installed; run .ci/setup")
}

// docsFragment is a fragment of docs/postfix.md.
func docsFragment(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/postfix.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- fragment: "+name+" -->\n```")
	_, rest, opened := strings.Cut(rest, "\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !opened || !closed {
		t.Fatalf("docs/postfix.md has no fragment %s", name)
	}
	return block + "\n"
}

// postfixFiles is a configuration of Postfix for postconf, which need not run.
type postfixFiles struct {
	t          *testing.T
	dir        string
	main, gate string
	master     string
}

// mainOfTest is a main.cf that all settings of these tests are in.
const mainOfTest = `compatibility_level = 3.6
inet_interfaces = 127.0.0.1
myhostname = gate.example.com
mydestination =
alias_maps =
alias_database =
relay_domains =
mynetworks = 127.0.0.0/8
`

// gateOfTest is added to the fragments for the gate: it knows of domains, and asks no mail server.
const gateOfTest = "\n[verify]\ninternal_domains = [\"internal.example.com\"]\n"

func filterFiles(t *testing.T) *postfixFiles {
	t.Helper()
	return &postfixFiles{
		t: t, main: mainOfTest, master: docsFragment(t, "filter/master.cf"),
		gate: docsFragment(t, "filter/rcptgate.toml") + gateOfTest,
	}
}

func policydFiles(t *testing.T) *postfixFiles {
	t.Helper()
	return &postfixFiles{
		t: t, main: mainOfTest + docsFragment(t, "policyd/main.cf"),
		master: "smtp inet n - n - 100 smtpd\n", gate: docsFragment(t, "policyd/rcptgate.toml") +
			gateOfTest,
	}
}

// write writes the files.
func (p *postfixFiles) write() {
	p.t.Helper()
	if p.dir == "" {
		p.dir = p.t.TempDir()
	}
	for name, text := range map[string]string{"main.cf": p.main, "master.cf": p.master} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *postfixFiles) examine() *examined {
	p.t.Helper()
	return examine(p.t, "--offline", "--postfix", p.dir, "--config", doctorConfig(p.t, p.gate))
}

// TestDoctorPostfixRight: the set-ups of docs/postfix.md are clean as they stand.
func TestDoctorPostfixRight(t *testing.T) {
	needPostconf(t)
	for _, tc := range []struct{ name, roles string }{
		{"filter", "smtp/inet in front, 127.0.0.1:10026/inet behind"},
		{"unix", "smtp/inet in front, rcptgate/unix behind"},
		{"front", "127.0.0.1:10026/inet behind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &postfixFiles{
				t: t, main: mainOfTest, master: docsFragment(t, tc.name+"/master.cf"),
				gate: docsFragment(t, tc.name+"/rcptgate.toml") + gateOfTest,
			}
			p.write()
			e := p.examine()
			e.clean("postfix")
			e.want("postfix", levelOK, "fits the gate: "+tc.roles)
		})
	}
	t.Run("policyd", func(t *testing.T) {
		p := policydFiles(t)
		p.write()
		e := p.examine()
		e.clean("postfix")
		if notes := e.find("postfix", levelNote); len(notes) > 0 {
			t.Errorf("notes:\n%s", e)
		}
		e.want("postfix", levelOK, "fits the gate: smtp/inet asks the policy service")
	})
}

// TestDoctorPostfix: each thing that is wrong is found, and where the fix is a command of postconf, it
// mends it.
func TestDoctorPostfix(t *testing.T) {
	needPostconf(t)
	for _, set := range []struct {
		name   string
		files  func(*testing.T) *postfixFiles
		faults []postfixFault
	}{{"filter", filterFiles, filterFaults}, {"policyd", policydFiles, policydFaults}} {
		for _, f := range set.faults {
			t.Run(set.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				p := set.files(t)
				p.change(f.change)
				p.write()
				finding := p.examine().want("postfix", f.level, f.want...)
				command, _, ok := strings.Cut(finding.Fix, " && postfix ")
				if !ok || t.Failed() {
					return
				}
				runFix(t, command)
				if still := p.examine().find("postfix", f.level, f.want...); len(still) > 0 {
					t.Errorf("%s does not mend it: %v", command, still)
				}
			})
		}
	}
}

// runFix runs a fix that is a command.
func runFix(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// change replaces texts wherever they are; each must be somewhere.
func (p *postfixFiles) change(pairs []string) {
	p.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		found := false
		for _, file := range []*string{&p.main, &p.master, &p.gate} {
			if strings.Contains(*file, pairs[i]) {
				*file, found = strings.ReplaceAll(*file, pairs[i], pairs[i+1]), true
			}
		}
		if !found {
			p.t.Fatalf("no file contains %q", pairs[i])
		}
	}
	if strings.Contains(p.gate, "CERT") {
		cert, key := newTestCertificates(p.t)(time.Now().Add(90 * 24 * time.Hour))
		p.gate = strings.NewReplacer("CERT", cert, "KEY", key).Replace(p.gate)
	}
}

// TestDoctorPostfixChroot: a chrooted smtpd does not get to a socket outside.
func TestDoctorPostfixChroot(t *testing.T) {
	needPostconf(t)
	p := &postfixFiles{
		t: t, main: mainOfTest, gate: docsFragment(t, "unix/rcptgate.toml") + gateOfTest,
		master: strings.Replace(docsFragment(t, "unix/master.cf"), "n       -       n       -       100",
			"n - y - 100", 1),
	}
	p.write()
	f := p.examine().want("postfix", levelFault, "smtp/inet is chrooted, and /run/rcptgate/smtp.sock "+
		"is outside of ")
	command, _, _ := strings.Cut(f.Fix, " && postfix ")
	runFix(t, command)
	p.examine().clean("postfix")
}

// TestDoctorPostfixUnreadable: a directory that was named must be one of Postfix.
func TestDoctorPostfixUnreadable(t *testing.T) {
	needPostconf(t)
	e := examine(t, "--offline", "--postfix", t.TempDir(), "--config", doctorConfig(t, gateOfTest))
	e.want("postfix", levelFault, "cannot be read: postconf: ", "main.cf")
}

func TestPostfixTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"100s": 100 * time.Second, "100": 100 * time.Second, "2m": 2 * time.Minute, "1h": time.Hour,
		"1D": 24 * time.Hour, "1w": 7 * 24 * time.Hour, " 5s ": 5 * time.Second, "0": 0,
	} {
		if got, ok := postfixTime(text); !ok || got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "s", "-1s", "1x", "99999999999s", "${stress?1:2}s", "1.5h"} {
		if got, ok := postfixTime(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestPostfixListed(t *testing.T) {
	for _, tc := range []struct {
		list string
		want postfixAnswer
	}{
		{"", postfixNo},
		{"127.0.0.0/8", postfixYes},
		{"192.0.2.0/24, 127.0.0.1", postfixYes},
		{"[::1]/128 127.0.0.0/8", postfixYes},
		{"!127.0.0.1, 127.0.0.0/8", postfixNo},
		{"127.0.0.0/8, !127.0.0.1", postfixYes},
		{"192.0.2.0/24", postfixNo},
		{"hash:/etc/postfix/networks", postfixUnknown},
		{"localhost, 127.0.0.0/8", postfixUnknown},
		{"127.0.0.0/8, localhost", postfixYes},
	} {
		if got := postfixListed(tc.list, netip.MustParseAddr("127.0.0.1")); got != tc.want {
			t.Errorf("%q: %v, want %v", tc.list, got, tc.want)
		}
	}
}

// FuzzPostfixItems: what is taken apart and put together again is taken apart alike, and nothing but
// separators is lost.
func FuzzPostfixItems(f *testing.F) {
	f.Add("check_policy_service { inet:127.0.0.1:10040, timeout=20s }, permit_mynetworks")
	f.Add("a,b\tc\nd {e f} }g{ h")
	f.Fuzz(func(t *testing.T, list string) {
		parts := mx.PostfixItems(list)
		drop := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", ",", "").Replace // octets, also of broken UTF-8
		if got, want := drop(strings.Join(parts, "")), drop(list); got != want {
			t.Errorf("%q lost something: %q", list, got)
		}
		if again := mx.PostfixItems(strings.Join(parts, " ")); !slices.Equal(again, parts) {
			t.Errorf("%q, then %q", parts, again)
		}
		for _, line := range parts {
			_ = newPolicyItem("smtpd_recipient_restrictions", line) // must not panic
		}
	})
}

// FuzzPostconf: services and options of any output are those of its lines.
func FuzzPostconf(f *testing.F) {
	f.Add("smtp inet n - n - - smtpd -o a=b\nsmtp unix - - n - 5 smtp\n", "smtp/inet/a = b\n")
	f.Add("unix:/x/y unix n - y - 0 /usr/lib/postfix/sbin/smtpd\n", "unix:/x/y/unix/c =\n")
	f.Fuzz(func(t *testing.T, services, options string) {
		c := &postfixConf{services: parseServices(services, "100")}
		c.addOptions(options)
		if lines := strings.Count(services, "\n") + 1; len(c.services) > lines {
			t.Errorf("%d services of %d lines", len(c.services), lines)
		}
		for _, s := range c.services {
			if s.name == "" || strings.ContainsAny(s.String(), " \t\n") {
				t.Errorf("service %q", s)
			}
			for name, value := range s.own {
				if !strings.Contains(options, fmt.Sprintf("%s/%s", s, name)) || !strings.Contains(options, value) {
					t.Errorf("%s: option %q=%q out of nothing", s, name, value)
				}
			}
		}
	})
}
