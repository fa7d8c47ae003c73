package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
)

// The bounds of --interval.
const (
	topIntervalLeast = 200 * time.Millisecond
	topIntervalMost  = time.Minute
)

func newTopCmd() *cobra.Command {
	var (
		path     string
		once     bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use:   "top --config FILE",
		Short: "Watch the gate at work on the terminal",
		Long: `Top shows the running gate, anew each second: how many recipients it accepts, rejects and
defers, how long clients wait for the answer to RCPT, the relay, the providers and which of them
are left alone for a while, senders that are held or throttled, refusals as they happen, and all
parts that need a look, in plain words. It asks over the control socket.

The views are 1 Now, 2 Providers, 3 Senders, 4 Refusals, 5 Health. Keys:

  1 to 5, Tab, left, right   another view
  up, down, PgUp, PgDn       further up or down
  /                          show only lines with a text; Esc shows all again
  p                          hold what is shown, and go on
  ?                          help
  q                          quit

"This minute" has not ended yet; "hour" is it and the 60 minutes before, as far as the gate runs so
long. If the gate does not answer that is said, and it is asked again.

With --once all views are printed one time as plain text, for scripts; the exit code is 1 if no
gate answers. Colors are left out where NO_COLOR is set, everything beyond ASCII where the locale
is not UTF-8.`,
		Example: `  rcptgate top -c rcptgate.toml --once`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < topIntervalLeast || interval > topIntervalMost {
				return usageError(fmt.Sprintf("--interval: %v is not from %v to %v", interval, topIntervalLeast,
					topIntervalMost), "leave it out: 1s")
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if once {
				return topOnce(cmd, cfg)
			}
			return runTop(cmd, cfg, interval)
		},
	}
	configFlag(cmd, &path, "the gate's configuration")
	cmd.Flags().BoolVar(&once, "once", false, "print all views once, as plain text")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often the gate is asked")
	return cmd
}

// topOnce prints one frame of all views.
func topOnce(cmd *cobra.Command, cfg *config.Config) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	gate, err := openTopGate(ctx, cfg)
	if err != nil {
		return err
	}
	defer gate.close()
	m := topModel{charset: topCharset{utf8: true}}
	views := []topView{topNow, topProviders, topSendersView}
	answers := gate.ask(ctx, views...)
	if answers.err != nil {
		return answers.err
	}
	m.now = answers.at
	m.latest.take(&answers, views...)
	if m.latest.refusals, err = gate.recent(ctx); err != nil {
		note, lost := topNote("/v1/decisions/search", err)
		if lost != nil {
			return lost
		}
		m.latest.note = note
	}
	m.refresh()
	printTop(cmd.OutOrStdout(), &m)
	return nil
}

// topOnceRefusals is how many refusals --once prints in each of the views Now and Refusals.
const topOnceRefusals = 20

// printTop writes all views below each other.
func printTop(w io.Writer, m *topModel) {
	writef(w, "%s\n", m.headline().plain())
	// Of what Now repeats of others, each stands once.
	for _, part := range []struct {
		name  topText
		lines []topLine
	}{
		{topNow.name(), slices.Concat(m.ratesView(), m.relayView(), []topLine{m.sendersLine()})},
		{topProviders.name(), m.providersView()},
		{topSendersView.name(), m.sendersView()},
		{topRefusalsView.name(), m.refusals(topOnceRefusals)},
		{topHealth.name(), m.healthView()},
	} {
		writef(w, "\n%s\n", part.name)
		for _, line := range part.lines {
			if text := line.plain(); text != "" {
				writef(w, "  %s\n", text)
			}
		}
	}
	if m.shown.note != "" {
		writef(w, "  %s\n", m.charset.text(m.shown.note))
	}
}

// runTop is the live view.
func runTop(cmd *cobra.Command, cfg *config.Config, interval time.Duration) error {
	in, isInput := isTerminalFile(cmd.InOrStdin())
	out, isOutput := isTerminalFile(cmd.OutOrStdout())
	if !isInput || !isOutput {
		return usageError("top needs a terminal, with keys and a screen that can be drawn on",
			"for scripts and pipes there is --once")
	}
	gate, err := openTopGate(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer gate.close()
	t := &top{
		screen: &topScreen{in: in, out: out, color: os.Getenv("NO_COLOR") == ""}, gate: gate,
		model: topModel{charset: topCharsetOf(os.Getenv), every: interval},
	}
	return t.run(cmd.Context())
}
