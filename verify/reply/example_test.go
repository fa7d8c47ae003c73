package reply_test

import (
	"fmt"

	"github.com/rcptgate/rcptgate/verify/reply"
)

func ExampleClassify() {
	for _, in := range []reply.Input{
		{Stage: reply.StageRcpt, Code: 550, Text: "<user@example.com>: no such user here"},
		{Stage: reply.StageMail, Code: 550, Text: "<user@example.com>: no such user here"},
		{Stage: reply.StageRcpt, Code: 550, Text: "5.1.1 Client host [192.0.2.1] blocked, no such user"},
		{Stage: reply.StageRcpt, Code: 550, Text: "5.7.1 Rejected"},
		{Stage: reply.StageRcpt, Code: 451, Text: "4.7.1 Greylisted for 5 minutes"},
	} {
		c := reply.Classify(in)
		fmt.Printf("%s: %s, subject %s, proof: %t, retry: %v\n", c.Rule, c.Label, c.Subject, c.Proof, c.Retry)
	}
	// Output:
	// recipient/user-unknown: mailbox_unknown, subject recipient, proof: true, retry: 0s
	// code/5xx-mail: blocked_sender, subject sender, proof: false, retry: 0s
	// veto/client-listed: blocked_ip, subject client, proof: false, retry: 0s
	// code/5.7.x: policy_other, subject unclear, proof: false, retry: 0s
	// veto/greylist-words: greylisted, subject sender, proof: false, retry: 5m0s
}
