// Rcptgate is an SMTP proxy that asks the recipients' own mail servers before a relay accepts mail
// for them: mailboxes that are proven not to exist are refused at RCPT, everything else streams to
// the relay, whose answer is the client's answer.
//
// # Commands
//
//	rcptgate serve --config FILE            run the gate
//	rcptgate check-config --config FILE     find every fault of a configuration
//	rcptgate doctor [--config FILE]         what is wrong with the gate, its Postfix, its addresses
//	rcptgate config show --config FILE      the values in force, of all keys or of one
//	rcptgate verify ADDRESS...              what is known of mailboxes
//	rcptgate check FILE                     the verdicts of a whole list
//	rcptgate explain --from SENDER ADDRESS  every step of one decision
//	rcptgate internal-domains               the domains that a Postfix keeps for itself
//	rcptgate classify [FILE]                what replies of mail servers mean
//	rcptgate cache lookup|forget|stats|export|import  the verdicts that are remembered
//	rcptgate suppress add|remove|list|search|import|export  recipients that get no more mail
//	rcptgate override allow|revoke|forget|list  let mail pass when something is wrong
//	rcptgate why REF                        what a refusal was based on
//	rcptgate report                         what was refused, or would have been
//	rcptgate senders [list|release NAME]    who sends, who is held, and why
//	rcptgate top                            watch the gate at work on the terminal
//	rcptgate policy test|show|names         rules: tests, presets, names
//	rcptgate demo                           a simulated world to watch the gate in
//	rcptgate completion bash|zsh|fish       a script that completes commands in a shell
//	rcptgate version                        version, commit, Go version
//
// # Diagnostics
//
// The exit code is 0 when the work is done, 1 when the answer is no or the work failed, 2 when the
// usage or the configuration is wrong. Results go to standard output; errors, warnings, the log and
// progress to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes of all commands.
const (
	exitDone   = 0
	exitFailed = 1 // the answer is no, or the work failed
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCmd()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitDone
	}
	fail, ok := errors.AsType[*failure](err)
	if !ok {
		// Whatever does not come from the commands themselves is cobra's, about flags and arguments.
		fail = usageError(err.Error(), "run `rcptgate help` for the commands and their flags")
	}
	fail.print(stderr)
	return fail.code
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "rcptgate",
		Short: "An SMTP proxy that verifies recipients before the relay accepts them",
		Long: `Rcptgate stands in front of an outbound mail relay. For every recipient it asks the
recipient's own mail server, refuses those that are proven not to exist, and streams the
rest to the relay.`,
		Example: `  rcptgate demo                                    watch it work, without any set-up
  rcptgate verify someone@example.com              what is known of a mailbox
  rcptgate check-config --config rcptgate.toml     find every fault of a configuration
  rcptgate serve --config rcptgate.toml            run the gate`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("no command given", "run `rcptgate help` for the commands")
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(err.Error(), fmt.Sprintf("run `%s --help`", cmd.CommandPath()))
	})
	root.AddCommand(
		newServeCmd(), newCheckConfigCmd(), newDoctorCmd(), newVerifyCmd(), newBulkCmd(), newExplainCmd(),
		newInternalDomainsCmd(), newClassifyCmd(), newCacheCmd(), newSuppressCmd(), newOverrideCmd(),
		newWhyCmd(), newReportCmd(), newSendersCmd(), newPolicyCmd(), newDemoCmd(), newBenchCmd(),
		newTopCmd(),
		newConfigCmd(), newCompletionCmd(), newManCmd(), newHealthcheckCmd(),
		newVersionCmd(),
	)
	return root
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := "run `rcptgate help` for the commands"
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean `rcptgate %s`?", strings.Join(near, "` or `rcptgate "))
	}
	return usageError(fmt.Sprintf("unknown command %q", name), hint)
}

// failure ends a command. Every error that a person sees has a next step as its hint.
type failure struct {
	code  int
	text  string // "": everything has been said already
	hint  string
	plain bool // text is complete, as FILE:LINE:COLUMN: ...
}

// Error is the text without the hint.
func (f *failure) Error() string { return f.text }

func (f *failure) print(w io.Writer) {
	switch {
	case f.text == "":
		return
	case f.plain:
		writef(w, "%s\n", f.text)
		return
	}
	for line := range strings.Lines(f.text) {
		writef(w, "rcptgate: error: %s\n", strings.TrimSuffix(line, "\n"))
	}
	if f.hint != "" {
		writef(w, "rcptgate: hint: %s\n", f.hint)
	}
}

func usageError(text, hint string) *failure {
	return &failure{code: exitUsage, text: text, hint: hint}
}

func failed(text, hint string) *failure {
	return &failure{code: exitFailed, text: text, hint: hint}
}

// writef writes to a terminal or a pipe. If nobody reads it there is nobody to tell.
func writef(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// noArgs is for commands that take flags only.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Sprintf("%s takes no arguments, but got %q", cmd.CommandPath(), args[0]),
			fmt.Sprintf("run `%s --help`", cmd.CommandPath()))
	}
	return nil
}
