package policy_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

func TestBuiltinRules(t *testing.T) {
	proof := func(reason verify.Reason) verify.Result {
		return verify.Result{Verdict: verify.Undeliverable, Reason: reason, Proof: true}
	}
	unproven := unknownMailbox()
	unproven.Proof = false
	cases := []struct {
		name   string
		result verify.Result
		action policy.Action
		code   int
		status string
	}{
		{"exists", existing(), policy.Accept, 0, ""},
		{"zero result", verify.Result{}, policy.Accept, 0, ""},
		{"mailbox unknown", unknownMailbox(), policy.Reject, 550, "5.1.1"},
		{"mailbox disabled", proof(verify.MailboxDisabled), policy.Reject, 550, "5.2.1"},
		{"moved", proof(verify.Moved), policy.Reject, 550, "5.1.6"},
		{"domain unknown", proof(verify.DomainUnknown), policy.Reject, 550, "5.1.2"},
		{"null mx", proof(verify.NullMX), policy.Reject, 556, "5.1.10"},
		{"proof of a new kind", proof("from_the_future"), policy.Reject, 550, "5.1.1"},
		{"undeliverable without proof", unproven, policy.Accept, 0, ""},
		{
			"proof without verdict",
			verify.Result{Verdict: verify.Unknown, Reason: verify.Policy, Proof: true},
			policy.Accept, 0, "",
		},
		{
			"full",
			verify.Result{Verdict: verify.Risky, Reason: verify.MailboxFull},
			policy.Accept, 0, "",
		},
		{"greylisted", unknown(verify.Greylisted), policy.Accept, 0, ""},
		{"blocked", unknown(verify.BlockedIP), policy.Accept, 0, ""},
		{"dns", unknown(verify.DNSFailure), policy.Accept, 0, ""},
		{"timeout", unknown(verify.Timeout), policy.Accept, 0, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := &known{result: c.result}
			d := engine(t, v).Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
			if d.Action != c.action || d.Reply.Code != c.code || d.Reply.Enhanced().String() != c.status {
				t.Errorf("%v %v, want %v %d %s", d.Action, d.Reply, c.action, c.code, c.status)
			}
			if refused := c.action != policy.Accept; refused != (d.Ref != "") ||
				refused != strings.Contains(d.Reply.Text(), "(ref "+d.Ref+")") {
				t.Errorf("reference %q, reply %v", d.Ref, d.Reply)
			}
			if !strings.HasPrefix(d.Rule, "built-in: ") || d.Result == nil || v.asked.Load() != 1 {
				t.Errorf("rule %q, result %v, asked %d times", d.Rule, d.Result, v.asked.Load())
			}
		})
	}
}

func TestFirstMatchDecides(t *testing.T) {
	v := &known{result: unknownMailbox()}
	e := engine(
		t, v,
		policy.Rule{Name: "own", When: `recipient.domain == "example.org"`, Action: "accept"},
		policy.Rule{Name: "closed", When: `recipient.domain == "example.com"`, Action: "reject"},
		policy.Rule{Name: "shut", When: `recipient.domain == "example.com"`, Action: "accept"},
		policy.Rule{Name: "wait", When: `sender.domain == "example.org"`, Action: "defer"},
	)
	cases := []struct {
		sender, rcpt string
		rule         string
		action       policy.Action
		asked        int64
	}{
		{"a@example.com", "bob@EXAMPLE.org", "own", policy.Accept, 0},
		{"a@example.com", "bob@example.com", "closed", policy.Reject, 0},
		{"a@example.org", "bob@example.net", "wait", policy.Defer, 0},
		{"a@example.com", "bob@example.net", policy.BuiltinRules()[0].Name, policy.Reject, 1},
	}
	for _, c := range cases {
		v.asked.Store(0)
		d := e.Rcpt(t.Context(), from(t, c.sender), to(t, c.rcpt))
		if d.Rule != c.rule || d.Action != c.action || v.asked.Load() != c.asked {
			t.Errorf("%s to %s: rule %q %v, asked %d; want %q %v, %d",
				c.sender, c.rcpt, d.Rule, d.Action, v.asked.Load(), c.rule, c.action, c.asked)
		}
		if (d.Result != nil) != (c.asked > 0) {
			t.Errorf("%s to %s: result %v", c.sender, c.rcpt, d.Result)
		}
	}
}

func TestQuestion(t *testing.T) {
	v := &known{result: existing()}
	budget := verify.NewBudget(time.Second, 1)
	tx := &policy.Transaction{
		Client: policy.Client{Helo: "client.example.com"},
		Mail:   esmtp.Mail{UTF8: true}, Budget: budget,
	}
	e := engine(t, v)
	e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
	q := v.last.Load()
	if !q.NullSender || !q.UTF8 || q.Helo != "client.example.com" || q.Budget != budget || q.Trace ||
		q.Address != address(t, "bob@example.net") || q.MemoryOnly {
		t.Errorf("question %+v", q)
	}
	tx.Mail.From = address(t, "a@example.com")
	e.Explain(t.Context(), tx, to(t, "bob@example.net"))
	if q = v.last.Load(); q.NullSender || !q.Trace || q.Sender != tx.Mail.From {
		t.Errorf("question of Explain %+v", q)
	}
}

func TestShadow(t *testing.T) {
	v := &known{result: unknownMailbox()}
	e, err := policy.New(policy.Config{Mode: policy.ModeShadow, Rules: []policy.Rule{
		{Name: "wait", When: `recipient.domain == "example.org"`, Action: "defer"},
	}}, v, nil)
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]policy.Action{
		"example.org": policy.Defer, "example.net": policy.Reject,
	} {
		d := e.Explain(t.Context(), from(t, "a@example.com"), to(t, "bob@"+domain))
		if d.Action != policy.Accept || d.Shadow != want || !d.Reply.IsZero() ||
			d.ShadowReply.IsZero() || d.Ref == "" {
			t.Errorf("%s: %+v", domain, d)
		}
		if !strings.Contains(logLine(d, true), "action=accept shadow="+want.String()) {
			t.Errorf("log: %s", logLine(d, true))
		}
	}
	v.result = existing()
	d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	if d.Action != policy.Accept || d.Shadow != policy.Continue || !d.ShadowReply.IsZero() {
		t.Errorf("accepted anyway: %+v", d)
	}
}

func TestExplain(t *testing.T) {
	e := engine(
		t, &known{result: unknown(verify.Timeout)},
		policy.Rule{Name: "own", When: `recipient.domain == "example.org"`, Action: "accept"},
		policy.Rule{Name: "broken", When: `1 % size == 0`, Action: "reject"},
		policy.Rule{Name: "sure", When: `verdict == "deliverable"`, Action: "accept"},
		policy.Rule{Name: "doubt", When: `verdict == "unknown"`, Action: "reject"},
		policy.Rule{Name: "rest", When: `true`, Action: "accept"},
	)
	d := e.Explain(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	type row struct {
		Rule              string
		Outcome           policy.Outcome
		Asked, FirstAsked bool
		Detail            string
	}
	var got []row
	for _, s := range d.Steps {
		got = append(got, row{s.Rule, s.Outcome, s.Asked, s.FirstAsked, s.Detail})
	}
	builtin := policy.BuiltinRules()
	want := []row{
		{"own", policy.NoMatch, false, false, ""},
		{"broken", policy.Failed, false, false, "line 1, column 3: runtime error: integer divide by zero"},
		{"sure", policy.NoMatch, true, true, ""},
		{
			"doubt", policy.Match, true, false,
			"replies 450 4.4.1: a verdict without proof never rejects, so the reject became a defer",
		},
		{"rest", policy.NotReached, false, false, ""},
		{builtin[0].Name, policy.NotReached, false, false, ""},
		{builtin[1].Name, policy.NotReached, false, false, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net")); d.Steps != nil {
		t.Errorf("Rcpt has steps: %v", d.Steps)
	}
}

// TestFailedRule: a rule that breaks refuses nobody, is logged once and counted.
func TestFailedRule(t *testing.T) {
	var out bytes.Buffer
	e, err := policy.New(policy.Config{RedactLog: true, Rules: []policy.Rule{
		{Name: "broken", When: `100 % size == 0`, Action: "reject", Code: 550},
	}}, &known{result: existing()}, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "secretive@example.net"))
		if d.Action != policy.Accept {
			t.Fatalf("refused: %+v", d)
		}
	}
	if n := strings.Count(out.String(), "level=WARN"); n != 1 ||
		!strings.Contains(out.String(), "rule=broken") || strings.Contains(out.String(), "secretive") {
		t.Errorf("log: %s", out.String())
	}
	if diff := cmp.Diff(map[string]uint64{"broken": 3}, e.Faults()); diff != "" {
		t.Error(diff)
	}
}

// TestPanickingVerifier: even that refuses nobody.
func TestPanickingVerifier(t *testing.T) {
	e := engine(t, verifierFunc(func(context.Context, verify.Question) verify.Result {
		panic("out of order")
	}))
	d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	if d.Action != policy.Accept || e.Faults()[policy.BuiltinRules()[0].Name] != 1 {
		t.Errorf("%+v, faults %v", d, e.Faults())
	}
}

func TestWithoutVerifier(t *testing.T) {
	d := engine(t, nil).Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	if d.Action != policy.Accept || d.Result.Verdict != verify.Unknown {
		t.Errorf("%+v", d)
	}
}

type verifierFunc func(context.Context, verify.Question) verify.Result

func (f verifierFunc) Verify(ctx context.Context, q verify.Question) verify.Result { return f(ctx, q) }

// TestSideBySide: recipients of one transaction are decided at the same time, each asked about once
// however many rules want to know.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engine(
			t, verifierFunc(func(ctx context.Context, _ verify.Question) verify.Result {
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
				}
				return unknownMailbox()
			}),
			policy.Rule{Name: "a", When: `verdict == "deliverable" && mx == "mx.example.net"`, Action: "accept"},
			policy.Rule{Name: "b", When: `reason == "greylisted" || confidence < 0.1`, Action: "defer"},
		)
		tx := from(t, "a@example.com")
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				d := e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
				if d.Action != policy.Reject || d.Elapsed != 3*time.Second {
					t.Errorf("%v after %v", d.Action, d.Elapsed)
				}
			})
		}
		wg.Wait()
		if waited := time.Since(began); waited != 3*time.Second {
			t.Errorf("50 recipients took %v", waited)
		}
	})
}
