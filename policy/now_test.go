package policy_test

import (
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// remembers is a verifier that has some answers in memory.
type remembers struct {
	known
	inMemory bool
}

func (r *remembers) Recall(q *verify.Question, _ time.Time, result *verify.Result) bool {
	if r.inMemory {
		*result = r.Verify(nil, *q) //nolint:staticcheck // it does not look at the context
	}
	return r.inMemory
}

// TestNow: a decision without a wait is that of Rcpt, or none at all.
func TestNow(t *testing.T) {
	rules := []policy.Rule{
		{Name: "friends", When: `recipient.domain == "friend.example"`, Action: "accept"},
		{Name: "full", When: `recipient.local == "full" && reason == "mailbox_full"`, Action: "defer"},
	}
	for _, c := range []struct {
		name, rcpt string
		rules      []policy.Rule
		inMemory   bool
		ok         bool
		want       policy.Action
	}{
		{"built-in, known", "bob@example.net", nil, true, true, policy.Reject},
		{"built-in, not known", "bob@example.net", nil, false, false, 0},
		{"no verdict needed", "bob@friend.example", rules, false, true, policy.Accept},
		{"behind rules, not known", "bob@example.net", rules, false, false, 0},
		{"in a rule, not known", "full@example.net", rules, false, false, 0},
		{"behind rules, known", "bob@example.net", rules, true, true, policy.Reject},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &remembers{known: known{result: unknownMailbox()}, inMemory: c.inMemory}
			e, err := policy.New(policy.Config{Rules: c.rules}, v, nil)
			if err != nil {
				t.Fatal(err)
			}
			var d policy.Decision
			rcpt := to(t, c.rcpt)
			ok := e.Now(&policy.Transaction{}, &rcpt, &d, new(verify.Result))
			if ok != c.ok || ok && d.Action != c.want {
				t.Errorf("got %v, %v; want %v, %v", d.Action, ok, c.want, c.ok)
			}
			if !c.inMemory && v.asked.Load() != 0 {
				t.Error("the verifier was asked")
			}
		})
	}
}

// TestBuiltinInGo: the built-in rules as text decide as they do in Go.
func TestBuiltinInGo(t *testing.T) {
	var asText []policy.Rule
	for i, r := range policy.BuiltinRules() {
		r.Name = string(rune('a' + i))
		asText = append(asText, r)
	}
	for _, verdict := range []verify.Verdict{"", verify.Unknown, verify.Deliverable, verify.Undeliverable, verify.Risky} {
		for _, proof := range []bool{false, true} {
			v := &known{result: verify.Result{Verdict: verdict, Reason: verify.MailboxUnknown, Proof: proof}}
			var actions []policy.Action
			for _, rules := range [][]policy.Rule{nil, asText} {
				e, err := policy.New(policy.Config{Rules: rules}, v, nil)
				if err != nil {
					t.Fatal(err)
				}
				actions = append(actions, e.Rcpt(t.Context(), &policy.Transaction{}, to(t, "bob@example.net")).Action)
			}
			if actions[0] != actions[1] {
				t.Errorf("%s, proof %v: %v in Go, %v as text", verdict, proof, actions[0], actions[1])
			}
		}
	}
}
