package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/proxy"
	"github.com/rcptgate/rcptgate/proxy/policyd"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/feedback"
)

// kept is what the policy keeps of recipients, senders and decisions. It outlives configurations,
// and with policy.state_directory the gate.
type kept struct {
	path     string // of dir, as it was configured
	dir      *durable.Dir
	register *register.Register
	senders  *senders.Table
	checker  *message.Checker
	journal  *journal.Journal
	counts   counts

	forgetting sync.Mutex
	forgotten  map[string]time.Time // providers whose verdicts until then are void
}

// openKept opens all of it, or nothing. egress tells where mail leaves from if cfg does not.
func openKept(
	cfg *config.Config, names *dns.Resolver, egress func() []netip.Addr, counts counts,
	log *slog.Logger,
) (*kept, error) {
	log = logFor(log, logPolicy)
	k := &kept{path: cfg.Policy.StateDirectory, counts: counts}
	var err error
	defer func() {
		if err != nil {
			k.close(context.Background())
		}
	}()
	if k.dir, err = durable.Open(k.path); err != nil {
		fix := "make it writable for the user that runs rcptgate, or name another in policy.state_directory"
		if errors.Is(err, durable.ErrLocked) {
			fix = "another gate runs with it: stop that one, or give this one its own policy.state_directory"
		}
		return nil, failed(err.Error(), fix)
	}
	if k.register, err = register.Open(k.dir, cfg.RegisterConfig(log)); err != nil {
		return nil, failed(fmt.Sprintf("the suppression list: %v", err), "")
	}
	if k.senders, err = senders.New(k.sendersConfig(cfg, log), k.dir); err != nil {
		return nil, failed(fmt.Sprintf("the limits of senders: %v", err), "run `rcptgate check-config`")
	}
	if k.checker, err = message.New(checksOf(cfg, egress), names, k.dir, log); err != nil {
		return nil, failed(fmt.Sprintf("the checks of messages: %v", err), "run `rcptgate check-config`")
	}
	var journalConfig journal.Config
	if journalConfig, err = k.journalConfig(cfg); err != nil {
		return nil, err
	}
	if k.journal, err = journal.Open(journalConfig, log); err != nil {
		return nil, failed(fmt.Sprintf("the journal: %v", err), "see policy.journal")
	}
	return k, nil
}

// reconfigure takes over cfg. Everything that can fail was tried by check-config's checks and is
// logged here: mail goes on as before. drained waits until no message is checked any more by the
// resolver before.
func (k *kept) reconfigure(
	cfg *config.Config, names *dns.Resolver, egress func() []netip.Addr, log *slog.Logger,
) (drained func(ctx context.Context)) {
	log = logFor(log, logPolicy)
	if cfg.Policy.StateDirectory != k.path {
		log.Warn("policy.state_directory changes when the gate is started again", "directory", k.path)
	}
	journalConfig, err := k.journalConfig(cfg)
	if err == nil {
		err = k.journal.Reconfigure(journalConfig)
	}
	k.register.Reconfigure(cfg.RegisterConfig(log))
	drained, fault := k.checker.Reconfigure(checksOf(cfg, egress), names)
	if fault != nil {
		drained = func(ctx context.Context) { <-ctx.Done() } // the checks go on with that resolver
	}
	if err = errors.Join(err, k.senders.Reconfigure(k.sendersConfig(cfg, log)), fault); err != nil {
		log.Error("a part of the policy keeps its old configuration", "error", err.Error())
	}
	return drained
}

// close saves what is to be saved.
func (k *kept) close(ctx context.Context) {
	if k == nil {
		return
	}
	_ = k.journal.Close(ctx) // all of these have logged what is wrong
	_ = k.checker.Close()
	_ = k.senders.Close()
	_ = k.register.Close()
	_ = k.dir.Close()
}

func (k *kept) sendersConfig(cfg *config.Config, log *slog.Logger) senders.Config {
	c := cfg.SendersConfig(log)
	c.Changed = func(change senders.Change) {
		if change.From != change.To {
			k.counts.SenderChanged(change.To)
		}
		level := slog.LevelWarn
		if change.To == senders.StateOK {
			level = slog.LevelInfo
		}
		log.Log(context.Background(), level, "list hygiene", "sender", change.Key,
			"from", string(change.From), "to", string(change.To), "why", change.Why)
	}
	return c
}

func checksOf(cfg *config.Config, egress func() []netip.Addr) message.Config {
	c := cfg.MessageConfig()
	if c.Egress == nil {
		c.Egress = egress
	}
	return c
}

// secretName is the file of the key of the journal's hashes.
const secretName = "journal.secret"

func (k *kept) journalConfig(cfg *config.Config) (journal.Config, error) {
	if cfg.Policy.Journal.Redact != journal.RedactHash {
		return cfg.JournalConfig(nil), nil
	}
	secret := make([]byte, 32)
	found, err := k.dir.Read(secretName, func(r io.Reader) error {
		_, err := io.ReadFull(r, secret)
		return err
	})
	if err == nil && !found {
		_, _ = rand.Read(secret) // never fails
		err = k.dir.Write(secretName, func(w io.Writer) error {
			_, err := w.Write(secret)
			return err
		})
	}
	if err != nil {
		return journal.Config{}, failed(fmt.Sprintf("the key of the journal's hashes: %v", err),
			"remove the file "+k.dir.Path(secretName)+" for a new one")
	}
	return cfg.JournalConfig(secret), nil
}

// settled tells the suppression list what mail came to; see verify.Config.
func (k *kept) settled(o feedback.Observation, proof bool) {
	if proof {
		k.register.Bounced(o.Rcpt, o.Reply, o.At)
		return
	}
	k.register.Delivered(o.Rcpt, o.At)
}

// watchFront has the decisions of the SMTP front written into the journal.
func (k *kept) watchFront(hooks *proxy.Hooks) {
	recipient, end := hooks.Recipient, hooks.Message
	hooks.Recipient = func(
		tx *policy.Transaction, d *policy.Decision, relayed bool, reply esmtp.Reply, at time.Time,
	) {
		k.journal.DecisionAt(at, tx, d, reply, relayed)
		if recipient != nil {
			recipient(tx, d, relayed, reply, at)
		}
	}
	hooks.Message = func(tx *policy.Transaction, m *proxy.Message) {
		k.journal.Message(tx, journalMessage(m))
		if end != nil {
			end(tx, m)
		}
	}
}

func journalMessage(m *proxy.Message) *journal.Message {
	entry := &journal.Message{
		Outcome: string(m.Outcome), Reply: m.Reply, Octets: m.Octets, Accepted: m.Accepted,
		Deferred: m.Deferred, Refused: m.Refused, Relay: m.Relay, QueueID: m.QueueID,
		Total: m.Total, Relaying: m.Relaying,
	}
	if m.Err != nil {
		entry.Error = m.Err.Error()
	}
	report := m.Checks
	if report.Elapsed == 0 {
		return entry // there were no checks
	}
	entry.Action, entry.Ref, entry.FromDomain = report.Action.String(), report.Ref, report.FromDomain
	entry.Checking = report.Elapsed
	for _, f := range report.Findings {
		entry.Findings = append(entry.Findings, journal.Finding{
			Check: string(f.Check), Level: f.Level.String(), Detail: f.Detail, Reply: f.Reply,
		})
	}
	return entry
}

// policydHooks are those of the policy delegation server.
func (k *kept) policydHooks() policyd.Hooks {
	m := k.counts
	return policyd.Hooks{
		Connection: m.PolicydConnection,
		Request:    m.PolicydRequest,
		Recipient: func(tx *policy.Transaction, d *policy.Decision, answer policyd.Answer) {
			k.journal.Decision(tx, d, d.Reply, false)
			m.PolicydRecipient(d, string(answer))
		},
		Message: func(tx *policy.Transaction, end policyd.Message) {
			k.journal.Message(tx, &journal.Message{
				Outcome: "end_of_message", Octets: int64(end.Octets), //nolint:gosec // a size
				Accepted: end.Accepted, Deferred: end.Deferred, Refused: end.Refused,
				QueueID: end.QueueID, Total: end.Elapsed,
			})
		},
	}
}

// counts are the metrics that the gate's parts count into, besides those of the SMTP front.
type counts interface {
	PolicydConnection(event string)
	PolicydRequest(kind string)
	PolicydRecipient(d *policy.Decision, answer string)
	SenderChanged(to senders.State)
	Asked(a verify.Asked)
	Resolved(qtype, status string)
}

// keptTime is how long the last lines of the journal may take.
const keptTime = 5 * time.Second

// uncounted is for gates without metrics.
type uncounted struct{}

func (uncounted) PolicydConnection(string)                  {}
func (uncounted) PolicydRequest(string)                     {}
func (uncounted) PolicydRecipient(*policy.Decision, string) {}
func (uncounted) SenderChanged(senders.State)               {}
func (uncounted) Asked(verify.Asked)                        {}
func (uncounted) Resolved(string, string)                   {}
