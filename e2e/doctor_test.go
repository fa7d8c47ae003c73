package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// diagnosis is what rcptgate doctor --json prints.
type diagnosis struct {
	Faults, Warnings int
	Findings         []struct{ Group, Level, What, Means, Fix string }
}

// diagnose runs doctor for the gate and Postfix of a chain. It connects to the simulated mail servers.
func (c *chain) diagnose() (d diagnosis) {
	c.t.Helper()
	bin, err := binary()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(bin, "doctor", "--json", "--config", c.gate.config(),
		"--postfix", filepath.Join(c.postfix.dir, "etc"), "--domain", "site0.example", "--domain", "site1.example")
	out, err := cmd.Output()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !failed {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(out, &d); err != nil {
		c.t.Fatalf("doctor: %v\n%s%s", err, out, exit.Stderr)
	}
	if code := cmd.ProcessState.ExitCode(); code != min(d.Faults, 1) {
		c.t.Errorf("doctor: exit code %d with %d faults", code, d.Faults)
	}
	return d
}

// find returns the number of findings of a group and level with a text, and the fix of the last.
func (d diagnosis) find(group, level, text string) (n int, fix string) {
	for _, f := range d.Findings {
		if f.Group == group && f.Level == level && strings.Contains(f.What, text) {
			n, fix = n+1, f.Fix
		}
	}
	return n, fix
}

// wantHealthy wants nothing to be wrong in these groups, and something to be right.
func (c *chain) wantHealthy(groups ...string) {
	c.t.Helper()
	d := c.diagnose()
	for _, group := range groups {
		faults, _ := d.find(group, "fault", "")
		warnings, _ := d.find(group, "warning", "")
		if right, _ := d.find(group, "ok", ""); faults+warnings > 0 || right == 0 {
			c.t.Errorf("%s is not healthy: %+v", group, d.Findings)
		}
	}
}

// shell runs a command as the user that Postfix's files belong to.
func (c *chain) shell(command string) {
	c.t.Helper()
	args := []string{"/bin/sh", "-c", command}
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// keepState starts the gate anew with a state directory, and so with a control socket, in a world that
// knows its name and its address.
func (c *chain) keepState() {
	c.t.Helper()
	if err := c.world.Record(
		"gate.example.com. 300 IN A 5.9.0.1", "1.0.9.5.in-addr.arpa. 300 IN PTR gate.example.com.",
		`gate.example.com. 300 IN TXT "v=spf1 ip4:5.9.0.1 -all"`,
	); err != nil {
		c.t.Fatal(err)
	}
	dir := filepath.Join(c.gate.dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.gate.end(syscall.SIGTERM)
	state := "[policy]\nstate_directory = \"" + dir + "\"\n"
	config := readFile(c.gate.config())
	if strings.Contains(config, "[policy]\n") {
		config = strings.Replace(config, "[policy]\n", state, 1)
	} else {
		config += state
	}
	c.gate.configure(config + "[verify.health]\naddresses = [\"5.9.0.1\"]\n")
	c.gate.start()
	until(c.t, "the control socket", func() bool {
		_, err := os.Stat(filepath.Join(dir, "control.sock"))
		return err == nil
	})
}

// TestDoctor looks at a running chain: it is healthy as docs/postfix.md has it; what is made wrong in
// its Postfix is found, and the command that doctor prints mends it. Mail passes all the time.
func TestDoctor(t *testing.T) {
	c := newFilterChain(t)
	c.keepState()
	sent := func(id string) {
		t.Helper()
		c.dial().wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"},
			message(id, "hello\r\n"))
		c.delivered(id, good(1))
	}
	sent("doctor-before")
	c.wantHealthy("files", "gate", "DNS", "port 25", "address", "relay", "postfix")
	front, behind := c.entry.address+"/inet", ""
	for line := range strings.Lines(readFile(c.postfix.services)) {
		if strings.Contains(line, " inet ") && !strings.HasPrefix(line, c.entry.address) {
			behind = strings.Fields(line)[0] + "/inet"
		}
	}
	conf := filepath.Join(c.postfix.dir, "etc")
	for _, tc := range []struct{ group, level, service, setting, what string }{
		{"postfix", "fault", front, "smtpd_proxy_options=speed_adjust", "smtpd_proxy_options=speed_adjust"},
		{"postfix", "fault", front, "smtpd_proxy_timeout=20s", "smtpd_proxy_timeout=20s is less"},
		{"postfix", "warning", front, "smtpd_hard_error_limit=20", "smtpd_hard_error_limit=20"},
		{"postfix", "fault", behind, "smtpd_proxy_filter=" + c.gate.addr, "sends it back"},
		{"postfix", "warning", behind, "smtpd_authorized_xforward_hosts=", "smtpd_authorized_xforward_hosts (empty)"},
	} {
		c.shell("postconf -c " + conf + " -P '" + tc.service + "/" + tc.setting + "' && postfix -c " + conf + " reload")
		d := c.diagnose()
		n, fix := d.find(tc.group, tc.level, tc.what)
		if n != 1 || !strings.HasPrefix(fix, "postconf -c ") {
			t.Fatalf("%s: %d findings, fix %q: %+v", tc.setting, n, fix, d.Findings)
		}
		if strings.Contains(tc.setting, "xforward") { // the relay itself shows it, once it has read that
			until(t, "the relay to refuse XFORWARD", func() bool {
				n, _ := c.diagnose().find("relay", "warning", "does not offer XFORWARD")
				return n == 1
			})
		}
		c.shell(fix)
		c.wantHealthy("postfix")
	}
	until(t, "the relay to take XFORWARD again", func() bool {
		n, _ := c.diagnose().find("relay", "ok", "takes XFORWARD")
		return n == 1
	})
	sent("doctor-after")
	c.postfix.stop()
	if n, _ := c.diagnose().find("relay", "fault", "refused"); n != 1 {
		t.Error("a relay that is down is not found")
	}
}

// TestDoctorPolicyd: the policy service as docs/postfix.md has it is healthy.
func TestDoctorPolicyd(t *testing.T) {
	c := newPolicyChain(t, false)
	c.keepState()
	c.wantHealthy("gate", "DNS", "port 25", "address", "postfix")
	c.gate.end(syscall.SIGTERM)
	if n, _ := c.diagnose().find("gate", "note", "no gate runs"); n != 1 {
		t.Error("a gate that is down is not found")
	}
	c.gate.start()
}
