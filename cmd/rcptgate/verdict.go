package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/verify"
)

// verdictJSON is one line of `verify --json`. The names are a promise to scripts.
type verdictJSON = web.Verdict

// verdictWriter prints verdicts, for people or for programs.
type verdictWriter struct {
	w     io.Writer
	json  bool
	color bool
	width int // of the column of addresses
	err   error
}

func newVerdictWriter(w io.Writer, asJSON bool, args []string) *verdictWriter {
	v := &verdictWriter{w: w, json: asJSON, color: useColor(w), width: 24}
	for _, arg := range args {
		v.width = max(v.width, min(utf8.RuneCountInString(arg), 48))
	}
	return v
}

// useColor follows https://no-color.org.
func useColor(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}

func (v *verdictWriter) verdict(text string, r verify.Result) {
	if !v.json {
		v.line(text, r)
		return
	}
	v.encode(web.VerdictOf(text, &r))
}

// malformed keeps a line of the list that is no address in the output, so that the lines of input
// and output correspond.
func (v *verdictWriter) malformed(text string) {
	if v.json {
		v.encode(verdictJSON{Address: text, Verdict: string(verify.Unknown), Reason: "syntax"})
		return
	}
	v.print(text, verify.Unknown, "not an address")
}

func (v *verdictWriter) encode(row verdictJSON) {
	line, err := json.Marshal(row)
	if err == nil {
		_, err = v.w.Write(append(line, '\n'))
	}
	if err != nil && v.err == nil {
		v.err = failed(fmt.Sprintf("cannot write the verdicts: %v", err), "")
	}
}

func (v *verdictWriter) line(text string, r verify.Result) {
	words := reasonText(r.Reason)
	if reply := replyText(r.Reply); reply != "" {
		words += fmt.Sprintf(" (%s: %s)", r.MX, shorten(reply, 160))
	}
	if r.RetryAfter > 0 {
		words += "; ask again in " + roundTime(r.RetryAfter)
	}
	switch {
	case r.Cached:
		words += " [from memory]"
	default:
		words += fmt.Sprintf(" [%s]", roundTime(r.Elapsed))
	}
	v.print(text, r.Verdict, words)
}

func (v *verdictWriter) print(text string, verdict verify.Verdict, words string) {
	address := string(esmtp.AppendEscaped(nil, text, true))
	pad := strings.Repeat(" ", max(v.width-utf8.RuneCountInString(address), 0))
	_, err := fmt.Fprintf(v.w, "%s%s  %s  %s\n", address, pad, v.paint(verdict), words)
	if err != nil && v.err == nil {
		v.err = failed(fmt.Sprintf("cannot write the verdicts: %v", err), "")
	}
}

func (v *verdictWriter) paint(verdict verify.Verdict) string {
	word := fmt.Sprintf("%-13s", verdict)
	if !v.color {
		return word
	}
	return verdictColor(verdict) + word + "\x1b[0m"
}

func verdictColor(verdict verify.Verdict) string {
	switch verdict {
	case verify.Deliverable:
		return "\x1b[32m"
	case verify.Undeliverable:
		return "\x1b[31m"
	case verify.Risky:
		return "\x1b[33m"
	default:
		return "\x1b[2m"
	}
}

// replyText is a mail server's reply, escaped, on one line.
func replyText(r esmtp.Reply) string {
	if r.IsZero() {
		return ""
	}
	return r.String()
}

// shorten cuts text to n characters.
func shorten(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// roundTime is a span as people say it.
func roundTime(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
}

// progress is a line on a terminal that counts answers, if there are enough of them to wait for.
type progress struct {
	w  io.Writer
	on bool

	mu             sync.Mutex
	total, settled int
	drawn          bool
}

// progressFrom is the number of addresses from which on the line is shown.
const progressFrom = 20

func newProgress(w io.Writer) *progress {
	return &progress{w: w, on: isTerminal(w)}
}

func (p *progress) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total++
}

func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled++
	if p.on && p.total > progressFrom {
		writef(p.w, "\r\x1b[Kasked about %d of %d addresses", p.settled, p.total)
		p.drawn = true
	}
}

// clear makes room for a line of output.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		writef(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
