package policy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

func openRegister(t *testing.T) *register.Register {
	t.Helper()
	r, err := register.Open(nil, register.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func openSenders(t *testing.T, cfg senders.Config) *senders.Table {
	t.Helper()
	table, err := senders.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

func newEngine(t *testing.T, cfg policy.Config, v policy.Verifier) *policy.Engine {
	t.Helper()
	e, err := policy.New(cfg, v, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSuppressionGate(t *testing.T) {
	list := openRegister(t)
	for _, s := range []register.Suppression{
		{Address: "bounced@example.net", Reason: register.HardBounce, Code: 550, Enhanced: esmtp.EnhancedCode{5, 1, 1}, Evidence: "550 5.1.1 no such user"},
		{Address: "disabled@example.net", Reason: register.HardBounce, Code: 554, Enhanced: esmtp.EnhancedCode{5, 2, 1}},
		{Address: "odd@example.net", Reason: register.HardBounce},
		{Address: "angry@example.net", Reason: register.Complaint, Scope: register.Scope{Kind: register.SenderDomain, Name: "example.com"}},
		{Address: "gone@example.net", Reason: register.Unsubscribe},
		{Address: "*@closed.example", Reason: register.Manual},
	} {
		if err := list.Suppress(s); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct{ sender, rcpt, reply string }{
		{"a@example.com", "bounced@example.net", "550 5.1.1 <bounced@example.net>: mailbox does not exist"},
		{"a@example.com", "disabled@example.net", "554 5.2.1 <disabled@example.net>: mailbox does not exist"},
		{"a@example.com", "odd@example.net", "550 5.1.1 <odd@example.net>:"},
		{"a@example.com", "angry@example.net", "550 5.7.1 <angry@example.net>: has complained"},
		{"a@example.org", "angry@example.net", ""},
		{"a@example.com", "gone@example.net", "550 5.7.1 <gone@example.net>: has unsubscribed"},
		{"a@example.com", "anyone@closed.example", "550 5.7.1 <anyone@closed.example>: is on the suppression list"},
		{"a@example.com", "bob@example.net", ""},
	}
	for _, c := range cases {
		v := &known{result: existing()}
		e := newEngine(t, policy.Config{Register: list}, v)
		d := e.Rcpt(t.Context(), from(t, c.sender), to(t, c.rcpt))
		shadow := newEngine(t, policy.Config{Register: list, Mode: "shadow"}, v).
			Rcpt(t.Context(), from(t, c.sender), to(t, c.rcpt))
		if c.reply == "" {
			if d.Action != policy.Accept || d.Suppression != nil {
				t.Errorf("%s: %+v", c.rcpt, d)
			}
			continue
		}
		if d.Action != policy.Reject || !strings.HasPrefix(d.Reply.String(), c.reply) || d.Suppression == nil ||
			d.Rule != "built-in: suppression list" || !strings.HasSuffix(d.Reply.String(), "(ref "+d.Ref+")") {
			t.Errorf("%s: %v %+v", c.rcpt, d.Reply, d)
		}
		if shadow.Action != policy.Accept || shadow.Shadow != policy.Reject || shadow.Suppression == nil ||
			!strings.HasPrefix(shadow.ShadowReply.String(), c.reply) {
			t.Errorf("%s in shadow mode: %+v", c.rcpt, shadow)
		}
		if v.asked.Load() != 0 {
			t.Errorf("%s: probed", c.rcpt)
		}
	}
	before := list.Hits()[register.HardBounce]
	d := newEngine(t, policy.Config{Register: list}, nil).Explain(t.Context(), from(t, "a@example.com"), to(t, "bounced@example.net"))
	if list.Hits()[register.HardBounce] != before {
		t.Error("Explain counts")
	}
	if len(d.Steps) != 4 || d.Steps[1].Outcome != policy.Match || d.Steps[0].Outcome != policy.NoMatch ||
		d.Steps[2].Outcome != policy.NotReached || !strings.Contains(d.Steps[1].Detail, "hard_bounce: 550 5.1.1 no such user") ||
		!strings.Contains(d.Steps[1].Detail, "replies 550 5.1.1") {
		t.Errorf("steps %+v", d.Steps)
	}
	e := newEngine(t, policy.Config{Register: list, Suppression: "rules", Rules: []policy.Rule{
		{Name: "it", When: "suppressed", Action: "defer"},
	}}, &known{result: existing()})
	if d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "gone@example.net")); d.Rule != "it" || d.Suppression == nil {
		t.Errorf("left to rules: %+v", d)
	}
	if d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net")); d.Rule == "it" {
		t.Errorf("left to rules: %+v", d)
	}
	if _, err := policy.New(policy.Config{Suppression: "rule"}, nil, nil); err == nil || !strings.Contains(err.Error(), `did you mean "rules"?`) {
		t.Error(err)
	}
}

func TestOverrideGate(t *testing.T) {
	list := openRegister(t)
	limits := openSenders(t, senders.Config{Limits: []senders.Limit{{Name: "few", Per: "sender", Recipients: []string{"1/hour"}}}})
	for _, s := range []string{"boss@example.net", "*@allowed.example"} {
		if err := list.Suppress(register.Suppression{Address: s, Reason: register.Manual}); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []register.Override{
		{Kind: register.AllowAddress, Name: "boss@example.net", Note: "ticket 7"},
		{Kind: register.AllowDomain, Name: "allowed.example"},
		{Kind: register.AllowProvider, Name: "acme"},
	} {
		if err := list.Allow(o); err != nil {
			t.Fatal(err)
		}
	}
	r := unknownMailbox()
	r.Provider = "acme"
	v := &known{result: r}
	e := newEngine(t, policy.Config{Register: list, Senders: limits, Rules: []policy.Rule{
		{Name: "mark", When: "true", Action: "continue", Mark: "m", Header: "X-Gate: x"},
		{Name: "own", When: `recipient.local == "own"`, Action: "reject"},
	}}, v)
	tx := from(t, "a@example.com")
	for _, rcpt := range []string{"boss@example.net", "x@allowed.example", "y@allowed.example"} {
		d := e.Rcpt(t.Context(), tx, to(t, rcpt))
		if d.Action != policy.Accept || d.Rule != "built-in: override" || d.Override == nil || d.Result != nil || v.asked.Load() > 0 {
			t.Errorf("%s: %+v", rcpt, d)
		}
	}
	if n := limits.Counters(senders.Identity{Sender: "a@example.com", SenderDomain: "example.com"}, time.Now()).RecipientsHour; n != 1 {
		t.Errorf("%d recipients counted", n) // what is over the limit is not
	}
	// The provider: only what is refused because of a verdict.
	tx = from(t, "b@example.org")
	d := e.Explain(t.Context(), tx, to(t, "bob@example.net"))
	if d.Action != policy.Accept || d.Rule != "built-in: override" || d.Override.Kind != register.AllowProvider ||
		!slices.Equal(d.Marks, []string{"m"}) || len(d.Headers) != 1 {
		t.Errorf("provider: %+v", d)
	}
	last := d.Steps[len(d.Steps)-2]
	if last.Outcome != policy.Match || !strings.Contains(last.Detail, "refuses because of a verdict, but allowed: provider acme until") {
		t.Errorf("step %+v", last)
	}
	if d := e.Rcpt(t.Context(), tx, to(t, "own@example.net")); d.Action != policy.Reject || d.Override != nil {
		t.Errorf("a refusal without a verdict: %+v", d)
	}
}

// TestProviderOverride: verdicts about the provider's mailboxes are not believed, by any rule nor by
// the counters of the sender. All else holds: other rules, the suppression list.
func TestProviderOverride(t *testing.T) {
	list, limits := openRegister(t), openSenders(t, senders.Config{})
	if err := list.Allow(register.Override{Kind: register.AllowProvider, Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	if err := list.Suppress(register.Suppression{Address: "gone@example.net", Reason: register.Manual}); err != nil {
		t.Fatal(err)
	}
	r := unknownMailbox()
	r.Provider = "acme"
	e := newEngine(t, policy.Config{Register: list, Senders: limits, Rules: []policy.Rule{
		{Name: "risky", When: `verdict != "deliverable"`, Action: "defer"},
		{Name: "proven", When: `verdict == "undeliverable" && proof`, Action: "reject"},
		{Name: "closed", When: `recipient.local == "closed"`, Action: "reject"},
	}}, &known{result: r})
	tx := from(t, "a@example.com")
	d := e.Explain(t.Context(), tx, to(t, "bob@example.net"))
	if d.Action != policy.Accept || d.Rule != "built-in: override" || d.Override == nil {
		t.Errorf("%+v", d)
	}
	for _, step := range d.Steps {
		aside := strings.Contains(step.Detail, "refuses because of a verdict, but allowed: provider acme until")
		if aside != (step.Outcome == policy.Match && step.Action != policy.Accept) {
			t.Errorf("step %+v", step)
		}
	}
	d = e.Rcpt(t.Context(), tx, to(t, "bob@example.net"))
	if d.Action != policy.Accept || d.Rule != "built-in: override" {
		t.Errorf("%+v", d)
	}
	for rcpt, rule := range map[string]string{
		"closed@example.net": "closed", "gone@example.net": "built-in: suppression list",
	} {
		if d := e.Rcpt(t.Context(), tx, to(t, rcpt)); d.Action != policy.Reject || d.Rule != rule || d.Override != nil {
			t.Errorf("%s: %+v", rcpt, d)
		}
	}
	c := limits.Counters(senders.Identity{Sender: "a@example.com", SenderDomain: "example.com"}, time.Now())
	if c.RecipientsHour != 2 || c.InvalidHour != 0 {
		t.Errorf("counted: %+v", c)
	}
}

// limitedEngine knows nothing by heart, so that Now gets stuck.
func TestCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := openSenders(t, senders.Config{Limits: []senders.Limit{
			{Name: "login's", Per: "login", Recipients: []string{"3/hour"}, Messages: []string{"2/hour"}},
		}})
		v := &remembers{known: known{result: existing()}}
		e := newEngine(t, policy.Config{Senders: limits}, v)
		id := senders.Identity{Login: "joe", Sender: "a@example.com", SenderDomain: "example.com"}
		tx := from(t, "a@example.com")
		tx.Client.Login = "joe"
		ask := func(rcpt string) policy.Decision {
			t.Helper()
			e.Explain(t.Context(), tx, to(t, rcpt)) // counts nothing
			var d policy.Decision
			r := to(t, rcpt)
			if e.Now(tx, &r, &d, new(verify.Result)) {
				return d
			}
			return e.Rcpt(t.Context(), tx, r)
		}
		for i := range 3 {
			if d := ask("bob@example.net"); d.Action != policy.Accept {
				t.Fatalf("recipient %d: %+v", i, d)
			}
			if c := limits.Counters(id, time.Now()); c.RecipientsHour != i+1 || c.MessagesHour != 1 {
				t.Fatalf("recipient %d: %+v", i, c)
			}
		}
		d := ask("bob@example.net")
		if d.Action != policy.Defer || d.Rule != "built-in: sender limits" || d.Hold == nil ||
			!strings.HasPrefix(d.Reply.String(), `450 4.7.1 <bob@example.net>: deferred by the limit "login's": `) ||
			!strings.Contains(d.Reply.String(), "; try again in 65 minutes (ref ") {
			t.Errorf("over the limit: %v %+v", d.Reply, d)
		}
		explained := e.Explain(t.Context(), tx, to(t, "bob@example.net"))
		if explained.Steps[0].Outcome != policy.Match || explained.Steps[1].Outcome != policy.NotReached ||
			!strings.Contains(explained.Steps[0].Detail, "login:joe") {
			t.Errorf("%+v", explained.Steps)
		}
		shadow := newEngine(t, policy.Config{Senders: limits, Mode: "shadow"}, v)
		if d := shadow.Rcpt(t.Context(), tx, to(t, "bob@example.net")); d.Action != policy.Accept || d.Shadow != policy.Defer || d.Hold == nil {
			t.Errorf("in shadow mode: %+v", d)
		}
		time.Sleep(time.Hour + 6*time.Minute) // the windows of package senders are kept in twelfths
		if d := ask("bob@example.net"); d.Action != policy.Accept {
			t.Errorf("an hour later: %+v", d)
		}
	})
}

// TestCountedSideBySide: the recipients of a message may be decided at the same time; each counts
// once, and the message once.
func TestCountedSideBySide(t *testing.T) {
	limits := openSenders(t, senders.Config{})
	e := newEngine(t, policy.Config{Senders: limits}, &remembers{known: known{result: existing()}})
	tx := from(t, "a@example.com")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			r := to(t, fmt.Sprintf("bob%d@example.net", i%20))
			var d policy.Decision
			if e.Now(tx, &r, &d, new(verify.Result)) || e.Rcpt(t.Context(), tx, r).Action != policy.Accept {
				t.Errorf("recipient %d: %+v", i, d)
			}
		})
	}
	wg.Wait()
	c := limits.Counters(senders.Identity{Sender: "a@example.com", SenderDomain: "example.com"}, time.Now())
	if c.RecipientsHour != 40 || c.MessagesHour != 1 {
		t.Errorf("%+v", c)
	}
}

// TestHygieneGate: a sender whose recipients do not exist is held, but for those that are known.
func TestHygieneGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := openSenders(t, senders.Config{Hygiene: senders.Hygiene{Mode: "enforce"}})
		v := &remembers{known: known{result: unknownMailbox()}, inMemory: true}
		e := newEngine(t, policy.Config{Senders: table, Rules: []policy.Rule{
			{Name: "state", When: `sender.state == "hold" || sender.invalid > 0.9 && sender.recipients_day > 5 && false`, Action: "accept"},
		}}, v)
		tx := from(t, "a@example.com")
		tx.Client.Login = "joe"
		for i := range 120 {
			e.Rcpt(t.Context(), tx, to(t, "nobody"+string(rune('a'+i%26))+string(rune('a'+i/26))+"@example.net"))
			time.Sleep(2 * time.Second)
		}
		d := e.Rcpt(t.Context(), tx, to(t, "new@example.net"))
		if d.Action != policy.Defer || d.Rule != "built-in: list hygiene" || d.Hold.Kind != senders.Held ||
			!strings.HasPrefix(d.Reply.String(), "450 4.7.1 <new@example.net>: deferred by list hygiene: ") {
			t.Fatalf("%v %+v", d.Reply, d)
		}
		v.result = existing()
		asked := v.asked.Load()
		if d := e.Rcpt(t.Context(), tx, to(t, "friend@example.net")); d.Action != policy.Accept || d.Rule != "state" {
			t.Errorf("known: %+v", d)
		}
		if d := e.Explain(t.Context(), tx, to(t, "friend@example.net")); d.Action != policy.Accept {
			t.Errorf("known, explained: %+v", d)
		}
		v.inMemory = false
		if d := e.Rcpt(t.Context(), tx, to(t, "friend@example.net")); d.Action != policy.Defer || v.asked.Load() != asked+2 {
			t.Errorf("not known: %+v, %d questions", d, v.asked.Load()-asked)
		}
	})
}

// TestBouncesCountAsInvalid: who sends to suppressed addresses is found out as well.
func TestBouncesCountAsInvalid(t *testing.T) {
	list, table := openRegister(t), openSenders(t, senders.Config{Hygiene: senders.Hygiene{Mode: "warn"}})
	if err := list.Suppress(register.Suppression{Address: "*@gone.example", Reason: register.HardBounce}); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, policy.Config{Senders: table, Register: list}, nil)
	tx := from(t, "a@example.com")
	for _, local := range []string{"a", "b", "b", "c"} {
		e.Rcpt(t.Context(), tx, to(t, local+"@gone.example"))
	}
	if c := table.Counters(senders.Identity{Sender: "a@example.com", SenderDomain: "example.com"}, time.Now()); c.InvalidHour != 3 {
		t.Errorf("%+v", c)
	}
}

// TestFreeNamesDoNotProbe: none of the names that are said to be free asks the verifier, and all the
// others do.
func TestFreeNamesDoNotProbe(t *testing.T) {
	table := openSenders(t, senders.Config{})
	for _, n := range policy.Names() {
		var when string
		switch n.Type {
		case "string":
			when = n.Name + ` != "" || true`
		case "number":
			when = n.Name + ` > 1 || true`
		case "bool":
			when = n.Name + " || true"
		default:
			continue
		}
		if len(n.Values) > 0 {
			when = fmt.Sprintf("%s == %q || true", n.Name, n.Values[0])
		}
		v := &known{result: existing()}
		e := newEngine(t, policy.Config{Senders: table, Register: openRegister(t), Suppression: "rules", Rules: []policy.Rule{
			{Name: "it", When: when, Action: "accept"},
		}}, v)
		d := e.Explain(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
		if d.Rule != "it" || (v.asked.Load() > 0) != n.Lazy {
			t.Errorf("%s: %s, asked %d times", n.Name, d.Rule, v.asked.Load())
		}
	}
}

// TestRuleCountNeverAllocates: fifty rules on a known verdict allocate what one does.
func TestRuleCountNeverAllocates(t *testing.T) {
	measure := func(n int) float64 {
		v := &remembers{known: known{result: existing()}, inMemory: true}
		e := newEngine(t, policy.Config{Rules: fifty()[:n]}, recallOnly{v})
		tx, rcpt := from(t, "a@example.com"), to(t, "bob@example.net")
		var d policy.Decision
		var room verify.Result
		return testing.AllocsPerRun(200, func() {
			if !e.Now(tx, &rcpt, &d, &room) || d.Action != policy.Accept {
				t.Fatal("not accepted", d)
			}
		})
	}
	one, all := measure(1), measure(50)
	if one != all {
		t.Errorf("%v allocations with one rule, %v with fifty", one, all)
	}
}

// recallOnly hides that the verifier of the test allocates.
type recallOnly struct{ *remembers }

func (r recallOnly) Recall(_ *verify.Question, _ time.Time, result *verify.Result) bool {
	*result = r.result
	return true
}

func (r recallOnly) Verify(_ context.Context, _ verify.Question) verify.Result { return r.result }
