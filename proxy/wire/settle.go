package wire

import (
	"bytes"
	"io"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// settle turns the reply to the command in hand into octets for the client.
func (c *Conn) settle() {
	if c.verb == verbData && !c.dotGiven && bytes.HasPrefix(c.rep, []byte("354")) {
		_, c.rep, _ = bytes.Cut(c.rep, []byte("\n")) // the session sent its own 354
	}
	r, ours := c.override, !c.override.IsZero()
	c.override = esmtp.Reply{}
	if !ours && len(c.rep) > 0 {
		r, ours = c.replace()
		c.early = r.Code == 503
	}
	code := r.Code
	if !ours && len(c.rep) >= 3 {
		code = int(c.rep[0]-'0')*100 + int(c.rep[1]-'0')*10 + int(c.rep[2]-'0')
	}
	switch {
	case code == 0:
		return
	case code == 421 && c.trusted:
		code = 451
		if !ours {
			r, ours = esmtp.NewReply(code, esmtp.EnhancedCode{4, 3, 0}, "Internal error, try again later"), true
		}
		r.Code = code
	case code == 421, code == 221:
		c.closing = true
	}
	if ours {
		c.out = r.Append(c.out, c.mail != nil && c.mail.UTF8)
	} else {
		c.out = append(c.out, c.rep...)
	}
	taken := len(c.rep) > 0 && c.rep[0] == '2'
	c.rep = c.rep[:0]
	c.account(code, taken)
}

// account keeps the state of the transaction and the error counts by the reply that the
// client gets. taken: go-smtp's own reply is positive.
func (c *Conn) account(code int, taken bool) {
	if c.verb != verbNone {
		c.cfg.Commands.count(c.command, code)
	}
	switch {
	case c.verb == verbMail && code == 250:
		c.inTx = true
	case c.verb == verbRcpt && !c.named:
		c.named = taken
	case c.verb == verbData && c.dotGiven:
		c.messages++
	}
	if c.verb == verbData && !c.begun && c.in.len() > 0 {
		// DATA is the last command of a pipelined group (RFC 2920 section 3.1). What
		// stands behind a refused one is a message sent unasked, and no commands.
		c.closing = true
	}
	harvest := c.verb == verbRcpt && code == 452 && c.HarvestLimit()
	if code < 500 && !harvest || c.trusted {
		return
	}
	switch {
	case c.early:
		c.errs++
	case c.verb == verbRcpt:
		c.refused++
	case c.verb == verbData, c.verb == verbMail:
		return // the answer of a relay or a policy, not the client's mistake
	default:
		c.errs++
	}
	c.mistake()
}

func (c *Conn) mistake() {
	if c.cfg.SoftErrorLimit > 0 && c.errs+c.refused > c.cfg.SoftErrorLimit {
		c.delay = true
	}
	if c.cfg.HardErrorLimit > 0 && c.errs >= c.cfg.HardErrorLimit && !c.closing {
		c.out = esmtp.NewReply(421, esmtp.EnhancedCode{4, 7, 0},
			"Too many errors, closing the connection").Append(c.out, false)
		c.closing = true
	}
}

// penalty holds back the reply to a mistake beyond SoftErrorLimit, as Postfix's
// smtpd_error_sleep_time does.
func (c *Conn) penalty() error {
	if !c.delay {
		return nil
	}
	c.delay = false
	gone := c.ending()
	t := time.NewTimer(c.cfg.ErrorDelay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-gone:
		return io.EOF
	}
}
