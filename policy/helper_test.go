package policy_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// known is a verifier that knows one thing about every mailbox and counts the questions.
type known struct {
	result verify.Result
	asked  atomic.Int64
	last   atomic.Pointer[verify.Question]
}

func (k *known) Verify(_ context.Context, q verify.Question) verify.Result {
	k.asked.Add(1)
	k.last.Store(&q)
	r := k.result
	r.Address = q.Address
	return r
}

func unknownMailbox() verify.Result {
	return verify.Result{
		Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Proof: true,
		Confidence: 0.99, Deliverability: 0.01, MX: "mx.example.net", Stage: reply.StageRcpt,
		Reply: esmtp.Reply{Code: 550, Lines: []string{"5.1.1 <bob@example.net>: no such user bob"}},
	}
}

func existing() verify.Result {
	return verify.Result{
		Verdict: verify.Deliverable, Reason: verify.MailboxExists, Confidence: 0.9,
		Deliverability: 0.95, MX: "mx.example.net", Stage: reply.StageRcpt,
		Reply: esmtp.Reply{Code: 250, Lines: []string{"2.1.5 Ok"}},
	}
}

func unknown(reason verify.Reason) verify.Result {
	return verify.Result{Verdict: verify.Unknown, Reason: reason}
}

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatalf("ParseAddress(%q): %v", s, err)
	}
	return a
}

func to(tb testing.TB, s string) esmtp.Rcpt {
	tb.Helper()
	return esmtp.Rcpt{To: address(tb, s)}
}

func from(tb testing.TB, s string) *policy.Transaction {
	tb.Helper()
	return &policy.Transaction{Session: "S1", ID: "S1.1", Mail: esmtp.Mail{From: address(tb, s)}}
}

func engine(tb testing.TB, v policy.Verifier, rules ...policy.Rule) *policy.Engine {
	tb.Helper()
	e, err := policy.New(policy.Config{Rules: rules}, v, nil)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return e
}
