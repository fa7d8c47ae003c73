package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/proxy/relay"
)

// checkRelay connects to every upstream as the gate does.
func (d *doctor) checkRelay(ctx context.Context, r *doctorReport) {
	if !d.cfg.TakesMail() {
		r.ok("no relay is used: the gate is only asked (proxy.listen is empty)")
		return
	}
	settings := d.cfg.RelayConfig()
	settings.Timeout = min(settings.Timeout, relayPatience)
	var looking sync.WaitGroup
	for _, up := range settings.Upstreams {
		looking.Go(func() {
			one := settings
			one.Upstreams = []relay.Upstream{up}
			d.checkUpstream(ctx, r, one)
		})
	}
	looking.Wait()
}

// relayPatience bounds the conversation with one upstream.
const relayPatience = 20 * time.Second

// onThisMachine tells whether an endpoint is on this machine.
func onThisMachine(address string) bool { return config.Endpoint(address).Loopback() }

func (d *doctor) checkUpstream(ctx context.Context, r *doctorReport, settings relay.Config) {
	address := settings.Upstreams[0].Address
	if d.o.offline && !onThisMachine(address) {
		r.note(address+" is on another machine and was not looked at", "", "leave out --offline")
		return
	}
	said := new(relaySays)
	pool := relay.New(settings, slog.New(said))
	err := pool.Check(ctx)
	_ = pool.Close() //nolint:contextcheck // it bounds its QUITs itself
	if err != nil {
		problem, fix := relayProblem(err)
		if d.onlyPolicyd() {
			r.note(problem, onlyPolicydMeans, onlyPolicydFix)
			return
		}
		r.fault(problem, "its mail gets 451, or goes to another upstream", fix)
		return
	}
	for _, line := range said.list() {
		level := levelNote
		if line.keyword == "" {
			level = levelWarning
		}
		if line.keyword != "XFORWARD" { // more is known of it below
			r.add(level, address+": "+line.what, line.means, line.fix)
		}
	}
	d.converse(ctx, r, settings)
}

// onlyPolicyd tells whether the configuration is that of a policy service, which needs no relay: it
// names none.
func (d *doctor) onlyPolicyd() bool {
	return len(d.cfg.Policyd.Listen) > 0 && !d.cfg.IsSet("relay.upstreams") && !d.cfg.IsSet("relay.upstream")
}

const (
	onlyPolicydMeans = "no relay is configured, and a gate that is only a policy service needs none; its " +
		"/readyz says that mail cannot pass all the same"
	onlyPolicydFix = "[proxy]\nlisten = []"
)

// relayProblem takes the error of package relay apart, whose parts behind the first are advice.
func relayProblem(err error) (problem, fix string) {
	text := err.Error()
	if at := strings.LastIndex(text, "; "); at > 0 {
		return text[:at], text[at+2:]
	}
	return text, "see the relay's own log"
}

// converse looks at what the pool does not tell: who is there, and whether it takes XFORWARD.
func (d *doctor) converse(ctx context.Context, r *doctorReport, settings relay.Config) {
	address := settings.Upstreams[0].Address
	ctx, cancel := context.WithTimeout(ctx, relayPatience)
	defer cancel()
	c, banner, err := relayClient(ctx, settings)
	if err != nil {
		r.warning(fmt.Sprintf("%s: %v", address, err),
			"the connection before this one was all right: it may limit them", "see the relay's own log")
		return
	}
	defer func() { _ = c.Close() }()
	defer func() { _, _ = c.Quit(ctx) }()
	if strings.Contains(banner.Text(), "ESMTP rcptgate") {
		name, _, _ := strings.Cut(banner.Text(), " ")
		if strings.EqualFold(name, d.cfg.Hostname()) {
			r.fault(fmt.Sprintf("%s is this gate itself, or one of the same name: %s", address, banner),
				"mail goes round in a circle until it is refused for its many Received fields",
				"name the re-injection smtpd of the relay:\n[relay]\nupstreams = [\"127.0.0.1:10026\"]")
			return
		}
		r.warning(fmt.Sprintf("%s is another rcptgate: %s", address, banner), "each recipient is looked "+
			"at twice", "")
	}
	how := "without TLS"
	if c.IsTLS() {
		how = "with TLS"
	} else if !onThisMachine(address) {
		r.note(fmt.Sprintf("mail goes to %s without TLS", address), "others on the way can read it",
			"[relay]\ntls = \"may\"")
	}
	r.ok("%s takes connections, %s: %s", address, how, banner)
	d.checkXForward(ctx, r, settings, c)
}

// relayClient opens a connection up to the EHLO reply that counts, without a login.
func relayClient(ctx context.Context, settings relay.Config) (*esmtp.Client, esmtp.Reply, error) {
	address := settings.Upstreams[0].Address
	network, to := config.Endpoint(address).Network()
	conn, err := new(net.Dialer).DialContext(ctx, network, to)
	if err != nil {
		return nil, esmtp.Reply{}, rootCause(err)
	}
	c := esmtp.NewClient(conn)
	c.Timeout = settings.Timeout
	banner, err := greetRelay(ctx, settings, c)
	if err != nil {
		_ = c.Close()
		return nil, banner, err
	}
	return c, banner, nil
}

func greetRelay(ctx context.Context, settings relay.Config, c *esmtp.Client) (esmtp.Reply, error) {
	if settings.Wrapper {
		if err := c.Handshake(ctx, relayTLSConfig(settings)); err != nil {
			return esmtp.Reply{}, err
		}
	}
	banner, err := c.Greeting(ctx)
	if err != nil {
		return banner, err
	}
	hello := func() error {
		answer, err := c.Hello(ctx, settings.Hostname)
		if err == nil && !answer.Positive() {
			err = errors.New("its answer to EHLO is " + answer.String())
		}
		return err
	}
	if err := hello(); err != nil {
		return banner, err
	}
	_, offered := c.Extension("STARTTLS")
	if settings.Wrapper || settings.TLS == relay.None || !offered {
		return banner, nil
	}
	answer, err := c.StartTLS(ctx, relayTLSConfig(settings))
	switch {
	case err != nil:
		return banner, err
	case answer.Code != 220:
		return banner, nil
	}
	return banner, hello()
}

// relayTLSConfig is as package relay has it: all but verify look at no certificate.
func relayTLSConfig(settings relay.Config) *tls.Config {
	name := settings.ServerName
	if host, _, err := net.SplitHostPort(settings.Upstreams[0].Address); name == "" && err == nil {
		name = host
	}
	return &tls.Config{
		ServerName: name, RootCAs: settings.RootCAs, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: settings.TLS != relay.Verify, //nolint:gosec // as the gate does
	}
}

// testClients are clients to tell of: addresses for documentation (RFC 5737, RFC 3849).
var testClients = [...]string{"192.0.2.1", "IPv6:2001:db8::1"}

// checkXForward tells of a client that there is not, and sees what comes of it.
func (d *doctor) checkXForward(ctx context.Context, r *doctorReport, settings relay.Config, c *esmtp.Client) {
	address := settings.Upstreams[0].Address
	offered, ok := c.Extension("XFORWARD")
	if !ok {
		level := levelWarning
		if settings.Credentials != nil {
			level = levelNote // a smarthost, which is somebody else's
		}
		r.add(level, address+" does not offer XFORWARD to this host",
			"its log and its Received fields show the gate instead of the client",
			"if it is a Postfix, below its service in master.cf:\n  -o "+
				"smtpd_authorized_xforward_hosts="+d.xforwardFrom(c))
		return
	}
	for i, client := range testClients {
		if i > 0 && !d.hasIPv6() {
			continue
		}
		x := esmtp.XForward{
			Name: "doctor.example.com", Addr: client, Proto: "ESMTP",
			Helo: "doctor.example.com",
		}
		lines := x.Append(nil, strings.Fields(offered))
		if len(lines) == 0 {
			r.note(fmt.Sprintf("%s offers XFORWARD without any attribute that is known: %q", address,
				offered), "", "")
			return
		}
		c.QueueN(lines, strings.Count(string(lines), "\r\n"))
		answer, err := relayAnswer(ctx, c)
		switch {
		case err != nil:
			r.warning(fmt.Sprintf("%s breaks off at XFORWARD: %v", address, err), "",
				"see the relay's own log")
			return
		case answer.Positive():
		case i > 0:
			r.note(fmt.Sprintf("%s refuses to be told of clients with IPv6 addresses: %s", address, answer),
				"its log shows the gate for them", "main.cf of the relay: inet_protocols = all")
			return
		default:
			r.warning(fmt.Sprintf("%s offers XFORWARD, but refuses it: %s", address, answer),
				"its log and its Received fields show the gate instead of the client",
				"  -o smtpd_authorized_xforward_hosts="+d.xforwardFrom(c))
			return
		}
	}
	r.ok("%s takes XFORWARD from this host", address)
}

func relayAnswer(ctx context.Context, c *esmtp.Client) (answer esmtp.Reply, err error) {
	if err := c.Flush(ctx); err != nil {
		return answer, err
	}
	for c.Outstanding() > 0 {
		one, err := c.ReadReply(ctx)
		if err != nil {
			return answer, err
		}
		if answer.IsZero() || !one.Positive() {
			answer = one
		}
	}
	return answer, nil
}

// xforwardFrom is the network that the relay sees the gate in.
func (d *doctor) xforwardFrom(c *esmtp.Client) string {
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil || at.Addr().IsLoopback() {
		return "127.0.0.0/8" // Postfix takes a client on a Unix socket for 127.0.0.1
	}
	return at.Addr().Unmap().String()
}

// hasIPv6 tells whether clients with IPv6 addresses may come from elsewhere.
func (d *doctor) hasIPv6() bool {
	return slices.ContainsFunc(d.cfg.Proxy.ClientNetworks, func(n config.Network) bool {
		return n.Addr().Is6() && !n.Addr().IsLoopback()
	})
}

// relayLine is what package relay logs.
type relayLine struct{ keyword, what, means, fix string }

// relaySays collects the warnings of a relay.Pool. It is safe for concurrent use.
type relaySays struct {
	mu    sync.Mutex
	lines []relayLine
}

// Enabled wants warnings.
func (s *relaySays) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle takes one.
func (s *relaySays) Handle(_ context.Context, record slog.Record) error {
	line := relayLine{what: strings.TrimPrefix(record.Message, "relay: ")}
	record.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "extension":
			line.keyword = a.Value.String()
			line.what = "it does not offer " + line.keyword
		case "error":
			line.what += ": " + a.Value.String()
		case "consequence":
			line.means = a.Value.String()
		case "hint":
			line.fix = a.Value.String()
		}
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	return nil
}

// WithAttrs and WithGroup add nothing that is wanted.
func (s *relaySays) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup is WithAttrs for groups.
func (s *relaySays) WithGroup(string) slog.Handler { return s }

func (s *relaySays) list() []relayLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}
