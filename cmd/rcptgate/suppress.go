package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/register"
)

func newSuppressCmd() *cobra.Command {
	cmd := groupCmd("suppress add|remove|list|search|import|export",
		"Look after the list of recipients that get no more mail",
		`Suppress works on the suppression list of a running gate, over its control socket, or on its
state directory while none runs.

An ADDRESS is a mailbox; @example.com is every mailbox of a domain without its subdomains,
*@*.example.com every mailbox of its subdomains.`)
	cmd.AddCommand(newSuppressAddCmd(), newSuppressRemoveCmd(), newSuppressListCmd(),
		newSuppressSearchCmd(), newSuppressImportCmd(), newSuppressExportCmd())
	return cmd
}

// groupCmd is a command that only has commands below it.
func groupCmd(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			hint := fmt.Sprintf("run `%s --help`", cmd.CommandPath())
			if len(args) > 0 {
				return usageError(fmt.Sprintf("%s has no %q", cmd.CommandPath(), args[0]), hint)
			}
			return usageError(fmt.Sprintf("nothing for %s to do given", cmd.CommandPath()), hint)
		},
	}
}

// someArgs is for commands that need arguments: what they are called, and what to do.
func someArgs(what, hint string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError("no "+what+" given", hint)
		}
		return nil
	}
}

// suppressedAddress is an address as the API has it.
func suppressedAddress(arg string) string {
	if strings.HasPrefix(arg, "@") {
		return "*" + arg
	}
	return arg
}

func scopeFlag(cmd *cobra.Command, scope *string, what string) {
	cmd.Flags().StringVar(scope, "scope", "", what+": global, sender_domain:example.com or login:bob")
}

func parseScope(text string) (register.Scope, error) {
	scope, err := register.ParseScope(text)
	if field, ok := errors.AsType[*register.FieldError](err); ok {
		return scope, usageError("--scope: "+field.Detail, field.Hint)
	}
	return scope, err
}

func reasonFlag(cmd *cobra.Command, reason *string, what string) {
	var names []string
	for _, r := range register.Reasons() {
		names = append(names, string(r))
	}
	cmd.Flags().StringVar(reason, "reason", "", what+": "+strings.Join(names, ", "))
}

func newSuppressAddCmd() *cobra.Command {
	var (
		config, scope, reason string
		asked                 web.AddSuppression
		lasting               lastingFlags
	)
	cmd := &cobra.Command{
		Use:   "add --config FILE ADDRESS...",
		Short: "Suppress addresses, or whole domains",
		Long: `Add suppresses addresses: mail for them is refused from now on, for good unless --for or
--until says otherwise. What is suppressed already in the same scope is replaced.`,
		Example: `  rcptgate suppress add -c rcptgate.toml bob@example.com
  rcptgate suppress add -c rcptgate.toml --scope login:news --reason unsubscribe eve@example.com
  rcptgate suppress add -c rcptgate.toml --for 30d @example.net`,
		Args: someArgs("address", "name what to suppress"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if asked.Scope, err = parseScope(scope); err != nil {
				return err
			}
			if asked.Lasting, err = lasting.parse(); err != nil {
				return err
			}
			asked.Reason = register.Reason(reason)
			return withControl(cmd, config, openState, func(c *controller) error {
				for _, arg := range args {
					var added web.Suppression
					asked.Address = suppressedAddress(arg)
					if err := c.ask("POST", "/v1/suppressions", asked, &added); err != nil {
						return about(arg, err)
					}
					writef(cmd.OutOrStdout(), "%s: %s is refused, %s\n", escaped(added.Address),
						scopeText(added.Scope), untilText(added.Expires))
				}
				return nil
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	scopeFlag(cmd, &scope, "whose mail is suppressed, everybody's without it")
	reasonFlag(cmd, &reason, "why, manual without it")
	lasting.add(cmd, "for good without it")
	flags := cmd.Flags()
	flags.StringVar(&asked.Reply, "reply", "", `the codes of a hard bounce, to be repeated: "550 5.1.1"`)
	flags.StringVar(&asked.Evidence, "evidence", "", "the proof, in words for people")
	flags.StringVar(&asked.Source, "source", "admin", "who says so")
	return cmd
}

// about is a failure with what it is about before it.
func about(what string, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return &failure{code: f.code, text: escaped(what) + ": " + f.text, hint: f.hint}
	}
	return err
}

// scopeText says whose mail it is.
func scopeText(s register.Scope) string {
	switch s.Kind {
	case register.SenderDomain:
		return "mail from " + s.Name
	case register.Login:
		return "mail of the login " + escaped(s.Name)
	default:
		return "everybody's mail"
	}
}

// filterFlags choose suppressions.
type filterFlags struct{ domain, reason, source, scope string }

func (f *filterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.domain, "domain", "", "only those of this domain")
	cmd.Flags().StringVar(&f.source, "source", "", "only those of this source")
	reasonFlag(cmd, &f.reason, "only those with this reason")
	scopeFlag(cmd, &f.scope, "only those of this scope")
}

func (f *filterFlags) filter(contains string) (web.SuppressionFilter, error) {
	filter := web.SuppressionFilter{
		Contains: contains, Domain: f.domain, Reason: register.Reason(f.reason), Source: f.source,
	}
	if f.scope != "" {
		scope, err := parseScope(f.scope)
		if err != nil {
			return filter, err
		}
		filter.Scope = &scope
	}
	return filter, nil
}

func newSuppressRemoveCmd() *cobra.Command {
	var (
		config, scope, contains string
		where                   filterFlags
		yes                     bool
	)
	cmd := &cobra.Command{
		Use:   "remove --config FILE ADDRESS... | --reason, --domain, --source, --contains",
		Short: "Take addresses off the list",
		Long: `Remove ends the suppression of addresses in one scope, and forgets that they ever bounced. The
exit code is 1 if one of them was not suppressed.

Without an address it removes all that the flags choose: first it only tells how many that
are; --yes removes them.`,
		Example: `  rcptgate suppress remove -c rcptgate.toml bob@example.com
  rcptgate suppress remove -c rcptgate.toml --reason hard_bounce --domain example.com --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			where.scope = scope
			filter, err := where.filter(contains)
			if err != nil {
				return err
			}
			filtered := where.domain+where.reason+where.source+contains != ""
			switch {
			case len(args) > 0 && filtered:
				return usageError("addresses and a choice are both given", "leave one of them out")
			case len(args) == 0 && !filtered && scope == "":
				return usageError("no address given",
					"name what to remove, or choose by --reason, --domain, ...")
			}
			return withControl(cmd, config, openState, func(c *controller) error {
				if len(args) == 0 {
					return removeChosen(cmd.OutOrStdout(), c, filter, yes)
				}
				return removeAddresses(cmd, c, args, scope)
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	scopeFlag(cmd, &scope, "the scope of the suppression, global without it")
	cmd.Flags().StringVar(&where.domain, "domain", "", "all of this domain")
	cmd.Flags().StringVar(&where.source, "source", "", "all of this source")
	cmd.Flags().StringVar(&contains, "contains", "", "all whose address has this text in it")
	reasonFlag(cmd, &where.reason, "all with this reason")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove what the flags choose, not only count it")
	return cmd
}

func removeAddresses(cmd *cobra.Command, c *controller, args []string, text string) error {
	scope, err := parseScope(text)
	if err != nil {
		return err
	}
	var unknown []string
	for _, arg := range args {
		var removed web.Removed
		asked := web.RemoveSuppressions{Address: suppressedAddress(arg), Scope: scope}
		if err := c.ask("POST", "/v1/suppressions/remove", asked, &removed); err != nil {
			return about(arg, err)
		}
		if removed.Removed == 0 {
			unknown = append(unknown, escaped(arg))
			continue
		}
		writef(cmd.OutOrStdout(), "%s: removed\n", escaped(arg))
	}
	if len(unknown) > 0 {
		return failed(
			fmt.Sprintf("not on the list for %s: %s", scopeText(scope), strings.Join(unknown, ", ")),
			"`rcptgate suppress search` finds other scopes, and those of the whole domain")
	}
	return nil
}

func removeChosen(out io.Writer, c *controller, filter web.SuppressionFilter, yes bool) error {
	if yes {
		var removed web.Removed
		asked := web.RemoveSuppressions{Where: &filter}
		if err := c.ask("POST", "/v1/suppressions/remove", asked, &removed); err != nil {
			return err
		}
		writef(out, "%d removed\n", removed.Removed)
		return nil
	}
	var found web.Suppressions
	asked := web.SearchSuppressions{SuppressionFilter: filter, Limit: 5}
	if err := c.ask("POST", "/v1/suppressions/search", asked, &found); err != nil {
		return err
	}
	printSuppressions(out, &found)
	if found.Total == 0 {
		return nil
	}
	return failed("nothing is removed yet", fmt.Sprintf("add --yes to remove all %d", found.Total))
}

func newSuppressListCmd() *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "list --config FILE",
		Short:   "Show what is suppressed",
		Long:    `List shows suppressions in the order of their addresses. For all of them there is export.`,
		Example: "  rcptgate suppress list -c rcptgate.toml --reason complaint --limit 20",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd, "") },
	}
	o.add(cmd)
	return cmd
}

func newSuppressSearchCmd() *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "search --config FILE TEXT",
		Short: "Find suppressions by a part of the address",
		Long: `Search shows the suppressions whose address has TEXT in it, whatever the case. The exit code is
1 if there is none.`,
		Example: "  rcptgate suppress search -c rcptgate.toml bob@",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError(fmt.Sprintf("search takes one text, but got %d", len(args)),
					"write a part of the address")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.add(cmd)
	return cmd
}

// listOptions are those of list and search.
type listOptions struct {
	config        string
	where         filterFlags
	limit, offset int
	json          bool
}

func (o *listOptions) add(cmd *cobra.Command) {
	configFlag(cmd, &o.config, "the gate's configuration")
	o.where.add(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 100, "how many to show, 1 to 1000")
	cmd.Flags().IntVar(&o.offset, "offset", 0, "how many to pass over before")
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
}

func (o *listOptions) run(cmd *cobra.Command, contains string) error {
	filter, err := o.where.filter(contains)
	if err != nil {
		return err
	}
	if o.limit < 1 {
		return usageError("--limit is not from 1 to 1000",
			"for all of them there is `rcptgate suppress export`")
	}
	return withControl(cmd, o.config, openState, func(c *controller) error {
		var found web.Suppressions
		asked := web.SearchSuppressions{SuppressionFilter: filter, Offset: o.offset, Limit: o.limit}
		if err := c.ask("POST", "/v1/suppressions/search", asked, &found); err != nil {
			return err
		}
		if o.json {
			err = printLines(cmd.OutOrStdout(), found.Suppressions)
		} else {
			printSuppressions(cmd.OutOrStdout(), &found)
		}
		if err == nil && contains != "" && found.Total == 0 {
			return &failure{code: exitFailed}
		}
		return err
	})
}

// printLines prints objects as JSON, one a line.
func printLines[T any](w io.Writer, list []T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return failed(fmt.Sprintf("cannot write the list: %v", err), "")
		}
	}
	return nil
}

func printSuppressions(w io.Writer, found *web.Suppressions) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range found.Suppressions {
		writef(table, "%s\t%s\t%s\t%s\t%s\n", escaped(s.Address), scopeText(s.Scope),
			s.Reason, untilText(s.Expires), strings.Join(nonEmpty(s.Reply, escaped(s.Evidence),
				optional("by ", s.Source)), ", "))
	}
	_ = table.Flush()
	switch shown := len(found.Suppressions); {
	case found.Total == 0:
		writef(w, "nothing is suppressed that fits\n")
	case shown < found.Total:
		writef(w, "%d of %d\n", shown, found.Total)
	}
}

// nonEmpty leaves out what is "".
func nonEmpty(texts ...string) []string {
	var list []string
	for _, text := range texts {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}
