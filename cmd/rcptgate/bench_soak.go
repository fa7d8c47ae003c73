package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// soak sends mail through the gate, with a relay that fails in every way and a gate that is killed
// and restarted, and then looks for what was lost, doubled or leaked.
type soak struct {
	duration time.Duration
	sessions int
	faults   float64
	gate     string
	log      string // file for the log of the gates, "" for none
	out, err io.Writer

	lab    *benchLab
	relay  *soakRelay
	g      *benchGate
	slices int
	sum    bench.Balance
	broken []string // what is wrong, besides sum.Faults
}

func newSoakCmd() *cobra.Command {
	s := &soak{}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Send mail through faults, crashes and restarts, and balance the ledger",
		Long: `Soak sends mixed mail in many sessions through the gate to a relay that fails at every
stage, and kills, ends and restarts the gate in between. Then

  - every message that a client saw answered 250 must be at the relay, exactly once, octet by
    octet; one that was refused or not sent to its end, never; one in doubt at most once,
  - the memory, descriptors and goroutines of a gate that runs on must stay flat.

The exit code is 1 if they do not. A minute is enough for CI; it can run for days.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.duration < soakLeast {
				return usageError(fmt.Sprintf("--duration %v is too short", s.duration),
					fmt.Sprintf("use %v or more", soakLeast))
			}
			if s.faults < 0 || s.faults > 1 || s.sessions < 1 {
				return usageError("--faults must be from 0 to 1, --sessions 1 or more", "")
			}
			s.out, s.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return s.run(ctx)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&s.duration, "duration", time.Minute, "how long")
	f.IntVar(&s.sessions, "sessions", 200, "SMTP sessions at one time")
	f.Float64Var(&s.faults, "faults", 0.25, "share of messages that meet a fault of the relay")
	f.StringVar(&s.log, "log", "", "a file for the log of the gate")
	f.StringVar(&s.gate, "gate", "", "the binary under test (this one)")
	return cmd
}

const (
	soakLeast = 20 * time.Second
	soakCycle = time.Hour        // a new gate and a new world after that
	soakSlice = time.Minute      // the ledger is balanced after that, to keep it small
	soakBlow  = 10 * time.Second // the longest slice with a blow
	soakBlows = 4                // in a cycle
)

// run goes through cycles until duration is over.
func (s *soak) run(ctx context.Context) error {
	end := time.Now().Add(s.duration)
	writef(s.out, "%s\n", benchMachine())
	for left := s.duration; left > soakLeast/2; left = time.Until(end) {
		if err := s.cycle(ctx, min(left, soakCycle)); err != nil {
			if ctx.Err() != nil {
				return failed("interrupted", "")
			}
			return failed(fmt.Sprintf("soak: %v", err), "")
		}
	}
	b := &s.sum
	writef(s.out, "\n%d messages accepted, %d at the relay, of which %d without a 250 (%d clients were told "+
		"that the outcome is unknown, %d nothing); %d refused, %d not sent to their end\n",
		b.Accepted, b.Arrived, b.Doubtful, b.Unknown, b.Silence, b.Refused, b.Unsent)
	faults := append(s.broken, b.Faults...)
	if b.Accepted == 0 {
		faults = append(faults, "not one message was accepted")
	}
	if s.faults > 0 && b.Unknown == 0 {
		faults = append(faults, "the relay has not failed once; this run says nothing")
	}
	if len(faults) > 0 {
		return failed(strings.Join(faults, "\n"), "this is a fault of the gate; please report it")
	}
	writef(s.out, "the ledger balances; memory, descriptors and goroutines are flat\n")
	return nil
}

// cycle spends some of its time with a gate that is killed and ended in turns, and the rest, two
// slices at the least, with one that runs on.
func (s *soak) cycle(ctx context.Context, d time.Duration) error {
	start := time.Now()
	lab, err := newBenchLab(ctx, s.gate, s.err)
	if err != nil {
		return err
	}
	defer lab.close()
	s.lab = lab
	// A relay that hangs is to be given up soon, so that a minute has time for many.
	lab.relayKeys = "timeout = \"3s\"\ndata_done_timeout = \"3s\""
	if s.log != "" {
		lab.gateLog, err = os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = lab.gateLog.Close() }()
	}
	if s.relay, err = startSoakRelay(ctx, s.faults); err != nil {
		return err
	}
	defer func() { s.relay.Close() }()
	if s.g, err = lab.startGate(ctx, lab.gate, s.relay.address); err != nil {
		return err
	}
	defer func() { s.g.quiet() }()
	for i := range soakBlows {
		sig := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[i%2]
		if err := s.slice(ctx, min(d/15, soakBlow), sig); err != nil {
			return err
		}
	}
	return s.steady(ctx, start.Add(d))
}

// steady sends without disturbing the gate and compares what it holds at rest.
func (s *soak) steady(ctx context.Context, end time.Time) error {
	var first *soakState
	for n := 0; n < 2 || time.Until(end) > soakLeast/4; n++ {
		each := min(max(time.Until(end)/3, soakLeast/4), soakSlice)
		if err := s.slice(ctx, each, 0); err != nil {
			return err
		}
		now, err := s.state(ctx)
		if err != nil {
			return err
		}
		writef(s.out, "at rest: %s\n", now)
		if first == nil {
			first = now
		}
		s.broken = append(s.broken, now.grown(first)...)
	}
	return nil
}

// slice sends for a while and, in the middle, ends the gate with a signal (0: does not) and starts
// it again. Then all comes to rest, and the ledger is balanced.
func (s *soak) slice(ctx context.Context, d time.Duration, sig syscall.Signal) error {
	s.slices++
	ledger := new(bench.Ledger)
	recipients := bench.Recipients(benchRecipients, benchDomains, benchDomain)
	nobodies := make([]string, 50)
	for i := range nobodies {
		nobodies[i] = fmt.Sprintf("nobody%d@d%d.%s", i, i%benchDomains, benchDomain)
	}
	load := &bench.Soak{
		Address: s.g.address, Sessions: s.sessions, Prefix: fmt.Sprintf("s%d", s.slices),
		Known: recipients, Nobodies: nobodies, Ledger: ledger,
	}
	sending, stop := context.WithTimeout(ctx, d)
	defer stop()
	rest := make(chan struct{})
	go func() {
		load.Run(sending)
		close(rest)
	}()
	err := s.blow(ctx, d/2, sig)
	if err != nil {
		stop()
	}
	<-rest
	if err != nil {
		return err
	}
	arrived, err := s.relay.renew(ctx)
	if err != nil {
		return err
	}
	b := ledger.Balance(arrived, sig == syscall.SIGKILL)
	s.sum.Add(b)
	writef(s.out, "slice %d, %v, %s: %d accepted, %d refused, %d unsent, %d in doubt of which %d "+
		"arrived, %d faults\n", s.slices, d.Round(time.Second), map[syscall.Signal]string{
		0: "undisturbed", syscall.SIGKILL: "killed", syscall.SIGTERM: "ended",
	}[sig], b.Accepted, b.Refused, b.Unsent, b.Unknown+b.Silence, b.Doubtful, len(b.Faults))
	return nil
}

// blow ends the gate after a while, and starts it again.
func (s *soak) blow(ctx context.Context, after time.Duration, sig syscall.Signal) error {
	if sig == 0 {
		return nil
	}
	if err := wait(ctx, after); err != nil {
		return err
	}
	if sig == syscall.SIGKILL {
		s.g.kill()
	} else if err := s.g.stop(); err != nil {
		s.broken = append(s.broken, fmt.Sprintf("slice %d: after SIGTERM: %v", s.slices, err))
	}
	return s.lab.launch(context.WithoutCancel(ctx), s.g)
}

// soakState is what a gate holds that has nothing to do.
type soakState struct {
	memory            int64
	files, goroutines int // goroutines: 0 if they are not told
	threads           int
}

func (s *soakState) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors, %s goroutines, %d threads", float64(s.memory)/mib,
		s.files, cmp.Or(number("%.0f", float64(s.goroutines)), "-"), s.threads)
}

// state waits until the gate has come to rest: idle connections to the relay and to mail servers
// have been given up, and the runtime has had time to collect.
func (s *soak) state(ctx context.Context) (*soakState, error) {
	memory, err := s.g.memory(ctx)
	if err != nil {
		return nil, err
	}
	now := &soakState{memory: memory}
	if now.files, err = s.g.tree.Files(); err != nil {
		return nil, err
	}
	if now.threads, err = s.g.tree.Threads(); err != nil {
		return nil, err
	}
	if now.goroutines, err = s.g.goroutines(ctx); err != nil {
		writef(s.err, "bench: goroutines: %v\n", err)
	}
	return now, nil
}

// grown tells what has grown since a state before, beyond what is noise: the heap of a Go program
// that is at rest keeps the size of its last load for a while.
func (s *soakState) grown(since *soakState) (faults []string) {
	if most := since.memory + since.memory/2 + 16*mib; s.memory > most {
		faults = append(faults, fmt.Sprintf("memory at rest has grown from %.1f to %.1f MiB",
			float64(since.memory)/mib, float64(s.memory)/mib))
	}
	for _, n := range []struct {
		name         string
		before, then int
	}{
		{"descriptors", since.files, s.files}, {"goroutines", since.goroutines, s.goroutines},
	} {
		if n.before > 0 && n.then > n.before+10 {
			faults = append(faults, fmt.Sprintf("%s at rest have grown from %d to %d",
				n.name, n.before, n.then))
		}
	}
	return faults
}
