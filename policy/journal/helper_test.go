package journal

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatalf("ParseAddress(%q): %v", s, err)
	}
	return a
}

// at is a time in the middle of a second.
var at = time.Date(2026, 11, 23, 14, 15, 2, 345_600_000, time.UTC)

func transaction(tb testing.TB) *policy.Transaction {
	tb.Helper()
	return &policy.Transaction{
		Session: "3F2A", ID: "3F2A-1",
		Client: policy.Client{
			Addr: netip.MustParseAddr("::ffff:192.0.2.7"), Port: 4711, Name: "app.example.org",
			Helo: "app", Login: "news",
		},
		Mail: esmtp.Mail{From: address(tb, "news@Shop.Example.org")},
	}
}

func unknownMailbox() *verify.Result {
	return &verify.Result{
		Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Proof: true,
		Confidence: 0.99, Deliverability: 0.01, Provider: "google", MX: "mx.example.net",
		Stage: reply.StageRcpt, Label: "mailbox_unknown", Cached: true, Checked: at.Add(-time.Hour),
		Reply:  esmtp.Reply{Code: 550, Lines: []string{"5.1.1 <bob@example.net>: no such\x1b user"}},
		Domain: &verify.DomainReport{AcceptsAll: 0.02, Refused: at.Add(-time.Hour), Accepted: 7, Tries: 1},
	}
}

// refusal is a decision that refuses by proof, and its reply.
func refused(tb testing.TB, rcpt, ref string) *policy.Decision {
	tb.Helper()
	return &policy.Decision{
		Recipient: address(tb, rcpt), Action: policy.Reject, Rule: "built-in: proven undeliverable",
		Ref: ref, Result: unknownMailbox(), Elapsed: 1200 * time.Millisecond,
		Reply: esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1},
			"<"+rcpt+">: mailbox does not exist (ref "+ref+")"),
	}
}

func accepted(tb testing.TB, rcpt string) *policy.Decision {
	tb.Helper()
	return &policy.Decision{
		Recipient: address(tb, rcpt), Action: policy.Accept, Rule: "built-in: everything else",
		Result: &verify.Result{
			Verdict: verify.Deliverable, Reason: verify.MailboxExists, Confidence: 0.9,
			Deliverability: 0.95, MX: "mx.example.net", Provider: "google",
			Reply: esmtp.Reply{Code: 250, Lines: []string{"2.1.5 Ok"}},
		},
	}
}

// shadowed is refused in shadow mode.
func shadowed(tb testing.TB, rcpt, ref string) *policy.Decision {
	tb.Helper()
	d := refused(tb, rcpt, ref)
	d.Shadow, d.ShadowReply, d.Action, d.Reply = policy.Reject, d.Reply, policy.Accept, esmtp.Reply{}
	return d
}

var ok250 = esmtp.Reply{Code: 250, Lines: []string{"2.1.5 Ok"}}

// record records a decision as the proxy does.
func (j *Journal) record(tx *policy.Transaction, d *policy.Decision) {
	if d.Action == policy.Accept {
		j.Decision(tx, d, ok250, true)
		return
	}
	j.Decision(tx, d, d.Reply, false)
}

func open(tb testing.TB, cfg Config) *Journal {
	tb.Helper()
	j, err := Open(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { shut(tb, j) })
	return j
}

// shut closes a journal and wants all to be written.
func shut(tb testing.TB, j *Journal) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		tb.Error(err)
	}
}

func journalPath(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "journal.jsonl")
}

func refs(entries []Entry) string {
	list := make([]string, len(entries))
	for i := range entries {
		list[i] = entries[i].Ref
	}
	return strings.Join(list, " ")
}
