package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The commands that never change.
var (
	dataLine = []byte("DATA\r\n")
	endLine  = []byte(".\r\n")
)

// Tx is one transaction at the relay. It belongs to one client session. Every method but
// Abort waits at most Config.Timeout.
type Tx struct {
	p   *Pool
	src source // of the session
	x   esmtp.XForward
	m   esmtp.Mail

	s       *session
	reused  bool        // s had other transactions before
	refusal esmtp.Reply // of MAIL: then of every recipient
	err     *Error      // the transaction is lost
	data    bool        // DATA was answered 354
	ended   bool        // the end of the message was sent

	gathered int // octets of the message that wait to be sent
}

// Begin prepares a transaction with the original client's data and the client's MAIL
// command. Nothing is sent before the first recipient.
func (p *Pool) Begin(x esmtp.XForward, m esmtp.Mail) *Tx {
	return &Tx{p: p, src: p, x: x, m: m}
}

// Upstream is the server that has the transaction, "" before the first recipient.
func (t *Tx) Upstream() string {
	if t.s == nil {
		return ""
	}
	return t.s.up.Address
}

// Rcpt passes recipients on, with XFORWARD and MAIL in front of the first, all in one
// write where the relay offers PIPELINING. It returns the relay's reply to each. A MAIL
// that the relay refuses is the reply to every recipient.
func (t *Tx) Rcpt(ctx context.Context, rcpts []*esmtp.Rcpt) ([]esmtp.Reply, *Error) {
	deadline := time.Now().Add(t.p.cfg.Timeout)
	switch {
	case t.err != nil:
		return nil, t.err
	case !t.refusal.IsZero():
		return repeat(t.refusal, len(rcpts)), nil
	case t.s != nil:
		t.s.cl.SetDeadline(deadline)
		replies, err := t.send(ctx, rcpts, false)
		return replies, t.broken(err)
	}
	s, reused, err := t.src.get(ctx, deadline)
	var tried []*upstream
	for {
		if err != nil {
			return nil, t.broken(err)
		}
		t.s, t.reused = s, reused
		s.cl.SetDeadline(deadline)
		if t.refusal = t.needs(); !t.refusal.IsZero() {
			t.src.put(s)
			t.s = nil
			return repeat(t.refusal, len(rcpts)), nil
		}
		replies, sendErr := t.send(ctx, rcpts, true)
		if !errors.Is(sendErr, errNoAnswer) || !reused && len(t.p.upstreams) == len(tried)+1 ||
			!time.Now().Before(deadline) {
			return replies, t.broken(sendErr)
		}
		// Nothing was answered and no octet of a message was sent, so nothing is lost: once more
		// on a new session. An idle one may have been closed by the relay meanwhile; a new one
		// that gives no answer is left for the next upstream.
		s.close()
		if reused {
			t.src.forget(s.up)
		} else {
			tried = append(tried, s.up)
			t.p.log.Warn("relay gave no answer, the next one is tried", "upstream", s.up.Address,
				"error", sendErr.Error())
			t.p.broke(s.up, sendErr)
		}
		t.s, reused = nil, false
		s, err = t.src.dial(ctx, deadline, tried)
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

// send sends recipients, the first of them behind XFORWARD and MAIL, and reads the replies:
// all at once, or one by one where the relay does not offer PIPELINING.
func (t *Tx) send(ctx context.Context, rcpts []*esmtp.Rcpt, open bool) ([]esmtp.Reply, error) {
	if open && t.reused && time.Since(t.s.since) >= lookAgain {
		if err := t.s.cl.InStep(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
	if !t.s.pipeline {
		return t.lockstep(ctx, rcpts, open)
	}
	cl, heads := t.s.cl, 0
	line := t.s.buf[:0]
	if open {
		line, heads = t.head(line)
	}
	keep := t.keep
	for i := range rcpts {
		line = rcpts[i].Append(line, keep)
	}
	cl.QueueN(line, heads+len(rcpts))
	if t.s.buf = line; cap(line) > keepBuf {
		t.s.buf = nil
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	for i := range heads {
		if refused, err := t.headReply(ctx, i, heads); err != nil {
			return nil, err
		} else if refused {
			return t.mailRefused(ctx, len(rcpts))
		}
	}
	replies := make([]esmtp.Reply, 0, len(rcpts))
	for range rcpts {
		r, err := t.reply(ctx, heads+len(replies), "RCPT")
		if err != nil {
			return nil, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// lookAgain is how long a session must have been idle to be looked at before it is used again. One
// that was just given back shows what it has behind its last reply with the first command.
const lookAgain = 100 * time.Millisecond

// keepBuf is the largest buffer for commands that a session keeps.
const keepBuf = 4 << 10

// head appends XFORWARD and MAIL, and says how many commands that is.
func (t *Tx) head(dst []byte) ([]byte, int) {
	begin := len(dst)
	if len(t.s.xforward) > 0 {
		dst = t.x.Append(dst, t.s.xforward)
	}
	dst = t.m.Append(dst, t.keep)
	return dst, bytes.Count(dst[begin:], []byte("\n"))
}

// headReply reads the answer to command i of n in front of the recipients: MAIL is the last.
func (t *Tx) headReply(ctx context.Context, i, n int) (refused bool, err error) {
	verb := "XFORWARD"
	if i == n-1 {
		verb = "MAIL"
	}
	r, err := t.reply(ctx, i, verb)
	switch {
	case err != nil || r.Positive():
		return false, err
	case verb == "MAIL" && r.Code == 530 && t.src == source(t.p) && len(t.p.Auth()) == 0:
		// It is about us: the client cannot do what it asks for, and must not lose its mail.
		return false, failure(esmtp.EnhancedCode{4, 7, 0},
			"The mail relay does not take mail from here now, try again later", fmt.Errorf(
				"relay %s: its answer to MAIL is %s; name a login for it in relay.password_file, "+
					"or ask for TLS in relay.tls", t.s.up.Address, r))
	case verb == "MAIL":
		t.refusal = r
		return true, nil
	}
	t.p.warnOnce("it refuses XFORWARD, though it offers it", "upstream", t.s.up.Address,
		"reply", r.String(), "hint", t.xforwardHint(r))
	return false, nil
}

// xforwardHint is what to do about a refusal of XFORWARD. Postfix says 550 to whom it does not trust,
// and 501 to an attribute that it does not like.
func (t *Tx) xforwardHint(r esmtp.Reply) string {
	switch {
	case r.Code != 501:
		return "see smtpd_authorized_xforward_hosts there"
	case strings.Contains(t.x.Addr, ":"):
		return "if it is Postfix with inet_protocols = ipv4, it knows no IPv6 addresses of clients: " +
			"write inet_protocols = all there, and listen at the addresses that you want by inet_interfaces"
	}
	return "it does not like an attribute of the client; its own log may say which"
}

// reply reads the answer to command i since the last message.
func (t *Tx) reply(ctx context.Context, i int, verb string) (esmtp.Reply, error) {
	r, err := t.s.cl.ReadReply(ctx)
	switch {
	case err != nil:
		return r, brokeAt(i, verb, err)
	case i == 0 && r.Code == 421 && (t.reused || len(t.p.upstreams) > 1):
		return r, fmt.Errorf("%w but %s", errNoAnswer, r)
	case !expected(r):
		return r, fmt.Errorf("the answer to %s is %s", verb, r)
	}
	return r, nil
}

// lockstep is send with a wait behind each command.
func (t *Tx) lockstep(ctx context.Context, rcpts []*esmtp.Rcpt, open bool) ([]esmtp.Reply, error) {
	n := 0
	if open {
		var head []byte
		head, n = t.head(nil)
		for i := range n {
			line, rest, _ := bytes.Cut(head, []byte("\n"))
			t.s.cl.Queue(append(slices.Clip(line), '\n'))
			head = rest
			if refused, err := t.headReply(ctx, i, n); err != nil {
				return nil, err
			} else if refused {
				return t.mailRefused(ctx, len(rcpts))
			}
		}
	}
	replies := make([]esmtp.Reply, 0, len(rcpts))
	for i, rcpt := range rcpts {
		t.s.cl.Queue(rcpt.Append(nil, t.keep))
		r, err := t.reply(ctx, n+i, "RCPT")
		if err != nil {
			return nil, err
		}
		replies = append(replies, r)
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

// mailRefused gives the refusal of MAIL to n recipients. The replies to those sent behind it
// say nothing more; they are read, so that the session stays in step.
func (t *Tx) mailRefused(ctx context.Context, n int) ([]esmtp.Reply, error) {
	s := t.s
	t.s = nil
	for s.cl.Outstanding() > 0 {
		if _, err := s.cl.ReadReply(ctx); err != nil {
			s.close()
			return repeat(t.refusal, n), nil //nolint:nilerr // the client's answer is known
		}
	}
	if t.refusal.Code == 421 {
		s.close()
	} else {
		t.src.giveBack(s)
	}
	return repeat(t.refusal, n), nil
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
	t.s.cl.SetDeadline(time.Now().Add(t.p.cfg.Timeout))
	t.s.cl.QueueN(dataLine, 1)
	r, err := t.s.cl.ReadReply(ctx)
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
const smallWrite = 4 << 10

// Write passes on a piece of the message, still dot-stuffed. After an error the relay
// transaction is gone.
func (t *Tx) Write(ctx context.Context, p []byte) error {
	if t.err != nil {
		return t.err
	}
	cl := t.s.cl
	if t.gathered+len(p) <= smallWrite {
		t.gathered += len(p)
		cl.QueueN(p, 0)
		return nil
	}
	t.gathered = 0
	cl.SetDeadline(time.Now().Add(t.p.cfg.Timeout))
	if err := cl.Write(ctx, p); err != nil {
		return t.broken(fmt.Errorf("sending the message: %w", err))
	}
	return nil
}

// WriteLast is Write for the last piece. It sends the end of the message with it, all in one
// write; [Tx.Finish] has the answer.
func (t *Tx) WriteLast(ctx context.Context, p []byte) error {
	if t.err != nil {
		return t.err
	}
	return t.end(ctx, p)
}

// end sends the last piece of the message and its end. A reply that waits now is none to this
// message, whatever it says, and would be taken for one.
func (t *Tx) end(ctx context.Context, p []byte) error {
	cl := t.s.cl
	cl.SetDeadline(time.Now().Add(t.p.cfg.DataDoneTimeout))
	if err := cl.InStep(ctx); err != nil {
		return t.broken(fmt.Errorf("before the end of the message: %w", err))
	}
	if err := cl.WriteEnd(ctx, p, endLine); err != nil { // so the relay did not get all of it
		return t.broken(fmt.Errorf("sending the end of the message: %w", err))
	}
	t.ended = true
	return nil
}

// Finish sends the end of the message and returns the relay's answer, which is the
// client's. The message ends with CR LF or is empty. Without a complete answer the outcome
// is unknown: the relay may have the message, so it is not sent again from here.
func (t *Tx) Finish(ctx context.Context) (esmtp.Reply, *Error) {
	if t.err != nil {
		return esmtp.Reply{}, t.err
	}
	if !t.ended {
		if err := t.end(ctx, nil); err != nil {
			return esmtp.Reply{}, t.err
		}
	}
	t.s.cl.SetDeadline(time.Now().Add(t.p.cfg.DataDoneTimeout))
	r, err := t.s.cl.ReadReply(ctx)
	if err == nil && r.Code != 250 && !r.Transient() && !r.Permanent() {
		err = fmt.Errorf("the answer to the message is %s", r)
	}
	s := t.s
	t.s = nil
	if err != nil {
		s.close()
		t.p.broke(s.up, err)
		t.err = failure(esmtp.EnhancedCode{4, 4, 2},
			"Outcome unknown: the mail relay did not confirm the message",
			fmt.Errorf("after the end of the message: %w", err))
		t.err.Unknown = true
		return esmtp.Reply{}, t.err
	}
	if r.Code == 421 {
		s.close()
	} else {
		t.src.put(s)
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
		s.close()
		return
	}
	t.src.giveBack(s)
}

// broken closes the session and remembers why; nil for nil.
func (t *Tx) broken(err error) *Error {
	if err == nil {
		return nil
	}
	var known bool
	if t.err, known = errors.AsType[*Error](err); !known {
		t.err = failure(esmtp.EnhancedCode{4, 4, 2},
			"The connection to the mail relay broke, try again later", err)
	}
	if s := t.s; s != nil {
		t.s = nil
		s.close()
		t.p.broke(s.up, err)
	}
	return t.err
}
