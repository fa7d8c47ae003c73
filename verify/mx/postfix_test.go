package mx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// postfixHost answers postconf and postmap as a host with these settings and tables would.
func postfixHost(settings, tables map[string]string) RunFunc {
	return func(_ context.Context, name string, args ...string) ([]byte, error) {
		switch command := strings.Join(append([]string{name}, args[:1]...), " "); command {
		case "postconf -xh":
			return []byte(settings[args[1]] + "\n"), nil
		case "postmap -s":
			if text, ok := tables[args[1]]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("exit status 1")
		default:
			return nil, fmt.Errorf("unexpected command %s", command)
		}
	}
}

func TestPostfixDomains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domains")
	if err := os.WriteFile(file, []byte("file.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := PostfixDomains(t.Context(), postfixHost(map[string]string{
		"parent_domain_matches_subdomains": "debug_peer_list, relay_domains, smtpd_access_maps",
		"mydestination":                    "mail.example.com, localhost.example.com,localhost\texample.com !x.example.com",
		"virtual_mailbox_domains":          file + " ldap:/etc/postfix/ldap.cf",
		"virtual_alias_domains":            "hash:/etc/postfix/virtual",
		"relay_domains":                    "example.org, proxy:hash:/etc/postfix/relay pcre:/etc/postfix/relay.pcre [192.0.2.1]",
		"transport_maps":                   "hash:/etc/postfix/transport btree:/none inline:{ in.example.net=smtp:[10.0.0.9], x=y } static:smtp:",
	}, map[string]string{
		"hash:/etc/postfix/virtual": "alias.example.net\tanything\nanna@alias.example.net\tanna\n" +
			"@catch.example.net\tx\npostmaster\troot\n",
		"hash:/etc/postfix/relay": "relayed.example.net\tOK\nexample.com\tOK\n",
		"hash:/etc/postfix/transport": "routed.example.net\tsmtp:[10.0.0.1]\n.sub.example.net\tlmtp:unix:x\n" +
			"gmail.test\tslow:\nplain.test\tsmtp:\nplain2.test\t:\nself.test\tsmtp:self.test\n" +
			"anna@user.test\tsmtp:[10.0.0.1]\n*\tsmtp:[smarthost.test]\nhop.test\t:[10.0.0.2]\n",
		"inline:{ in.example.net=smtp:[10.0.0.9], x=y }": "in.example.net\tsmtp:[10.0.0.9]\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mail.example.com", "localhost.example.com", "localhost", "example.com",
		"# mydestination: !x.example.com: an exclusion: take those domains out of the list by hand",
		"file:" + file,
		"# virtual_mailbox_domains: ldap:/etc/postfix/ldap.cf: ldap tables cannot be listed; list their domains by hand",
		"alias.example.net",
		"example.org", ".example.org", ".example.com", "relayed.example.net", ".relayed.example.net",
		"# relay_domains: pcre:/etc/postfix/relay.pcre: pcre tables cannot be listed; list their domains by hand",
		"[192.0.2.1]",
		"# transport_maps: hash:/etc/postfix/transport: * smtp:[smarthost.test]: all other mail takes this route; if the hosts there decide about recipients, set verify.mode = \"passive\"",
		".sub.example.net",
		"# transport_maps: gmail.test: slow:: without a next hop; if this transport does not deliver to the domain's MX, list the domain by hand",
		"hop.test", "routed.example.net",
		"# transport_maps: btree:/none: postmap -s btree:/none failed (exit status 1); list its domains by hand",
		"in.example.net",
		"# transport_maps: static:smtp:: matches every domain; set verify.mode = \"passive\" if that is meant",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var list []string
	for _, e := range got {
		if !strings.HasPrefix(e, "# ") {
			list = append(list, e)
		}
	}
	if _, err := NewDomains(list); err != nil {
		t.Errorf("the list cannot be used: %v", err)
	}
}

func TestPostfixDomainsWithoutPostfix(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&exec.Error{Name: "postconf", Err: exec.ErrNotFound}, "host of the relay"},
		{errors.New("exit status 1"), "run it by hand"},
	} {
		_, err := PostfixDomains(t.Context(), func(context.Context, string, ...string) ([]byte, error) {
			return nil, tt.err
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// The real programs, where Postfix is installed: its formats must be what the parser expects.
func TestPostfixDomainsWithRealPostfix(t *testing.T) {
	postconf, err := exec.LookPath("postconf")
	if err != nil {
		t.Skip("postconf is not installed")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(ctx context.Context, name string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(postconf), name),
			append([]string{"-c", dir}, args...)...)
		cmd.Stderr = t.Output()
		return cmd.Output()
	}
	transport := write("transport", "routed.example.net smtp:[10.0.0.1]\nslow.test slow:\n")
	write("master.cf", "")
	write("main.cf", "compatibility_level = 2\nmyhostname = mail.example.com\n"+
		"mydestination = $myhostname, localhost\nrelay_domains = example.org\n"+
		"virtual_alias_maps = texthash:"+write("virtual", "alias.test x\nanna@alias.test anna\n")+"\n"+
		"transport_maps = texthash:"+transport+"\n")
	got, err := PostfixDomains(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mail.example.com", "localhost", "alias.test", "example.org", ".example.org",
		"routed.example.net",
		"# transport_maps: slow.test: slow:: without a next hop; if this transport does not " +
			"deliver to the domain's MX, list the domain by hand",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzPostfix lets postconf and postmap say anything: every entry that is not a comment can be
// used in internal_domains, and no entry breaks the line it stands on.
func FuzzPostfix(f *testing.F) {
	f.Add("example.com, hash:/x", "a.test\tOK\n", "hash:/x")
	f.Add("!a /b inline:{ a=b }", "*\tsmtp:x\n.a.test\t:\n", "static:all")
	f.Add("\x00 ü.test [1.2.3.4]", "a\x00b.test\tlmtp:\x1b[0m\n", "hash:/x, texthash:/y")
	f.Fuzz(func(t *testing.T, list, rows, maps string) {
		if strings.Contains(list, "/") { // no reading of arbitrary files
			list = strings.ReplaceAll(list, "/", "")
		}
		got, err := PostfixDomains(t.Context(),
			func(_ context.Context, name string, args ...string) ([]byte, error) {
				switch {
				case name == "postmap":
					return []byte(rows), nil
				case args[1] == "transport_maps":
					return []byte(maps), nil
				}
				return []byte(list), nil
			})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			if strings.ContainsAny(e, "\r\n\x00\x1b") {
				t.Errorf("entry %q", e)
			}
			if strings.HasPrefix(e, "# ") {
				continue
			}
			if _, err := NewDomains([]string{e}); err != nil {
				t.Errorf("entry %q: %v", e, err)
			}
		}
	})
}
