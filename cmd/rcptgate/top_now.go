package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// topRates is the windows of the view Now: the minute that goes on, the last one that has ended, and
// the last hour with both.
type topRates struct {
	open, minute, hour web.HistoryPoint
	recent             []web.HistoryPoint // those of the hour, the oldest first
}

func topRatesOf(h *web.HistoryAnswer) topRates {
	r := topRates{recent: h.Points[max(len(h.Points)-topMinutes, 0):]}
	for i := range r.recent {
		p := &r.recent[i]
		addPoint(&r.hour, p)
		if p.Open {
			r.open = *p
		} else {
			r.minute = *p
		}
	}
	return r
}

// addPoint adds a minute to a sum. Its 95th percentile is that of the worst minute: percentiles do
// not add up.
func addPoint(sum, p *web.HistoryPoint) {
	sum.Accepted += p.Accepted
	sum.Rejected += p.Rejected
	sum.Deferred += p.Deferred
	sum.Messages += p.Messages
	sum.Probes += p.Probes
	sum.CacheHits += p.CacheHits
	sum.CacheMisses += p.CacheMisses
	sum.Blocked += p.Blocked
	sum.RelayFailures += p.RelayFailures
	sum.RcptP95 = max(sum.RcptP95, p.RcptP95)
}

func recipientsOf(p *web.HistoryPoint) uint64 { return p.Accepted + p.Rejected + p.Deferred }

func (m *topModel) nowView() []topLine {
	lines := append(m.ratesView(), m.relayView()...)
	for _, state := range []string{"failed", "degraded"} {
		for _, check := range m.status().Checks {
			if check.State == state {
				lines = append(lines, m.check(check.Part, state, check.Detail)...)
			}
		}
	}
	lines = append(lines, m.sendersLine())
	if m.rows() > topRoomy {
		lines = append(lines, nil)
	}
	// The rest of the screen, if there is more than this.
	const least = 3
	return append(lines, m.refusals(max(m.rows()-len(lines)-1, least))...)
}

// topRoomy is how many rows are too few for blank ones.
const topRoomy = 20

// ratesView is the table of rates, and what goes with it.
func (m *topModel) ratesView() []topLine {
	h := m.shown.answers.history
	if h == nil || m.shown.answers.notes[topNow] != "" {
		return m.none(topNow, "nothing was counted yet")
	}
	r := topRatesOf(h)
	t := topTable{columns: []topColumn{
		{title: "RECIPIENTS", most: 24},
		{title: "THIS MINUTE", right: true, rank: 1},
		{title: "LAST MINUTE", right: true},
		{title: "HOUR", right: true},
		{title: "SHARE", right: true, rank: 2},
	}}
	row := func(style topStyle, name topText, of func(*web.HistoryPoint) uint64, share bool) {
		part := topText("")
		if share {
			part = topShare(of(&r.hour), recipientsOf(&r.hour))
		}
		t.add(style, name, topCount(of(&r.open)), topCount(of(&r.minute)), topCount(of(&r.hour)), part)
	}
	row(topPlain, "accepted", func(p *web.HistoryPoint) uint64 { return p.Accepted }, true)
	row(topPlain, "rejected", func(p *web.HistoryPoint) uint64 { return p.Rejected }, true)
	row(topPlain, "deferred", func(p *web.HistoryPoint) uint64 { return p.Deferred }, true)
	row(topPlain, "messages", func(p *web.HistoryPoint) uint64 { return p.Messages }, false)
	row(topPlain, "probes", func(p *web.HistoryPoint) uint64 { return p.Probes }, false)
	if r.hour.Blocked > 0 {
		row(topYellow, "probes blocked", func(p *web.HistoryPoint) uint64 { return p.Blocked }, false)
	}
	if r.hour.RelayFailures > 0 {
		row(topRed, "relay failures", func(p *web.HistoryPoint) uint64 { return p.RelayFailures }, false)
	}
	lines := t.lines(m.charset, m.width)
	if m.rows() > topRoomy {
		lines = append(lines, nil)
	}
	lines = append(lines, m.wrapped("answer to RCPT", topPlain, latencyText(&r))...)
	known := topShare(r.hour.CacheHits, r.hour.CacheHits+r.hour.CacheMisses)
	if known == "" {
		known = "nothing was looked up in the last hour"
	} else {
		known += " in the last hour"
	}
	lines = append(lines, m.wrapped("from the cache", topPlain, known)...)
	return append(lines, m.spark(&r)...)
}

// topRelays is how many servers of the relay are shown one by one.
const topRelays = 4

// relayView is the servers of the relay, those that are down first.
func (m *topModel) relayView() []topLine {
	list := slices.Clone(m.status().Relay)
	slices.SortStableFunc(list, func(a, b web.RelayState) int {
		return strings.Compare(a.State, b.State) // "down" before "up"
	})
	var lines []topLine
	for i := range list[:min(len(list), topRelays)] {
		r := &list[i]
		style := topPlain
		text := m.charset.text(r.Address) + " " + m.charset.text(r.State)
		if r.State != "up" {
			style = topRed
			if !r.Since.IsZero() {
				text += " since " + m.clock(r.Since)
			}
			if r.Error != "" {
				text += ": " + m.charset.text(r.Error)
			}
		} else {
			text += topText(fmt.Sprintf(", %d sessions, %d of them idle", r.Sessions, r.Idle))
		}
		lines = append(lines, m.wrapped("relay", style, text)...)
	}
	if more := len(list) - topRelays; more > 0 {
		lines = append(lines, m.wrapped("relay", topFaint, topText(fmt.Sprintf("and %d more", more)))...)
	}
	return lines
}

// latencyText is how long clients wait for the answer to RCPT.
func latencyText(r *topRates) topText {
	if recipientsOf(&r.hour) == 0 {
		return "nobody asked in the last hour"
	}
	last := &r.minute
	if recipientsOf(last) == 0 {
		last = &r.open
	}
	worst := "worst minute " + roundTime(millis(r.hour.RcptP95))
	if recipientsOf(last) == 0 {
		return topText(worst)
	}
	return topText(fmt.Sprintf("half within %s, 95 %% within %s; %s", roundTime(millis(last.RcptP50)),
		roundTime(millis(last.RcptP95)), worst))
}

// millis is a time of the history. The bounds are those of sense: it is somebody else's number.
func millis(ms float64) time.Duration {
	return time.Duration(min(max(ms, 0), 1e9) * float64(time.Millisecond))
}

// topShare is n of all in percent, "" of nothing.
func topShare(n, all uint64) topText {
	if all == 0 {
		return ""
	}
	return topText(fmt.Sprintf("%.1f %%", 100*float64(n)/float64(all)))
}

// spark is the recipients of each minute of the last hour, as bars.
func (m *topModel) spark(r *topRates) []topLine {
	levels := []rune(" ▁▂▃▄▅▆▇█")
	if !m.charset.utf8 {
		levels = []rune(" .:-=+*#@")
	}
	const name = "last hour       "
	points := r.recent
	if room := m.width - len(name); m.width > 0 && len(points) > room {
		points = points[len(points)-max(room, 0):]
	}
	most := uint64(0)
	for i := range points {
		most = max(most, recipientsOf(&points[i]))
	}
	if most == 0 {
		return nil
	}
	bars := make([]rune, len(points))
	for i := range points {
		share := float64(recipientsOf(&points[i])) / float64(most)
		bars[i] = levels[int(math.Ceil(share*float64(len(levels)-1)))] // whoever came is seen
	}
	return []topLine{{{name, topPlain}, {topText(bars), topGreen}}}
}

// sendersLine is who sends: open connections, and senders that are kept back.
func (m *topModel) sendersLine() topLine {
	states := m.status().Senders
	held, slowed, warned := states[senders.StateHold], states[senders.StateThrottle], states[senders.StateWarn]
	style := topPlain
	switch {
	case held > 0:
		style = topRed
	case slowed+warned > 0:
		style = topYellow
	}
	text := topText(fmt.Sprintf("%d held, %d throttled, %d warned; ", held, slowed, warned))
	open := topText(fmt.Sprintf("%d connections", m.status().Connections))
	return topLine{{"senders         ", topPlain}, {text, style}, {open, topPlain}}
}
