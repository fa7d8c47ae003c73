package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Defaults of Config.
const (
	DefaultRecent       = 10_000
	DefaultRefusals     = 50_000
	DefaultMemoryOctets = 64 << 20
	DefaultQueue        = 8192
	DefaultMaxSize      = 100 << 20
	DefaultRotateEvery  = 24 * time.Hour
	DefaultKeep         = 10
)

// Config is the journal section of the configuration. The zero value keeps the defaults in memory,
// with whole addresses.
type Config struct {
	// Path is the file, "" for none. Its directory must exist.
	Path string
	// MaxSize is the size in octets from which on a file is rotated: 0 is DefaultMaxSize, negative
	// never. RotateEvery is the age of its first line: 0 is DefaultRotateEvery, negative never.
	MaxSize     int64
	RotateEvery time.Duration
	// Keep is how many rotated files stay: 0 is DefaultKeep, negative none. MaxAge is the
	// retention: what is older goes, in memory and in rotated files; 0 keeps it.
	Keep   int
	MaxAge time.Duration

	// Redact is how addresses are written: RedactOff (also ""), RedactLocal, or RedactHash, which
	// needs a Secret of 16 octets or more that stays the same.
	Redact string
	Secret []byte

	// Recent is how many decisions are kept in memory, Refusals how many refusals that are older
	// than those, MemoryOctets what all of them may take together. 0 is the default, negative none.
	Recent, Refusals int
	MemoryOctets     int64
	// Queue is how many decisions may wait to be written; the others are lost and counted. 0 is
	// DefaultQueue.
	Queue int

	// Webhook is told of refusals, if it has a URL.
	Webhook Webhook
}

// Message is the end of a message, after its recipients.
type Message struct {
	Outcome  string      // as in the log: "passed", "refused", "client_lost", ...
	Reply    esmtp.Reply // what the client got; zero if it was gone
	Octets   int64
	Accepted int // recipients
	Deferred int
	Refused  int
	Relay    string // the upstream
	QueueID  string // the relay's name for it
	Error    string // of the relay or the client; "" none

	// What the checks of the message found, if there were any.

	Action     string // "pass", "defer" or "reject"; "" no checks
	Ref        string // that its refusal carries
	FromDomain string
	Findings   []Finding
	Checking   time.Duration

	Total, Relaying time.Duration // since MAIL; that the relay took to answer
}

// Finding is what one check of a message found.
type Finding struct {
	Check, Level, Detail string
	Reply                esmtp.Reply
}

// Stats are counts since the start.
type Stats struct {
	Entries uint64 // written to memory, and to the file if there is one
	Lost    uint64 // decisions that found the queue full
	Unsaved uint64 // lines that the file could not take
	Octets  int64  // in memory
	Lines   int    // in memory
	Webhook WebhookStats
}

// Check returns what is wrong with the configuration, all of it, each error with the next step.
func (cfg *Config) Check() error {
	var faults []error
	switch cfg.Redact {
	case "", RedactOff, RedactLocal:
	case RedactHash:
		if len(cfg.Secret) < 16 {
			faults = append(faults, fmt.Errorf(
				"redact %q needs a secret of at least 16 octets, which has %d: make one with "+
					"`openssl rand -hex 32`", RedactHash, len(cfg.Secret)))
		}
	default:
		faults = append(faults, fmt.Errorf("unknown redact %q: write %q, %q or %q",
			cfg.Redact, RedactOff, RedactLocal, RedactHash))
	}
	if cfg.MaxAge < 0 {
		faults = append(faults, errors.New("a negative max_age: write 0 to keep what is old"))
	}
	if cfg.Queue < 0 {
		faults = append(faults, errors.New("a negative queue: write 0 for the default"))
	}
	if cfg.MaxSize > 0 && cfg.MaxSize < maxLine {
		faults = append(faults, fmt.Errorf("a max_size of %d octets: write %d or more, or -1 for none",
			cfg.MaxSize, maxLine))
	}
	if err := cfg.Webhook.Check(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// orDefault is a number of the configuration: 0 is the default, a negative one none.
func orDefault[T int | int64 | time.Duration](n, standard T) T {
	switch {
	case n == 0:
		return standard
	case n < 0:
		return 0
	}
	return n
}
