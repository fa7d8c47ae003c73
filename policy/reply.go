package policy

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// verdictValues, stageValues and stateValues are the closed sets of three names. Read only.
var (
	stateValues = []string{
		string(senders.StateOK), string(senders.StateWarn), string(senders.StateThrottle),
		string(senders.StateHold),
	}
	verdictValues = []string{
		string(verify.Unknown), string(verify.Deliverable),
		string(verify.Undeliverable), string(verify.Risky),
	}
	stageValues = []string{
		"", string(reply.StageConnect), string(reply.StageHelo), string(reply.StageStartTLS),
		string(reply.StageMail), string(reply.StageRcpt), string(reply.StageData),
		string(reply.StageDot), string(reply.StageUnknown),
	}
)

// phrase is the reply for one reason: codes and what is known in words.
type phrase struct {
	reason   verify.Reason
	code     int
	enhanced esmtp.EnhancedCode
	text     string
	advice   string // what the sender can do
}

// proofs are the replies to proven verdicts. The codes are those of RFC 3463 and, for the null MX,
// RFC 7505 section 4; list software removes an address for x.1.z and x.2.1. Read only.
var proofs = []phrase{
	{
		verify.MailboxUnknown, 550,
		esmtp.EnhancedCode{5, 1, 1},
		"mailbox does not exist", "remove it from your list",
	},
	{
		verify.MailboxDisabled, 550,
		esmtp.EnhancedCode{5, 2, 1},
		"mailbox is disabled", "remove it from your list",
	},
	{
		// Not 551: it invites the client to try the forward-path in the text (RFC 5321 section 3.4).
		verify.Moved, 550,
		esmtp.EnhancedCode{5, 1, 6},
		"mailbox has moved away", "ask the recipient for the new address",
	},
	{
		verify.DomainUnknown, 550,
		esmtp.EnhancedCode{5, 1, 2},
		"domain does not exist or is not served", "check the address for a typing error",
	},
	{
		verify.NullMX, 556,
		esmtp.EnhancedCode{5, 1, 10},
		"domain declares that it takes no mail (null MX)", "remove it from your list",
	},
}

// generalProof stands in for a reason that is proven but not in the table.
var generalProof = phrase{
	"", 550, esmtp.EnhancedCode{5, 1, 1}, "cannot be delivered", "remove it from your list",
}

const tryLater = "try again later"

// doubts are the replies to verdicts without proof, when a rule defers or rejects them; RFC 3463
// and RFC 5321 section 4.2.3. Read only.
var doubts = []phrase{
	{verify.MailboxExists, 450, esmtp.EnhancedCode{4, 7, 1}, "deferred by local policy", tryLater},
	{verify.Delivered, 450, esmtp.EnhancedCode{4, 7, 1}, "deferred by local policy", tryLater},
	{
		verify.AcceptAll, 450,
		esmtp.EnhancedCode{4, 2, 0},
		"its mail server accepts every address, which tells nothing", tryLater,
	},
	{verify.MailboxFull, 452, esmtp.EnhancedCode{4, 2, 2}, "mailbox is full", tryLater},
	{
		verify.NoSMTPUTF8, 450,
		esmtp.EnhancedCode{4, 6, 7},
		"its mail server takes no internationalized addresses", "use an ASCII address",
	},
	{verify.InternalDomain, 450, esmtp.EnhancedCode{4, 7, 1}, "deferred by local policy", tryLater},
	{verify.NotProbed, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox cannot be verified", tryLater},
	{verify.OwnAddress, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox is not verified", tryLater},
	{verify.NullSender, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox is not known here", tryLater},
	{verify.Self, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox cannot be verified", tryLater},
	{verify.Passive, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox is not known here", tryLater},
	{verify.ProviderPassive, 450, esmtp.EnhancedCode{4, 2, 0}, "mailbox is not known here", tryLater},
	{verify.BudgetSpent, 450, esmtp.EnhancedCode{4, 2, 0}, "not yet verified", tryLater},
	{verify.LocalLimit, 451, esmtp.EnhancedCode{4, 3, 2}, "not yet verified: busy", tryLater},
	{verify.Breaker, 451, esmtp.EnhancedCode{4, 3, 0}, "cannot be verified now", tryLater},
	{verify.Closing, 451, esmtp.EnhancedCode{4, 3, 2}, "not yet verified: shutting down", tryLater},
	{verify.NoMailHost, 451, esmtp.EnhancedCode{4, 4, 4}, "domain has no mail server", tryLater},
	{verify.Timeout, 450, esmtp.EnhancedCode{4, 4, 1}, "its mail server has not answered", tryLater},
	{verify.Unreachable, 450, esmtp.EnhancedCode{4, 4, 1}, "its mail server is unreachable", tryLater},
	{verify.DNSFailure, 451, esmtp.EnhancedCode{4, 4, 3}, "the DNS of its domain fails", tryLater},
	{verify.TLSFailure, 450, esmtp.EnhancedCode{4, 7, 5}, "TLS with its mail server fails", tryLater},
	{
		verify.ProtocolError, 451,
		esmtp.EnhancedCode{4, 5, 0},
		"its mail server does not speak SMTP as it should", tryLater,
	},
	{verify.Temporary, 450, esmtp.EnhancedCode{4, 2, 0}, "not available for now", tryLater},
	{verify.Greylisted, 450, esmtp.EnhancedCode{4, 2, 0}, "greylisted by its mail server", tryLater},
	{verify.RateLimited, 451, esmtp.EnhancedCode{4, 7, 1}, "its mail server limits us", tryLater},
	{verify.BlockedIP, 451, esmtp.EnhancedCode{4, 7, 1}, "its mail server refuses us", tryLater},
	{
		verify.BlockedSender, 451,
		esmtp.EnhancedCode{4, 7, 1},
		"its mail server refuses the sender", tryLater,
	},
	{verify.Policy, 451, esmtp.EnhancedCode{4, 7, 1}, "its mail server refuses by policy", tryLater},
	{verify.Unconfirmed, 450, esmtp.EnhancedCode{4, 2, 0}, "its mail server will not say", tryLater},
	{verify.Busy, 450, esmtp.EnhancedCode{4, 2, 1}, "gets too much mail for the moment", tryLater},
	{
		verify.Incident, 451,
		esmtp.EnhancedCode{4, 4, 0},
		"its provider refuses recipients in a wave that cannot be true", tryLater,
	},
	{verify.Disputed, 450, esmtp.EnhancedCode{4, 2, 0}, "not known for sure", tryLater},
	{verify.Bounced, 450, esmtp.EnhancedCode{4, 2, 0}, "its last mail bounced", tryLater},
}

// generalDoubt stands in for every other reason, the reasons of proofs among them: a rule that
// defers what is proven defers it like what is not known.
var generalDoubt = phrase{
	"", 450, esmtp.EnhancedCode{4, 2, 0}, "deferred by local policy", tryLater,
}

// The replies of rules whose condition asked nothing about the mailbox.
var (
	plainReject = phrase{
		"", 550, esmtp.EnhancedCode{5, 7, 1}, "refused by local policy", "ask the administrator",
	}
	plainDefer = phrase{"", 450, esmtp.EnhancedCode{4, 7, 1}, "deferred by local policy", tryLater}
)

// reasonValues is the closed set of reasons that a condition may compare with.
func reasonValues() []string {
	list := make([]string, 0, len(proofs)+len(doubts))
	for _, p := range slices.Concat(doubts, proofs) {
		list = append(list, string(p.reason))
	}
	return list
}

func find(list []phrase, reason verify.Reason, general phrase) phrase {
	for _, p := range list {
		if p.reason == reason {
			return p
		}
	}
	return general
}

// choose finds action and reply of a rule that refuses. Here stands the promise of the package:
// what was refused because of a verdict is refused for good only by proof, unless the administrator
// wrote the code out.
func choose(rule *compiledRule, asked bool, result *verify.Result) (Action, phrase) {
	action, p := rule.action, plainDefer
	switch {
	case action == Reject && !asked:
		p = plainReject
	case action == Reject && isProven(result):
		p = find(proofs, result.Reason, generalProof)
	case asked:
		p = find(doubts, result.Reason, generalDoubt)
		if action == Reject && rule.Code/100 != 5 {
			action = Defer
		}
	}
	if rule.Code != 0 && rule.Code != p.code {
		if rule.Code/100 != p.code/100 {
			// The details of a doubt say nothing about a refusal for good, and never x.1.1: this is
			// the administrator's policy.
			p.enhanced = esmtp.EnhancedCode{rule.Code / 100, 7, 1}
			if p.advice == tryLater {
				p.advice = plainReject.advice
			}
		}
		p.code = rule.Code
	}
	if rule.enhanced != (esmtp.EnhancedCode{}) {
		p.enhanced = rule.enhanced
		p.enhanced[0] = p.code / 100
	}
	return action, p
}

// refuse makes the reply of the rule that matched.
func (w *walk) refuse(rule *compiledRule, ref string) (Action, esmtp.Reply) {
	action, p := choose(rule, w.asked, w.result)
	if rule.text != nil {
		text := rule.text.expand(w.values(rule, ref))
		if !rule.text.uses("ref") {
			text = withRef(text, ref)
		}
		return action, esmtp.NewReply(p.code, p.enhanced, cut(text, maxReplyText))
	}
	return action, esmtp.NewReply(p.code, p.enhanced, w.defaultText(p, ref))
}

// defaultText says in one line whom it is about, what is known, from where, and what to do:
//
//	<bob@example.net>: mailbox does not exist (mx.example.net answered 550 5.1.1 to RCPT);
//	remove it from your list (ref KX2M7QRT)
//
// The words of the mail server stay in the log.
func (w *walk) defaultText(p phrase, ref string) string {
	var b strings.Builder
	b.WriteString("<" + w.escape(w.rcpt.To.String()) + ">: " + p.text)
	if w.asked {
		if answer := w.answer(); answer != "" {
			b.WriteString(" (" + answer + ")")
		}
	}
	advice := p.advice
	if w.asked && advice == tryLater && w.result.RetryAfter > 0 {
		advice = "try again in " + minutes(w.result.RetryAfter)
	}
	b.WriteString("; " + advice)
	return withRef(b.String(), ref)
}

// answer is the mail server's refusal without its words.
func (w *walk) answer() string {
	r := w.result
	if r.MX == "" || r.Reply.IsZero() || r.Reply.Positive() {
		return ""
	}
	said := strconv.Itoa(r.Reply.Code)
	if enhanced := r.Reply.Enhanced().String(); enhanced != "" {
		said += " " + enhanced
	}
	answer := w.escape(r.MX) + " answered " + said
	switch r.Stage {
	case reply.StageConnect:
		answer += " on connect"
	case reply.StageHelo:
		answer += " to EHLO"
	case reply.StageStartTLS, reply.StageMail, reply.StageRcpt, reply.StageData:
		answer += " to " + strings.ToUpper(string(r.Stage))
	case reply.StageDot:
		answer += " at the end of data"
	case reply.StageUnknown:
	}
	return answer
}

// escape makes anything from the network fit for a reply of ours.
func (w *walk) escape(s string) string {
	return string(esmtp.AppendEscaped(nil, s, w.tx.Mail.UTF8))
}

// minutes rounds a wait up, for people.
func minutes(d time.Duration) string {
	n := int64((d + time.Minute - 1) / time.Minute)
	if n == 1 {
		return "1 minute"
	}
	return fmt.Sprintf("%d minutes", n)
}

// maxReplyText keeps a line of a reply within 512 octets with code, enhanced code and CRLF
// (RFC 5321 section 4.5.3.1.5).
const maxReplyText = 512 - len("550 5.111.111 \r\n")

// withRef appends the reference, which must survive when the text is too long.
func withRef(text, ref string) string {
	suffix := " (ref " + ref + ")"
	return cut(text, maxReplyText-len(suffix)) + suffix
}

// cut shortens a text to a number of octets, not within a character.
func cut(text string, octets int) string {
	if len(text) <= octets {
		return text
	}
	octets -= len("...")
	for octets > 0 && !utf8.RuneStart(text[octets]) {
		octets--
	}
	return text[:octets] + "..."
}

// newRef is a reference that people can read out: 8 letters and digits, 40 bits.
func newRef() string { return rand.Text()[:8] }
