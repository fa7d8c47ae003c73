package reply_test

import (
	"fmt"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func ExampleClassify() {
	for _, in := range []reply.Input{
		{Stage: reply.StageRcpt, Code: 550, Enhanced: esmtp.EnhancedCode{5, 1, 1}},
		{Stage: reply.StageMail, Code: 550, Enhanced: esmtp.EnhancedCode{5, 1, 1}},
		{Stage: reply.StageRcpt, Code: 550, Enhanced: esmtp.EnhancedCode{5, 7, 1}},
		{Stage: reply.StageRcpt, Code: 550},
		{Stage: reply.StageRcpt, Code: 451, Enhanced: esmtp.EnhancedCode{4, 7, 1}},
	} {
		c := reply.Classify(in)
		fmt.Printf("%s: %s, subject %s, proof: %t\n", c.Rule, c.Label, c.Subject, c.Proof)
	}
	// Output:
	// rcpt 5.1.1: mailbox_unknown, subject recipient, proof: true
	// mail 5.1.1: mailbox_unknown, subject recipient, proof: false
	// rcpt 5.7.1: policy_other, subject unclear, proof: false
	// rcpt 550: policy_other, subject unclear, proof: false
	// rcpt 4.7.1: greylisted, subject sender, proof: false
}
