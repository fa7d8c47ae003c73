package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPasswords: which login an upstream gets from a file as Postfix has it.
func TestPasswords(t *testing.T) {
	const file = "# smarthosts\n\n[Relay.example.com]:587 user587:pass:word with blanks\n" +
		"relay.example.com\tuser:secret\r\n192.0.2.1:25 a:b\n[2001:db8::1]:25 c:d\n2001:db8::2 e:f\n" +
		"unix:/run/relay g:h\n"
	list, line, problem := parsePasswords([]byte(file))
	if problem != "" {
		t.Fatalf("line %d: %s", line, problem)
	}
	for upstream, want := range map[Endpoint]string{
		"relay.example.com:587":  "user587 pass:word with blanks",
		"RELAY.example.com.:587": "user587 pass:word with blanks",
		"relay.example.com:25":   "user secret",
		"192.0.2.1:25":           "a b",
		"192.0.2.1:26":           "",
		"[2001:db8::1]:25":       "c d",
		"[2001:db8::2]:26":       "e f",
		"unix:/run/relay":        "g h",
		"other.example.com:25":   "",
	} {
		user, password, ok := list.lookup(upstream)
		if got := strings.TrimSpace(user + " " + password); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", upstream, got, ok, want)
		}
	}
}

// TestPasswordFaults: each fault has its line, and none shows a password.
func TestPasswordFaults(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no login":       {"a.example.com x:s3cret\nrelay.example.com\n", ":2: there is no user:password behind"},
		"no password":    {"relay.example.com s3cret\n", ":1: there is no user:password behind"},
		"no user":        {"relay.example.com :s3cret\n", ":1: there is no user:password behind"},
		"no relay":       {"\n[relay.example.com:25 u:s3cret\n", ":2: the first word is not a relay"},
		"a port too far": {"relay.example.com:70000 u:s3cret\n", ":1: the first word is not a relay"},
		"twice":          {"a.example.com u:s3cret\nA.example.com u:s3cret2\n", ":2: the relay has a login further up"},
		"a continued line": {
			"relay.example.com\n  user:s3cret\n", ":1: there is no user:password behind the relay",
		},
		"nobody's":       {"a.example.com u:s3cret\n", `: has no login for any upstream, such as "relay.example.com:587"; add a line "[relay.example.com]:587 user:password"`},
		"a compiled map": {"\x00\x06\x15a\x00relay.example.com u:s3cret", ":1: "},
	} {
		t.Run(name, func(t *testing.T) {
			err := loadWithPasswords(t, test.text, 0o640)
			if err == nil || !strings.Contains(err.Error(), "gate.toml:4:1: relay.password_file: ") ||
				!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestPasswordFileMode(t *testing.T) {
	if err := loadWithPasswords(t, "relay.example.com user:secret\n", 0o600); err != nil {
		t.Errorf("a good file: %v", err)
	}
	err := loadWithPasswords(t, "relay.example.com user:secret\n", 0o644)
	if err == nil || !strings.Contains(err.Error(), "others may read or change it (mode 0644); take "+
		"their rights away: chmod o= ") {
		t.Errorf("a file for everybody: %v", err)
	}
}

func loadWithPasswords(t *testing.T, text string, mode os.FileMode) error {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "passwords")
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gate.toml")
	if err := os.WriteFile(path, []byte("[relay]\ntls = \"verify\"\nupstreams = [\"relay.example.com:587\"]\n"+
		"password_file = \""+file+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	return err
}

// FuzzPasswords: whatever the file holds, it is refused or gives logins that can be sent.
func FuzzPasswords(f *testing.F) {
	for _, seed := range []string{"a b:c", "[a]:25 b:c", "# x\na\tb:c:d\r\n", "[::1] u:p", "unix:/x u:p", "a:b:c d:e"} {
		f.Add(seed, "a:25")
	}
	f.Fuzz(func(t *testing.T, text, upstream string) {
		list, line, problem := parsePasswords([]byte(text))
		if problem != "" {
			if line < 1 || line > strings.Count(text, "\n")+1 || list != nil {
				t.Errorf("%q at line %d", problem, line)
			}
			return
		}
		for key, login := range list {
			if key == "" || login.user == "" || login.password == "" || strings.Contains(login.user, ":") ||
				strings.ContainsAny(login.user+login.password, "\x00\n") {
				t.Errorf("%q: %q, %q", key, login.user, login.password)
			}
		}
		var endpoint Endpoint
		if endpoint.UnmarshalText([]byte(upstream)) != nil {
			return
		}
		if user, _, ok := list.lookup(endpoint); ok && !strings.Contains(text, user) {
			t.Errorf("%q got a login %q that is not in the file", upstream, user)
		}
	})
}
