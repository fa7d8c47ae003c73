package esmtp_test

import (
	"fmt"
	"os"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// A mailbox that would turn into a command with parameters, were its text passed on without its
// quotes, goes out as the one mailbox that it is.
func ExampleParseRcpt() {
	r, err := esmtp.ParseRcpt(`TO: <@relay.test:"a@b.test> NOTIFY=NEVER "@Example.com> notify=DELAY`, false)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	os.Stdout.WriteString(r.To.ASCIIDomain() + "\n")
	os.Stdout.Write(r.Append(nil, nil))
	// Output:
	// example.com
	// RCPT TO:<"a@b.test> NOTIFY=NEVER "@Example.com> notify=DELAY
}
