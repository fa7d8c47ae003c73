package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	// verifyWorkers are asked for at one time. Limits towards mail servers are the probe pool's.
	verifyWorkers = 100
	// verifyAhead bounds the answers that wait for an earlier address to be printed.
	verifyAhead = 1000
)

type verifyOptions struct {
	config string
	json   bool
	from   string
	wait   time.Duration
}

func newVerifyCmd() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [--config FILE] [--json] ADDRESS...",
		Short: "Tell what is known of mailboxes, asking their mail servers",
		Long: `Verify asks the mail servers of the addresses as the gate would, without sending mail, and
prints one verdict a line: deliverable, undeliverable, risky or unknown, the reason, and
the mail server's own words. "-" reads addresses from standard input, one a line.

The exit code is 1 if any address is undeliverable.`,
		Example: `  rcptgate verify someone@example.com
  rcptgate verify --json - < addresses.txt`,
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd, o, args) },
	}
	configFlag(cmd, &o.config, "the gate's configuration; without it the defaults hold")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one object a line")
	cmd.Flags().StringVar(&o.from, "from", "", "ask as for mail from this sender")
	cmd.Flags().DurationVar(&o.wait, "wait", 0,
		"longest wait for one address (default verify.rcpt_budget)")
	return cmd
}

func runVerify(cmd *cobra.Command, o verifyOptions, args []string) error {
	if len(args) == 0 {
		return usageError("no address given",
			"name addresses, or - to read them from standard input, one a line")
	}
	sender, err := parseSender(o.from)
	if err != nil {
		return err
	}
	if err := checkAddresses(args); err != nil {
		return err
	}
	cfg, err := optionalConfig(o.config)
	if err != nil {
		return err
	}
	if err := setWait(cfg, o.wait); err != nil {
		return err
	}
	if cfg.Proxy.Hostname == "" && o.from == "" {
		warnName(cmd.ErrOrStderr(), cfg)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stack, err := buildVerification(ctx, cfg, newLogger(cmd.ErrOrStderr(), quietLog(cfg)))
	if err != nil {
		return err
	}
	defer stack.close()

	run := &verifyRun{
		stack: stack, question: verify.Question{Sender: sender, CatchAll: true},
		out: newVerdictWriter(cmd.OutOrStdout(), o.json, args),
		bar: newProgress(cmd.ErrOrStderr()), errs: cmd.ErrOrStderr(),
	}
	if err := run.all(ctx, args, cmd.InOrStdin()); err != nil {
		return err
	}
	return run.result(ctx)
}

// warnName tells of a name that mail servers do not like, where nobody has chosen one.
func warnName(w io.Writer, cfg *config.Config) {
	for _, warning := range cfg.Warnings() {
		if warning.Key == "proxy.hostname" {
			writef(w, "rcptgate: warning: this machine has no full name, so it is %s to mail "+
				"servers, and some will not answer that; name it with proxy.hostname in a "+
				"configuration, or a sender with --from\n", cfg.Hostname())
		}
	}
}

// setWait lets a person wait longer than a client may be made to.
func setWait(cfg *config.Config, wait time.Duration) error {
	switch {
	case wait < 0:
		return usageError("--wait is negative", `write a duration such as "30s"`)
	case wait > 0:
		cfg.Verify.RcptBudget = config.Duration(wait)
		cfg.Verify.ProbeTimeout = max(cfg.Verify.ProbeTimeout, cfg.Verify.RcptBudget)
	}
	return nil
}

// quietLog is for commands whose result tells what the log of serve would warn of.
func quietLog(cfg *config.Config) config.Log {
	quiet := cfg.Log
	if quiet.Level != "debug" {
		quiet.Level = "error"
	}
	return quiet
}

func parseSender(from string) (esmtp.Address, error) {
	if from == "" {
		return esmtp.Address{}, nil
	}
	sender, err := esmtp.ParseAddress(from, true)
	if err != nil {
		return sender, usageError(fmt.Sprintf("--from %q: %v", from, err),
			"write the sender as user@example.com")
	}
	return sender, nil
}

// checkAddresses refuses a command line before anybody is asked. Addresses from standard input are
// too many for that and get a line of their own.
func checkAddresses(args []string) error {
	var faults []string
	for _, arg := range args {
		if arg == "-" {
			continue
		}
		if _, err := esmtp.ParseAddress(arg, true); err != nil {
			faults = append(faults, fmt.Sprintf("%q is not an address: %v", arg, err))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return usageError(strings.Join(faults, "\n"), "write addresses as user@example.com")
}

// verifyRun asks about addresses side by side and prints the answers in order.
type verifyRun struct {
	stack    *verification
	question verify.Question // all but the address
	out      *verdictWriter
	bar      *progress
	errs     io.Writer

	undeliverable, malformed bool
}

// verifyJob is one address on its way; done carries its result.
type verifyJob struct {
	text  string
	fault error // the text is no address
	addr  esmtp.Address
	done  chan verify.Result
}

func (r *verifyRun) all(ctx context.Context, args []string, stdin io.Reader) error {
	work := make(chan *verifyJob)
	ordered := make(chan *verifyJob, verifyAhead)
	var workers sync.WaitGroup
	for range verifyWorkers {
		workers.Go(func() { r.work(ctx, work) })
	}
	var readErr error
	workers.Go(func() {
		defer close(work)
		defer close(ordered)
		readErr = feed(ctx, args, stdin, func(job *verifyJob) bool {
			r.bar.expect()
			return send(ctx, ordered, job) && (job.fault != nil || send(ctx, work, job))
		})
	})
	for job := range received(ctx, ordered) {
		r.print(ctx, job)
	}
	r.bar.clear()
	if ctx.Err() == nil { // else the reader may hang in a read that only the program's end ends
		workers.Wait()
	}
	if ctx.Err() == nil && readErr != nil {
		return failed(fmt.Sprintf("cannot read the addresses: %v", readErr), "")
	}
	return r.out.err
}

func (r *verifyRun) work(ctx context.Context, work <-chan *verifyJob) {
	for job := range work {
		q := r.question
		q.Address, q.UTF8 = job.addr, job.addr.NeedsUTF8()
		job.done <- r.stack.verifier.Verify(ctx, q)
		r.bar.step()
	}
}

func (r *verifyRun) print(ctx context.Context, job *verifyJob) {
	if job.fault != nil {
		r.malformed = true
		r.bar.clear()
		writef(r.errs, "rcptgate: error: %q is not an address: %v\n", job.text, job.fault)
		r.out.malformed(job.text)
		return
	}
	select {
	case result := <-job.done:
		r.undeliverable = r.undeliverable || result.Verdict == verify.Undeliverable
		r.bar.clear()
		r.out.verdict(job.text, result)
	case <-ctx.Done():
	}
}

func (r *verifyRun) result(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return failed("interrupted: not all addresses were asked about", "")
	case r.undeliverable:
		return &failure{code: exitFailed}
	case r.malformed:
		return &failure{code: exitUsage}
	default:
		return nil
	}
}

// feed turns the arguments, and for "-" the lines of standard input, into jobs until emit says no.
func feed(
	ctx context.Context, args []string, stdin io.Reader, emit func(*verifyJob) bool,
) error {
	for _, arg := range args {
		if arg != "-" {
			if !emit(newVerifyJob(arg)) {
				return nil
			}
			continue
		}
		lines := bufio.NewScanner(stdin)
		for ctx.Err() == nil && lines.Scan() {
			text := strings.TrimSpace(lines.Text())
			if text != "" && !strings.HasPrefix(text, "#") && !emit(newVerifyJob(text)) {
				return nil
			}
		}
		if errors.Is(lines.Err(), bufio.ErrTooLong) {
			return errors.New("a line of standard input is longer than 64 KiB")
		}
		if err := lines.Err(); err != nil {
			return err
		}
	}
	return nil
}

func newVerifyJob(text string) *verifyJob {
	addr, err := esmtp.ParseAddress(text, true)
	return &verifyJob{text: text, addr: addr, fault: err, done: make(chan verify.Result, 1)}
}

// received yields what comes from a channel until it is closed or ctx ends.
func received[T any](ctx context.Context, from <-chan T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for {
			select {
			case v, ok := <-from:
				if !ok || !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func send[T any](ctx context.Context, to chan<- T, v T) bool {
	select {
	case to <- v:
		return true
	case <-ctx.Done():
		return false
	}
}
