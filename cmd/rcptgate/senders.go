package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// sendersOptions are those of senders and senders list.
type sendersOptions struct {
	config, state string
	limit         int
	json          bool
}

func newSendersCmd() *cobra.Command {
	var o sendersOptions
	cmd := &cobra.Command{
		Use:   "senders [list|release NAME]",
		Short: "Show who sends, and who is throttled or held, and why",
		Long: `Senders shows what is counted of each sender, the worst first: its state of list hygiene, its
recipients of the last hour and day, and how many of those that were checked do not exist.
It asks the gate that runs, or reads what the last one has saved.`,
		Example: `  rcptgate senders -c rcptgate.toml --state hold
  rcptgate senders release -c rcptgate.toml login:news`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(fmt.Sprintf("%s has no %q", cmd.CommandPath(), args[0]),
					fmt.Sprintf("run `%s --help`", cmd.CommandPath()))
			}
			return o.run(cmd)
		},
	}
	o.add(cmd)
	cmd.AddCommand(newSendersListCmd(), newSendersReleaseCmd())
	return cmd
}

func newSendersListCmd() *cobra.Command {
	var o sendersOptions
	cmd := &cobra.Command{
		Use:   "list --config FILE",
		Short: "Show who sends, the worst first",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.add(cmd)
	return cmd
}

func (o *sendersOptions) add(cmd *cobra.Command) {
	configFlag(cmd, &o.config, "the gate's configuration")
	cmd.Flags().StringVar(&o.state, "state", "", "only those in this state: ok, warn, throttle, hold")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "how many to show, 1 to 1000")
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
}

func (o *sendersOptions) run(cmd *cobra.Command) error {
	if o.limit < 1 {
		return usageError("--limit is not from 1 to 1000", "")
	}
	return withControl(cmd, o.config, openState, func(c *controller) error {
		var found web.Senders
		asked := web.SearchSenders{State: senders.State(o.state), Limit: o.limit}
		if err := c.ask("POST", "/v1/senders/search", asked, &found); err != nil {
			return err
		}
		if o.json {
			return printLines(cmd.OutOrStdout(), found.Senders)
		}
		printSenders(cmd.OutOrStdout(), &found)
		return nil
	})
}

func printSenders(w io.Writer, found *web.Senders) {
	if found.Total == 0 {
		writef(w, "no senders are known\n")
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	writef(table, "SENDER\tSTATE\tRCPT/HOUR\tRCPT/DAY\tCHECKED/DAY\tINVALID\tUNTIL\tWHY\n")
	for _, s := range found.Senders {
		until := ""
		if !s.Until.IsZero() {
			until = timeText(s.Until)
		}
		writef(table, "%s\t%s\t%d\t%d\t%d\t%.1f %%\t%s\t%s\n", escaped(s.Key), s.State, s.Recipients.Hour,
			s.Recipients.Day, s.CheckedDay.Recipients, 100*s.CheckedDay.Share, until, escaped(s.Why))
	}
	_ = table.Flush()
	if shown := len(found.Senders); shown < found.Total {
		writef(w, "%d of %d\n", shown, found.Total)
	}
}

func newSendersReleaseCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "release --config FILE NAME...",
		Short: "End a sender's throttle or hold",
		Long: `Release ends the state of a sender, by the name that list shows or by its login, and forgets
what was counted about its recipients. For an hour nothing above a warning follows. Limits
stay. The exit code is 1 if one is not known.`,
		Args: someArgs("sender", "name one that `rcptgate senders` shows"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withControl(cmd, config, openState, func(c *controller) error {
				for _, arg := range args {
					var done web.Released
					asked := web.ReleaseSender{Key: arg}
					if err := c.ask("POST", "/v1/senders/release", asked, &done); err != nil {
						return about(arg, err)
					}
					if !done.Released {
						return failed(escaped(arg)+" is not known as a sender",
							"`rcptgate senders` shows those that are")
					}
					writef(cmd.OutOrStdout(), "%s: released\n", escaped(arg))
				}
				return nil
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	return cmd
}
