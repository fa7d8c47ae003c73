package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestReadme is a person who has never seen rcptgate and follows README's ten minutes, word for
// word: with a real Postfix, and a simulated Internet where example.net has a null MX, as it really
// has, and example.org a mail server. Only paths, ports and the group are others, for this machine
// has its own; and where the page calls systemctl, the test starts the gate.
func TestReadme(t *testing.T) {
	needPostfix(t)
	needPrograms(t, "curl", "openssl")
	if os.Getuid() != 0 {
		t.Skip("postconf changes the files of root: run it as root")
	}
	r := newReader(t)
	for _, b := range r.blocks {
		switch {
		case b.lang == "toml":
			r.writeConfig(b)
		case b.lang == "":
			r.compare(b)
		case strings.Contains(b.text, "systemctl restart"):
			r.gate.start()
		case strings.Contains(b.text, "journalctl"):
			// standard error of the gate, which systemd writes into its journal
			r.gate.awaitLog(1, r.refs[0], "action=reject")
		case b.notRun() != "":
			t.Logf("%s: %s", b, b.notRun())
		default:
			r.follow(b)
		}
	}
	r.checkEnd()
}

// reader is that person.
type reader struct {
	t       *testing.T
	blocks  []block
	sh      *shell
	dir     string            // stands for /
	here    *strings.Replacer // what is another on this machine
	front   string            // port 25
	http    string
	gate    *gate
	postfix *postfix
	sink    *mxsim.Relay
	world   mxsim.Listening

	refused []string // the replies
	refs    []string // in them
	took    string   // after the gate was taken out
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), front: freePort(t, host(1)), http: freePort(t, host(1))}
	for _, b := range readPage(t, "README.md").blocks {
		if strings.Contains(b.text, "apt-get install") {
			r.blocks = []block{} // here the ten minutes begin
		} else if r.blocks != nil {
			r.blocks = append(r.blocks, b)
		}
	}
	end := slices.IndexFunc(r.blocks, func(b block) bool { return strings.Contains(b.text, "[[policy.rules]]") })
	if end < 10 {
		t.Fatalf("README.md has %d blocks from the installation to the rules", end)
	}
	r.blocks = r.blocks[:end]
	for _, dir := range []string{"etc/rcptgate", "var/lib/rcptgate", "home"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var sinkAddr string
	r.world = newReadersWorld(t)
	r.sink, sinkAddr = newSink(t)
	gate, relay := freePort(t, host(1)), freePort(t, host(1))
	r.here = strings.NewReplacer(
		"smtp://127.0.0.1:25", "smtp://"+r.front, "smtp/inet", r.front+"/inet", `"smtp inet`, `"`+r.front+` inet`,
		"127.0.0.1:10025", gate, "127.0.0.1:10026", relay, "127.0.0.1:8025", r.http,
		"/etc/rcptgate", r.dir+"/etc/rcptgate", "/var/lib/rcptgate", r.dir+"/var/lib/rcptgate",
		"-g _rcptgate", fmt.Sprint("-g ", os.Getgid()))
	// Postfix as its package has set it up.
	r.postfix = newPostfix(t, r.front+" inet n - y - - smtpd\n", sinkAddr)
	r.postfix.start()
	r.gate = newGate(t, gate, "")
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r.sh = newShell(t, filepath.Join(r.dir, "home"),
		"PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"), "MAIL_CONFIG="+r.postfix.dir+"/etc")
	return r
}

// newReadersWorld has a domain that takes no mail, and one with a mail server.
func newReadersWorld(t *testing.T) mxsim.Listening {
	t.Helper()
	w := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(w.Close)
	w.Add(&mxsim.Site{Domains: []string{"example.net"}, DNS: mxsim.DNSConfig{NullMX: true}})
	w.Add(&mxsim.Site{
		Domains:   []string{"example.org"},
		Hosts:     []*mxsim.Host{{Name: "mx.example.org", Pref: 10, Addrs: []netip.Addr{host(10)}}},
		Mailboxes: map[string]mxsim.Mailbox{"you": mxsim.Active},
	})
	listening, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return listening
}

// writeConfig writes the configuration that the page shows, with the way into the simulated
// Internet.
func (r *reader) writeConfig(b block) {
	text := r.here.Replace(b.text)
	into := fmt.Sprintf("[verify]\nprobe_port = %d\nallow_networks = [\"127.0.0.0/8\"]\ndns.servers = [%q]\n",
		r.world.Port, r.world.DNS)
	if strings.Count(text, "[verify]\n") != 1 {
		r.t.Fatalf("%s has no [verify]", b)
	}
	text = strings.Replace(text, "[verify]\n", into, 1)
	file := filepath.Join(r.dir, "etc/rcptgate/config.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.gate.configure(text)
}

// follow runs a block and looks at what the person sees.
func (r *reader) follow(b block) {
	text := r.here.Replace(b.text)
	if len(r.refs) > 0 {
		text = strings.ReplaceAll(text, "KX2M7QRT", r.refs[0])
	}
	output := r.sh.must(text)
	want := ""
	switch {
	case strings.Contains(b.text, "--mail-rcpt bob@"), strings.Contains(b.text, "--mail-rcpt nobody-4711@"):
		r.refused = append(r.refused, strings.TrimSpace(output))
		ref := regexp.MustCompile(`\(ref (\w+)\)`).FindStringSubmatch(output)
		if ref == nil {
			r.t.Fatalf("%s: nobody was refused: %q", b, output)
		}
		r.refs = append(r.refs, ref[1])
		return
	case strings.Contains(b.text, "check-config"):
		want = "config.toml: ok"
	case strings.Contains(b.text, "/readyz"):
		want = "ready"
	case strings.Contains(b.text, "postfix reload"):
		until(r.t, "Postfix to listen again", (&gate{addr: r.front}).listens)
		if strings.Contains(b.text, "postconf -PX") {
			r.checkWithout()
		} else if strings.Contains(b.text, "smtpd_proxy_timeout=") {
			r.checkMaster()
		}
	case strings.Contains(b.text, "rcptgate why"):
		want = "(ref " + r.refs[0] + ")"
	case strings.Contains(b.text, "/metrics"):
		for _, want := range []string{
			`rcptgate_decisions_total{action="reject",rule="`, `"ref":"` + r.refs[0] + `"`, "b…@example.net",
			"550 5.1.1",
		} {
			if !strings.Contains(output, want) {
				r.t.Errorf("%s: no %q in\n%s", b, want, output)
			}
		}
		r.checkDashboard()
	case strings.Contains(b.text, "rcptgate report"):
		want = "1 decisions" // the one that was let through, and nothing that would not be
	}
	if !strings.Contains(output, want) {
		r.t.Errorf("%s: no %q in\n%s", b, want, output)
	}
}

// compare holds a reply that the page shows to the one that came.
func (r *reader) compare(b block) {
	if len(r.refused) == 0 {
		r.t.Fatalf("%s shows a reply, but there was none yet", b)
	}
	masked := func(reply string) string {
		return regexp.MustCompile(`\(ref \w+\)`).ReplaceAllString(strings.TrimSpace(reply), "(ref)")
	}
	last := r.refused[len(r.refused)-1]
	if masked(last) != masked(b.text) {
		r.t.Errorf("%s shows %q, but the reply was %q", b, b.text, last)
	}
}

// checkMaster holds the lines of master.cf that the page makes to those that docs/postfix.md explains.
func (r *reader) checkMaster() {
	options := func(text string) map[string]bool {
		set := map[string]bool{}
		for _, match := range regexp.MustCompile(`-o ([^\s=]+)=(\S*)`).FindAllStringSubmatch(text, -1) {
			set[match[1]+"="+match[2]] = true
		}
		return set
	}
	want := options(r.here.Replace(fragment(r.t, "filter/master.cf")))
	got := options(r.sh.must("postconf -M " + r.front + "/inet " + r.here.Replace("127.0.0.1:10026/inet")))
	if !maps.Equal(got, want) {
		r.t.Errorf("master.cf has the options %v\ndocs/postfix.md has %v", got, want)
	}
}

// checkDashboard asks as the page of the dashboard does: with the token, over HTTP.
func (r *reader) checkDashboard() {
	token := strings.TrimSpace(r.sh.must("echo $TOKEN"))
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.http+"/v1/decisions/search",
		strings.NewReader(`{"refused": true}`))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !json.Valid(body) {
		r.t.Fatalf("the search is answered %s, %v\n%s", answer.Status, err, body)
	}
	for _, ref := range r.refs {
		if !strings.Contains(string(body), `"`+ref+`"`) {
			r.t.Errorf("the dashboard does not find %s:\n%s", ref, body)
		}
	}
}

// checkWithout: with the gate taken out of the way, Postfix takes what the gate would refuse.
func (r *reader) checkWithout() {
	r.took = r.sh.must(`curl -sv smtp://` + r.front +
		` --mail-from "$FROM" --mail-rcpt bob@example.net -T mail.txt 2>&1 | grep '^< 250 2.0.0'`)
}

// checkEnd: all steps of the page were taken.
func (r *reader) checkEnd() {
	until(r.t, "the mail to you@example.org at the sink", func() bool {
		for _, m := range r.sink.Messages() {
			if slices.Equal(m.Rcpts, []string{"you@example.org"}) {
				return true
			}
		}
		return false
	})
	if len(r.refs) != 2 {
		r.t.Errorf("%d recipients were refused, want 2: %q", len(r.refs), r.refused)
	}
	if r.took == "" {
		r.t.Error("the page does not tell how to take the gate out")
	}
}
