package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
)

type reportOptions struct {
	config, since       string
	shadow, csv, asJSON bool
}

func newReportCmd() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report --config FILE",
		Short: "Count what was refused, or would have been in enforce mode",
		Long: `Report counts the decisions of the journal: how many recipients were refused, by rule, sender
domain, provider and reason. What policy.mode = "shadow" only recorded counts as refused.
With --shadow it is what enforce mode would have refused of all that was let through: read it
before you set policy.mode = "enforce".`,
		Example: `  rcptgate report -c rcptgate.toml
  rcptgate report -c rcptgate.toml --shadow --since 7d --csv > report.csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	configFlag(cmd, &o.config, "the gate's configuration")
	flags := cmd.Flags()
	flags.StringVar(&o.since, "since", "24h", "from when on, such as 24h, 7d or 2026-12-01")
	flags.BoolVar(&o.shadow, "shadow", false, "leave out what was refused in earnest")
	flags.BoolVar(&o.csv, "csv", false, "print CSV")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func (o *reportOptions) run(cmd *cobra.Command) error {
	asked := web.ReportRequest{Shadow: o.shadow}
	if err := asked.Since.UnmarshalText([]byte(o.since)); err != nil {
		var fault error
		if asked.From, fault = parseTime(o.since, false); fault != nil {
			return usageError(fmt.Sprintf("--since: %q is neither a time span nor a day", o.since),
				"write one such as 24h, 7d or 2026-12-01")
		}
	}
	if o.csv && o.asJSON {
		return usageError("--csv and --json are both given", "leave one of them out")
	}
	return withControl(cmd, o.config, openJournal, func(c *controller) error {
		var report web.Report
		if err := c.ask("POST", "/v1/report", asked, &report); err != nil {
			return err
		}
		for _, note := range report.Notes {
			writef(cmd.ErrOrStderr(), "rcptgate: note: %s\n", escaped(note))
		}
		return o.print(cmd.OutOrStdout(), &report)
	})
}

func (o *reportOptions) print(out io.Writer, report *web.Report) error {
	if o.asJSON {
		return printLines(out, []*web.Report{report})
	}
	counted := report.Report()
	write := counted.WriteTable
	if o.csv {
		write = counted.WriteCSV
	}
	if err := write(out); err != nil {
		return failed(fmt.Sprintf("cannot write the report: %v", err), "")
	}
	return nil
}
