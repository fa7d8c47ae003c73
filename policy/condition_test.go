package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// TestConditions evaluates conditions; asked says whether the verifier may be asked for them, which
// is how laziness is held.
func TestConditions(t *testing.T) {
	cases := []struct {
		when  string
		match bool
		asked bool
	}{
		{"true", true, false},
		{"false", false, false},
		{`client.addr == "192.0.2.7"`, true, false},
		{`client.addr in ["192.0.2.6", "192.0.2.7"]`, true, false},
		{`client.name == "mail.example.org"`, true, false},
		{`client.helo == "HELO.example.org"`, true, false},
		{`client.login == "joe"`, true, false},
		{`sender.address == "News@example.com"`, true, false},
		{`sender.local == "News" and sender.domain == "example.com"`, true, false},
		{`recipient.address == "bob smith@xn--bcher-kva.example"`, true, false},
		{`recipient.local == "bob smith"`, true, false},
		{`recipient.domain == "xn--bcher-kva.example"`, true, false},
		{`recipient.domain endsWith ".example"`, true, false},
		{`not (recipient.domain contains "-")`, false, false},
		{`size == 20_000_000 && size > 1e6`, true, false},
		{`null_sender or !trusted`, false, false},
		{`inNetwork(client.addr, "192.0.2.0/24")`, true, false},
		{`inNetwork(client.addr, "10.0.0.0/8", "2001:db8::/32")`, false, false},
		{`inNetwork(client.addr, "10.0.0.0/8", "192.0.2.7/32")`, true, false},
		{`inNetwork(client.name, "0.0.0.0/0")`, false, false},
		{`any([".org", ".example"], recipient.domain endsWith #)`, true, false},
		{`all(split(recipient.domain, "."), len(#) > 100)`, false, false},
		{`sender.local matches "(?i)^news"`, true, false},
		{`lower(sender.local) == "news"`, true, false},
		{`sender.local | lower() | hasPrefix("new")`, true, false},
		{`size > 5 ? trusted : null_sender`, true, false},
		{`if size > 5 { trusted } else { null_sender }`, true, false},
		{`size % 3 + 1 - 1 * 2 / 2 >= 0`, true, false},

		{`verdict == "undeliverable"`, true, true},
		{`verdict in ["risky", "undeliverable"]`, true, true},
		{`verdict not in ["risky", "undeliverable"]`, false, true},
		{`"undeliverable" == verdict`, true, true},
		{`proof`, true, true},
		{`reason == "mailbox_unknown" && reason startsWith "mailbox_"`, true, true},
		{`confidence >= 0.9 and confidence <= 1`, true, true},
		{`deliverability < 0.5`, true, true},
		{`provider == ""`, true, true},
		{`catch_all`, false, true},
		{`mx == "mx.example.net"`, true, true},
		{`stage == "rcpt"`, true, true},

		// The order that was written is the order of evaluation.
		{`trusted || verdict == "undeliverable"`, true, false},
		{`null_sender && verdict == "undeliverable"`, false, false},
		{`null_sender || verdict == "undeliverable"`, true, true},
		{`verdict == "deliverable" && trusted`, false, true},
		{`trusted ? false : proof`, false, false},
		{`!trusted ? false : proof`, true, true},
		{`none(["x"], trusted || proof)`, false, false},
		{`any(["example"], recipient.domain endsWith #) || any(["example"], proof)`, true, false},
		{`any(["a", "e"], sender.domain startsWith #) || any(["a", "e"], reason startsWith #)`, true, false},
	}
	for _, c := range cases {
		v := &known{result: unknownMailbox()}
		e := engine(
			t, v,
			policy.Rule{Name: "it", When: c.when, Action: "accept"},
			policy.Rule{Name: "not", When: "true", Action: "accept"},
		)
		tx := &policy.Transaction{
			Client: policy.Client{
				Addr: netip.MustParseAddr("::ffff:192.0.2.7"), Name: "Mail.Example.ORG",
				Helo: "HELO.example.org", Login: "joe", Trusted: true,
			},
			Mail: esmtp.Mail{From: address(t, "News@EXAMPLE.com"), Size: 20_000_000, UTF8: true},
		}
		d := e.Explain(t.Context(), tx, to(t, `"bob smith"@Bücher.example`))
		if matched := d.Rule == "it"; matched != c.match || v.asked.Load() > 1 ||
			(v.asked.Load() == 1) != c.asked || d.Steps[0].Asked != c.asked ||
			d.Steps[0].Outcome == policy.Failed {
			t.Errorf("%s: match %v, asked %d times, %+v; want %v, %v",
				c.when, matched, v.asked.Load(), d.Steps[0], c.match, c.asked)
		}
	}
}

// TestNamesWithoutValue: what is not known is "", never an error.
func TestNamesWithoutValue(t *testing.T) {
	v := &known{result: verify.Result{}}
	e := engine(t, v, policy.Rule{Name: "it", Action: "accept", When: `client.addr == "" && ` +
		`client.name == "" && sender.address == "" && null_sender && sender.domain == "" && ` +
		`recipient.domain == "" && recipient.address == "postmaster" && size == 0 && ` +
		`!inNetwork(client.addr, "0.0.0.0/0", "::/0") && verdict == "unknown" && stage == "" && mx == ""`})
	d := e.Rcpt(t.Context(), &policy.Transaction{}, to(t, "postmaster"))
	if d.Rule != "it" {
		t.Errorf("%+v, faults %v", d, e.Faults())
	}
	d = engine(t, v, policy.Rule{Name: "it", When: `size > 9_000_000_000_000_000_000`, Action: "accept"}).
		Rcpt(t.Context(), &policy.Transaction{Mail: esmtp.Mail{Size: 1<<64 - 1}}, to(t, "postmaster"))
	if d.Rule != "it" {
		t.Errorf("the largest size: %+v", d)
	}
}

// TestConditionFaults: what is wrong, where, and what to write instead.
func TestConditionFaults(t *testing.T) {
	cases := []struct {
		when        string
		row, column int
		detail      string
		hint        string
	}{
		{"", 0, 0, "missing", `"true"`},
		{" \n", 0, 0, "missing", `"true"`},
		{strings.Repeat(" ", 9000) + "true", 0, 0, "more than 8192", "split"},
		{"tru\xff", 0, 0, "UTF-8", ""},
		{`verdict ==`, 1, 10, "unexpected token EOF", ""},
		{"true &&\n  verdict == ", 2, 13, "unexpected token EOF", ""},
		{`(true`, 1, 5, "unexpected token EOF", ""},
		{`verdikt == "unknown"`, 1, 1, `unknown name "verdikt"`, `did you mean "verdict"?`},
		{`recipient.domian == "x"`, 1, 11, `unknown name "recipient.domian"`, `did you mean "recipient.domain"?`},
		{"true &&\n  recipient.domian == \"x\"", 2, 13, "recipient.domian", ""},
		{`recipient == "bob@example.com"`, 1, 1, "recipient is a group", "recipient.address"},
		{`verdict == "invalid"`, 1, 12, `verdict is never "invalid"`, "valid: unknown, deliverable, undeliverable, risky"},
		{`"undeliverabel" != verdict`, 1, 1, "never", `did you mean "undeliverable"?`},
		{`verdict in ["risky", "catchall"]`, 1, 22, `verdict is never "catchall"`, ""},
		{`reason == "greylist"`, 1, 11, "reason is never", `did you mean "greylisted"?`},
		{`stage == "RCPT"`, 1, 10, "stage is never", `did you mean "rcpt"?`},
		{`confidence > 90`, 1, 14, "from 0 to 1", "0.9 for 90 %"},
		{`deliverability < -0.5`, 1, 18, "", ""},
		{`recipient.domain == "Example.COM"`, 1, 21, "lower case", `write "example.com"`},
		{`recipient.domain == "bücher.example"`, 1, 21, "A-labels", `write "xn--bcher-kva.example"`},
		{`recipient.domain in ["a.example", "bob@example.com"]`, 1, 35, "never", ".address"},
		{`recipient.domain == ".example.com"`, 1, 21, "never", `endsWith ".example.com"`},
		{`recipient.domain endsWith ".Example.com"`, 1, 27, "lower case", `write ".example.com"`},
		{`recipient.address == "Bob@Example.com"`, 1, 22, "lower case", `write "example.com"`},
		{`client.addr == "192.0.2.0/24"`, 1, 16, "one address", `inNetwork(client.addr, "192.0.2.0/24")`},
		{`client.addr == "mail.example.com"`, 1, 16, "IP address", "client.name"},
		{`client.addr == "2001:DB8::1"`, 1, 16, "never written", `write "2001:db8::1"`},
		{`inNetwork(client.addr, "192.0.2.7")`, 1, 24, "an address, not a network", `write "192.0.2.7/32"`},
		{`inNetwork(client.addr, "192.0.2.7/24")`, 1, 24, "bits set", `write "192.0.2.0/24"`},
		{`inNetwork(client.addr, "::ffff:192.0.2.0/120")`, 1, 24, "no client is in", "IPv4 network itself"},
		{`inNetwork(client.addr, "lan")`, 1, 24, "not a network", "192.0.2.0/24"},
		{`inNetwork(client.addr, client.name)`, 1, 24, "literals", ""},
		{`inNetwork(client.addr)`, 1, 1, "needs an address and a network", ""},
		{`inNetwork(size, "192.0.2.0/24")`, 1, 11, "cannot use int", ""},
		{`innetwork(client.addr, "192.0.2.0/24")`, 1, 1, "unknown function", ""},
		{`verdict() == "unknown"`, 1, 1, "a name, not a function", "without parentheses"},
		{`sender.domain() == "unknown"`, 1, 8, "a name, not a function", "without parentheses"},
		{`recipient.local matches sender.local`, 1, 25, "must be a literal", "quotes"},
		{`recipient.local matches "a("`, 1, 25, "missing closing )", "RE2"},
		{`recipient.local matches "a" + "b"`, 1, 29, "must be a literal", ""},

		// Not true or false.
		{`verdict`, 0, 0, "must be true or false: expected bool, but got string", "compare"},
		{`size`, 0, 0, "expected bool, but got int", ""},
		{`null_sender ? true : "no"`, 0, 0, "must be true or false", ""},
		{`"x"`, 0, 0, "expected bool, but got string", ""},
		{`["a"]`, 0, 0, "expected bool", ""},
		{`size == "1"`, 1, 6, "mismatched types int and string", ""},
		{`verdict && true`, 1, 9, "mismatched types string and bool", ""},
		{`size in ["a"]`, 1, 6, "int", ""},

		// What conditions do not have.
		{`let x = size; x > 1`, 1, 5, "not available", "operators"},
		{`true; false`, 1, 1, "not available", ""},
		{`all(1..1000000000, # > 0)`, 1, 6, "operator ..", ""},
		{`all(["a"], any(["b"], true))`, 1, 12, "loop inside a loop", "several rules"},
		{`reduce(["a"], #acc + #, "") == ""`, 1, 1, `unknown function "reduce"`, ""},
		{`replace(sender.local, "", sender.local) == ""`, 1, 1, `unknown function "replace"`, ""},
		{`repeat("a", 1000000) == ""`, 1, 1, `unknown function "repeat"`, ""},
		{`now() > now()`, 1, 1, `unknown function "now"`, ""},
		{`$env == nil`, 1, 1, "unknown name", ""},
		{`any(["a"], #acc == "a")`, 1, 12, "not available", "# is the element"},
		{`client?.addr == ""`, 1, 9, "not available", ""},
		{`client["addr"].x == ""`, 0, 0, "", ""},
		{`sender.local[0] == "a"`, 0, 0, "", ""},
		{`sender.local[0:1] == "a"`, 0, 0, "not available", ""},
		{`{"a": 1}.a == 1`, 0, 0, "", ""},
		{`size ** 9 > 1`, 1, 6, "operator **", ""},
		{`(client.addr ?? "x") == ""`, 0, 0, "operator ??", ""},
		{`walk != nil`, 1, 1, "unknown name", ""},
		{`Verdict == "unknown"`, 1, 1, "unknown name", `did you mean "verdict"?`},
		{`lower() == ""`, 1, 1, "needs a parameter", ""},
		{strings.Repeat("!", 3000) + "true", 0, 0, "more than 2000 parts", "several rules"},
		{"true" + strings.Repeat("||true", 1200), 0, 0, "more than 2000 parts", ""},
		{"true" + strings.Repeat("||true", 900), 0, 0, "-", ""},
		{strings.Repeat("(", 4000) + "true" + strings.Repeat(")", 4000), 0, 0, "-", ""},
	}
	for _, c := range cases {
		_, err := policy.New(policy.Config{Rules: []policy.Rule{
			{Name: "it", When: c.when, Action: "accept", File: "gate.toml", Line: 12},
		}}, nil, nil)
		if c.detail == "-" {
			if err != nil {
				t.Errorf("%s: %v", c.when, err)
			}
			continue
		}
		fault := onlyFault(t, c.when, err)
		if fault == nil {
			continue
		}
		if fault.Field != "when" || !strings.Contains(fault.Detail, c.detail) ||
			!strings.Contains(fault.Hint, c.hint) || strings.Contains(fault.Error(), "\n") ||
			c.row != 0 && (fault.Row != c.row || fault.Column != c.column) {
			t.Errorf("%s:\n got %d:%d %q; %q\nwant %d:%d %q; %q", c.when, fault.Row, fault.Column,
				fault.Detail, fault.Hint, c.row, c.column, c.detail, c.hint)
		}
	}
}
