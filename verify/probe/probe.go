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
// Questions to one address of a mail host wait together for its sessions, and a session takes as
// many as it may at a time: where PIPELINING is offered (RFC 2920), MAIL, RCPT and RSET of all of
// them travel in one write, and their answers come back in one round trip. A session is kept some
// time for what comes next. Of mail hosts of the same preference the one with a session is asked.
//
// Manners. One address of a mail host sees at most Config.PerHost connections of ours at a time, one
// HELO name and one source address. What a group of hosts (a provider's, a site's) gets together is
// in [Limits]: connections, recipients a session and a minute, and how many refusals we take before
// we leave, so that servers do not count us as a harvester (Postfix smtpd_soft_error_limit is 10):
// no more questions are sent ahead than may be refused. A host that lets fewer connections or
// recipients pass than we would like is taken at its word for an hour. Each session ends with QUIT
// and a short wait for the reply, unless the other side broke it. To a host that kept us waiting for
// a reply too long we stop to listen, but stay for up to a minute until it comes to the QUIT. A host
// that could not be reached, or did not let us come as far as MAIL, is left alone for
// 30 seconds: its next recipients get the same Outcome.
//
// Who sends to a dictionary of names shall not find mailboxes through us, nor have us blocked: when
// of at least 20 recipients of one domain, or of one group, within 10 minutes surely more than 30 %
// are refused (Config.Harvest, limit.Shares), it is not asked any more for a while and every Probe of
// it ends at once with Outcome.LocalLimit. Until the first answers are known, no more than 20 are
// under way.
//
// Bounds. All of one Probe ends within Config.Total and within its ctx; every single wait has an
// absolute deadline of its own, so a host that drips octets gains nothing. Waiting for a free
// connection counts too, and ends as Outcome.LocalLimit. The conversation goes on without the one
// who asked, to its proper end. Hosts that do not answer hold no slot that
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
	"context"
	"errors"
	"fmt"
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
	// It must not wait for the pool.
	Greeted func(banner string) (group string, l Limits, goOn bool)
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

// Pool probes. Safe for concurrent use. It owns all its connections and goroutines; Close ends
// them.
type Pool struct {
	cfg Config
	// These hold one key each: connections that were greeted, those of them to hosts that never
	// answered a question, and connections that were not greeted yet.
	greeted, unproven, opening *limit.Slots
	wanting                    atomic.Int32 // how many wait for greeted

	domains *limit.Limiter
	rates   *limit.Limiter // of groups, at their own rates
	harvest *limit.Shares  // of refused recipients, by domain and by group; nil: no limit
	quiet   *limit.Limiter // of warnings

	down     *memory[Outcome]  // not to be connected to, and why
	slow     *memory[Outcome]  // did not answer the first question, see session.linger
	plain    *memory[struct{}] // not to be offered TLS
	proven   *memory[struct{}] // have answered a question
	capacity *memory[int]      // recipients that a session takes there
	crowd    *memory[int]      // connections that are let in there

	base   context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	wg     sync.WaitGroup // probes and sessions

	mu     sync.Mutex
	closed bool // no wg.Add from zero after this
	peers  map[peerKey]*peer
	groups map[groupKey]*group
	names  map[string]int     // sessions by the name of the mail host
	held   map[*peer]struct{} // have questions that wait for what harvest says
}

// NewPool returns a Pool without connections.
func NewPool(cfg Config) *Pool {
	cfg = cfg.withDefaults()
	base, cancel := context.WithCancel(context.Background())
	p := &Pool{
		cfg:      cfg,
		greeted:  limit.NewSlots(cfg.Max),
		unproven: limit.NewSlots(cfg.Max - cfg.Max/provenShare),
		opening:  limit.NewSlots(openingPerMax * cfg.Max),
		domains:  limit.NewLimiter(cfg.DomainRate, rememberedDomains),
		rates:    limit.NewLimiter(limit.Rate{}, rememberedDomains),
		quiet:    limit.NewLimiter(limit.Rate{Count: 1, Per: time.Minute, Burst: 5}, 1),
		down:     newMemory[Outcome](downFor, rememberedHosts),
		slow:     newMemory[Outcome](lingerFor, rememberedHosts),
		plain:    newMemory[struct{}](plainFor, rememberedHosts),
		proven:   newMemory[struct{}](provenFor, rememberedHosts),
		capacity: newMemory[int](provenFor, rememberedHosts),
		crowd:    newMemory[int](provenFor, rememberedHosts),
		base:     base,
		cancel:   cancel,
		peers:    make(map[peerKey]*peer),
		groups:   make(map[groupKey]*group),
		names:    make(map[string]int),
		held:     make(map[*peer]struct{}),
	}
	if cfg.Harvest.Least >= 0 {
		p.harvest = limit.NewShares(cfg.Harvest, rememberedDomains)
	}
	return p
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
	for _, pr := range p.peers {
		for _, s := range pr.sessions {
			s.poke()
			if s.lingers {
				_ = s.conn.Close() // its QUIT is said
			}
		}
		p.useless(pr)
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
func (req *Request) check() error {
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
