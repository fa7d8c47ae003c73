package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Tx is one transaction at the relay. It belongs to one client session. Every method but
// Abort waits at most Config.Timeout.
type Tx struct {
	p *Pool
	x esmtp.XForward
	m esmtp.Mail

	s       *session
	reused  bool        // s had other transactions before
	refusal esmtp.Reply // of MAIL: then of every recipient
	err     *Error      // the transaction is lost
	data    bool        // DATA was answered 354

	gathered int // octets of the message that wait to be sent
}

// Begin prepares a transaction with the original client's data and the client's MAIL
// command. Nothing is sent before the first recipient.
func (p *Pool) Begin(x esmtp.XForward, m esmtp.Mail) *Tx {
	return &Tx{p: p, x: x, m: m}
}

// Upstream is the server that has the transaction, "" before the first recipient.
func (t *Tx) Upstream() string {
	if t.s == nil {
		return ""
	}
	return t.s.upstream
}

// Rcpt passes recipients on, with XFORWARD and MAIL in front of the first, all in one
// write where the relay offers PIPELINING. It returns the relay's reply to each. A MAIL
// that the relay refuses is the reply to every recipient.
func (t *Tx) Rcpt(ctx context.Context, rcpts []esmtp.Rcpt) ([]esmtp.Reply, *Error) {
	ctx, cancel := context.WithTimeout(ctx, t.p.cfg.Timeout)
	defer cancel()
	switch {
	case t.err != nil:
		return nil, t.err
	case !t.refusal.IsZero():
		return repeat(t.refusal, len(rcpts)), nil
	case t.s != nil:
		replies, err := t.send(ctx, nil, rcpts)
		return replies, t.broken(err)
	}
	s, reused, err := t.p.get(ctx)
	for {
		t.reused = reused
		if err != nil {
			return nil, t.broken(err)
		}
		t.s = s
		if t.refusal = t.needs(); !t.refusal.IsZero() {
			t.p.put(s) //nolint:contextcheck // the clean-up is nobody's request
			t.s = nil
			return repeat(t.refusal, len(rcpts)), nil
		}
		replies, sendErr := t.open(ctx, rcpts)
		if sendErr == nil || !reused || !errors.Is(sendErr, errNoAnswer) {
			return replies, t.broken(sendErr)
		}
		// The relay closed this session while it was idle. Nothing was answered and no
		// octet of a message was sent: once more on a new one.
		_ = s.cl.Close()
		reused = false
		s, err = t.p.dial(ctx)
	}
}

// needs refuses what this relay could only lose.
func (t *Tx) needs() esmtp.Reply {
	if t.m.UTF8 && !t.offers("SMTPUTF8") {
		return esmtp.NewReply(550, esmtp.EnhancedCode{5, 6, 7},
			"The mail relay does not offer SMTPUTF8, which this message asks for")
	}
	if t.m.RequireTLS && !t.offers("REQUIRETLS") {
		return esmtp.NewReply(550, esmtp.EnhancedCode{5, 7, 30},
			"The mail relay does not offer REQUIRETLS, which this message asks for")
	}
	return esmtp.Reply{}
}

func (t *Tx) offers(keyword string) bool {
	_, ok := t.s.cl.Extension(keyword)
	return ok
}

// keep says which parameters of MAIL and RCPT this relay understands.
func (t *Tx) keep(keyword string) bool {
	switch strings.ToUpper(keyword) {
	case "SIZE":
		return t.offers("SIZE")
	case "BODY":
		return t.offers("8BITMIME")
	case "RET", "ENVID", "NOTIFY", "ORCPT":
		return t.offers("DSN")
	case "AUTH":
		return t.offers("AUTH")
	}
	return true
}

// errNoAnswer marks a session that broke before the first reply.
var errNoAnswer = errors.New("no answer")

// open sends XFORWARD, MAIL and the first recipients.
func (t *Tx) open(ctx context.Context, rcpts []esmtp.Rcpt) ([]esmtp.Reply, error) {
	var head []command
	if attrs, ok := t.s.cl.Extension("XFORWARD"); ok {
		for line := range strings.SplitAfterSeq(string(t.x.Append(nil, strings.Fields(attrs))), "\n") {
			if line != "" {
				head = append(head, command{"XFORWARD", []byte(line)})
			}
		}
	}
	head = append(head, command{"MAIL", t.m.Append(nil, t.keep)})
	return t.send(ctx, head, rcpts)
}

type command struct {
	verb string
	line []byte
}

// send sends commands and reads their replies: all at once, or one by one where the relay
// does not offer PIPELINING.
func (t *Tx) send(ctx context.Context, head []command, rcpts []esmtp.Rcpt) ([]esmtp.Reply, error) {
	cl := t.s.cl
	all := head
	for _, r := range rcpts {
		all = append(all, command{"RCPT", r.Append(nil, t.keep)})
	}
	pipelining := t.offers("PIPELINING")
	if pipelining {
		for _, c := range all {
			cl.Queue(c.line)
		}
		if err := cl.Flush(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
	replies := make([]esmtp.Reply, 0, len(rcpts))
	for i, c := range all {
		if !pipelining {
			cl.Queue(c.line)
			if err := cl.Flush(ctx); err != nil {
				return nil, brokeAt(i, c.verb, err)
			}
		}
		r, err := cl.ReadReply(ctx)
		if err != nil {
			return nil, brokeAt(i, c.verb, err)
		}
		if i == 0 && r.Code == 421 && t.reused {
			return nil, fmt.Errorf("%w but %s", errNoAnswer, r)
		}
		if !expected(r) {
			return nil, fmt.Errorf("the answer to %s is %s", c.verb, r)
		}
		switch {
		case c.verb == "RCPT":
			replies = append(replies, r)
		case c.verb == "XFORWARD" && !r.Positive():
			t.p.warnOnce(c.verb, t.s.upstream, r)
		case c.verb == "MAIL" && !r.Positive():
			return t.mailRefused(ctx, r, len(rcpts))
		}
	}
	return replies, nil
}

func brokeAt(i int, verb string, err error) error {
	if i == 0 {
		return fmt.Errorf("%w to %s: %w", errNoAnswer, verb, err)
	}
	return fmt.Errorf("waiting for the answer to %s: %w", verb, err)
}

// expected are the codes that an answer to XFORWARD, MAIL or RCPT may have.
func expected(r esmtp.Reply) bool {
	return r.Code >= 250 && r.Code <= 252 || r.Transient() || r.Permanent()
}

// mailRefused keeps the refusal of MAIL for all recipients. The replies to recipients sent
// behind it say nothing more; they are read, so that the session stays in step.
func (t *Tx) mailRefused(ctx context.Context, r esmtp.Reply, n int) ([]esmtp.Reply, error) {
	t.refusal = r
	s := t.s
	t.s = nil
	for s.cl.Outstanding() > 0 {
		if _, err := s.cl.ReadReply(ctx); err != nil {
			_ = s.cl.Close()
			return repeat(r, n), nil //nolint:nilerr // the client's answer is known
		}
	}
	if r.Code == 421 {
		_ = s.cl.Close()
	} else {
		t.p.giveBack(s) //nolint:contextcheck // the clean-up is nobody's request
	}
	return repeat(r, n), nil
}

func repeat(r esmtp.Reply, n int) []esmtp.Reply {
	all := make([]esmtp.Reply, n)
	for i := range all {
		all[i] = r
	}
	return all
}

// Data asks the relay for 354. Any other reply is the answer to the client's DATA.
func (t *Tx) Data(ctx context.Context) (esmtp.Reply, *Error) {
	if t.err != nil {
		return esmtp.Reply{}, t.err
	}
	ctx, cancel := context.WithTimeout(ctx, t.p.cfg.Timeout)
	defer cancel()
	t.s.cl.Queue([]byte("DATA\r\n"))
	err := t.s.cl.Flush(ctx)
	var r esmtp.Reply
	if err == nil {
		r, err = t.s.cl.ReadReply(ctx)
	}
	switch {
	case err != nil:
		return r, t.broken(fmt.Errorf("waiting for the answer to DATA: %w", err))
	case r.Code == 354:
		t.data = true
	case !r.Transient() && !r.Permanent():
		return r, t.broken(fmt.Errorf("the answer to DATA is %s", r))
	}
	return r, nil
}

// smallWrite is up to what size pieces of a message are gathered into one write.
const smallWrite = 16 << 10

// Write passes on a piece of the message, still dot-stuffed. After an error the relay
// transaction is gone.
func (t *Tx) Write(ctx context.Context, p []byte) error {
	if t.err != nil {
		return t.err
	}
	ctx, cancel := context.WithTimeout(ctx, t.p.cfg.Timeout)
	defer cancel()
	cl := t.s.cl
	if len(p) <= smallWrite {
		cl.QueueN(p, 0)
		if t.gathered += len(p); t.gathered <= smallWrite {
			return nil
		}
		p = nil
	}
	t.gathered = 0
	err := cl.Flush(ctx)
	if err == nil && len(p) > 0 {
		err = cl.Write(ctx, p)
	}
	if err != nil {
		return t.broken(fmt.Errorf("sending the message: %w", err))
	}
	return nil
}

// Finish sends the end of the message and returns the relay's answer, which is the
// client's. The message ends with CR LF or is empty. Without a complete answer the outcome
// is unknown: the relay may have the message, so it is not sent again from here.
func (t *Tx) Finish(ctx context.Context) (esmtp.Reply, *Error) {
	if t.err != nil {
		return esmtp.Reply{}, t.err
	}
	ctx, cancel := context.WithTimeout(ctx, t.p.cfg.Timeout)
	defer cancel()
	s := t.s
	t.s = nil
	s.cl.Queue([]byte(".\r\n"))
	err := s.cl.Flush(ctx)
	var r esmtp.Reply
	if err == nil {
		r, err = s.cl.ReadReply(ctx)
	}
	if err == nil && r.Code != 250 && !r.Transient() && !r.Permanent() {
		err = fmt.Errorf("the answer to the message is %s", r)
	}
	if err != nil {
		_ = s.cl.Close()
		t.err = failure(esmtp.EnhancedCode{4, 4, 2},
			"Outcome unknown: the mail relay did not confirm the message",
			fmt.Errorf("after the end of the message: %w", err))
		t.err.Unknown = true
		return esmtp.Reply{}, t.err
	}
	if r.Code == 421 {
		_ = s.cl.Close()
	} else {
		t.p.put(s) //nolint:contextcheck // the clean-up is nobody's request
	}
	return r, nil
}

// Abort ends a transaction without a message. Inside the message it closes the connection,
// so that the relay throws away what it has: it is never given an end of data. Otherwise
// the session is reset and kept. Abort does not wait.
func (t *Tx) Abort() {
	s := t.s
	t.s = nil
	if s == nil {
		return
	}
	if t.data || s.cl.Outstanding() > 0 || s.cl.Err() != nil {
		_ = s.cl.Close()
		return
	}
	t.p.giveBack(s)
}

// broken closes the session and remembers why; nil for nil.
func (t *Tx) broken(err error) *Error {
	if err == nil {
		return nil
	}
	if !errors.As(err, &t.err) {
		t.err = failure(esmtp.EnhancedCode{4, 4, 2},
			"The connection to the mail relay broke, try again later", err)
	}
	if t.s != nil {
		_ = t.s.cl.Close()
		t.s = nil
	}
	return t.err
}
