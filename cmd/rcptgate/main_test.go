package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rcptgate": main})
}

// TestScripts runs the transcripts in testdata against the real program, and a simulated internet
// on loopback that $CONFIG points to. Beside the commands of testscript there is
//
//	code N rcptgate ARGS...    the program ends with exit code N
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setupWorld,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": exitCode,
		},
		RequireUniqueNames: true,
	})
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// setupWorld starts the world of one script, with a configuration that leads into it.
func setupWorld(env *testscript.Env) error {
	world, at, err := newTestWorld(env.T().(testing.TB)) //nolint:forcetypeassert // testscript runs under testing
	if err != nil {
		return err
	}
	env.Defer(world.Close)
	example, err := filepath.Abs("../../config.example.toml")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLE", example)
	env.Setenv("CONFIG", filepath.Join(env.WorkDir, "gate.toml"))
	env.Setenv("NO_COLOR", "1")
	return os.WriteFile(filepath.Join(env.WorkDir, "gate.toml"),
		[]byte(worldConfig("127.0.0.1:0", "127.0.0.1:9", at)), 0o600)
}
