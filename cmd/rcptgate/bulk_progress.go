package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	barEvery  = 500 * time.Millisecond // on a terminal
	lineEvery = time.Minute            // elsewhere
	barWidth  = 20
	// rateFor is how far back the rate looks, about.
	rateFor = 30 * time.Second
)

// watch shows the progress until the function that it returns is called.
func (c *bulkCheck) watch(ctx context.Context, grace time.Duration) (end func()) {
	if c.silent {
		return func() {}
	}
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		m := &bulkMeter{w: c.errs, bar: isTerminal(c.errs), last: time.Now()}
		m.from = c.run.Progress().Done
		every := lineEvery
		if m.bar {
			every = barEvery
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		interrupted := ctx.Done()
		for {
			select {
			case <-done:
				m.clear()
				return
			case <-interrupted:
				interrupted = nil
				c.untie() // before anybody is told that the next one ends it
				m.clear()
				writef(c.errs, "rcptgate: stopping: questions that are under way have %v to end; "+
					"once more to end at once\n", grace)
			case now := <-tick.C:
				m.show(c.run.Progress(), now)
			}
		}
	})
	return func() {
		close(done)
		showing.Wait()
	}
}

// bulkMeter shows progress: a bar on a terminal, lines elsewhere.
type bulkMeter struct {
	w     io.Writer
	bar   bool
	drawn bool

	from int // done at last
	last time.Time
	rate float64 // answers a second
}

// show is called from time to time.
func (m *bulkMeter) show(p bulk.Progress, now time.Time) {
	if d := now.Sub(m.last); d > 0 {
		latest := float64(p.Done-m.from) / d.Seconds()
		weight := 1 - math.Exp(-float64(d)/float64(rateFor))
		if m.rate == 0 {
			weight = 1
		}
		m.rate += weight * (latest - m.rate)
		m.from, m.last = p.Done, now
	}
	if !m.bar {
		writef(m.w, "rcptgate: %s\n", m.text(p))
		return
	}
	full := barWidth * p.Done / max(p.All, 1)
	line := "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "] " + m.text(p)
	writef(m.w, "\r\x1b[K%s", shorten(line, m.width()))
	m.drawn = true
}

// text says how far it is, how fast, how long it takes, and what came of it so far.
func (m *bulkMeter) text(p bulk.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, %d %%, %.1f/s", thousands(p.Done), thousands(p.All), 100*p.Done/max(p.All, 1),
		m.rate)
	switch left := p.All - p.Done; {
	case left == p.Waiting && left > 0:
		fmt.Fprintf(&b, ", waiting for %s to be asked again", thousands(left))
	case m.rate > 0.01:
		fmt.Fprintf(&b, ", %v left", m.left(left))
	}
	for _, v := range []verify.Verdict{
		verify.Deliverable, verify.Undeliverable, verify.Risky, verify.Unknown,
	} {
		fmt.Fprintf(&b, ", %s %s", v, percentOf(p.Verdicts[v], p.Done))
	}
	return b.String()
}

func (m *bulkMeter) left(n int) time.Duration {
	d := time.Duration(float64(n) / m.rate * float64(time.Second))
	if d < 10*time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(time.Minute)
}

// clear makes room for a line of output.
func (m *bulkMeter) clear() {
	if m.drawn {
		writef(m.w, "\r\x1b[K")
		m.drawn = false
	}
}

// width is that of the terminal, less the last column, where some wrap.
func (m *bulkMeter) width() int {
	if file, ok := m.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(file.Fd())); err == nil && w > barWidth {
			return w - 1
		}
	}
	return 79
}

func percentOf(n, of int) string {
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(of, 1)))
}
