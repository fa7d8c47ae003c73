package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
)

// doctorSelf is what is known of the process that runs the gate. Zero: none runs that shows itself.
type doctorSelf struct {
	running bool
	denied  error // why a control socket that is there could not be opened
	pid     int   // 0: not known
	uid     int   // if pid is known
}

// findSelf asks the control socket who listens there.
func findSelf(ctx context.Context, cfg *config.Config) doctorSelf {
	path, ok := cfg.ControlSocket().Unix()
	if !ok {
		return doctorSelf{}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return doctorSelf{}
		}
		return doctorSelf{denied: rootCause(err)}
	}
	defer func() { _ = conn.Close() }()
	self := doctorSelf{running: true}
	self.pid, self.uid = peerOf(conn)
	return self
}

// checkGate asks the gate that runs how it is.
func (d *doctor) checkGate(ctx context.Context, r *doctorReport) {
	path, _ := d.cfg.ControlSocket().Unix()
	switch {
	case d.self.denied != nil:
		r.note(fmt.Sprintf("the control socket %s cannot be opened: %v", path, d.self.denied),
			"what the gate says of itself is not seen", "run it as root, or as the gate's user: sudo "+
				"rcptgate doctor")
	case d.self.running:
		d.checkStatus(ctx, r, path)
		d.checkOpenFiles(r)
		return
	}
	if d.askReadyz(ctx, r) {
		return
	}
	d.checkListeners(ctx, r)
}

// checkStatus reads /v1/status over the control socket.
func (d *doctor) checkStatus(ctx context.Context, r *doctorReport, path string) {
	var s web.StatusAnswer
	status, body, err := getHere(ctx, "unix", path, "http://rcptgate/v1/status")
	switch {
	case err != nil:
	case status != http.StatusOK:
		err = fmt.Errorf("it answers %d", status)
	default:
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		r.warning(fmt.Sprintf("the gate does not tell its state: %v", err), "",
			"look at its log; is it of another version? rcptgate version")
		return
	}
	for _, c := range s.Checks {
		d.addPart(r, c.Part, c.State, c.Detail)
	}
	mode := "it refuses what the rules refuse"
	if s.Policy != "enforce" {
		mode = "it refuses nothing (policy.mode is " + s.Policy + ")"
	}
	r.ok("a gate runs since %s, version %s; %s", dateOf(s.Started), s.Version, mode)
	if s.Mode == "passive" && d.cfg.Verify.Mode != "passive" {
		r.warning("the gate is passive by itself", "it asks no mail server, unknown recipients pass",
			"see port 25")
	}
	d.checkLoaded(r, s)
}

// checkLoaded tells whether the gate has read the file as it is now.
func (d *doctor) checkLoaded(r *doctorReport, s web.StatusAnswer) {
	const reload = "systemctl reload rcptgate"
	info, err := os.Stat(d.cfg.Name())
	if err != nil || s.Config == "" {
		return
	}
	theirs, err := os.Stat(s.Config)
	switch {
	case err == nil && !os.SameFile(info, theirs):
		r.note("the gate that runs has another configuration, "+s.Config,
			"what is said here of "+d.cfg.Name()+" is not about it", "rcptgate doctor --config "+
				""+shellQuoted(s.Config))
	case !s.Loaded.IsZero() && info.ModTime().After(s.Loaded.Add(time.Second)):
		r.warning(fmt.Sprintf("%s was changed on %s, the gate has that of %s", d.cfg.Name(),
			dateOf(info.ModTime()), dateOf(s.Loaded)), "the change is not in use", reload)
	}
}

// addPart is a line of /readyz or /v1/status.
func (d *doctor) addPart(r *doctorReport, part, state, detail string) {
	what, fix, _ := strings.Cut(detail, "; to do: ")
	what = part + ": " + what
	switch state {
	case web.OK.String():
		r.ok("%s", what)
	case web.Failed.String():
		if part == "relay" && d.onlyPolicyd() {
			r.note(what, onlyPolicydMeans, onlyPolicydFix)
			return
		}
		r.fault(what, "mail cannot pass", fix)
	default:
		r.warning(what, "", fix)
	}
}

// askReadyz reads /readyz, where there is no control socket. ok is false if nobody answers.
func (d *doctor) askReadyz(ctx context.Context, r *doctorReport) (ok bool) {
	if d.cfg.HTTP.Listen == "" {
		return false
	}
	_, address := readyAddress(d.cfg.HTTP.Listen)
	_, body, err := readyz(ctx, d.cfg.HTTP)
	if err != nil {
		return false
	}
	first, rest, _ := strings.Cut(string(body), "\n")
	if !strings.HasPrefix(first, "ready") && !strings.HasPrefix(first, "not ready") {
		r.fault(fmt.Sprintf("%s is not the gate: /readyz says %q", address, shorten(first, 80)),
			"the gate cannot listen there", "choose another http.listen, or end the other program")
		return true
	}
	r.ok("a gate answers at %s: %s", address, first)
	for line := range strings.Lines(rest) {
		state, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		part, detail, found := strings.Cut(strings.TrimSpace(text), ": ")
		if found {
			d.addPart(r, part, state, detail)
		}
	}
	return true
}

// checkListeners tells whether the gate could listen where the configuration says.
func (d *doctor) checkListeners(ctx context.Context, r *doctorReport) {
	served := 0
	var strangers []string
	for _, p := range places(d.cfg) {
		network, address := readyAddress(p.endpoint)
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			continue
		}
		banner := ""
		if p.kind == kindSMTP {
			banner = readBanner(conn)
		}
		_ = conn.Close()
		if strings.Contains(banner, "ESMTP rcptgate") {
			served++
			continue
		}
		what := "something listens at " + address
		if banner != "" {
			what += fmt.Sprintf(" and says %q", shorten(banner, 80))
		}
		// Only an SMTP listener says who it is: beside one of a gate, the others are its own.
		strangers = append(strangers, what)
	}
	for _, what := range strangers {
		if served > 0 && !strings.Contains(what, " says ") {
			continue
		}
		// A socket that systemd holds accepts connections, too.
		r.warning(what, "if it is neither the gate nor systemd's rcptgate.socket, the gate cannot start",
			"see who it is: ss -ltnp (or -lxp)")
	}
	switch {
	case served > 0:
		r.ok("a gate answers where this configuration listens")
		r.note("it has no control socket that can be asked", "what it says of itself is not seen",
			`policy.state_directory = "/var/lib/rcptgate"`)
	case d.self.denied == nil:
		r.note("no gate runs with this configuration", "", "systemctl start rcptgate")
	}
}

// readBanner reads the first line of an SMTP server.
func readBanner(conn net.Conn) string {
	if conn.SetDeadline(time.Now().Add(2*time.Second)) != nil {
		return ""
	}
	line := make([]byte, 512)
	n, _ := conn.Read(line)
	first, _, _ := bytes.Cut(line[:n], []byte("\r\n"))
	return string(first)
}

// checkOpenFiles compares the gate's limit of open files with what its configuration may need.
func (d *doctor) checkOpenFiles(r *doctorReport) {
	limit, ok := openFilesOf(d.self.pid)
	if !ok {
		return
	}
	// A client has two, with the relay's connection, and a probe one; the rest is for files, DNS and
	// what else there is.
	c := d.cfg
	need := uint64(2*c.Proxy.MaxConnections + c.Verify.MaxProbes + 500) //nolint:gosec // min is 1
	if len(c.Policyd.Listen) > 0 {
		need += uint64(c.Policyd.MaxConnections) //nolint:gosec // min is 1
	}
	if limit >= need {
		r.ok("the gate may open %d files, and needs %d at most", limit, need)
		return
	}
	r.warning(fmt.Sprintf("the gate may open %d files, and needs up to %d", limit, need),
		"under load it cannot accept clients nor connect to anybody",
		"LimitNOFILE=65536 in the [Service] of its unit (systemctl edit rcptgate), or lower "+
			"proxy.max_connections")
}

// shellQuoted quotes a word for a shell, where it has to be.
func shellQuoted(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%="
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
