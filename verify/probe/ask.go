package probe

import (
	"context"
	"errors"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// verdict is what asking in a session came to.
type verdict int

const (
	answered verdict = iota // the outcome is final; the session is being settled
	stale                   // the kept session was of no use, a new one may be; it is closed
	failed                  // the conversation broke; the session is closed
)

// ask sends MAIL and RCPT in s and takes care of s, except for the slot of its host when the result
// is stale or failed.
func (r *run) ask(ctx context.Context, s *session) (Outcome, verdict) {
	out := Outcome{
		Stage: reply.StageMail, MX: s.mx, Addr: s.addr, Connected: true, TLS: s.client.IsTLS(),
	}
	mail, rcpt, ok := r.envelope(s, &out)
	if !ok {
		r.step("%s [%v]: does not offer SMTPUTF8", s.mx, s.addr)
		out.Stage = reply.StageHelo
		if !out.NoUTF8 {
			out.Err = r.fault(s, "MAIL", errors.New("the sender needs SMTPUTF8, which is not offered"))
		}
		s.proved()
		s.keep()
		return out, answered
	}
	kept := s.asked > 0
	s.asked++
	reset := s.pipelining && s.asked < s.pool.cfg.RcptPerSession && s.refused+1 < maxRefusals
	err := r.exchange(ctx, s, &out, mail, rcpt, reset)
	if err != nil {
		out.Reply = esmtp.Reply{}
		out.Err = r.fault(s, command(out.Stage), err)
		r.step("broken: %s", escape(err))
		s.drop()
		if kept && !over(ctx) && !isTimeout(err) {
			return out, stale // the server had enough of the session, or of waiting
		}
		return out, failed
	}
	s.proved()
	if !out.Reply.Positive() {
		s.refused++
	}
	if out.Stage == reply.StageRcpt {
		s.pool.count(r.req.Rcpt.ASCIIDomain(), out.Reply)
	}
	if kept && sessionLimit(out) && !over(ctx) {
		s.quitKeepingSlot(ctx)
		return out, stale
	}
	s.pool.wg.Go(func() { s.settle(reset) })
	return out, answered
}

// exchange sends MAIL and RCPT, together where the host offers PIPELINING (RFC 2920 section 3.1),
// then with a RSET behind them if reset is set, whose reply is left to be read. The reply that
// decides and its stage are put into out; err is a broken conversation at that stage.
func (r *run) exchange(
	ctx context.Context, s *session, out *Outcome, mail esmtp.Mail, rcpt esmtp.Rcpt, reset bool,
) error {
	c := s.client
	r.queue(c, mail.Append(nil, nil))
	if s.pipelining {
		r.queue(c, rcpt.Append(nil, nil))
		if reset {
			r.queue(c, []byte("RSET\r\n"))
		}
	}
	var err error
	if out.Reply, err = c.ReadReply(ctx); err != nil {
		return err
	}
	r.step("S: %s", out.Reply)
	accepted := out.Reply.Code == 250
	switch {
	case !accepted && !out.Reply.Transient() && !out.Reply.Permanent():
		return unexpected(out.Reply, "MAIL")
	case !accepted && s.pipelining:
		// RFC 2920 section 3.1: the RCPT behind a refused MAIL is answered too, whatever that says.
		return r.skip(ctx, c)
	case !accepted:
		return nil
	}
	out.Stage = reply.StageRcpt
	if !s.pipelining {
		r.queue(c, rcpt.Append(nil, nil))
	}
	if out.Reply, err = c.ReadReply(ctx); err != nil {
		return err
	}
	r.step("S: %s", out.Reply)
	switch code := out.Reply.Code; {
	case code == 250, code == 251, code == 252, out.Reply.Transient(), out.Reply.Permanent():
		return nil
	}
	return unexpected(out.Reply, "RCPT")
}

// queue records and queues one command.
func (r *run) queue(c *esmtp.Client, line []byte) {
	shown := esmtp.AppendEscaped([]byte("C: "), string(line[:max(len(line)-2, 0)]), true)
	r.step("%s", shown)
	c.Queue(line)
}

// skip reads a reply that decides nothing. If it does not come, the reply to MAIL still stands.
func (r *run) skip(ctx context.Context, c *esmtp.Client) error {
	if answer, err := c.ReadReply(ctx); err == nil {
		r.step("S: %s", answer)
	}
	return nil
}

// command names the command of a stage, for people.
func command(stage reply.Stage) string {
	if stage == reply.StageRcpt {
		return "RCPT"
	}
	return "MAIL"
}

// sessionLimit recognises refusals that may be about what came earlier in the session: any of MAIL,
// and "too many recipients" (RFC 3463 X.5.3), which Outlook.com gives to a second RCPT.
func sessionLimit(out Outcome) bool {
	return out.Stage == reply.StageMail || out.Reply.Enhanced() == esmtp.EnhancedCode{4, 5, 3}
}
