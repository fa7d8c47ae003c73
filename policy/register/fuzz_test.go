package register_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/policy/register"
)

// FuzzImport: whatever is imported, the report adds up, and an export of it gives the same export.
func FuzzImport(f *testing.F) {
	for _, s := range []string{
		"bob@example.com\n*@example.org,BOUNCE\n",
		"email,reason,created\n\"bob@example.com\",\"550 5.1.1, no\",1767323045\n",
		"email;status\r\n\"b\"\"ob\"@example.com;blocklisted\r\n",
		"address,scope,expires,reply,bounces,tags\nx@example.com,login:bob,never,550 5.1.1,2,*\n",
		"\ufeffaddress\n\"open\nx@example.com",
		"a@example.com,,sender_domain:B\u00fccher.test,2999-01-01,ev,so,2026-01-02 03:04:05,550,1\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := register.Open(nil, register.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		report, err := r.ImportCSV(strings.NewReader(text), register.ImportOptions{})
		sum := report.Added + report.Replaced + report.Kept + report.Skipped + report.Failed
		if err == nil && sum != report.Rows || len(report.Problems) > report.Rows {
			t.Fatalf("%+v", report)
		}
		for _, problem := range report.Problems {
			if strings.ContainsAny(problem.Detail, "\r\n\x00\x1b") {
				t.Fatalf("%q", problem.Detail)
			}
		}
		first := export(t, r)
		if n := len(addresses(t, r)); n != report.Added || strings.Count(first, "\n") != n {
			t.Fatalf("%d entries, but %+v", n, report)
		}
		again, err := register.Open(nil, register.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		second, err := again.ImportCSV(strings.NewReader(first), register.ImportOptions{Strict: true})
		if err != nil || second.Added != report.Added {
			t.Fatalf("%q: %+v, %v", first, second, err)
		}
		if got := export(t, again); got != first {
			t.Fatalf("%q becomes %q", first, got)
		}
	})
}

// FuzzCSV: what encoding/csv writes of any cells is understood as those cells.
func FuzzCSV(f *testing.F) {
	f.Add("why", "who", "x")
	f.Add(`a "quote", and`, "a\nline", "\\.")
	f.Fuzz(func(t *testing.T, evidence, source, note string) {
		var file strings.Builder
		w := csv.NewWriter(&file)
		for _, row := range [][]string{
			{"note", "evidence", "address", "source", "reason"},
			{note, evidence, "a@example.com", source, "manual"},
			{"", source, "b@example.com", evidence, "manual"},
		} {
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		if file.Len() > 60_000 {
			return // longer than a row may be
		}
		imported, written := memory(t, register.Config{}), memory(t, register.Config{})
		report, err := imported.ImportCSV(strings.NewReader(file.String()), register.ImportOptions{})
		if err != nil || report.Added != 2 {
			t.Fatalf("%q: %+v, %v", file.String(), report, err)
		}
		list, _, err := imported.List(register.Filter{}, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		evidence, source = strings.TrimSpace(evidence), strings.TrimSpace(source)
		for i, s := range []register.Suppression{
			{Address: "a@example.com", Evidence: evidence, Source: source},
			{Address: "b@example.com", Evidence: source, Source: evidence},
		} {
			s.Created = list[i].Created
			if s.Source == "" {
				s.Source = "import"
			}
			suppress(t, written, s)
		}
		if got, want := export(t, imported), export(t, written); got != want {
			t.Fatalf("%q: %q, want %q", file.String(), got, want)
		}
		_ = imported.Close()
		_ = written.Close()
	})
}

// FuzzFiles: whatever the files hold, the lines that are entries are used, also after the files
// were written anew, and what is added is there after a restart.
func FuzzFiles(f *testing.F) {
	f.Add(version+entry("a@example.com"), version+"-\ta@example.com\tglobal\n"+entry("b@example.com"))
	f.Add("", "noise\n"+entry("a@example.com")+"+\tb@exa")
	f.Add(version, version+"+\tx@example.com\tlogin:a\thard_bounce\t550 5.1.1\t3\t"+
		"2026-01-02T03:04:05Z\t2999-01-02T03:04:05Z\tfeedback\t550 5.1.1 no\n")
	f.Add("\x00\n", "rcptgate suppressions 1")
	f.Fuzz(func(t *testing.T, snapshot, changes string) {
		if strings.HasPrefix(snapshot, "rcptgate ") && !strings.HasPrefix(snapshot, version) ||
			strings.HasPrefix(changes, "rcptgate ") && !strings.HasPrefix(changes, version) {
			return // another version, or none
		}
		path := t.TempDir()
		write(t, filepath.Join(path, snapshotFile), snapshot)
		write(t, filepath.Join(path, changesFile), changes)
		r, end := on(t, path, register.Config{})
		// Every whole line of the changes that stands last for its address counts.
		whole := changes[:strings.LastIndexByte(changes, '\n')+1]
		if strings.HasSuffix(whole, "\n"+entry("b@example.com")) &&
			!slices.Contains(addresses(t, r), "b@example.com") {
			t.Fatalf("b@example.com is lost: %q", addresses(t, r))
		}
		suppress(t, r, manual("next@example.com"))
		want := export(t, r)
		end()
		for range 2 {
			r, end = on(t, path, register.Config{})
			if got := export(t, r); got != want {
				t.Fatalf("%q becomes %q", want, got)
			}
			end()
		}
		// The export is worth the same list, in files of its own.
		other := t.TempDir()
		r, end = on(t, other, register.Config{})
		report, err := r.ImportCSV(strings.NewReader(want), register.ImportOptions{Strict: true})
		if err != nil || report.Skipped > 0 {
			t.Fatalf("%q: %+v, %v", want, report, err)
		}
		if got := export(t, r); got != want {
			t.Fatalf("%q is imported as %q", want, got)
		}
		end()
		if _, err := os.Stat(filepath.Join(other, changesFile)); err != nil && want != "" {
			t.Fatal(err)
		}
	})
}

// FuzzOverrides: what the file holds comes back as itself once it was written.
func FuzzOverrides(f *testing.F) {
	f.Add("rcptgate overrides 1\n" +
		"+\tprovider\tgoogle\t2026-01-02T03:04:05Z\t2999-01-02T03:04:05Z\tnote\n")
	f.Add("+\taddress\tB@example.com\t2026-01-02T03:04:05Z\t2999-01-02T03:04:05Z\t\\x\n" +
		"+\tdomain\t.x.test\t\t\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "rcptgate ") && !strings.HasPrefix(text, "rcptgate overrides 1\n") {
			return
		}
		path := t.TempDir()
		write(t, filepath.Join(path, overridesFile), text)
		r, end := on(t, path, register.Config{})
		one := register.Override{Kind: register.AllowDomain, Name: "example.org"}
		if err := r.Allow(one); err != nil {
			t.Fatal(err)
		}
		want := r.Overrides()
		end()
		var log logged
		r, end = on(t, path, register.Config{Log: log.logger()})
		if got := r.Overrides(); !slices.Equal(got, want) || log.String() != "" {
			t.Fatalf("%+v becomes %+v; %s", want, got, &log)
		}
		end()
	})
}
