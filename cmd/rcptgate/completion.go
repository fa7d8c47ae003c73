package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newCompletionCmd takes the place of cobra's own command, whose errors have no next step.
func newCompletionCmd() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands and flags in a shell",
		Long: `Completion prints a script for bash, zsh or fish. The Debian package has installed it; else put
it where the shell looks for such scripts. The script of bash needs the package bash-completion.`,
		Example: `  rcptgate completion bash > /etc/bash_completion.d/rcptgate
  rcptgate completion zsh > /usr/local/share/zsh/site-functions/_rcptgate
  rcptgate completion fish > ~/.config/fish/completions/rcptgate.fish`,
		ValidArgs: shells,
		Args:      cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("name one shell", "write bash, zsh or fish")
			}
			out, root := cmd.OutOrStdout(), cmd.Root()
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(out, true)
			case "zsh":
				err = root.GenZshCompletion(out)
			case "fish":
				err = root.GenFishCompletion(out, true)
			default:
				return usageError(fmt.Sprintf("no completion for %q", args[0]), "write bash, zsh or fish")
			}
			if err != nil {
				return failed("cannot write the script: "+err.Error(), "look at where the output goes")
			}
			return nil
		},
	}
}
