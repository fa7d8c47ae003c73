package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// journalSuffix is behind the name of the result, or of the list, in that of the journal.
const journalSuffix = ".rcptgate-check"

const bulkLong = `Check reads a list of addresses from FILE, or from standard input for "-", asks the mail servers
of each different address once, as the gate would and without sending mail, and writes the list
again with the verdicts.

THE LIST is CSV, with commas, semicolons, tabs or bars, with or without a header, or one address a
line. The column of addresses is found by itself if only one looks like it; --column names it, or
counts from 1. Text is UTF-8; a byte order mark and CRLF are kept.

THE RESULT has all rows of the list in their order, octet for octet, with these columns behind them:

  verdict         deliverable, undeliverable, risky or unknown
  reason          why, in one word, as rcptgate verify --json has it; "syntax" where the row
                  has no address
  confidence      how sure the verdict is, 0 to 1
  deliverability  the probability that mail will be delivered, 0 to 1
  provider        who receives the domain's mail, if that is known
  mx              the mail server that answered
  reply_code      of its reply
  checked_at      when that was, in UTC

Names that the list has already get "rcptgate_" in front. A list without a header gets one.
With --format jsonl each row is a JSON object, the row itself in its "input". The result appears
when the last address has its answer, never in part. A summary with what to do about each kind of
answer goes to standard error.

PACING is that of the gate and cannot be switched off: each provider and each mail site is asked at
the rate and over the connections that its profile allows, domains take turns so that no site
holds up the others, and who asks us to slow down gets a rest. Ten thousand addresses of many
sites take some minutes; of one provider that allows 120 a minute, an hour and a half. Run it from the
host that sends the mail, whose address and name the mail servers know.

Greylisted addresses are asked again when their servers may have had enough, those whose servers
could not be reached once more when all others are done: --patience says how long to wait for that
(0: not at all). In passive mode (verify.mode) no mail server is asked: then DNS alone tells
which domains take no mail.

RESUMING. Ctrl-C, SIGTERM or SIGHUP: what is being asked may end, within verify.rcpt_budget, then
check ends with exit code 1; a second one ends it at once. Whatever ended it, a crash and kill -9
included: the same command goes on where it was and asks nobody twice. For that there is
a journal, OUTPUT` + journalSuffix + ` (or FILE` + journalSuffix + ` when the result goes to standard
output), which is removed in the end. It has numbers of rows in it, no addresses. Another
list or other options are refused; --restart begins anew.

After a crash nobody knows whether the mail servers saw the last questions. Those addresses, at
most 64, are not asked about again and end as unknown, "interrupted", unless --ask-lost is given.

NO HARVESTING. Of a domain of which surely more than 30 % of at least 20 mailboxes do not exist,
nobody else is asked about: the rest is unknown, "local_limit", and the summary tells. Lists of made-up
names find out nothing here, and get your mail server blocked elsewhere.

The exit code is 0 when the result is written, whatever the verdicts; 1 when check was stopped or
failed; 2 for wrong usage, also for a list that cannot be read as one.`

type bulkOptions struct {
	config, column, header, format, output, journal, from string

	patience                 time.Duration
	restart, askLost, silent bool
}

func newBulkCmd() *cobra.Command {
	var o bulkOptions
	cmd := &cobra.Command{
		Use:   "check [--config FILE] [--output FILE] FILE|-",
		Short: "Check a whole list of addresses, at the pace that their mail servers bear",
		Long:  bulkLong,
		Example: `  rcptgate check --output checked.csv customers.csv
  rcptgate check --config /etc/rcptgate/config.toml --column "E-Mail" -o checked.csv export.csv
  cut -f3 dump.tsv | rcptgate check --format jsonl - > checked.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error { return runBulk(cmd, o, args) },
	}
	configFlag(cmd, &o.config, "the gate's configuration; without it the defaults hold")
	f := cmd.Flags()
	f.StringVar(&o.column, "column", "", "the column of addresses: its name, or its number from 1")
	f.StringVar(&o.header, "header", bulk.HeaderAuto, "whether the first row has names: auto, yes or no")
	f.StringVarP(&o.output, "output", "o", "", "write the result to this file (default standard output)")
	f.StringVar(&o.format, "format", string(bulk.CSV), "of the result: csv or jsonl")
	f.StringVar(&o.from, "from", "", "ask as for mail from this sender")
	f.DurationVar(&o.patience, "patience", 15*time.Minute,
		"how long to wait for those that are to be asked again; 0: ask nobody again")
	f.StringVar(&o.journal, "journal", "", "keep the journal in this file (default see above)")
	f.BoolVar(&o.restart, "restart", false, "begin anew instead of resuming")
	f.BoolVar(&o.askLost, "ask-lost", false,
		"when resuming after a crash, ask again about those that were being asked")
	f.BoolVarP(&o.silent, "quiet", "q", false, "no progress and no summary")
	return cmd
}

func (o *bulkOptions) check(args []string) error {
	switch {
	case len(args) != 1:
		return usageError(fmt.Sprintf("one list is needed, but got %d", len(args)),
			"name a file, or - for standard input; single addresses: rcptgate verify ADDRESS")
	case o.header != bulk.HeaderAuto && o.header != bulk.HeaderYes && o.header != bulk.HeaderNo:
		return usageError(fmt.Sprintf("--header %q", o.header), "use auto, yes or no")
	case o.format != string(bulk.CSV) && o.format != string(bulk.JSONL):
		return usageError(fmt.Sprintf("--format %q", o.format), "use csv or jsonl")
	case o.patience < 0:
		return usageError("--patience is negative", `write a duration such as "15m", or 0`)
	}
	if o.output == "-" {
		o.output = ""
	}
	if o.journal == "" {
		switch {
		case o.output != "" && isFile(o.output):
			o.journal = o.output + journalSuffix
		case isFile(args[0]):
			o.journal = args[0] + journalSuffix
		}
	}
	return nil
}

// isFile reports whether name is that of a file, or of one that is not there yet, and not of a device
// or a pipe, which no journal can stand beside.
func isFile(name string) bool {
	if name == "-" {
		return false
	}
	info, err := os.Stat(name)
	return err != nil || info.Mode().IsRegular()
}

// bulkCheck is one run of the command.
type bulkCheck struct {
	bulkOptions
	name  string // of the list
	stack *verification
	list  *bulk.List
	run   *bulk.Run
	out   io.Writer
	errs  io.Writer

	untie func() // gives the signals back
}

func runBulk(cmd *cobra.Command, o bulkOptions, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	sender, err := parseSender(o.from)
	if err != nil {
		return err
	}
	cfg, err := optionalConfig(o.config)
	if err != nil {
		return err
	}
	c := &bulkCheck{bulkOptions: o, name: args[0], out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
	if cfg.Proxy.Hostname == "" && o.from == "" {
		warnName(c.errs, cfg)
	}
	// A second signal does what it does to every program: the first one gives it back.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	c.untie = stop
	if err := c.open(cmd.InOrStdin()); err != nil {
		return bulkFailure(err)
	}
	defer c.list.Close()
	return bulkFailure(c.check(ctx, cfg, sender))
}

// open reads the list.
func (c *bulkCheck) open(stdin io.Reader) (err error) {
	dir := ""
	if c.journal != "" {
		dir = filepath.Dir(c.journal)
	}
	c.list, err = bulk.Open(c.name, stdin, bulk.ListOptions{Column: c.column, Header: c.header, Spool: dir})
	if err != nil {
		return err
	}
	for _, name := range []string{c.output, c.journal} {
		if info, err := os.Stat(name); err == nil && c.list.SameFile(info) {
			c.list.Close()
			return usageError("the list itself would be overwritten: "+name, "name another file with --output")
		}
	}
	return nil
}

func (c *bulkCheck) check(ctx context.Context, cfg *config.Config, sender esmtp.Address) error {
	grace := time.Duration(cfg.Verify.RcptBudget)
	options := c.describe(cfg)
	stack, err := buildVerification(ctx, bulkConfig(cfg), newLogger(c.errs, quietLog(cfg)))
	if err != nil {
		return err
	}
	c.stack = stack
	defer stack.close() //nolint:contextcheck // it has a time of its own
	c.run, err = bulk.Start(c.list, bulk.Config{
		Ask: asker(stack, sender), Journal: c.journal, Options: options, Restart: c.restart, AskLost: c.askLost,
		Patience: c.patience, Grace: grace,
	})
	if err != nil {
		return err
	}
	defer func() { _ = c.run.Close() }() // what was to be on disk is
	c.greet()
	watch := c.watch(ctx, grace)
	err = c.run.Run(ctx)
	watch()
	if err != nil {
		return c.stopped(err)
	}
	if err := c.write(); err != nil {
		return c.stopped(err)
	}
	if !c.silent {
		printBulkSummary(c.errs, c.list, c.run.Progress(), c.run.Summary())
	}
	return c.run.Remove()
}

// describe is what the answers depend on beside the list.
func (c *bulkCheck) describe(cfg *config.Config) string {
	d := c.list.Dialect
	return fmt.Sprintf("column %d, header %t, delimiter %q, format %s, from %q, patience %v, mode %s",
		d.Column+1, d.Header, string(d.Delim), c.format, c.from, c.patience, cfg.Verify.Mode)
}

// greet tells what is about to happen, if it is not the plain case.
func (c *bulkCheck) greet() {
	if c.silent {
		return
	}
	p := c.run.Progress()
	if p.Resumed > 0 || p.Lost > 0 {
		writef(c.errs, "rcptgate: resuming: %s of %s addresses have their answer\n",
			thousands(p.Resumed), thousands(p.All))
	}
	if p.Lost > 0 {
		what := `they are not asked about again ("interrupted"); --ask-lost does`
		if c.askLost {
			what = "they are asked about once more"
		}
		writef(c.errs, "rcptgate: %d were being asked about when the check was cut off; %s\n", p.Lost, what)
	}
	if c.journal == "" {
		writef(c.errs, "rcptgate: this check cannot be resumed: add --output FILE for a result that can\n")
	}
}

// stopped adds to an error how to go on.
func (c *bulkCheck) stopped(err error) error {
	p := c.run.Progress()
	how := "run the same command again to resume: nobody is asked twice"
	if c.journal == "" {
		how = "begin again; with --output FILE a check can be resumed"
	}
	done := fmt.Sprintf("%s of %s addresses have their answer", thousands(p.Done), thousands(p.All))
	switch {
	case errors.Is(err, bulk.ErrStopped):
		return failed("stopped: "+done, how)
	case errors.Is(err, bulk.ErrCutOff):
		return failed(fmt.Sprintf("%v; %s", err, done), `open outgoing TCP port 25 (firewall, hosting provider), `+
			`or set verify.mode = "passive"; then `+how)
	case errors.Is(err, bulk.ErrChanged):
		return failed(err.Error(), "put it back as it was, and "+how)
	}
	return failed(fmt.Sprintf("%v; %s", err, done), "then "+how)
}

// bulkFailure is how an error of package bulk ends the command.
func bulkFailure(err error) error {
	if _, ours := errors.AsType[*failure](err); err == nil || ours {
		return err
	}
	switch {
	case bulk.Usage(err):
		return usageError(err.Error(), bulk.Hint(err))
	case errors.Is(err, bulk.ErrLocked):
		return failed(err.Error(), "wait for it to end, or stop it")
	}
	return failed(err.Error(), "")
}

// write writes the result: to a file as a whole or not at all.
func (c *bulkCheck) write() error {
	if c.output == "" || !isFile(c.output) {
		return c.writeThrough()
	}
	path := c.output
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // nothing is left after a success
	err = c.run.Write(file, bulk.Format(c.format))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}

// writeThrough writes to standard output, a device or a pipe.
func (c *bulkCheck) writeThrough() error {
	if c.output == "" {
		return c.run.Write(c.out, bulk.Format(c.format))
	}
	file, err := os.OpenFile(c.output, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return errors.Join(c.run.Write(file, bulk.Format(c.format)), file.Close())
}

// thousands writes a number with commas.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
