package policyd_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy/policyd"
)

// TestSockets: what the tests in memory show also holds for sockets of the system: answers, a client
// that goes away while it waits, and the end of the server with an idle connection.
func TestSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "policyd-") //nolint:usetesting // a path of 108 octets at most
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for network, address := range map[string]string{
		"tcp": "127.0.0.1:0", "unix": filepath.Join(dir, "socket"),
	} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			closed := make(chan struct{}, 10)
			cfg := policyd.Config{Networks: loopback()}
			cfg.Hooks.Connection = func(event string) {
				if event == "closed" {
					closed <- struct{}{}
				}
			}
			s := policyd.New(cfg, slowEngine(t, policy.Config{}, time.Millisecond), nil)
			done := make(chan error)
			go func() { done <- s.Serve(l) }()
			connect := func() *peer {
				nc, err := net.Dial(network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
				return &peer{t: t, nc: nc, br: bufio.NewReader(nc)}
			}
			idle, gone := connect(), connect()
			idle.say(rcpt("1", "bob@example.net"), "DUNNO")
			idle.send(rcpt("1", "unknown@example.net") + rcpt("1", "bob@example.net"))
			idle.want("550 5.1.1 ")
			idle.want("DUNNO")
			gone.say(rcpt("1", "bob@example.net"), "DUNNO")
			gone.send(rcpt("1", "slow@example.net"))
			_ = gone.nc.Close()
			<-closed
			if n := s.Open(); n != 1 {
				t.Errorf("%d connections are open", n)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if a := idle.answer(); a != "EOF" {
				t.Errorf("%q", a)
			}
			if err := <-done; !errors.Is(err, policyd.ErrClosed) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}
