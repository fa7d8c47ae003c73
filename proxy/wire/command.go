package wire

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// verb is the command in hand as far as go-smtp gets to see it.
type verb int

const (
	verbNone verb = iota // the banner, or a command that was answered here
	verbHelo
	verbEhlo
	verbMail
	verbRcpt
	verbData
	verbRset
	verbNoop
	verbVrfy
	verbQuit
)

// The constant lines that stand for the parsed commands.
const (
	mailLine = "MAIL FROM:<s@x>\r\n"
	rcptLine = "RCPT TO:<r@x>\r\n"
)

// bareLines are the commands that take no argument.
var bareLines = map[verb]string{verbData: "DATA\r\n", verbRset: "RSET\r\n", verbQuit: "QUIT\r\n"}

var (
	noCommand  = esmtp.EnhancedCode{5, 5, 1}
	badSyntax  = esmtp.EnhancedCode{5, 5, 2}
	badArgs    = esmtp.EnhancedCode{5, 5, 4}
	notAllowed = esmtp.EnhancedCode{5, 7, 0}
	okCode     = esmtp.EnhancedCode{2, 0, 0}
)

// dispatch looks at one command line: it answers it here, or leaves a line for go-smtp in
// c.pend.
func (c *Conn) dispatch(line []byte) {
	// Blanks in front and a tab behind the verb are no SMTP, but Postfix takes them and passes the
	// line on as it came.
	text := strings.Trim(string(line), " \t")
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		end = len(text)
	}
	name, arg := strings.ToUpper(text[:end]), strings.TrimLeft(text[end:], " \t")
	c.command = commandOf(name)
	switch name {
	case "HELO":
		c.greet(verbHelo, arg)
	case "EHLO":
		c.greet(verbEhlo, arg)
	case "MAIL":
		c.mailCommand(arg)
	case "RCPT":
		c.rcptCommand(arg)
	case "DATA":
		c.bare(verbData, name, arg)
	case "RSET":
		c.bare(verbRset, name, arg)
	case "QUIT":
		c.bare(verbQuit, name, arg)
	case "NOOP":
		c.hand(verbNoop, "NOOP\r\n")
	case "VRFY":
		c.hand(verbVrfy, "VRFY x\r\n")
	case "XFORWARD":
		c.xforwardCommand(arg)
	case "STARTTLS":
		c.startTLS(arg)
	case "AUTH":
		c.auth(arg)
	case "HELP":
		c.reply(esmtp.NewReply(214, okCode, "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT"))
	case "BDAT":
		// Its chunk follows at once and is not to be read as commands.
		c.answer(502, noCommand, "BDAT is not offered, use DATA")
		c.closing = true
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE":
		c.answer(500, badSyntax, "This is an SMTP server, not HTTP")
		c.closing = true
	case "EXPN", "TURN", "ETRN", "SEND", "SOML", "SAML", "XCLIENT", "LHLO":
		c.answer(502, noCommand, name+" is not offered")
	default:
		c.answer(500, badSyntax, "Command not recognized")
	}
}

// bare hands over a command that takes no argument.
func (c *Conn) bare(v verb, name, arg string) {
	if arg != "" {
		c.answer(501, badArgs, name+" takes no argument")
		return
	}
	c.hand(v, bareLines[v])
}

// answer is a reply to a mistake of the client that go-smtp does not see.
func (c *Conn) answer(code int, e esmtp.EnhancedCode, text string) {
	c.refuseCommand(esmtp.NewReply(code, e, text))
}

// reply ends a command that go-smtp does not see.
func (c *Conn) reply(r esmtp.Reply) {
	c.out = r.Append(c.out, false)
	c.cfg.Commands.count(c.command, r.Code)
}

func (c *Conn) refuseCommand(r esmtp.Reply) {
	c.reply(r)
	if !c.trusted {
		c.errs++
		c.mistake()
	}
}

func (c *Conn) greet(v verb, arg string) {
	arg = strings.TrimSpace(arg)
	if arg == "" || len(arg) > 255 || strings.ContainsAny(arg, " \t") || !ascii(arg) {
		c.answer(501, badArgs, "A host name or address literal is required, as in EHLO client.example.com")
		return
	}
	c.helo, c.extended = arg, v == verbEhlo
	if v == verbEhlo {
		c.hand(v, "EHLO x\r\n")
	} else {
		c.hand(v, "HELO x\r\n")
	}
}

func (c *Conn) mailCommand(arg string) {
	if c.inTx {
		c.answer(503, noCommand, "Nested MAIL command: a transaction is open, RSET ends it")
		return
	}
	if c.helo == "" { // also behind STARTTLS, where go-smtp still knows one
		c.answer(503, noCommand, "Say EHLO first")
		return
	}
	m, err := esmtp.ParseMail(arg)
	if err != nil {
		c.syntax(err)
		return
	}
	c.mail = &m
	c.hand(verbMail, mailLine)
}

func (c *Conn) rcptCommand(arg string) {
	r, err := esmtp.ParseRcpt(arg, c.mail != nil && c.mail.UTF8)
	if err != nil {
		c.syntax(err)
		return
	}
	c.recipient(&r)
}

// recipient has the session answer a RCPT: through go-smtp, if it has not taken one yet.
func (c *Conn) recipient(r *esmtp.Rcpt) {
	c.rcpt, c.command = r, nameRCPT
	if c.onRcpt == nil || !c.inTx || !c.named {
		c.hand(verbRcpt, rcptLine)
		return
	}
	c.verb = verbRcpt
	defer func() {
		p := recover()
		if p != nil { // as in go-smtp: a fault that one client meets must not end the process
			c.Fault(p)
		}
		if p != nil || c.override.IsZero() {
			c.override = esmtp.NewReply(421, esmtp.EnhancedCode{4, 3, 0}, "Internal error, try again later")
		}
	}()
	c.override = c.onRcpt(r)
}

// Fault tells of what recover found, a fault of ours: an event "panic".
func (c *Conn) Fault(p any) { c.event("panic", fmt.Sprintf("%v\n%s", p, debug.Stack())) }

func (c *Conn) syntax(err error) {
	var se *esmtp.SyntaxError
	if !errors.As(err, &se) {
		c.answer(501, badSyntax, "Syntax error")
		return
	}
	c.refuseCommand(se.Reply)
}

// xforwardCommand takes the original client's data (Postfix XFORWARD_README).
func (c *Conn) xforwardCommand(arg string) {
	switch {
	case !contains(c.cfg.XForwardNetworks, c.remote):
		c.answer(550, notAllowed, "Insufficient authorization: see proxy.xforward_networks")
		return
	case c.inTx:
		c.answer(503, noCommand, "Mail transaction in progress")
		return
	}
	x := c.XForward()
	if err := x.Merge(arg); err != nil {
		c.syntax(err)
		return
	}
	c.xforward, c.trusted = &x, true
	c.reply(esmtp.NewReply(250, okCode, "Ok"))
}

// replace is our own reply where go-smtp's says too much, too little or another code than
// RFC 5321 section 4.3.2 has; false to let go-smtp's pass.
func (c *Conn) replace() (esmtp.Reply, bool) {
	positive := c.rep[0] == '2'
	switch {
	case c.verb == verbNone && bytes.HasPrefix(c.rep, []byte("220")):
		return plain(220, c.cfg.Hostname+" ESMTP rcptgate"), true
	case c.verb == verbHelo && positive:
		return plain(250, c.cfg.Hostname), true
	case c.verb == verbEhlo && positive:
		return esmtp.Reply{Code: 250, Lines: c.extensions()}, true
	case (c.verb == verbRset || c.verb == verbNoop) && positive:
		return esmtp.NewReply(250, okCode, "Ok"), true
	case c.verb == verbRcpt && bytes.HasPrefix(c.rep, []byte("502")):
		return esmtp.NewReply(503, noCommand, "MAIL first"), true
	case c.verb == verbData && bytes.HasPrefix(c.rep, []byte("502")):
		return esmtp.NewReply(503, noCommand, "RCPT first"), true
	}
	return esmtp.Reply{}, false
}

func plain(code int, text string) esmtp.Reply {
	return esmtp.Reply{Code: code, Lines: []string{text}}
}

func (c *Conn) extensions() []string {
	lines := append([]string{c.cfg.Hostname}, c.cfg.Extensions()...)
	if c.cfg.TLS != nil && c.tls == nil {
		lines = append(lines, "STARTTLS")
	}
	if mechanisms := c.mechanisms(); len(mechanisms) > 0 && c.login == "" {
		lines = append(lines, "AUTH "+strings.Join(mechanisms, " "))
	}
	if contains(c.cfg.XForwardNetworks, c.remote) {
		lines = append(lines, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
	}
	return lines
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
