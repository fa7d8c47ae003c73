package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// benchGoal is what a kind of work should reach. 0: no goal.
type benchGoal struct {
	rate, stretch       float64 // of the splice's rate, at least
	cpu, cpuStretch     float64 // of the splice's CPU time, at most
	postfix             float64 // of Postfix's rate, at least
	postfixStretch      float64
	perConn, rcpts, len int
	pipelined, slow     bool // slow: Postfix takes too long for it in quick mode
	name                string
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// benchGoals are the rows of the table of throughput, all with 20 sessions.
func benchGoals() []benchGoal {
	return []benchGoal{
		{
			name: "1 KB, one connection a message", perConn: 1, rcpts: 1, len: kib,
			rate: 1.1, stretch: 1.5, cpu: 1, cpuStretch: 0.65, postfix: 3,
		},
		{name: "1 KB, persistent", rcpts: 1, len: kib, rate: 0.8, stretch: 1.1, postfix: 4},
		{name: "10 KB, 10 RCPT", rcpts: 10, len: 10 * kib, rate: 0.75, stretch: 1, postfix: 3},
		{
			name: "10 KB, 50 RCPT pipelined", rcpts: 50, len: 10 * kib, pipelined: true,
			rate: 0.3, stretch: 0.75, postfix: 10,
		},
		{name: "100 KB", rcpts: 1, len: 100 * kib, rate: 0.7, stretch: 0.85, postfix: 3.5},
		{name: "1 MB", rcpts: 1, len: mib, rate: 0.7, stretch: 0.85, postfix: 3.5},
		{name: "20 MB", rcpts: 1, len: 20 * mib, rate: 0.7, stretch: 0.85, postfix: 3.5, slow: true},
	}
}

func (g *benchGoal) work() bench.Work {
	return bench.Work{
		Name: g.name, Sessions: 20, PerConn: g.perConn, Rcpts: g.rcpts, Size: g.len,
		Pipelined: g.pipelined,
	}
}

// The names of the targets.
const (
	benchSplice  = "splice"
	benchGateNow = "gate"
	benchAgainst = "other"
	benchPeer    = "Postfix"
)

// throughput measures the rows of benchGoals.
func (b *benchmark) throughput(ctx context.Context) error {
	var goals []benchGoal
	var cells []bench.Cell
	recipients := bench.Recipients(benchRecipients, benchDomains, benchDomain)
	for _, g := range benchGoals() {
		if !strings.Contains(g.name, b.only) && !strings.Contains(benchThroughput, b.only) {
			continue
		}
		c := bench.Cell{Recipients: recipients, Duration: b.round, Work: g.work()}
		if g.slow && b.pings < 10000 {
			c.Without = []string{benchPeer}
		}
		goals, cells = append(goals, g), append(cells, c)
	}
	if len(goals) == 0 {
		return nil
	}
	splice, tree, err := b.lab.server(ctx, "splice", b.lab.sink)
	if err != nil {
		return err
	}
	m := &bench.Matrix{Rounds: b.rounds, Note: b.note, Targets: []bench.Target{
		{Name: benchSplice, Address: splice, Tree: tree},
	}}
	done, err := b.addGates(ctx, m)
	if err != nil {
		return err
	}
	defer done()
	if p, err := b.startPeer(ctx); err == nil {
		m.Targets = append(m.Targets, bench.Target{Name: benchPeer, Address: p.filter, Tree: p.tree})
	}
	before := b.lab.probes()
	got, err := m.Run(ctx, cells)
	if err != nil {
		return err
	}
	if n := b.lab.probes() - before; n > 0 {
		b.note(fmt.Sprintf("%d recipients were asked about during the measurement", n))
	}
	b.printThroughput(goals, got)
	return nil
}

// addGates starts the gates and adds them to the targets.
func (b *benchmark) addGates(ctx context.Context, m *bench.Matrix) (done func(), err error) {
	var gates []*benchGate
	done = func() {
		for _, g := range gates {
			g.quiet()
		}
	}
	for _, t := range []struct{ name, binary string }{
		{benchGateNow, b.lab.gate}, {benchAgainst, b.against},
	} {
		if t.binary == "" {
			continue
		}
		g, err := b.lab.warmGate(ctx, t.binary)
		if err != nil {
			done()
			return nil, err
		}
		gates = append(gates, g)
		m.Targets = append(m.Targets, bench.Target{Name: t.name, Address: g.address, Tree: g.tree})
	}
	return done, nil
}

// startPeer starts Postfix the first time that it is called.
func (b *benchmark) startPeer(ctx context.Context) (*benchPostfix, error) {
	if b.peer == nil && b.peerErr == nil {
		if b.peer, b.peerErr = b.lab.startPostfix(ctx, b.postfix); b.peerErr != nil {
			b.note(b.peerErr.Error())
		}
	}
	return b.peer, b.peerErr
}

func (b *benchmark) printThroughput(goals []benchGoal, got []bench.Samples) {
	writef(b.out, "\nRate and CPU time for a message, as ratios to the splice: the median of %d "+
		"rounds [least - most]. 20 sessions.\n\n", b.rounds)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	writef(w, "work\tsplice/s\tgate/s\trate\t\tgoal (stretch)\tCPU\tgoal\tPostfix/s\tvs Postfix\tgoal\tms p50\tp99\t")
	if b.against != "" {
		writef(w, "rate vs other\tCPU vs other\t")
	}
	writef(w, "\n")
	for i, g := range goals {
		s := got[i]
		rate := s.Ratio(benchGateNow, benchSplice, bench.ByRate)
		cpu := s.Ratio(benchGateNow, benchSplice, bench.ByCPU)
		peer := s.Ratio(benchGateNow, benchPeer, bench.ByRate)
		writef(w, "%s\t%.0f\t%.0f\t%.2f\t[%.2f - %.2f]\t%s\t%.2f\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t", g.name,
			s.Median(benchSplice, bench.ByRate), s.Median(benchGateNow, bench.ByRate),
			rate.Median, rate.Min, rate.Max, atLeast(rate.Median, g.rate, g.stretch),
			cpu.Median, atMost(cpu.Median, g.cpu, g.cpuStretch),
			number("%.0f", s.Median(benchPeer, bench.ByRate)),
			number("%.1f", peer.Median), atLeast(peer.Median, g.postfix, g.postfixStretch),
			s.Median(benchGateNow, func(s bench.Sample) float64 { return 1e3 * s.Median.Seconds() }),
			s.Median(benchGateNow, func(s bench.Sample) float64 { return 1e3 * s.P99.Seconds() }))
		if b.against != "" {
			r := s.Ratio(benchGateNow, benchAgainst, bench.ByRate)
			writef(w, "%.2f [%.2f - %.2f]\t%.2f\t", r.Median, r.Min, r.Max,
				s.Ratio(benchGateNow, benchAgainst, bench.ByCPU).Median)
		}
		writef(w, "\n")
	}
}

// number formats what was measured; 0 was not.
func number(format string, x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf(format, x)
}

// atLeast tells a goal and whether it is reached.
func atLeast(x, goal, stretch float64) string {
	return goalText(x, goal, stretch, ">=", func(x, y float64) bool { return x >= y })
}

func atMost(x, goal, stretch float64) string {
	return goalText(x, goal, stretch, "<=", func(x, y float64) bool { return x <= y })
}

func goalText(x, goal, stretch float64, sign string, reached func(x, y float64) bool) string {
	if goal == 0 {
		return "-"
	}
	text := fmt.Sprintf("%s %g", sign, goal)
	if stretch != 0 {
		text += fmt.Sprintf(" (%g)", stretch)
	}
	switch {
	case x == 0:
		return text
	case stretch != 0 && reached(x, stretch):
		return text + " ++"
	case reached(x, goal):
		return text + " +"
	default:
		return text + " BELOW"
	}
}

// benchMachine tells on what and under what load this is measured.
func benchMachine() string {
	kernel := "?"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	postfix := "none"
	if out, err := exec.Command("postconf", "-dh", "mail_version").Output(); err == nil { //nolint:noctx // a moment
		postfix = strings.TrimSpace(string(out))
	}
	v := buildVersion()
	return fmt.Sprintf("rcptgate %s, %s %s/%s, %d cores, Linux %s, Postfix %s, load average %s",
		cmp.Or(v.version, "?"), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		kernel, postfix, bench.LoadAverage())
}
