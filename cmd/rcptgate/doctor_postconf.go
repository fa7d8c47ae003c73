package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// postfixSettings are the settings of main.cf that are looked at.
var postfixSettings = []string{
	"queue_directory", "inet_interfaces", "mynetworks", "default_process_limit",
	"smtpd_proxy_filter", "smtpd_proxy_timeout", "smtpd_proxy_options",
	"smtpd_delay_open_until_valid_rcpt",
	"smtpd_soft_error_limit", "smtpd_hard_error_limit", "smtpd_error_sleep_time",
	"smtpd_authorized_xforward_hosts", "smtpd_recipient_limit", "message_size_limit",
	"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
	"smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_data_restrictions",
	"smtpd_end_of_data_restrictions", "smtpd_policy_service_timeout",
	"smtpd_policy_service_default_action",
	// Those that mx.PostfixDomains asks for.
	"parent_domain_matches_subdomains", "mydestination", "virtual_mailbox_domains",
	"virtual_alias_domains", "relay_domains", "transport_maps",
}

// postfixRestrictions are the lists that a check_policy_service may be in, in the order in which they
// are evaluated at RCPT, and behind.
var postfixRestrictions = []string{
	"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
	"smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_data_restrictions",
	"smtpd_end_of_data_restrictions",
}

// postfixConf is what postconf says of a main.cf and a master.cf.
type postfixConf struct {
	dir      string
	settings map[string]string // those of postfixSettings, with $names expanded
	services []*postfixService // the smtpd processes
	warnings []string
}

// postfixService is a line of master.cf.
type postfixService struct {
	name, kind string // "127.0.0.1:10026" and "inet"
	private    bool
	chroot     bool
	processes  int               // 0: without limit
	own        map[string]string // its -o options, with $names expanded
}

// String is the service as postconf -P has it.
func (s *postfixService) String() string { return s.name + "/" + s.kind }

// get is a setting as it holds for a service.
func (c *postfixConf) get(s *postfixService, name string) string {
	if value, ok := s.own[name]; ok {
		return value
	}
	return c.settings[name]
}

// number is a setting that is one; ok is false if it is not.
func (c *postfixConf) number(s *postfixService, name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(c.get(s, name)), 10, 64)
	return n, err == nil
}

// span is a setting that is a time, such as 100s (postconf(5), "time limits" are seconds).
func (c *postfixConf) span(s *postfixService, name string) (time.Duration, bool) {
	return postfixTime(c.get(s, name))
}

func postfixTime(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	unit := time.Second
	if n := len(text); n > 0 {
		units := map[byte]time.Duration{
			's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
		}
		if u, ok := units[text[n-1]|0x20]; ok {
			unit, text = u, text[:n-1]
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// set is the command that gives a service a setting of its own.
func (c *postfixConf) set(s *postfixService, name, value string) string {
	return fmt.Sprintf("postconf -c %s -P %s && postfix -c %s reload", shellQuoted(c.dir),
		shellQuoted(s.String()+"/"+name+"="+value), shellQuoted(c.dir))
}

// errPostfixAbsent says that there is nothing to look at.
var errPostfixAbsent = errors.New("there is no Postfix on this machine")

// postfixTools are where programs of Postfix are, if not in PATH: an ordinary user's lacks sbin.
var postfixTools = []string{"/usr/sbin", "/usr/local/sbin", "/opt/local/sbin"}

// postfixProgram finds postconf or postmap.
func postfixProgram(name string) (string, error) {
	if found, err := exec.LookPath(name); err == nil {
		return found, nil
	}
	for _, dir := range postfixTools {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", exec.ErrNotFound
}

// maxPostconf bounds what is read of a program.
const maxPostconf = 4 << 20

// boundedBuffer keeps the beginning of what is written to it.
type boundedBuffer struct{ bytes.Buffer }

// Write takes all and keeps maxPostconf octets.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	_, err := b.Buffer.Write(p[:min(len(p), max(maxPostconf-b.Len(), 0))])
	return len(p), err
}

// runPostfix runs postconf or postmap for the configuration in a directory.
func runPostfix(ctx context.Context, dir, name string, args ...string) (out, complaints []byte, err error) {
	program, err := postfixProgram(name)
	if err != nil {
		return nil, nil, err
	}
	if dir != "" {
		args = append([]string{"-c", dir}, args...)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr boundedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err = cmd.Run(); err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = errors.New(said)
		}
		err = fmt.Errorf("%s: %w", name, err)
	}
	return stdout.Bytes(), stderr.Bytes(), err
}

// readPostfix asks postconf. dir is "" for the system's own.
func readPostfix(ctx context.Context, dir string) (*postfixConf, error) {
	if dir == "" {
		out, _, err := runPostfix(ctx, "", "postconf", "-dh", "config_directory")
		if err != nil {
			return nil, errPostfixAbsent
		}
		dir = strings.TrimSpace(string(out))
		if _, err := os.Stat(filepath.Join(dir, "main.cf")); err != nil {
			return nil, errPostfixAbsent
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &postfixConf{dir: dir}
	_, said, err := runPostfix(ctx, dir, "postconf", "-n")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(said)) {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), "warning: "); ok && !slices.Contains(c.warnings, text) {
			c.warnings = append(c.warnings, text)
		}
	}
	out, _, err := runPostfix(ctx, dir, "postconf", append([]string{"-x"}, postfixSettings...)...)
	if err != nil {
		return nil, err
	}
	c.settings = parseSettings(string(out))
	if out, _, err = runPostfix(ctx, dir, "postconf", "-M"); err != nil {
		return nil, err
	}
	c.services = parseServices(string(out), c.settings["default_process_limit"])
	if out, _, err = runPostfix(ctx, dir, "postconf", "-Px"); err != nil {
		return nil, err
	}
	c.addOptions(string(out))
	return c, nil
}

// parseSettings reads lines of "name = value".
func parseSettings(out string) map[string]string {
	settings := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(line, "="); ok {
			settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return settings
}

// parseServices reads the lines of postconf -M: service, type, private, unprivileged, chroot, wake-up
// time, processes, and the command with its options (master(5)).
func parseServices(out, processes string) []*postfixService {
	var list []*postfixService
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 8 || path.Base(fields[7]) != "smtpd" {
			continue
		}
		s := &postfixService{
			name: fields[0], kind: fields[1], private: fields[2] != "n", chroot: fields[4] == "y",
			own: map[string]string{},
		}
		limit := fields[6]
		if limit == "-" {
			limit = processes
		}
		s.processes, _ = strconv.Atoi(limit) // what is no number has no limit that is known
		list = append(list, s)
	}
	return list
}

// addOptions reads the lines of postconf -Px: service/type/name = value. A service's name may have
// slashes, its type and the settings have none.
func (c *postfixConf) addOptions(out string) {
	for line := range strings.Lines(out) {
		left, value, ok := strings.Cut(line, " =")
		if !ok {
			continue
		}
		service, name := path.Split(strings.TrimSpace(left))
		service = strings.TrimSuffix(service, "/")
		for _, s := range c.services {
			if s.String() == service {
				s.own[name] = strings.TrimSpace(value)
			}
		}
	}
}
