package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// served is a running serve.
type served struct {
	t       *testing.T
	path    string // of its configuration
	signals chan os.Signal
	done    chan error
	lines   chan map[string]any // its log, closed at its end
	log     []map[string]any    // what was read of it
}

// startServe runs serve in this process, as the command does.
func startServe(t *testing.T, toml string) *served {
	t.Helper()
	s := &served{
		t: t, path: filepath.Join(t.TempDir(), "gate.toml"),
		signals: make(chan os.Signal, 2), done: make(chan error, 1),
		lines: make(chan map[string]any, 1000),
	}
	s.write(toml)
	load := func() (*config.Config, error) { return loadConfig(s.path) }
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.done <- (&service{load: load}).serve(ctx, w, s.signals)
		_ = w.Close()
	}()
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			var line map[string]any
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				line = map[string]any{"msg": "not JSON: " + scanner.Text()}
			}
			s.lines <- line
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// write changes the configuration's file.
func (s *served) write(toml string) {
	s.t.Helper()
	if err := os.WriteFile(s.path, []byte(toml+"[log]\nformat = \"json\"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// logged waits for a line of the log. The deadline is only there so that a fault ends.
func (s *served) logged(msg string) map[string]any {
	s.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the log ended without %q: %v", msg, s.log)
			}
			s.log = append(s.log, line)
			if line["msg"] == msg {
				return line
			}
		case <-late:
			s.t.Fatalf("the log does not say %q: %v", msg, s.log)
		}
	}
}

// listening is the address of the listener of a network or a kind ("tcp", "unix", "http"), which
// the log tells in any order.
func (s *served) listening(what string) string {
	s.t.Helper()
	for i := 0; ; i++ {
		for ; i < len(s.log); i++ {
			line := s.log[i]
			if line["msg"] == "listening" && (line["network"] == what || line["kind"] == what) {
				address, _ := line["address"].(string)
				return address
			}
		}
		s.logged("listening")
		i = len(s.log) - 2
	}
}

// end waits for serve to return.
func (s *served) end() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(60 * time.Second):
		s.t.Fatal("serve does not end")
		return nil
	}
}

// dialogue is an SMTP client that only knows what it sends and what should come back.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func openDialogue(t *testing.T, network, address string) *dialogue {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	d := &dialogue{t: t, conn: conn, br: bufio.NewReader(conn)}
	d.want("220 gate.example.net")
	return d
}

// say sends a line and expects a reply whose last line begins with want.
func (d *dialogue) say(line, want string) {
	d.t.Helper()
	if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
		d.t.Fatal(err)
	}
	d.want(want)
}

func (d *dialogue) want(want string) {
	d.t.Helper()
	for {
		line, err := d.br.ReadString('\n')
		if err != nil {
			d.t.Fatalf("waiting for %q: %v", want, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			d.t.Fatalf("got %q, want %q", line, want)
		}
		return
	}
}

func testRelay(t *testing.T) (*mxsim.Relay, string) {
	t.Helper()
	relay := mxsim.NewRelay("relay.example.net")
	t.Cleanup(relay.Close)
	address, err := relay.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return relay, address
}

func testWorld(t *testing.T) mxsim.Listening {
	t.Helper()
	world, at, err := newTestWorld(t)
	t.Cleanup(world.Close)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestServe sends one message through the real composition, at a TCP and at a Unix listener.
func TestServe(t *testing.T) {
	relay, upstream := testRelay(t)
	at := testWorld(t)
	socket := filepath.Join(t.TempDir(), "gate")
	toml := strings.Replace(worldConfig("127.0.0.1:0", upstream, at),
		`["127.0.0.1:0"]`, `["127.0.0.1:0", "unix:`+socket+`"]`, 1)
	s := startServe(t, toml)
	tcp := s.listening("tcp")
	if unix := s.listening("unix"); unix != socket {
		t.Errorf("second listener at %v", unix)
	}
	s.logged("ready")

	for _, way := range [][2]string{{"tcp", tcp}, {"unix", socket}} {
		before := len(relay.Messages())
		d := openDialogue(t, way[0], way[1])
		d.say("EHLO client.example.org", "250")
		d.say("MAIL FROM:<news@example.org>", "250")
		d.say("RCPT TO:<anna@example.com>", "250")
		d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")
		d.say("RCPT TO:<x@internal.example.net>", "250")
		d.say("DATA", "354")
		d.say("Subject: hello\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
		d.say("QUIT", "221")
		messages := relay.Messages()[before:]
		if len(messages) != 1 || len(messages[0].Rcpts) != 2 {
			t.Fatalf("%s: the relay has %+v", way[0], messages)
		}
	}
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
	s.logged("stopped")
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestServeWithoutRelay: the gate starts all the same, says what is wrong, and defers.
func TestServeWithoutRelay(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, testWorld(t))+"[http]\nlisten = \"127.0.0.1:0\"\n")
	address, web := s.listening("smtp"), s.listening("http")
	warning := s.logged("relay does not answer; until it does, mail gets 451")
	if hint, _ := warning["hint"].(string); !strings.Contains(hint, "relay.upstreams") {
		t.Errorf("warning %v", warning)
	}
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "451")
	s.want(web, "/readyz", 503, "not ready", "failed    relay: no upstream takes mail, it gets 451: ")
	s.want(web, "/metrics", 200, "rcptgate_ready 0", `rcptgate_relay_up{upstream="`+upstream+`"} 0`)
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// TestServeAsked: a gate that is only asked by Postfix needs no relay, and its watchdog no listener
// for mail.
func TestServeAsked(t *testing.T) {
	toml := strings.Replace(worldConfig("127.0.0.1:0", "127.0.0.1:1", testWorld(t)),
		"listen = [\"127.0.0.1:0\"]", "listen = []", 1)
	s := startServe(t, toml+"[policyd]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"127.0.0.1:0\"\n")
	s.listening("policyd")
	web := s.listening("http")
	s.want(web, "/readyz", 200, "ok        relay: not used: the gate is only asked")
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
	for _, line := range s.log {
		if text, _ := line["msg"].(string); strings.Contains(text, "relay") {
			t.Errorf("%v", line)
		}
	}
}

// TestSecondSignal: the first lets an open message go on, the second does not.
func TestSecondSignal(t *testing.T) {
	relay, upstream := testRelay(t)
	s := startServe(t, worldConfig("127.0.0.1:0", upstream, testWorld(t)))
	address, _ := s.logged("listening")["address"].(string)
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("DATA", "354")
	s.signals <- syscall.SIGTERM
	s.logged("stopping")
	s.signals <- syscall.SIGTERM
	s.logged("stopping at once")
	err := s.end()
	fail, ok := err.(*failure) //nolint:errorlint // it is the very type that a command returns
	if !ok || fail.code != exitFailed {
		t.Errorf("serve: %v", err)
	}
	if n := len(relay.Messages()); n != 0 {
		t.Errorf("%d messages at the relay, of one that was not ended", n)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	if unix, ok := l.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // as if it had been killed
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}

	l, err = listen(t.Context(), config.Endpoint("unix:"+stale))
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	defer func() { _ = l.Close() }()
	tcp, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()

	for endpoint, hint := range map[string]string{
		"unix:" + stale:        "another process serves this socket",
		"unix:" + file:         "another file is in its place",
		tcp.Addr().String():    "ss -ltnp",
		"unix:" + dir + "/a/b": "create the directory",
	} {
		_, err := listen(t.Context(), config.Endpoint(endpoint))
		fail, ok := err.(*failure) //nolint:errorlint // it is the very type that a command returns
		if !ok || fail.code != exitFailed || !strings.Contains(fail.hint, hint) ||
			!strings.Contains(fail.text, endpoint) {
			t.Errorf("%s: %+v", endpoint, err)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file in the way became %q, %v", data, err)
	}
}
