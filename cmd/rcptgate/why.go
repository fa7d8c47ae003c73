package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func newWhyCmd() *cobra.Command {
	var (
		config string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "why --config FILE REF",
		Short: "Tell why a recipient was refused, by the reference in the reply",
		Long: `Why finds the decision whose reference stands in a refusal, "(ref KX2M7QRT)", and tells in
plain words what it was based on, what else was in the same transaction, and what to do if
it was wrong. It asks the gate that runs, or reads the journal's files while none does. The
exit code is 1 if there is no such decision.`,
		Example: "  rcptgate why -c rcptgate.toml KX2M7QRT",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("no reference given",
					`write the 8 letters and digits behind "ref" in the reply`)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := strings.Join(args, " ") // of somebody who has pasted "ref KX2M7QRT"
			return withControl(cmd, config, openJournal, func(c *controller) error {
				return printWhy(cmd.OutOrStdout(), c, ref, asJSON)
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the decision and its transaction as JSON")
	return cmd
}

func printWhy(out io.Writer, c *controller, ref string, asJSON bool) error {
	accept := "text/plain"
	if asJSON {
		accept = "application/json"
	}
	story, err := c.send("GET", "/v1/decisions/"+url.PathEscape(ref), "", accept, nil)
	refused, ok := errors.AsType[*refusal](err)
	if ok && refused.problem.Status == http.StatusNotFound && c.alone {
		return failed(refused.problem.Detail+"; no gate runs, so only the journal's files were searched",
			refused.problem.Hint)
	}
	if err != nil {
		return err
	}
	defer func() { _ = story.Close() }()
	if _, err := io.Copy(out, story); err != nil {
		return failed(fmt.Sprintf("the answer broke off: %v", err), "ask again")
	}
	return nil
}
