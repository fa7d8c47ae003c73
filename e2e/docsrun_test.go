package e2e

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestDocsRun runs the blocks of commands of each page, in their order, in a directory that stands
// for the whole machine: with a gate that runs, has refused somebody and learnt something, a relay,
// and a simulated Internet where example.com, example.org and example.net have mail servers. The ten
// minutes of README.md are run by TestReadme.
//
// A comment on the line before a block changes that:
//
//	<!-- not run: REASON -->         it cannot be run here; the test lists it with the reason
//	<!-- with the gate stopped -->   the gate is stopped before, and started again behind
//	<!-- exits with 1 -->            its last command says no
func TestDocsRun(t *testing.T) {
	needPostfix(t)
	needPrograms(t, "curl", "openssl")
	world := newDocsWorld(t)
	run, left := 0, 0
	for _, p := range documentation(t) {
		blocks := commandBlocks(p)
		if p.path == "README.md" {
			blocks = nil
			for _, b := range commandBlocks(p) {
				if reason := b.notRun(); reason != "" {
					left++
					t.Logf("%s is not run: %s", b, reason)
				}
			}
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(p.path), func(t *testing.T) {
			var o *office
			for _, b := range blocks {
				if reason := b.notRun(); reason != "" {
					left++
					t.Logf("%s is not run: %s", b, reason)
					if len(strings.Fields(reason)) < 3 {
						t.Errorf("%s: %q is no reason", b, reason)
					}
					continue
				}
				run++
				if o == nil {
					o = newOffice(t, world)
				}
				o.follow(b)
			}
		})
	}
	t.Logf("%d blocks of commands were run, %d were not", run, left)
	// Of single pages ("-run TestDocsRun/faq.md") there are fewer.
	all := !strings.Contains(flag.Lookup("test.run").Value.String(), "/")
	if all && (run < 30 || left > run) {
		t.Errorf("%d blocks of commands were run, %d were not", run, left)
	}
}

func commandBlocks(p page) (blocks []block) {
	for _, b := range p.blocks {
		if b.lang == "sh" {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// newDocsWorld has the domains that the pages speak of.
func newDocsWorld(t *testing.T) mxsim.Listening {
	t.Helper()
	w := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(w.Close)
	for i, domain := range []string{"example.com", "example.org", "example.net"} {
		mailboxes := map[string]mxsim.Mailbox{}
		for _, local := range []string{"someone", "bob", "eve", "anna", "you"} {
			mailboxes[local] = mxsim.Active
		}
		w.Add(&mxsim.Site{
			Domains: []string{domain}, Mailboxes: mailboxes,
			Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10, Addrs: []netip.Addr{host(10 + i)}}},
		})
	}
	listening, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return listening
}

// office is where an administrator works: a machine with a gate.
type office struct {
	t    *testing.T
	dir  string // stands for /
	here *strings.Replacer
	gate *gate
	sh   *shell
}

const officeToken = "0f1e2d3c4b5a69788796a5b4c3d2e1f00123456789abcdef"

func newOffice(t *testing.T, world mxsim.Listening) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	for _, dir := range []string{
		"etc/rcptgate", "etc/postfix", "etc/postfix-out", "etc/bash_completion.d", "usr/local/share/zsh/site-functions", "bin",
		"var/lib/rcptgate", "home/.config/fish/completions",
	} {
		if err := os.MkdirAll(filepath.Join(o.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	smtp, web, policyd := freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1))
	_, sink := newSink(t)
	o.gate = newGate(t, smtp, fmt.Sprintf(`
[proxy]
listen = [%q]
hostname = "gate.example.com"
[relay]
upstreams = [%q]
%s
[verify.cache]
path = "%s/var/lib/rcptgate/verdicts.db"
[policy]
state_directory = "%[4]s/var/lib/rcptgate"
[policy.journal]
path = "%[4]s/var/lib/rcptgate/journal.jsonl"
[policyd]
listen = [%[5]q]
[http]
listen = %[6]q
tokens_file = "%[4]s/etc/rcptgate/tokens"
`, smtp, sink, verifyConfig(world), o.dir, policyd, web))
	o.furnish()
	o.start()
	ref := o.refuse(policyd)
	o.here = strings.NewReplacer(
		"/etc/rcptgate", o.dir+"/etc/rcptgate", "/var/lib/rcptgate", o.dir+"/var/lib/rcptgate",
		"/etc/postfix-out", o.dir+"/etc/postfix-out",
		"/etc/bash_completion.d", o.dir+"/etc/bash_completion.d", "/usr/local/share", o.dir+"/usr/local/share",
		"127.0.0.1:8025", web, "KX2M7QRT", ref)
	o.sh = newShell(t, filepath.Join(o.dir, "home"), "HOME="+filepath.Join(o.dir, "home"),
		"PATH="+filepath.Join(o.dir, "bin")+":"+os.Getenv("PATH"), "MAIL_CONFIG="+filepath.Join(o.dir, "etc/postfix"),
		"API=http://"+web, "TOKEN="+officeToken)
	return o
}

// furnish puts the files there that the commands of the pages read, and the program.
func (o *office) furnish() {
	bin, err := binary()
	if err != nil {
		o.t.Fatal(err)
	}
	const main = "compatibility_level = 3.6\nmydestination = example.test, localhost\n" +
		"queue_directory = /var/spool/postfix\n"
	for name, content := range map[string]string{
		"etc/rcptgate/tokens":       "admin read,write,verify,admin " + officeToken + "\n",
		"etc/postfix/main.cf":       main,
		"etc/postfix/master.cf":     "",
		"etc/postfix-out/main.cf":   main,
		"etc/postfix-out/master.cf": "",
		"home/customers.csv":        "name,email\nBob,bob@example.org\nNobody,nobody@example.org\n",
		"home/export.csv":           "E-Mail;Name\nsomeone@example.net;Someone\n",
		"home/dump.tsv":             "1\tEve\teve@example.org\n",
		"home/addresses.txt":        "someone@example.com\nbob@example.net\n",
		"home/replies.jsonl":        `{"id": 1, "code": 550, "text": "5.1.1 User unknown", "stage": "rcpt"}` + "\n",
		"home/bounces.csv":          "email,reason\ndead@example.net,hard_bounce\n",
		"home/complaints.csv":       "bob@example.org\n",
		"home/list.csv":             "eve@example.org\n",
		"home/cases.toml": "[[cases]]\nname = \"unknown\"\nsender = \"news@example.com\"\n" +
			"recipient = \"nobody@example.net\"\nverdict = \"undeliverable\"\nreason = \"mailbox_unknown\"\n" +
			"[cases.expect]\naction = \"reject\"\n",
		// Commands without a configuration would ask the real Internet.
		"bin/rcptgate": `#!/bin/bash
case "$1" in
verify | check | explain)
  case " $* " in
  *" --config "* | *" -c "* | *" --help "*) ;;
  *) command=$1; shift; set -- "$command" --config "$HOME/rcptgate.toml" "$@" ;;
  esac ;;
esac
exec ` + bin + ` "$@"
`,
	} {
		mode := os.FileMode(0o600)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o700
		}
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), mode); err != nil {
			o.t.Fatal(err)
		}
	}
	for _, link := range []string{"etc/rcptgate/config.toml", "home/rcptgate.toml"} {
		if err := os.Symlink(o.gate.config(), filepath.Join(o.dir, link)); err != nil {
			o.t.Fatal(err)
		}
	}
}

// refuse has the gate refuse a recipient at each of its doors, and returns the reference of the
// first. At the second one the client has the login news.
func (o *office) refuse(policyd string) string {
	client, err := entry{address: o.gate.addr}.dial(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	defer client.close()
	here := testClient{client, o.t}
	here.wantSent("MAIL FROM:<news@example.com>", []string{"RCPT TO:<bob@example.org>"}, message("first", "hello\r\n"))
	here.want(250, "MAIL FROM:<news@example.com>")
	said := here.want(550, "RCPT TO:<dead@example.net>").text
	ref := regexp.MustCompile(`\(ref (\w+)\)`).FindStringSubmatch(said)
	if ref == nil {
		o.t.Fatalf("no reference in %q", said)
	}
	conn, err := net.Dial("tcp", policyd)
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		o.t.Fatal(err)
	}
	fmt.Fprint(conn, "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=127.0.0.1\n"+
		"client_name=localhost\nhelo_name=client.example.net\nsender=news@example.com\nrecipient=dead@example.net\n"+
		"instance=1\nsasl_username=news\n\n")
	answer := make([]byte, 1000)
	if n, err := conn.Read(answer); err != nil || !strings.Contains(string(answer[:n]), "action=550") {
		o.t.Fatalf("the policy service says %q, %v", answer[:n], err)
	}
	return ref[1]
}

// follow runs one block.
func (o *office) follow(b block) {
	o.t.Helper()
	stopped := b.note == "with the gate stopped"
	if stopped {
		o.gate.end(15)
	}
	output, failed := o.sh.run(o.here.Replace(b.text))
	if b.note == "exits with 1" {
		if len(failed) != 1 || !strings.HasPrefix(failed[0], "exit 1: ") {
			o.t.Errorf("%s: failed: %q, want exit code 1\n%s\n%s", b, failed, b.text, output)
		}
	} else if len(failed) > 0 {
		o.t.Errorf("%s failed: %q\n%s\n%s", b, failed, b.text, output)
	}
	if stopped {
		o.start()
	}
}

// start starts the gate, and waits until commands can reach it too.
func (o *office) start() {
	o.t.Helper()
	o.gate.start()
	control := &gate{addr: "unix:" + filepath.Join(o.dir, "var/lib/rcptgate/control.sock")}
	until(o.t, "the control socket", control.listens)
}
