package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestSuppress(t *testing.T) {
	both(t, func(d *desk) {
		d.steps([]step{
			{"suppress add", 2, ``, `no address given`},
			{"suppress list", 0, `^nothing is suppressed that fits$`, ``},
			{
				"suppress add Bob@Example.COM @example.net --for 7d", 0,
				`^Bob@Example.COM: everybody's mail is refused, until 20.*^\*@example.net: everybody's mail`, ``,
			},
			{
				"suppress add eve@example.com --scope sender_domain:shop.example --reason hard_bounce --reply 550~5.1.1 " +
					"--evidence no~such~user --source test", 0, `^eve@example.com: mail from shop.example is refused, for good$`, ``,
			},
			{"suppress add nobody", 2, ``, `error: nobody: address: .*hint: a mailbox is`},
			{"suppress add a@example.com --scope planet", 2, ``, `error: --scope: "planet" is no scope.*hint: write "global"`},
			{"suppress add a@example.com --for soon", 2, ``, `--for: "soon" is no time span`},
			{"suppress add a@example.com --for 0s", 2, ``, `--for: no time at all`},
			{"suppress add a@example.com --for 1d --until 2099-01-01", 2, ``, `--for and --until are both given`},
			{"suppress add a@example.com --until later", 2, ``, `--until: "later" is no time`},
			{"suppress add a@example.com --until 2001-01-01", 2, ``, `expires: the time has passed`},
			{"suppress add c@example.com --until 2099-01-01", 0, `until 2099-01-02 00:00`, ``},
			{"suppress list --limit 2", 0, `^\*@example.net +everybody's mail +manual.*^2 of 4$`, ``},
			{"suppress list --reason hard_bounce", 0, `^eve@.*550 5.1.1, no such user, by test$`, ``},
			{"suppress list --limit 0", 2, ``, `rcptgate suppress export`},
			{"suppress list --reason dislike", 2, ``, `reason`},
			{"suppress list --domain example.net --json", 0, `^{"address":"\*@example.net","scope":"global",.*"hits":0}$`, ``},
			{"suppress search BOB@", 0, `^bob@example.com`, ``},
			{"suppress search zzz", 1, `nothing is suppressed that fits`, ``},
			{"suppress search", 2, ``, `search takes one text, but got 0`},
			{"suppress remove", 2, ``, `no address given`},
			{"suppress remove eve@example.com", 1, ``, `not on the list for everybody's mail: eve@.*suppress search`},
			{"suppress remove eve@example.com --scope sender_domain:shop.example", 0, `^eve@example.com: removed$`, ``},
			{"suppress remove x@example.com --reason manual", 2, ``, `both given`},
			{"suppress remove --domain example.com", 1, `^bob@example.com`, `nothing is removed yet.*add --yes to remove all 2`},
			{"suppress remove --domain example.com --yes", 0, `^2 removed$`, ``},
			{"suppress remove --contains example.com", 0, `^nothing is suppressed`, ``},
			{"suppress export", 0, `^address,reason,.*\*@example.net,manual,global,`, ``},
		})
	})
}

func TestSuppressImport(t *testing.T) {
	both(t, func(d *desk) {
		list := d.write("list.csv", "email,colour\na@example.com,red\nbad@,x\nb@example.com,blue\n")
		good := d.write("good.csv", "b@example.com\nc@example.com\n")
		d.steps([]step{
			{
				"suppress import --reason complaint " + list, 1,
				`^2 added, 0 replaced, 0 kept, 0 skipped, 1 bad, of 3 rows\nthe column "colour" was not used$`,
				`^line 3: address: .*error: 1 row was not imported.*hint: correct them`,
			},
			{"suppress import --strict " + list, 2, `^0 added`, `^line 3: .*nothing is imported.*hint: correct the file`},
			{"suppress import --keep --for 1d " + good, 0, `^1 added, 0 replaced, 1 kept, 0 skipped, 0 bad, of 2 rows$`, ``},
			{"suppress import --json " + good, 0, `^{"rows":2,"added":0,"replaced":2,`, ``},
			{"suppress import --reason dislike " + good, 2, ``, `reason: dislike is none`},
			{"suppress import " + list + "x", 1, ``, `no such file.*hint: name a CSV file`},
			{"suppress import " + d.dir, 1, ``, `cannot read the file: .*is a directory`},
			{"suppress import a b", 2, ``, `one file at most`},
		})
		d.stdin = "d@example.com\n"
		d.steps([]step{
			{"suppress import -", 0, `^1 added`, ``},
			{"suppress list --reason import", 0, `^b@.*^c@.*^d@`, ``},
		})
		code, csv, _ := d.rcptgate("suppress", "export")
		d.stdin = csv
		if strings.Count(csv, "\n") != 5 || code != 0 {
			t.Errorf("%d\n%s", code, csv)
		}
		d.steps([]step{{"suppress import", 0, `^0 added, 4 replaced`, ``}})
	})
}

// TestImportShows: on a terminal an import tells how far it is, and not in a pipe.
func TestImportShows(t *testing.T) {
	for name, test := range map[string]struct {
		total int64
		on    bool
		want  string
	}{
		"known":   {10_000_000, true, `^\r\x1b\[K 50 % of 10.0 MB, 1\d.\d s left$`},
		"unknown": {0, true, `^\r\x1b\[K5.0 MB read$`},
		"piped":   {10_000_000, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var shown bytes.Buffer
			bar := &transfer{
				r: bytes.NewReader(make([]byte, 5_000_000)), w: &shown, total: test.total, on: test.on,
				start: time.Now().Add(-10 * time.Second),
			}
			if _, err := io.ReadFull(bar, make([]byte, 5_000_000)); err != nil {
				t.Fatal(err)
			}
			if got := shown.String(); !matches(test.want, got) {
				t.Errorf("%q, not %q", got, test.want)
			}
			shown.Reset()
			if bar.clear(); test.on != (shown.String() == "\r\x1b[K") {
				t.Errorf("at the end %q", shown.String())
			}
		})
	}
}

// TestImportInterrupted: a signal ends an import that waits for its input.
func TestImportInterrupted(t *testing.T) {
	bin, err := exec.LookPath("rcptgate")
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t)
	stop := d.open()
	defer stop()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, "suppress", "import", "--config", d.config)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than the pipe holds: when it is written, the import reads.
	for range 100 {
		if _, err := fmt.Fprintf(stdin, "a@example.com,%s\n", strings.Repeat(" ", 5000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || errs.String() != "rcptgate: error: interrupted\n" {
		t.Errorf("%v\n%s", err, &errs)
	}
}
