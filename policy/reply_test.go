package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// TestDefaultReplies holds the table of the package comment and the words of the replies.
func TestDefaultReplies(t *testing.T) {
	greylisted := verify.Result{
		Verdict: verify.Unknown, Reason: verify.Greylisted, MX: "mx.example.net",
		Stage: reply.StageRcpt, RetryAfter: 5*time.Minute + time.Second,
		Reply: esmtp.Reply{Code: 450, Lines: []string{"4.7.1 come back"}},
	}
	blocked := verify.Result{
		Verdict: verify.Unknown, Reason: verify.BlockedIP, MX: "mx.example.net",
		Stage: reply.StageConnect, Reply: esmtp.Reply{Code: 554, Lines: []string{"go away"}},
	}
	nullMX := verify.Result{Verdict: verify.Undeliverable, Reason: verify.NullMX, Proof: true}
	unproven := unknownMailbox()
	unproven.Proof = false
	const (
		always = "true"
	)
	cases := []struct {
		when, action string
		result       verify.Result
		want         string
	}{
		{always, "reject", unknownMailbox(), "550 5.7.1 <bob@example.net>: refused by local policy; ask the administrator"},
		{always, "defer", unknownMailbox(), "450 4.7.1 <bob@example.net>: deferred by local policy; try again later"},
		{
			"proof", "reject", unknownMailbox(), "550 5.1.1 <bob@example.net>: mailbox does not exist " +
				"(mx.example.net answered 550 5.1.1 to RCPT); remove it from your list",
		},
		{
			"proof", "reject", nullMX, "556 5.1.10 <bob@example.net>: " +
				"domain declares that it takes no mail (null MX); remove it from your list",
		},
		{"proof", "defer", nullMX, "450 4.2.0 <bob@example.net>: deferred by local policy; try again later"},
		{
			"verdict == \"undeliverable\"", "reject", unproven, "450 4.2.0 <bob@example.net>: " +
				"deferred by local policy (mx.example.net answered 550 5.1.1 to RCPT); try again later",
		},
		{
			`verdict == "unknown"`, "reject", greylisted, "450 4.2.0 <bob@example.net>: greylisted by its " +
				"mail server (mx.example.net answered 450 4.7.1 to RCPT); try again in 6 minutes",
		},
		{
			`reason == "blocked_ip"`, "defer", blocked, "451 4.7.1 <bob@example.net>: its mail server " +
				"refuses us (mx.example.net answered 554 on connect); try again later",
		},
		{`confidence < 1`, "reject", unknown(verify.DNSFailure), "451 4.4.3 <bob@example.net>: the DNS of its domain fails; try again later"},
		{`confidence < 1`, "reject", verify.Result{}, "450 4.2.0 <bob@example.net>: deferred by local policy; try again later"},
		{
			`confidence < 1`, "defer",
			verify.Result{Verdict: verify.Risky, Reason: verify.MailboxFull, RetryAfter: time.Second},
			"452 4.2.2 <bob@example.net>: mailbox is full; try again in 1 minute",
		},
		{`confidence < 1`, "reject", existing(), "450 4.7.1 <bob@example.net>: deferred by local policy; try again later"},
	}
	for _, c := range cases {
		e := engine(t, &known{result: c.result}, policy.Rule{Name: "it", When: c.when, Action: c.action})
		d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
		if got := d.Reply.String(); got != c.want+" (ref "+d.Ref+")" {
			t.Errorf("%s %s %s:\n got %s\nwant %s", c.when, c.action, c.result.Reason, got, c.want)
		}
	}
}

// TestWrittenOut: what a rule writes out goes out, and what it does not is made to fit.
func TestWrittenOut(t *testing.T) {
	cases := []struct {
		rule   policy.Rule
		result verify.Result
		action policy.Action
		want   string
	}{
		{
			policy.Rule{When: "true", Action: "reject", Code: 554, EnhancedCode: "5.7.9", Text: "no"},
			existing(), policy.Reject, "554 5.7.9 no (ref $)",
		},
		{
			policy.Rule{When: "true", Action: "reject", EnhancedCode: "5.1.0"},
			existing(), policy.Reject, "550 5.1.0 <bob@example.net>: refused by local policy; ask the administrator (ref $)",
		},
		{
			policy.Rule{When: `verdict == "unknown"`, Action: "reject", Code: 550, Text: "{verdict} {reason}"},
			unknown(verify.Timeout), policy.Reject, "550 5.7.1 unknown timeout (ref $)",
		},
		{ // the class follows the code
			policy.Rule{When: `verdict == "unknown"`, Action: "reject", EnhancedCode: "5.7.9", Text: "not now"},
			unknown(verify.Timeout), policy.Defer, "450 4.7.9 not now (ref $)",
		},
		{
			policy.Rule{When: `verdict == "unknown"`, Action: "reject", Code: 550},
			unknown(verify.Timeout), policy.Reject,
			"550 5.7.1 <bob@example.net>: its mail server has not answered; ask the administrator (ref $)",
		},
		{
			policy.Rule{When: `proof`, Action: "reject", Code: 554},
			unknownMailbox(), policy.Reject, "554 5.1.1 <bob@example.net>: mailbox does not exist " +
				"(mx.example.net answered 550 5.1.1 to RCPT); remove it from your list (ref $)",
		},
		{
			policy.Rule{When: `reason == "greylisted"`, Action: "defer", Code: 451},
			unknown(verify.Greylisted), policy.Defer, "451 4.2.0 <bob@example.net>: greylisted by its mail server; try again later (ref $)",
		},
		{
			policy.Rule{
				Name: "all", When: "proof", Action: "reject", Text: "{ref}/{recipient}/{domain}/{sender}/{client}/" +
					"{verdict}/{reason}/{mx}/{code}/{enhanced}/{stage}/{rule}",
			},
			unknownMailbox(), policy.Reject, "550 5.1.1 $/bob@example.net/example.net/a@example.com/none/" +
				"undeliverable/mailbox_unknown/mx.example.net/550/5.1.1/rcpt/all",
		},
		{ // a text never asks
			policy.Rule{When: "true", Action: "defer", Text: "{verdict}{reason}{mx}{code}{enhanced}{stage}{mx}"},
			unknownMailbox(), policy.Defer, "450 4.7.1 " + strings.Repeat("none", 7) + " (ref $)",
		},
	}
	for _, c := range cases {
		d := engine(t, &known{result: c.result}, c.rule).
			Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
		want := strings.ReplaceAll(c.want, "$", d.Ref)
		if got := d.Reply.String(); got != want || d.Action != c.action {
			t.Errorf("%+v:\n got %v %s\nwant %v %s", c.rule, d.Action, got, c.action, want)
		}
	}
}

// TestOnlyProofRefuses tries every rule with every result that there is: a 5xx needs a condition
// without a verdict, a proof, or a code that was written out. The reply always fits the action and
// the line, and nothing of the mail server's words is in it.
func TestOnlyProofRefuses(t *testing.T) {
	const words = "SECRETWORDS"
	var results []verify.Result
	for _, name := range policy.Names() {
		if name.Name != "reason" {
			continue
		}
		for _, reason := range append(name.Values, "", "from_the_future") {
			for _, verdict := range []verify.Verdict{"", verify.Unknown, verify.Deliverable, verify.Undeliverable, verify.Risky} {
				for _, proof := range []bool{true, false} {
					for _, code := range []int{0, 550} {
						r := verify.Result{Verdict: verdict, Reason: verify.Reason(reason), Proof: proof}
						if code != 0 {
							r.MX, r.Stage = strings.Repeat("m\xff", 300), reply.StageRcpt
							r.Reply = esmtp.Reply{Code: code, Lines: []string{fmt.Sprintf("%d.1.1 %s\x00", code/100, words)}}
						}
						results = append(results, r)
					}
				}
			}
		}
	}
	var rules []policy.Rule
	for _, when := range []string{"true", `verdict in ["unknown", "deliverable", "undeliverable", "risky"]`} {
		for _, text := range []string{"", "{recipient} {mx} {sender} {reason} {code}" + strings.Repeat("x", 300)} {
			rules = append(
				rules,
				policy.Rule{When: when, Action: "reject", Text: text},
				policy.Rule{When: when, Action: "reject", Text: text, EnhancedCode: "5.1.1"},
				policy.Rule{When: when, Action: "reject", Text: text, Code: 550},
				policy.Rule{When: when, Action: "defer", Text: text},
				policy.Rule{When: when, Action: "defer", Text: text, Code: 452, EnhancedCode: "4.5.3"},
			)
		}
	}
	tx := from(t, strings.Repeat("s", 60)+"@example.com")
	rcpt := to(t, `"`+strings.Repeat("r", 60)+`"@`+strings.Repeat("long.", 35)+"example.net")
	v := &known{}
	for _, rule := range rules {
		e := engine(t, v, rule)
		for _, result := range results {
			v.result = result
			d := e.Rcpt(t.Context(), tx, rcpt)
			proven := result.Verdict == verify.Undeliverable && result.Proof
			mayRefuse := rule.Action == "reject" && (rule.When == "true" || proven || rule.Code != 0)
			class := map[policy.Action]int{policy.Defer: 4, policy.Reject: 5}[d.Action]
			wire := string(d.Reply.Append(nil, false))
			switch {
			case (d.Action == policy.Reject) != mayRefuse:
				t.Fatalf("%+v\n%+v\n%v", rule, result, d.Action)
			case d.Reply.Code/100 != class, d.Reply.Enhanced()[0] != class, d.Reply.Code == 421:
				t.Fatalf("%+v\n%+v\n%v", rule, result, d.Reply)
			case len(wire) > 512, strings.Count(wire, "\r\n") != 1, strings.Contains(wire, words):
				t.Fatalf("%+v\n%+v\n%q", rule, result, wire)
			case !strings.HasSuffix(wire, "(ref "+d.Ref+")\r\n"):
				t.Fatalf("%+v\n%+v\n%q", rule, result, wire)
			}
		}
	}
}

// TestReplyUTF8: under SMTPUTF8 the recipient is named as it was written, else it cannot hold more
// than ASCII; controls are escaped in both.
func TestReplyUTF8(t *testing.T) {
	tx := from(t, "a@example.com")
	tx.Mail.UTF8 = true
	r := unknownMailbox()
	r.MX = "mx\u202e\x1b.example.net"
	d := engine(t, &known{result: r}).Rcpt(t.Context(), tx, to(t, "jürgen@example.net"))
	if text := d.Reply.Text(); !strings.Contains(text, "<jürgen@example.net>") ||
		!strings.Contains(text, `mx\xe2\x80\xae\x1b.example.net`) {
		t.Errorf("%q", text)
	}
	tx.Mail.UTF8 = false
	d = engine(t, &known{result: r}).Rcpt(t.Context(), tx, to(t, "jürgen@example.net"))
	if text := d.Reply.Text(); !strings.Contains(text, `<j\xc3\xbcrgen@example.net>`) {
		t.Errorf("%q", text)
	}
}

func TestRefsDiffer(t *testing.T) {
	e := engine(t, nil, policy.Rule{When: "true", Action: "reject"})
	seen := make(map[string]bool)
	for range 1000 {
		d := e.Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
		if seen[d.Ref] || len(d.Ref) != 8 {
			t.Fatalf("reference %q", d.Ref)
		}
		seen[d.Ref] = true
	}
}
