package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify/cache"
)

// doctorUser is the user that the gate runs as, as far as it can be told.
type doctorUser struct {
	uid  int
	gids []int
	name string
}

// gateUser finds out who the gate runs as: the user of the process, else the owner of what it keeps,
// else whoever asks.
func (d *doctor) gateUser() doctorUser {
	if d.self.pid > 0 {
		return userOf(d.self.uid)
	}
	for _, dir := range d.keptIn() {
		if info, err := os.Stat(dir); err == nil {
			if uid, _, ok := ownerOf(info); ok {
				return userOf(uid)
			}
		}
	}
	for _, name := range []string{"_rcptgate", "rcptgate"} { // of the Debian package, and others
		if u, err := user.Lookup(name); err == nil {
			if uid, err := strconv.Atoi(u.Uid); err == nil {
				return userOf(uid)
			}
		}
	}
	return userOf(os.Getuid())
}

func userOf(uid int) doctorUser {
	u := doctorUser{uid: uid, name: "user " + strconv.Itoa(uid)}
	known, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return u
	}
	u.name = known.Username
	groups, err := known.GroupIds()
	if err != nil {
		groups = []string{known.Gid}
	}
	for _, group := range groups {
		if gid, err := strconv.Atoi(group); err == nil {
			u.gids = append(u.gids, gid)
		}
	}
	return u
}

// may tells whether the mode of a file allows all of what ("rwx" bits, 0 to 7).
func (u doctorUser) may(info fs.FileInfo, what fs.FileMode) bool {
	uid, gid, ok := ownerOf(info)
	mode := info.Mode().Perm()
	switch {
	case !ok, u.uid == 0:
		return true
	case uid == u.uid:
		mode >>= 6
	case slices.Contains(u.gids, gid):
		mode >>= 3
	}
	return mode&what == what
}

// privateState is where systemd keeps the state of services with DynamicUser=yes. Others cannot get
// in, but the service's own view leads past it.
const privateState = "/var/lib/private/"

// errUnseen says that whoever runs doctor cannot look, which says nothing about the gate.
var errUnseen = errors.New("it cannot be seen from here")

// reach tells why the user cannot do what with a path, nil if it can. The error may be errUnseen.
func (u doctorUser) reach(path string, what fs.FileMode) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return seen(err)
	}
	real, err = filepath.Abs(real)
	if err != nil {
		return err
	}
	for at := real; at != "/" && at != "." && at+"/" != privateState; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		need := fs.FileMode(1)
		if at == real {
			need = what
		}
		if err != nil {
			return seen(err)
		}
		if !u.may(info, need) {
			return fmt.Errorf("the mode of %s is %04o, and it is not %s's", at, info.Mode().Perm(), u.name)
		}
	}
	return nil
}

// seen tells a file that is not there from one that may not be looked at.
func seen(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errUnseen
	}
	return withoutPath(err)
}

// keptIn are the directories in which the gate writes.
func (d *doctor) keptIn() []string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if dir := d.cfg.Policy.StateDirectory; dir != "" {
		add(filepath.Clean(dir))
	}
	for _, path := range []string{d.cfg.Verify.Cache.Path, d.cfg.Policy.Journal.Path} {
		if path != "" {
			add(filepath.Dir(path))
		}
	}
	return dirs
}

func (d *doctor) checkFiles(_ context.Context, r *doctorReport) {
	u := d.gateUser()
	dirs := d.keptIn()
	for _, dir := range dirs {
		d.checkKept(r, u, dir)
	}
	d.checkReadable(r, u)
	d.checkSecrets(r)
	d.checkRoom(r)
	switch {
	case len(dirs) == 0:
		r.note("the gate keeps nothing on disk",
			"what it knows of recipients, the suppression list and the journal end with the process",
			"[policy]\nstate_directory = \"/var/lib/rcptgate\"\n[verify.cache]\npath = "+
				"\"/var/lib/rcptgate/verdicts.db\"")
	case r.worst().rank() < levelWarning.rank():
		r.ok("%s can use the gate's files, in %s", u.name, strings.Join(dirs, ", "))
	}
}

// maxKept bounds the files of one directory that are looked at.
const maxKept = 1000

// checkKept looks at a directory that the gate writes in, and at its files.
func (d *doctor) checkKept(r *doctorReport, u doctorUser, dir string) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrPermission) {
		r.note(dir+" was not looked at: it cannot be seen from here", "", "run it as root")
		return
	}
	if err != nil {
		r.fault(fmt.Sprintf("%s: %v", dir, withoutPath(err)), "the gate cannot keep anything there",
			fmt.Sprintf("install -d -m 0700 -o %s %s", u.name, shellQuoted(dir)))
		return
	}
	if err := u.reach(dir, 0o7); err != nil && !errors.Is(err, errUnseen) {
		r.fault(fmt.Sprintf("%s cannot write in %s: %v", u.name, dir, err),
			"nothing outlives a restart, and with policy.state_directory the gate does not start",
			fmt.Sprintf("chown %s %s && chmod 0700 %s", u.name, shellQuoted(dir), shellQuoted(dir)))
	}
	switch mode := info.Mode(); {
	case mode.Perm()&0o002 == 0:
	case mode&fs.ModeSticky != 0: // as /tmp: others cannot replace its files, but take their names
		r.warning(dir+" is open to everybody",
			"any local user can take the names of the gate's files before it does",
			fmt.Sprintf("install -d -m 0700 -o %s /var/lib/rcptgate, and name that in the configuration",
				u.name))
	default:
		r.fault(fmt.Sprintf("everybody may write in %s (mode %04o)", dir, mode.Perm()),
			"any local user can replace what the gate knows, and its control socket",
			"chmod 0700 "+shellQuoted(dir))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.note(fmt.Sprintf("%s: %v", dir, withoutPath(err)), "its files were not looked at",
			"run it as root")
		return
	}
	for _, e := range entries[:min(len(entries), maxKept)] {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !d.isKept(filepath.Join(dir, e.Name())) {
			continue
		}
		if !u.may(info, 0o6) {
			path := shellQuoted(filepath.Join(dir, e.Name()))
			r.fault(fmt.Sprintf("%s cannot write %s (mode %04o)", u.name, path, info.Mode().Perm()),
				"the gate cannot use it; a command that was run as root may have made it",
				fmt.Sprintf("chown --reference=%s %s && chmod u+rw %s", shellQuoted(dir), path, path))
		}
	}
}

// isKept tells whether the gate writes a file: in a directory of its own all, else those of its names.
func (d *doctor) isKept(path string) bool {
	if dir := d.cfg.Policy.StateDirectory; dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		return true
	}
	for _, own := range []string{d.cfg.Verify.Cache.Path, d.cfg.Policy.Journal.Path} {
		if own != "" && strings.HasPrefix(path, filepath.Clean(own)) {
			return true
		}
	}
	return false
}

// checkReadable looks at the files that the configuration names.
func (d *doctor) checkReadable(r *doctorReport, u doctorUser) {
	c := d.cfg
	type named struct{ key, path string }
	list := []named{
		{"proxy.tls_cert_file", c.Proxy.TLSCertFile},
		{"proxy.tls_key_file", c.Proxy.TLSKeyFile},
		{"relay.tls_ca_file", c.Relay.TLSCAFile},
		{"relay.password_file", c.Relay.PasswordFile},
		{"policy.webhook.password_file", c.Policy.Webhook.PasswordFile},
		{"http.tokens_file", c.HTTP.TokensFile},
	}
	if log := c.Verify.Feedback.RelayLog; log != "journal" {
		list = append(list, named{"verify.feedback.relay_log", log})
	}
	if d.o.config != "" || c.Name() == packagedConfig {
		list = append(list, named{"the configuration", c.Name()})
	}
	for _, path := range c.Verify.ProviderFiles {
		list = append(list, named{"verify.provider_files", path})
	}
	for name, path := range c.Policy.Lists {
		list = append(list, named{"policy.lists." + name, path})
	}
	for _, entry := range c.Verify.InternalDomains {
		if path, ok := strings.CutPrefix(entry, "file:"); ok {
			list = append(list, named{"verify.internal_domains", path})
		}
	}
	for _, f := range list {
		if f.path == "" {
			continue
		}
		switch err := u.reach(f.path, 0o4); {
		case errors.Is(err, errUnseen):
			r.note(f.path+" was not looked at: it cannot be seen from here", "", "run it as root")
		case err != nil:
			r.fault(fmt.Sprintf("%s cannot read %s (%s): %v", u.name, f.path, f.key, err),
				"the gate does not start, or does without it",
				fmt.Sprintf("chgrp %s %s && chmod g+r %s, or let the unit have the group: SupplementaryGroups=",
					groupOf(u), shellQuoted(f.path), shellQuoted(f.path)))
		}
		if info, err := os.Stat(f.path); err == nil && info.Mode().Perm()&0o002 != 0 {
			r.fault(fmt.Sprintf("everybody may change %s (%s, mode %04o)", f.path, f.key,
				info.Mode().Perm()),
				"any local user can make the gate do what it likes", "chmod o-w "+shellQuoted(f.path))
		}
	}
}

func groupOf(u doctorUser) string {
	if len(u.gids) > 0 {
		if g, err := user.LookupGroupId(strconv.Itoa(u.gids[0])); err == nil {
			return g.Name
		}
	}
	return u.name
}

// checkSecrets looks at what others must not read. For files of passwords and tokens check-config
// does.
func (d *doctor) checkSecrets(r *doctorReport) {
	c := d.cfg
	paths := []string{c.Proxy.TLSKeyFile}
	if c.Verify.Cache.Path != "" {
		paths = append(paths, cache.SecretPath(c.Verify.Cache.Path))
	}
	for _, path := range append(paths, c.Policy.Journal.Path) {
		info, err := os.Stat(path)
		if path == "" || err != nil || info.Mode().Perm()&0o004 == 0 {
			continue
		}
		r.warning(fmt.Sprintf("everybody may read %s (mode %04o)", path, info.Mode().Perm()),
			"it is a secret, or tells who wrote to whom", "chmod o= "+shellQuoted(path))
	}
}

// leastRoom is what must be free whatever the limits are.
const leastRoom = 64 << 20

// checkRoom compares the free room of disks with what the cache and the journal may grow by.
func (d *doctor) checkRoom(r *doctorReport) {
	type disk struct {
		free, growth int64
		of           []string
	}
	disks := map[string]*disk{}
	add := func(path string, most int64) {
		free, name, ok := roomAt(filepath.Dir(path))
		if path == "" || !ok {
			return
		}
		if disks[name] == nil {
			disks[name] = &disk{free: free}
		}
		disks[name].growth += max(most-sizeOf(path), 0)
		disks[name].of = append(disks[name].of, path)
	}
	add(d.cfg.Verify.Cache.Path, int64(d.cfg.Verify.Cache.MaxSize))
	journal := d.cfg.Policy.Journal
	add(journal.Path, int64(journal.MaxSize)*int64(journal.Keep))
	for _, k := range disks {
		what := fmt.Sprintf("the disk of %s has %s free", strings.Join(k.of, " and "),
			wholeMebibytes(k.free))
		const means = "verdicts then live in memory only, and decisions are lost; mail is not hurt"
		fix := "make room there, or lower verify.cache.max_size and policy.journal.max_size (or keep)"
		switch {
		case k.free < leastRoom:
			r.fault(what, means, fix)
		case k.free < k.growth:
			r.warning(fmt.Sprintf("%s, and they may grow by %s", what, wholeMebibytes(k.growth)), means, fix)
		default:
			r.ok("%s", what)
		}
	}
}

// sizeOf is the size of a file and of those that were rotated beside it.
func sizeOf(path string) (octets int64) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			octets += info.Size()
		}
	}
	return octets
}

func wholeMebibytes(n int64) string { return config.Size(n >> 20 << 20).String() }

// withoutPath is an error without its path.
func withoutPath(err error) error {
	if fault, ok := errors.AsType[*fs.PathError](err); ok {
		return fault.Err
	}
	return err
}
