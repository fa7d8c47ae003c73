package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/durable"
)

// TestControlFailures: what stands in the way is said, with what to do.
func TestControlFailures(t *testing.T) {
	d := newDesk(t)
	d.steps([]step{
		{"suppress list", 1, ``, `there is no state yet: .*does not exist.*serve makes it`},
		{"senders", 1, ``, `there is no state yet`},
	})
	dir, err := durable.Open(d.state())
	if err != nil {
		t.Fatal(err)
	}
	d.steps([]step{{"override list", 1, ``, `another process has .*nobody answers at its control socket, unix:.*try again`}})
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	// A socket that a gate has left behind when it was killed.
	socket := filepath.Join(d.state(), "control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d.steps([]step{{"override list", 0, `^no overrides`, ``}})

	// A server that is none of ours.
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	other := http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- other.Serve(l) }()
	d.steps([]step{{"override list", 1, ``, `the gate answers 404 Not Found.*another version`}})
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(d.state(), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		d.steps([]step{{"override list", 1, ``, `belongs to the user \w+.*sudo -u \w+ rcptgate`}})
	}

	d.write("gate.toml", "[proxy]\nhostname = \"gate.example.com\"\n[relay]\nupstreams = [\"127.0.0.1:9\"]\n")
	d.steps([]step{
		{"suppress list", 1, ``, `policy.state_directory is empty.*hint: set policy.state_directory`},
		{"why X", 1, ``, `policy.journal.path is empty`},
	})
	d.config = ""
	d.steps([]step{{"suppress list", 2, ``, `no configuration given`}})
}

// TestListenControl: the socket is for its owner alone, and never in another's place.
func TestListenControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	endpoint := config.Endpoint("unix:" + path)
	l, err := listenControl(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("%v, %v", info, err)
	}
	if l.Addr().String() != path {
		t.Errorf("address %s", l.Addr())
	}
	if _, err := listenControl(t.Context(), endpoint); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second one: %v", err)
	}
	// Another one that took its place keeps it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listenControl(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for endpoint, want := range map[config.Endpoint]string{
		endpoint:                         "another file is in its place",
		"unix:/no/such/directory/a.sock": "cannot listen on unix:/no/such/directory/a.sock",
		"127.0.0.1:0":                    "is no Unix socket",
	} {
		if _, err := listenControl(t.Context(), endpoint); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	if none, err := listenControl(t.Context(), ""); none != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", none, err)
	}
}
