package probe

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// Config sets up a Pool. The zero value of each field but Dial and Resolver is usable.
type Config struct {
	Dial     esmtp.DialFunc // must filter addresses; called with "tcp" and IP:port
	Resolver *mx.Resolver   // for the addresses of mail hosts
	Port     int            // default 25
	OwnNames []string       // who we are: a host that calls itself so is ourselves

	// Bind are our source addresses. A group of hosts always sees the same one of each family, so
	// that greylists and limits know us again; the groups are spread over all. With addresses of
	// one family only, the other family is not asked: mail does not leave from there either. None:
	// the system chooses.
	Bind []netip.Addr
	// DialFrom returns the Dial of one source address; needed with Bind.
	DialFrom func(source netip.Addr) esmtp.DialFunc

	ConnectTimeout time.Duration // of one TCP connection, default 3 s
	CommandTimeout time.Duration // of one reply, from its command or the reply before, default 5 s
	// GreetingTimeout is that of the banner, default twice CommandTimeout: Postfix's postscreen
	// holds it back for 6 seconds (postscreen_greet_wait), and lets in only who waits.
	GreetingTimeout time.Duration
	Total           time.Duration // of one Probe, all hosts and waiting included, default 30 s

	PerHost        int // connections to one address of a mail host, default 2
	Max            int // greeted connections in all, default 200
	RcptPerSession int // recipients asked for in one session, default 20; below 0 is no limit
	// Refusals is how many recipients may be refused in one session before it is left, default 5;
	// below 0 is no limit. No more are sent ahead of their answers.
	Refusals int
	// Idle is how long a session waits for the next recipient, default 20 s. The recipients of one
	// mailing trickle in, and a connection costs the other side more than an open one that is
	// silent: servers allow for minutes of it (RFC 5321 section 4.5.3.2.7), and those that are
	// under stress for 10 seconds (Postfix smtpd_timeout), which ends the session without harm.
	Idle time.Duration

	// DomainRate limits the probes of one recipient domain; beyond it a Probe ends at once with
	// LocalLimit. The zero value is no limit.
	DomainRate limit.Rate
	// Harvest says when too many recipients of a domain or of a group were refused, see the
	// package's manners. Least below 0 is no limit.
	Harvest limit.ShareConfig

	// TLSConfig is cloned for STARTTLS, with the host's name as ServerName; its verification
	// settings hold. nil: any certificate will do.
	TLSConfig *tls.Config
	Log       *slog.Logger // nil: no log
}

// Limits are what a group of mail hosts gets from one address of ours. For the zero value of a field
// that of Config holds; below 0 is no limit.
type Limits struct {
	Connections        int        // at a time, to all hosts of the group; 0: Config.PerHost
	RcptPerSession     int        // recipients asked for in one session
	RcptPerTransaction int        // recipients behind one MAIL; 0: 1
	Refusals           int        // refused recipients before a session is left
	Rate               limit.Rate // recipients asked for; beyond it is LocalLimit; zero: no limit
}

// Limits of one Probe and of a session that are not for configuration.
const (
	maxHosts        = 5   // mail hosts tried (the resolver keeps no more)
	maxAddrs        = 10  // addresses tried in all
	maxAddrsPerHost = 3   // so that the second host has its turn within Total
	maxBatch        = 64  // recipients sent ahead: their commands fit into any socket's buffer
	maxTries        = 3   // sessions in which one recipient is asked for at one address
	maxSteps        = 200 // entries of Outcome.Steps
	maxKeptLines    = 8   // of a refusal that is remembered of a host
	maxKeptLine     = 500 // octets of each
	maxBanner       = 512 // octets of each of the two lines of Outcome.Banner

	quitTimeout  = 2 * time.Second  // for the reply to QUIT
	downFor      = 30 * time.Second // an address that does not let us in is left alone
	lingerFor    = time.Minute      // for a host that is slow to come to its QUIT; it is left alone
	lingerOctets = 64 << 10         // that it may say meanwhile
	plainFor     = time.Hour        // a host whose TLS failed is spoken to without
	provenFor    = time.Hour        // a host that answered may use the places kept for such

	// patience is how long who waits at a host with a busy session waits for that one before
	// another is opened: most answers are there by then, a connection would not be.
	patience = 250 * time.Millisecond

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
		{&c.Idle, 20 * time.Second},
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
	}{{&c.Port, 25}, {&c.PerHost, 2}, {&c.Max, 200}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	c.RcptPerSession = cmp.Or(c.RcptPerSession, 20)
	c.Refusals = cmp.Or(c.Refusals, 5)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// resolve fills in what l leaves to Config.
func (c *Config) resolve(l Limits) Limits {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&l.Connections, c.PerHost},
		{&l.RcptPerSession, c.RcptPerSession},
		{&l.RcptPerTransaction, 1},
		{&l.Refusals, c.Refusals},
	} {
		if *d.v = cmp.Or(*d.v, d.def); *d.v < 0 {
			*d.v = math.MaxInt32
		}
	}
	return l
}
