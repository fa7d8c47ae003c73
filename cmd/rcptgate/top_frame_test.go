package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// topTestModel is a view of a gate in which everything that a gate may say is one text.
func topTestModel(text string, charset topCharset) *topModel {
	now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	m := &topModel{charset: charset, width: 80, height: 24, every: time.Second, now: now}
	points := make([]web.HistoryPoint, 90)
	for i := range points {
		points[i] = web.HistoryPoint{
			Time: now.Truncate(time.Minute).Add(time.Duration(i-89) * time.Minute), Open: i == 89,
			Accepted: uint64(i), Rejected: 10, Deferred: 1, Messages: 5, Probes: 7, CacheHits: 3,
			CacheMisses: 1, RcptP50: 2, RcptP95: float64(i), RelayFailures: 1,
		}
	}
	a := topAnswers{
		at: now,
		status: &web.StatusAnswer{
			Ready: true, State: "degraded", Version: text, Mode: text, Policy: text,
			Started: now.Add(-49 * time.Hour), Senders: map[senders.State]int{senders.StateHold: 1},
			Checks: []web.PartState{{Part: text, State: "degraded", Detail: text}, {Part: "relay", State: "ok"}},
			Relay: []web.RelayState{
				{Address: "127.0.0.1:10026", State: "up", Sessions: 3, Idle: 2},
				{Address: text, State: "down", Since: now.Add(-time.Hour), Error: text},
			},
		},
		history: &web.HistoryAnswer{Points: points},
		providers: &web.Providers{Providers: []web.Provider{
			{
				Name: "google", Title: text, Probes: 1200, State: web.ProviderPaused, Why: text, Hint: text,
				PausedUntil: now.Add(time.Hour), Trust: text, Limit: text,
			},
			{Name: text, State: web.ProviderOK},
		}},
		senders: &web.Senders{Total: 7, Senders: []web.Sender{
			{Key: text, State: senders.StateHold, Why: text, Until: now.Add(30 * time.Hour)},
		}},
	}
	m.answered(&a, topNow, topProviders, topSendersView)
	m.heard(&topNews{begun: true, recent: []journal.Entry{
		{
			Time: now, Kind: journal.KindRecipient, Recipient: text, Action: "reject", Ref: text, Reason: text,
			Rule: text, Provider: text, Sender: text, Reply: text,
		},
		{Time: now, Kind: journal.KindRecipient, Recipient: text, Action: "accept", Shadow: text, ShadowReply: text},
	}})
	return m
}

// shownOn is a frame as a terminal shows it.
func (m *topModel) shownOn(t *testing.T) string {
	t.Helper()
	e := newEmulated(m.width, m.height)
	e.write([]byte("\x1b[2J"))
	frame := m.frame()
	if len(frame) != m.height {
		t.Fatalf("%d lines on %d rows", len(frame), m.height)
	}
	for i, line := range frame {
		e.write(fmt.Appendf(nil, "\x1b[%d;1H%s\x1b[K", i+1, line.paint(true)))
	}
	e.check(t)
	return e.text()
}

// TestTopFrames: what the views show, and that they fit terminals of any size.
func TestTopFrames(t *testing.T) {
	m := topTestModel("text", topCharset{utf8: true})
	for view, want := range [topViews][]string{
		topNow: {
			"ready, degraded  policy text, verify text, up 2 d 1 h", "\naccepted                 89           88  3,599  84.3 %\n",
			"\nrelay failures            1            1     61\n",
			"half within 2 ms, 95 % within 88 ms; worst minute 89 ms",
			"from the cache  75.0 % in the last hour", "last hour       ▄▄▄", "█\n",
			"\nrelay           text down since ", "text\nrelay           127.0.0.1:10026 up, 3 sessions, 2 of them idle\n",
			"\ntext            degraded: text\n", "\nsenders         1 held, 0 throttled", "would text",
		},
		topProviders:    {"\ntext      paused  ", " 1,200 ", "text; text"},
		topSendersView:  {"\ntext    hold ", "\nthe worst 1 of 7\n"},
		topRefusalsView: {"  would text  text ", "  reject      text ", "(gate)"},
		topHealth:       {"\ntext            degraded: text\nrelay\n"},
	} {
		m.view = topView(view)
		screen := m.shownOn(t)
		for _, text := range want {
			if !strings.Contains(screen, text) {
				t.Errorf("no %q in\n%s", text, screen)
			}
		}
	}
	m.lost = "no answer"
	for height := 1; height <= 30; height++ {
		for width := 1; width <= 130; width += 3 {
			m.width, m.height = width, height
			m.view, m.typing, m.help = topView(width)%topViews, height%4 == 0, height%5 == 0
			m.filter = strings.Repeat("te", width%3)
			m.shownOn(t)
		}
	}
}

// FuzzTopFrame: nothing that comes from the network leaves its line or reaches the terminal as a
// control, whatever it is and wherever it stands.
func FuzzTopFrame(f *testing.F) {
	f.Add("a\x1b[2J\x07b", uint8(60), uint8(20), true)
	f.Add("日本語の長い名前日本語の長い名前日本語の長い名前日本語", uint8(33), uint8(9), true)
	f.Add("\u202e\u200d\ufe0f👨\u200d👩\u200d👧e\u0301\u0301\u0301", uint8(1), uint8(1), true)
	f.Add("\xff\xc2\x9b\x00\n\r\t", uint8(80), uint8(24), false)
	f.Fuzz(func(t *testing.T, text string, width, height uint8, utf8 bool) {
		m := topTestModel(text, topCharset{utf8})
		m.width, m.height = max(int(width), 1), max(int(height)%50, 1)
		m.filter = text[:min(len(text), 3)]
		for m.view = range topViews {
			if screen := m.shownOn(t); !utf8 && strings.ContainsFunc(screen, func(r rune) bool { return r > '~' }) {
				t.Fatalf("not ASCII: %q", screen)
			}
		}
		m.lost, m.typing = text, true
		m.shownOn(t)
		var b strings.Builder
		printTop(&b, m)
		if strings.ContainsFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Fatalf("%q", b.String())
		}
	})
}

// TestTopModel: what keys do to a view.
func TestTopModel(t *testing.T) {
	m := topTestModel("text", topCharset{utf8: true})
	press := func(keys ...topKey) (do topDo) {
		for _, key := range keys {
			do = m.key(key)
		}
		return do
	}
	if do := press(topLeft); m.view != topHealth || do != topAsk {
		t.Errorf("left of the first: %v, %v", m.view, do)
	}
	if do := press(topRight, '1'); m.view != topNow || do != topStay {
		t.Errorf("the view that is shown: %v, %v", m.view, do)
	}
	press('/', 'q', 'ü', topErase, 'x', topEnter)
	if m.filter != "qx" || m.typing {
		t.Errorf("the filter is %q", m.filter)
	}
	if press('/', topEscape); m.filter != "" {
		t.Errorf("the filter is %q", m.filter)
	}
	if do := press('?', 'q'); m.help || do != topStay {
		t.Error("q leaves the help")
	}
	if do := press('?', '4'); m.help || m.view != topRefusalsView || do != topAsk {
		t.Error("a view leaves the help")
	}
	for i := range 3 * topRefusals {
		e := journal.Entry{Time: m.now.Add(time.Duration(i) * time.Second), Ref: strconv.Itoa(i), Action: "reject"}
		m.heard(&topNews{entry: &e})
		if i == 1000 {
			press('p')
		}
	}
	if n := len(m.latest.refusals); n < topRefusals || n > 2*topRefusals {
		t.Errorf("%d refusals are kept", n)
	}
	last := m.shown.refusals[len(m.shown.refusals)-1]
	if n := m.newer(); last.Ref != "1000" || n != 3*topRefusals-1001 {
		t.Errorf("paused at %s, %d more", last.Ref, n)
	}
	press(topEnd)
	if screen := m.shownOn(t); m.scroll[m.view] == topFarDown || !strings.Contains(screen, " above ") ||
		strings.Contains(screen, "below") {
		t.Errorf("the end:\n%s", screen)
	}
	press(topUp, topPageUp, topHome, topDown)
	if screen := m.shownOn(t); !strings.Contains(screen, "1 above, more below") {
		t.Errorf("the second line:\n%s", screen)
	}
	if press(topSuspend) != topStop || press(topRedraw) != topRepaint || press('/', topInterrupt) != topQuit {
		t.Error("control keys")
	}
}

// TestTopAnswers: what a gate does not tell is said, and what it told before stays.
func TestTopAnswers(t *testing.T) {
	m := topTestModel("text", topCharset{utf8: true})
	m.answered(&topAnswers{at: m.now, err: failed("the gate does not answer: x", "")}, topNow)
	m.now = m.now.Add(time.Minute)
	m.answered(&topAnswers{at: m.now, err: failed("the gate does not answer: y", "")}, topNow)
	if screen := m.shownOn(t); !strings.Contains(screen, "no answer since ") || !strings.Contains(screen, "accepted") ||
		!strings.Contains(screen, "the gate does not answer: y; trying again each 1s") || !m.since.Before(m.now) {
		t.Errorf("%v\n%s", m.since, screen)
	}
	for status, want := range map[int]string{
		404: "this gate is older than this command: it does not know /v1/providers",
		503: "there is none; set it up",
	} {
		note, err := topNote("/v1/providers", &refusal{
			failure: failed("x", ""), problem: &web.Problem{Status: status, Detail: "there is none", Hint: "set it up"},
		})
		if err != nil {
			t.Fatal(err)
		}
		a := topAnswers{at: m.now, status: &web.StatusAnswer{Ready: true, State: "ok"}, providers: &web.Providers{}}
		a.notes[topProviders] = note
		m.answered(&a, topProviders)
		m.view = topProviders
		if screen := m.shownOn(t); !strings.Contains(screen, want) || strings.Contains(screen, "no answer") {
			t.Errorf("no %q in\n%s", want, screen)
		}
	}
}

func TestParseTopNews(t *testing.T) {
	for line, want := range map[string]topNews{
		"":             {},
		"\n":           {},
		`{"missed":7}`: {missed: 7},
	} {
		if got, err := parseTopNews([]byte(line)); err != nil || got.missed != want.missed || got.entry != nil {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	got, err := parseTopNews([]byte(`{"v":1,"kind":"recipient","recipient":"a@example.com","new":1}`))
	if err != nil || got.entry == nil || got.entry.Recipient != "a@example.com" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseTopNews([]byte(`{"v":`)); err == nil || !strings.Contains(err.Error(), "rcptgate version") {
		t.Errorf("%v", err)
	}
}
