package feedback

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Journal as Config.Path is the systemd journal.
const Journal = "journal"

// Config says which log is read, and which of its lines count.
type Config struct {
	// Path is the relay's log: a file, or Journal.
	Path string
	// Labels are the delivery agents by the names they log with, up to the process id:
	// "postfix/smtp", "postfix-out/relay/smtp"; one * stands for any text. Empty: every name that
	// begins with "postfix" and ends in that of a program of Postfix that delivers. Lines of the queue
	// manager are read whatever comes before its "qmgr".
	Labels []string
	// Relays are left out: smarthosts and filters, whose "sent" is no delivery. A host name
	// ("smarthost.example.com"; ".example.com" is all below it), an address or a network; names and
	// addresses with ":port" at that port only.
	Relays []string
	// Networks are those of special-purpose addresses that recipients' servers may be in
	// (verify.allow_networks). Lines of relays at other such addresses are left out.
	Networks []netip.Prefix
	// Internal keeps lines of the relay's own mailboxes and of relays at internal addresses.
	Internal bool
	// Unsent keeps lines of attempts that reached no server; they have no Reply.
	Unsent bool
	// History reads what is there already when no position is known. Otherwise the first
	// start begins at the end.
	History bool
	// Load returns the position that Save was given last, nil if there is none. Either may be nil:
	// the position is not kept. Save is called at most once a second, and at the end.
	Load func() ([]byte, error)
	Save func(position []byte) error
	// Log gets what keeps the log from being read, once when it begins and once when it is over. nil:
	// none.
	Log *slog.Logger
}

const (
	pollEvery = 250 * time.Millisecond
	saveEvery = time.Second
)

// Follower reads one log.
type Follower struct {
	config Config
	parser *Parser
	log    *slog.Logger
	source source
	saved  time.Time // when the position was saved last
	dirty  bool      // it has moved since
	unsafe bool      // saving failed, and that was logged

	mu     sync.Mutex
	status Status
}

// Status is how a Follower does.
type Status struct {
	Counts
	Last   time.Time // when a line was read last; zero: none yet
	Fault  string    // why the log cannot be read now, and what to do; "" if it can
	Failed time.Time // since when
}

// source is where lines come from.
type source interface {
	// resume begins at a position that was kept, nil at the first start.
	resume(position []byte)
	// run hands lines to the Follower until ctx ends.
	run(ctx context.Context, f *Follower, observe func(Observation))
	// position tells where the next line begins.
	position() []byte
}

// New checks the configuration; its errors are *[ConfigError].
func New(c Config) (*Follower, error) {
	parser, err := NewParser(c)
	if err != nil {
		return nil, err
	}
	f := &Follower{config: c, parser: parser, log: c.Log}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	switch c.Path {
	case "":
		return nil, &ConfigError{
			Field: "Path", Fix: `write the path of the relay's log, or "` + Journal + `"`,
		}
	case Journal:
		f.source = newJournal(c.History)
	default:
		f.source = newTail(c.Path, c.History)
	}
	return f, nil
}

// Follow reads the log until ctx ends, and hands every observation to observe, in order, from one
// goroutine. The error is nil: a log that cannot be read is waited for, and told to the
// administrator. It is called once.
func (f *Follower) Follow(ctx context.Context, observe func(Observation)) error {
	var position []byte
	if f.config.Load != nil {
		var err error
		if position, err = f.config.Load(); err != nil {
			f.log.Warn("the position in the relay's log is lost; it is read from its end",
				"path", f.config.Path, "error", err)
			position = nil
		}
	}
	f.source.resume(position)
	f.source.run(ctx, f, observe)
	f.save()
	return nil
}

// Status may be called at any time.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// moved is called after lines were handed over.
func (f *Follower) moved() {
	f.dirty = true
	now := time.Now()
	f.mu.Lock()
	f.status.Counts, f.status.Last = f.parser.Counts(), now
	f.mu.Unlock()
	if now.Sub(f.saved) >= saveEvery {
		f.save()
	}
}

// idle is called when there is nothing to read.
func (f *Follower) idle() {
	if f.dirty && time.Since(f.saved) >= saveEvery {
		f.save()
	}
}

func (f *Follower) save() {
	if f.config.Save == nil || !f.dirty {
		return
	}
	err := f.config.Save(f.source.position())
	f.saved, f.dirty = time.Now(), err != nil
	switch {
	case err != nil && !f.unsafe:
		f.log.Warn("the position in the relay's log cannot be kept; after a restart, lines may be "+
			"read again", "path", f.config.Path, "error", err)
	case err == nil && f.unsafe:
		f.log.Info("the position in the relay's log is kept again", "path", f.config.Path)
	}
	f.unsafe = err != nil
}

// fault tells why nothing can be read, "" that it can.
func (f *Follower) fault(why, fix string) {
	f.mu.Lock()
	before, since := f.status.Fault, f.status.Failed
	switch {
	case why == "":
		f.status.Fault, f.status.Failed = "", time.Time{}
	case before == "":
		f.status.Fault, f.status.Failed = why+"; "+fix, time.Now()
	default:
		f.status.Fault = why + "; " + fix
	}
	f.mu.Unlock()
	switch {
	case why != "" && before == "":
		f.log.Warn("the relay's log cannot be read; nothing is learned from it until it can",
			"path", f.config.Path, "error", why, "fix", fix)
	case why == "" && before != "":
		f.log.Info("the relay's log is read again", "path", f.config.Path,
			"off_for", time.Since(since).Round(time.Second))
	}
}
