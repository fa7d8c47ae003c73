package web

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"
)

const (
	historyStep  = time.Minute
	historyMost  = int(24 * time.Hour / historyStep)
	historyFresh = 500 * time.Millisecond // the open point may be this old
)

// History is what the gate did in each of the last 1440 minutes, in memory: about 150 KiB. It is made
// of the metrics, so it costs nothing while mail flows. Safe for concurrent use.
type History struct {
	metrics *Metrics

	mu     sync.Mutex
	closed []HistoryPoint // a ring
	next   int            // in closed
	begun  time.Time      // of the minute that goes on
	before *totals        // at begun
	now    *totals        // the last look, at looked
	looked time.Time
}

// HistoryPoint is one minute.
type HistoryPoint struct {
	Time time.Time `json:"t"` // when it begins
	Open bool      `json:"open,omitempty"`

	// Recipients by what was decided, and messages that came to DATA.
	Accepted uint64 `json:"accepted"`
	Rejected uint64 `json:"rejected"`
	Deferred uint64 `json:"deferred"`
	Messages uint64 `json:"messages"`

	Probes      uint64 `json:"probes"`       // questions to mail servers
	CacheHits   uint64 `json:"cache_hits"`   // recipients whose verdict was known
	CacheMisses uint64 `json:"cache_misses"` // and those where DNS or a mail server was asked
	Blocked     uint64 `json:"blocked"`      // probes that were refused for our or the sender's sake

	// The time to decide a recipient, in milliseconds: half of them, and 95 of 100, took at most so
	// long. 0 without any.
	RcptP50 float64 `json:"rcpt_p50_ms"`
	RcptP95 float64 `json:"rcpt_p95_ms"`

	RelayFailures uint64 `json:"relay_failures"` // messages that no relay took to their end
}

// HistoryRequest asks for the last so many minutes.
type HistoryRequest struct {
	Points int `json:"points,omitempty"` // 0 is all there are
}

// HistoryAnswer are the minutes since the start, 24 hours at most, the oldest first. The last one may go on.
type HistoryAnswer struct {
	Step   int            `json:"step"` // seconds
	From   time.Time      `json:"from"`
	Points []HistoryPoint `json:"points"`
}

// NewHistory begins now, with what the metrics say then. Run must run.
func NewHistory(m *Metrics) *History {
	h := &History{metrics: m, begun: time.Now()}
	h.before = m.totals()
	h.now = h.before
	return h
}

// Run closes a point at the end of each minute until ctx ends.
func (h *History) Run(ctx context.Context) {
	first := time.Now()
	timer := time.NewTimer(first.Truncate(historyStep).Add(historyStep).Sub(first))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		h.turn(now)
		timer.Reset(now.Truncate(historyStep).Add(historyStep).Sub(now))
	}
}

// turn ends the minute that goes on.
func (h *History) turn(now time.Time) {
	sums := h.metrics.totals()
	h.mu.Lock()
	defer h.mu.Unlock()
	p := pointOf(h.begun, h.before, sums)
	if len(h.closed) < historyMost {
		h.closed = append(h.closed, p)
	} else {
		h.closed[h.next] = p
		h.next = (h.next + 1) % historyMost
	}
	h.begun, h.before, h.now, h.looked = now, sums, sums, now
}

// last returns the last most points, all if it is 0, with the one that goes on.
func (h *History) last(most int, now time.Time) []HistoryPoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since := now.Sub(h.looked); since < 0 || since > historyFresh {
		h.now, h.looked = h.metrics.totals(), now
	}
	list := make([]HistoryPoint, 0, len(h.closed)+1)
	list = append(list, h.closed[h.next:]...)
	list = append(list, h.closed[:h.next]...)
	open := pointOf(h.begun, h.before, h.now)
	open.Open = true
	list = append(list, open)
	if most > 0 && most < len(list) {
		list = list[len(list)-most:]
	}
	return list
}

// pointOf is what came between two sums.
func pointOf(begun time.Time, before, after *totals) HistoryPoint {
	more := func(a, b float64) uint64 { return uint64(max(0, b-a)) }
	return HistoryPoint{
		Time:     begun.UTC().Truncate(time.Second),
		Accepted: more(before.accepted, after.accepted), Rejected: more(before.rejected, after.rejected),
		Deferred: more(before.deferred, after.deferred), Messages: more(before.messages, after.messages),
		Probes: more(before.probes, after.probes), CacheHits: more(before.hits, after.hits),
		CacheMisses: more(before.misses, after.misses), Blocked: more(before.blocked, after.blocked),
		RcptP50:       thousandths(after.quantile(before, 0.5)),
		RcptP95:       thousandths(after.quantile(before, 0.95)),
		RelayFailures: more(before.relayFailures, after.relayFailures),
	}
}

func thousandths(f float64) float64 { return math.Round(f*1000) / 1000 }

func (c *call) history() error {
	var asked HistoryRequest
	if c.r.Method == http.MethodPost {
		if err := c.decode(&asked); err != nil {
			return err
		}
		if asked.Points < 0 {
			return badField("points", "it is negative", "write a number of minutes, or 0 for all")
		}
	}
	if c.parts.History == nil {
		return missing("gate that runs", "start it: systemctl start rcptgate")
	}
	points := c.parts.History.last(asked.Points, time.Now())
	return c.reply(HistoryAnswer{
		Step: int(historyStep / time.Second), From: points[0].Time, Points: points,
	})
}
