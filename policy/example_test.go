package policy_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

func ExampleEngine_Rcpt() {
	engine, err := policy.New(policy.Config{Rules: []policy.Rule{
		{Name: "own", When: `recipient.domain == "example.com"`, Action: "accept"},
		{
			Name: "no big mail to the archive", Action: "reject", Code: 552, EnhancedCode: "5.3.4",
			When: `recipient.address == "archive@example.net" && size > 1_000_000`,
			Text: "<{recipient}>: the archive takes 1 MB at most; case {ref}",
		},
	}}, &known{result: unknownMailbox()}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	tx := &policy.Transaction{Mail: esmtp.Mail{Size: 5_000_000, HasSize: true}}
	for _, recipient := range []string{"anna@example.com", "archive@example.net", "bob@example.net"} {
		to, err := esmtp.ParseAddress(recipient, false)
		if err != nil {
			fmt.Println(err)
			return
		}
		d := engine.Rcpt(context.Background(), tx, esmtp.Rcpt{To: to})
		fmt.Printf("%s: %s %q\n", recipient, d.Action, d.Reply.Enhanced())
	}
	// Output:
	// anna@example.com: accept ""
	// archive@example.net: reject "5.3.4"
	// bob@example.net: reject "5.1.1"
}

func ExampleNew_faults() {
	_, err := policy.New(policy.Config{Rules: []policy.Rule{
		{Name: "typo", When: `verdict == "invalid"`, Action: "reject"},
		{Name: "percent", When: `confidence > 90`, Action: "defer", Code: 550},
	}}, nil, nil)
	fmt.Println(err)
	// Output:
	// rule 1 "typo": when (column 12): verdict is never "invalid"; valid: unknown, deliverable, undeliverable, risky
	// rule 2 "percent": when (column 14): confidence is a number from 0 to 1, never compared with 90; write 0.9 for 90 %
	// rule 2 "percent": code: 550 is no code of defer; the codes of defer: 450, 451, 452
}
