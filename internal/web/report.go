package web

import (
	"context"
	"time"

	"github.com/rcptgate/rcptgate/policy/journal"
)

// ReportRequest asks what was refused, or would have been, in some time.
type ReportRequest struct {
	Since Span      `json:"since,omitzero"` // from then on; neither it nor From: all there is
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to,omitzero"` // itself not in it
	// Shadow leaves out what was refused in earnest: what enforce mode would have refused, of all
	// that was let through.
	Shadow bool `json:"shadow,omitempty"`
}

// Report is a journal.Report in JSON.
type Report struct {
	From  time.Time `json:"from,omitzero"` // of the first decision
	To    time.Time `json:"to,omitzero"`   // of the last one
	Total Count     `json:"total"`
	// Shadow is the part of Total that would have been refused.
	Shadow        Count    `json:"shadow"`
	Rules         []Row    `json:"rules"`
	SenderDomains []Row    `json:"sender_domains"`
	Providers     []Row    `json:"providers"`
	Reasons       []Row    `json:"reasons"`
	Notes         []string `json:"notes,omitempty"` // what the numbers lack, and why
}

// Count is a journal.Count in JSON.
type Count struct {
	Decided  int `json:"decided"`
	Rejected int `json:"rejected"`
	Deferred int `json:"deferred"`
}

// Row is a journal.Row in JSON.
type Row struct {
	Name string `json:"name"`
	Count
}

// Report is the report as package journal has it, to be written as a table.
func (r *Report) Report() journal.Report {
	return journal.Report{
		From: r.From, To: r.To, Total: journal.Count(r.Total), Shadow: journal.Count(r.Shadow),
		Rules: journalRows(r.Rules), SenderDomains: journalRows(r.SenderDomains),
		Providers: journalRows(r.Providers), Reasons: journalRows(r.Reasons),
	}
}

func journalRows(rows []Row) []journal.Row {
	out := make([]journal.Row, len(rows))
	for i, row := range rows {
		out[i] = journal.Row{Name: row.Name, Count: journal.Count(row.Count)}
	}
	return out
}

func rowsOf(rows []journal.Row) []Row {
	out := make([]Row, len(rows))
	for i, row := range rows {
		out[i] = Row{row.Name, Count(row.Count)}
	}
	return out
}

func (c *call) report() error {
	archive, err := c.archive()
	if err != nil {
		return err
	}
	var asked ReportRequest
	if err := c.decode(&asked); err != nil {
		return err
	}
	f := journal.Filter{Kind: journal.KindRecipient, To: asked.To, Limit: -1}
	if f.From, err = startOf(asked.Since, asked.From, time.Now()); err != nil {
		return err
	}
	var (
		reporter journal.Reporter
		notes    []string
	)
	counted := 0
	add := func(e *journal.Entry) bool {
		counted++
		if !asked.Shadow || e.Shadow != "" || !e.Refused() {
			reporter.Add(e)
		}
		return true
	}
	err = c.heavy(func(ctx context.Context) error {
		read, err := archive.Each(ctx, f, add)
		notes = read.Notes()
		if err != nil || read.Files > 0 {
			return err
		}
		c.parts.Journal.Each(f, add) // nil has nothing
		if counted > 0 {
			notes = append(notes, "The journal has no file (policy.journal.path): this is what memory "+
				"has, which keeps refusals longer than others, so shares may be too high.")
		} else {
			notes = append(notes, "The journal has no file of this time (policy.journal.path).")
		}
		return nil
	})
	if err != nil {
		return err
	}
	report := reporter.Report()
	if c.accepts("text/csv") {
		c.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_ = report.WriteCSV(c.w) // who has gone does not read it
		return nil
	}
	return c.reply(Report{
		From: report.From, To: report.To, Total: Count(report.Total), Shadow: Count(report.Shadow),
		Rules: rowsOf(report.Rules), SenderDomains: rowsOf(report.SenderDomains),
		Providers: rowsOf(report.Providers), Reasons: rowsOf(report.Reasons), Notes: notes,
	})
}
