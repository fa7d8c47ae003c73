package journal

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// explainer writes paragraphs of labelled lines.
type explainer struct{ strings.Builder }

const labelWidth = 14

// line writes a labelled line, unless there is nothing to say. Nothing is printed raw.
func (x *explainer) line(label string, parts ...string) {
	if text := strings.Join(parts, ""); text != "" {
		fmt.Fprintf(x, "  %-*s %s\n", labelWidth-2, label, printable(text))
	}
}

func (x *explainer) head(title string) { fmt.Fprintf(x, "\n%s\n", title) }

func (x *explainer) top(text string) { fmt.Fprintf(x, "%s\n", printable(text)) }

func (x *explainer) say(text string) { fmt.Fprintf(x, "  %s\n", printable(text)) }

// prefixed is a value with words before it, "" without a value.
func prefixed(words, value string) string {
	if value == "" {
		return ""
	}
	return words + value
}

// Explain writes everything that the entry says, in plain words, and what to do if the decision was
// wrong. The error is w's.
func (e *Entry) Explain(w io.Writer) error {
	x := new(explainer)
	if e.Kind == KindMessage {
		x.message(e)
	} else {
		x.recipient(e)
	}
	if len(e.Unknown) > 0 {
		x.head("Not shown")
		x.say("Another version of rcptgate wrote this, with fields that this one does not know: " +
			strings.Join(e.Unknown, ", ") + ".")
	}
	_, err := io.WriteString(w, x.String())
	return err
}

func (x *explainer) recipient(e *Entry) {
	whom := e.Recipient
	if whom == "" {
		whom = "a recipient"
	}
	did := actionWords(e.Action, whom)
	if e.Relayed && e.Action == policy.Accept.String() && e.Refused() && e.Shadow == "" {
		did += ", but the relay refused it"
	}
	x.top("On " + when(e.Time) + " rcptgate " + did + ".")
	if e.Shadow != "" {
		x.top("In enforce mode it would have " + actionWords(e.Shadow, "it") + ".")
	}
	x.head("The mail")
	x.line("Reference", e.Ref)
	x.line("Recipient", e.Recipient)
	x.about(e)
	x.head("The decision")
	switch {
	case e.Rule != "":
		x.line("Rule", e.Rule)
	default:
		x.line("Rule", "none: the gate itself answered, as for a limit of its own")
	}
	x.line("Reply", e.Reply, prefixed(" ", relayWords(e)))
	x.line("Would reply", e.ShadowReply)
	x.line("Marks", strings.Join(e.Marks, ", "))
	for _, header := range e.Headers {
		x.line("Header", header)
	}
	x.line("Took", wait(e.WaitMS))
	x.gates(e)
	x.evidence(e)
	x.next(e)
}

func relayWords(e *Entry) string {
	if e.Relayed {
		return "(the relay's)"
	}
	return ""
}

func wait(ms int64) string {
	if ms <= 0 {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

// about is who sent it, and how it came here.
func (x *explainer) about(e *Entry) {
	sender := e.Sender
	if sender == "<>" {
		sender = "<>, the null sender: a bounce"
	}
	x.line("Sender", sender)
	x.line("Client", e.Client, prefixed(", ", e.ClientName), prefixed(", greeted with ", e.Helo))
	x.line("Login", e.Login)
	x.line("Door", e.Door)
	x.line("Session", e.Session, prefixed(", transaction ", e.Transaction))
}

// evidence is what the verifier knew.
func (x *explainer) evidence(e *Entry) {
	x.head("What was known of the recipient")
	if e.Verdict == "" {
		x.say("Nothing was asked: what was reached needs no verdict.")
		return
	}
	x.line("Verdict", e.Verdict, ": ", reasonWords(e.Reason), " (", e.Reason, ")")
	if e.Verdict != string(verify.Unknown) {
		sure := fmt.Sprintf("the verdict is %.0f %% sure; mail gets there with %.0f %%",
			100*e.Confidence, 100*e.Deliverability)
		x.line("Sure", sure)
	}
	if e.Proof {
		x.line("Proof", "yes: its own server, or its domain, says that it takes no mail")
	} else if e.Decided() != policy.Accept.String() {
		x.line("Proof", "no")
	}
	x.line("Provider", e.Provider)
	x.line("Mail server", e.MX)
	if e.MXReply != "" {
		x.line("It answered", e.MXReply, " (", stageWords(e.Stage), prefixed("; read as ", e.Label), ")")
	}
	if !e.Checked.IsZero() {
		x.line("Asked", when(e.Checked), ", ", ago(e.Time.Sub(e.Checked)), cachedWords(e))
	}
	if !e.Delivered.IsZero() {
		x.line("Delivered", "mail for it last arrived on ", when(e.Delivered))
	}
	if e.RetryAfter > 0 {
		x.line("Ask again", "after ", (time.Duration(e.RetryAfter) * time.Second).String())
	}
	if e.CatchAll {
		x.line("Domain", "accepts every address")
	}
	x.domain(e.Domain)
}

func cachedWords(e *Entry) string {
	if e.Cached {
		return "; this time from memory"
	}
	return ""
}

func (x *explainer) domain(d *Domain) {
	if d == nil {
		return
	}
	x.line("Domain", fmt.Sprintf("accepts every address with a probability of %.0f %%",
		100*d.AcceptsAll))
	if !d.Refused.IsZero() {
		x.line("", "it last refused a recipient as unknown on ", when(d.Refused))
	}
	if d.Tries > 0 {
		x.line("", fmt.Sprintf("%d invented recipients asked for, %d accepted", d.Tries, d.Invented),
			prefixed(", last on ", orNever(d.Tested)))
	}
	if d.Accepted+d.Arrived+d.Late > 0 {
		x.line("", fmt.Sprintf("%d recipients accepted, %d messages delivered, %d refused afterwards",
			d.Accepted, d.Arrived, d.Late))
	}
}

func orNever(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return when(t)
}

// next is what can be done.
func (x *explainer) next(e *Entry) {
	x.head("What to do")
	if x.nextGate(e) {
		return
	}
	result := verify.Result{
		Reason: verify.Reason(e.Reason), RetryAfter: time.Duration(e.RetryAfter) * time.Second,
	}
	if step := result.NextStep(); step != "" {
		x.say(strings.ToUpper(step[:1]) + step[1:] + ".")
	}
	if !e.Refused() {
		x.say("Nothing: the recipient was accepted.")
		return
	}
	if !refusal(e.Decided()) {
		x.say("The relay refused, not a rule: see the relay's log and its own checks.")
		return
	}
	if e.Rule == "" {
		x.say("A limit of the gate was reached; see the log of session " + e.Session + ".")
		return
	}
	x.say("If the decision was wrong, let the recipient pass:")
	x.allow(e)
	if e.Verdict != "" {
		x.say("or have what is known of it forgotten, so that it is asked anew:")
		x.say("  rcptgate override forget -c FILE " + shellWord(whole(e.Recipient)))
		x.say("See what the rules do with it now, without mail:")
		x.say("  rcptgate explain -c FILE --from " + shellWord(whole(e.Sender)) + " " +
			shellWord(whole(e.Recipient)))
	}
}

// whole is an address that a command takes; one that was shortened is for the reader to fill in.
func whole(address string) string {
	if address == "" || strings.HasPrefix(address, hashMark) || strings.Contains(address, "…") {
		return "ADDRESS"
	}
	return address
}

// shellWord quotes what a shell would not take as one word, or as something else.
func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.ContainsRune("@.-_+=/:,%", c)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
