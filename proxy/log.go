package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
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

// logMessage writes one line for each message that came to DATA.
func (t *transaction) logMessage(m *messageLog) {
	now := time.Now()
	var relayTime time.Duration
	if !m.received.IsZero() {
		relayTime = now.Sub(m.received)
	}
	if hook := t.st.cfg.Hooks.Message; hook != nil {
		hook(m.outcome, m.size, now.Sub(t.started), relayTime)
	}
	ctx := context.Background()
	level, wanted := t.logs(ctx, m.err != nil)
	if !wanted {
		return
	}
	var room [24]slog.Attr // so that the line is made without garbage
	attrs := append(room[:0],
		slog.String("session", t.decide.Session), slog.String("transaction", t.id),
		slog.String("client", t.logClient), slog.String("helo", clean(t.decide.Client.Helo)),
		slog.String("login", clean(t.decide.Client.Login)),
		slog.String("sender", t.logSender), slog.String("outcome", string(m.outcome)),
		slog.Int("accepted", t.accepted), slog.Int("deferred", t.deferred), slog.Int("refused", t.refused),
		slog.Int64("octets", m.size), slog.String("relay", m.upstream), slog.String("queue_id", m.queueID),
		slog.Int64("total_ms", now.Sub(t.started).Milliseconds()),
		slog.Int64("data_ms", now.Sub(m.start).Milliseconds()))
	if !m.received.IsZero() {
		attrs = append(attrs, slog.Int64("relay_ms", relayTime.Milliseconds()))
	}
	if !m.reply.IsZero() {
		attrs = append(attrs, slog.String("reply", m.reply.String()))
	}
	if m.err != nil {
		attrs = append(attrs, slog.String("error", m.err.Error()))
	}
	t.s.srv.log.LogAttrs(ctx, level, "message", attrs...)
}

// logs says whether a line is wanted, and at which level. If so, what every line of the
// transaction has is made.
func (t *transaction) logs(ctx context.Context, failed bool) (level slog.Level, wanted bool) {
	if level = slog.LevelInfo; failed {
		level = slog.LevelWarn
	}
	if wanted = t.s.srv.log.Enabled(ctx, level); wanted && t.logClient == "" {
		t.logClient, t.logSender = t.decide.Client.Addr.String(), t.address(t.mail.From)
	}
	return level, wanted
}

// logRecipient writes one line for each recipient decided.
func (t *transaction) logRecipient(r *recipient) {
	if hook := t.st.cfg.Hooks.Recipient; hook != nil {
		hook(r.decision, r.relayed, r.reply)
	}
	ctx := context.Background()
	level, wanted := t.logs(ctx, r.relayErr != nil)
	if !wanted {
		return
	}
	var room [24]slog.Attr // so that the line is made without garbage
	attrs := append(room[:0],
		slog.String("session", t.decide.Session), slog.String("transaction", t.id),
		slog.String("client", t.logClient), slog.String("sender", t.logSender))
	attrs = r.decision.AppendLog(attrs, t.st.cfg.RedactLog)
	if r.relayed && !r.reply.Positive() || r.decision.Rule == "" {
		attrs = append(attrs, slog.String("reply", r.reply.String()))
	}
	if r.relayErr != nil {
		attrs = append(attrs, slog.String("error", r.relayErr.Error()))
	}
	t.s.srv.log.LogAttrs(ctx, level, "recipient", attrs...)
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

func clean(s string) string { return string(esmtp.AppendEscaped(nil, s, true)) }
