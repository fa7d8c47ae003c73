package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCommandsPage holds docs/commands.md to the help of the commands. After a change:
//
//	go test ./cmd/rcptgate -run 'ConfigurationPage|CommandsPage' -update
func TestCommandsPage(t *testing.T) {
	var p commandsPage
	p.WriteString(commandsHead)
	root := newRootCmd()
	writef(&p, "| command | does |\n|---|---|\n")
	p.index(root)
	writef(&p, "\n")
	for _, cmd := range manCommands(root) {
		p.command(cmd, "##")
	}
	checkPage(t, "../../docs/commands.md", strings.TrimRight(p.String(), "\n")+"\n")
	for line := range unrunExamples() {
		if !p.unrun[line] {
			t.Errorf("no command has the example %q any more", line)
		}
	}
}

const commandsHead = `# Commands

This page is generated from the program's own help: ` + "`rcptgate help COMMAND`" + ` prints the
same, and each command has a man page, such as rcptgate-check-config(1).

Exit codes of all of them: 0, the work is done; 1, the answer is no, or the work failed; 2, wrong
usage or configuration, and standard error tells what to write instead.

Most commands take ` + "`--config FILE`" + `, the gate's configuration
([every key](configuration.md)). Those that change what a running gate knows find its control socket
by it.

`

// unrunExamples are those that the test of all pages (e2e) cannot run to an end, with the reason.
func unrunExamples() map[string]string {
	return map[string]string{
		"rcptgate demo --keep": "it runs until it is interrupted",
	}
}

// stoppedExamples are the commands whose examples want no gate to run.
func stoppedExamples() []string {
	return []string{"rcptgate cache export", "rcptgate cache import"}
}

// commandsPage writes Markdown.
type commandsPage struct {
	strings.Builder
	unrun map[string]bool
}

func (p *commandsPage) index(cmd *cobra.Command) {
	for _, sub := range manCommands(cmd) {
		path := sub.CommandPath()
		writef(p, "| [`%s`](#%s) | %s |\n", path, strings.ReplaceAll(path, " ", "-"),
			markdown(lowerFirst(sub.Short)))
		p.index(sub)
	}
}

func (p *commandsPage) command(cmd *cobra.Command, mark string) {
	writef(p, "%s %s\n\n", mark, cmd.CommandPath())
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	p.prose(long)
	writef(p, "```\n%s %s\n```\n\n", cmd.Parent().CommandPath(), cmd.Use)
	p.flags(cmd)
	p.examples(cmd)
	for _, sub := range manCommands(cmd) {
		p.command(sub, mark+"#")
	}
}

// prose is the text of a help, whose indented lines are shown as they are.
func (p *commandsPage) prose(text string) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		words, shown, _ := strings.Cut("\n"+paragraph, "\n  ")
		if words = strings.TrimSpace(words); words != "" {
			writef(p, "%s\n\n", wrapped(markdown(words)))
		}
		if shown != "" {
			writef(p, "```text\n%s\n```\n\n", unindent("  "+shown))
		}
	}
}

func (p *commandsPage) flags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		operand, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if operand != "" {
			name += " " + strings.ToUpper(operand)
		}
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		writef(p, "- `%s`: %s", name, markdown(usage))
		switch f.DefValue {
		case "", "false", "[]", "0", "0s":
		default:
			writef(p, " (default `%s`)", f.DefValue)
		}
		writef(p, "\n")
	})
	if cmd.LocalFlags().HasAvailableFlags() {
		writef(p, "\n")
	}
}

// examples are run by the test of all pages, all of a command together.
func (p *commandsPage) examples(cmd *cobra.Command) {
	if cmd.Example == "" {
		return
	}
	var run strings.Builder
	for line := range strings.Lines(unindent(cmd.Example)) {
		line = strings.TrimSpace(line)
		line, what, commented := strings.Cut(line, "   ")
		text := line
		if commented {
			text += "   # " + strings.TrimSpace(what)
		}
		if reason := unrunExamples()[line]; reason != "" {
			if p.unrun == nil {
				p.unrun = map[string]bool{}
			}
			p.unrun[line] = true
			writef(p, "<!-- not run: %s -->\n```sh\n%s\n```\n\n", reason, text)
			continue
		}
		writef(&run, "%s\n", text)
	}
	if slices.Contains(stoppedExamples(), cmd.CommandPath()) {
		writef(p, "<!-- with the gate stopped -->\n")
	}
	if run.Len() > 0 {
		writef(p, "```sh\n%s```\n\n", run.String())
	}
}
