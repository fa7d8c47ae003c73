package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// The rules of the demo's output:
//
//   - A recipient is a line that can be read on its own: decision, address, verdict, time. What its
//     mail server said, and what the client was told if that was no, stand below it.
//   - On a terminal, lines are cut to its width, colour says the decision once more, and what is
//     of second rank is dim. In a pipe, with NO_COLOR or TERM=dumb there is no colour; in a pipe
//     nothing is cut.
//   - What comes from a mail server is escaped before it gets here.
//   - Nothing is printed that did not happen.
const (
	ansiReset  = "\x1b[0m"
	ansiBold   = "\x1b[1m"
	ansiDim    = "\x1b[2m"
	ansiRed    = "\x1b[31m"
	ansiGreen  = "\x1b[32m"
	ansiYellow = "\x1b[33m"
)

const (
	demoColumn = 30 // of addresses
	demoIndent = "            "
)

// demoPrinter writes for people.
type demoPrinter struct {
	w     io.Writer
	color bool
	width int // 0: lines are not cut
}

func newDemoPrinter(w io.Writer) *demoPrinter {
	p := &demoPrinter{w: w, color: useColor(w)}
	if file, ok := w.(*os.File); ok && isTerminal(w) {
		width, _, err := term.GetSize(int(file.Fd()))
		if err == nil && width > len(demoIndent)+demoColumn {
			p.width = width
		}
	}
	return p
}

// line writes a line in one style ("" is none), cut to the width.
func (p *demoPrinter) line(style, text string) {
	if p.width > 0 {
		text = shorten(text, p.width)
	}
	writef(p.w, "%s\n", p.paint(style, text))
}

func (p *demoPrinter) paint(style, text string) string {
	if !p.color || style == "" || text == "" {
		return text
	}
	return style + text + ansiReset
}

func (p *demoPrinter) opening(w *mxsim.World, at mxsim.Listening, gate string) {
	hosts := 0
	for _, s := range w.Sites() {
		hosts += len(s.Hosts)
	}
	p.line(ansiBold, fmt.Sprintf("A world on loopback: "+
		"%d mail domains, %d mail hosts at port %d, DNS at %s", len(w.Sites()), hosts, at.Port, at.DNS))
	p.line("", fmt.Sprintf("A client sends mail through the gate (%s) to a relay. "+
		"Nothing leaves this machine.", gate))
}

func (p *demoPrinter) title(number int, mail demoMail) {
	from := "<" + mail.sender + ">"
	p.line("", "")
	p.line(ansiBold, fmt.Sprintf("%d. %s", number, mail.title))
	p.line(ansiDim, fmt.Sprintf("   from %s to %d recipients", from, len(mail.rcpts)))
}

// row shows one recipient.
func (p *demoPrinter) row(r demoRow) {
	p.decision(r.reply, r.rcpt, r.line)
	p.reason(r.line)
	if !r.reply.Positive() {
		p.line(ansiDim, demoIndent+"client: "+r.reply.String())
	}
}

func (p *demoPrinter) decision(reply esmtp.Reply, rcpt string, line demoRecord) {
	word, style := "accepted", ansiGreen
	switch {
	case reply.Permanent():
		word, style = "refused", ansiRed
	case !reply.Positive():
		word, style = "deferred", ansiYellow
	}
	verdict := line["verdict"]
	if verdict == "" {
		verdict = "not asked"
	}
	when := "from memory"
	ms, err := strconv.ParseInt(line["wait_ms"], 10, 64)
	if err == nil && line["cached"] != "true" {
		when = roundTime(time.Duration(ms) * time.Millisecond)
	}
	text := fmt.Sprintf("  %s  %s  %s  %s",
		pad(word, 8), pad(rcpt, demoColumn), pad(verdict, 13), when)
	if p.width > 0 {
		text = shorten(text, p.width)
	}
	before, after, _ := strings.Cut(text, word)
	color := ansiDim
	if verdict != "not asked" {
		color = verdictColor(verify.Verdict(verdict))
	}
	after = strings.Replace(after, pad(verdict, 13), p.paint(color, pad(verdict, 13)), 1)
	writef(p.w, "%s%s%s\n", before, p.paint(style, word), after)
}

// reason shows why, in words, and the mail server's own.
func (p *demoPrinter) reason(line demoRecord) {
	if line["reason"] == "" {
		p.line(ansiDim, demoIndent+"decided by rule "+line["rule"])
		return
	}
	if line["verdict"] != string(verify.Deliverable) {
		p.line(ansiDim, demoIndent+reasonText(verify.Reason(line["reason"])))
	}
	if reply := line["mx_reply"]; reply != "" {
		stage := line["stage"]
		p.line(ansiDim, fmt.Sprintf("%s%s, %s: %s", demoIndent, line["mx"], stage, reply))
	}
}

func (p *demoPrinter) delivered(sent *demoSent, elapsed time.Duration) {
	text := "no recipient left: no message sent"
	if sent.body != nil {
		text = fmt.Sprintf("message to %d of %d recipients, relay: %s",
			len(sent.taken), len(sent.mail.rcpts), sent.final)
	}
	p.line("", fmt.Sprintf("   %s (%s in all)", text, roundTime(elapsed)))
}

// learned shows what the relay's log brought.
func (p *demoPrinter) learned(deliveries int, bounced []mxsim.Outcome) {
	p.line("", "")
	p.line(ansiBold, fmt.Sprintf("Meanwhile the relay has delivered, and the gate has read of %d tries "+
		"in its log", deliveries))
	p.line(ansiDim, "   refused after the message, which no question could have told:")
	for _, o := range bounced {
		p.line("", fmt.Sprintf("   %s  %s", pad(o.Rcpt, demoColumn),
			string(esmtp.AppendEscaped(nil, o.Text, false))))
	}
}

// summary compares with the truth.
func (p *demoPrinter) summary(s *demoScore, e demoEtiquette) {
	p.line("", "")
	p.line(ansiBold, fmt.Sprintf("Compared with the truth about these %d recipients", len(s.rows)))
	good, goodRefused := s.count(demoGood)
	p.count("good, refused", goodRefused, good, goodRefused == 0)
	certain, certainRefused := s.count(demoCertain)
	p.count("invalid and their servers say so, refused", certainRefused, certain,
		certainRefused == certain)
	p.count("messages at the relay, octet by octet", s.relayed, s.messages(), len(s.wrong) == 0)
	open, openRefused := s.count(demoOpen)
	p.count("invalid, but no server says so, refused", openRefused, open, true)
	trouble, troubleRefused := s.count(demoTrouble)
	p.count("out of order or not to be asked, refused", troubleRefused, trouble, true)
	p.line("", "")
	p.line(ansiBold, "Let through without proof, because unknown is never a reason to refuse")
	p.line(ansiDim, "  all good invalid")
	for _, d := range s.doubts() {
		why := reasonText(d.reason)
		if d.reason == verify.MailboxExists {
			why = "its mail server says that it accepts mail for it, which is not true"
		}
		p.line("", fmt.Sprintf("  %3d %4d %7d  %s", d.all, d.good, d.bad, why))
	}
	p.line("", "")
	p.line(ansiBold, "Seen by the mail servers")
	p.line("", fmt.Sprintf("  %d connections, %d recipients asked about, %d messages begun",
		e.connections, e.asked, e.messages))
	if len(e.rude) > 0 {
		p.line("", "  left without QUIT: "+strings.Join(e.rude, ", "))
	}
}

// count writes "n of all", and whether it is as it must be.
func (p *demoPrinter) count(what string, n, all int, right bool) {
	mark, style := "ok", ansiGreen
	if !right {
		mark, style = "WRONG", ansiRed
	}
	writef(p.w, "  %s %3d of %3d  %s\n", pad(what, 44), n, all, p.paint(style, mark))
}

func (p *demoPrinter) invitation(gate, path string) {
	p.line("", "")
	p.line(ansiBold, "The world stays until you press Ctrl-C. Send it mail of your own:")
	p.line("", fmt.Sprintf("  swaks --server %s --from you@example.org "+
		"--to anna@postfix.test,nobody@postfix.test", gate))
	p.line("", "Ask as the gate would, or see every step of a decision:")
	p.line("", fmt.Sprintf("  rcptgate verify --config %s nobody@exim-codes.test", path))
	p.line("", fmt.Sprintf("  rcptgate explain --config %s --from you@example.org zoe@greylist.test", path))
	p.line(ansiDim, "What the gate decides is shown here:")
}

// visitor shows a line of the log about mail that somebody sent with --keep.
func (p *demoPrinter) visitor(line demoRecord) {
	if line["event"] == "message" {
		p.line("", fmt.Sprintf("   message of %s octets: %s %s",
			line["octets"], line["outcome"], line["reply"]))
		return
	}
	reply := esmtp.Reply{Code: 250}
	switch line["action"] {
	case "reject":
		reply.Code = 550
	case "defer":
		reply.Code = 450
	}
	p.decision(reply, line["recipient"], line)
	p.reason(line)
}

// pad fills up to n characters with blanks.
func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(n-utf8.RuneCountInString(text), 0))
}
