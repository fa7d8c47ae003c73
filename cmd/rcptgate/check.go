package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
)

func newCheckConfigCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check-config --config FILE",
		Short: "Find every fault of a configuration",
		Long: `Check-config reads a configuration as serve would and prints "FILE: ok", or every fault
with its line, its column and what to write instead. Warnings are about what works but is
probably not meant; they do not change the exit code.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if _, err := web.OpenTokens(cfg.HTTP.TokensFile, slog.New(slog.DiscardHandler)); err != nil {
				return &failure{code: exitUsage, text: err.Error(), plain: true}
			}
			printWarnings(cmd.ErrOrStderr(), cfg)
			writef(cmd.OutOrStdout(), "%s: ok\n", path)
			return nil
		},
	}
	configFlag(cmd, &path, "the configuration to check")
	return cmd
}

func configFlag(cmd *cobra.Command, path *string, what string) {
	cmd.Flags().StringVarP(path, "config", "c", "", what)
	// The error is for flags that do not exist; this one was made a line ago.
	_ = cmd.MarkFlagFilename("config", "toml")
}

// loadConfig reads the configuration that a command cannot do without. Its faults are printed as
// they are, one a line, so that editors and scripts can read FILE:LINE:COLUMN.
func loadConfig(path string) (*config.Config, error) {
	if path == "" {
		return nil, usageError("no configuration given",
			"add --config FILE; config.example.toml is one to start from")
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, &failure{code: exitUsage, text: err.Error(), plain: true}
	}
	return cfg, nil
}

// optionalConfig is loadConfig for commands that do with the defaults.
func optionalConfig(path string) (*config.Config, error) {
	if path == "" {
		return config.Default(), nil
	}
	return loadConfig(path)
}

func printWarnings(w io.Writer, cfg *config.Config) {
	for _, warning := range cfg.Warnings() {
		writef(w, "%s\n", warning.Warning())
	}
}
