package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// doctorLevel says how bad a finding is.
type doctorLevel string

// The levels, a closed set.
const (
	levelOK      doctorLevel = "ok"      // was looked at, and is right
	levelNote    doctorLevel = "note"    // good to know
	levelWarning doctorLevel = "warning" // hurts some mail, or will
	levelFault   doctorLevel = "fault"   // loses or delays mail, or keeps the gate from working
)

// doctorFinding is one thing that was found.
type doctorFinding struct {
	Group string      `json:"group"`
	Level doctorLevel `json:"level"`
	What  string      `json:"what"`
	Means string      `json:"means,omitempty"`
	// Fix is what to do: a command, or a line to write. Several lines are a fragment of a file.
	Fix string `json:"fix,omitempty"`
}

// doctorReport collects the findings of one check. It is safe for concurrent use.
type doctorReport struct {
	mu       sync.Mutex
	findings []doctorFinding
	closed   bool
}

// add adds a finding; means and fix may be "". Whatever the strings are, nothing is printed raw.
func (r *doctorReport) add(level doctorLevel, what, means, fix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed { // it came too late to be shown
		return
	}
	r.findings = append(r.findings, doctorFinding{
		Level: level, What: cleanLine(what), Means: cleanLine(means), Fix: cleanLines(fix),
	})
}

func (r *doctorReport) ok(format string, args ...any) {
	r.add(levelOK, fmt.Sprintf(format, args...), "", "")
}

func (r *doctorReport) note(what, means, fix string)    { r.add(levelNote, what, means, fix) }
func (r *doctorReport) warning(what, means, fix string) { r.add(levelWarning, what, means, fix) }
func (r *doctorReport) fault(what, means, fix string)   { r.add(levelFault, what, means, fix) }

// close ends the report: what comes later is dropped.
func (r *doctorReport) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

func (r *doctorReport) list() []doctorFinding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.findings
}

// worst is the level of the worst finding so far.
func (r *doctorReport) worst() doctorLevel {
	worst := levelOK
	for _, f := range r.list() {
		if f.Level.rank() > worst.rank() {
			worst = f.Level
		}
	}
	return worst
}

func (l doctorLevel) rank() int {
	switch l {
	case levelFault:
		return 3
	case levelWarning:
		return 2
	case levelNote:
		return 1
	case levelOK:
	}
	return 0
}

// maxFinding bounds a line in octets: what servers say has no bound.
const maxFinding = 2000

func cleanLine(s string) string {
	if len(s) > maxFinding {
		s = s[:maxFinding] + "..."
	}
	return string(esmtp.AppendEscaped(nil, s, true))
}

func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = cleanLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// doctorView shows the findings: text for people as groups end, or one JSON object at the end.
type doctorView struct {
	out, errs io.Writer
	json      bool
	color     bool
	progress  bool // on a terminal
	width     int  // of text

	counts map[doctorLevel]int
	all    []doctorFinding
}

func newDoctorView(out, errs io.Writer, asJSON bool) *doctorView {
	v := &doctorView{
		out: out, errs: errs, json: asJSON, color: useColor(out), progress: isTerminal(errs),
		counts: map[doctorLevel]int{}, all: []doctorFinding{},
	}
	if file, ok := out.(*os.File); ok && isTerminal(out) {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			v.width = min(max(width, 40), 100)
		}
	}
	return v
}

// doctorTick is how often the progress shows how long it has taken.
const doctorTick = 500 * time.Millisecond

// wait waits for a check, and tells on a terminal that it does.
func (v *doctorView) wait(name string, done <-chan struct{}) {
	if !v.progress {
		<-done
		return
	}
	began := time.Now()
	tick := time.NewTicker(doctorTick)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-done:
			if shown {
				writef(v.errs, "\r\x1b[K")
			}
			return
		case now := <-tick.C:
			shown = true
			writef(v.errs, "\r\x1b[Klooking at: %s (%d s)", name, int(now.Sub(began).Seconds()))
		}
	}
}

// group shows the findings of one group, the worst first within it.
func (v *doctorView) group(name string, findings []doctorFinding) {
	if !v.json && len(findings) > 0 {
		writef(v.out, "%s\n", v.paint(ansiBold, name))
	}
	for _, level := range []doctorLevel{levelFault, levelWarning, levelNote, levelOK} {
		for _, f := range findings {
			if f.Level != level {
				continue
			}
			f.Group = name
			v.counts[level]++
			v.all = append(v.all, f)
			if !v.json {
				v.finding(f)
			}
		}
	}
}

// doctorIndent is where the text of findings begins.
const doctorIndent = 11

func (v *doctorView) finding(f doctorFinding) {
	style := map[doctorLevel]string{
		levelFault: ansiRed, levelWarning: ansiYellow, levelNote: ansiBold, levelOK: ansiGreen,
	}[f.Level]
	first := "  " + v.paint(style, string(f.Level)) + strings.Repeat(" ", doctorIndent-2-len(f.Level))
	v.text(first, f.What, "")
	indent := strings.Repeat(" ", doctorIndent)
	if f.Means != "" {
		v.text(indent, f.Means, ansiDim)
	}
	for i, line := range strings.Split(f.Fix, "\n") {
		switch {
		case f.Fix == "":
		case i == 0:
			v.text(indent+"fix: ", line, "")
		default: // a fragment: it is copied, so it is not broken
			writef(v.out, "%s     %s\n", indent, line)
		}
	}
}

// text writes a paragraph, broken at blanks on a terminal.
func (v *doctorView) text(first, text, style string) {
	room := v.width - doctorIndent
	for i, line := range wrapText(text, room) {
		if i > 0 {
			first = strings.Repeat(" ", doctorIndent)
		}
		writef(v.out, "%s%s\n", first, v.paint(style, line))
	}
}

func (v *doctorView) paint(style, text string) string {
	if !v.color || style == "" {
		return text
	}
	return style + text + ansiReset
}

// wrapText breaks text at blanks into lines of at most width characters; 0 or less is one line.
func wrapText(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	line, length := "", 0
	for word := range strings.SplitSeq(text, " ") {
		n := len([]rune(word))
		if length > 0 && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line += " "
			length++
		}
		line += word
		length += n
	}
	return append(lines, line)
}

// end shows the sum and returns the number of faults.
func (v *doctorView) end() int {
	faults := v.counts[levelFault]
	if v.json {
		enc := json.NewEncoder(v.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(struct { // nobody reads it if it cannot be written
			Faults   int             `json:"faults"`
			Warnings int             `json:"warnings"`
			Notes    int             `json:"notes"`
			Findings []doctorFinding `json:"findings"`
		}{faults, v.counts[levelWarning], v.counts[levelNote], v.all})
		return faults
	}
	writef(v.out, "\n%s, %s, %s\n", counted(faults, "fault", "faults"),
		counted(v.counts[levelWarning], "warning", "warnings"), counted(v.counts[levelNote], "note",
			"notes"))
	return faults
}
