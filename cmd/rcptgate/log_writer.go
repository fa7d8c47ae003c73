package main

import (
	"io"
	"sync"
	"time"
)

const (
	logBatch = 32 << 10              // octets that are gathered at most
	logDelay = 50 * time.Millisecond // the longest that a line waits
)

// logWriter gathers the lines of a busy log: one write for many. A line is at most logDelay
// late, and one that comes alone waits no longer. What the writer below refuses is lost, as
// with any log.
type logWriter struct {
	w io.Writer

	mu    sync.Mutex
	lines []byte
	timer *time.Timer // to the next flush, also of lines that came later; nil: nothing waits
}

func newLogWriter(w io.Writer) *logWriter { return &logWriter{w: w} }

// Write takes one or more lines.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines)+len(p) > logBatch {
		_ = l.flush() // a busy log leaves the timer alone
	}
	l.lines = append(l.lines, p...)
	if l.timer == nil {
		l.timer = time.AfterFunc(logDelay, func() { _ = l.Flush() })
	}
	return len(p), nil
}

// Flush writes what waits.
func (l *logWriter) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	return l.flush()
}

func (l *logWriter) flush() error {
	if len(l.lines) == 0 {
		return nil
	}
	_, err := l.w.Write(l.lines)
	l.lines = l.lines[:0]
	return err
}
