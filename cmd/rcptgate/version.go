package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// The linker sets these in release builds (-X main.version=... -X main.commit=...).
var (
	version string
	commit  string
)

func newVersionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := buildVersion()
			writef(cmd.OutOrStdout(), "rcptgate %s\ncommit %s\nbuilt with %s\n",
				v.version, v.commit, v.goVersion)
			return nil
		},
	}
}

type versionInfo struct{ version, commit, goVersion string }

// buildVersion prefers what the linker was told over what the go command recorded by itself.
func buildVersion() versionInfo {
	v := versionInfo{version, commit, "unknown Go"}
	info, ok := debug.ReadBuildInfo()
	if ok {
		v.goVersion = info.GoVersion
		if v.version == "" {
			v.version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && v.commit == "" {
				v.commit = setting.Value
			}
		}
	}
	if v.version == "" {
		v.version = "(devel)"
	}
	if v.commit == "" {
		v.commit = "unknown"
	}
	return v
}
