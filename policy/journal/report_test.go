package journal

import (
	"encoding/csv"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"
)

func entries(list ...Entry) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}

// week is a week of a gate in shadow mode: 90 accepted, 6 that would have been rejected and 4 that
// would have been deferred.
func week() []Entry {
	var list []Entry
	add := func(n int, e Entry) {
		for range n {
			e.Kind, e.Time = KindRecipient, at.Add(time.Duration(len(list))*time.Hour)
			list = append(list, e)
		}
	}
	add(90, Entry{
		Action: "accept", Rule: "everything else", Sender: "a@shop.example.org", Provider: "google",
		Reason: "mailbox_exists",
	})
	add(6, Entry{
		Action: "accept", Shadow: "reject", Rule: "proven", Sender: "b@shop.example.org",
		Provider: "google", Reason: "mailbox_unknown",
	})
	add(3, Entry{
		Action: "accept", Shadow: "defer", Rule: "doubt", Sender: "<>", Reason: "timeout",
	})
	add(1, Entry{Action: "defer", Rule: "=cmd()", Sender: "x@other.example", Reason: "timeout"})
	list = append(list, Entry{Kind: KindMessage, Time: at, Action: "reject"})
	return list
}

// TestReport is the table for people.
func TestReport(t *testing.T) {
	r := BuildReport(entries(week()...))
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	const want = `100 decisions, 2026-11-23 14:15 UTC to 2026-11-27 17:15 UTC
10 (10.0 %) would have been refused: 6 for good, 4 for now
1 of them were refused in fact: the mode was not "shadow" all the time

By rule
  refused  for good  for now  of decided  of its own  of all refused
        6         6        0           6     100.0 %          60.0 %  proven
        3         0        3           3     100.0 %          30.0 %  doubt
        1         0        1           1     100.0 %          10.0 %  =cmd()

By sender domain
  refused  for good  for now  of decided  of its own  of all refused
        6         6        0          96       6.2 %          60.0 %  shop.example.org
        3         0        3           3     100.0 %          30.0 %  <>
        1         0        1           1     100.0 %          10.0 %  other.example

By provider of the recipient
  refused  for good  for now  of decided  of its own  of all refused
        6         6        0          96       6.2 %          60.0 %  google
        4         0        4           4     100.0 %          40.0 %  (none)

By reason of the verdict
  refused  for good  for now  of decided  of its own  of all refused
        6         6        0           6     100.0 %          60.0 %  mailbox_unknown
        4         0        4           4     100.0 %          40.0 %  timeout
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	var none Report
	if err := none.WriteTable(&out); err != nil || out.String() != "No decisions in this time.\n" {
		t.Errorf("nothing: %q, %v", out.String(), err)
	}
}

// TestReportCSV: what programs read adds up to the totals.
func TestReportCSV(t *testing.T) {
	r := BuildReport(entries(week()...))
	var out strings.Builder
	if err := r.WriteCSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rows[1], ","); got != "total,,100,10,6,4,0.1000,1.0000" {
		t.Errorf("total: %s", got)
	}
	sums := make(map[string]int)
	formula := false
	for _, row := range rows[1:] {
		var n int
		if _, err := fmt.Sscan(row[3], &n); err != nil {
			t.Fatal(err)
		}
		sums[row[0]] += n
		formula = formula || strings.HasPrefix(row[1], "=")
	}
	if fmt.Sprint(sums) != "map[provider:10 reason:10 rule:10 sender_domain:10 total:10]" || formula {
		t.Errorf("%v\n%s", sums, out.String())
	}
}

// TestReportBounded: a report of any number of domains has bounded memory and right totals.
func TestReportBounded(t *testing.T) {
	var r Reporter
	for n := range maxRows + 500 {
		r.Add(&Entry{Kind: KindRecipient, Action: "reject", Sender: fmt.Sprintf("a@d%d.example", n)})
	}
	report := r.Report()
	if len(report.SenderDomains) != maxRows+1 || report.SenderDomains[0].Name != othersName ||
		report.SenderDomains[0].Refused() != 500 || report.Total.Refused() != maxRows+500 {
		t.Errorf("%d rows, the first %+v", len(report.SenderDomains), report.SenderDomains[0])
	}
	var out strings.Builder
	if err := report.WriteTable(&out); err != nil || !strings.Contains(out.String(), "(19986 others)") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
