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
	outcome         string
	reply           esmtp.Reply // the client's, zero if it was gone
	queueID         string
	err             error
}

func (m *messageLog) answered(r esmtp.Reply) esmtp.Reply {
	if m.queueID = queueID(r); r.Code == 421 {
		r.Code = 451 // the relay's connection ends, not the client's
	}
	m.reply = r
	return r
}

func (m *messageLog) failed(err *relay.Error) esmtp.Reply {
	m.outcome, m.err = "relay failed", err
	if err.Unknown {
		m.outcome = "unknown: the relay may have taken it"
	}
	return m.answered(err.Reply)
}

// lost is for a client that is gone. The reply only ends go-smtp's part.
func (m *messageLog) lost(err error) esmtp.Reply {
	m.outcome, m.err = "client lost", err
	return esmtp.NewReply(451, esmtp.EnhancedCode{4, 4, 2}, "Connection lost")
}

// logMessage writes one line for each message that came to DATA.
func (t *transaction) logMessage(m *messageLog) {
	level := slog.LevelInfo
	if m.err != nil {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !t.s.srv.log.Enabled(ctx, level) {
		return
	}
	now := time.Now()
	args := []any{
		"session", t.decide.Session, "transaction", t.id,
		"client", t.decide.Client.Addr.String(), "helo", clean(t.decide.Client.Helo),
		"sender", t.address(t.mail.From), "outcome", m.outcome,
		"accepted", t.accepted, "deferred", t.deferred, "refused", t.refused,
		"octets", m.size, "relay", m.upstream, "queue_id", m.queueID,
		"total_ms", now.Sub(t.started).Milliseconds(),
		"data_ms", now.Sub(m.start).Milliseconds(),
	}
	if !m.received.IsZero() {
		args = append(args, "relay_ms", now.Sub(m.received).Milliseconds())
	}
	if !m.reply.IsZero() {
		args = append(args, "reply", m.reply.String())
	}
	if m.err != nil {
		args = append(args, "error", m.err.Error())
	}
	t.s.srv.log.Log(ctx, level, "message", args...)
}

// logRecipient writes one line for each recipient decided.
func (t *transaction) logRecipient(r *recipient) {
	level := slog.LevelInfo
	if r.relayErr != nil {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !t.s.srv.log.Enabled(ctx, level) {
		return
	}
	args := append([]any{
		"session", t.decide.Session, "transaction", t.id,
		"client", t.decide.Client.Addr.String(), "sender", t.address(t.mail.From),
	}, r.decision.LogArgs(t.s.srv.cfg.RedactLog)...)
	if r.relayed || r.decision.Rule == "" {
		args = append(args, "reply", r.reply.String())
	}
	if r.relayErr != nil {
		args = append(args, "error", r.relayErr.Error())
	}
	t.s.srv.log.Log(ctx, level, "recipient", args...)
}

func (t *transaction) address(a esmtp.Address) string {
	switch {
	case t.s.srv.cfg.RedactLog:
		return a.Redacted()
	case a.IsNull():
		return "<>"
	}
	return a.String()
}

func clean(s string) string { return string(esmtp.AppendEscaped(nil, s, true)) }
