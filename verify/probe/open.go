package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// progress is how far a session has come.
type progress int

const (
	ready     progress = iota // go on
	unwanted                  // the host does not want us, or we do not want it: QUIT
	broken                    // the conversation is over: close
	tlsBroken                 // it is over because of TLS: once more without
)

// open connects s and takes the conversation to where MAIL can be sent. If it does not get there,
// those who wait for it know why, and s is to be ended.
func (s *session) open() bool {
	p := s.pool
	_, plain := p.plain.get(s.addr, time.Now())
	for {
		out := Outcome{Stage: reply.StageConnect, MX: s.mx, Addr: s.addr}
		how := s.prepare(s.ctx, plain, &out)
		out.Banner, out.Source = s.banner, s.source
		if how == ready {
			p.down.forget(s.addr)
			return true
		}
		if how == tlsBroken && !over(s.ctx) { // else it may be our time that ended, and not their fault
			p.plain.put(s.addr, struct{}{}, time.Now())
			p.cfg.Log.Debug("the TLS of a mail host does not work, it is asked without",
				"mx", s.mx, "addr", s.addr.String(), "error", out.Err.Error())
			s.step("%s [%v]: once more without TLS", s.mx, s.addr)
			s.drop()
			plain = true
			continue
		}
		final := out.LocalLimit || how == unwanted && (out.Self || out.Declined)
		p.refuse(s, out, final)
		return false
	}
}

// kept is what is remembered of an outcome: a reply may be 64 KiB, which is too much of thousands
// of hosts. The last line stays, it is the one that some providers decide in.
func kept(out Outcome) Outcome {
	lines := out.Reply.Lines
	if len(lines) > maxKeptLines {
		lines = append(lines[:maxKeptLines-1:maxKeptLines-1], lines[len(lines)-1])
	}
	out.Reply.Lines = nil
	for _, line := range lines {
		out.Reply.Lines = append(out.Reply.Lines, strings.Clone(line[:min(len(line), maxKeptLine)]))
	}
	return out
}

// prepare dials, reads the banner, says EHLO, and starts TLS if that is offered and plain is false
// (RFC 3207). A host that offers STARTTLS and then declines it is spoken to without.
func (s *session) prepare(ctx context.Context, plain bool, out *Outcome) progress {
	if done := s.connect(ctx, out); done != ready {
		return done
	}
	s.client.Timeout = s.pool.cfg.CommandTimeout
	if done := s.hello(ctx, out); done != ready {
		return done
	}
	if done := s.introduce(out); done != ready {
		return done
	}
	if _, offered := s.client.Extension("STARTTLS"); offered && !plain {
		out.Stage = reply.StageStartTLS
		s.step("C: STARTTLS")
		answer, err := s.client.StartTLS(ctx, s.pool.tlsConfig(s.mx))
		s.heard(answer, err)
		if err == nil && (answer.Code == 421 || answer.Code != 220 && answer.Code/100 < 4) {
			err = unexpected(answer, "STARTTLS")
		}
		if err != nil {
			out.Err = s.fault(s.mx, "STARTTLS", err)
			return tlsBroken
		}
		if out.TLS = s.client.IsTLS(); out.TLS {
			if done := s.hello(ctx, out); done == broken {
				return tlsBroken
			} else if done != ready {
				return done
			}
		}
	}
	_, s.pipelining = s.client.Extension("PIPELINING")
	return ready
}

// introduce lets Request.Greeted know whom we reached.
func (s *session) introduce(out *Outcome) progress {
	if s.listen == nil {
		return ready
	}
	group, l, goOn := s.listen(s.banner)
	if !goOn {
		s.step("%s [%v]: not asked, by what its banner says of it", s.mx, s.addr)
		out.Declined = true
		out.Err = fmt.Errorf("probe: %s is not asked, by what its banner says of it", s.mx)
		return unwanted
	}
	if !s.pool.regroup(s, group, l) {
		s.step("%s [%v]: belongs to %s, which has all its connections", s.mx, s.addr, group)
		out.LocalLimit = true
		out.Err = fmt.Errorf("probe: all connections to %s are in use", group)
		return unwanted
	}
	return ready
}

// connect dials and reads the banner. Until the banner is there the connection counts as opening,
// then as greeted.
func (s *session) connect(ctx context.Context, out *Outcome) progress {
	p := s.pool
	opened, err := p.opening.Acquire(ctx, "")
	if err != nil {
		out.LocalLimit = true
		out.Err = errors.New("probe: too many connections are being opened; see verify's limits")
		return broken
	}
	defer opened()
	to := netip.AddrPortFrom(s.addr, uint16(p.cfg.Port)).String() //nolint:gosec // a port number
	s.step("connect to %s (%s)", to, s.mx)
	s.enterPhase(inDial)
	conn, timedOut, err := p.dial(ctx, s.peer.key.source, to)
	s.enterPhase(inTalk)
	if err != nil {
		s.step("no connection: %v", err)
		out.Err = s.fault(s.mx, "connect", err)
		out.ConnectTimeout = timedOut
		return broken
	}
	out.Connected = true
	s.conn, s.client = conn, esmtp.NewClient(conn)
	if tcp, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		s.source = tcp.AddrPort().Addr().Unmap()
	}
	s.client.Timeout = p.cfg.GreetingTimeout
	banner, err := s.client.Greeting(ctx)
	s.heard(banner, err)
	if err != nil {
		out.Err = s.fault(s.mx, "banner", err)
		return broken
	}
	s.banner = firstLine(banner)
	if done := s.expect(banner, "banner", out, 220); done != ready {
		return done
	}
	if err = s.enter(ctx); err != nil {
		s.step("all sessions are busy")
		out.LocalLimit = true
		out.Err = fmt.Errorf("probe: all sessions stayed busy (at most %d): %w", p.cfg.Max, err)
		return unwanted
	}
	return ready
}

func firstLine(r esmtp.Reply) string {
	if len(r.Lines) == 0 {
		return ""
	}
	return strings.Clone(r.Lines[0][:min(len(r.Lines[0]), maxBanner)])
}

// dial makes one TCP connection. timedOut says that it used up ConnectTimeout, or the system's own
// patience, while ctx allowed more.
func (p *Pool) dial(ctx context.Context, source netip.Addr, to string) (
	conn net.Conn, timedOut bool, err error,
) {
	dctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	conn, err = p.dialer(source)(dctx, "tcp", to)
	if err == nil {
		return conn, false, nil
	}
	var ne net.Error
	timedOut = dctx.Err() != nil || errors.As(err, &ne) && ne.Timeout()
	return nil, timedOut && !over(ctx), err
}

// hello says EHLO, or HELO to a host that knows no better.
func (s *session) hello(ctx context.Context, out *Outcome) progress {
	out.Stage = reply.StageHelo
	s.step("C: EHLO %s", s.helo)
	answer, err := s.client.Hello(ctx, s.helo)
	s.heard(answer, err)
	if err != nil {
		out.Err = s.fault(s.mx, "EHLO", err)
		return broken
	}
	if !s.client.IsTLS() {
		s.banner += "\n" + firstLine(answer)
	}
	return s.expect(answer, "EHLO", out, 250)
}

// expect checks the reply to the banner or to EHLO: the code that lets us go on, and the name that
// the host gives itself. A refusal is put into out.
func (s *session) expect(answer esmtp.Reply, what string, out *Outcome, code int) progress {
	switch {
	case s.pool.isSelf(answer):
		s.step("%s [%v]: this is ourselves", s.mx, s.addr)
		out.Self = true
		out.Reply = answer
		return unwanted
	case answer.Code == code:
		return ready
	case answer.Transient() || answer.Permanent():
		out.Reply = answer
	default:
		out.Err = s.fault(s.mx, what, unexpected(answer, what))
	}
	return unwanted
}

// isSelf reports whether the first word of a reply is a name of ours: RFC 5321 section 4.2 has the
// banner and the reply to EHLO begin with the host's own name.
func (p *Pool) isSelf(answer esmtp.Reply) bool {
	if len(answer.Lines) == 0 {
		return false
	}
	first := answer.Lines[0]
	if i := strings.IndexAny(first, " \t"); i >= 0 {
		first = first[:i]
	}
	first = strings.TrimSuffix(first, ".")
	for _, own := range p.cfg.OwnNames {
		if own != "" && strings.EqualFold(first, strings.TrimSuffix(own, ".")) {
			return true
		}
	}
	return false
}

// tlsConfig returns the settings for STARTTLS with host.
func (p *Pool) tlsConfig(host string) *tls.Config {
	if p.cfg.TLSConfig != nil {
		c := p.cfg.TLSConfig.Clone()
		c.ServerName = host
		return c
	}
	return &tls.Config{
		ServerName: host,
		// RFC 7435 section 3: opportunistic security takes what it gets. The alternative is the
		// same question in clear text.
		InsecureSkipVerify: true, //nolint:gosec // see above
	}
}

// heard records a reply, or why there is none.
func (s *session) heard(answer esmtp.Reply, err error) {
	if !answer.IsZero() {
		s.step("S: %s", answer)
	}
	if err != nil {
		s.step("broken: %s", escape(err))
	}
}
