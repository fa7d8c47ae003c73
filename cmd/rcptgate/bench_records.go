package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/bench"
	"github.com/rcptgate/rcptgate/internal/config"
)

// newBenchUnrecordedCmd is serve, but for what is written down of recipients and messages: the SMTP
// front tells neither the journal nor the metrics of anything. There is no such configuration, and
// there should be none: it is what the benchmark compares with.
func newBenchUnrecordedCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:    "unrecorded --config FILE",
		Short:  "The gate without journal and metrics, to compare with",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &service{
				load:       func() (*config.Config, error) { return loadConfig(path) },
				unrecorded: true,
			}
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return s.serve(cmd.Context(), cmd.ErrOrStderr(), signals)
		},
	}
	configFlag(cmd, &path, "the configuration")
	return cmd
}

// The gates that records compares.
const (
	benchUnrecorded = "without journal and metrics"
	benchUnlogged   = "without lines of recipients"
)

// records measures what the journal, the metrics and the log cost: gates with and without them take
// turns, many short ones, because what else the machine does changes.
func (b *benchmark) records(ctx context.Context) error {
	m := &bench.Matrix{Rounds: 4 * b.rounds, Note: b.note}
	for _, t := range []struct {
		name  string
		serve []string
		log   string
	}{
		{name: benchGateNow},
		{name: benchUnrecorded, serve: []string{"bench", "unrecorded"}},
		{name: benchUnlogged, log: `level = "warn"`},
	} {
		b.lab.serve, b.lab.logKeys = t.serve, t.log
		g, err := b.lab.warmGate(ctx, b.lab.gate)
		b.lab.serve, b.lab.logKeys = nil, ""
		if err != nil {
			return err
		}
		defer g.quiet()
		m.Targets = append(m.Targets, bench.Target{Name: t.name, Address: g.address, Tree: g.tree})
	}
	work := []bench.Work{
		{Name: "1 KB, persistent", Sessions: 20, Rcpts: 1, Size: kib},
		// The most that can be written down for the least that is done.
		{Name: "10 KB, 50 RCPT pipelined", Sessions: 20, Rcpts: 50, Size: 10 * kib, Pipelined: true},
	}
	cells := make([]bench.Cell, len(work))
	for i, w := range work {
		cells[i] = bench.Cell{
			Recipients: bench.Recipients(benchRecipients, benchDomains, benchDomain),
			Duration:   max(b.round/2, 400*time.Millisecond), Work: w,
		}
	}
	got, err := m.Run(ctx, cells)
	if err != nil {
		return err
	}
	for i, samples := range got {
		b.printRecords(work[i].Name, samples, m.Rounds)
	}
	return nil
}

func (b *benchmark) printRecords(work string, s bench.Samples, rounds int) {
	writef(b.out, "\nWhat is written down: 20 sessions, %s, medians of %d rounds.\n"+
		"  gate %.0f messages/s, CPU %.0f us for each\n", work, rounds,
		s.Median(benchGateNow, bench.ByRate), 1e6*s.Median(benchGateNow, bench.ByCPU))
	for _, t := range []struct {
		name string
		goal float64
	}{{benchUnrecorded, 0.97}, {benchUnlogged, 0.96}} {
		rate := s.Ratio(benchGateNow, t.name, bench.ByRate)
		cpu := s.Ratio(t.name, benchGateNow, bench.ByCPU)
		writef(b.out, "  gate / %s: rate %.3f [%.2f - %.2f], goal %s; its CPU / the gate's %.3f "+
			"[%.2f - %.2f], goal %s\n", t.name, rate.Median, rate.Min, rate.Max,
			atLeast(rate.Median, t.goal, 0), cpu.Median, cpu.Min, cpu.Max, atLeast(cpu.Median, t.goal, 0))
	}
}
