package message

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// saveEvery is how often the counts of bulk senders are saved.
const saveEvery = time.Minute

// Envelope is what is known of a message before its header.
type Envelope struct {
	From       esmtp.Address
	Client     netip.Addr
	Login      string
	UTF8       bool // SMTPUTF8 was declared
	EightBit   bool // BODY=8BITMIME or BINARYMIME was declared
	Marks      []string
	Recipients []Recipient // those that were accepted
	// Ref is the reference for the reply, if the message has one already. "": one is made.
	Ref string
}

// Recipient is whom the message goes to, as far as it matters here.
type Recipient struct {
	Domain   string // as A-labels in lower case
	Provider string // its provider by the profiles of verify/provider; "" unknown
}

// Checker checks messages. It is safe for concurrent use, and a nil *Checker checks nothing.
type Checker struct {
	dir      *durable.Dir
	log      *slog.Logger
	settings atomic.Pointer[settings]
	changing sync.Mutex // of settings; their messages are counted under it
	spf      *spfChecker
	bulk     bulkTable

	base context.Context // ends at Close: with it the look-ups of all messages
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// New makes a Checker; the counts of bulk senders go on from dir, which may be nil. The error is
// ConfigErrors with every fault of cfg, or says that checks need a resolver. A nil logger discards.
func New(cfg Config, names *dns.Resolver, dir *durable.Dir, log *slog.Logger) (*Checker, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Checker{
		dir: dir, log: log, spf: newSPFChecker(),
		bulk: bulkTable{counts: make(map[bulkKey]*bulkCount)},
	}
	if _, err := c.Reconfigure(cfg, names); err != nil {
		return nil, err
	}
	if err := c.bulk.load(dir, time.Now()); err != nil {
		log.Warn("counts of bulk senders are incomplete", "err", err)
	}
	c.base, c.stop = context.WithCancel(context.Background())
	c.wg.Go(c.saveNowAndThen)
	return c, nil
}

// Reconfigure changes what is checked of messages that begin from now on, and by which resolver. The
// others go on with the resolver before: drained waits for their end, or that of ctx, and only then
// is it to be closed. The errors are those of New; the old configuration then stays, and drained is
// nil.
func (c *Checker) Reconfigure(
	cfg Config, names *dns.Resolver,
) (drained func(ctx context.Context), err error) {
	s, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	if s.resolver = names; names == nil && s.names() {
		return nil, errors.New("message: checks of SPF, DKIM, DMARC and domains need a resolver")
	}
	c.changing.Lock()
	before := c.settings.Swap(s)
	c.changing.Unlock()
	return before.drained, nil
}

// Active reports whether messages are checked at all.
func (c *Checker) Active() bool { return c != nil && len(c.settings.Load().levels) > 0 }

// Close ends the look-ups of all messages, which then find that nothing is known, and saves the counts
// of bulk senders.
func (c *Checker) Close() error {
	if c == nil {
		return nil
	}
	c.stop()
	c.wg.Wait()
	return c.bulk.save(c.dir)
}

// BulkSenders are the From domains that are counted, the busiest first.
func (c *Checker) BulkSenders() []BulkSender {
	if c == nil {
		return nil
	}
	return c.bulk.list(time.Now())
}

// ForgetBulk makes a domain no bulk sender for a receiver, and begins to count anew. It reports
// whether the domain was known.
func (c *Checker) ForgetBulk(domain, receiver string) bool {
	return c != nil && c.bulk.forget(domain, receiver)
}

func (c *Checker) saveNowAndThen() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := c.bulk.save(c.dir); err != nil {
				c.log.Warn("counts of bulk senders are not saved", "err", err)
			}
		case <-c.base.Done():
			return
		}
	}
}

// Begin begins with a message. The Run is nil if there is nothing to check; its methods take that.
// Every other Run has to be ended by Finish or Close.
func (c *Checker) Begin(env Envelope) *Run {
	if !c.Active() {
		return nil
	}
	c.changing.Lock()
	s := c.settings.Load()
	s.messages.Add(1)
	c.changing.Unlock()
	r := &Run{checker: c, settings: s, env: env, began: time.Now()}
	r.ctx, r.cancel = context.WithCancel(c.base)
	r.wg.log = c.log
	r.beginSPF()
	return r
}
