package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rcptgate/rcptgate/internal/web"
)

// apiGate is a gate in a simulated world, with an API for a token of every scope.
type apiGate struct {
	*served

	smtp, http, token string
}

const apiToken = "t-0123456789abcdef0123456789abcdef"

func startAPIGate(t *testing.T, more string) *apiGate {
	t.Helper()
	_, upstream := testRelay(t)
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte("tester read,write,verify,admin "+apiToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &apiGate{token: apiToken}
	g.served = startServe(t, worldConfig("127.0.0.1:0", upstream, testWorld(t))+`[policy]
state_directory = "`+dir+`/state"
[verify.cache]
path = "`+dir+`/verdicts.db"
[http]
listen = "127.0.0.1:0"
tokens_file = "`+tokens+`"
`+more)
	g.smtp, g.http = g.listening("smtp"), g.listening("http")
	g.logged("ready")
	return g
}

// send sends a request and reads the answer.
func (g *apiGate) send(method, path, body string) (status int, data []byte) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.http+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if data, err = io.ReadAll(answer.Body); err != nil {
		g.t.Fatal(err)
	}
	return answer.StatusCode, data
}

// ask sends a request and decodes the answer.
func (g *apiGate) ask(method, path, body string, status int, into any) {
	g.t.Helper()
	got, data := g.send(method, path, body)
	if got != status {
		g.t.Fatalf("%s %s: %d %s", method, path, got, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		g.t.Fatalf("%s: %v", data, err)
	}
}

// stopped ends the gate as SIGTERM does.
func (g *apiGate) stopped() {
	g.t.Helper()
	g.signals <- syscall.SIGTERM
	if err := g.end(); err != nil {
		g.t.Errorf("serve: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestAPILooks: what the API shows of a gate that has taken mail.
func TestAPILooks(t *testing.T) {
	g := startAPIGate(t, "")
	d := openDialogue(t, "tcp", g.smtp)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
	d.say("RCPT TO:<x@blocked.example.com>", "250")

	var s web.StatusAnswer
	g.ask("GET", "/v1/status", "", http.StatusOK, &s)
	if s.Connections != 1 || len(s.Relay) != 1 || s.Relay[0].State != "up" || s.Files.Open < 5 ||
		s.Files.Limit < uint64(s.Files.Open) {
		t.Errorf("%+v", s)
	}
	var h web.HistoryAnswer
	g.ask("POST", "/v1/history", `{"points": 2}`, http.StatusOK, &h)
	var sum web.HistoryPoint // the minute may have ended between
	for _, p := range h.Points {
		sum.Accepted, sum.Rejected = sum.Accepted+p.Accepted, sum.Rejected+p.Rejected
		sum.Probes, sum.Blocked = sum.Probes+p.Probes, sum.Blocked+p.Blocked
	}
	if sum.Accepted != 2 || sum.Rejected != 1 || sum.Probes < 3 || sum.Blocked != 1 {
		t.Errorf("%+v", h)
	}
	var p web.Providers
	g.ask("GET", "/v1/providers", "", http.StatusOK, &p)
	if first := p.Providers[0]; first.Name != "postfix" || first.Probes != 2 || first.Deliverable != 1 ||
		first.Undeliverable != 1 || first.State != web.ProviderOK {
		t.Errorf("%+v", first)
	}
	if other := p.Providers[1]; other.Name != "other" || other.State != web.ProviderPaused ||
		other.PausedUntil.IsZero() || other.Why == "" || other.Hint == "" || other.Connections < 1 ||
		!strings.HasPrefix(other.Limit, "each site: ") || len(p.Providers) < 30 {
		t.Errorf("%+v", other)
	}
	var c web.Configuration
	g.ask("GET", "/v1/config", "", http.StatusOK, &c)
	if c.File != g.path || !strings.Contains(c.TOML, "[policy]\nmode = \"enforce\"  # default\n") ||
		!slices.Contains(c.Changed, "http.tokens_file") || slices.Contains(c.Changed, "policy.mode") {
		t.Errorf("%+v", c)
	}
	d.say("QUIT", "221")
	g.stopped()
}

// command runs a command on the gate's configuration.
func (g *apiGate) command(args string, code int, out, errs string) {
	g.t.Helper()
	(&desk{t: g.t, config: g.path}).steps([]step{{args, code, out, errs}})
}

// TestCacheOverSocket: the commands of the cache reach the gate while it runs, and its file when it
// does not.
func TestCacheOverSocket(t *testing.T) {
	g := startAPIGate(t, "")
	d := openDialogue(t, "tcp", g.smtp)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
	d.say("QUIT", "221")
	g.command("cache lookup nobody@example.com", 0, `^nobody@example.com\n  verdict +undeliverable: .*`+
		`learnt .* in the memory\n.*reply +mx.example.com: 550 5.1.1 .*^example.com\n`+
		`  provider +postfix\n  mail server +0 mx.example.com\n.*accepts all +0 %`, ``)
	g.command("cache lookup Example.NET", 0, `^example.net\n.*behaviour +nothing is remembered`, ``)
	g.command("cache lookup a~b", 2, ``, `neither an address nor a domain`)
	g.command("cache stats", 0, `^memory +\d+ deliverable, 1 undeliverable, .*^hits +1 in memory, 0 in the file$.*`+
		`^misses +2$.*^path .*verdicts.db$`, ``)
	g.command("cache forget nobody@example.com stranger@example.com", 0,
		`^nobody@example.com: forgotten\nstranger@example.com: was not known\n$`, ``)
	g.command("cache lookup nobody@example.com", 0, `verdict +nothing is remembered`, ``)
	g.command("cache export", 1, ``, `another process uses the file.*stop the gate first`)

	var found web.LookedUp
	g.ask("POST", "/v1/cache/lookup", `{"address": "Anna@example.com"}`, http.StatusOK, &found)
	if found.Mailbox != nil {
		t.Errorf("another spelling is known: %+v", found.Mailbox)
	}
	g.ask("POST", "/v1/cache/lookup", `{"address": "anna@example.com"}`, http.StatusOK, &found)
	if m := found.Mailbox; m == nil || m.Verdict != "deliverable" || m.Tier != "memory" || !m.Expires.After(m.Refresh) {
		t.Errorf("%+v", found.Mailbox)
	}
	g.stopped()

	g.command("cache lookup anna@example.com", 0, `verdict +deliverable: .*learnt .* in the file\n.*`+
		`^example.com\n  in the file +1 verdict\n  accepts all `, ``)
	g.command("cache forget anna@example.com", 0, `^anna@example.com: forgotten\n$`, ``)
	g.command("cache lookup anna@example.com", 0, `verdict +nothing is remembered`, ``)
	g.command("cache stats", 0, `^verdicts +0 that hold$`, ``)
}
