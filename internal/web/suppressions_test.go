package web_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/register"
)

func TestSuppressions(t *testing.T) {
	o := newOffice(t)
	o.useTokens()
	o.over = bothToken
	var added web.Suppression
	o.ask("POST", "/v1/suppressions", `{"address": "Bob@Example.COM", "for": "1d"}`, &added)
	if added.Reason != register.Manual || added.Source != "both" || added.Created.IsZero() ||
		added.Expires.Sub(added.Created) != 24*time.Hour {
		t.Errorf("added %+v", added)
	}
	o.ask("POST", "/v1/suppressions", `{"address": "*@example.net", "scope": "sender_domain:shop.example",
		"reason": "complaint", "source": "fbl", "evidence": "ARF of today"}`, &added)
	o.ask("POST", "/v1/suppressions", `{"address": "eve@example.com", "reason": "hard_bounce",
		"reply": "550 5.1.1", "evidence": "no such user", "expires": "2099-01-01T00:00:00Z"}`, &added)
	if added.Reply != "550 5.1.1" || added.Expires.Year() != 2099 {
		t.Errorf("added %+v", added)
	}
	found := func(request string) string {
		t.Helper()
		var list web.Suppressions
		o.ask("POST", "/v1/suppressions/search", request, &list)
		names := []string{strconv.Itoa(list.Total)}
		for _, s := range list.Suppressions {
			names = append(names, s.Address+" "+s.Scope.String()+" "+s.Reply)
		}
		return strings.Join(names, "; ")
	}
	const star, bob, eve = "*@example.net sender_domain:shop.example ", "bob@example.com global ",
		"eve@example.com global 550 5.1.1"
	for request, want := range map[string][]string{
		`{}`:                                      {bob, eve, star},
		`{"limit": 1, "offset": 1}`:               {bob},
		`{"contains": "BOB"}`:                     {bob},
		`{"domain": "example.net"}`:               {star},
		`{"reason": "hard_bounce"}`:               {eve},
		`{"source": "fbl"}`:                       {star},
		`{"scope": "sender_domain:shop.example"}`: {star},
		`{"scope": ""}`:                           {bob, eve},
		`{"scope": "login:x"}`:                    {},
	} {
		total := len(want)
		if strings.Contains(request, "limit") {
			total = 3
		}
		got := strings.Split(found(request), "; ")
		if got[0] != strconv.Itoa(total) || !sameSet(got[1:], want) {
			t.Errorf("%s finds %q, not %q", request, got, want)
		}
	}
	var removed web.Removed
	for _, test := range []struct {
		request string
		want    int
	}{
		{`{"address": "bob@example.com", "scope": "login:x"}`, 0},
		{`{"address": "BOB@example.com"}`, 1},
		{`{"address": "bob@example.com"}`, 0},
		{`{"where": {"domain": "example.org"}}`, 0},
		{`{"where": {"contains": "example"}}`, 2},
	} {
		if o.ask("POST", "/v1/suppressions/remove", test.request, &removed); removed.Removed != test.want {
			t.Errorf("%s removed %d", test.request, removed.Removed)
		}
	}
	if got := found("{}"); got != "0" {
		t.Errorf("left: %s", got)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// form is a multipart form: names and values in turn.
func form(tb testing.TB, parts ...string) (kind string, body io.Reader) {
	tb.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		part, err := w.CreateFormFile(parts[i], "list.csv")
		if parts[i] != "file" {
			part, err = w.CreateFormField(parts[i])
		}
		if err == nil {
			_, err = io.WriteString(part, parts[i+1])
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return w.FormDataContentType(), &b
}

func TestImportExport(t *testing.T) {
	o := newOffice(t)
	take := func(kind string, body io.Reader) web.ImportReport {
		t.Helper()
		answer := o.send("POST", "/v1/suppressions/import", kind, body)
		var report web.ImportReport
		if err := json.Unmarshal([]byte(answer.text), &report); err != nil || answer.status != http.StatusOK {
			t.Fatalf("%d %s: %v", answer.status, answer.text, err)
		}
		return report
	}
	report := take("text/csv; charset=utf-8",
		strings.NewReader("email,colour\na@example.com,red\n\x1bbad\nb@example.com,blue\n"))
	if report.Rows != 3 || report.Added != 2 || report.Failed != 1 || len(report.Problems) != 1 ||
		report.Problems[0].Line != 3 || !slices.Equal(report.Unknown, []string{"colour"}) {
		t.Errorf("%+v", report)
	}
	report = take(form(t, "reason", "unsubscribe", "scope", "login:bob@example.com", "for", "1d",
		"source", "crm", "keep", "true", "strict", "false", "file", "a@example.com\nc@example.com\n"))
	if report.Added != 2 {
		t.Errorf("%+v", report)
	}
	report = take(form(t, "keep", "true", "file", "a@example.com\nd@example.com\n"))
	if report.Added != 1 || report.Kept != 1 {
		t.Errorf("%+v", report)
	}

	answer := o.send("GET", "/v1/suppressions/export", "", nil)
	csv := answer.text
	if got := answer.header.Get("Content-Type"); got != "text/csv; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	for _, want := range []string{
		"address,reason,scope,", "a@example.com,import,global,never,,control socket,",
		"c@example.com,unsubscribe,login:bob@example.com,20", ",crm,",
	} {
		if !strings.Contains(csv, want) {
			t.Errorf("the export has no %q:\n%s", want, csv)
		}
	}
	var removed web.Removed
	o.ask("POST", "/v1/suppressions/remove", `{"where": {"contains": "@"}}`, &removed)
	if take("text/csv", strings.NewReader(csv)); removed.Removed != 5 {
		t.Errorf("removed %d", removed.Removed)
	}
	if again := o.send("GET", "/v1/suppressions/export", "", nil).text; again != csv {
		t.Errorf("an export that was imported is another one:\n%s%s", csv, again)
	}

	for _, test := range []struct {
		parts         []string
		field, detail string
	}{
		{[]string{"strict", "true", "file", "x@example.com\nbad row@\n"}, "", "1 bad rows, the first in line 2"},
		{[]string{"file", "colour,size\nred,1\n"}, "", "first line"},
		{[]string{"color", "red", "file", ""}, "color", "no such field"},
		{[]string{"reason", "dislike", "file", ""}, "reason", "dislike is none"},
		{[]string{"scope", "x", "file", ""}, "scope", "is no scope"},
		{[]string{"for", "x", "file", ""}, "for", "no time span"},
		{[]string{"expires", "x", "file", ""}, "expires", "x is no time"},
		{[]string{"keep", "maybe", "file", ""}, "keep", "neither true nor false"},
		{[]string{"source", strings.Repeat("x", 5000), "file", ""}, "source", "longer than 4 KiB"},
		{[]string{"reason", "manual"}, "file", "no such part"},
	} {
		kind, body := form(t, test.parts...)
		o.refused(o.send("POST", "/v1/suppressions/import", kind, body), 400, test.field, test.detail, "")
	}
	o.refused(o.send("POST", "/v1/suppressions/import", "multipart/form-data", nil), 400, "", "form cannot be read", "")
	if total := o.total(); total != 5 {
		t.Errorf("%d suppressions after imports that failed", total)
	}
}

func (o *office) total() int {
	o.t.Helper()
	var list web.Suppressions
	o.ask("POST", "/v1/suppressions/search", `{"limit": 1}`, &list)
	return list.Total
}

// TestOneImport: a second import waits for the first one, whatever its time.
func TestOneImport(t *testing.T) {
	o := newOffice(t)
	r, w := io.Pipe()
	done := make(chan answered)
	go func() { done <- o.send("POST", "/v1/suppressions/import", "text/csv", r) }()
	for i := range 200 { // more than any buffer, so that it is being read
		if _, err := fmt.Fprintf(w, "a%d@example.com,%s\n", i, strings.Repeat(" ", 5000)); err != nil {
			t.Fatal(err)
		}
	}
	o.refused(o.send("POST", "/v1/suppressions/import", "text/csv", strings.NewReader("b@example.com")), 409,
		"", "another import goes on", "wait")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if answer := <-done; !strings.Contains(answer.text, `"added":200`) {
		t.Error(answer.text)
	}
}

// TestBrokenImport: a client that goes away in the middle is no fault of ours.
func TestBrokenImport(t *testing.T) {
	o := newOffice(t)
	r, w := io.Pipe()
	gone := errors.New("gone")
	go func() {
		// More than all buffers, so that it is being read.
		_, _ = io.WriteString(w, strings.Repeat("a@example.com,"+strings.Repeat(" ", 5000)+"\n", 200))
		_ = w.CloseWithError(gone)
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://control/v1/suppressions/import", r)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/csv")
	answer, err := o.control.Do(request)
	if err == nil {
		_ = answer.Body.Close()
	}
	if !errors.Is(err, gone) {
		t.Errorf("sending ends with %v", err)
	}
	o.stop() // until the server has seen it
	if log := o.log.String(); strings.Contains(log, "ERROR") || !strings.Contains(log, "done=false") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestFullList: a list that is full says so, and how far the import came.
func TestFullList(t *testing.T) {
	o := newOffice(t)
	o.parts.Register.Reconfigure(register.Config{MaxEntries: 2})
	for _, name := range []string{"a", "b"} {
		_ = o.post("/v1/suppressions", `{"address": "`+name+`@example.com"}`)
	}
	o.refused(o.post("/v1/suppressions", `{"address": "c@example.com"}`), 507, "", "is full", "max_entries")
	answer := o.send("POST", "/v1/suppressions/import", "text/csv", strings.NewReader("c@example.com\n"))
	if answer.status != http.StatusInsufficientStorage ||
		!strings.Contains(answer.text, `"import":{"rows":1,"added":0`) {
		t.Errorf("%d %s", answer.status, answer.text)
	}
}

func TestOverrides(t *testing.T) {
	o := newOffice(t)
	var added web.Override
	o.ask("POST", "/v1/overrides", `{"kind": "address", "name": "bob@example.com", "note": "a customer", "for": "2d"}`, &added)
	if added.Expires.Sub(added.Created) != 48*time.Hour {
		t.Errorf("%+v", added)
	}
	o.ask("POST", "/v1/overrides", `{"kind": "provider", "name": "google"}`, &added)
	if added.Expires.Sub(added.Created) != register.DefaultOverrideTime {
		t.Errorf("%+v", added)
	}
	var list web.Overrides
	o.ask("GET", "/v1/overrides", "", &list)
	if len(list.Overrides) != 2 || list.Overrides[0].Name != "bob@example.com" || list.Overrides[0].Note != "a customer" {
		t.Errorf("%+v", list)
	}
	var revoked web.Revoked
	for _, want := range []bool{true, false} {
		o.ask("POST", "/v1/overrides/revoke", `{"kind": "provider", "name": "google"}`, &revoked)
		if revoked.Revoked != want {
			t.Errorf("revoked %v", revoked.Revoked)
		}
	}
	var forgotten web.Forgotten
	for _, named := range []string{
		`{"kind": "address", "name": "Bob@EXAMPLE.com"}`, `{"kind": "domain", "name": "Bücher.example"}`,
		`{"kind": "provider", "name": "Google"}`,
	} {
		o.ask("POST", "/v1/forget", named, &forgotten)
	}
	want := []string{"address Bob@EXAMPLE.com", "domain xn--bcher-kva.example", "provider google"}
	if !slices.Equal(o.forgotten, want) {
		t.Errorf("forgotten %q, not %q", o.forgotten, want)
	}
}
