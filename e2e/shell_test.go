package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell is a bash that runs the blocks of a page one after the other, as a person pastes them into a
// terminal: what one sets, the next one knows.
type shell struct {
	t      *testing.T
	dir    string // for its own files
	n      int
	stdin  io.Writer
	stdout *bufio.Reader
}

// needPrograms skips the test where one that the pages call is missing. CI must have them.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		switch {
		case err == nil:
		case os.Getenv("CI") != "":
			t.Fatalf("%s is missing; run .ci/setup, or: apt-get install %[1]s", name)
		default:
			t.Skipf("%s is missing: apt-get install %[1]s", name)
		}
	}
}

// newShell starts a shell in a directory. env are variables, "NAME=value". It ends with the test.
func newShell(t *testing.T, dir string, env ...string) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// What does not end by itself ends with all that it has started.
	bound := time.AfterFunc(10*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		bound.Stop()
	})
	return &shell{t: t, dir: t.TempDir(), stdin: stdin, stdout: bufio.NewReader(stdout)}
}

// run runs a block and returns what it printed, on both of its outputs, and the commands that
// failed, each with its exit code. Nobody is at the terminal.
func (s *shell) run(block string) (output string, failed []string) {
	s.t.Helper()
	s.n++
	file := filepath.Join(s.dir, strconv.Itoa(s.n))
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		s.t.Fatal(err)
	}
	_, err := fmt.Fprintf(s.stdin, `trap 'printf "exit %%s: %%s\n" "$?" "$BASH_COMMAND" >>%[1]s.failed' ERR
. %[1]s >%[1]s.out 2>&1 </dev/null
trap - ERR
echo done
`, file)
	if err != nil {
		s.t.Fatalf("the shell has gone: %v", err)
	}
	if line, err := s.stdout.ReadString('\n'); err != nil {
		s.t.Fatalf("the shell has gone, after %q: %v\n%s\n%s", line, err, block, readFile(file+".out"))
	}
	for line := range strings.Lines(readFile(file + ".failed")) {
		// The exit code of the last command is also that of the block.
		if line = strings.TrimSpace(line); !strings.Contains(line, ": . "+file) {
			failed = append(failed, line)
		}
	}
	return readFile(file + ".out"), failed
}

// must runs a block in which nothing may fail.
func (s *shell) must(block string) string {
	s.t.Helper()
	output, failed := s.run(block)
	if len(failed) > 0 {
		s.t.Errorf("%s\nfailed: %q\n%s", block, failed, output)
	}
	return output
}
