package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const manManual = "rcptgate manual"

// manPage is one page: "rcptgate.toml", section 5, and its text in the macros of man(7).
type manPage struct {
	name    string
	section int
	text    string
}

func (p manPage) file() string { return p.name + "." + strconv.Itoa(p.section) }

func newManCmd() *cobra.Command {
	var example string
	cmd := &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages into a directory",
		Hidden: true,
		Long: `Man writes a page for rcptgate and each of its commands, rcptgate.toml(5) and
rcptgate-rules(7) into a directory. It is run in the source tree, by make man. Their date is that of
SOURCE_DATE_EPOCH, or today.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("name one directory", "run `rcptgate man DIR`")
			}
			text, err := os.ReadFile(filepath.Clean(example))
			if err != nil {
				return failed(err.Error(), "run it in the source tree, or add --example FILE")
			}
			when, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			pages := append(commandPages(cmd.Root(), when),
				configPage(string(text), when), rulesPage(when))
			for _, page := range pages {
				path := filepath.Join(args[0], page.file())
				//nolint:gosec // man pages are for everybody
				if err := os.WriteFile(path, []byte(page.text), 0o644); err != nil {
					return failed(err.Error(), "name a directory that exists and that you can write to")
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&example, "example", "config.example.toml", "`file` with all keys and their comments")
	return cmd
}

// sourceDate reads SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/).
func sourceDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, usageError("SOURCE_DATE_EPOCH is no number of seconds: "+strconv.Quote(epoch),
			"set it to the output of `git log -1 --format=%ct`")
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// commandPages are those of a command and all below it that are not hidden.
func commandPages(cmd *cobra.Command, when time.Time) []manPage {
	pages := []manPage{commandPage(cmd, when)}
	for _, sub := range manCommands(cmd) {
		pages = append(pages, commandPages(sub, when)...)
	}
	return pages
}

func manCommands(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, sub := range cmd.Commands() {
		// cobra adds the command help when it runs, which man(1) does as well.
		if !sub.Hidden && sub.Name() != "help" {
			list = append(list, sub)
		}
	}
	return list
}

func manName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-")
}

func commandPage(cmd *cobra.Command, when time.Time) manPage {
	page := manPage{name: manName(cmd), section: 1}
	r := newRoff(page, when)
	r.section("NAME")
	r.line(page.name + " - " + lowerFirst(cmd.Short))
	r.section("SYNOPSIS")
	switch {
	case !cmd.HasParent():
		r.raw(`\fBrcptgate\fR \fICOMMAND\fR [\fIFLAG\fR...] [\fIARGUMENT\fR...]`)
	default:
		use := cmd.Parent().CommandPath() + " " + cmd.Use
		r.raw(r.bold(cmd.CommandPath()) + escapeRoff(strings.TrimPrefix(use, cmd.CommandPath())))
	}
	r.section("DESCRIPTION")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	r.prose(long)
	if subs := manCommands(cmd); len(subs) > 0 {
		r.section("COMMANDS")
		for _, sub := range subs {
			r.item(r.bold(manName(sub)) + "(1)")
			r.line(sub.Short + ".")
		}
	}
	r.flags(cmd)
	if cmd.Example != "" {
		r.section("EXAMPLES")
		r.verbatim(unindent(cmd.Example))
	}
	r.exitStatus()
	if !cmd.HasParent() {
		r.files()
	}
	r.seeAlso(cmd)
	page.text = r.String()
	return page
}

// lowerFirst is for NAME, where mandoc and apropos(1) want a phrase. Names in capitals stay.
func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' || strings.HasPrefix(s, "A ") {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func unindent(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

func (r *roff) flags(cmd *cobra.Command) {
	r.section("OPTIONS")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		operand, usage := pflag.UnquoteUsage(f)
		name := r.bold("--" + f.Name)
		if f.Shorthand != "" {
			name = r.bold("-"+f.Shorthand) + ", " + name
		}
		if operand != "" {
			name += " " + r.italic(operand)
		}
		r.item(name)
		standard := ""
		switch f.DefValue {
		case "", "false", "[]", "0", "0s":
		default:
			standard = " (default " + f.DefValue + ")"
		}
		r.line(usage + standard)
	})
	r.item(r.bold("-h") + ", " + r.bold("--help"))
	r.line("a short form of this page")
}

func (r *roff) exitStatus() {
	r.section("EXIT STATUS")
	for _, code := range []struct{ number, text string }{
		{"0", "The work is done."},
		{"1", "The answer is no, or the work failed."},
		{"2", "Wrong usage or configuration: standard error tells what to write instead."},
	} {
		r.item(r.bold(code.number))
		r.line(code.text)
	}
}

func (r *roff) files() {
	r.section("FILES")
	for _, file := range []struct{ path, text string }{
		{"/etc/rcptgate/config.toml", "The configuration of the Debian package's service."},
		{"/var/lib/rcptgate", "What the service knows: verdicts, the suppression list, the journal."},
		{"/usr/share/doc/rcptgate/config.example.toml", "All keys with their defaults and what they mean."},
	} {
		r.item(r.italic(file.path))
		r.line(file.text)
	}
}

func (r *roff) seeAlso(cmd *cobra.Command) {
	r.section("SEE ALSO")
	pages := []string{"rcptgate(1)"}
	if !cmd.HasParent() {
		pages = nil
		for _, sub := range manCommands(cmd) {
			pages = append(pages, manName(sub)+"(1)")
		}
	} else if cmd.Parent().HasParent() {
		pages = append(pages, manName(cmd.Parent())+"(1)")
	}
	r.references(append(pages, "rcptgate.toml(5)", "rcptgate-rules(7)")...)
}
