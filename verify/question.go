package verify

import (
	"cmp"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// Question is one recipient to be verified, and on whose behalf.
type Question struct {
	Address esmtp.Address // the recipient
	// Sender is the envelope sender of the mail in hand; the zero value means that
	// there is none (the command line), and the fallback sender is used.
	Sender esmtp.Address
	// NullSender: the mail comes from <> (a bounce). Such recipients are answered
	// from memory only, never probed: two verifiers must not call each other.
	NullSender bool
	// UTF8: the transaction was opened with SMTPUTF8. The walk goes by the address
	// itself, which tells whether it needs it.
	UTF8 bool
	Helo string // what the client greeted with; our own name means a loop
	// Client is whose questions are counted together, such as the client's address or login: one
	// client may have only so much asked at a time, and so many unknown recipients an hour. "" is
	// not bounded (the command line).
	Client string
	// Budget bounds the waiting of all recipients of one message together; nil:
	// only Config.RcptBudget and the context do.
	Budget     *Budget
	MemoryOnly bool // never probe for this question
	// CatchAll: wait, within the same limits, for what can be found out about the domain, that is
	// whether it accepts every address; a rule needs Result.CatchAll or a sure Confidence. Without it
	// the verdict comes first and the domain is looked into behind.
	CatchAll bool
	Trace    bool // fill Result.Steps, and wait as CatchAll does
}

// Config is the behaviour of a Verifier. The zero value of each field is a working
// default, but for the names: without Helo and FallbackSender, questions that have
// no usable sender of their own are answered from memory only.
type Config struct {
	RcptBudget time.Duration // longest wait of one Verify; 0: 8 s
	// ProbeTimeout bounds the asking itself (DNS and all MXs), which goes on when
	// the caller has stopped waiting; 0: 60 s.
	ProbeTimeout time.Duration
	Passive      bool // never connect to a mail server

	// ProbeSender is the MAIL FROM of every probe; zero: the envelope's own sender,
	// where it can be used.
	ProbeSender esmtp.Address
	// FallbackSender is used where the envelope's cannot be; zero: double-bounce@Helo.
	// A probe is never sent from <>.
	FallbackSender esmtp.Address
	Helo           string // the name that probes greet with
	// OwnNames are the names of this gate (proxy.hostname, ...), besides Helo. A
	// client that greets with one of them is ourselves.
	OwnNames []string

	// Sources are the addresses that probes leave from (verify.bind_addresses), for SPF; empty: those
	// that connections were seen to leave from.
	Sources []netip.Addr

	PositiveExpire  time.Duration // a deliverable mailbox is remembered; 0: 7 days
	PositiveRefresh time.Duration // older than this it is asked again behind; 0: 1 day
	NegativeExpire  time.Duration // longest life of a proof without an answer; 0: 24 h
	NegativeRefresh time.Duration // older than this it is asked again in line; 0: 1 h
	TemporaryExpire time.Duration // what is not known is not asked again; 0: 5 minutes
	CacheOctets     int64         // memory for verdicts; 0: 64 MiB
	// Store keeps what is known beyond the end of the process; nil: memory only. Its owner closes it
	// after the Verifier.
	Store *cache.Store

	// MaxFlights bounds the recipients that are being asked about at one time,
	// waited for or not; beyond it the verdict is unknown, local_limit. One domain
	// may hold a quarter of them. 0: 2000.
	MaxFlights int

	Providers *provider.Table // what is known of mail providers; nil: the built-in profiles
	// NoInvented: never ask for an invented recipient to find out whether a domain accepts every
	// address; then only ordinary mail tells.
	NoInvented bool
	// Secret is what invented recipients are derived from; nil: the Store's, or a random one.
	Secret []byte

	// Asked is told how each asking of a mail server ended; it must not wait. nil: nobody is told.
	Asked func(Asked)

	// Settled is told when real mail settles what a mailbox is: proof is true if it was refused in a
	// way that proves it undeliverable (twice, if mail used to arrive), false if the mail arrived. It
	// must not wait. nil: nobody is told.
	Settled func(o feedback.Observation, proof bool)

	Log *slog.Logger // nil: no log
}

func (c Config) withDefaults() Config {
	c.RcptBudget = cmp.Or(c.RcptBudget, 8*time.Second)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, time.Minute)
	c.PositiveExpire = cmp.Or(c.PositiveExpire, 7*24*time.Hour)
	c.PositiveRefresh = cmp.Or(c.PositiveRefresh, 24*time.Hour)
	c.NegativeExpire = cmp.Or(c.NegativeExpire, 24*time.Hour)
	c.NegativeRefresh = cmp.Or(c.NegativeRefresh, time.Hour)
	c.TemporaryExpire = cmp.Or(c.TemporaryExpire, 5*time.Minute)
	c.CacheOctets = cmp.Or(c.CacheOctets, 64<<20)
	c.MaxFlights = cmp.Or(c.MaxFlights, 2000)
	c.Helo = strings.TrimSuffix(c.Helo, ".")
	if c.FallbackSender.IsNull() {
		// An error leaves it null, and a probe without a sender is not made.
		c.FallbackSender, _ = esmtp.ParseAddress("double-bounce@"+c.Helo, false)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
