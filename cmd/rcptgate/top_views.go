package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// body is the lines of the view that is shown.
func (m *topModel) body() []topLine {
	if m.shown.answers.status == nil {
		return nil
	}
	switch m.view {
	case topProviders:
		return m.providersView()
	case topSendersView:
		return m.sendersView()
	case topRefusalsView:
		return m.refusalsView()
	case topHealth:
		return m.healthView()
	default:
		return m.nowView()
	}
}

// none says why a view has nothing: what the gate has told, or else.
func (m *topModel) none(view topView, otherwise topText) []topLine {
	switch note := m.shown.answers.notes[view]; {
	case note != "":
		return m.wrapped("", topYellow, m.charset.text(note))
	case !m.shown.seen[view]:
		return []topLine{topWords(topFaint, "asking the gate")}
	}
	return m.wrapped("", topFaint, otherwise)
}

// table lays a table out, with the filter. Without rows it says so.
func (m *topModel) table(t *topTable, view topView, otherwise topText) []topLine {
	if len(t.rows) == 0 || m.shown.answers.notes[view] != "" {
		return m.none(view, otherwise)
	}
	t.filter(m.charset.text(m.filter))
	if len(t.rows) == 0 {
		return []topLine{topWords(topFaint, "no line has this text")}
	}
	return t.lines(m.charset, m.width)
}

// wrapped is text in as many lines as it takes, behind a name.
func (m *topModel) wrapped(name topText, style topStyle, text topText) []topLine {
	const column = 16
	indent := topText("")
	if name != "" {
		indent = topText(strings.Repeat(" ", column))
		name += topText(strings.Repeat(" ", max(column-name.width(), 1)))
	}
	room := m.width - indent.width()
	if m.width == 0 {
		room = text.width()
	}
	var lines []topLine
	add := func(text topText) {
		line := topLine{{indent, topPlain}, {text, style}}
		if len(lines) == 0 {
			line[0] = topSpan{name, topPlain}
		}
		lines = append(lines, line)
	}
	var line topText
	for word := range strings.FieldsSeq(string(text)) {
		switch {
		case line == "":
			line = topText(word)
		case line.width()+1+topText(word).width() > room:
			add(line)
			line = topText(word)
		default:
			line += " " + topText(word)
		}
	}
	add(line)
	return lines
}

func (m *topModel) providersView() []topLine {
	t := topTable{columns: []topColumn{
		{title: "PROVIDER", most: 20},
		{title: "STATE"},
		{title: "UNTIL", rank: 1},
		{title: "PROBES", right: true},
		{title: "YES", right: true, rank: 2},
		{title: "NO", right: true, rank: 2},
		{title: "UNKNOWN", right: true, rank: 3},
		{title: "BLOCKED", right: true, rank: 1},
		{title: "CONN", right: true, rank: 5},
		{title: "LIMIT", rank: 6, most: 20},
		{title: "WHY", rank: 4, most: 20},
	}}
	if list := m.shown.answers.providers; list != nil {
		for i := range list.Providers {
			m.addProvider(&t, &list.Providers[i])
		}
	}
	return m.table(&t, topProviders, "no provider was asked yet")
}

func (m *topModel) addProvider(t *topTable, p *web.Provider) {
	text := m.charset.text
	style := topPlain
	switch {
	case p.State == web.ProviderPaused:
		style = topRed
	case p.State != web.ProviderOK:
		style = topYellow
	case p.Probes == 0:
		style = topFaint
	}
	title := p.Title
	if title == "" {
		title = p.Name
	}
	why := p.Why
	if p.Hint != "" {
		why = strings.TrimPrefix(why+"; "+p.Hint, "; ")
	}
	if why == "" {
		why = p.Trust
	}
	t.add(style, text(title), text(p.State), m.clock(p.PausedUntil), topCount(p.Probes),
		topCount(p.Deliverable), topCount(p.Undeliverable), topCount(p.Unknown), topCount(p.Blocked),
		topText(strconv.Itoa(p.Connections)), text(p.Limit), text(why))
}

func (m *topModel) sendersView() []topLine {
	t := topTable{columns: []topColumn{
		{title: "SENDER", most: 30},
		{title: "STATE"},
		{title: "RCPT/MIN", right: true, rank: 4},
		{title: "RCPT/HOUR", right: true},
		{title: "RCPT/DAY", right: true, rank: 3},
		{title: "INVALID", right: true, rank: 1},
		{title: "UNTIL", rank: 2},
		{title: "WHY", rank: 5, most: 20},
	}}
	list := m.shown.answers.senders
	if list != nil {
		for i := range list.Senders {
			s := &list.Senders[i]
			style := topPlain
			switch s.State {
			case senders.StateHold:
				style = topRed
			case senders.StateThrottle, senders.StateWarn:
				style = topYellow
			default: // ok
			}
			t.add(style, m.charset.text(s.Key), m.charset.text(string(s.State)), topText(thousands(s.Recipients.Minute)),
				topText(thousands(s.Recipients.Hour)), topText(thousands(s.Recipients.Day)),
				topText(fmt.Sprintf("%.1f %%", 100*s.CheckedDay.Share)), m.clock(s.Until), m.charset.text(s.Why))
		}
	}
	lines := m.table(&t, topSendersView, "no senders are known yet")
	if list != nil && list.Total > len(list.Senders) && m.filter == "" {
		lines = append(lines, topWords(topFaint, topText(fmt.Sprintf("the worst %s of %s",
			thousands(len(list.Senders)), thousands(list.Total)))))
	}
	return lines
}

// refusalsView is the refusals, the newest first.
func (m *topModel) refusalsView() []topLine {
	lines := m.refusals(len(m.shown.refusals))
	var above []topLine
	if note := m.shown.note; note != "" && m.lost == "" {
		above = m.wrapped("", topYellow, m.charset.text(note))
	}
	if n := m.shown.missed; n > 0 {
		above = append(above, topWords(topYellow, topText(fmt.Sprintf("%d came too fast to be shown", n))))
	}
	return append(above, lines...)
}

// refusals is the table of the last ones, at most so many.
func (m *topModel) refusals(most int) []topLine {
	t := topTable{columns: []topColumn{
		{title: "TIME"},
		{title: "ACTION"},
		{title: "RECIPIENT", most: 32},
		{title: "REASON", rank: 2, most: 20},
		{title: "RULE", rank: 4, most: 16},
		{title: "PROVIDER", rank: 5, most: 12},
		{title: "SENDER", rank: 6, most: 24},
		{title: "REF", rank: 1},
		{title: "REPLY", rank: 3, most: 12},
	}}
	list := m.shown.refusals
	for i := range list {
		if len(t.rows) == most && m.filter == "" {
			break
		}
		m.addRefusal(&t, &list[len(list)-1-i])
	}
	if len(list) == 0 {
		return m.wrapped("", topFaint, "nothing was refused yet")
	}
	t.filter(m.charset.text(m.filter))
	if len(t.rows) == 0 {
		return []topLine{topWords(topFaint, "no refusal has this text")}
	}
	t.rows = t.rows[:min(len(t.rows), most)]
	return t.lines(m.charset, m.width)
}

func (m *topModel) addRefusal(t *topTable, e *journal.Entry) {
	text := m.charset.text
	action, style, reply := text(e.Action), topRed, e.Reply
	if e.Action == "defer" {
		style = topYellow
	}
	if e.Shadow != "" {
		action, style, reply = "would "+text(e.Shadow), topPlain, e.ShadowReply
	}
	rule, sender := e.Rule, e.Login
	switch {
	case rule == "" && e.Relayed:
		rule = "(relay)"
	case rule == "":
		rule = "(gate)"
	}
	if sender == "" {
		sender = e.Sender
	}
	t.add(style, topText(e.Time.Local().Format(time.TimeOnly)), action, text(e.Recipient), text(e.Reason),
		text(rule), text(e.Provider), text(sender), text(e.Ref), text(reply))
}

// healthView is the lines of /readyz, the worst first, in full.
func (m *topModel) healthView() []topLine {
	var lines []topLine
	want := strings.ToLower(m.filter)
	for _, state := range []string{"failed", "degraded", "ok"} {
		for _, check := range m.status().Checks {
			if check.State != state || !strings.Contains(strings.ToLower(check.Part+" "+check.Detail), want) {
				continue
			}
			lines = append(lines, m.check(check.Part, state, check.Detail)...)
		}
	}
	if len(lines) == 0 && want != "" {
		return []topLine{topWords(topFaint, "no line has this text")}
	}
	return lines
}

// check is one part of the gate.
func (m *topModel) check(part, state, detail string) []topLine {
	style := topPlain
	switch state {
	case "failed":
		style = topRed
	case "degraded":
		style = topYellow
	}
	text := m.charset.text(detail)
	if state != "ok" {
		text = m.charset.text(state) + ": " + text
	}
	return m.wrapped(m.charset.text(part), style, text)
}

// clock is a time of today, or with its date.
func (m *topModel) clock(t time.Time) topText {
	t, now := t.Local(), m.now.Local()
	switch {
	case t.IsZero():
		return ""
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return topText(t.Format("15:04"))
	}
	return topText(t.Format("01-02 15:04"))
}

func topCount(n uint64) topText { return topText(thousands(int(min(n, math.MaxInt)))) }
