package e2e

import (
	"bufio"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// postfix is a private instance, see postfix.sh.
type postfix struct {
	t        *testing.T
	dir      string
	services string // file of master.cf lines
	settings []string

	cmd   *exec.Cmd // nil while it does not run
	stdin io.Closer // ends it
}

// needPostfix skips the test where Postfix cannot run, and says why. CI must have it.
func needPostfix(t *testing.T) {
	t.Helper()
	// An ordinary user's PATH may lack the directory that it lives in.
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var reason string
	if _, err := exec.LookPath("postfix"); err != nil {
		reason = "Postfix is not installed; run .ci/setup"
	} else if os.Getuid() != 0 && exec.Command("sudo", "-n", "true").Run() != nil {
		reason = "Postfix needs root; run as root or with sudo that asks no password"
	}
	switch {
	case reason == "":
	case os.Getenv("CI") != "":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

// newPostfix makes an instance with these smtpd services that delivers all mail to the sink. It
// does not start it. It is stopped and removed when the test ends.
func newPostfix(t *testing.T, services, sink string, settings ...string) *postfix {
	t.Helper()
	needPostfix(t)
	dir, err := os.MkdirTemp(base, "postfix-") //nolint:usetesting // Postfix cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(sink, ":")
	p := &postfix{
		t:        t,
		dir:      filepath.Join(dir, "p"),
		services: filepath.Join(dir, "services"),
		settings: append(settings, "relayhost=["+host+"]:"+port),
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.services, []byte(services), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("end of Postfix's log:\n%s", tail(p.log(), 40))
		}
		if out, err := p.script("remove", p.dir).CombinedOutput(); err != nil {
			t.Errorf("postfix.sh remove: %v\n%s", err, out)
		}
	})
	return p
}

func (p *postfix) script(args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		return exec.Command("sudo", append([]string{"-n", "./postfix.sh"}, args...)...)
	}
	return exec.Command("./postfix.sh", args...)
}

// start starts the instance and returns when all its services answer.
func (p *postfix) start() {
	p.t.Helper()
	cmd := p.script(append([]string{"run", p.dir, p.services}, p.settings...)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.stdin = cmd, stdin
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		p.t.Fatalf("postfix.sh said %q, %v", line, err)
	}
}

// stop stops the instance and returns when it is gone.
func (p *postfix) stop() {
	if p.cmd == nil {
		return
	}
	if err := p.stdin.Close(); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("postfix.sh: %v", err)
	}
	p.cmd = nil
}

// log is the path of the instance's log.
func (p *postfix) log() string { return filepath.Join(p.dir, "maillog") }

// logged returns the lines of the log that contain all of the given texts.
func (p *postfix) logged(texts ...string) []string { return matching(p.log(), texts...) }

// kill ends all processes of the instance at once, without a chance to put anything in order.
func (p *postfix) kill() {
	p.t.Helper()
	if out, err := p.script("kill", p.dir).CombinedOutput(); err != nil {
		p.t.Errorf("postfix.sh kill: %v\n%s", err, out)
	}
	p.stop()
}

// set changes a setting of main.cf for the next start.
func (p *postfix) set(name, value string) {
	p.settings = append(p.settings, name+"="+value)
}

// idle reports whether all mail that was in the queue has left it.
func (p *postfix) idle() bool {
	in, out := map[string]bool{}, map[string]bool{}
	id := regexp.MustCompile(`/qmgr\[\d+\]: (\w+): (from=<|removed)`)
	for _, match := range id.FindAllStringSubmatch(readFile(p.log()), -1) {
		if match[2] == "removed" {
			out[match[1]] = true
		} else {
			in[match[1]] = true
		}
	}
	return maps.Equal(in, out)
}
