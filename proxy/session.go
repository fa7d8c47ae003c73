package proxy

import (
	"context"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/proxy/wire"
	"github.com/rcptgate/rcptgate/verify"
)

// session is one client's session after EHLO. go-smtp calls the verbs one after the other
// and keeps their order; the replies are ours, set on the connection. Every verb returns
// nil to go-smtp, so that the state of the transaction is kept in one place, here.
type session struct {
	srv  *Server
	conn *wire.Conn
	id   string
	n    int // transactions so far
	tx   *transaction

	login *relay.Login // of the client's AUTH; its transactions go over its session
}

var _ smtp.Session = (*session)(nil)

var (
	okSender     = esmtp.NewReply(250, esmtp.EnhancedCode{2, 1, 0}, "Ok")
	mailFirst    = esmtp.NewReply(503, esmtp.EnhancedCode{5, 5, 1}, "MAIL first")
	noRecipients = esmtp.NewReply(554, esmtp.EnhancedCode{5, 5, 1}, "No valid recipients")
	allDeferred  = esmtp.NewReply(451, esmtp.EnhancedCode{4, 5, 1}, "No recipient could be accepted now, try again later")
	tooMany      = esmtp.NewReply(452, esmtp.EnhancedCode{4, 5, 3}, "Too many recipients, send the rest in another message")
	harvesting   = esmtp.NewReply(452, esmtp.EnhancedCode{4, 5, 3}, "Too many refused recipients in this session, try again later")
	stopping421  = esmtp.NewReply(421, esmtp.EnhancedCode{4, 3, 2}, "Service shutting down, try again later")
	stopping451  = esmtp.NewReply(451, esmtp.EnhancedCode{4, 3, 2}, "Service shutting down, try again later")
	noUTF8       = esmtp.NewReply(550, esmtp.EnhancedCode{5, 6, 7},
		"The mail relay does not offer SMTPUTF8, which this message asks for")
)

// Mail opens a transaction. Nothing is sent to the relay yet.
func (s *session) Mail(string, *smtp.MailOptions) error {
	m := s.conn.Mail()
	st := s.srv.state.Load()
	switch limit := st.cfg.MaxMessageSize; {
	case s.conn.Draining() && s.conn.Trusted():
		s.conn.SetReply(stopping451)
	case s.conn.Draining():
		s.conn.SetReply(stopping421)
	case limit > 0 && m.HasSize && m.Size > uint64(limit):
		s.conn.SetReply(esmtp.NewReply(552, esmtp.EnhancedCode{5, 3, 4},
			"Message size exceeds the limit of "+strconv.FormatInt(limit, 10)+" octets"))
	case m.UTF8 && !st.relay.Offers("SMTPUTF8"):
		s.conn.SetReply(noUTF8)
	default:
		s.n++
		s.tx = s.begin(st, m)
		s.conn.SetReply(okSender)
	}
	return nil
}

// begin makes the transaction for a MAIL command, with the client's identity at this time:
// the original client's where a trusted mail server told it.
func (s *session) begin(st *state, m *esmtp.Mail) *transaction {
	addr, port := s.conn.Client()
	helo, extended := s.conn.Helo()
	proto := "SMTP"
	if extended {
		proto = "ESMTP"
	}
	client := policy.Client{
		Addr: addr, Port: port, Helo: helo, Proto: proto,
		Login: s.conn.User(), Trusted: s.conn.Trusted(),
	}
	x := s.conn.XForward()
	if x == (esmtp.XForward{}) {
		x = esmtp.XForward{
			Name: "[UNAVAILABLE]", Addr: xforwardAddr(addr), Proto: proto, Helo: helo,
			Source: "REMOTE",
		}
		if port > 0 {
			x.Port = strconv.Itoa(int(port))
		}
		s.warnOwnName(st, helo)
	} else {
		client = forwarded(client, x)
	}
	id := s.id + "-" + strconv.Itoa(s.n)
	t := &transaction{
		s: s, st: st, id: id, started: time.Now(), mail: m,
		up: s.upstream(st, x, m),
		decide: policy.Transaction{
			Session: s.id, ID: id, Client: client, Mail: *m,
			Budget: verify.NewBudget(st.cfg.TransactionBudget, maxBehind),
		},
	}
	return t
}

// upstream begins the transaction at the relay: on the session of the client's own login, or on
// one of the pool.
func (s *session) upstream(st *state, x esmtp.XForward, m *esmtp.Mail) *relay.Tx {
	if s.login != nil && s.conn.User() != "" { // STARTTLS makes the client's AUTH void
		return s.login.Begin(x, *m)
	}
	return st.relay.Begin(x, *m)
}

// authenticate tries the client's AUTH at the relay, whose answer is the client's.
func (s *session) authenticate(l wire.Login) esmtp.Reply {
	login, r, err := s.srv.state.Load().relay.Login(context.Background(), l.Mechanism, l.User, l.Password)
	switch {
	case err != nil:
		s.srv.log.Warn("login", "session", s.id, "login", clean(l.User), "reply", err.Reply.String(), "error", err.Error())
		return err.Reply
	case login == nil:
		s.srv.log.Warn("login", "session", s.id, "login", clean(l.User), "reply", r.String())
		return r
	}
	s.srv.log.Info("login", "session", s.id, "login", clean(l.User), "reply", r.String())
	s.login = login
	return r
}

// warnOwnName tells once of a client that greets with our own name. Its recipients are not
// probed, because it might be ourselves.
func (s *session) warnOwnName(st *state, helo string) {
	if strings.EqualFold(helo, st.cfg.Hostname) {
		s.srv.ownName.Do(func() {
			s.srv.log.Warn("a client greets with our own name: its recipients are not probed",
				"helo", helo, "hint", "give proxy.hostname a name that no other server here uses")
		})
	}
}

// forwarded is the original client that XFORWARD names.
func forwarded(c policy.Client, x esmtp.XForward) policy.Client {
	if a, err := netip.ParseAddr(trimIPv6(x.Addr)); err == nil {
		c.Addr, c.Port = a.Unmap(), 0
	}
	if p, err := strconv.ParseUint(x.Port, 10, 16); err == nil {
		c.Port = uint16(p)
	}
	c.Name, c.Helo = known(x.Name), known(x.Helo)
	if p := known(x.Proto); p != "" {
		c.Proto = p
	}
	return c
}

func known(v string) string {
	if v == "[UNAVAILABLE]" || v == "[TEMPUNAVAIL]" {
		return ""
	}
	return v
}

// xforwardAddr is an address in XFORWARD's form (Postfix XFORWARD_README).
func xforwardAddr(a netip.Addr) string {
	if a.Is6() {
		return "IPV6:" + a.String()
	}
	return a.String()
}

func trimIPv6(a string) string {
	if len(a) > 5 && strings.EqualFold(a[:5], "IPV6:") {
		return a[5:]
	}
	return a
}

// Rcpt is the first RCPT of a transaction. The others come from the connection straight to
// recipient.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	s.conn.SetReply(s.recipient(s.conn.Rcpt()))
	return nil
}

// recipient decides one recipient and passes it on. Those that the client pipelined behind it
// are decided side by side, and passed on with it in one write.
func (s *session) recipient(cmd *esmtp.Rcpt) esmtp.Reply {
	if s.tx == nil {
		return mailFirst
	}
	r := s.tx.answer(cmd)
	if r.Permanent() && s.conn.HarvestLimit() {
		r = harvesting
	}
	return r
}

// Data passes the message from the client to the relay, and the relay's answer back.
func (s *session) Data(io.Reader) error {
	t := s.tx
	switch {
	case t == nil:
		s.conn.SetReply(mailFirst)
		return nil
	case t.accepted == 0 && t.refused == 0:
		s.conn.SetReply(allDeferred)
		return nil
	case t.accepted == 0:
		s.conn.SetReply(noRecipients)
		return nil
	}
	s.conn.SetReply(t.message())
	return nil
}

// Reset ends the transaction. go-smtp holds a lock: nothing here waits.
func (s *session) Reset() {
	if s.tx != nil {
		s.tx.end()
		s.tx = nil
	}
}

// Logout ends the session, as Reset.
func (s *session) Logout() error {
	s.Reset()
	if s.login != nil {
		s.login.Close()
	}
	return nil
}
