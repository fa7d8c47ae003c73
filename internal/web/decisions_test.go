package web_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/verify"
)

// decide puts decisions into the journal as the proxy does.
func (o *office) decide(rcpt, ref string, action, shadow policy.Action) {
	o.t.Helper()
	to, err := esmtp.ParseAddress(rcpt, false)
	if err != nil {
		o.t.Fatal(err)
	}
	from, err := esmtp.ParseAddress("news@shop.example.org", false)
	if err != nil {
		o.t.Fatal(err)
	}
	tx := &policy.Transaction{
		Session: "S", ID: "S-1", Client: policy.Client{Addr: netip.MustParseAddr("192.0.2.7")},
		Mail: esmtp.Mail{From: from},
	}
	d := &policy.Decision{
		Recipient: to, Action: action, Shadow: shadow, Rule: "a rule", Ref: ref,
		Result: &verify.Result{Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Provider: "google"},
	}
	reply := esmtp.NewReply(250, esmtp.EnhancedCode{2, 1, 5}, "Ok")
	if action != policy.Accept {
		reply = esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no (ref "+ref+")")
		d.Reply = reply
	}
	o.parts.Journal.Decision(tx, d, reply, action == policy.Accept)
}

func (o *office) decideAll() {
	o.t.Helper()
	o.decide("bob@example.com", "AAAAAAAA", policy.Reject, policy.Continue)
	o.decide("eve@example.net", "", policy.Accept, policy.Continue)
	o.decide("dan@example.net", "BBBBBBBB", policy.Accept, policy.Reject)
}

func TestDecisions(t *testing.T) {
	o := newOffice(t)
	o.decideAll()
	recipients := func(request string) string {
		t.Helper()
		var list web.Decisions
		o.ask("POST", "/v1/decisions/search", request, &list)
		var names []string
		for _, e := range list.Entries {
			names = append(names, e.Recipient)
		}
		return strings.Join(names, " ")
	}
	for request, want := range map[string]string{
		`{}`:                               "dan@example.net eve@example.net bob@example.com",
		`{"limit": 1}`:                     "dan@example.net",
		`{"recipient": "bob@example.com"}`: "bob@example.com",
		`{"recipient": "@example.net"}`:    "dan@example.net eve@example.net",
		`{"ref": "(ref aaaaaaaa)"}`:        "bob@example.com",
		`{"refused": true}`:                "dan@example.net bob@example.com",
		`{"client": "192.0.2.0/24", "since": "1h", "action": "accept"}`: "eve@example.net",
		`{"to": "2001-01-01T00:00:00Z"}`:                                "",
		`{"provider": "yahoo"}`:                                         "",
	} {
		if got := recipients(request); got != want {
			t.Errorf("%s finds %q, not %q", request, got, want)
		}
	}
	var one web.Decision
	o.ask("GET", "/v1/decisions/bbbbbbbb", "", &one)
	if one.Entry.Shadow != "reject" || len(one.Transaction) != 3 {
		t.Errorf("%+v", one)
	}
	answer := o.send("GET", "/v1/decisions/AAAAAAAA", "", nil, "Accept", "text/plain")
	if text := answer.text; !strings.Contains(text, "bob@example.com") || !strings.Contains(text, "The whole transaction") ||
		answer.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s", text)
	}

	// The files alone, as commands have them when no gate runs.
	kept := o.parts.Journal
	defer func() { o.parts.Journal = kept }()
	if err := kept.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	const all = "dan@example.net eve@example.net bob@example.com"
	if got := recipients(`{"files": true}`); got != all {
		t.Errorf("in the files: %q", got)
	}
	o.parts.Journal, o.parts.Archive = nil, kept.Archive()
	if got := recipients(`{}`); got != all {
		t.Errorf("without a gate: %q", got)
	}
	o.ask("GET", "/v1/decisions/AAAAAAAA", "", &one)
	if one.Entry.Recipient != "bob@example.com" || len(one.Transaction) != 3 {
		t.Errorf("%+v", one)
	}
	o.refused(o.send("GET", "/v1/decisions/CCCCCCCC", "", nil), 404, "", "CCCCCCCC", "search by recipient")
	o.refused(o.post("/v1/decisions/stream", "{}"), 503, "", "no gate that decides", "search")
}

func TestStream(t *testing.T) {
	o := newOffice(t)
	lines := o.open("POST", "/v1/decisions/stream", "application/json", strings.NewReader(`{"refused": true}`))
	events := o.open("POST", "/v1/decisions/stream", "application/json", strings.NewReader("{}"),
		"Accept", "text/event-stream")
	defer func() { _, _ = lines.Body.Close(), events.Body.Close() }()
	for kind, header := range map[string]http.Header{
		"application/x-ndjson": lines.Header, "text/event-stream": events.Header,
	} {
		if got := header.Get("Content-Type"); got != kind {
			t.Errorf("content type %q", got)
		}
	}
	o.decideAll()
	read := bufio.NewReader(lines.Body)
	for _, want := range []string{"bob@example.com", "dan@example.net"} {
		line, err := read.ReadString('\n')
		if err != nil || !strings.Contains(line, `"recipient":"`+want+`"`) {
			t.Errorf("%q, %v", line, err)
		}
	}
	read = bufio.NewReader(events.Body)
	for _, want := range []string{"bob@example.com", "eve@example.net", "dan@example.net"} {
		event, err := read.ReadString('\n')
		data, err2 := read.ReadString('\n')
		empty, err3 := read.ReadString('\n')
		if err := errors.Join(err, err2, err3); err != nil || event != "event: recipient\n" || empty != "\n" ||
			!strings.HasPrefix(data, `data: {"v":1,`) || !strings.Contains(data, want) {
			t.Errorf("%q %q %q %v", event, data, empty, err)
		}
	}
	o.stop() // does not wait for clients that listen
	if rest, err := io.ReadAll(read); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

func TestReport(t *testing.T) {
	o := newOffice(t)
	o.decideAll()
	if err := o.parts.Journal.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var report web.Report
	o.ask("POST", "/v1/report", `{"since": "1d"}`, &report)
	row := []web.Row{{Name: "a rule", Count: web.Count{Decided: 3, Rejected: 2}}}
	if diff := cmp.Diff(row, report.Rules); diff != "" || report.Total != row[0].Count ||
		report.Shadow != (web.Count{Decided: 1, Rejected: 1}) || report.Notes != nil {
		t.Errorf("%+v\n%s", report, diff)
	}
	if got := report.Providers; len(got) != 1 || got[0].Name != "google" {
		t.Errorf("%+v", got)
	}
	o.ask("POST", "/v1/report", `{"shadow": true}`, &report)
	if report.Total != (web.Count{Decided: 2, Rejected: 1}) {
		t.Errorf("%+v", report)
	}
	var table strings.Builder
	back := report.Report()
	if err := back.WriteTable(&table); err != nil || !strings.Contains(table.String(), "a rule") {
		t.Errorf("%s %v", &table, err)
	}
	answer := o.send("POST", "/v1/report", "application/json", strings.NewReader("{}"), "Accept", "text/csv")
	if text := answer.text; !strings.Contains(text, "rule,a rule,3,2,2,0,") {
		t.Errorf("%s", text)
	}
	o.ask("POST", "/v1/report", `{"to": "2001-01-01T00:00:00Z"}`, &report)
	if report.Total.Decided != 0 {
		t.Errorf("%+v", report)
	}
}

// TestReportMemory: without a file the report says where its numbers come from.
func TestReportMemory(t *testing.T) {
	o := newOffice(t)
	whole := o.parts.Journal
	defer func() { o.parts.Journal = whole }()
	var err error
	if o.parts.Journal, err = journal.Open(journal.Config{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.parts.Journal.Close(t.Context()) }()
	o.decideAll()
	var report web.Report
	o.ask("POST", "/v1/report", ``, &report)
	if report.Total.Decided != 3 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "memory") {
		t.Errorf("%+v", report)
	}
}
