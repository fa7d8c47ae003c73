package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy/journal"
)

// SearchDecisions asks for entries of the journal, the newest first: those that have all that is set.
type SearchDecisions struct {
	Ref  string    `json:"ref,omitempty"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"` // itself not wanted
	// Since is how long ago From is, in place of it.
	Since       Span         `json:"since,omitzero"`
	Kind        journal.Kind `json:"kind,omitempty"` // "recipient" or "message"
	Session     string       `json:"session,omitempty"`
	Transaction string       `json:"transaction,omitempty"`

	// Recipient and Sender are an address, or "@example.com" for all of a domain; Client is an IP
	// address or a network.
	Recipient string `json:"recipient,omitempty"`
	Sender    string `json:"sender,omitempty"`
	Login     string `json:"login,omitempty"`
	Client    string `json:"client,omitempty"`

	Action   string `json:"action,omitempty"`  // "accept", "defer" or "reject", done or recorded
	Refused  bool   `json:"refused,omitempty"` // deferred or rejected, done or recorded
	Rule     string `json:"rule,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Provider string `json:"provider,omitempty"`

	Limit int `json:"limit,omitempty"` // 0 is 100; at most 1000
	// Files searches the journal's files, which go further back than memory and take longer.
	Files bool `json:"files,omitempty"`
}

// Decisions are entries of the journal, the newest first.
type Decisions struct {
	Entries []journal.Entry `json:"entries"`
	Notes   []string        `json:"notes,omitempty"` // what of the files was not read, and why
}

// Decision is an entry of the journal, and all of its transaction in the order of time.
type Decision struct {
	Entry       journal.Entry   `json:"entry"`
	Transaction []journal.Entry `json:"transaction"`
}

func (s *SearchDecisions) filter(now time.Time) (journal.Filter, error) {
	limit, err := limitOf(s.Limit)
	if err != nil {
		return journal.Filter{}, err
	}
	from, err := startOf(s.Since, s.From, now)
	if err != nil {
		return journal.Filter{}, err
	}
	f := journal.Filter{
		Ref: normalRef(s.Ref), From: from, To: s.To, Kind: s.Kind, Session: s.Session,
		Transaction: s.Transaction, Recipient: s.Recipient, Sender: s.Sender, Login: s.Login,
		Client: s.Client, Action: s.Action, Refused: s.Refused, Rule: s.Rule, Reason: s.Reason,
		Provider: s.Provider, Limit: limit,
	}
	if err := f.Check(); err != nil {
		return f, problem(http.StatusBadRequest, err.Error(), "correct the search")
	}
	return f, nil
}

// startOf is when a search begins.
func startOf(since Span, from, now time.Time) (time.Time, error) {
	switch {
	case since != 0 && !from.IsZero():
		return from, badField("since", "there is a time in from, too", "leave one of them out")
	case since != 0:
		return now.Add(-time.Duration(since)), nil
	}
	return from, nil
}

// normalRef is a reference as replies have it, of what people write: "(ref kx2m7qrt)".
func normalRef(s string) string {
	s = strings.Trim(strings.TrimSpace(s), "()[]<>\"'.,;")
	s = strings.ToUpper(s)
	return strings.TrimSpace(strings.TrimPrefix(s, "REF "))
}

// journal is the journal, of which the files may be all there is.
func (c *call) archive() (*journal.Archive, error) {
	archive := c.parts.archive()
	if archive == nil {
		return nil, missing("journal", "see policy.journal in the configuration")
	}
	return archive, nil
}

func (c *call) searchDecisions() error {
	archive, err := c.archive()
	if err != nil {
		return err
	}
	var asked SearchDecisions
	if err := c.decode(&asked); err != nil {
		return err
	}
	f, err := asked.filter(time.Now())
	if err != nil {
		return err
	}
	answer := Decisions{Entries: []journal.Entry{}}
	if c.parts.Journal != nil && !asked.Files {
		answer.Entries = append(answer.Entries, c.parts.Journal.Search(f)...)
		return c.reply(answer)
	}
	err = c.heavy(func(ctx context.Context) error {
		found, read, err := archive.Search(ctx, f)
		answer.Entries, answer.Notes = append(answer.Entries, found...), read.Notes()
		return err
	})
	if err != nil {
		return err
	}
	return c.reply(answer)
}

func (c *call) decision() error {
	archive, err := c.archive()
	if err != nil {
		return err
	}
	ref := normalRef(c.r.PathValue("ref"))
	var (
		story journal.Story
		found bool
		notes []string
	)
	err = c.heavy(func(ctx context.Context) error {
		if c.parts.Journal != nil {
			story, found = c.parts.Journal.Story(ctx, ref)
			return ctx.Err()
		}
		var read journal.ReadReport
		story, found, read, err = archive.Story(ctx, ref)
		notes = read.Notes()
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		detail := "no decision has the reference " + shown(ref)
		if len(notes) > 0 {
			detail += " (" + strings.Join(notes, " ") + ")"
		}
		return problem(http.StatusNotFound, detail,
			"compare it with the reply; a reference has 8 letters and digits. It may be older than the "+
				"journal (policy.journal.path, keep, max_age), or of another gate. Or search by recipient "+
				"and time")
	}
	if c.accepts("text/plain") {
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_ = story.Explain(c.w) // who has gone does not read it
		return nil
	}
	return c.reply(Decision{Entry: story.Entry, Transaction: story.All})
}
