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

// open connects to addr and takes the conversation to where MAIL can be sent. If it does not get
// there, s is nil, out says why, and final whether the walk ends with that. release is the slot of
// addr; the session owns it, or it is given back.
func (r *run) open(
	ctx context.Context, name string, addr netip.Addr, release func(),
) (s *session, out Outcome, final bool) {
	p := r.pool
	_, plain := p.plain.get(addr, time.Now())
	defer func() {
		// Not ours, so theirs. The next recipients have the same answer without asking.
		if s == nil && !out.LocalLimit && !over(ctx) {
			p.down.put(addr, kept(out), time.Now())
		}
	}()
	for {
		out = Outcome{Stage: reply.StageConnect, MX: name, Addr: addr}
		s = &session{pool: p, mx: name, addr: addr, helo: r.req.Helo, release: release}
		switch r.prepare(ctx, s, plain, &out) {
		case ready:
			p.down.forget(addr)
			return s, out, false
		case unwanted:
			p.leave(s)
			return nil, out, out.Self || out.LocalLimit
		case tlsBroken:
			if !over(ctx) { // else it may be our time that ended, and not their fault
				p.plain.put(addr, struct{}{}, time.Now())
				p.cfg.Log.Debug("the TLS of a mail host does not work, it is asked without",
					"mx", name, "addr", addr.String(), "error", out.Err.Error())
				r.step("%s [%v]: once more without TLS", name, addr)
				s.drop()
				plain = true
				continue
			}
		case broken:
		}
		s.abandon()
		return nil, out, out.LocalLimit
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
func (r *run) prepare(ctx context.Context, s *session, plain bool, out *Outcome) progress {
	if done := r.connect(ctx, s, out); done != ready {
		return done
	}
	s.client.Timeout = r.pool.cfg.CommandTimeout
	if done := r.hello(ctx, s, out); done != ready {
		return done
	}
	if _, offered := s.client.Extension("STARTTLS"); offered && !plain {
		out.Stage = reply.StageStartTLS
		r.step("C: STARTTLS")
		answer, err := s.client.StartTLS(ctx, r.pool.tlsConfig(s.mx))
		r.heard(answer, err)
		if err == nil && (answer.Code == 421 || answer.Code != 220 && answer.Code/100 < 4) {
			err = unexpected(answer, "STARTTLS")
		}
		if err != nil {
			out.Err = r.fault(s, "STARTTLS", err)
			return tlsBroken
		}
		if out.TLS = s.client.IsTLS(); out.TLS {
			if done := r.hello(ctx, s, out); done == broken {
				return tlsBroken
			} else if done != ready {
				return done
			}
		}
	}
	_, s.pipelining = s.client.Extension("PIPELINING")
	return ready
}

// connect dials and reads the banner. Until the banner is there the connection counts as opening,
// then as greeted.
func (r *run) connect(ctx context.Context, s *session, out *Outcome) progress {
	p := r.pool
	opened, err := p.opening.Acquire(ctx, "")
	if err != nil {
		out.LocalLimit = true
		out.Err = errors.New("probe: too many connections are being opened; see verify's limits")
		return broken
	}
	defer opened()
	to := netip.AddrPortFrom(s.addr, uint16(p.cfg.Port)).String() //nolint:gosec // a port number
	r.step("connect to %s (%s)", to, s.mx)
	conn, timedOut, err := p.dial(ctx, to)
	if err != nil {
		r.step("no connection: %v", err)
		out.Err = r.fault(s, "connect", err)
		out.ConnectTimeout = timedOut
		return broken
	}
	out.Connected = true
	s.client = esmtp.NewClient(conn)
	s.client.Timeout = p.cfg.GreetingTimeout
	banner, err := s.client.Greeting(ctx)
	r.heard(banner, err)
	if err != nil {
		out.Err = r.fault(s, "banner", err)
		return broken
	}
	if done := r.expect(s, banner, "banner", out, 220); done != ready {
		return done
	}
	if err = s.enter(ctx); err != nil {
		r.step("all sessions are busy")
		out.LocalLimit = true
		out.Err = fmt.Errorf("probe: all sessions stayed busy (at most %d): %w", p.cfg.Max, err)
		return unwanted
	}
	return ready
}

// dial makes one TCP connection. timedOut says that it used up ConnectTimeout, or the system's own
// patience, while ctx allowed more.
func (p *Pool) dial(ctx context.Context, to string) (conn net.Conn, timedOut bool, err error) {
	dctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	conn, err = p.cfg.Dial(dctx, "tcp", to)
	if err == nil {
		return conn, false, nil
	}
	var ne net.Error
	timedOut = dctx.Err() != nil || errors.As(err, &ne) && ne.Timeout()
	return nil, timedOut && !over(ctx), err
}

// hello says EHLO, or HELO to a host that knows no better.
func (r *run) hello(ctx context.Context, s *session, out *Outcome) progress {
	out.Stage = reply.StageHelo
	r.step("C: EHLO %s", s.helo)
	answer, err := s.client.Hello(ctx, s.helo)
	r.heard(answer, err)
	if err != nil {
		out.Err = r.fault(s, "EHLO", err)
		return broken
	}
	return r.expect(s, answer, "EHLO", out, 250)
}

// expect checks the reply to the banner or to EHLO: the code that lets us go on, and the name that
// the host gives itself. A refusal is put into out.
func (r *run) expect(s *session, answer esmtp.Reply, what string, out *Outcome, code int) progress {
	switch {
	case r.pool.isSelf(answer):
		r.step("%s [%v]: this is ourselves", s.mx, s.addr)
		out.Self = true
		out.Reply = answer
		return unwanted
	case answer.Code == code:
		return ready
	case answer.Transient() || answer.Permanent():
		out.Reply = answer
	default:
		out.Err = r.fault(s, what, unexpected(answer, what))
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
func (r *run) heard(answer esmtp.Reply, err error) {
	if !answer.IsZero() {
		r.step("S: %s", answer)
	}
	if err != nil {
		r.step("broken: %s", escape(err))
	}
}

// fault says for people what broke. Everything from the network in it is escaped.
func (r *run) fault(s *session, what string, err error) error {
	return &HostError{What: what, MX: s.mx, Addr: s.addr, Err: err}
}
