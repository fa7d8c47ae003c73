package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/proxy/relay"
)

// messageLog gathers what the one log line of a message tells.
type messageLog struct {
	start, received time.Time // DATA; the end of the message
	upstream        string
	size            int64
	outcome         Outcome
	reply           esmtp.Reply // the client's, zero if it was gone
	queueID         string
	err             error
	report          message.Report // of the checks; zero if there were none
}

// judge is the outcome that the relay's reply means.
func (m *messageLog) judge(r esmtp.Reply) {
	switch {
	case r.Positive():
		m.outcome = Passed
	case r.Permanent():
		m.outcome = Refused
	default:
		m.outcome = Deferred
	}
}

func (m *messageLog) answered(r esmtp.Reply) esmtp.Reply {
	if m.queueID = queueID(r); r.Code == 421 {
		r.Code = 451 // the relay's connection ends, not the client's
	}
	m.reply = r
	return r
}

func (m *messageLog) failed(err *relay.Error) esmtp.Reply {
	m.outcome, m.err = RelayFailed, err
	if err.Unknown {
		m.outcome = Unknown
	}
	return m.answered(err.Reply)
}

// lost is for a client that is gone. The reply only ends go-smtp's part.
func (m *messageLog) lost(err error) esmtp.Reply {
	m.outcome, m.err = ClientLost, err
	return esmtp.NewReply(451, esmtp.EnhancedCode{4, 4, 2}, "Connection lost")
}

// lineHandler is a handler that takes a line as it is, without a record, which is garbage.
type lineHandler interface {
	HandleAttrs(
		ctx context.Context, at time.Time, level slog.Level, text string, attrs []slog.Attr,
	) error
}

// line is where the attributes of a line are gathered.
type line [24]slog.Attr

var linePool = sync.Pool{New: func() any { return new(line) }}

// logs says whether a line is wanted, and at which level. If so, what every line of the
// transaction has is in t.log.
func (t *transaction) logs(failed bool) (level slog.Level, wanted bool) {
	if level = slog.LevelInfo; failed {
		level = slog.LevelWarn
	}
	log := t.s.srv.log
	if wanted = log.Enabled(context.Background(), level); wanted && t.log == nil {
		t.log = log.Handler().WithAttrs([]slog.Attr{
			slog.String("session", t.decide.Session), slog.String("transaction", t.id),
			slog.String("client", t.decide.Client.Addr.String()),
			slog.String("sender", t.address(t.mail.From)),
		})
	}
	return level, wanted
}

// write writes a line with what add appends.
func (t *transaction) write(
	at time.Time, level slog.Level, text string, add func([]slog.Attr) []slog.Attr,
) {
	ctx := context.Background()
	room := linePool.Get().(*line) //nolint:forcetypeassert // the pool holds nothing else
	attrs := add(room[:0])
	if h, ok := t.log.(lineHandler); ok {
		_ = h.HandleAttrs(ctx, at, level, text, attrs)
	} else {
		r := slog.NewRecord(at, level, text, 0)
		r.AddAttrs(attrs...)
		_ = t.log.Handle(ctx, r)
	}
	clear(attrs)
	linePool.Put(room)
}

// logMessage writes one line for each message that came to DATA.
func (t *transaction) logMessage(m *messageLog) {
	now := time.Now()
	var relayTime time.Duration
	if !m.received.IsZero() {
		relayTime = now.Sub(m.received)
	}
	if hook := t.st.cfg.Hooks.Message; hook != nil {
		hook(&t.decide, &Message{
			Outcome: m.outcome, Reply: m.reply, Octets: m.size, Accepted: t.accepted,
			Deferred: t.deferred, Refused: t.refused, Relay: m.upstream, QueueID: m.queueID, Err: m.err,
			Checks: &m.report, Total: now.Sub(t.started), Relaying: relayTime,
		})
	}
	if hook := t.st.cfg.Hooks.Relayed; hook != nil && m.outcome == Passed && len(t.known) > 0 {
		hook(m.queueID, t.known)
	}
	level, wanted := t.logs(m.err != nil)
	if !wanted {
		return
	}
	t.write(now, level, "message", func(attrs []slog.Attr) []slog.Attr {
		attrs = append(attrs,
			slog.String("helo", clean(t.decide.Client.Helo)),
			slog.String("login", clean(t.decide.Client.Login)),
			slog.String("outcome", string(m.outcome)), slog.Int("accepted", t.accepted),
			slog.Int("deferred", t.deferred), slog.Int("refused", t.refused),
			slog.Int64("octets", m.size), slog.String("relay", m.upstream),
			slog.String("queue_id", m.queueID),
			slog.Int64("total_ms", now.Sub(t.started).Milliseconds()),
			slog.Int64("data_ms", now.Sub(m.start).Milliseconds()))
		if !m.received.IsZero() {
			attrs = append(attrs, slog.Int64("relay_ms", relayTime.Milliseconds()))
		}
		if len(m.report.Findings) > 0 {
			attrs = append(attrs, slog.String("checks", findings(&m.report)),
				slog.String("from_domain", m.report.FromDomain), slog.String("ref", m.report.Ref))
		}
		if !m.reply.IsZero() {
			attrs = append(attrs, slog.String("reply", m.reply.String()))
		}
		if m.err != nil {
			attrs = append(attrs, slog.String("error", m.err.Error()))
		}
		return attrs
	})
}

// logRecipient writes one line for each recipient decided.
func (t *transaction) logRecipient(r *recipient) {
	if hook := t.st.cfg.Hooks.Recipient; hook != nil {
		hook(&t.decide, &r.decision, r.relayed, r.reply, t.answered)
	}
	level, wanted := t.logs(r.relayErr != nil)
	if !wanted {
		return
	}
	t.write(t.answered, level, "recipient", func(attrs []slog.Attr) []slog.Attr {
		attrs = r.decision.AppendLog(attrs, t.st.cfg.RedactLog)
		if r.relayed && !r.reply.Positive() || r.decision.Rule == "" {
			attrs = append(attrs, slog.String("reply", r.reply.String()))
		}
		if r.relayErr != nil {
			attrs = append(attrs, slog.String("error", r.relayErr.Error()))
		}
		return attrs
	})
}

func (t *transaction) address(a esmtp.Address) string {
	switch {
	case t.st.cfg.RedactLog:
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
