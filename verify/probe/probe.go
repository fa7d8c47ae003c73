// Package probe asks a recipient's own mail host whether it would take mail for one address.
//
// A Pool holds SMTP sessions to other people's mail hosts and asks one question in them:
//
//	pool := probe.NewPool(probe.Config{
//		Dial: mx.Dialer(filter, nil), Resolver: resolver, OwnNames: []string{"gate.example.com"},
//	})
//	defer pool.Close(ctx)
//	out := pool.Probe(ctx, probe.Request{
//		Set:    resolver.Lookup(ctx, rcpt.ASCIIDomain()),
//		Sender: sender, Rcpt: rcpt, Helo: "gate.example.com",
//	})
//
// The conversation is banner, EHLO (HELO where that is all there is), STARTTLS where it is offered,
// MAIL, RCPT, and RSET for the next recipient or QUIT. There is never a DATA and never a
// MAIL FROM:<>. The hosts of a domain are tried in their order; a host that cannot be reached, that
// refuses us in its banner or EHLO reply, or whose conversation breaks is followed by the next. A
// reply to MAIL or RCPT ends the walk: it is the answer, whatever it says. The package does not
// judge replies; that is verify/reply and verify.
//
// Manners. One address of a mail host sees at most Config.PerHost connections of ours at a time and
// one HELO name. Sessions are kept a few seconds for the next recipient, and left after
// Config.RcptPerSession recipients or 5 refusals, before servers start to count us as a harvester
// (Postfix smtpd_soft_error_limit is 10). Where PIPELINING is offered, MAIL, RCPT and RSET travel
// together (RFC 2920). Each session ends with QUIT and a short wait for the reply, unless the other
// side broke it or kept us waiting for a reply too long. A host that could not be reached, or did
// not let us come as far as MAIL, is left alone for 30 seconds: its next recipients get the same
// Outcome.
//
// Who sends to a dictionary of names shall not find mailboxes through us, nor have us blocked: after
// Config.Refusals refused recipients of one domain in a row only one more is asked for each second, and
// the others end at once with Outcome.LocalLimit. Each accepted one makes up for half a refused one.
//
// Bounds. All of one Probe ends within Config.Total and within its ctx; every single wait has an
// absolute deadline inside of that, so a host that drips octets gains nothing. Waiting for a free
// connection counts too, and ends as Outcome.LocalLimit. Hosts that do not answer hold no slot that
// others need: slots are kept by host; a connection counts towards Config.Max only once it was
// greeted (those not yet greeted have a bound of their own, 4 × Config.Max); and a quarter of Max
// is kept for hosts that have answered a question within the last hour.
//
// SECURITY. Config.Dial must be the address filter's dialler (mx.Filter); nothing else keeps a
// hostile MX record from pointing us at an internal address. Certificates are not checked: TLS here
// is opportunistic (RFC 7435), and a probe carries no secret. Replies are read by esmtp's bounded
// reader: a cut, over-long or otherwise malformed reply is a broken conversation, never an answer.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// ErrClosed is the Outcome.Err of a Probe after Close.
var ErrClosed = errors.New("probe: the pool is closed")

// Request is one question: does the mail host of Set take mail from Sender for Rcpt?
type Request struct {
	Set    mx.Set        // of Rcpt's domain, of kind Hosts
	Sender esmtp.Address // in MAIL FROM; never null
	Rcpt   esmtp.Address // with a domain
	Helo   string        // our name for EHLO: the one that our address resolves to

	// Group is what limits are shared by: a provider's name, or the site of the mail host. "" is
	// no group: then there are only the limits of each address.
	Group  string
	Limits Limits // of Group; zero fields are Config's
	// Greeted, if set, is called once a session, behind the banner and the reply to EHLO, with the
	// text of both as they came. It may name another group, and with goOn false nothing is asked:
	// the session ends with QUIT and the Outcome is Declined.
	Greeted func(banner string) (group string, l Limits, goOn bool)
}

// Limits are what a group of mail hosts gets from one address of ours.
type Limits struct {
	Connections        int        // at a time
	RcptPerSession     int        // recipients asked for in one session
	RcptPerTransaction int        // recipients behind one MAIL
	Refusals           int        // refused recipients before a session is left
	Rate               limit.Rate // recipients asked for
}

// Outcome is what came of a Probe. Either Reply holds the answer of the stage that ended it, or Err
// says why there is none.
type Outcome struct {
	Stage reply.Stage // where it ended: StageConnect to StageRcpt
	Reply esmtp.Reply // zero if the conversation broke or was never begun
	Err   error       // nil if there is a Reply; escaped, for people

	MX   string     // the host that Reply or Err is about
	Addr netip.Addr // its address
	TLS  bool       // the reply came over TLS

	Connected      bool // the TCP connection to MX was made
	Self           bool // its banner or EHLO reply names us: we reached ourselves
	NoUTF8         bool // it lacks SMTPUTF8, which the address as written needs; see Request
	ConnectTimeout bool // no host could be reached, and this one did not even refuse
	LocalLimit     bool // a limit of ours was met; nothing was learned
	Declined       bool // Request.Greeted did not want it to be asked

	Banner string     // the text of its banner and the first line of its EHLO reply, raw, cut
	Source netip.Addr // our address in that connection

	Elapsed time.Duration
	Steps   []string // each command and reply, escaped, for people; at most 200
}

// Config sets up a Pool. The zero value of each field but Dial and Resolver is usable.
type Config struct {
	Dial     esmtp.DialFunc // must filter addresses; called with "tcp" and IP:port
	Resolver *mx.Resolver   // for the addresses of mail hosts
	Port     int            // default 25
	OwnNames []string       // who we are: a host that calls itself so is ourselves

	ConnectTimeout time.Duration // of one TCP connection, default 3 s
	CommandTimeout time.Duration // of one reply, from its command, default 5 s
	// GreetingTimeout is that of the banner, default twice CommandTimeout: Postfix's postscreen
	// holds it back for 6 seconds (postscreen_greet_wait), and lets in only who waits.
	GreetingTimeout time.Duration
	Total           time.Duration // of one Probe, all hosts and waiting included, default 30 s

	PerHost        int           // connections to one address of a mail host, default 2
	Max            int           // greeted connections in all, default 200
	RcptPerSession int           // recipients asked for in one session, default 20
	Idle           time.Duration // how long a session waits for the next recipient, default 5 s

	// DomainRate limits the probes of one recipient domain; beyond it a Probe ends at once with
	// LocalLimit. The zero value is no limit.
	DomainRate limit.Rate

	// Refusals is how many recipients of one domain may be refused in a row; then only one is asked
	// for each second, see the package's manners. Default 50, below 0 is no limit.
	Refusals int

	// TLSConfig is cloned for STARTTLS, with the host's name as ServerName; its verification
	// settings hold. nil: any certificate will do.
	TLSConfig *tls.Config
	Log       *slog.Logger // nil: no log
}

// Limits of one Probe and of a session that are not for configuration.
const (
	maxHosts        = 5   // mail hosts tried (the resolver keeps no more)
	maxAddrs        = 10  // addresses tried in all
	maxAddrsPerHost = 3   // so that the second host has its turn within Total
	maxRefusals     = 5   // replies other than 2xx to RCPT before a session is left
	maxSteps        = 200 // entries of Outcome.Steps
	maxKeptLines    = 8   // of a refusal that is remembered of a host
	maxKeptLine     = 500 // octets of each

	quitTimeout = 2 * time.Second  // for the reply to QUIT
	downFor     = 30 * time.Second // an address that does not let us in is left alone
	plainFor    = time.Hour        // a host whose TLS failed is spoken to without
	provenFor   = time.Hour        // a host that answered may use the places kept for such

	provenShare   = 4 // one in so many of Max is kept for proven hosts
	openingPerMax = 4 // connections not yet greeted, as a multiple of Max

	rememberedHosts   = 4096  // entries of each memory about hosts
	rememberedDomains = 16384 // domains whose rate is kept
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.ConnectTimeout, 3 * time.Second},
		{&c.CommandTimeout, 5 * time.Second},
		{&c.Total, 30 * time.Second},
		{&c.Idle, 5 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.GreetingTimeout <= 0 {
		c.GreetingTimeout = 2 * c.CommandTimeout
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Port, 25}, {&c.PerHost, 2}, {&c.Max, 200}, {&c.RcptPerSession, 20}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	c.Refusals = cmp.Or(c.Refusals, 50)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Pool probes. Safe for concurrent use. It owns all its connections and goroutines; Close ends
// them.
type Pool struct {
	cfg   Config
	hosts *limit.Slots // who may act on an address: the connections in use
	// These hold one key each: connections that were greeted, those of them to hosts that never
	// answered a question, and connections that were not greeted yet.
	greeted, unproven, opening *limit.Slots
	wanting                    atomic.Int32 // how many wait for greeted

	domains  *limit.Limiter
	refusals *limit.Limiter    // refused recipients of each domain, see harvested
	down     *memory[Outcome]  // not to be connected to, and why
	plain    *memory[struct{}] // not to be offered TLS
	proven   *memory[struct{}] // have answered a question

	base   context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	wg     sync.WaitGroup // probes, sessions being settled, QUITs

	mu     sync.Mutex
	closed bool // no wg.Add from zero after this
	idle   map[netip.Addr][]*session
}

// NewPool returns a Pool without connections.
func NewPool(cfg Config) *Pool {
	cfg = cfg.withDefaults()
	base, cancel := context.WithCancel(context.Background())
	return &Pool{
		cfg:      cfg,
		hosts:    limit.NewSlots(cfg.PerHost),
		greeted:  limit.NewSlots(cfg.Max),
		unproven: limit.NewSlots(cfg.Max - cfg.Max/provenShare),
		opening:  limit.NewSlots(openingPerMax * cfg.Max),
		domains:  limit.NewLimiter(cfg.DomainRate, rememberedDomains),
		refusals: limit.NewLimiter(refusalRate(cfg.Refusals), rememberedDomains),
		down:     newMemory[Outcome](downFor, rememberedHosts),
		plain:    newMemory[struct{}](plainFor, rememberedHosts),
		proven:   newMemory[struct{}](provenFor, rememberedHosts),
		base:     base,
		cancel:   cancel,
		idle:     make(map[netip.Addr][]*session),
	}
}

// Probe asks req's question and returns when there is an answer, when no host is left to ask, or
// when ctx or Config.Total ends. It needs no connection of its own if a session to the host waits.
//
// An address with a non-ASCII local part at a host without SMTPUTF8 is not asked for: NoUTF8 is set
// and there is neither Reply nor a broken conversation. One that is only non-ASCII in its domain is
// asked for in its A-label form, with NoUTF8 set beside the Reply.
func (p *Pool) Probe(ctx context.Context, req Request) Outcome {
	start := time.Now()
	r := &run{pool: p, req: req}
	out := r.begin(ctx)
	out.Steps = r.steps
	out.Elapsed = time.Since(start)
	return out
}

// Close refuses further probes, QUITs the sessions that wait, and waits for the probes that run.
// When ctx ends first, it cuts them and returns the cause of ctx's end.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	var waiting []*session
	for _, list := range p.idle {
		waiting = append(waiting, list...)
	}
	clear(p.idle)
	for _, s := range waiting {
		s.timer.Stop()
		p.wg.Go(func() { s.quit(p.base) })
	}
	p.mu.Unlock()

	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	defer p.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.cancel()
		<-done
		return context.Cause(ctx)
	}
}

// enter counts a Probe as running, unless the pool is closed. The caller calls p.wg.Done after.
func (p *Pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Add(1)
	return true
}

// check refuses a Request that must not be asked.
func (req Request) check() error {
	switch {
	case req.Sender.IsNull() || req.Sender.ASCIIDomain() == "":
		return errors.New("a probe needs a sender with a domain; set verify.fallback_sender")
	case req.Rcpt.ASCIIDomain() == "":
		return errors.New("the recipient has no domain")
	case req.Rcpt.IsLiteral():
		return errors.New("the recipient's domain is an address literal")
	case len(req.Set.Hosts) == 0:
		return fmt.Errorf("no mail host of %s to ask", req.Rcpt.ASCIIDomain())
	case !validHelo(req.Helo):
		return errors.New("the HELO name is not a host name; set verify.helo")
	}
	return nil
}

// validHelo accepts what cannot break the EHLO line: a host name or an address literal
// (RFC 5321 section 4.1.1.1). Whether the name is ours is for the administrator.
func validHelo(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
