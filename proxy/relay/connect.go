package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// TLSMode is how the way to the relay is protected. The names are those of Postfix's
// smtp_tls_security_level.
type TLSMode int

// The modes.
const (
	None    TLSMode = iota // plaintext
	May                    // STARTTLS where it is offered and works; the certificate is not looked at
	Encrypt                // TLS or no mail; the certificate is not looked at
	Verify                 // TLS with a certificate that is valid for the relay's name, or no mail
)

// String is the mode as the configuration has it.
func (m TLSMode) String() string {
	switch m {
	case None:
		return "none"
	case May:
		return "may"
	case Encrypt:
		return "encrypt"
	case Verify:
		return "verify"
	default:
		return fmt.Sprintf("mode %d", int(m))
	}
}

// ParseTLSMode reads a mode of the configuration.
func ParseTLSMode(s string) (TLSMode, bool) {
	for m := None; m <= Verify; m++ {
		if m.String() == s {
			return m, true
		}
	}
	return None, false
}

const (
	trialTime = 30 * time.Second // the longest that a trial takes
	// connectTime is the longest wait for one upstream while there are others to go to.
	connectTime = 10 * time.Second
	// plainFor is how long STARTTLS that failed is left alone in mode May.
	plainFor = 5 * time.Minute
)

// mechanisms are those that we speak, the best first.
var mechanisms = [...]string{"PLAIN", "LOGIN"}

// identity is who logs in at the relay. Its String hides the password.
type identity struct {
	mechanism      string // "" = the best that is offered
	user, password string
}

// String names the user only.
func (id *identity) String() string { return id.user }

// GoString names the user only.
func (id *identity) GoString() string { return id.user }

// loginError is the relay's reply to AUTH, any but 235.
type loginError struct {
	user  string
	reply esmtp.Reply
}

// Error says whose login was refused, and how.
func (e *loginError) Error() string {
	user := esmtp.AppendEscaped(nil, e.user, true)
	return fmt.Sprintf("login of %s refused: %s", user, e.reply)
}

// isRefusedLogin reports that the relay does not want this password, now or later.
func isRefusedLogin(err error) bool {
	e, ok := errors.AsType[*loginError](err)
	return ok && e.reply.Permanent()
}

// unfitError is a connection that was all right, but not for a client's login.
type unfitError struct{ err error }

// Error is why.
func (e *unfitError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e *unfitError) Unwrap() error { return e.err }

// dialFrom opens a session to the first upstream of the list that lets us in, within the
// deadline, of which each gets an equal share. Whatever a client's login brings about says
// nothing against the upstream: clients would decide who is down.
func (p *Pool) dialFrom(
	ctx context.Context, deadline time.Time, list []*upstream, id *identity,
) (*session, error) {
	errs := make([]error, 0, len(list))
	for i, u := range list {
		if fault := p.barred(u); fault != nil && id == nil {
			errs = append(errs, fault)
			continue
		}
		share := time.Until(deadline)
		if others := len(list) - i; others > 1 {
			share = min(share/time.Duration(others), connectTime)
		}
		if share <= 0 || ctx.Err() != nil { // no time is no fault of u
			errs = append(errs, fmt.Errorf("relay %s: no time was left to try it", u.Address))
			continue
		}
		one, cancel := context.WithTimeout(ctx, share)
		s, err := p.connect(one, u, id)
		cancel()
		if err == nil {
			p.alive(u)
			return s, nil
		}
		errs = append(errs, err)
		_, refused := errors.AsType[*loginError](err)
		_, unfit := errors.AsType[*unfitError](err)
		switch {
		case id != nil && refused:
			return nil, err
		case id != nil && unfit, ctx.Err() != nil:
		default:
			p.failed(u, err)
		}
	}
	return nil, unreachable(errs)
}

// barred returns why an upstream is not even tried: it refuses our password.
func (p *Pool) barred(u *upstream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.blocked && time.Now().Before(u.retry) {
		return u.fault
	}
	return nil
}

// connect opens one session to u, with TLS and AUTH as configured: ready for MAIL.
func (p *Pool) connect(ctx context.Context, u *upstream, id *identity) (*session, error) {
	tryTLS := p.cfg.TLS != None
	if tryTLS && p.cfg.TLS == May {
		p.mu.Lock()
		tryTLS = !time.Now().Before(u.plain)
		p.mu.Unlock()
	}
	cl, err := p.hello(ctx, u, tryTLS)
	if tlsFailed, ok := errors.AsType[*tlsError](err); ok && p.cfg.TLS == May && ctx.Err() == nil {
		p.log.Warn("relay: TLS failed; going on in plaintext", "upstream", u.Address,
			"error", tlsFailed.Error(), "hint", "mend the relay's TLS, or write relay.tls = \"none\"")
		p.mu.Lock()
		u.plain = time.Now().Add(plainFor)
		p.mu.Unlock()
		cl, err = p.hello(ctx, u, false)
	}
	if err == nil {
		p.learn(u, cl)
		if err = p.login(ctx, u, cl, id); err != nil {
			_ = cl.Close()
			if _, refused := errors.AsType[*loginError](err); id != nil && !refused {
				err = &unfitError{err}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", u.Address, err)
	}
	cl.Unwatched = true // the transaction looks where it matters
	s := &session{p: p, cl: cl, up: u}
	_, s.pipeline = cl.Extension("PIPELINING")
	if attributes, ok := cl.Extension("XFORWARD"); ok {
		s.xforward = strings.Fields(attributes)
	}
	p.mu.Lock()
	u.open++
	p.mu.Unlock()
	return s, nil
}

// hello connects and comes to the EHLO reply that counts.
func (p *Pool) hello(ctx context.Context, u *upstream, withTLS bool) (*esmtp.Client, error) {
	nc, err := p.cfg.Dial(ctx, u.network, u.address)
	if err != nil {
		return nil, advised(err, dialAdvice(err))
	}
	cl := esmtp.NewClient(esmtp.Direct(nc))
	cl.Timeout = p.cfg.Timeout
	if err := p.greet(ctx, u, cl, withTLS); err != nil {
		_ = cl.Close()
		return nil, err
	}
	return cl, nil
}

func (p *Pool) greet(ctx context.Context, u *upstream, cl *esmtp.Client, withTLS bool) error {
	if p.cfg.Wrapper {
		if err := cl.Handshake(ctx, p.tlsConfig(u)); err != nil {
			return advised(err, tlsAdvice(err, true))
		}
	}
	r, err := cl.Greeting(ctx)
	if err != nil {
		return fmt.Errorf("waiting for its banner: %w; %s", err, bannerAdvice(err, p.cfg.Wrapper))
	}
	if r.Code != 220 {
		return fmt.Errorf("its banner is %s; see its own log, it may limit connections", r)
	}
	if err := p.ehlo(ctx, cl); err != nil {
		return err
	}
	if !withTLS || p.cfg.Wrapper {
		return nil
	}
	return p.startTLS(ctx, u, cl)
}

func (p *Pool) ehlo(ctx context.Context, cl *esmtp.Client) error {
	r, err := cl.Hello(ctx, p.cfg.Hostname)
	if err != nil {
		return fmt.Errorf("waiting for its answer to EHLO: %w", err)
	}
	if r.Code != 250 {
		return fmt.Errorf("its answer to EHLO %s is %s; it may want another proxy.hostname",
			p.cfg.Hostname, r)
	}
	return nil
}

func (p *Pool) startTLS(ctx context.Context, u *upstream, cl *esmtp.Client) error {
	if _, ok := cl.Extension("STARTTLS"); !ok {
		if p.cfg.TLS == May {
			return nil
		}
		return fmt.Errorf("it does not offer STARTTLS, but relay.tls is %q; turn TLS on there, or "+
			"write relay.tls = \"may\", or relay.tls_wrappermode = true for port 465", p.cfg.TLS)
	}
	limited := ctx
	if end, ok := ctx.Deadline(); ok && p.cfg.TLS == May { // leave time for another connection
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	r, err := cl.StartTLS(limited, p.tlsConfig(u))
	switch {
	case err != nil:
		return &tlsError{advised(err, tlsAdvice(err, false))}
	case r.Code != 220 && p.cfg.TLS == May:
		return nil
	case r.Code != 220:
		return fmt.Errorf("its answer to STARTTLS is %s; mend the relay's TLS", r)
	}
	return p.ehlo(ctx, cl)
}

func (p *Pool) tlsConfig(u *upstream) *tls.Config {
	name := p.cfg.ServerName
	if name == "" {
		name = u.host
	}
	return &tls.Config{
		ServerName: name, RootCAs: p.cfg.RootCAs, ClientSessionCache: p.sessions,
		MinVersion: tls.VersionTLS12,
		// As Postfix's levels may and encrypt: they keep eavesdroppers out, not impostors.
		InsecureSkipVerify: p.cfg.TLS != Verify, //nolint:gosec // see above
	}
}

// tlsError is a conversation that broke in STARTTLS.
type tlsError struct{ err error }

// Error is what broke.
func (e *tlsError) Error() string { return "STARTTLS: " + e.err.Error() }

// Unwrap is the cause.
func (e *tlsError) Unwrap() error { return e.err }

// login says who we are, where that is configured, or who the client is.
func (p *Pool) login(ctx context.Context, u *upstream, cl *esmtp.Client, id *identity) error {
	own := id == nil
	if own && p.cfg.Credentials != nil {
		if user, password, ok := p.cfg.Credentials(u.Address); ok {
			id = &identity{user: user, password: password}
		}
	}
	if id == nil {
		return nil
	}
	if !cl.IsTLS() && u.network != "unix" {
		if p.cfg.TLS != None {
			return errors.New("the password is not sent in plaintext: it did not come to " +
				"TLS; mend the relay's TLS, or write relay.tls = \"none\" if the way there is safe")
		}
		p.warnOnce("a password goes to the relay in plaintext", "upstream", u.Address,
			"hint", "write relay.tls = \"verify\"")
	}
	offered, _ := cl.Extension("AUTH")
	mechanism := choose(strings.Fields(strings.ToUpper(offered)), id.mechanism)
	if mechanism == "" {
		return fmt.Errorf("it offers no AUTH that we speak (PLAIN, LOGIN), only %q; use its "+
			"submission port, ask for TLS in relay.tls, or take the host out of relay.password_file",
			offered)
	}
	r, err := cl.Auth(ctx, mechanism, id.user, id.password)
	switch {
	case err != nil:
		return fmt.Errorf("AUTH: %w", err)
	case r.Code == 235:
	case r.Permanent() && own:
		return fmt.Errorf("%w; check its line in relay.password_file", &loginError{id.user, r})
	default:
		return &loginError{id.user, r}
	}
	return p.ehlo(ctx, cl) // RFC 4954 section 4 allows other extensions behind AUTH
}

func choose(offered []string, wanted string) string {
	for _, m := range mechanisms {
		if slices.Contains(offered, m) && (wanted == "" || wanted == m) {
			return m
		}
	}
	if wanted != "" {
		return choose(offered, "")
	}
	return ""
}

// learn remembers what an upstream offers, for our own EHLO reply. Behind a login it would offer
// no AUTH any more.
func (p *Pool) learn(u *upstream, cl *esmtp.Client) {
	offered := []string{}
	for _, k := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE", "XFORWARD"} {
		if _, ok := cl.Extension(k); ok {
			offered = append(offered, k)
		}
	}
	var auth []string
	if p.cfg.TLS == None || cl.IsTLS() || u.network == "unix" {
		args, _ := cl.Extension("AUTH")
		auth = strings.Fields(strings.ToUpper(args))
	}
	p.mu.Lock()
	u.offered, u.auth = offered, auth
	p.mu.Unlock()
}
