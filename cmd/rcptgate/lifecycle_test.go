package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// get is one request to the HTTP listener.
func (s *served) get(address, path string) (status int, body string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// want looks for lines in the answer to a request.
func (s *served) want(address, path string, status int, lines ...string) {
	s.t.Helper()
	got, body := s.get(address, path)
	if got != status {
		s.t.Errorf("%s: status %d, want %d:\n%s", path, got, status, body)
	}
	for _, line := range lines {
		if !strings.Contains("\n"+body, "\n"+line) {
			s.t.Errorf("%s does not say %q:\n%s", path, line, body)
		}
	}
}

// send is a message to one recipient, of whom the gate or the relay says what is wanted.
func (d *dialogue) send(rcpt string) {
	d.t.Helper()
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<"+rcpt+">", "250")
	d.say("DATA", "354")
	d.say("Subject: hello\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
}

// stop ends serve in peace.
func (s *served) stop() {
	s.t.Helper()
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		s.t.Errorf("serve: %v", err)
	}
}

// TestReload changes everything that a reload changes: the relay, the listeners, the rules. An open
// transaction ends as it began, and what is known of mailboxes stays known.
func TestReload(t *testing.T) {
	before, upstream := testRelay(t)
	after, upstreamAfter := testRelay(t)
	world, at, err := newTestWorld(t)
	t.Cleanup(world.Close)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "gate")
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, at))
	address := s.listening("tcp")
	s.logged("ready")

	open := openDialogue(t, "tcp", address)
	open.say("EHLO client.example.org", "250")
	open.say("MAIL FROM:<news@example.org>", "250")
	open.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
	open.say("RCPT TO:<anna@example.com>", "250")
	asked := world.Host("mx.example.com").Record().Count(mxsim.Rcpt)

	config := strings.Replace(worldConfig("unix:"+socket, upstreamAfter, at), "[verify]",
		"[[policy.rules]]\nname = \"closed\"\nwhen = 'recipient.local == \"closed\"'\naction = \"reject\"\n[verify]", 1)
	s.write(config)
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	if got := s.listening("unix"); got != socket {
		t.Errorf("the new listener is at %s", got)
	}

	// The listener at TCP is gone, its connection is not.
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		_ = conn.Close()
		t.Error("the listener that was taken out still answers")
	}
	open.say("DATA", "354")
	open.say("Subject: old\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
	open.send("anna@example.com") // the next transaction has the new relay
	open.say("MAIL FROM:<news@example.org>", "250")
	open.say("RCPT TO:<closed@internal.example.net>", "550")
	open.say("QUIT", "221")

	d := openDialogue(t, "unix", socket)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
	d.say("QUIT", "221")
	if n := world.Host("mx.example.com").Record().Count(mxsim.Rcpt); n != asked {
		t.Errorf("the mail server was asked %d times, %d of them after the reload", n, n-asked)
	}
	if old, now := len(before.Messages()), len(after.Messages()); old != 1 || now != 1 {
		t.Errorf("%d messages at the old relay, %d at the new one", old, now)
	}
	s.stop()
}

// TestReloadRefused: a configuration with faults changes nothing, and everybody is told.
func TestReloadRefused(t *testing.T) {
	relay, upstream := testRelay(t)
	at := testWorld(t)
	good := worldConfig("127.0.0.1:0", upstream, at) + "[http]\nlisten = \"127.0.0.1:0\"\n"
	s := startServe(t, good)
	address, web := s.listening("smtp"), s.listening("http")
	s.logged("ready")
	s.want(web, "/healthz", 200, "ok")
	s.want(web, "/readyz", 200, "ready", "ok        configuration: in use since ")
	s.want(web, "/metrics", 200, "rcptgate_config_last_reload_successful 1",
		`rcptgate_config_reloads_total{result="refused"} 0`)

	s.write(strings.Replace(good, "hostname", "hostnam", 1) + "[policy]\nmode = \"off\"\n")
	s.signals <- syscall.SIGHUP
	first := s.logged("configuration not taken over")
	second := s.logged("configuration not taken over")
	if fault, _ := first["fault"].(string); !strings.Contains(fault, `gate.toml:3:1: proxy.hostnam: unknown key; did you mean "hostname"?`) {
		t.Errorf("first fault: %v", first)
	}
	if fault, _ := second["fault"].(string); !strings.Contains(fault, "policy.mode") {
		t.Errorf("second fault: %v", second)
	}
	s.want(web, "/readyz", 200, "ready, degraded", "degraded  configuration: that of ")
	s.want(web, "/metrics", 200, "rcptgate_config_last_reload_successful 0", "rcptgate_ready 1",
		`rcptgate_config_reloads_total{result="refused"} 1`)
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.send("anna@example.com")

	// A fault that only shows when it is tried: the port is taken.
	s.write(strings.Replace(good, `listen = ["127.0.0.1:0"]`, `listen = ["127.0.0.1:0", "`+address+`"]`, 1))
	s.signals <- syscall.SIGHUP
	busy := s.logged("configuration not taken over")
	if fault, _ := busy["fault"].(string); !strings.Contains(fault, "address already in use; another process has the port") {
		t.Errorf("fault: %v", busy)
	}
	d.send("anna@example.com")

	s.write(good)
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	s.want(web, "/readyz", 200, "ready\n")
	s.want(web, "/metrics", 200, "rcptgate_config_last_reload_successful 1",
		`rcptgate_config_reloads_total{result="refused"} 2`, `rcptgate_config_reloads_total{result="taken"} 1`,
		`rcptgate_messages_total{outcome="passed"} 2`, `rcptgate_recipients_total{by="relay",code="2xx"} 2`)
	d.say("QUIT", "221")
	if n := len(relay.Messages()); n != 2 {
		t.Errorf("%d messages at the relay", n)
	}
	s.stop()
}

// TestStopWithHangingProbe: only mail may make a stop fail, not a mail server that hangs.
func TestStopWithHangingProbe(t *testing.T) {
	world, at, err := newTestWorld(t)
	t.Cleanup(world.Close)
	if err != nil {
		t.Fatal(err)
	}
	_, upstream := testRelay(t)
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, at))
	d := openDialogue(t, "tcp", s.listening("tcp"))
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@silent.example.com>", "250") // unknown passes
	s.signals <- syscall.SIGTERM
	s.logged("stopping")
	d.say("DATA", "354")
	d.say("Subject: hello\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
	if err := s.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
	s.logged("stopped")
}

// TestDrainIsNotReady: while the open transactions end, /readyz says so.
func TestDrainIsNotReady(t *testing.T) {
	relay, upstream := testRelay(t)
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, testWorld(t))+"[http]\nlisten = \"127.0.0.1:0\"\n")
	address, web := s.listening("smtp"), s.listening("http")
	s.logged("ready")
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("DATA", "354")
	s.signals <- syscall.SIGTERM
	s.logged("stopping")
	s.signals <- syscall.SIGHUP // not a second order to stop
	s.logged("stopping; the configuration is not read again")
	s.want(web, "/healthz", 200, "ok")
	s.want(web, "/readyz", 503, "not ready", "failed    service: stopping; open connections: 1")
	s.want(web, "/metrics", 200, "rcptgate_ready 0", "rcptgate_open_connections 1")
	d.say("Subject: hello\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
	if err := s.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if n := len(relay.Messages()); n != 1 {
		t.Errorf("%d messages at the relay", n)
	}
}

// TestReloadCertificate: STARTTLS and the TLS listener have the new certificate after a reload, and
// a reload with a bad one is refused, as is one without any that has another fault.
func TestReloadCertificate(t *testing.T) {
	_, upstream := testRelay(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	fresh := func(name string) {
		p := newPair(t, name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		write(t, cert, p.cert)
		write(t, key, p.key)
	}
	fresh("first.example.net")
	config := strings.Replace(worldConfig("127.0.0.1:0", upstream, testWorld(t)), "[relay]",
		"tls_listen = [\"127.0.0.1:0\"]\ntls_cert_file = \""+cert+"\"\ntls_key_file = \""+key+"\"\n[relay]", 1)
	s := startServe(t, config)
	plain, implicit := s.listening("smtp"), s.listening("smtps")
	s.logged("ready")
	seen := func() (names []string) {
		client := &tls.Config{InsecureSkipVerify: true} // the test looks at it itself
		conn, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", implicit)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		d := openDialogue(t, "tcp", plain)
		d.say("EHLO client.example.org", "250")
		d.say("STARTTLS", "220")
		upgraded := tls.Client(d.conn, client)
		if err := upgraded.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*tls.Conn{conn.(*tls.Conn), upgraded} { //nolint:forcetypeassert // the dialler's
			names = append(names, c.ConnectionState().PeerCertificates[0].Subject.CommonName)
		}
		return names
	}
	want := func(name string) {
		t.Helper()
		for _, got := range seen() {
			if got != name {
				t.Errorf("got the certificate of %s, want that of %s", got, name)
			}
		}
	}
	want("first.example.net")
	fresh("second.example.net")
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	want("second.example.net")
	tokens := filepath.Join(dir, "tokens")
	write(t, tokens, []byte("dashboard read short\n"))
	s.write(worldConfig("127.0.0.1:0", upstream, testWorld(t)) + fmt.Sprintf("[http]\ntokens_file = %q\n", tokens))
	s.signals <- syscall.SIGHUP
	s.logged("configuration not taken over")
	want("second.example.net")
	s.write(config)
	write(t, key, []byte("garbage"))
	s.signals <- syscall.SIGHUP
	refused := s.logged("configuration not taken over")
	if fault, _ := refused["fault"].(string); !strings.Contains(fault, "proxy.tls_cert_file: "+cert) {
		t.Errorf("fault: %v", refused)
	}
	want("second.example.net")
	s.stop()
}

// TestReloadLevels: the levels of the log change while it is in use.
func TestReloadLevels(t *testing.T) {
	_, upstream := testRelay(t)
	config := worldConfig("127.0.0.1:0", upstream, testWorld(t))
	s := startServe(t, config)
	address := s.listening("tcp")
	s.logged("ready")
	session := func() {
		d := openDialogue(t, "tcp", address)
		d.say("EHLO client.example.org", "250")
		d.say("QUIT", "221")
	}
	session()
	s.write(config + "[log.levels]\nproxy = \"debug\"\n")
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	for _, line := range s.log {
		if line["level"] == "DEBUG" {
			t.Errorf("before the reload: %v", line)
		}
	}
	session()
	if line := s.logged("session"); line["pkg"] != "proxy" || line["level"] != "DEBUG" {
		t.Errorf("a line for debugging: %v", line)
	}
	s.stop()
}
