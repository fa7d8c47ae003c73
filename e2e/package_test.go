package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// needPackaging skips the test where packages cannot be built and tried. CI must have it all.
func needPackaging(t *testing.T) {
	t.Helper()
	var reason string
	if os.Getuid() != 0 {
		reason = "installing a package into a directory needs root"
	}
	for _, program := range []string{"mmdebstrap", "dpkg-deb", "chroot"} {
		if _, err := exec.LookPath(program); err != nil {
			reason = program + " is missing; run .ci/setup, or: apt-get install mmdebstrap (Debian)"
		}
	}
	switch {
	case testing.Short():
		t.Skip("building a package and a Debian root takes minutes")
	case reason == "":
	case os.Getenv("CI") != "":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

// must runs a program to its end.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// buildPackage builds the Debian package in a checkout.
func buildPackage(t *testing.T, checkout string) string {
	t.Helper()
	lines := strings.Fields(must(t, filepath.Join(checkout, "deploy/deb/build")))
	return filepath.Join(checkout, lines[len(lines)-1])
}

// TestPackage builds the package twice, in two places, installs it into a Debian that has nothing
// else, and sends mail through what the unit starts there.
func TestPackage(t *testing.T) {
	needPackaging(t)
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	deb := twoBuilds(t)
	root := debianRoot(t)
	must(t, "cp", deb, filepath.Join(root, "rcptgate.deb"))
	inside := func(args ...string) string {
		t.Helper()
		return must(t, "chroot", append([]string{root}, args...)...)
	}
	// The second time is an upgrade to the same version.
	first := inside("dpkg", "-i", "/rcptgate.deb")
	if !strings.Contains(first, "next steps") {
		t.Errorf("the installation does not tell what to do next:\n%s", first)
	}
	inside("dpkg", "-i", "/rcptgate.deb")
	inside("/usr/bin/rcptgate", "check-config", "--config", "/etc/rcptgate/config.toml")
	config := filepath.Join(root, "etc/rcptgate/config.toml")
	t.Run("mail", func(t *testing.T) { checkPackagedMail(t, root, config) })

	// The administrator's file and the state outlive the removal, but not a purge.
	inside("dpkg", "--remove", "rcptgate")
	for _, path := range []string{config, filepath.Join(root, "var/lib/rcptgate")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("gone with the removal: %v", err)
		}
	}
	inside("dpkg", "--purge", "rcptgate")
	for _, path := range []string{config, filepath.Join(root, "var/lib/rcptgate")} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s outlives a purge: %v", path, err)
		}
	}
}

// twoBuilds returns a package, and fails unless another build has the same octets.
func twoBuilds(t *testing.T) string {
	t.Helper()
	// All files as they are now, with the history for the version.
	here, elsewhere := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "elsewhere", "b")
	must(t, "git", "clone", "-q", "..", here)
	must(t, "sh", "-c", `cd .. && git ls-files -z --modified --others --exclude-standard |
		tar -c --null --ignore-failed-read -T - | tar -x -C "$0"`, here)
	must(t, "mkdir", filepath.Dir(elsewhere))
	must(t, "cp", "-a", here, elsewhere)
	var paths []string
	var sums [][sha256.Size]byte
	for _, checkout := range []string{here, elsewhere} {
		path := buildPackage(t, checkout)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		paths, sums = append(paths, path), append(sums, sha256.Sum256(data))
	}
	if sums[0] != sums[1] || filepath.Base(paths[0]) != filepath.Base(paths[1]) {
		t.Errorf("two builds of the same sources differ: %s, %s", paths[0], paths[1])
	}
	return paths[0]
}

// debianRoot makes a directory with the essential packages of Debian and adduser.
func debianRoot(t *testing.T) string {
	t.Helper()
	// Reachable for the package's own user, as t.TempDir is not.
	root := filepath.Join(base, "debian")
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	// From where this machine gets its own packages.
	sources := "/etc/apt/sources.list.d/debian.sources"
	if _, err := os.Stat(sources); err != nil {
		sources = "/etc/apt/sources.list"
	}
	out, err := exec.Command("mmdebstrap", "--quiet", "--mode=root", "--variant=essential",
		"--include=adduser", "--dpkgopt=force-unsafe-io", "bookworm", root, sources).CombinedOutput()
	if err != nil {
		t.Skipf("no Debian can be had here to install the package in: %v\n%s", err, out)
	}
	return root
}

// checkPackagedMail runs what the unit runs, as the user that it runs as, with the packaged
// configuration led into a simulated Internet.
func checkPackagedMail(t *testing.T, root, config string) {
	t.Helper()
	_, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	addr := freePort(t, host(1))
	text := readFile(config)
	for _, change := range [][2]string{
		{"127.0.0.1:10025", addr},
		{"127.0.0.1:10026", sinkAddr},
		{"127.0.0.1:8025", freePort(t, host(1))},
		{`mode = "shadow"`, `mode = "enforce"`},
		{"internal_domains = []", fmt.Sprintf(
			"internal_domains = []\nprobe_port = %d\nallow_networks = [\"127.0.0.0/8\"]", listening.Port)},
		{"[verify.cache]", fmt.Sprintf("[verify.dns]\nservers = [%q]\n\n[verify.cache]", listening.DNS)},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("the packaged configuration has not one %q:\n%s", change[0], text)
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	units := filepath.Join(root, "lib/systemd/system")
	user := setting(t, filepath.Join(units, "rcptgate.service.d/user.conf"), "User=")
	start := strings.Fields(setting(t, filepath.Join(units, "rcptgate.service"), "ExecStart="))
	var log bytes.Buffer
	cmd := exec.Command("chroot", append([]string{"--userspec=" + user + ":" + user, root}, start...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gate ended: %v", err)
		}
		if t.Failed() {
			t.Logf("its log:\n%s", log.String())
		}
	}
	defer end()
	until(t, "the packaged gate to listen", (&gate{addr: addr}).listens)
	client, err := entry{address: addr}.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	here := testClient{client, t}
	here.want(250, "MAIL FROM:<sender@example.org>")
	here.want(550, "RCPT TO:<%s>", bad(1))
	here.want(250, "RSET")
	original := message("packaged", "hello\r\n")
	here.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"}, original)
	if got := sink.Messages(); len(got) != 1 || idOf(got[0]) != "packaged" {
		t.Errorf("the relay has %d messages", len(got))
	}
	end()
	verdicts := filepath.Join(root, "var/lib/rcptgate/verdicts.db")
	if _, err := os.Stat(verdicts); err != nil {
		t.Errorf("what is known is not in the state directory: %v", err)
	}
}

// setting is the value of the one line of a unit that begins so.
func setting(t *testing.T, unit, begin string) string {
	t.Helper()
	for line := range strings.Lines(readFile(unit)) {
		if value, ok := strings.CutPrefix(line, begin); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s", unit, begin)
	return ""
}
