package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// strangerID is a user that owns nothing here, and is in no group that matters.
const strangerID = 65533

// doctorState is a state directory with what the gate keeps in it.
func doctorState(t *testing.T) (dir, config string) {
	t.Helper()
	// Not below t.TempDir, which only its owner can reach.
	dir, err := os.MkdirTemp("", "doctor-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{
		"verdicts.db", "verdicts.db.secret", "journal.jsonl",
		"suppressions",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, fmt.Sprintf("[verify.cache]\npath = \"%[1]s/verdicts.db\"\nmax_size = \"16MiB\"\n"+
		"[policy]\nstate_directory = %[1]q\n[policy.journal]\npath = \"%[1]s/journal.jsonl\"\nmax_size = "+
		"\"64KiB\"\nkeep = 1\n", dir)
}

// TestDoctorFiles: rights, owners and room, as the gate's user has them. Commands that are fixes mend it.
func TestDoctorFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it gives files to other users; run it as root")
	}
	dir, config := doctorState(t)
	look := func(more string) *examined {
		t.Helper()
		path := filepath.Join(dir, "..", filepath.Base(dir)+".toml")
		if err := os.WriteFile(path, []byte(config+more), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
		return examine(t, "--offline", "--postfix", noPostfix(t), "--config", path)
	}
	give := func(path string, uid int, mode os.FileMode) {
		t.Helper()
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	give(dir, strangerID, 0o700)
	for _, name := range []string{
		"verdicts.db", "verdicts.db.secret", "journal.jsonl",
		"suppressions",
	} {
		give(in(name), strangerID, 0o600)
	}
	who := fmt.Sprintf("user %d", strangerID)
	e := look("")
	e.clean("files")
	e.want("files", levelOK, who+" can use the gate's files, in "+dir)
	e.want("files", levelOK, "the disk of ", " free")

	give(in("verdicts.db"), 0, 0o600)
	f := look("").want("files", levelFault, who+" cannot write "+in("verdicts.db"),
		"chown --reference=")
	runFix(t, f.Fix)
	look("").clean("files")

	give(in("verdicts.db.secret"), strangerID, 0o644)
	f = look("").want("files", levelWarning, "everybody may read "+in("verdicts.db.secret"))
	runFix(t, f.Fix)
	give(dir, strangerID, 0o777)
	f = look("").want("files", levelFault, "everybody may write in "+dir)
	runFix(t, f.Fix)
	look("").clean("files")
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil { // others' files stay theirs
		t.Fatal(err)
	}
	look("").want("files", levelWarning, dir+" is open to everybody", "/var/lib/rcptgate")
	give(dir, strangerID, 0o700)

	vips := filepath.Join(dir, "..", filepath.Base(dir)+".vips")
	if err := os.WriteFile(vips, []byte("ceo@example.net\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(vips) })
	lists := fmt.Sprintf("[policy.lists]\nvips = %q\n", vips)
	look(lists).want("files", levelFault, who+" cannot read "+vips, "policy.lists.vips",
		"is not "+who+"'s")
	give(vips, strangerID, 0o646)
	f = look(lists).want("files", levelFault, "everybody may change "+vips)
	runFix(t, f.Fix)
	look(lists).clean("files")

	config = strings.Replace(config, `max_size = "16MiB"`, `max_size = "900TiB"`, 1)
	look("").want("files", levelWarning, "and they may grow by ", "lower verify.cache.max_size")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	look("").want("files", levelFault, dir+": no such file or directory", "install -d -m 0700 -o ")
}
