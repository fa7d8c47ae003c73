package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"

	"github.com/rcptgate/rcptgate/policy/message"
)

const exampleFile = "../../config.example.toml"

// TestExampleIsTheDefaults holds config.example.toml and Default together: the file sets every key,
// to its default. The host name alone cannot have one that is worth reading.
func TestExampleIsTheDefaults(t *testing.T) {
	got, err := Load(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Proxy.Hostname = "gate.example.com"
	ignore := []cmp.Option{
		cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateComparable(Network{}),
		cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(want, got, ignore...); diff != "" {
		t.Errorf("defaults (-) and example (+) differ:\n%s", diff)
	}
}

// TestExampleHasEveryKey compares the names in both directions. The example of a rule is commented
// out, for it is no default; it counts all the same, and must be a rule that works.
func TestExampleHasEveryKey(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^# (\[\[|name =|when =|action =|mark =|header =|code =|enhanced|text =|per =|messages =|recipients =|checks =|address =|priority =|weight =)`).
		ReplaceAllString(string(data), "$1")
	text = strings.Replace(text, `action = "accept"`, `action = "reject"`, 1)
	var document map[string]any
	if err := toml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	want := allKeys(reflect.TypeFor[Config](), "")
	got := keysOf(document, "")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of the structs (-) and of the example (+) differ:\n%s", diff)
	}
	// The two ways to name relays exclude each other.
	text = strings.Replace(text, `upstreams = ["127.0.0.1:10026"]`, "", 1)
	cfg, err := Parse("example", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Policy.Rules) != 1 || len(cfg.Relay.Upstream) != 1 {
		t.Errorf("the example has %d rules, %d upstreams", len(cfg.Policy.Rules), len(cfg.Relay.Upstream))
	}
}

func keysOf(document map[string]any, prefix string) []string {
	var keys []string
	for key, value := range document {
		path := join(prefix, key)
		keys = append(keys, path)
		if path == "policy.message.checks" {
			continue // its names are not keys of ours
		}
		switch value := value.(type) {
		case map[string]any:
			keys = append(keys, keysOf(value, path)...)
		case []any:
			for _, element := range value {
				if table, ok := element.(map[string]any); ok {
					keys = append(keys, keysOf(table, path)...)
				}
			}
		}
	}
	return keys
}

func checkNames() string {
	var names []string
	for _, info := range message.Checks() {
		names = append(names, string(info.Check))
	}
	return strings.Join(names, ", ")
}

// TestPresets: a preset sets more than rules, but never what the file sets itself.
func TestPresets(t *testing.T) {
	cfg, err := Parse("f", []byte("[policy]\npreset = \"bulk\"\nmessage.checks = { form = \"off\" }"))
	if err != nil {
		t.Fatal(err)
	}
	levels := cfg.MessageConfig().Levels
	if cfg.Policy.Hygiene.Mode != "enforce" || cfg.Policy.Suppression.Learn != "bounces" ||
		levels[message.Form] != message.Off || levels[message.DMARC] != message.Reject {
		t.Errorf("hygiene %s, learns %s, levels %v", cfg.Policy.Hygiene.Mode, cfg.Policy.Suppression.Learn,
			levels)
	}
	cfg, err = Parse("f", []byte("[policy]\npreset = \"bulk\"\nhygiene.mode = \"off\"\nsuppression.learn = \"off\""))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Policy.Hygiene.Mode != "off" || cfg.Policy.Suppression.Learn != "off" {
		t.Errorf("hygiene %s, learns %s", cfg.Policy.Hygiene.Mode, cfg.Policy.Suppression.Learn)
	}
}

// TestFaults has one row for each thing that can be wrong. want is the whole error, without the file.
func TestFaults(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"label": {
			"[verify.feedback]\nlabels = [\"postfix/smtp[1]\"]",
			`:2:11: verify.feedback.labels[0]: "postfix/smtp[1]" cannot be used; write what the log has before "[": "postfix/smtp", "postfix-out/relay/smtp", or one * for any text: "postfix*/smtp"`,
		},
		"smarthost": {
			"[verify.feedback]\nsmarthosts = [\"smart host\"]",
			`:2:15: verify.feedback.smarthosts[0]: "smart host" cannot be used; write a host name ("smarthost.example.com", ".example.com" for all below it), an address or a network; ":587" behind a name or an address ("[2001:db8::1]:587") restricts it to a port`,
		},
		"unknown table": {
			"[proxi]\nlisten = 1",
			`:1:2: proxi: unknown key; did you mean "proxy"?`,
		},
		"unknown key, in another table": {
			"[proxy]\nupstreams = []",
			`:2:1: proxy.upstreams: unknown key; did you mean relay.upstreams?`,
		},
		"unknown key, like none": {
			"[http]\nzzzzzzzz = 1",
			`:2:1: http.zzzzzzzz: unknown key; the keys of [http] are control_socket, listen, max_verifications, plaintext, rate, tls_certificate, tls_key, tokens_file`,
		},
		"tokens in plaintext": {
			"[http]\nlisten = \":8025\"\ntokens_file = \"/etc/tokens\"",
			`:2:1: http.listen: ":8025" is open to other machines, and tokens would go there in plaintext; set http.tls_certificate and http.tls_key, or listen on 127.0.0.1; "plaintext = true" lets them be read on the way`,
		},
		"half a certificate of http": {
			"[http]\ntls_key = \"/etc/key.pem\"",
			`:2:1: http.tls_key: is set, but http.tls_certificate is not; set both, or neither: "" is no TLS`,
		},
		"the other half": {
			"[http]\ntls_certificate = \"/etc/cert.pem\"",
			`:2:1: http.tls_certificate: is set, but http.tls_key is not; set both, or neither: "" is no TLS`,
		},
		"TLS at a Unix socket": {
			"[http]\nlisten = \"unix:/run/http\"\ntls_certificate = \"/etc/cert.pem\"\ntls_key = \"/etc/key.pem\"",
			`:3:1: http.tls_certificate: is set, but http.listen is a Unix socket, which has no TLS; take it out, and http.tls_key`,
		},
		"a share above one": {
			"[policy.hygiene]\nhold = 10",
			`:2:8: policy.hygiene.hold: 10 is not a share; write a number from 0 to 1: 0.05 for 5 %`,
		},
		"a share in quotes": {
			"[policy.hygiene]\nhold = \"10%\"",
			`:2:8: policy.hygiene.hold: want a number, not the string "10%"; write it without quotes and unit`,
		},
		"shares that do not rise": {
			"[policy.hygiene]\nhold = 0.045",
			`:1:9: policy.hygiene.throttle: warn (0.04), throttle (0.05) and hold (0.045) do not rise` +
				` (not set in the file: this is the default); each may not be above the one that follows`,
		},
		"a limit by nothing": {
			"[[policy.limits]]\nname = \"all\"\nmessages = [\"9/hour\"]",
			`:1:10: policy.limits[0].per: "" is nothing to count by (not set in the file: this is the ` +
				`default); valid: login, sender, sender_domain, client`,
		},
		"a limit that is none": {
			"[[policy.limits]]\nname = \"all\"\nper = \"client\"\nmessages = [\"9/hour\", \"many\"]",
			`:4:23: policy.limits[0].messages[1]: "many" has no unit; write "200/hour" or "200/hour burst 20"; ` +
				`units: minute, hour, day`,
		},
		"a check that there is none of": {
			"[policy.message.checks]\ndkmi = \"warn\"",
			`:2:1: policy.message.checks.dkmi: there is no such check; valid: ` + checkNames(),
		},
		"a level that there is none of": {
			"[policy.message.checks]\nform = \"on\"\nspf.x = 1",
			`:2:1: policy.message.checks.form: "on" is no level; write off, log, warn, defer or reject` + "\n" +
				`:3:1: policy.message.checks.spf: is a key, not a table; take the dot out`,
		},
		"a list that is not text": {
			"[policy]\nlists = { vips = 7 }",
			`:2:11: policy.lists.vips: want a string, not the number 7; put it in quotes: "7"`,
		},
		"a socket that is none": {
			"[http]\ncontrol_socket = \"127.0.0.1:9\"",
			`:2:1: http.control_socket: "127.0.0.1:9" is no Unix socket; write "unix:/path": whoever may ` +
				`open it controls the gate`,
		},
		"hashes without a secret": {
			"[policy.journal]\nredact = \"hash\"\npath = \"journal\"",
			`:2:1: policy.journal.redact: "hash" needs a secret that outlives the gate; set ` +
				`policy.state_directory, where it is kept` + "\n" + `:3:1: policy.journal.path: "journal" is no absolute ` +
				`path; write an absolute path, such as "/var/lib/rcptgate"`,
		},
		"policyd for everybody": {
			"[policyd]\nlisten = [\"192.0.2.1:10040\"]",
			`:2:11: policyd.listen[0]: "192.0.2.1:10040" is open to other machines, but ` +
				`policyd.client_networks is not set; set policyd.client_networks to your own mail servers, ` +
				`or listen on 127.0.0.1`,
		},
		"key with control octets": {
			"[http]\n\"a\\u001bb\" = 1",
			`:2:1: http.a\x1bb: unknown key; the keys of [http] are control_socket, listen, max_verifications, plaintext, rate, tls_certificate, tls_key, tokens_file`,
		},
		"key at the top": {
			"listen = []",
			`:1:1: listen: unknown key; did you mean proxy.listen?`,
		},
		"table for a key": {
			"[proxy.listen]\na = 1",
			`:1:8: proxy.listen: is a key, not a table; write it as listen = ... below its table`,
		},
		"key for a table": {
			"verify.dns = 3",
			`:1:14: verify.dns: is a table, not the number 3; write [verify.dns] and its keys below`,
		},
		"dotted below a key": {
			"proxy.hostname.x = 3",
			`:1:7: proxy.hostname: is a key, not a table; take the dot out`,
		},
		"list of tables for a table": {
			"[[proxy]]\nhostname = \"a.example.com\"",
			`:1:3: proxy: is one table, not a list of tables; write [proxy]`,
		},
		"table for a list of tables": {
			"[policy.rules]\nname = \"a\"\nwhen = \"true\"\naction = \"accept\"",
			`:1:9: policy.rules: is a list of tables; write [[policy.rules]]`,
		},
		"number for a string": {
			"[verify]\nhelo = 3",
			`:2:8: verify.helo: want a string, not the number 3; put it in quotes: "3"`,
		},
		"string for a number": {
			"[verify]\nprobe_port = \"25\"",
			`:2:14: verify.probe_port: want a whole number, not the string "25"; write it without quotes and unit`,
		},
		"float for a number": {
			"[verify]\nprobe_port = 2.5",
			`:2:14: verify.probe_port: want a whole number, not the number 2.5; write it without quotes and unit`,
		},
		"huge number": {
			"[verify]\nprobe_port = 99999999999999999999",
			`:2:14: verify.probe_port: 99999999999999999999 is out of range; write a smaller number` + "\n" +
				`:2:14: not valid TOML: `,
		},
		"no list": {
			"[relay]\nupstreams = \"127.0.0.1:25\"",
			`:2:13: relay.upstreams: want a list, not the string "127.0.0.1:25"; put it in brackets: ["127.0.0.1:25"]`,
		},
		"no port": {
			"[relay]\nupstreams = [\"relay.example.com\"]",
			`:2:14: relay.upstreams[0]: "relay.example.com" has no port; write "host:port", such as ` +
				`"127.0.0.1:10025" or "[::1]:10025", or "unix:/path"`,
		},
		"port out of range": {
			"[relay]\nupstreams = [\"127.0.0.1:70000\"]",
			`:2:14: relay.upstreams[0]: "127.0.0.1:70000" has no port number from 0 to 65535; ` +
				`write "host:port", such as "127.0.0.1:10025" or "[::1]:10025", or "unix:/path"`,
		},
		"port 0 to connect to": {
			"[relay]\nupstreams = [\"127.0.0.1:0\"]",
			`:2:14: relay.upstreams[0]: "127.0.0.1:0" has no host and port to connect to; write "host:port" or "unix:/path"`,
		},
		"relative socket": {
			"[proxy]\nlisten = [\"unix:socket\"]",
			`:2:11: proxy.listen[0]: "unix:socket" is not the path of a socket; ` +
				`write "unix:" and an absolute path, such as "unix:/run/rcptgate/smtp"`,
		},
		"nothing to listen on": {
			"[proxy]\nlisten = []",
			`:2:1: proxy.listen: is empty: nothing to listen on; write ["127.0.0.1:10025"]; it may be empty if policyd.listen is not`,
		},
		"listener twice": {
			"[proxy]\nlisten = [\"127.0.0.1:25\", \"127.0.0.1:25\"]",
			`:2:27: proxy.listen[1]: is listed twice, first as proxy.listen[0]; take one out`,
		},
		"no relay": {
			"[relay]\nupstreams = []",
			`:2:1: relay.upstreams: is empty: accepted mail has nowhere to go; write the relay's address, such as ["127.0.0.1:10026"]`,
		},
		"network with host bits": {
			"[proxy]\nclient_networks = [\"10.1.2.3/8\"]",
			`:2:20: proxy.client_networks[0]: "10.1.2.3/8" has bits set beyond its prefix length; ` +
				`write "10.0.0.0/8" for the network or "10.1.2.3" for the one address`,
		},
		"two faults in one list": {
			"[verify]\nbind_addresses = [\"a\",\n  \"192.0.2.1\", \"b\"]",
			`:2:19: verify.bind_addresses[0]: "a" is not an IP address; write one such as "192.0.2.1"` + "\n" +
				`:3:16: verify.bind_addresses[2]: "b" is not an IP address; write one such as "192.0.2.1"`,
		},
		"wrong value": {
			"[policy]\nmode = \"Shadow\"",
			`:2:8: policy.mode: "Shadow" is not one of its values; did you mean "shadow"? (enforce, shadow)`,
		},
		"sender <>": {
			"[verify]\nprobe_sender = \"<>\"\nfallback_sender = \"nobody\"",
			`:2:1: verify.probe_sender: is empty, and probes never come from <>; ` +
				`write "envelope" for the sender of each mail, or an address that exists` + "\n" +
				`:3:1: verify.fallback_sender: "nobody" is not an address; ` +
				`write an address such as "double-bounce@gate.example.com", or "" for that default`,
		},
		"internal domain": {
			"[verify]\ninternal_domains = [\"example.com\", \"exa mple\"]",
			`:2:36: verify.internal_domains[1]: `,
		},
		"error limits": {
			"[proxy]\nsoft_error_limit = 5\nhard_error_limit = 4",
			`:3:1: proxy.hard_error_limit: 4 is less than soft_error_limit (5); write at least 5`,
		},
		"budgets": {
			"[verify]\nrcpt_budget = \"26s\"\n[proxy]\nreply_limit = \"116s\"",
			`:2:1: verify.rcpt_budget: 26s is more than verify.transaction_budget (25s); write at most "25s", or raise transaction_budget` + "\n" +
				`:4:1: proxy.reply_limit: 116s is not more than verify.rcpt_budget (26s) + relay.timeout (90s) = 116s: ` +
				`the client would give up before the answer; shorten relay.timeout, or raise reply_limit here and the ` +
				`client's own (Postfix: smtpd_proxy_timeout)`,
		},
		"answer to the message": {
			"[relay]\ndata_done_timeout = \"100s\"",
			`:2:1: relay.data_done_timeout: 100s is not less than proxy.reply_limit (100s): the client would give up ` +
				`before the answer; shorten it, or raise reply_limit here and the client's own (Postfix: smtpd_proxy_timeout)`,
		},
		"key without certificate": {
			"[proxy]\ntls_key_file = \"/k\"",
			`:2:1: proxy.tls_key_file: is set, but proxy.tls_cert_file is not; set both, or neither: "" offers no TLS`,
		},
		"certificate without key": {
			"[proxy]\ntls_cert_file = \"/c\"",
			`:2:1: proxy.tls_cert_file: is set, but proxy.tls_key_file is not; set both, or neither: "" offers no TLS`,
		},
		"TLS without certificate": {
			"[proxy]\ntls_listen = [\"127.0.0.1:465\"]",
			`:2:1: proxy.tls_listen: needs a certificate; set proxy.tls_cert_file and proxy.tls_key_file`,
		},
		"listener of two kinds": {
			"[http]\nlisten = \"127.0.0.1:10025\"",
			`:2:1: http.listen: is listed twice, first as proxy.listen[0]; take one out`,
		},
		"relay is a TLS listener": {
			"[proxy]\ntls_cert_file = \"/c\"\ntls_key_file = \"/k\"\ntls_listen = [\"127.0.0.1:465\"]\n" +
				"[relay]\nupstreams = [\"127.0.0.1:465\"]",
			`:6:14: relay.upstreams[0]: "127.0.0.1:465" is this gate itself (proxy.tls_listen "127.0.0.1:465"): ` +
				`mail would go round in circles; write the address of the relay behind it, such as a re-injection smtpd on port 10026`,
		},
		"both lists of relays": {
			"[relay]\nupstreams = [\"127.0.0.1:26\"]\n[[relay.upstream]]\naddress = \"127.0.0.1:27\"",
			`:2:1: relay.upstreams: is set, and [[relay.upstream]] too; name all relays in one of them`,
		},
		"relay without address": {
			"[[relay.upstream]]\npriority = 1",
			`:1:9: relay.upstream[0]: has no address; write address = "host:port" or "unix:/path"`,
		},
		"relay without weight": {
			"[[relay.upstream]]\naddress = \"127.0.0.1:26\"\nweight = 0",
			`:3:10: relay.upstream[0].weight: 0 is too small; write at least 1`,
		},
		"relay twice": {
			"[[relay.upstream]]\naddress = \"127.0.0.1:26\"\n[[relay.upstream]]\naddress = \"127.0.0.1:26\"",
			`:4:1: relay.upstream[1].address: is listed twice, first as relay.upstream[0].address; take one out`,
		},
		"wrapper mode": {
			"[relay]\ntls_wrappermode = true\ntls = \"may\"",
			`:2:1: relay.tls_wrappermode: begins with TLS, but relay.tls is "may"; write tls = "encrypt" or "verify"`,
		},
		"no name to verify": {
			"[relay]\nupstreams = [\"unix:/run/relay\"]\ntls = \"verify\"",
			`:1:2: relay.tls_server_name: is empty, but relay.tls is "verify" and "unix:/run/relay" has no name to look for ` +
				`(not set in the file: this is the default); write the name in the relay's certificate, such as "relay.example.com"`,
		},
		"level of a package": {
			"[log]\nlevels = { proxi = \"debug\", verify = \"all\" }",
			`:2:12: log.levels.proxi: unknown key; did you mean "proxy"?` + "\n" +
				`:2:38: log.levels.verify: "all" is not one of its values; write "" or "debug" or "info" or "warn" or "error"`,
		},
		"rule without a condition": {
			"[[policy.rules]]\nname = \"a\"\naction = \"accept\"",
			`:1:10: policy.rules[0]: when: `,
		},
		"place within a condition": {
			"[[policy.rules]]\nname = \"a\"\naction = \"accept\"\nwhen = '''true &&\n  zzz'''",
			`:5:3: policy.rules[0].when: unknown name "zzz"`,
		},
		"date": {
			"[verify]\nhelo = 2026-01-01",
			`:2:8: verify.helo: want a string, not a date; put it in quotes: "..."`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			faults, ok := errors.AsType[Errors](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			want := strings.Split(test.want, "\n")
			if len(faults) != len(want) {
				t.Fatalf("%d faults:\n%v", len(faults), err)
			}
			for i, fault := range faults {
				got := strings.TrimPrefix(fault.Error(), "f")
				// What other packages say is only compared up to there.
				open := strings.HasSuffix(want[i], ": ") || strings.HasSuffix(want[i], `"`)
				if got != want[i] && (!open || !strings.HasPrefix(got, want[i])) {
					t.Errorf("got  %s\nwant %s", got, want[i])
				}
			}
		})
	}
}

func TestInlineAndDottedForms(t *testing.T) {
	cfg, err := Parse("f", []byte(`
proxy = { hostname = "gate.example.com", client_timeout = "1m" }
verify.dns.tries = 3
relay.upstreams = ["unix:/run/relay"]
policy.rules = [{ name = "a", when = "true", action = "accept" }]
`))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Proxy.Hostname != "gate.example.com" || cfg.Verify.DNS.Tries != 3 ||
		cfg.Relay.Upstreams[0] != "unix:/run/relay" || cfg.Policy.Rules[0].Action != "accept" ||
		time.Duration(cfg.Proxy.ClientTimeout) != time.Minute {
		t.Errorf("read as %+v", cfg)
	}
	if cfg.Verify.DNS.Timeout != Default().Verify.DNS.Timeout {
		t.Errorf("the default beside a key that is set became %v", cfg.Verify.DNS.Timeout)
	}
}

func TestLoop(t *testing.T) {
	tests := []struct {
		listen, upstream string
		loop             bool
	}{
		{"127.0.0.1:25", "127.0.0.1:25", true},
		{"127.0.0.1:25", "127.0.0.1:26", false},
		{"127.0.0.1:25", "localhost:25", true},
		{"localhost:25", "127.0.0.1:25", true},
		{"localhost:25", "[::1]:25", true},
		{"127.0.0.1:25", "127.0.0.2:25", false},
		{"127.0.0.1:25", "0.0.0.0:25", true},
		{"0.0.0.0:25", "127.0.0.1:25", true},
		{"[::]:25", "127.0.0.1:25", true},
		{":25", "127.9.9.9:25", true},
		{":25", "relay.example.com:25", false},
		{"gate.example.com:25", "GATE.example.com.:25", true},
		{"0.0.0.0:25", "192.0.2.1:25", false},
		{"192.0.2.1:25", "192.0.2.1:25", true},
		{"192.0.2.1:25", "[::ffff:192.0.2.1]:25", true},
		{"unix:/run/a", "unix:/run/x/../a", true},
		{"unix:/run/a", "unix:/run/b", false},
		{"unix:/run/a", "127.0.0.1:25", false},
		{"127.0.0.1:25", "unix:/run/a", false},
	}
	for _, test := range tests {
		text := "[proxy]\nclient_networks = [\"127.0.0.0/8\"]\nlisten = [\"" + test.listen +
			"\"]\n[relay]\nupstreams = [\"" + test.upstream + "\"]\n"
		_, err := Parse("f", []byte(text))
		if got := err != nil; got != test.loop {
			t.Errorf("listen %s, upstream %s: %v", test.listen, test.upstream, err)
		}
	}
}

// TestLoopThroughAnInterface: a relay at one of this machine's own addresses, the gate at all of
// them.
func TestLoopThroughAnInterface(t *testing.T) {
	var own string
	for _, addr := range interfaceAddrs() {
		if addr.Is4() && !addr.IsLoopback() {
			own = addr.String()
		}
	}
	if own == "" {
		t.Skip("this machine has no address but loopback")
	}
	path := filepath.Join(t.TempDir(), "gate.toml")
	text := "[proxy]\nclient_networks = [\"127.0.0.0/8\"]\nlisten = [\"0.0.0.0:2525\"]\n" +
		"[relay]\nupstreams = [\"" + own + ":2525\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "is this gate itself") {
		t.Errorf("error %v", err)
	}
}

func TestLoadReadsDomainFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.toml")
	text := "[verify]\ninternal_domains = [\"file:/nonexistent/domains\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), ":2:21: verify.internal_domains[0]: ") {
		t.Errorf("error %v", err)
	}
}

// TestLoopThroughAName: the listener is at the name of this machine, the relay at its address.
func TestLoopThroughAName(t *testing.T) {
	name, err := os.Hostname()
	if err != nil || hostnameProblem(name) != "" {
		t.Skip("this machine has no name")
	}
	addrs := lookup(name)
	if len(addrs) == 0 {
		t.Skip("the name of this machine does not resolve")
	}
	path := filepath.Join(t.TempDir(), "gate.toml")
	for _, pair := range [][2]string{
		{name + ":2525", netip.AddrPortFrom(addrs[0], 2525).String()},
		{netip.AddrPortFrom(addrs[0], 2525).String(), name + ":2525"},
	} {
		text := "[proxy]\nclient_networks = [\"127.0.0.0/8\"]\nlisten = [\"" + pair[0] + "\"]\n" +
			"[relay]\nupstreams = [\"" + pair[1] + "\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "is this gate itself") {
			t.Errorf("listen %s, upstream %s: error %v", pair[0], pair[1], err)
		}
	}
}

// TestUpstreams: what a table leaves out, and what the short form stands for.
func TestUpstreams(t *testing.T) {
	cfg, err := Parse("f", []byte("[[relay.upstream]]\naddress = \"a.example.com:25\"\n"+
		"[[relay.upstream]]\naddress = \"b.example.com:25\"\npriority = 0\nweight = 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Upstream{{"a.example.com:25", 10, 1}, {"b.example.com:25", 0, 3}}
	if diff := cmp.Diff(want, cfg.Relay.Upstream); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if got := cfg.UpstreamAddresses(); !slices.Equal(got, []string{"a.example.com:25", "b.example.com:25"}) {
		t.Errorf("addresses %v", got)
	}
}

// TestLoadReadsCertificates: files that are named must be there and fit; Load says which and why.
func TestLoadReadsCertificates(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gate.toml")
	for _, test := range []struct{ text, want string }{
		{
			"[proxy]\ntls_cert_file = \"" + garbage + "\"\ntls_key_file = \"/nonexistent/key\"\n",
			":3:1: proxy.tls_key_file: /nonexistent/key: no such file or directory; make the file readable",
		},
		{
			"[proxy]\ntls_cert_file = \"" + garbage + "\"\ntls_key_file = \"" + garbage + "\"\n",
			":2:1: proxy.tls_cert_file: " + garbage + ", " + garbage + ": failed to find any PEM data",
		},
		{
			"[relay]\ntls = \"verify\"\ntls_ca_file = \"" + garbage + "\"\n",
			":3:1: relay.tls_ca_file: " + garbage + ": has no certificate; name a file of PEM certificates",
		},
		{
			"[relay]\ntls = \"verify\"\ntls_ca_file = \"/nonexistent/ca\"\n",
			":3:1: relay.tls_ca_file: /nonexistent/ca: no such file or directory; name a file",
		},
	} {
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+test.want) {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}

// TestLoadReadsProviderFiles: each fault of a file of profiles is told, and good ones are in force.
func TestLoadReadsProviderFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", "[google]\nlimits.connections = 1\n"+
		"[partner]\ntitle = \"Partner\"\nmx = [\"*.mx.partner.example\"]\nsources = [\"they told us\"]\n")
	bad := write("bad.toml", "[google]\nlimits.connections = -1\nrefusal = 7.0\n")
	load := func(path string) (*Config, error) {
		return Load(write("gate.toml", fmt.Sprintf("[verify]\nprovider_files = [%q]\n", path)))
	}
	cfg, err := load(good)
	if err != nil {
		t.Fatal(err)
	}
	table, err := cfg.Providers()
	if err != nil {
		t.Fatal(err)
	}
	if p := table.Find("example.com", []string{"a.mx.partner.example"}); p.Name != "partner" {
		t.Errorf("found %q", p.Name)
	}
	if p := table.Find("gmail.com", nil); p.Limits.Connections != 1 {
		t.Errorf("google has %d connections", p.Limits.Connections)
	}
	_, err = load(bad)
	for _, want := range []string{
		":2:", "verify.provider_files", "bad.toml", "limits.connections", "refusal",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err = load(filepath.Join(dir, "none.toml")); err == nil ||
		!strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestPackagedConfiguration: the configuration beside the unit files is good, and its cache is where
// the unit lets the gate write.
func TestPackagedConfiguration(t *testing.T) {
	const dir = "../../deploy/systemd/"
	cfg, err := Load(dir + "rcptgate.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range cfg.Warnings() {
		if warning.Key != "verify.internal_domains" { // the administrator's to fill in
			t.Errorf("%v", warning)
		}
	}
	unit, err := os.ReadFile(dir + "rcptgate.service")
	if err != nil {
		t.Fatal(err)
	}
	state := regexp.MustCompile(`(?m)^StateDirectory=(\S+)$`).FindStringSubmatch(string(unit))
	if state == nil || filepath.Dir(cfg.Verify.Cache.Path) != "/var/lib/"+state[1] {
		t.Errorf("the cache is at %s, the unit has %q", cfg.Verify.Cache.Path, state)
	}
	socket, err := os.ReadFile(dir + "rcptgate.socket")
	if err != nil {
		t.Fatal(err)
	}
	for _, listen := range cfg.Proxy.Listen {
		if !strings.Contains(string(socket), "\nListenStream="+string(listen)+"\n") {
			t.Errorf("no socket for %s", listen)
		}
	}
}
