package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/verify/mx"
)

func newInternalDomainsCmd() *cobra.Command {
	var fromPostfix bool
	cmd := &cobra.Command{
		Use:   "internal-domains --from-postfix",
		Short: "List the domains that the relay keeps for itself",
		Long: `Internal-domains prints what belongs into verify.internal_domains: the domains that the
Postfix on this host delivers or routes itself, one a line. Lines that begin with # name
lookup tables that cannot be listed and have to be entered by hand.

Put the list into a file and name it:  internal_domains = ["file:/etc/rcptgate/domains"]`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !fromPostfix {
				return usageError("no source given", "add --from-postfix to ask the Postfix on this host")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			domains, err := mx.PostfixDomains(ctx, runProgram)
			if err != nil {
				// The error says what to try next.
				return failed(fmt.Sprintf("cannot list the domains of Postfix: %v", err), "")
			}
			for _, domain := range domains {
				writef(cmd.OutOrStdout(), "%s\n", domain)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromPostfix, "from-postfix", false, "ask postconf and postmap of this host")
	return cmd
}

// runProgram runs a program of the system and returns its standard output. Its complaints become
// part of the error.
func runProgram(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return out, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
