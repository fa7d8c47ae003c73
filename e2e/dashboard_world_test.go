package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	writeToken = "w-0123456789abcdef0123456789abcdef"
	readToken  = "r-0123456789abcdef0123456789abcdef"
	everybody  = 200 // mailboxes of each domain
	// Somebody else's words, of which a page must not make anything but text.
	hostileWords = `<script>document.title='taken'</script><img src=x onerror=document.title='taken'>`
	hostileLocal = `"<img src=x onerror=document.title='taken'>"`
)

// dashboardWorld is a gate with a dashboard, between clients and a relay, in an Internet of its own.
type dashboardWorld struct {
	t      *testing.T
	smtp   string
	origin string // of the dashboard
	gate   *gate

	chromium context.Context // the process, as chromedp has it
}

// newDashboardWorld starts it; hosts have the addresses from host(first) on.
func newDashboardWorld(t *testing.T, first int) *dashboardWorld {
	t.Helper()
	internet := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(internet.Close)
	boxes := map[string]mxsim.Mailbox{
		"anna": mxsim.Active, "bela": mxsim.Active, "clara": mxsim.Active, "emil": mxsim.Active,
		"full": mxsim.Full, "left": mxsim.Disabled,
	}
	for n := range everybody {
		boxes[fmt.Sprintf("user%d", n)] = mxsim.Active
	}
	for i, site := range []struct {
		domain, host string
		wording      *mxsim.Wording
		behaviours   []mxsim.Behaviour
	}{
		{"example.com", "mx.example.com", mxsim.Postfix(), nil},
		{"google.test", "gmail-smtp-in.l.google.com", mxsim.Gmail(), nil},
		{"microsoft.test", "microsoft-test.mail.protection.outlook.com", mxsim.Microsoft365(), nil},
		{"more.test", "mx.more.test", nil, nil},
		{"second.test", "mx.second.test", mxsim.EximEnhanced(), nil},
		{"all.test", "mx.all.test", nil, []mxsim.Behaviour{mxsim.CatchAll()}},
		{"blocked.test", "mx.blocked.test", nil, []mxsim.Behaviour{
			mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 Service unavailable; client host blocked using bl.example.net"),
		}},
		{"hostile.test", "mx.hostile.test", nil, []mxsim.Behaviour{
			mxsim.Refuse(mxsim.Rcpt, "550 5.1.1 "+hostileWords+" no such user"),
		}},
	} {
		s := &mxsim.Site{
			Domains: []string{site.domain}, Mailboxes: boxes, Wording: site.wording,
			Behaviours: site.behaviours, Hosts: []*mxsim.Host{{Name: site.host, Pref: 10}},
		}
		s.Hosts[0].Addrs = append(s.Hosts[0].Addrs, host(first+i))
		internet.Add(s)
	}
	at, err := internet.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, relay := newSink(t)
	w := &dashboardWorld{t: t, smtp: freePort(t, host(1)), chromium: newChromium(t)}
	web := freePort(t, host(1))
	w.origin = "http://" + web
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	text := "desk read,write " + writeToken + "\nscreen read " + readToken + "\n"
	if err := os.WriteFile(tokens, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.gate = newGate(t, w.smtp, fmt.Sprintf(`[proxy]
listen = [%q]
hostname = "gate.example.com"
[relay]
upstreams = [%q]
[http]
listen = %q
tokens_file = %q
[policy]
state_directory = %q
[policy.hygiene]
mode = "enforce"
minimum = 20
distinct = 20
[policy.journal]
redact = "off"
`, w.smtp, relay, web, tokens, filepath.Join(dir, "state"))+verifyConfig(at))
	w.gate.start()
	return w
}

// send sends one message, and returns what the client was told about each recipient.
func (w *dashboardWorld) send(from string, rcpts ...string) map[string]reply {
	w.t.Helper()
	c, err := entry{address: w.smtp}.dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.close()
	client := testClient{c, w.t}
	client.want(250, "MAIL FROM:<%s>", from)
	told := map[string]reply{}
	taken := 0
	for _, rcpt := range rcpts {
		r, err := client.cmd("RCPT TO:<%s>", rcpt)
		if err != nil {
			w.t.Fatal(err)
		}
		if told[rcpt] = r; r.code == 250 {
			taken++
		}
	}
	if taken > 0 {
		client.want(354, "DATA")
		client.want(250, "Subject: hello\r\nFrom: <%s>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nworld\r\n.", from)
	}
	client.want(221, "QUIT")
	return told
}

// traffic is mail of several senders to all kinds of recipients. One sender has a bad list.
func (w *dashboardWorld) traffic() {
	w.t.Helper()
	for n := range 5 {
		rcpts := []string{"emil@example.com"}
		// No provider is asked for so many that do not exist that it is left alone.
		for _, domain := range []string{"example.com", "google.test", "microsoft.test", "more.test", "second.test"} {
			rcpts = append(rcpts, fmt.Sprintf("bought%d@%s", n, domain))
		}
		w.send("offers@list.example.net", rcpts...)
	}
	w.send("news@shop.example.org", "anna@example.com", "bela@google.test", "clra@google.test",
		"clara@microsoft.test", "anna@example.com")
	w.send("boss@example.org", "bela@example.com", "typo.bela@example.com", "left@example.com",
		"full@example.com", "anybody@all.test", "nobody@no-such-domain.test", "anna@blocked.test")
}

// ask sends a request to the API, and decodes the answer of success.
func (w *dashboardWorld) ask(method, path, body string, into any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.origin+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+writeToken)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %s %s", method, path, answer.Status, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		w.t.Fatalf("%s: %v", data, err)
	}
}

// minutes sends mail until so many minutes are over in the gate's history, more of it in some than in
// others.
func (w *dashboardWorld) minutes(most int) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var history struct{ Points []struct{} }
	for n := 0; len(history.Points) <= most; n++ {
		for k := range 1 + n/13%4 {
			var rcpts []string
			for i, domain := range []string{"example.com", "google.test", "microsoft.test", "all.test"} {
				rcpts = append(rcpts, fmt.Sprintf("user%d@%s", (7*n+11*k+i)%everybody, domain))
			}
			if n%4 == 0 && k == 0 {
				rcpts = append(rcpts, fmt.Sprintf("usr%d@google.test", n), fmt.Sprintf("who%d@blocked.test", n))
			}
			w.send(fmt.Sprintf("desk@office%d.example.org", n%5), rcpts...)
		}
		select {
		case <-tick.C:
		case <-w.t.Context().Done():
			w.t.Fatal("no time is left")
		}
		w.ask("GET", "/v1/history", "", &history)
	}
}

// why is what the command says of a decision.
func (g *gate) why(ref string) (string, error) {
	bin, err := binary()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(bin, "why", "--config", g.config(), ref).Output()
	return string(out), err
}
