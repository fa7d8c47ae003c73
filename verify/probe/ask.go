package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// asking is a question in a session.
type asking struct {
	*question
	mail esmtp.Mail
	rcpt esmtp.Rcpt
	out  Outcome
}

// ask asks all of batch in s. It reports whether s may be asked more; if not it is to be ended.
func (s *session) ask(batch []*question) bool {
	list, all := make([]*asking, 0, len(batch)), make([]asking, len(batch))
	kept := ""
	if n := s.asked.Load(); n > 0 {
		kept = fmt.Sprintf("%s [%v]: session kept from before, %d recipients so far", s.mx, s.addr, n)
	}
	for i, q := range batch {
		if s.envelope(&all[i], q, kept) {
			list = append(list, &all[i])
		}
	}
	for len(list) > 0 {
		n := transaction(list)
		if s.pipelining {
			n = len(list)
		}
		if !s.exchange(list[:n]) {
			if len(list) > n {
				s.pool.requeue(s, questions(list[n:]))
			}
			return false
		}
		list = list[n:]
	}
	return s.client.Ready()
}

func questions(list []*asking) []*question {
	out := make([]*question, len(list))
	for i, a := range list {
		out[i] = a.question
	}
	return out
}

// envelope prepares q in a; kept says of a session that it is not new. NoUTF8 is set if the host
// lacks SMTPUTF8 and the recipient as written needs it; where nothing can be asked, that is the
// outcome of q, and false is returned.
func (s *session) envelope(a *asking, q *question, kept string) bool {
	*a = asking{question: q, out: Outcome{
		Stage: reply.StageMail, MX: q.name, Addr: s.addr, Connected: true, TLS: s.client.IsTLS(),
		Banner: s.banner, Source: s.source,
	}}
	q.tries++
	if kept == "" {
		q.steps = append(q.steps, s.steps...) // open is over: they do not change any more
	} else {
		q.step(kept)
	}
	a.mail.From, a.rcpt.To = q.req.Sender, q.req.Rcpt
	if !a.mail.From.NeedsUTF8() && !a.rcpt.To.NeedsUTF8() {
		return true
	}
	if _, offered := s.client.Extension("SMTPUTF8"); offered {
		a.mail.UTF8 = true
		return true
	}
	a.out.NoUTF8 = a.rcpt.To.NeedsUTF8()
	var ok bool
	if a.rcpt.To, ok = a.rcpt.To.ASCII(); ok {
		if a.mail.From, ok = a.mail.From.ASCII(); ok {
			return true
		}
	}
	q.step(fmt.Sprintf("%s [%v]: does not offer SMTPUTF8", q.name, s.addr))
	a.out.Stage = reply.StageHelo
	if !a.out.NoUTF8 {
		a.out.Err = s.fault(q.name, "MAIL", errors.New("the sender needs SMTPUTF8, which is not offered"))
	}
	s.proved()
	s.pool.deliver(q, a.out, true)
	return false
}

// transaction returns how many of list, which is not empty, go behind one MAIL.
func transaction(list []*asking) int {
	n, first := 1, list[0]
	for n < len(list) && n < first.limits.RcptPerTransaction && list[n].mail.From == first.mail.From &&
		list[n].mail.UTF8 == first.mail.UTF8 {
		n++
	}
	return n
}

// exchange asks all of list: with PIPELINING in one write, otherwise list is one transaction and its
// commands go one by one.
func (s *session) exchange(list []*asking) bool {
	before := int(s.asked.Load())
	asked := before + len(list)
	s.asked.Store(int32(asked)) //nolint:gosec // at most RcptPerSession
	// No RSET where it is known that QUIT follows.
	reset := asked < s.limits.RcptPerSession &&
		(len(list) > 1 || int(s.refused.Load())+1 < s.limits.Refusals)
	if s.pipelining {
		for rest := list; len(rest) > 0; {
			n := transaction(rest)
			s.queue(rest[0], rest[0].mail.Append(s.line[:0], nil))
			for i, a := range rest[:n] {
				if i > 0 {
					a.step("behind the same MAIL")
				}
				s.queue(a, a.rcpt.Append(s.line[:0], nil))
			}
			if len(rest) > n || reset {
				s.queue(rest[n-1], append(s.line[:0], "RSET\r\n"...))
			}
			rest = rest[n:]
		}
	}
	for len(list) > 0 {
		n := transaction(list)
		if done, err := s.converse(list[:n]); err != nil {
			s.broke(list[done:], err)
			return false
		}
		last := len(list) == n
		if last && s.pipelining && !reset || last && s.room() <= 0 && !s.pipelining {
			break
		}
		if err := s.rset(); err != nil {
			s.broke(list[n:], err)
			return false
		}
		list = list[n:]
	}
	if s.pipelining && !reset && s.room() > 0 && s.client.Ready() {
		return s.rset() == nil
	}
	return true
}

// rset reads the reply to RSET, and sends it first if that was not done along. It must be positive:
// then the host and we agree about which command was answered last.
func (s *session) rset() error {
	if s.client.Outstanding() == 0 {
		s.client.Queue([]byte("RSET\r\n"))
	}
	answer, err := s.client.ReadReply(context.Background())
	if err == nil && !answer.Positive() {
		s.hang(answer)
		err = unexpected(answer, "RSET")
	}
	return err
}

// hang notes that the host is about to close.
func (s *session) hang(answer esmtp.Reply) {
	if answer.Code == 421 {
		s.said421 = answer
	}
}

// converse has one transaction. done is how many of tx have their outcome when err breaks it.
func (s *session) converse(tx []*asking) (done int, err error) {
	first, c := tx[0], s.client
	if !s.pipelining {
		s.queue(first, first.mail.Append(s.line[:0], nil))
	}
	answer, err := s.read(first)
	if err != nil {
		return 0, err
	}
	accepted := answer.Code == 250
	if !accepted && !answer.Transient() && !answer.Permanent() {
		return 0, unexpected(answer, "MAIL")
	}
	for i, a := range tx {
		a.out.Reply = answer
		if !accepted && s.pipelining {
			// RFC 2920 section 3.1: the RCPT behind a refused MAIL is answered too, whatever that
			// says. If it is not, the reply to MAIL still stands.
			if r, err := c.ReadReply(context.Background()); err == nil {
				a.step("S: " + r.String())
			}
		}
		if accepted {
			a.mailed.Store(true)
			a.out.Stage = reply.StageRcpt
			if !s.pipelining {
				s.queue(a, a.rcpt.Append(s.line[:0], nil))
			}
			if a.out.Reply, err = s.read(a); err != nil {
				return i, err
			}
			if code := a.out.Reply.Code; code != 250 && code != 251 && code != 252 &&
				!a.out.Reply.Transient() && !a.out.Reply.Permanent() {
				return i, unexpected(a.out.Reply, "RCPT")
			}
		}
		s.conclude(a)
	}
	s.mailed = s.mailed || accepted
	return len(tx), c.Err()
}

// conclude takes the reply that a has got as its answer, unless it may be about the session.
func (s *session) conclude(a *asking) {
	answer := a.out.Reply
	s.hang(answer)
	if !answer.Positive() {
		s.refused.Add(1)
	}
	if s.sessionLimit(a.out) && a.tries < maxTries {
		if a.out.Stage == reply.StageRcpt {
			s.pool.capacity.put(s.addr, s.answered, time.Now())
		}
		a.step(fmt.Sprintf("%s [%v]: that may be about the session, once more in a new one", a.name, s.addr))
		s.pool.requeue(s, []*question{a.question})
		return
	}
	s.answered++
	s.proved()
	s.pool.deliver(a.question, a.out, true)
}

// sessionLimit recognises refusals that may be about what came earlier in the session: any of MAIL,
// and of RCPT "too many recipients" (RFC 3463 X.5.3), which Outlook.com gives to a second one, and
// 421.
func (s *session) sessionLimit(out Outcome) bool {
	switch {
	case s.answered == 0 || out.Reply.Positive():
		return false
	case out.Stage == reply.StageMail:
		return s.mailed
	}
	return out.Reply.Code == 421 || out.Reply.Enhanced() == esmtp.EnhancedCode{4, 5, 3}
}

// broke ends a conversation in which list has no outcome yet; err came instead of that of the first.
func (s *session) broke(list []*asking, err error) {
	p := s.pool
	var again []*question
	for i, a := range list {
		a.step("broken: " + escape(err))
		// The server had enough of the session, or of waiting, or of one of those in it. A host
		// that never says anything is not asked once more by each of them.
		retry := s.answered > 0 && (i > 0 || !isTimeout(err)) && p.base.Err() == nil
		if retry && a.tries < maxTries {
			a.step(fmt.Sprintf("%s [%v]: the session is of no use, once more in a new one", a.name, s.addr))
			again = append(again, a.question)
			continue
		}
		if retry && s.said421.Code != 0 {
			a.out.Stage, a.out.Reply = reply.StageRcpt, s.said421 // what it says to all of us
			p.deliver(a.question, a.out, true)
			continue
		}
		if a.out.Stage = reply.StageMail; a.mailed.Load() {
			a.out.Stage = reply.StageRcpt
		}
		a.out.Reply = esmtp.Reply{}
		a.out.Err = s.fault(a.name, command(a.out.Stage), err)
		if _, proven := p.proven.get(s.addr, time.Now()); i == 0 && isTimeout(err) && !proven {
			p.slow.put(s.addr, kept(a.out), time.Now())
		}
		p.deliver(a.question, a.out, false)
	}
	if len(again) > 0 {
		p.requeue(s, again)
	}
}

// queue records and queues one command, which was appended to s.line[:0].
func (s *session) queue(a *asking, line []byte) {
	s.client.Queue(line)
	s.line = line
	text := line[:max(len(line)-len("\r\n"), 0)]
	if len(text) == len("RSET") && string(text) == "RSET" {
		a.step("C: RSET")
		return
	}
	s.shown = append(s.shown[:0], "C: "...)
	if slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		s.shown = esmtp.AppendEscaped(s.shown, string(text), true)
	} else {
		s.shown = append(s.shown, text...)
	}
	a.step(string(s.shown))
}

// read reads and records one reply.
func (s *session) read(a *asking) (esmtp.Reply, error) {
	answer, err := s.client.ReadReply(context.Background())
	if err == nil {
		a.step(s.show(answer))
	}
	return answer, err
}

// heardReply is a reply and what Outcome.Steps say of it.
type heardReply struct {
	line *string
	code int
	text string
}

// show writes a reply for people. The client hands out what it has heard before as the same lines
// again: that is not written anew.
func (s *session) show(answer esmtp.Reply) string {
	if len(answer.Lines) != 1 {
		return "S: " + answer.String()
	}
	line := &answer.Lines[0]
	for _, h := range s.said {
		if h.line == line && h.code == answer.Code {
			return h.text
		}
	}
	text := "S: " + answer.String()
	copy(s.said[1:], s.said[:])
	s.said[0] = heardReply{line, answer.Code, text}
	return text
}

// step records what happened, for people. Whatever came from the network must be escaped already.
func (q *question) step(text string) {
	if q.steps == nil {
		q.steps = make([]string, 0, 8)
	}
	if len(q.steps) < maxSteps {
		q.steps = append(q.steps, text)
	}
}

// atRcpt reports whether a reply to RCPT ended it.
func (o Outcome) atRcpt() bool { return o.Stage == reply.StageRcpt && !o.Reply.IsZero() }

// command names the command of a stage, for people.
func command(stage reply.Stage) string {
	if stage == reply.StageRcpt {
		return "RCPT"
	}
	return "MAIL"
}
