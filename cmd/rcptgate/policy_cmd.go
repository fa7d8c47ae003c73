package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/policy"
)

func newPolicyCmd() *cobra.Command {
	cmd := groupCmd("policy test|show|names",
		"Test rules, and show presets and the names that rules may use", "")
	cmd.AddCommand(newPolicyTestCmd(), newPolicyShowCmd(), newPolicyNamesCmd())
	return cmd
}

// maxCases bounds a file of cases, in octets.
const maxCases = 16 << 20

func newPolicyTestCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "test [--config FILE] CASES...",
		Short: "Hold the rules to the decisions that you expect",
		Long: `Test decides the cases of files by the rules of a configuration, as in enforce mode, and
compares with what they expect. Nothing is asked of the network. The exit code is 1 if a
case comes out otherwise. A case:

  [[cases]]
  name = "greylisted mail waits"
  sender = "news@example.com"          # "" or "<>": the null sender
  recipient = "bob@example.net"
  client = "192.0.2.7"
  verdict = "unknown"                  # or probe = "never": the rules must not ask
  reason = "greylisted"
  [cases.expect]
  action = "defer"
  code = 450`,
		Example: "  rcptgate policy test --config rcptgate.toml cases.toml",
		Args:    someArgs("file of cases", "name one; `rcptgate policy test --help` shows a case"),
		RunE:    func(cmd *cobra.Command, args []string) error { return testPolicy(cmd, config, args) },
	}
	configFlag(cmd, &config, "the configuration with the rules; without it the defaults hold")
	return cmd
}

func testPolicy(cmd *cobra.Command, config string, files []string) error {
	cfg, err := optionalConfig(config)
	if err != nil {
		return err
	}
	var cases []policy.Case
	for _, file := range files {
		data, err := readCases(file)
		if err != nil {
			return usageError(fmt.Sprintf("cannot read the cases: %v", err), "name a file of cases")
		}
		list, err := policy.ParseCases(file, data)
		if err != nil {
			return &failure{code: exitUsage, text: err.Error(), plain: true}
		}
		cases = append(cases, list...)
	}
	report, err := policy.RunCases(cfg.PolicyConfig(), cases)
	if err != nil {
		return usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	if err := report.WriteText(cmd.OutOrStdout()); err != nil {
		return failed(fmt.Sprintf("cannot write the report: %v", err), "")
	}
	if report.Failed() > 0 {
		return &failure{code: exitFailed} // the report has said it
	}
	return nil
}

func readCases(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxCases+1))
	if err == nil && len(data) > maxCases {
		err = errors.New(file + ": larger than 16 MiB")
	}
	return data, err
}

func newPolicyShowCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "show [--config FILE | PRESET]",
		Short: "Show the rules in force, or those of a preset, as TOML",
		Long: `Show prints rules as they would stand in a configuration: without arguments those that are in
force, in order, of the configuration and then of its preset; with PRESET those of cautious,
strict or bulk, with what else it sets.`,
		Example: `  rcptgate policy show strict
  rcptgate policy show --config rcptgate.toml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usageError(fmt.Sprintf("show takes one preset, but got %d", len(args)), "name one")
			case len(args) == 1 && config != "":
				return usageError("a preset and a configuration are both given", "leave one of them out")
			case len(args) == 1:
				return showPreset(cmd.OutOrStdout(), args[0])
			}
			return showRules(cmd.OutOrStdout(), config)
		},
		ValidArgs: policy.PresetNames(),
	}
	configFlag(cmd, &config, "the configuration with the rules; without it the defaults hold")
	return cmd
}

func showPreset(out io.Writer, name string) error {
	for _, preset := range policy.Presets() {
		if preset.Name != name {
			continue
		}
		tomlComment(out, preset.Doc)
		also := fmt.Sprintf("Unless they are set, policy.hygiene.mode is %q", preset.Hygiene)
		if preset.LearnBounces {
			also += `, policy.suppression.learn is "bounces"`
		}
		if preset.BulkMessages {
			also += ", policy.message.checks are those for bulk senders"
		}
		writef(out, "#\n")
		tomlComment(out, also+".")
		writef(out, "\n")
		return writeRules(out, preset.Rules)
	}
	return usageError(fmt.Sprintf("there is no preset %q", name),
		"those there are: "+strings.Join(policy.PresetNames(), ", "))
}

// tomlComment prints text as comments of TOML.
func tomlComment(out io.Writer, text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) >= 100 {
			writef(out, "%s\n", line)
			line = "#"
		}
		line += " " + word
	}
	writef(out, "%s\n", line)
}

func showRules(out io.Writer, config string) error {
	cfg, err := optionalConfig(config)
	if err != nil {
		return err
	}
	settings := cfg.PolicyConfig()
	rules, ok := policy.Preset(settings.Preset)
	if !ok {
		return usageError(fmt.Sprintf("%s: there is no preset %q", cfg.Name(), settings.Preset),
			"run `rcptgate check-config`")
	}
	if len(settings.Rules) > 0 {
		tomlComment(out, "The rules of "+escaped(cfg.Name())+", in order.")
		writef(out, "\n")
		if err := writeRules(out, settings.Rules); err != nil {
			return err
		}
		writef(out, "\n")
	}
	tomlComment(out, fmt.Sprintf("The rules of the preset %s, which follow.", cfg.Policy.Preset))
	writef(out, "\n")
	return writeRules(out, rules)
}

func writeRules(out io.Writer, rules []policy.Rule) error {
	if err := policy.WriteRules(out, rules); err != nil {
		return failed(fmt.Sprintf("cannot write the rules: %v", err), "")
	}
	return nil
}

func newPolicyNamesCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "names",
		Short: "List the names that the conditions of rules may use",
		Long: `Names lists every name that a condition ("when") may use, with its type, what it means, and
its values where they are a closed set. A name with a star needs the verdict: a rule that
reaches it may have the recipient's mail server asked.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := policy.Names()
			if asJSON {
				return printLines(cmd.OutOrStdout(), nameLines(names))
			}
			for _, n := range names {
				star := " "
				if n.Lazy {
					star = "*"
				}
				writef(cmd.OutOrStdout(), "%s %-26s %-7s %s\n", star, n.Name, n.Type, n.Doc)
				if len(n.Values) > 0 {
					writef(cmd.OutOrStdout(), "%37sone of %s\n", "", strings.Join(n.Values, ", "))
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// nameJSON is one line of `policy names --json`.
type nameJSON struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Lazy   bool     `json:"lazy"`
	Values []string `json:"values,omitempty"`
	Doc    string   `json:"doc"`
}

func nameLines(names []policy.Name) []nameJSON {
	list := make([]nameJSON, len(names))
	for i, n := range names {
		list[i] = nameJSON{Name: n.Name, Type: n.Type, Lazy: n.Lazy, Values: n.Values, Doc: n.Doc}
	}
	return list
}
