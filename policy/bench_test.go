package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// twenty are rules of the usual kinds, none of which matches.
func twenty() []policy.Rule {
	var rules []policy.Rule
	for i := range 5 {
		rules = append(
			rules,
			policy.Rule{When: fmt.Sprintf(`recipient.domain == "d%d.example.com"`, i), Action: "accept"},
			policy.Rule{When: fmt.Sprintf(`recipient.domain in ["a%d.example", "b.example"]`, i), Action: "accept"},
			policy.Rule{When: fmt.Sprintf(`inNetwork(client.addr, "10.%d.0.0/16")`, i), Action: "accept"},
			policy.Rule{When: `verdict == "risky" && confidence > 0.9`, Action: "defer"},
		)
	}
	return rules
}

// BenchmarkCached is one recipient whose verdict is known through 20 rules and the built-in ones.
func BenchmarkCached(b *testing.B) {
	e := engine(b, &known{result: existing()}, twenty()...)
	tx := from(b, "a@example.com")
	tx.Client.Addr = netip.MustParseAddr("192.0.2.7")
	rcpt := to(b, "bob@example.net")
	b.ReportAllocs()
	for b.Loop() {
		if d := e.Rcpt(b.Context(), tx, rcpt); d.Action != policy.Accept {
			b.Fatal(d)
		}
	}
}

// BenchmarkBuiltin is the same with the built-in rules alone, refused.
func BenchmarkBuiltin(b *testing.B) {
	e := engine(b, &known{result: unknownMailbox()})
	tx, rcpt := from(b, "a@example.com"), to(b, "bob@example.net")
	b.ReportAllocs()
	for b.Loop() {
		if d := e.Rcpt(b.Context(), tx, rcpt); d.Action != policy.Reject {
			b.Fatal(d)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	rules := twenty()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.New(policy.Config{Rules: rules}, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWorstCondition is the longest evaluation that the limits of a condition allow, or nearly:
// a list as long as its body.
func BenchmarkWorstCondition(b *testing.B) {
	when := "any([" + strings.Repeat("1,", 980) + "1], # == 2" + strings.Repeat("||# == 2", 240) + ")"
	e := engine(b, nil, policy.Rule{When: when, Action: "reject"})
	tx, rcpt := from(b, "a@example.com"), to(b, "bob@example.net")
	for b.Loop() {
		if d := e.Rcpt(b.Context(), tx, rcpt); d.Action != policy.Accept {
			b.Fatal(d)
		}
	}
}

// fifty are rules of all kinds, none of which matches. The first needs what the others share.
func fifty() []policy.Rule {
	var rules []policy.Rule
	for i := range 5 {
		for _, when := range []string{
			`sender.messages_day < 1%d0 && recipient.address == sender.address && verdict == "risky"`,
			`recipient.domain == "d%d.example.com"`,
			`recipient.domain in ["a%d.example", "b.example"] && size > 1000`,
			`inNetwork(client.addr, "10.%d.0.0/16")`,
			`verdict == "risky" && confidence > 0.%d`,
			`sender.recipients_hour > 1%d00 && sender.invalid > 0.05`,
			`recipient.disposable && sender.local == "x%d"`,
			`recipient.role && !recipient.free && client.login startsWith "y%d"`,
			`reason in ["greylisted", "timeout"] || provider == "p%d"`,
			`sender.address endsWith "@%d.example" or "m" in marks`,
		} {
			rules = append(rules, policy.Rule{When: fmt.Sprintf(when, i), Action: "defer"})
		}
	}
	return rules
}

// BenchmarkFifty is one recipient whose verdict is in memory through 50 rules and those of the
// preset, as the proxy asks.
func BenchmarkFifty(b *testing.B) {
	v := &remembers{known: known{result: existing()}, inMemory: true}
	e := engine(b, recallOnly{v}, fifty()...)
	tx, rcpt := from(b, "a@example.com"), to(b, "bob@example.net")
	tx.Client.Addr = netip.MustParseAddr("192.0.2.7")
	var d policy.Decision
	var room verify.Result
	b.ReportAllocs()
	for b.Loop() {
		if !e.Now(tx, &rcpt, &d, &room) || d.Action != policy.Accept {
			b.Fatal(d)
		}
	}
}

// BenchmarkGates is a recipient that passes all gates and the rules of the preset. A message has 50.
func BenchmarkGates(b *testing.B) {
	list, err := register.Open(nil, register.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	table, err := senders.New(senders.Config{Hygiene: senders.Hygiene{Mode: "enforce"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = table.Close() }()
	v := &remembers{known: known{result: existing()}, inMemory: true}
	e, err := policy.New(policy.Config{Register: list, Senders: table}, recallOnly{v}, nil)
	if err != nil {
		b.Fatal(err)
	}
	rcpt := to(b, "bob@example.net")
	var (
		tx   *policy.Transaction
		d    policy.Decision
		room verify.Result
	)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%50 == 0 {
			tx = from(b, "a@example.com")
		}
		if !e.Now(tx, &rcpt, &d, &room) || d.Action != policy.Accept {
			b.Fatal(d)
		}
	}
}
