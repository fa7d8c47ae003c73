package register_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy/register"
)

func TestAllowed(t *testing.T) {
	r := memory(t, register.Config{})
	for kind, names := range map[register.OverrideKind][]string{
		register.AllowAddress:  {"Bob@Example.com", `"a b"@example.com`},
		register.AllowDomain:   {"Example.org", ".example.net", "bücher.test", "[192.0.2.1]"},
		register.AllowProvider: {"Google"},
	} {
		for _, name := range names {
			if err := r.Allow(register.Override{Kind: kind, Name: name}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for rcpt, want := range map[string]string{
		"bob@example.com":      "bob@example.com",
		"BOB@EXAMPLE.COM":      "bob@example.com",
		"bo@example.com":       "",
		"bob@sub.example.com":  "",
		`"A b"@example.com`:    `"a b"@example.com`,
		"x@example.org":        "example.org",
		"x@sub.example.org":    "",
		"x@example.net":        "",
		"x@a.example.net":      ".example.net",
		"x@a.b.example.net":    ".example.net",
		"x@aexample.net":       "",
		"x@xn--bcher-kva.test": "xn--bcher-kva.test",
		"x@[192.0.2.1]":        "[192.0.2.1]",
		"x@[192.0.2.2]":        "",
		"postmaster":           "",
	} {
		o, found := r.Allowed(addr(t, rcpt), time.Now())
		if o.Name != want || found != (want != "") {
			t.Errorf("%s: %+v, %v", rcpt, o, found)
		}
	}
	for name, want := range map[string]bool{"google": true, "microsoft": false, "": false} {
		if o, found := r.AllowedProvider(name, time.Now()); found != want || found && o.Name != name {
			t.Errorf("%s: %+v, %v", name, o, found)
		}
	}
}

func TestOverrideTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		r, end := on(t, path, register.Config{})
		start := time.Now()
		for _, o := range []register.Override{
			{Kind: register.AllowProvider, Name: "google", Note: "INC-1\tthey\nare down"},
			{Kind: register.AllowDomain, Name: "example.com", Expires: start.Add(time.Hour)},
			{Kind: register.AllowAddress, Name: "bob@example.org", Expires: start.AddDate(100, 0, 0)},
			{Kind: register.AllowDomain, Name: ".example.com", Expires: start.Add(time.Hour)},
		} {
			if err := r.Allow(o); err != nil {
				t.Fatal(err)
			}
		}
		const want = `rcptgate overrides 1
# + kind	name	created	expires	note
+	address	bob@example.org	2000-01-01T00:00:00Z	2100-01-01T00:00:00Z	
+	domain	.example.com	2000-01-01T00:00:00Z	2000-01-01T01:00:00Z	
+	domain	example.com	2000-01-01T00:00:00Z	2000-01-01T01:00:00Z	
+	provider	google	2000-01-01T00:00:00Z	2000-01-08T00:00:00Z	INC-1\x09they\x0aare down
`
		if got := read(t, filepath.Join(path, overridesFile)); got != want {
			t.Errorf("%s\nwant:\n%s", got, want)
		}
		all := r.Overrides()
		end()
		r, end = on(t, path, register.Config{})
		if got := r.Overrides(); len(got) != 4 || fmt.Sprint(got) != fmt.Sprint(all) {
			t.Errorf("%+v\nwant:\n%+v", got, all)
		}
		<-time.After(time.Hour)
		for _, s := range []string{"a@example.com", "a@b.example.com"} {
			if o, found := r.Allowed(addr(t, s), time.Now()); found {
				t.Errorf("%+v has not expired", o)
			}
		}
		if _, found := r.AllowedProvider("google", time.Now()); !found || len(r.Overrides()) != 2 {
			t.Error("too much has expired")
		}
		if there, err := r.Revoke(register.AllowDomain, "example.com"); there || err != nil {
			t.Error("an expired one is there", err)
		}
		if there, err := r.Revoke(register.AllowAddress, "BOB@example.org"); !there || err != nil {
			t.Error(there, err)
		}
		<-time.After(7*24*time.Hour - time.Hour)
		if _, found := r.AllowedProvider("google", time.Now()); found {
			t.Error("it lasts for more than 7 days")
		}
		if there, err := r.Revoke(register.AllowProvider, "none"); there || err != nil {
			t.Error(there, err)
		}
		if got := read(t, filepath.Join(path, overridesFile)); strings.Contains(got, "\n+") {
			t.Errorf("expired ones are kept: %s", got)
		}
		end()
	})
}

func TestAllowRefuses(t *testing.T) {
	r := memory(t, register.Config{})
	for _, tt := range []struct {
		field string
		o     register.Override
	}{
		{"kind", register.Override{Name: "example.com"}},
		{"kind", register.Override{Kind: "everything", Name: "x"}},
		{"address", register.Override{Kind: register.AllowAddress, Name: "example.com"}},
		{"name", register.Override{Kind: register.AllowAddress, Name: "*@example.com"}},
		{"name", register.Override{Kind: register.AllowDomain}},
		{"name", register.Override{Kind: register.AllowDomain, Name: "bob@example.com"}},
		{"name", register.Override{Kind: register.AllowDomain, Name: "..example.com"}},
		{"name", register.Override{Kind: register.AllowDomain, Name: ".[192.0.2.1]"}},
		{"name", register.Override{Kind: register.AllowProvider}},
		{"name", register.Override{Kind: register.AllowProvider, Name: "a\tb"}},
		{"name", register.Override{Kind: register.AllowProvider, Name: strings.Repeat("a", 65)}},
		{"expires", register.Override{
			Kind: register.AllowProvider, Name: "google", Expires: time.Now().Add(-time.Second),
		}},
		{"created", register.Override{
			Kind: register.AllowProvider, Name: "google", Created: time.Unix(-5, 0),
			Expires: time.Now().Add(time.Hour),
		}},
	} {
		err := r.Allow(tt.o)
		if err == nil || !strings.HasPrefix(err.Error(), tt.field+": ") {
			t.Errorf("%+v: %v", tt.o, err)
		}
	}
	if _, err := r.Revoke("everything", "x"); err == nil {
		t.Error("everything is revoked")
	}
	for i := range register.MaxOverrides + 1 {
		o := register.Override{Kind: register.AllowProvider, Name: fmt.Sprintf("p%d", i)}
		if i > 10 && i < register.MaxOverrides-10 {
			continue
		}
		if err := r.Allow(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Overrides()) != 22 {
		t.Errorf("%d overrides", len(r.Overrides()))
	}
}

// TestManyOverrides: no more than there may be, from the file or from anybody.
func TestManyOverrides(t *testing.T) {
	path := t.TempDir()
	var file strings.Builder
	file.WriteString("rcptgate overrides 1\n")
	for i := range register.MaxOverrides {
		fmt.Fprintf(&file, "+\tprovider\tp%d\t2026-01-02T03:04:05Z\t2999-01-02T03:04:05Z\t\n", i)
	}
	write(t, filepath.Join(path, overridesFile), file.String())
	r, _ := on(t, path, register.Config{})
	err := r.Allow(register.Override{Kind: register.AllowProvider, Name: "one more"})
	if err == nil || !strings.Contains(err.Error(), "10000 overrides already") {
		t.Error(err)
	}
	if err := r.Allow(register.Override{Kind: register.AllowProvider, Name: "p7"}); err != nil {
		t.Error(err)
	}
	if there, err := r.Revoke(register.AllowProvider, "p8"); !there || err != nil {
		t.Error(there, err)
	}
	if len(r.Overrides()) != register.MaxOverrides-1 {
		t.Errorf("%d overrides", len(r.Overrides()))
	}
}
