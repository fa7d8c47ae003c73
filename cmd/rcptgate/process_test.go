package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// process is serve in a process of its own, which is this test's binary (see TestMain).
type process struct {
	served
	cmd *exec.Cmd
}

// startProcess runs `rcptgate serve` as a service manager does: with its variables, and with its
// sockets from descriptor 3 on.
func startProcess(t *testing.T, toml string, env []string, sockets ...*os.File) *process {
	t.Helper()
	bin, err := exec.LookPath("rcptgate")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{served: served{
		t: t, path: filepath.Join(t.TempDir(), "gate.toml"), done: make(chan error, 1),
		lines: make(chan map[string]any, 10_000),
	}}
	p.write(toml)
	// The manager sets LISTEN_PID to the process that it starts; exec keeps the shell's.
	p.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, bin, p.path)
	p.cmd.Env = append(os.Environ(), append([]string{
		"GORACE=atexit_sleep_ms=0", "LISTEN_FDS=" + strconv.Itoa(len(sockets)),
	}, env...)...)
	p.cmd.ExtraFiles = sockets
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			var line map[string]any
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				line = map[string]any{"msg": "not JSON: " + scanner.Text()}
			}
			p.lines <- line
		}
		p.done <- p.cmd.Wait()
		close(p.lines)
	}()
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
		}
		for range p.lines { // until it has ended
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stopProcess ends it in peace.
func (p *process) stopProcess() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if err := p.end(); err != nil {
		p.t.Errorf("serve: %v", err)
	}
}

// notified is the socket that a service manager listens on.
type notified struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newNotified(t *testing.T) *notified {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &notified{t: t, conn: conn, path: path}
}

// next is the next message but those of the watchdog, as its lines.
func (n *notified) next(watchdog bool) map[string]string {
	n.t.Helper()
	for {
		buffer := make([]byte, 4096)
		size, err := n.conn.Read(buffer)
		if err != nil {
			n.t.Fatalf("waiting for a message: %v", err)
		}
		lines := map[string]string{}
		for line := range strings.Lines(string(buffer[:size])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			lines[key] = value
		}
		if _, fed := lines["WATCHDOG"]; fed == watchdog {
			return lines
		}
	}
}

// TestServiceManager: what the gate tells systemd, over its whole life.
func TestServiceManager(t *testing.T) {
	relay, upstream := testRelay(t)
	manager := newNotified(t)
	good := worldConfig("127.0.0.1:0", upstream, testWorld(t))
	p := startProcess(t, good, []string{"NOTIFY_SOCKET=" + manager.path, "WATCHDOG_USEC=1000000"})
	if m := manager.next(false); m["READY"] != "1" {
		t.Fatalf("first message %v", m)
	}
	d := openDialogue(t, "tcp", p.listening("tcp")) // ready means that it is served
	d.say("EHLO client.example.org", "250")
	d.send("anna@example.com")
	for range 3 {
		manager.next(true)
	}

	reload := func(toml string) map[string]string {
		var before, after int64
		p.write(toml)
		now, _ := monotonic()
		before = now.Microseconds()
		p.signal(syscall.SIGHUP)
		m := manager.next(false)
		now, _ = monotonic()
		after = now.Microseconds()
		if at, err := strconv.ParseInt(m["MONOTONIC_USEC"], 10, 64); m["RELOADING"] != "1" ||
			err != nil || at < before || at > after {
			t.Errorf("at a reload, from %d to %d: %v", before, after, m)
		}
		return manager.next(false)
	}
	if m := reload(good); m["READY"] != "1" || m["STATUS"] != "taking mail" {
		t.Errorf("after a reload: %v", m)
	}
	if m := reload("[proxy]\nlissen = []\n"); m["READY"] != "1" || !strings.Contains(m["STATUS"], "the new one has faults") {
		t.Errorf("after a reload that was refused: %v", m)
	}

	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("DATA", "354")
	p.signal(syscall.SIGTERM)
	if m := manager.next(false); m["STOPPING"] != "1" {
		t.Errorf("at the end: %v", m)
	}
	manager.next(true) // a drain is no reason to be killed
	d.say("Subject: hello\r\n\r\nworld\r\n.", "250 2.0.0 Ok: queued as ")
	if err := p.end(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if n := len(relay.Messages()); n != 2 {
		t.Errorf("%d messages at the relay", n)
	}
}

// held is a socket that a service manager keeps.
func held(t *testing.T, address string) (*os.File, string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()         // the file is a copy
	file, err := l.(*net.TCPListener).File() //nolint:forcetypeassert // of "tcp"
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file, l.Addr().String()
}

// TestSocketActivation: each socket of the service manager finds its listener.
func TestSocketActivation(t *testing.T) {
	_, upstream := testRelay(t)
	at := testWorld(t)
	web, webAddress := held(t, "127.0.0.1:0")
	byAddress, address := held(t, "127.0.0.1:0")
	byName, nameAddress := held(t, "127.0.0.1:0")
	byOrder, orderAddress := held(t, "127.0.0.1:0")
	spare, spareAddress := held(t, "127.0.0.1:0")
	toml := strings.Replace(worldConfig("127.0.0.1:0", upstream, at), `listen = ["127.0.0.1:0"]`,
		`listen = ["127.0.0.1:1", "127.0.0.1:2", "`+address+`", "127.0.0.1:0"]`, 1) +
		"[http]\nlisten = \"127.0.0.1:3\"\n"
	p := startProcess(t, toml, []string{"LISTEN_FDNAMES=http:x:smtp:rcptgate.socket:http"},
		web, byAddress, byName, byOrder, spare)
	p.logged("ready")
	got := map[string]bool{}
	for _, line := range p.log {
		if line["msg"] == "listening" {
			at, _ := line["address"].(string)
			inherited, _ := line["inherited"].(bool)
			got[fmt.Sprint(line["kind"], " ", at)] = inherited
		}
		if line["msg"] == "no listener is configured for a socket of the service manager; it is closed" &&
			line["address"] == spareAddress {
			got["spare"] = true
		}
	}
	for _, want := range []string{
		"http " + webAddress, "smtp " + address, "smtp " + nameAddress, "smtp " + orderAddress, "spare",
	} {
		if !got[want] {
			t.Errorf("%s is not there: %v", want, got)
		}
	}
	if len(got) != 6 { // and the fourth of proxy.listen, which it has opened itself
		t.Errorf("listeners %v", got)
	}
	for _, a := range []string{address, nameAddress, orderAddress} {
		d := openDialogue(t, "tcp", a)
		d.say("QUIT", "221")
	}
	p.want(webAddress, "/healthz", 200, "ok")
	p.stopProcess()
}

// attempts is what clients saw who never stopped sending.
type attempts struct {
	passed, told, lost atomic.Int64 // 250 to the message; another reply; none at all
}

// sendAll sends messages, each in a connection of its own, until ctx ends.
func (a *attempts) sendAll(ctx context.Context, address string) error {
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(context.WithoutCancel(ctx), "tcp", address)
		if err != nil {
			return fmt.Errorf("a connection was refused: %w", err)
		}
		if err := a.sendOne(conn); err != nil {
			return err
		}
	}
	return nil
}

var errTold = errors.New("told to come again")

func (a *attempts) sendOne(conn net.Conn) error {
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return err
	}
	br := bufio.NewReader(conn)
	answers := 0
	say := func(line, want string) error {
		if _, err := io.WriteString(conn, line); err != nil && answers == 0 {
			return err
		}
		for {
			reply, err := br.ReadString('\n')
			switch {
			case err != nil:
				return err
			case len(reply) > 3 && reply[3] == '-':
				continue
			}
			answers++
			if strings.HasPrefix(reply, "4") {
				return errTold
			}
			if !strings.HasPrefix(reply, want) {
				return fmt.Errorf("got %q, want %q", reply, want)
			}
			return nil
		}
	}
	for _, step := range [][2]string{
		{"", "220"},
		{"EHLO client.example.org\r\n", "250"},
		{"MAIL FROM:<news@example.org>\r\n", "250"},
		{"RCPT TO:<x@internal.example.net>\r\n", "250"},
		{"DATA\r\n", "354"},
		{"Subject: hello\r\n\r\nworld\r\n.\r\n", "250"},
	} {
		switch err := say(step[0], step[1]); {
		case errors.Is(err, errTold):
			a.told.Add(1)
			return nil
		case err != nil && answers == 0:
			a.lost.Add(1)
			return fmt.Errorf("a connection without an answer: %w", err)
		case err != nil:
			return fmt.Errorf("after %d answers: %w", answers, err)
		}
	}
	a.passed.Add(1)
	return nil
}

// TestRestartLosesNothing restarts the gate again and again under load. The service manager's socket
// stays, so that every client is answered, and every 250 is one message at the relay.
func TestRestartLosesNothing(t *testing.T) {
	relay, upstream := testRelay(t)
	at := testWorld(t)
	socket, address := held(t, "127.0.0.1:0")
	toml := worldConfig(address, upstream, at) + "[http]\nlisten = \"\"\n"
	manager := newNotified(t)
	start := func() *process {
		p := startProcess(t, toml, []string{"NOTIFY_SOCKET=" + manager.path}, socket)
		for manager.next(false)["READY"] != "1" { // STOPPING of the one before
		}
		return p
	}
	p := start()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var (
		seen    attempts
		clients sync.WaitGroup
	)
	faults := make(chan error, 8)
	for range cap(faults) {
		clients.Go(func() { faults <- seen.sendAll(ctx, address) })
	}
	for range 4 {
		for before := seen.passed.Load(); seen.passed.Load() < before+50 && len(faults) == 0; {
			waitForMessage(t, relay, len(relay.Messages()))
		}
		p.stopProcess()
		p = start()
	}
	stop()
	clients.Wait()
	close(faults)
	for err := range faults {
		if err != nil {
			t.Error(err)
		}
	}
	p.stopProcess()
	t.Logf("%d messages passed, %d clients were told to come again", seen.passed.Load(), seen.told.Load())
	if n := len(relay.Messages()); int64(n) != seen.passed.Load() {
		t.Errorf("%d messages at the relay, %d times 250", n, seen.passed.Load())
	}
}

// waitForMessage returns when the relay has more than n messages, or soon.
func waitForMessage(t *testing.T, relay *mxsim.Relay, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if len(relay.Messages()) > n {
			return
		}
		<-tick.C
	}
}

// TestSelfCheck: the watchdog is content with any reply, and with nothing else.
func TestSelfCheck(t *testing.T) {
	everybody, nobody := func(netip.Addr) bool { return true }, func(netip.Addr) bool { return false }
	for name, test := range map[string]struct {
		says   string
		header bool
		ok     bool
	}{
		"banner":   {"220 gate.example.net ESMTP\r\n", false, true},
		"refusal":  {"554 5.7.1 not you\r\n", false, true},
		"too many": {"421 4.3.2 too many\r\n", true, true},
		"silence":  {"", false, false},
		"nonsense": {"hello\r\n", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			heard := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					heard <- err.Error()
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, test.says)
				all, _ := io.ReadAll(conn)
				heard <- string(all)
			}()
			check := selfCheck{address: l.Addr(), allowed: everybody, header: nobody}
			want := "QUIT\r\n"
			if test.header {
				check.header, want = everybody, "PROXY UNKNOWN\r\n"+want
			}
			ctx, cancel := context.WithCancel(t.Context())
			if test.says == "" {
				cancel() // the end of its patience
			}
			defer cancel()
			if err := check.run(ctx); (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
			_ = l.Close()
			if got := <-heard; test.ok && got != want {
				t.Errorf("it said %q", got)
			}
		})
	}
}
