package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// demoRecord is one line of the gate's own log, by key.
type demoRecord map[string]string

// demoLog is the log of the demo's gate. What the demo shows of a decision is the log line that
// serve would have written about it, so that nothing is shown that did not happen.
type demoLog struct {
	next  slog.Handler // gets errors
	attrs []slog.Attr

	*demoLines
}

// demoLines are the lines about recipients and messages that nobody has looked at yet.
type demoLines struct {
	mu      sync.Mutex
	waiting []demoRecord
	added   chan struct{} // holds one token while there is something new
}

func newDemoLog(next slog.Handler) *demoLog {
	return &demoLog{next: next, demoLines: &demoLines{added: make(chan struct{}, 1)}}
}

// Enabled takes everything from Info on.
func (l *demoLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// WithAttrs returns a handler that adds attrs to each line.
func (l *demoLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &demoLog{next: l.next, attrs: slices.Concat(l.attrs, attrs), demoLines: l.demoLines}
}

// WithGroup is not used by the gate; keys stay what they are.
func (l *demoLog) WithGroup(string) slog.Handler { return l }

// Handle keeps lines about recipients and messages. Errors go to people; other lines are about
// the troubles of a world that is made of troubles.
func (l *demoLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != "recipient" && r.Message != "message" {
		if r.Level >= slog.LevelError {
			return l.next.Handle(ctx, r)
		}
		return nil
	}
	line := demoRecord{"event": r.Message}
	for _, a := range l.attrs {
		line[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		line[a.Key] = a.Value.String()
		return true
	})
	l.mu.Lock()
	l.waiting = append(l.waiting, line)
	l.mu.Unlock()
	select {
	case l.added <- struct{}{}:
	default:
	}
	return nil
}

// take returns the next line, or false when ctx ends first. It has one caller at a time.
func (l *demoLines) take(ctx context.Context) (demoRecord, bool) {
	for {
		l.mu.Lock()
		if len(l.waiting) > 0 {
			line := l.waiting[0]
			l.waiting = l.waiting[1:]
			l.mu.Unlock()
			return line, true
		}
		l.mu.Unlock()
		select {
		case <-l.added:
		case <-ctx.Done():
			return nil, false
		}
	}
}
