package e2e

import (
	"os"
	"syscall"
	"testing"
)

// TestUnix runs mail through Postfix and the gate as its before-queue filter, all over Unix sockets.
func TestUnix(t *testing.T) {
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	front := freePort(t, host(1))
	c := &chain{t: t, entry: entry{address: front}, world: world, sink: sink}
	dir := socketDir(t)
	c.postfix = newPostfix(t, fragment(t, "unix/master.cf",
		"smtp      inet", front+" inet",
		"/run/rcptgate", dir), sinkAddr,
		"smtpd_authorized_xclient_hosts=127.0.0.0/8", "mynetworks=127.0.0.0/8, 192.0.2.0/24")
	c.gate = newGate(t, "unix:"+dir+"/smtp.sock", fragment(t, "unix/rcptgate.toml",
		"/run/rcptgate", dir,
		"/var/spool/postfix", c.postfix.dir+"/spool",
		"[relay]\n", "[relay]\nidle_timeout = \"30s\"\n")+verifyConfig(listening))
	c.start()
	c.run("xforward", checkXForward)
	c.run("octets", func(c *chain) { checkPayloads(c, 2) })
	c.run("refusal", checkRefusalThroughPostfix)
	c.run("parameters", checkParameters)
	// Clients of our own at the gate's socket, beside Postfix's.
	c.run("killed", func(c *chain) {
		l := c.load("killed", c.entry, entry{address: c.gate.addr})
		l.crash(syscall.SIGKILL)
		l.balance()
	})
	c.run("ended", checkEnded)
}

// socketDir makes a directory for sockets that Postfix's own user can reach.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(base, "run-") //nolint:usetesting // only its owner can reach a t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
