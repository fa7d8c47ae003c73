package main

import (
	"fmt"
	"strings"
	"time"
)

// topChrome is how many lines of a frame are not the view's: the state of the gate and the names of
// the views above, the keys below.
const topChrome = 3

// rows is how many lines a view has.
func (m *topModel) rows() int { return max(m.height-topChrome, 0) }

// frame is the whole screen, a line for each row, none wider than it.
func (m *topModel) frame() []topLine {
	var body []topLine
	switch {
	case m.help:
		body = topHelp()
	default:
		body = m.body()
	}
	lines := []topLine{m.header(), m.tabs()}
	rows := m.rows()
	if m.lost != "" && rows > 0 {
		lines = append(lines, topWords(topRed, m.lostText()))
		rows--
	}
	first := 0
	if !m.help {
		m.scroll[m.view] = min(m.scroll[m.view], max(len(body)-rows, 0))
		first = m.scroll[m.view]
	}
	for i := range rows {
		var line topLine
		if first+i < len(body) {
			line = body[first+i]
		}
		lines = append(lines, line)
	}
	lines = append(lines, m.footer(first, first+rows < len(body)))
	lines = lines[:min(len(lines), m.height)]
	for i := range lines {
		lines[i] = lines[i].fit(m.charset, m.width)
	}
	return lines
}

// header tells in one line how the gate is.
func (m *topModel) header() topLine {
	clock := topText(m.now.Local().Format(time.TimeOnly))
	line := m.headline()
	if room := m.width - line.width() - clock.width(); room > 0 {
		line = append(line, topSpan{topText(strings.Repeat(" ", room)), topPlain}, topSpan{clock, topFaint})
	}
	return line
}

// headline is the name, the state and the modes.
func (m *topModel) headline() topLine {
	line := topLine{{"rcptgate ", topBold}}
	if m.paused {
		line = append(line, topSpan{" paused ", topReverse}, topSpan{" ", topPlain})
		if n := m.newer(); n > 0 {
			line = append(line, topSpan{topText(thousands(n) + " more refused  "), topYellow})
		}
	}
	s := m.status()
	switch {
	case m.lost != "":
		since := topText(m.since.Local().Format(time.TimeOnly))
		return append(line, topSpan{"no answer since " + since, topRed})
	case s.State == "":
		return append(line, topSpan{"asking the gate", topFaint})
	}
	line = append(line, topSpan{m.charset.text(s.Version) + "  ", topPlain})
	word, style := readyWord(s.Ready, s.State)
	line = append(line, topSpan{word, style})
	modes := "  policy " + m.charset.text(s.Policy) + ", verify " + m.charset.text(s.Mode)
	if !s.Started.IsZero() {
		modes += ", up " + upTime(m.now.Sub(s.Started))
	}
	return append(line, topSpan{modes, topPlain})
}

func readyWord(ready bool, state string) (topText, topStyle) {
	switch {
	case !ready:
		return "not ready", topRed
	case state != "ok":
		return "ready, degraded", topYellow
	}
	return "ready", topGreen
}

// upTime is a span in its two largest units.
func upTime(d time.Duration) topText {
	d = max(d, 0)
	days, hours := int(d.Hours())/24, int(d.Hours())%24
	minutes, seconds := int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return topText(fmt.Sprintf("%d d %d h", days, hours))
	case hours > 0:
		return topText(fmt.Sprintf("%d h %d min", hours, minutes))
	case minutes > 0:
		return topText(fmt.Sprintf("%d min %d s", minutes, seconds))
	}
	return topText(fmt.Sprintf("%d s", seconds))
}

func (v topView) name() topText {
	return [topViews]topText{"Now", "Providers", "Senders", "Refusals", "Health"}[v]
}

// tabs is the names of the views, on narrow terminals that of the one that is shown.
func (m *topModel) tabs() topLine {
	var line topLine
	for view := range topViews {
		style := topPlain
		if view == m.view {
			style = topReverse
		}
		line = append(line, topSpan{topText(fmt.Sprintf(" %d %s ", view+1, view.name())), style})
	}
	if line.width() <= m.width {
		return line
	}
	name := topText(fmt.Sprintf(" %d/%d %s ", m.view+1, topViews, m.view.name()))
	return topLine{{name, topReverse}}
}

func (m *topModel) lostText() topText {
	return m.charset.text(m.lost) + "; trying again each " + topText(m.every.String())
}

// footer is the filter while it is typed, else the keys.
func (m *topModel) footer(above int, below bool) topLine {
	if m.typing {
		// The end of a long filter is what is being typed.
		text := m.charset.text(m.filter)
		for text.width()+2 > m.width && text != "" {
			_, text = firstRune(text)
		}
		return topLine{{"/" + text, topBold}, {" ", topReverse}}
	}
	var line topLine
	if m.filter != "" && !m.help {
		line = append(line, topSpan{"/" + m.charset.text(m.filter), topBold}, topSpan{"  Esc all  ", topFaint})
	}
	switch {
	case above > 0 && below:
		line = append(line, topSpan{topText(fmt.Sprintf("%d above, more below  ", above)), topFaint})
	case above > 0:
		line = append(line, topSpan{topText(fmt.Sprintf("%d above  ", above)), topFaint})
	case below:
		line = append(line, topSpan{"more below  ", topFaint})
	}
	return append(line, topSpan{"q quit  1-5 view  / filter  p pause  ? help", topFaint})
}

func firstRune(s topText) (first, rest topText) {
	for i := range s {
		if i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func topHelp() []topLine {
	var lines []topLine
	for _, row := range [][2]topText{
		{"1 to 5", "a view"},
		{"Tab, right", "the next view (Shift-Tab, left: the one before)"},
		{"up, down", "a line (also k, j; PgUp, PgDn, Home, End)"},
		{"/", "show only lines with a text; Enter keeps it, Esc ends it"},
		{"p", "hold what is shown, and go on"},
		{"Ctrl-L", "draw the screen anew"},
		{"Ctrl-Z", "back to the shell for a while"},
		{"q", "quit"},
		{"", ""},
		{"", "What one refusal was based on: rcptgate why REF"},
		{"", "A sender that is held: rcptgate senders release NAME"},
		{"", "Mail that must pass all the same: rcptgate override allow"},
	} {
		key := row[0] + topText(strings.Repeat(" ", max(12-row[0].width(), 0)))
		lines = append(lines, topLine{{key, topBold}, {row[1], topPlain}})
	}
	return lines
}
