package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/register"
)

func newOverrideCmd() *cobra.Command {
	cmd := groupCmd("override allow|revoke|forget|list", "Let mail pass on the day that something is wrong",
		`Override works on a running gate, over its control socket, or on its state directory while none
runs.

A TARGET is an address, @example.com for a domain, @.example.com for its subdomains, or, by
--provider, a mail provider by the name that verdicts and the log give it.`)
	cmd.AddCommand(newOverrideAllowCmd(), newOverrideRevokeCmd(), newOverrideForgetCmd(),
		newOverrideListCmd())
	return cmd
}

// targets are what a command is about.
type targets struct {
	config             string
	domains, providers []string
}

func (t *targets) add(cmd *cobra.Command) {
	configFlag(cmd, &t.config, "the gate's configuration")
	cmd.Flags().StringSliceVar(&t.domains, "domain", nil, "a domain, as @DOMAIN")
	cmd.Flags().StringSliceVar(&t.providers, "provider", nil, "a mail provider, such as google")
}

// target is one of them, with what people call it.
type target struct {
	web.Named

	text string
}

func (t *targets) parse(args []string) ([]target, error) {
	var list []target
	add := func(kind register.OverrideKind, name, text string) {
		list = append(list, target{web.Named{Kind: kind, Name: name}, text})
	}
	for _, arg := range args {
		domain, isDomain := strings.CutPrefix(arg, "@")
		switch {
		case isDomain:
			add(register.AllowDomain, domain, arg)
		case strings.Contains(arg, "@"):
			add(register.AllowAddress, arg, arg)
		default:
			return nil, usageError(fmt.Sprintf("%q is no address", arg),
				fmt.Sprintf("for a domain write @%s, for a provider --provider %s", arg, arg))
		}
	}
	for _, domain := range t.domains {
		domain = strings.TrimPrefix(domain, "@")
		add(register.AllowDomain, domain, "@"+domain)
	}
	for _, provider := range t.providers {
		add(register.AllowProvider, provider, "provider "+provider)
	}
	if len(list) == 0 {
		return nil, usageError("nothing is named", "name an address, @DOMAIN, or --provider NAME")
	}
	return list, nil
}

// each asks for each of the targets. The API has one request a target.
func (t *targets) each(cmd *cobra.Command, args []string, fn func(c *controller, one target) error) error {
	list, err := t.parse(args)
	if err != nil {
		return err
	}
	return withControl(cmd, t.config, openState, func(c *controller) error {
		for _, one := range list {
			if err := fn(c, one); err != nil {
				return about(one.text, err)
			}
		}
		return nil
	})
}

func newOverrideAllowCmd() *cobra.Command {
	var (
		named   targets
		lasting lastingFlags
		note    string
	)
	cmd := &cobra.Command{
		Use:   "allow --config FILE TARGET...",
		Short: "Let mail for an address, a domain or a provider pass",
		Long: `Allow lets mail pass whatever is believed about its recipient. It ends by itself, after 7 days
if --for and --until do not say.

An address or a domain is accepted before everything else: nobody is asked, and no rule, no
suppression and no limit refuses it.

Of a provider only what the gate believes of its mailboxes is set aside: no verdict about them
refuses, while rules that look at no verdict, the suppression list and limits hold. Hard
bounces that the list has learned meanwhile are in it until
` + "`rcptgate suppress remove --reason hard_bounce --domain DOMAIN`" + `.`,
		Example: `  rcptgate override allow -c rcptgate.toml --for 12h --note "by phone" bob@example.com
  rcptgate override allow -c rcptgate.toml --provider google`,
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := lasting.parse()
			if err != nil {
				return err
			}
			return named.each(cmd, args, func(c *controller, one target) error {
				var added web.Override
				asked := web.AddOverride{Lasting: until, Named: one.Named, Note: note}
				if err := c.ask("POST", "/v1/overrides", asked, &added); err != nil {
					return err
				}
				writef(cmd.OutOrStdout(), "%s: allowed %s\n", escaped(one.text), untilText(added.Expires))
				return nil
			})
		},
	}
	named.add(cmd)
	lasting.add(cmd, "7d without it")
	cmd.Flags().StringVar(&note, "note", "", "why, and who says so")
	return cmd
}

func newOverrideRevokeCmd() *cobra.Command {
	var named targets
	cmd := &cobra.Command{
		Use:   "revoke --config FILE TARGET...",
		Short: "End an override",
		Long:  `Revoke ends overrides before their time. The exit code is 1 if one was not in force.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			missing := false
			err := named.each(cmd, args, func(c *controller, one target) error {
				var done web.Revoked
				if err := c.ask("POST", "/v1/overrides/revoke", one.Named, &done); err != nil {
					return err
				}
				word := "revoked"
				if !done.Revoked {
					missing, word = true, "was not allowed"
				}
				writef(cmd.OutOrStdout(), "%s: %s\n", escaped(one.text), word)
				return nil
			})
			if err == nil && missing {
				return failed("some were not allowed", "`rcptgate override list` shows those that are")
			}
			return err
		},
	}
	named.add(cmd)
	return cmd
}

func newOverrideForgetCmd() *cobra.Command {
	var named targets
	cmd := &cobra.Command{
		Use:   "forget --config FILE TARGET...",
		Short: "Forget what is known, for the next mail to ask anew",
		Long: `Forget removes what the verifier knows of an address or of a domain and all its mailboxes, in
memory and on disk. What was never known counts as forgotten. Suppressions and overrides
stay.`,
		Example: "  rcptgate override forget -c rcptgate.toml bob@example.com @example.net",
		RunE: func(cmd *cobra.Command, args []string) error {
			return named.each(cmd, args, func(c *controller, one target) error {
				var done web.Forgotten
				if err := c.ask("POST", "/v1/forget", one.Named, &done); err != nil {
					return err
				}
				writef(cmd.OutOrStdout(), "%s: forgotten\n", escaped(one.text))
				return nil
			})
		},
	}
	named.add(cmd)
	return cmd
}

func newOverrideListCmd() *cobra.Command {
	var (
		config string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list --config FILE",
		Short: "Show the overrides in force",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withControl(cmd, config, openState, func(c *controller) error {
				var list web.Overrides
				if err := c.ask("GET", "/v1/overrides", nil, &list); err != nil {
					return err
				}
				if asJSON {
					return printLines(cmd.OutOrStdout(), list.Overrides)
				}
				if len(list.Overrides) == 0 {
					writef(cmd.OutOrStdout(), "no overrides are in force\n")
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, o := range list.Overrides {
					writef(table, "%s\t%s\t%s\t%s\n", overrideText(o), "since "+timeText(o.Created),
						untilText(o.Expires), escaped(o.Note))
				}
				_ = table.Flush()
				return nil
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// overrideText is an override as the commands take it.
func overrideText(o web.Override) string {
	switch o.Kind {
	case register.AllowDomain:
		return "@" + escaped(o.Name)
	case register.AllowProvider:
		return "provider " + escaped(o.Name)
	default:
		return escaped(o.Name)
	}
}
