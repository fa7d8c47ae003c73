package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// demoDrain is how long what the demo left behind has to end.
const demoDrain = 5 * time.Second

func newDemoCmd() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch the gate at work in a simulated world",
		Long: `Demo builds a whole world on the loopback interface: DNS, mail servers that behave like
the real ones, a relay, and the gate between them. Real mail goes through, and each
recipient is shown with the decision, the reason and the words of its mail server. Then
the decisions are compared with the truth about every mailbox.

The exit code is 1 if a good recipient was refused or one let through whose own server
says that it does not exist. Nothing leaves this machine; it takes some fifteen seconds.`,
		Example: `  rcptgate demo
  rcptgate demo --keep     then send mail of your own, with swaks`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			d := &demo{
				sites: demoSites(), campaign: demoCampaign(), second: demoSecond(), keep: keep,
				out: newDemoPrinter(cmd.OutOrStdout()), stderr: cmd.ErrOrStderr(),
			}
			return d.run(ctx)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the world running until interrupted")
	return cmd
}

// demo is one run: a world, a gate, a relay and a campaign.
type demo struct {
	sites    []*mxsim.Site
	campaign []demoMail
	second   []demoMail // after the deliveries of the first
	keep     bool
	out      *demoPrinter
	stderr   io.Writer

	world    *mxsim.World
	at       mxsim.Listening
	relay    *mxsim.Relay
	delivery *mxsim.Delivery
	bounced  map[string]bool // recipients that were refused after the message
	log      *demoLog
	running  *gate
	gate     string // where the gate listens
	toml     []byte // its configuration
	score    demoScore
}

func (d *demo) run(ctx context.Context) error {
	d.world = mxsim.New(mxsim.Config{Loopback: true})
	defer d.world.Close()
	d.world.Add(d.sites...)
	d.relay = mxsim.NewRelay("relay.demo.test")
	var err error
	if d.at, err = d.world.Listen(ctx); err != nil {
		return failed(fmt.Sprintf("cannot build the simulated world: %v", err),
			"the demo needs the addresses of 127.0.0.0/8; see `ip address show lo`")
	}
	d.bounced = make(map[string]bool)
	relayLog, done, err := d.deliver()
	if err != nil {
		return err
	}
	defer done()
	defer d.relay.Close()
	relayAt, err := d.relay.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return failed(fmt.Sprintf("cannot start the demo's relay: %v", err), "")
	}
	stop, err := d.startGate(ctx, relayAt, relayLog)
	if err != nil {
		return err
	}
	err = d.show(ctx)
	if stopErr := stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	if !d.keep {
		d.out.summary(&d.score, d.etiquette())
	}
	return d.verdict()
}

// startGate composes the gate as serve does, from a configuration in the format of serve. stop ends
// it and waits.
func (d *demo) startGate(ctx context.Context, relayAt, relayLog string) (stop func() error, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, failed(fmt.Sprintf("cannot open the gate's listener: %v", err), "")
	}
	d.gate = l.Addr().String()
	d.toml = d.config(relayAt, relayLog)
	cfg, err := config.Parse("demo.toml", d.toml)
	if err != nil {
		_ = l.Close()
		return nil, failed(fmt.Sprintf("the demo's configuration: %v", err), "")
	}
	d.log = newDemoLog(newLogger(d.stderr, cfg.Log).Handler())
	g, err := buildGate(cfg, slog.New(d.log)) //nolint:contextcheck // it outlives the start
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	d.running = g
	var serving sync.WaitGroup
	var serveErr error
	serving.Go(func() { serveErr = g.server.Serve(l) })
	return func() error {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), demoDrain)
		defer cancel()
		err := g.shutdown(drain)
		serving.Wait()
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil // a tarpit was cut off; the campaign's own connections are closed
		}
		if err = errors.Join(err, serveErr); err != nil {
			return failed(fmt.Sprintf("the gate did not end well: %v", err), "")
		}
		return nil
	}, nil
}

// config is the gate's configuration: budgets fit for spectators, and probes that may reach the
// simulated hosts.
func (d *demo) config(relayAt, relayLog string) []byte {
	return fmt.Appendf(nil, `# The configuration of rcptgate demo.

[proxy]
listen = [%q]
hostname = "gate.demo.test"

[relay]
upstreams = [%q]

[verify]
rcpt_budget = "5s"
transaction_budget = "10s"
connect_timeout = "2s"
internal_domains = [%q]
probe_port = %d
allow_networks = ["127.0.0.0/8"]

[verify.dns]
servers = [%q]
timeout = "2s"

[verify.feedback]
relay_log = %q

[log]
redact = false
`, d.gate, relayAt, demoInternal()[0], d.at.Port, d.at.DNS, relayLog)
}

// show sends the campaign and, with keep, stays until interrupted.
func (d *demo) show(ctx context.Context) error {
	d.out.opening(d.world, d.at, d.gate)
	if err := d.sendAll(ctx, d.campaign); err != nil {
		return err
	}
	if len(d.second) > 0 {
		if err := d.learn(ctx); err != nil {
			return d.fault(ctx, err)
		}
		if err := d.sendAll(ctx, d.second); err != nil {
			return err
		}
	}
	d.score.relay(d.relay.Messages())
	if !d.keep {
		return nil
	}
	d.out.summary(&d.score, d.etiquette())
	dir, err := os.MkdirTemp("", "rcptgate-demo-")
	if err != nil {
		return failed(fmt.Sprintf("cannot keep the configuration: %v", err),
			"set TMPDIR to a directory that is writable")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "demo.toml")
	if err := os.WriteFile(path, d.toml, 0o600); err != nil {
		return failed(fmt.Sprintf("cannot keep the configuration: %v", err), "")
	}
	d.out.invitation(d.gate, path)
	for {
		line, ok := d.log.take(ctx)
		if !ok {
			return nil
		}
		d.out.visitor(line)
	}
}

func (d *demo) sendAll(ctx context.Context, mails []demoMail) error {
	for _, mail := range mails {
		number := len(d.score.sent) + 1
		if err := d.send(ctx, mail, number); err != nil {
			return d.fault(ctx, fmt.Errorf("message %d: %w", number, err))
		}
	}
	return nil
}

func (*demo) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return failed("interrupted", "")
	}
	return failed(err.Error(), "this is a fault of the gate; please report it")
}

// send sends one message and shows what became of each recipient.
func (d *demo) send(ctx context.Context, mail demoMail, number int) error {
	d.out.title(number, mail)
	start := time.Now()
	sent, err := demoSend(ctx, d.gate, mail, number)
	if err != nil {
		return err
	}
	elapsed := time.Since(start)
	lines, err := d.lines(ctx, sent)
	if err != nil {
		return err
	}
	for i, rcpt := range mail.rcpts {
		row := demoRow{rcpt: rcpt, reply: sent.replies[i], line: lines[rcpt], truth: d.truth(rcpt)}
		d.score.add(row)
		d.out.row(row)
	}
	d.score.sent = append(d.score.sent, sent)
	d.out.delivered(sent, elapsed)
	return nil
}

// lines collects the gate's log about a message. They are written by the time that the client has
// its replies, or very soon after.
func (d *demo) lines(ctx context.Context, sent *demoSent) (map[string]demoRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, demoDrain)
	defer cancel()
	want := len(sent.replies)
	if sent.body != nil {
		want++ // the line about the message
	}
	lines := make(map[string]demoRecord, want)
	for range want {
		line, ok := d.log.take(ctx)
		if !ok {
			return nil, fmt.Errorf("the gate logged %d of %d decisions", len(lines), want)
		}
		if line["event"] == "recipient" {
			lines[line["recipient"]] = line
		}
	}
	for _, rcpt := range sent.mail.rcpts {
		if lines[rcpt] == nil {
			return nil, fmt.Errorf("the gate logged no decision about %s", rcpt)
		}
	}
	return lines, nil
}

// verdict is the exit code.
func (d *demo) verdict() error {
	faults := d.score.faults()
	if n := d.etiquette().messages; n > 0 {
		faults = append(faults, fmt.Sprintf("%d probes said DATA", n))
	}
	if len(faults) > 0 {
		return failed(strings.Join(faults, "\n"),
			"this is a fault of the gate; please report it with the output above")
	}
	return nil
}
