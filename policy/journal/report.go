package journal

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// maxRows is how many names of one group a report tells apart. The rest is "(others)".
const maxRows = 20_000

// tableRows is how many rows of one group a table for the terminal has.
const tableRows = 15

const (
	othersName = "(others)"
	noneName   = "(none)"
)

// Count is decisions: all, and those refused or, in shadow mode, that would have been.
type Count struct {
	Decided, Rejected, Deferred int
}

// Refused is for good and for now together.
func (c Count) Refused() int { return c.Rejected + c.Deferred }

// Share is the share of the decisions that refused, 0 to 1.
func (c Count) Share() float64 { return share(c.Refused(), c.Decided) }

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (c *Count) add(action string) {
	c.Decided++
	switch action {
	case "reject":
		c.Rejected++
	case "defer":
		c.Deferred++
	}
}

// Row is one name of a group with its decisions.
type Row struct {
	Name string
	Count
}

// Report is what the rules refused or, in shadow mode, would have refused. What the relay refused
// is not in it. A recipient that is tried again counts again.
type Report struct {
	From, To time.Time // of the first and the last decision
	Total    Count
	Shadow   Count // of Total, what was decided in shadow mode: only refusals can tell
	// The groups, each with the most refused first, those without a refusal left out.
	Rules, SenderDomains, Providers, Reasons []Row
}

// Reporter builds a report from one entry after the other, in any order and in bounded memory.
type Reporter struct {
	report Report
	groups [4]map[string]*Count
}

// Add counts an entry. Those of messages do not count.
func (r *Reporter) Add(e *Entry) {
	if e.Kind != KindRecipient {
		return
	}
	t := &r.report
	if t.From.IsZero() || e.Time.Before(t.From) {
		t.From = e.Time
	}
	if e.Time.After(t.To) {
		t.To = e.Time
	}
	action := e.Decided()
	t.Total.add(action)
	if e.Shadow != "" {
		t.Shadow.add(action)
	}
	domain := cmp.Or(e.SenderDomain(), e.Sender)
	for i, name := range [...]string{e.Rule, domain, e.Provider, e.Reason} {
		r.count(i, cmp.Or(name, noneName)).add(action)
	}
}

func (r *Reporter) count(group int, name string) *Count {
	counts := r.groups[group]
	if counts == nil {
		counts = make(map[string]*Count)
		r.groups[group] = counts
	}
	c := counts[name]
	if c == nil && len(counts) >= maxRows {
		name = othersName
		c = counts[name]
	}
	if c == nil {
		c = new(Count)
		counts[strings.Clone(name)] = c
	}
	return c
}

// Report is what was counted so far.
func (r *Reporter) Report() Report {
	report := r.report
	for i, rows := range []*[]Row{
		&report.Rules, &report.SenderDomains, &report.Providers, &report.Reasons,
	} {
		for name, c := range r.groups[i] {
			if c.Refused() > 0 {
				*rows = append(*rows, Row{name, *c})
			}
		}
		slices.SortFunc(*rows, func(a, b Row) int {
			return cmp.Or(cmp.Compare(b.Refused(), a.Refused()), cmp.Compare(a.Name, b.Name))
		})
	}
	return report
}

// BuildReport counts entries.
func BuildReport(entries iter.Seq[*Entry]) Report {
	var r Reporter
	for e := range entries {
		r.Add(e)
	}
	return r.Report()
}

type group struct {
	key, title string
	rows       []Row
}

func (r *Report) groups() []group {
	return []group{
		{"rule", "By rule", r.Rules},
		{"sender_domain", "By sender domain", r.SenderDomains},
		{"provider", "By provider of the recipient", r.Providers},
		{"reason", "By reason of the verdict", r.Reasons},
	}
}

// WriteTable writes the report for people: the totals, and of each group the first rows with the
// share of the group's decisions that were refused, and the share of all refusals that they are.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	if r.Total.Decided == 0 {
		b.WriteString("No decisions in this time.\n")
	} else {
		fmt.Fprintf(&b, "%d decisions, %s to %s\n", r.Total.Decided, minute(r.From), minute(r.To))
		r.total(&b)
	}
	for _, g := range r.groups() {
		if len(g.rows) > 0 {
			r.table(&b, g)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func (r *Report) total(b *strings.Builder) {
	words := "refused"
	shadow := r.Shadow.Refused()
	if shadow > 0 {
		words = "would have been refused"
	}
	fmt.Fprintf(b, "%d (%s) %s: %d for good, %d for now\n", r.Total.Refused(),
		percent(r.Total.Share()), words, r.Total.Rejected, r.Total.Deferred)
	if real := r.Total.Refused() - shadow; shadow > 0 && real > 0 {
		fmt.Fprintf(b, "%d of them were refused in fact: the mode was not \"shadow\" all the time\n",
			real)
	}
}

func (r *Report) table(b *strings.Builder, g group) {
	b.WriteString("\n" + g.title + "\n")
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	write := func(cells ...string) {
		_, _ = io.WriteString(tw, strings.Join(cells, "\t")+"\n") // a Builder takes everything
	}
	write("refused", "for good", "for now", "of decided", "of its own", "of all refused", "")
	rows, rest := g.rows, Row{Name: othersName}
	if len(rows) > tableRows {
		for _, row := range rows[tableRows:] {
			rest.Decided += row.Decided
			rest.Rejected += row.Rejected
			rest.Deferred += row.Deferred
		}
		rest.Name = fmt.Sprintf("(%d others)", len(rows)-tableRows)
		rows = append(slices.Clone(rows[:tableRows]), rest)
	}
	for _, row := range rows {
		write(strconv.Itoa(row.Refused()), strconv.Itoa(row.Rejected), strconv.Itoa(row.Deferred),
			strconv.Itoa(row.Decided), percent(row.Share()),
			percent(share(row.Refused(), r.Total.Refused())), "  "+printable(row.Name))
	}
	_ = tw.Flush() // a Builder takes everything
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }

// WriteCSV writes the report for programs, a header line and all rows:
//
//	group,name,decided,refused,rejected,deferred,refused_share,share_of_refused
//
// The groups are total, rule, sender_domain, provider and reason; shares are 0 to 1. A name that a
// spreadsheet would take for a formula has a quote before it.
func (r *Report) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	write := func(group, name string, c Count) {
		_ = out.Write([]string{ // Flush keeps the error
			group, cell(name), strconv.Itoa(c.Decided), strconv.Itoa(c.Refused()),
			strconv.Itoa(c.Rejected), strconv.Itoa(c.Deferred), decimal(c.Share()),
			decimal(share(c.Refused(), r.Total.Refused())),
		})
	}
	_ = out.Write([]string{
		"group", "name", "decided", "refused", "rejected", "deferred", "refused_share",
		"share_of_refused",
	})
	write("total", "", r.Total)
	for _, g := range r.groups() {
		for _, row := range g.rows {
			write(g.key, row.Name, row.Count)
		}
	}
	out.Flush()
	return out.Error()
}

func decimal(share float64) string { return strconv.FormatFloat(share, 'f', 4, 64) }

func cell(name string) string {
	if name != "" && strings.ContainsRune("=+-@\t\r", rune(name[0])) {
		return "'" + name
	}
	return name
}
