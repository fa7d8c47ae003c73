package main

import (
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
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// benchMode is how long bench takes.
type benchMode struct {
	rounds  int
	round   time.Duration // of one target with one kind of work
	pings   int           // round trips of one round
	idle    int           // connections
	bigMail int           // messages that stop half way
	quick   bool          // one campaign of three
}

func benchModes() map[string]benchMode {
	return map[string]benchMode{
		"quick": {rounds: 3, round: 400 * time.Millisecond, pings: 3000, idle: 1000, bigMail: 50, quick: true},
		"default": {
			rounds: 5, round: 1500 * time.Millisecond, pings: 20000, idle: 10000, bigMail: 200,
		},
	}
}

const benchThroughput = "throughput"

// benchmark is one run of rcptgate bench.
type benchmark struct {
	benchMode
	gate    string // the binary
	against string // another one, "" for none
	postfix string // the script that starts one, "" for none
	only    string
	out     io.Writer
	err     io.Writer

	lab     *benchLab
	peer    *benchPostfix
	peerErr error
}

func newBenchCmd() *cobra.Command {
	var mode string
	b := &benchmark{}
	modes := benchModes()
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the gate beside a TCP splice, an echo server and Postfix",
		Long: `Bench starts the gate, a sink behind it, a TCP splice in front of the same sink, an echo
server, and a Postfix, all on loopback, and measures them in turns: rate and CPU time for
each kind of work, warm recipients, the time of a cached refusal, and memory. What it
started ends with it. docs/performance.md tells how to read the tables.

It takes about a minute (quick) or six (default), and says something only on a machine
that has nothing else to do.`,
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var ok bool
			if b.benchMode, ok = modes[mode]; !ok {
				return usageError(fmt.Sprintf("unknown mode %q", mode), "use --mode quick or default")
			}
			b.out, b.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return b.run(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&mode, "mode", "default", "quick or default")
	f.StringVar(&b.gate, "gate", "", "the binary under test (this one)")
	f.StringVar(&b.against, "against", "", "another gate to compare with, as the build before a change")
	f.StringVar(&b.postfix, "postfix", "", "the script e2e/postfix.sh; without it there is no Postfix")
	f.StringVar(&b.only, "only", "", "only kinds of work and parts whose name has this in it")
	cmd.AddCommand(newBenchServerCmd(), newBenchUnrecordedCmd(), newSoakCmd())
	return cmd
}

func (b *benchmark) run(ctx context.Context) error {
	lab, err := newBenchLab(ctx, b.gate, b.err)
	if err != nil {
		return err
	}
	defer lab.close()
	b.lab = lab
	writef(b.out, "%s\n", benchMachine())
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{benchThroughput, b.throughput},
		{"warm recipients", b.warm},
		{"policy delegation", b.policyd},
		{"records", b.records},
		{"cached refusal", b.refusal},
		{"idle memory", b.idleMemory},
		{"big messages", b.bigMessages},
		{"campaign", b.campaign},
	} {
		// Throughput is many kinds of work, and chooses of them itself.
		if part.name != benchThroughput && !strings.Contains(part.name, b.only) {
			continue
		}
		start := time.Now()
		b.note(part.name)
		if err := part.run(ctx); err != nil {
			if ctx.Err() != nil {
				return failed("interrupted", "")
			}
			return failed(fmt.Sprintf("%s: %v", part.name, err), "")
		}
		b.note(fmt.Sprintf("%s took %.0f s", part.name, time.Since(start).Seconds()))
	}
	writef(b.out, "\nload average at the end %s\n", bench.LoadAverage())
	return nil
}

// note tells a person who waits.
func (b *benchmark) note(text string) { writef(b.err, "bench: %s\n", text) }

// The recipients of all benchmarks: so many that a cache has something to do.
const (
	benchDomain     = "bench.test"
	benchRecipients = 1000
	benchDomains    = 50
	benchSites      = 5
	benchNobody     = "nobody@d0." + benchDomain
)

// benchWorld is the simulated internet in which the recipients exist.
func benchWorld() *mxsim.World {
	w := mxsim.New(mxsim.Config{Loopback: true})
	boxes := make(map[string]mxsim.Mailbox, benchRecipients)
	for i := range benchRecipients {
		boxes[fmt.Sprintf("user%d", i)] = mxsim.Active
	}
	for i := range benchSites {
		site := &mxsim.Site{
			Mailboxes: boxes,
			Hosts:     []*mxsim.Host{{Name: fmt.Sprintf("mx%d.%s", i, benchDomain), Pref: 10}},
		}
		for d := i; d < benchDomains; d += benchSites {
			site.Domains = append(site.Domains, fmt.Sprintf("d%d.%s", d, benchDomain))
		}
		w.Add(site)
	}
	return w
}

// probes is how many recipients the simulated servers were asked about.
func (l *benchLab) probes() int {
	n := 0
	for _, site := range l.world.Sites() {
		for _, h := range site.Hosts {
			n += h.Record().Count(mxsim.Rcpt)
		}
	}
	return n
}
