package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// examined is what doctor --json prints.
type examined struct {
	t    *testing.T
	code int

	Faults, Warnings, Notes int
	Findings                []doctorFinding
}

// examine runs doctor.
func examine(t *testing.T, args ...string) *examined {
	t.Helper()
	var out, errs bytes.Buffer
	e := &examined{t: t}
	e.code = run(append([]string{"doctor", "--json"}, args...), strings.NewReader(""), &out, &errs)
	if err := json.Unmarshal(out.Bytes(), e); err != nil {
		t.Fatalf("exit code %d, %v:\n%s%s", e.code, err, out.Bytes(), errs.Bytes())
	}
	if want := min(e.Faults, 1); e.code != want {
		t.Errorf("exit code %d with %d faults", e.code, e.Faults)
	}
	return e
}

// find returns the findings of a group and level that have all of these texts.
func (e *examined) find(group string, level doctorLevel, texts ...string) (found []doctorFinding) {
	for _, f := range e.Findings {
		all := f.What + "\n" + f.Means + "\n" + f.Fix
		if f.Group == group && f.Level == level &&
			!slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(all, s) }) {
			found = append(found, f)
		}
	}
	return found
}

// want wants one such finding.
func (e *examined) want(group string, level doctorLevel, texts ...string) doctorFinding {
	e.t.Helper()
	found := e.find(group, level, texts...)
	if len(found) != 1 {
		e.t.Errorf("%d findings of %s at %s with %q; there are:\n%s", len(found), group, level, texts, e)
		return doctorFinding{}
	}
	return found[0]
}

// clean wants no warning and no fault in these groups, but something.
func (e *examined) clean(groups ...string) {
	e.t.Helper()
	for _, group := range groups {
		if bad := append(e.find(group, levelFault), e.find(group, levelWarning)...); len(bad) > 0 {
			e.t.Errorf("%s is not clean:\n%s", group, e)
		}
		if len(e.find(group, levelOK)) == 0 {
			e.t.Errorf("%s has nothing that is ok:\n%s", group, e)
		}
	}
}

// String is for reports of failures.
func (e *examined) String() string {
	var b strings.Builder
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "%s %s: %s | %s | %q\n", f.Group, f.Level, f.What, f.Means, f.Fix)
	}
	return b.String()
}

// doctorConfig writes a configuration.
func doctorConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// doctorWorld is a gate's surroundings in which nothing is wrong.
func doctorWorld(t *testing.T) (world *mxsim.World, config string) {
	t.Helper()
	_, upstream := testRelay(t)
	world, at, err := newTestWorld(t)
	t.Cleanup(world.Close)
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Record(
		"2.0.0.127.bl.example.org. 300 IN A 127.0.0.2",
		`gate.example.net. 300 IN TXT "v=spf1 ip4:5.9.0.1 -all"`,
	); err != nil {
		t.Fatal(err)
	}
	return world, worldConfig("127.0.0.1:0", upstream, at) +
		"[verify.health]\naddresses = [\"5.9.0.1\"]\ndnsbl_zones = [\"bl.example.org\"]\n"
}

// noPostfix is an empty configuration of Postfix, so that tests do not look at the machine's own.
func noPostfix(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDoctorWorld: what is right is said to be, and what is wrong in DNS, in reach, in names, in
// lists and in the relay is found.
func TestDoctorWorld(t *testing.T) {
	world, config := doctorWorld(t)
	look := func(t *testing.T, config string, domains ...string) *examined {
		t.Helper()
		args := []string{"--config", doctorConfig(t, config), "--postfix", noPostfix(t)}
		for _, d := range domains {
			args = append(args, "--domain", d)
		}
		return examine(t, args...)
	}
	t.Run("right", func(t *testing.T) {
		e := look(t, config, "example.com", "grey.example.com")
		e.clean("DNS", "port 25", "address", "block lists", "relay")
		e.want("DNS", levelOK, "says NXDOMAIN")
		e.want("port 25", levelOK, "grey.example.com: mx.grey.example.com [127.")
		e.want("address", levelOK, "fit together for 5.9.0.1")
		e.want("address", levelOK, "SPF lets 5.9.0.1 send as <double-bounce@gate.example.net>")
		e.want("block lists", levelOK, "no block list has 5.9.0.1 (1 list)")
		e.want("relay", levelOK, "takes XFORWARD from this host")
		for _, site := range world.Sites() {
			for _, h := range site.Hosts {
				for _, c := range h.Record().Conns {
					for _, command := range c.Commands {
						if command.Stage != mxsim.Connect && !strings.EqualFold(command.Line, "QUIT") {
							t.Errorf("%s was told %q", h.Name, command.Line)
						}
					}
				}
			}
		}
	})
	t.Run("some cannot be reached", func(t *testing.T) {
		e := look(t, config, "example.com", "down.example.com", "blocked.example.com", "null.example.com",
			"none.example.com")
		e.want("port 25", levelWarning, "down.example.com: its mail servers cannot be reached", "refused")
		e.want("port 25", levelWarning, "refuses this host: 554 5.7.1 your address is listed")
		e.want("port 25", levelWarning, "null.example.com: no mail server", "null MX")
		e.want("port 25", levelWarning, "none.example.com: no mail server", "NXDOMAIN")
	})
	t.Run("port 25 closed", func(t *testing.T) {
		e := look(t, config, "down.example.com")
		e.want("port 25", levelFault, "seems closed", "down.example.com", `mode = "passive"`)
	})
	t.Run("names and lists", func(t *testing.T) {
		if err := world.Record(
			"9.0.9.5.bl.example.org. 300 IN A 127.0.0.4",
			"2.0.0.127.broken.example.org. 300 IN A 127.255.255.254",
			"9.0.9.5.broken.example.org. 300 IN A 127.255.255.254",
		); err != nil {
			t.Fatal(err)
		}
		e := look(t, strings.NewReplacer(`"5.9.0.1"`, `"5.9.0.9"`, `"bl.example.org"`,
			`"bl.example.org", "broken.example.org"`).Replace(config), "example.com")
		e.want("address", levelWarning, "5.9.0.9 has no PTR record")
		e.want("address", levelWarning, "leads to 5.9.0.1, not to 5.9.0.9")
		e.want("address", levelWarning, "SPF of gate.example.net for 5.9.0.9 gives fail",
			"ip4:5.9.0.9 -all")
		e.want("block lists", levelWarning, "5.9.0.9 is on the block list bl.example.org (127.0.0.4)")
		e.want("block lists", levelNote, "broken.example.org cannot be believed",
			"does not answer public resolvers")
		if n := len(e.find("block lists", levelWarning, "broken")); n > 0 {
			t.Error("an error of a list was taken for a listing")
		}
	})
	t.Run("resolver that makes up answers", func(t *testing.T) {
		world.HandleDNS(func(_ string, q *mdns.Msg) *mdns.Msg {
			name := q.Question[0].Name
			if !strings.HasSuffix(name, ".com.") || strings.Contains(name, "example") || q.Question[0].Qtype != mdns.TypeA {
				return nil
			}
			answer := new(mdns.Msg).SetReply(q)
			rr, err := mdns.NewRR(name + " 60 IN A 192.0.2.80")
			if err != nil {
				return nil
			}
			answer.Answer = append(answer.Answer, rr)
			return answer
		})
		defer world.HandleDNS(nil)
		e := look(t, config, "example.com")
		e.want("DNS", levelFault, "answers for a name that does not exist", "with 192.0.2.80")
	})
	t.Run("no resolver", func(t *testing.T) {
		closed := unusedAddress(t)
		_, rest, _ := strings.Cut(config, "servers = [\"")
		_, rest, _ = strings.Cut(rest, "\"]")
		head, _, _ := strings.Cut(config, "servers = [\"")
		e := look(t, head+"servers = [\""+closed+"\"]\ntimeout = \"200ms\"\ntries = "+
			"1\n"+strings.TrimPrefix(rest, "\n"), "example.com")
		e.want("DNS", levelFault, "no name server answers")
		e.want("port 25", levelWarning, "example.com: no mail server to connect to: failure")
	})
	t.Run("passive", func(t *testing.T) {
		e := look(t, strings.Replace(config, "[verify]\n", "[verify]\nmode = \"passive\"\n", 1))
		e.want("port 25", levelNote, "passive")
		e.want("address", levelNote, "passive")
	})
	t.Run("offline", func(t *testing.T) {
		before := len(world.Queries())
		e := examine(t, "--config", doctorConfig(t, config), "--postfix", noPostfix(t), "--offline")
		if n := len(world.Queries()) - before; n > 0 {
			t.Errorf("%d questions to DNS", n)
		}
		e.clean("relay")
		for _, group := range []string{"DNS", "port 25", "address", "block lists"} {
			if slices.ContainsFunc(e.Findings, func(f doctorFinding) bool { return f.Group == group }) {
				t.Errorf("%s was looked at", group)
			}
		}
	})
}

// unusedAddress is an address of this machine where nobody listens.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestDoctorRelay: what is wrong with the relay is found, and said without its control characters.
func TestDoctorRelay(t *testing.T) {
	look := func(t *testing.T, relay *mxsim.Relay, more string) *examined {
		t.Helper()
		t.Cleanup(relay.Close)
		address, err := relay.Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return examine(t, "--offline", "--postfix", noPostfix(t), "--config", doctorConfig(t, fmt.Sprintf(
			"[proxy]\nhostname = \"gate.example.net\"\n[relay]\nupstreams = [%q]\ntimeout = \"5s\"\n",
			address)+more))
	}
	t.Run("refuses", func(t *testing.T) {
		e := look(t, mxsim.NewRelay("relay.example.com", mxsim.Refuse(mxsim.Connect,
			"554 5.3.2 \x1b[31mclosed\x07")), "")
		f := e.want("relay", levelFault, `554 5.3.2 \x1b[31mclosed\x07`)
		if strings.ContainsAny(f.What+f.Fix, "\x1b\x07") {
			t.Errorf("printed raw: %q", f.What)
		}
	})
	t.Run("without extensions", func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.com")
		relay.Keywords = []string{"8BITMIME", "SIZE 1000"}
		e := look(t, relay, "")
		e.want("relay", levelWarning, "does not offer XFORWARD",
			"smtpd_authorized_xforward_hosts=127.0.0.0/8")
		e.want("relay", levelNote, "does not offer PIPELINING", "round trip")
		e.want("relay", levelNote, "does not offer DSN")
		e.want("relay", levelNote, "does not offer SMTPUTF8")
	})
	t.Run("not authorised", func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.com", func(_ *mxsim.Session,
			ev mxsim.Event,
		) (mxsim.Answer, bool) {
			if strings.HasPrefix(strings.ToUpper(ev.Line), "XFORWARD") {
				return mxsim.Say("550 5.7.0 Error: insufficient authorization"), true
			}
			return mxsim.Answer{}, false
		})
		e := look(t, relay, "")
		e.want("relay", levelWarning, "offers XFORWARD, but refuses it: 550 5.7.0")
	})
	t.Run("TLS", func(t *testing.T) {
		e := look(t, mxsim.NewRelay("relay.example.com"), "tls = \"encrypt\"\n")
		e.want("relay", levelFault, "does not offer STARTTLS")
		relay := mxsim.NewRelay("relay.example.com")
		relay.TLS = mxsim.TLS
		e = look(t, relay, "tls = \"encrypt\"\n")
		e.want("relay", levelOK, "with TLS")
		e.want("relay", levelOK, "takes XFORWARD")
		relay = mxsim.NewRelay("relay.example.com")
		relay.TLS = mxsim.TLS
		e = look(t, relay, "tls = \"verify\"\ntls_server_name = \"relay.example.com\"\n")
		e.want("relay", levelFault, "certificate")
	})
	t.Run("itself", func(t *testing.T) {
		_, upstream := testRelay(t)
		s := startServe(t, fmt.Sprintf("[proxy]\nlisten = [\"127.0.0.1:0\"]\nhostname = "+
			"\"gate.example.net\"\n"+
			"[relay]\nupstreams = [%q]\n[verify]\nmode = \"passive\"\n", upstream))
		address := s.listening("tcp")
		e := examine(t, "--offline", "--postfix", noPostfix(t), "--config", doctorConfig(t, fmt.Sprintf(
			"[proxy]\nhostname = \"gate.example.net\"\n[relay]\nupstreams = [%q]\n", address)))
		e.want("relay", levelFault, "is this gate itself")
		e = examine(t, "--offline", "--postfix", noPostfix(t), "--config", doctorConfig(t, fmt.Sprintf(
			"[proxy]\nhostname = \"other.example.net\"\n[relay]\nupstreams = [%q]\n", address)))
		e.want("relay", levelWarning, "is another rcptgate")
		s.stop()
	})
}

// TestDoctorGate: the gate that runs tells how it is, and whether it has the file as it is.
func TestDoctorGate(t *testing.T) {
	_, upstream := testRelay(t)
	dir := t.TempDir()
	s := startServe(t, fmt.Sprintf("[proxy]\nlisten = [\"127.0.0.1:0\"]\nhostname = "+
		"\"gate.example.net\"\n"+
		"[relay]\nupstreams = [%q]\n[verify]\nmode = \"passive\"\n[policy]\nmode = "+
		"\"shadow\"\nstate_directory = %q\n",
		upstream, dir))
	s.listening("tcp")
	look := func(path string) *examined {
		t.Helper()
		return examine(t, "--offline", "--postfix", noPostfix(t), "--config", path)
	}
	e := look(s.path)
	e.clean("gate", "relay", "files")
	e.want("gate", levelOK, "a gate runs since", "it refuses nothing")
	e.want("gate", levelOK, "relay: no upstream is known to be down")
	e.want("gate", levelOK, "may open ", " files")

	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(s.path, later, later); err != nil {
		t.Fatal(err)
	}
	look(s.path).want("gate", levelWarning, "was changed on", "systemctl reload rcptgate")

	text, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	other := doctorConfig(t, string(text))
	look(other).want("gate", levelNote, "has another configuration, "+s.path)
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		t.Error(err)
	}
	look(s.path).want("gate", levelNote, "no gate runs with this configuration")
}

// TestDoctorConfiguration: faults and warnings of the file, its certificate and its times.
func TestDoctorConfiguration(t *testing.T) {
	look := func(text string) *examined {
		t.Helper()
		return examine(t, "--offline", "--postfix", noPostfix(t), "--config", doctorConfig(t, text))
	}
	e := look("[proxy]\nlissen = []\nmax_recipients = 0\n")
	e.want("configuration", levelFault, `gate.toml:2:1: proxy.lissen: unknown key`, `did you mean "listen"?`)
	e.want("configuration", levelFault, "proxy.max_recipients")
	e.want("configuration", levelNote, "nothing else was looked at")
	e = look("[verify]\ntransaction_budget = \"10m\"\nrcpt_budget = \"5s\"\nprobe_timeout = \"4s\"\n")
	e.want("configuration", levelWarning, "verify.internal_domains: is empty")
	e.want("configuration", levelNote, "verify.transaction_budget (10m)", "5 minutes")
	e.want("configuration", levelNote, "verify.rcpt_budget (5s) is more than verify.probe_timeout "+
		"(4s)")

	certs := newTestCertificates(t)
	for _, tc := range []struct {
		end   time.Duration
		level doctorLevel
		text  string
	}{
		{90 * 24 * time.Hour, levelOK, "is good until"},
		{5 * 24 * time.Hour, levelWarning, "the certificate ends on"},
		{-time.Hour, levelFault, "the certificate has expired"},
	} {
		cert, key := certs(time.Now().Add(tc.end))
		e = look(fmt.Sprintf("[proxy]\nhostname = \"mail.example.com\"\ntls_cert_file = %q\ntls_key_file "+
			"= %q\n", cert, key))
		e.want("configuration", tc.level, tc.text)
	}
}

// TestDoctorUsage: what is no usage of it ends with exit code 2.
func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{
		{"more"},
		{"--config", filepath.Join(t.TempDir(), "none.toml")},
		{"--domain", "not a domain"},
		{"--domain", "[127.0.0.1]"},
		{"--offline", "--domain", "example.com"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"doctor"}, args...), strings.NewReader(""), &out, &errs); code != exitUsage {
			t.Errorf("%q: exit code %d:\n%s%s", args, code, out.Bytes(), errs.Bytes())
		}
	}
}

// TestDoctorText: text for people has the levels, the fixes and the sum, and no colour in a pipe.
func TestDoctorText(t *testing.T) {
	var out, errs bytes.Buffer
	path := doctorConfig(t, "[relay]\nupstreams = [\""+unusedAddress(t)+"\"]\n")
	code := run([]string{"doctor", "--offline", "--config", path, "--postfix", noPostfix(t)},
		strings.NewReader(""), &out, &errs)
	text := out.String()
	if code != exitFailed || errs.Len() > 0 || strings.Contains(text, "\x1b") {
		t.Errorf("exit code %d, %q:\n%s", code, errs.String(), text)
	}
	for _, part := range []string{
		"relay\n  fault    relay 127.0.0.1:", "\n           fix: nothing listens there", "\n1 fault, ",
		" warning",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("without %q:\n%s", part, text)
		}
	}
}

// newTestCertificates returns a function that writes a certificate for mail.example.com, and its key.
func newTestCertificates(t *testing.T) func(end time.Time) (cert, key string) {
	t.Helper()
	return func(end time.Time) (cert, key string) {
		dir := t.TempDir()
		p := newPair(t, "mail.example.com", end.Add(-91*24*time.Hour), end)
		cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		write(t, cert, p.cert)
		write(t, key, p.key)
		return cert, key
	}
}
