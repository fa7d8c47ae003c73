package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
)

const (
	// topSilence ends a stream on which nothing comes: the gate shows every 15 s that it lives.
	topSilence = 45 * time.Second
	// topLineMax is more than an entry takes.
	topLineMax = 1 << 20
)

// topNews is what the stream of refusals tells.
type topNews struct {
	// begun: the list is recent, from now on comes what is new.
	begun  bool
	recent []journal.Entry
	// entry is a new refusal.
	entry *journal.Entry
	// missed came too fast, since the stream began.
	missed uint64
	// note is why there is no stream.
	note string
}

// follow tells of refusals until ctx ends, and begins again when the gate has gone.
func (g *topGate) follow(ctx context.Context, pause time.Duration, news chan<- topNews) {
	tell := func(n topNews) bool {
		select {
		case news <- n:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		err := g.followOnce(ctx, tell)
		if err != nil && ctx.Err() == nil {
			note, lost := topNote("/v1/decisions/stream", err)
			if lost != nil {
				note = lost.Error()
			}
			tell(topNews{note: note})
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// followOnce reads one stream to its end.
func (g *topGate) followOnce(ctx context.Context, tell func(topNews) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(topSilence, cancel)
	defer silence.Stop()
	asked, err := json.Marshal(topSearch())
	if err != nil {
		return fmt.Errorf("the request cannot be written: %w", err)
	}
	body, err := g.with(ctx).send(http.MethodPost, "/v1/decisions/stream", "application/json",
		"application/x-ndjson", bytes.NewReader(asked))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // only read
	// The stream comes first, so that nothing falls between it and the search.
	recent, err := g.recent(ctx)
	if err != nil {
		return err
	}
	if !tell(topNews{begun: true, recent: recent}) {
		return nil
	}
	known := make(map[topEntryKey]bool, len(recent))
	for i := range recent {
		known[keyOfEntry(&recent[i])] = true
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, topLineMax)
	for lines.Scan() {
		silence.Reset(topSilence)
		n, err := parseTopNews(lines.Bytes())
		switch {
		case err != nil:
			return err
		case n.entry != nil && known[keyOfEntry(n.entry)]:
			continue
		case n.entry == nil && n.missed == 0:
			continue
		}
		if !tell(n) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream of decisions broke off: %w", rootCause(err))
	}
	return errTopStreamEnded
}

var errTopStreamEnded = errors.New("the gate has ended the stream of decisions")

// topEntryKey tells decisions apart.
type topEntryKey struct {
	at                              time.Time
	ref, session, tx, rcpt, replied string
}

func keyOfEntry(e *journal.Entry) topEntryKey {
	return topEntryKey{e.Time.UTC(), e.Ref, e.Session, e.Transaction, e.Recipient, e.Reply}
}

// parseTopNews reads a line of the stream: an entry, how many were missed, or nothing.
func parseTopNews(line []byte) (topNews, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return topNews{}, nil
	}
	var both struct {
		web.Missed
		journal.Entry
	}
	if err := json.Unmarshal(line, &both); err != nil {
		return topNews{}, fmt.Errorf("the stream of decisions cannot be read: %w; "+
			"is the gate of another version? `rcptgate version`", err)
	}
	if both.Kind == "" {
		return topNews{missed: both.Missed.Missed}, nil
	}
	return topNews{entry: &both.Entry}, nil
}
