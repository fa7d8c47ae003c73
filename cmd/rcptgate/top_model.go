package main

import (
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
)

// topData is what is known of the gate.
type topData struct {
	answers  topAnswers
	seen     [topViews]bool  // whether the gate was asked for what a view shows
	refusals []journal.Entry // the oldest first
	missed   uint64          // refusals that came too fast
	note     string          // why no refusals come
}

// take adds answers. What was not asked for stays as it was.
func (d *topData) take(a *topAnswers, views ...topView) {
	old := d.answers
	d.answers = *a
	if a.history == nil {
		d.answers.history = old.history
	}
	if a.providers == nil {
		d.answers.providers = old.providers
	}
	if a.senders == nil {
		d.answers.senders = old.senders
	}
	d.answers.notes = old.notes
	for _, view := range views {
		d.answers.notes[view], d.seen[view] = a.notes[view], true
	}
}

// hear adds what the stream tells. The list is never changed in place: one that is paused has it.
func (d *topData) hear(n *topNews) {
	d.note = n.note
	switch {
	case n.begun:
		d.refusals, d.missed = n.recent, 0
	case n.entry != nil:
		if len(d.refusals) >= 2*topRefusals {
			d.refusals = append(make([]journal.Entry, 0, 2*topRefusals), d.refusals[topRefusals:]...)
		}
		d.refusals = append(d.refusals, *n.entry)
	case n.missed > 0:
		d.missed = n.missed
	}
}

// topFilterMax is more than anybody types.
const topFilterMax = 100

// topModel is everything that a frame is made of.
type topModel struct {
	charset       topCharset
	width, height int
	every         time.Duration
	now           time.Time

	view   topView
	scroll [topViews]int
	help   bool
	typing bool   // the filter
	filter string // of what was typed; "" is none
	paused bool

	latest topData
	shown  topData // latest, or as it was when it was paused

	lost  string // why the gate does not answer; "": it does
	since time.Time
}

// topDo is what a key asks for beyond another frame.
type topDo int

const (
	topStay topDo = iota
	topAsk        // at once
	topQuit
	topStop // as Ctrl-Z does
	topRepaint
)

// answered takes what the gate said, or that it said nothing.
func (m *topModel) answered(a *topAnswers, views ...topView) {
	if a.err != nil {
		if m.lost == "" {
			m.since = a.at
		}
		m.lost = a.err.Error()
		return
	}
	m.lost = ""
	m.latest.take(a, views...)
	m.refresh()
}

func (m *topModel) heard(n *topNews) {
	m.latest.hear(n)
	m.refresh()
}

func (m *topModel) refresh() {
	if !m.paused {
		m.shown = m.latest
	}
}

// key does what a key is for.
func (m *topModel) key(k topKey) topDo {
	switch k {
	case topInterrupt:
		return topQuit
	case topSuspend:
		return topStop
	case topRedraw:
		return topRepaint
	default:
	}
	switch {
	case m.typing:
		m.typed(k)
		return topStay
	case m.help: // any key leaves it
		m.help = false
		if k == 'q' || k == topEscape || k == '?' {
			return topStay
		}
	}
	return m.command(k)
}

// typed edits the filter.
func (m *topModel) typed(k topKey) {
	m.scroll[m.view] = 0
	switch {
	case k == topEnter:
		m.typing = false
	case k == topEscape:
		m.typing, m.filter = false, ""
	case k == topErase && m.filter == "":
		m.typing = false
	case k == topErase:
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case k >= ' ' && unicode.IsPrint(rune(k)) && len(m.filter) < topFilterMax:
		m.filter += string(rune(k))
	}
}

func (m *topModel) command(k topKey) topDo {
	switch k {
	case 'q', 'Q':
		return topQuit
	case '1', '2', '3', '4', '5':
		return m.turnTo(topView(k - '1'))
	case topTab, topRight:
		return m.turnTo((m.view + 1) % topViews)
	case topBackTab, topLeft:
		return m.turnTo((m.view + topViews - 1) % topViews)
	case '/':
		m.typing = true
	case topEscape:
		m.filter = ""
	case 'p', 'P', ' ':
		m.paused = !m.paused
		m.refresh()
	case '?', 'h':
		m.help = true
	case topUp, 'k':
		m.move(-1)
	case topDown, 'j':
		m.move(1)
	case topPageUp:
		m.move(-m.rows())
	case topPageDown:
		m.move(m.rows())
	case topHome, 'g':
		m.scroll[m.view] = 0
	case topEnd, 'G':
		m.scroll[m.view] = topFarDown
	default:
	}
	return topStay
}

// topFarDown is beyond the end of any view; a frame brings it back.
const topFarDown = 1 << 20

func (m *topModel) turnTo(view topView) topDo {
	if m.view == view {
		return topStay
	}
	m.view = view
	return topAsk
}

func (m *topModel) move(rows int) {
	m.scroll[m.view] = min(max(m.scroll[m.view]+rows, 0), topFarDown)
}

// wants is what the gate is asked for: nothing that nobody looks at.
func (m *topModel) wants() topView { return m.view }

// newer is how many refusals have come since it was paused.
func (m *topModel) newer() int {
	if !m.paused || len(m.latest.refusals) == 0 {
		return 0
	}
	last := len(m.shown.refusals) - 1
	if last < 0 {
		return len(m.latest.refusals)
	}
	seen := keyOfEntry(&m.shown.refusals[last])
	for i := range m.latest.refusals {
		if e := &m.latest.refusals[len(m.latest.refusals)-1-i]; keyOfEntry(e) == seen {
			return i
		}
	}
	return len(m.latest.refusals)
}

// status is the state of the gate that is shown, empty before the first answer.
func (m *topModel) status() *web.StatusAnswer {
	if m.shown.answers.status == nil {
		return &web.StatusAnswer{}
	}
	return m.shown.answers.status
}
