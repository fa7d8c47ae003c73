package policyd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
)

// lineHandler is a handler that takes a line as it is, without a record, which is garbage.
type lineHandler interface {
	HandleAttrs(
		ctx context.Context, at time.Time, level slog.Level, message string, attrs []slog.Attr,
	) error
}

// line is where the attributes of a line are gathered.
type line [24]slog.Attr

var linePool = sync.Pool{New: func() any { return new(line) }}

// handler has what every line of a message has; nil if no line is wanted.
func (c *conn) handler(tx *transaction) slog.Handler {
	if !c.srv.log.Enabled(context.Background(), slog.LevelInfo) {
		return nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.log == nil {
		tx.log = c.srv.log.Handler().WithAttrs([]slog.Attr{
			slog.String("door", "policyd"),
			slog.String("session", tx.decide.Session), slog.String("transaction", tx.decide.ID),
			slog.String("client", tx.decide.Client.Addr.String()),
			slog.String("sender", address(tx.decide.Mail.From, tx.st.cfg.RedactLog)),
		})
	}
	return tx.log
}

// write writes a line with what add appends.
func write(h slog.Handler, message string, add func([]slog.Attr) []slog.Attr) {
	ctx, at := context.Background(), time.Now()
	room := linePool.Get().(*line) //nolint:forcetypeassert // the pool holds nothing else
	attrs := add(room[:0])
	if lh, ok := h.(lineHandler); ok {
		_ = lh.HandleAttrs(ctx, at, slog.LevelInfo, message, attrs)
	} else {
		r := slog.NewRecord(at, slog.LevelInfo, message, 0)
		r.AddAttrs(attrs...)
		_ = h.Handle(ctx, r)
	}
	clear(attrs)
	linePool.Put(room)
}

// logRecipient writes one line for each recipient decided.
func (c *conn) logRecipient(tx *transaction, d *policy.Decision) {
	if h := c.handler(tx); h != nil {
		write(h, "recipient", func(attrs []slog.Attr) []slog.Attr {
			return d.AppendLog(attrs, tx.st.cfg.RedactLog)
		})
	}
}

// message is the end of a message.
func (c *conn) message(tx *transaction, r *request) {
	tx.mu.Lock()
	known := tx.known
	m := Message{
		QueueID: string(esmtp.AppendEscaped(nil, string(r.value(attrQueueID)), false)),
		Octets:  r.size, Recipients: int(min(r.rcpts, 1<<31-1)),
		Accepted: tx.accepted, Deferred: tx.deferred, Refused: tx.refused,
		Elapsed: time.Since(tx.started),
	}
	tx.known = nil
	tx.mu.Unlock()
	if hook := tx.st.cfg.Hooks.Message; hook != nil {
		hook(&tx.decide, m)
	}
	if hook := tx.st.cfg.Hooks.Relayed; hook != nil && len(known) > 0 {
		hook(m.QueueID, known)
	}
	if h := c.handler(tx); h != nil {
		write(h, "message", func(attrs []slog.Attr) []slog.Attr {
			return append(attrs,
				slog.String("helo", clean(tx.decide.Client.Helo)),
				slog.String("login", clean(tx.decide.Client.Login)),
				slog.Int("recipients", m.Recipients), slog.Int("accepted", m.Accepted),
				slog.Int("deferred", m.Deferred), slog.Int("refused", m.Refused),
				slog.Uint64("octets", m.Octets), slog.String("queue_id", m.QueueID),
				slog.Int64("total_ms", m.Elapsed.Milliseconds()))
		})
	}
	tx.over.Store(true)
	c.finish(tx)
	c.srv.table.end(tx, c)
	if c.cur == tx {
		c.cur = nil
	}
}

// finish tells of the header fields that could not be added.
func (c *conn) finish(tx *transaction) {
	tx.mu.Lock()
	missing := len(tx.fields) - tx.added
	tx.added = len(tx.fields)
	tx.mu.Unlock()
	if missing > 0 {
		c.srv.log.Warn("header fields were not added", "door", "policyd",
			"session", tx.decide.Session, "transaction", tx.decide.ID, "fields", missing,
			"hint", "also ask the policy server in smtpd_data_restrictions; one answer adds one field")
	}
}

// logFault tells of a request that cannot be understood.
func (c *conn) logFault(f fault) {
	args := []any{"session", c.id, "client", c.peer.String(), "problem", string(f)}
	if !c.srv.state.Load().cfg.RedactLog {
		if f == faultRecipient {
			args = append(args, "recipient", excerpt(c.req.value(attrRecipient)))
		}
		if f == faultSenderName {
			args = append(args, "sender", excerpt(c.req.value(attrSender)))
		}
	}
	c.srv.log.Warn("policy request", args...)
}

// excerpt is what a peer wrote, for people.
func excerpt(b []byte) string {
	return string(esmtp.AppendEscaped(nil, string(b[:min(len(b), 300)]), true))
}

func address(a esmtp.Address, redact bool) string {
	switch {
	case redact:
		return a.Redacted()
	case a.IsNull():
		return "<>"
	}
	return a.String()
}

// clean escapes what does not stand for itself.
func clean(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return string(esmtp.AppendEscaped(nil, s, true))
		}
	}
	return s
}
