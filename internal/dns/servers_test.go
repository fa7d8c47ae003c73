package dns

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServers(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"127.0.0.1:5300", "127.0.0.1:5300"},
		{"127.0.0.1", "127.0.0.1:53"},
		{"::1", "[::1]:53"},
		{"[::1]:53", "[::1]:53"},
		{"fe80::1%eth0", "[fe80::1%eth0]:53"},
	} {
		if got, err := serverAddr(tt.in, "53"); err != nil || got != tt.want {
			t.Errorf("serverAddr(%q) = %q, %v", tt.in, got, err)
		}
	}
	for _, bad := range []string{
		"", "ns.test:53", "localhost", "127.0.0.1:", "127.0.0.1:0", ":53",
		"127.0.0.1:dns", "127.0.0.1:70000",
	} {
		if _, err := New(Config{Servers: []string{bad}}); err == nil {
			t.Errorf("server %q was taken", bad)
		}
	}
	if _, err := New(Config{Tries: -1}); err == nil {
		t.Error("negative tries were taken")
	}
}

func TestResolvConfIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		l, err := newServerList(nil, path)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want ...string) {
			t.Helper()
			got, err := l.list()
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
		expect("127.0.0.1:53") // no file: the local host, as resolv.conf(5) says
		write("nameserver 192.0.2.1\nnameserver name.test\nnameserver ::1\n")
		expect("192.0.2.1:53", "[::1]:53")
		write("nameserver 192.0.2.77\n")
		expect("192.0.2.1:53", "[::1]:53") // not looked at yet
		time.Sleep(statEvery)
		expect("192.0.2.77:53")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(statEvery)
		expect("192.0.2.77:53")
	})
}
