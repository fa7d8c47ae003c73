package reply_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// in parses "550 5.1.1 text", each further line after "\n".
func in(tb testing.TB, stage reply.Stage, code int, text string) reply.Input {
	tb.Helper()
	r := esmtp.NewReply(code, esmtp.EnhancedCode{}, text)
	return reply.Input{Code: code, Enhanced: r.Enhanced(), Text: r.Text(), Stage: stage}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		stage reply.Stage
		code  int
		text  string
		label reply.Label
		about reply.Subject
		proof bool
	}{
		// Proof: the recipient, or its domain, by an enhanced code.
		{"rcpt", 550, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 554, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 550, "5.1.10 RESOLVER.ADR.RecipientNotFound", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 556, "5.1.10 null MX", reply.DomainUnknown, reply.SubjectDomain, true},
		{"rcpt", 550, "5.1.2 not our domain", reply.DomainUnknown, reply.SubjectDomain, true},
		{"rcpt", 551, "5.1.6 moved", reply.Moved, reply.SubjectRecipient, true},
		{"rcpt", 550, "5.2.1 disabled", reply.MailboxDisabled, reply.SubjectRecipient, true},
		{"rcpt", 550, "5.1.1 <a@example.com>\n5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},

		// The same words where they prove nothing.
		{"rcpt", 450, "4.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 450, "4.1.1 what", reply.TempOther, reply.SubjectRecipient, false},
		{"mail", 550, "5.1.1 no such user", reply.BlockedSender, reply.SubjectSender, false},
		{"connect", 554, "5.1.1 no such user", reply.BlockedIP, reply.SubjectClient, false},
		{"dot", 550, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"data", 550, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"unknown", 550, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"", 550, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 450, "5.1.1 class does not match", reply.TempOther, reply.SubjectUnclear, false},
		{"rcpt", 550, "5.7.1 blocked\n5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 552, "5.1.1 over quota", reply.MailboxFull, reply.SubjectRecipient, false},
		{"rcpt", 550, "5.1.0 rejected", reply.PolicyOther, reply.SubjectUnclear, false},
		{"rcpt", 553, "5.1.3 bad syntax", reply.ProtocolError, reply.SubjectServer, false},
		{"rcpt", 550, "5.4.1 Access denied", reply.PolicyOther, reply.SubjectMessage, false},
		{"rcpt", 550, "5.4.1 Recipient address rejected: Access denied", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 550, "5.0.0 no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 550, "5.7.1 there is no such user here", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 550, "5.7.1 No such user!", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 550, "no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 551, "no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 553, "no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 554, "no such user", reply.MailboxUnknown, reply.SubjectRecipient, true},
		{"rcpt", 556, "no mail here", reply.DomainUnknown, reply.SubjectDomain, false},
		{"rcpt", 550, "5.7.1 blocked using a list", reply.BlockedIP, reply.SubjectClient, false},
		{"rcpt", 550, "5.1.1 blocked using a list, no such user", reply.BlockedIP, reply.SubjectClient, false},
		{"rcpt", 503, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 530, "5.1.1 no such user", reply.MailboxUnknown, reply.SubjectRecipient, false},
		{"rcpt", 550, "relaying denied", reply.DomainUnknown, reply.SubjectDomain, false},

		// Quota, size.
		{"rcpt", 452, "4.2.2 full", reply.MailboxFull, reply.SubjectRecipient, false},
		{"rcpt", 552, "5.2.2 full", reply.MailboxFull, reply.SubjectRecipient, false},
		{"rcpt", 552, "full", reply.MailboxFull, reply.SubjectRecipient, false},
		{"mail", 552, "too big", reply.TooBig, reply.SubjectMessage, false},
		{"mail", 552, "5.3.4 too big", reply.TooBig, reply.SubjectMessage, false},
		{"dot", 552, "5.2.3 too big", reply.TooBig, reply.SubjectMessage, false},
		{"rcpt", 452, "4.3.1 out of disk", reply.TempOther, reply.SubjectServer, false},

		// About us and about the sender.
		{"connect", 554, "go away", reply.BlockedIP, reply.SubjectClient, false},
		{"connect", 554, "5.7.1 go away", reply.BlockedIP, reply.SubjectClient, false},
		{"connect", 421, "busy", reply.TempOther, reply.SubjectServer, false},
		{"helo", 550, "bad name", reply.BlockedIP, reply.SubjectClient, false},
		{"rcpt", 550, "5.7.25 no reverse DNS", reply.BlockedIP, reply.SubjectClient, false},
		{"rcpt", 550, "5.7.606 banned", reply.BlockedIP, reply.SubjectClient, false},
		{"mail", 451, "4.7.650 slow down", reply.RateLimited, reply.SubjectClient, false},
		{"rcpt", 421, "4.7.28 flood", reply.RateLimited, reply.SubjectClient, false},
		{"rcpt", 452, "4.5.3 too many recipients", reply.RateLimited, reply.SubjectClient, false},
		{"rcpt", 550, "5.7.23 SPF", reply.BlockedSender, reply.SubjectSender, false},
		{"mail", 550, "5.7.1 refused", reply.BlockedSender, reply.SubjectSender, false},
		{"mail", 550, "refused", reply.BlockedSender, reply.SubjectSender, false},
		{"mail", 450, "4.1.8 no such domain", reply.BlockedSender, reply.SubjectSender, false},
		{"rcpt", 450, "4.2.0 greylisted", reply.Greylisted, reply.SubjectSender, false},
		{"rcpt", 451, "4.7.1 greylisted", reply.Greylisted, reply.SubjectSender, false},
		{"mail", 451, "4.7.1 later", reply.TempOther, reply.SubjectServer, false},

		// Protocol.
		{"rcpt", 501, "syntax", reply.ProtocolError, reply.SubjectServer, false},
		{"rcpt", 503, "5.5.1 sequence", reply.ProtocolError, reply.SubjectServer, false},
		{"mail", 530, "5.7.0 STARTTLS first", reply.PolicyOther, reply.SubjectClient, false},
		{"mail", 530, "log in first", reply.PolicyOther, reply.SubjectClient, false},
		{"rcpt", 999, "what", reply.ProtocolError, reply.SubjectServer, false},
		{"rcpt", 0, "", reply.ProtocolError, reply.SubjectServer, false},
		{"rcpt", -550, "5.1.1", reply.ProtocolError, reply.SubjectServer, false},

		// Positive.
		{"rcpt", 250, "2.1.5 ok", reply.Accepted, reply.SubjectRecipient, false},
		{"rcpt", 251, "will forward", reply.Accepted, reply.SubjectRecipient, false},
		{"rcpt", 252, "cannot verify", reply.Accepted, reply.SubjectUnclear, false},
		{"rcpt", 221, "bye", reply.ProtocolError, reply.SubjectServer, false},
		{"rcpt", 354, "go on", reply.ProtocolError, reply.SubjectServer, false},
		{"connect", 220, "hello", reply.Accepted, reply.SubjectServer, false},
		{"data", 354, "go on", reply.Accepted, reply.SubjectServer, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d %.12q", tt.stage, tt.code, tt.text), func(t *testing.T) {
			got := reply.Classify(in(t, tt.stage, tt.code, tt.text))
			if got.Label != tt.label || got.Subject != tt.about || got.Proof != tt.proof {
				t.Errorf("Classify = %+v; want %s about %s, proof %t", got, tt.label, tt.about, tt.proof)
			}
		})
	}
}

func labels() []reply.Label {
	return []reply.Label{
		reply.MailboxUnknown, reply.MailboxDisabled, reply.MailboxFull, reply.DomainUnknown,
		reply.Greylisted, reply.RateLimited, reply.BlockedIP, reply.BlockedSender, reply.PolicyOther,
		reply.TooBig, reply.ProtocolError, reply.TempOther, reply.Moved, reply.Accepted,
	}
}

func subjects() []reply.Subject {
	return []reply.Subject{
		reply.SubjectRecipient, reply.SubjectSender, reply.SubjectClient, reply.SubjectDomain,
		reply.SubjectMessage, reply.SubjectServer, reply.SubjectUnclear,
	}
}

func stages() []reply.Stage {
	return []reply.Stage{
		reply.StageConnect, reply.StageHelo, reply.StageStartTLS, reply.StageMail, reply.StageRcpt,
		reply.StageData, reply.StageDot, reply.StageUnknown, "",
	}
}

// check holds what must be true of every judgement.
func check(t *testing.T, in reply.Input) {
	t.Helper()
	c := reply.Classify(in)
	e := in.Enhanced
	switch {
	case !slices.Contains(labels(), c.Label):
		t.Errorf("%+v: label %q is not one of the set", in, c.Label)
	case !slices.Contains(subjects(), c.Subject):
		t.Errorf("%+v: subject %q is not one of the set", in, c.Subject)
	case c.Confidence <= 0 || c.Confidence > 1 || c.Rule == "":
		t.Errorf("%+v: %+v", in, c)
	case c.Label == reply.Accepted && in.Code/100 != 2 && in.Code/100 != 3:
		t.Errorf("%+v: accepted", in)
	}
	if c.Retry != 0 && (in.Code/100 != 4 || c.Retry < 10*time.Second || c.Retry > 24*time.Hour) {
		t.Errorf("%+v: retry in %v", in, c.Retry)
	}
	if c.Exists && (c.Proof || c.Subject != reply.SubjectRecipient || early(in.Stage)) {
		t.Errorf("%+v: %+v", in, c)
	}
	if early(in.Stage) && !strings.Contains(in.Text, "<") && (c.Subject == reply.SubjectRecipient || c.Subject == reply.SubjectDomain) {
		t.Errorf("%+v: speaks of the recipient before it was named: %+v", in, c)
	}
	if !c.Proof {
		return
	}
	switch {
	case in.Stage != reply.StageRcpt && in.Stage != reply.StageDot, in.Code/100 != 5:
		t.Errorf("%+v: proof without a 5xx to RCPT or the end of data", in)
	case e[1] >= 6 && !strings.HasPrefix(c.Rule, "ticket/"):
		t.Errorf("%+v: proof in spite of %v", in, e)
	case c.Subject != reply.SubjectRecipient && c.Subject != reply.SubjectDomain:
		t.Errorf("%+v: proof about the %s", in, c.Subject)
	}
}

func early(s reply.Stage) bool {
	switch s {
	case reply.StageConnect, reply.StageHelo, reply.StageStartTLS, reply.StageMail:
		return true
	default:
		return false
	}
}

// TestInvariants goes through every code at every stage, and those that are in use
// with every enhanced code of the registry and its neighbours.
func TestInvariants(t *testing.T) {
	for _, stage := range stages() {
		for code := 190; code < 610; code++ {
			check(t, reply.Input{Stage: stage, Code: code})
			if code%100 > 4 && (code%100 < 50 || code%100 > 56) && code != 421 {
				continue
			}
			for class := 2; class <= 5; class++ {
				for subject := range 9 {
					for detail := range 32 {
						check(t, reply.Input{
							Stage: stage, Code: code, Enhanced: esmtp.EnhancedCode{class, subject, detail},
						})
					}
				}
			}
		}
	}
}
