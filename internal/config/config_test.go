package config

import (
	"errors"
	"math"
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
	text := regexp.MustCompile(`(?m)^# (\[\[policy|name =|when =|action =|code =|enhanced|text =)`).
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
	cfg, err := Parse("example", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Policy.Rules) != 1 {
		t.Errorf("the example has %d rules", len(cfg.Policy.Rules))
	}
}

func keysOf(document map[string]any, prefix string) []string {
	var keys []string
	for key, value := range document {
		path := join(prefix, key)
		keys = append(keys, path)
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

// TestFaults has one row for each thing that can be wrong. want is the whole error, without the file.
func TestFaults(t *testing.T) {
	tests := map[string]struct{ text, want string }{
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
			`:2:1: http.zzzzzzzz: unknown key; the keys of [http] are listen`,
		},
		"key with control octets": {
			"[http]\n\"a\\u001bb\" = 1",
			`:2:1: http.a\x1bb: unknown key; the keys of [http] are listen`,
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
			`:2:1: proxy.listen: is empty: nothing to listen on; write ["127.0.0.1:10025"]`,
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
				if got != want[i] && !(strings.HasSuffix(want[i], ": ") || strings.HasSuffix(want[i], `"`)) ||
					!strings.HasPrefix(got, want[i]) {
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

func TestDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration // < 0: an error
		form string
	}{
		{"8s", 8 * time.Second, "8s"},
		{"100s", 100 * time.Second, "100s"},
		{"1m30s", 90 * time.Second, "90s"},
		{"500ms", 500 * time.Millisecond, "500ms"},
		{"5m", 5 * time.Minute, "5m"},
		{"1h", time.Hour, "1h"},
		{"24h", day, "1d"},
		{"7d", 7 * day, "7d"},
		{"2w", 14 * day, "14d"},
		{"1w1d12h", 8*day + 12*time.Hour, "204h"},
		{"0s", 0, "0s"},
		{"0", 0, "0s"},
		{"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"", -1, ""},
		{"8", -1, ""},
		{"-8s", -1, ""},
		{"1d-1h", -1, ""},
		{"+8s", -1, ""},
		{"8 s", -1, ""},
		{"d", -1, ""},
		{"99999999999999w", -1, ""},
		{"100000w100000d", -1, ""},
		{"2562047h48m", -1, ""},
		{"8S", -1, ""},
	}
	for _, test := range tests {
		var d Duration
		err := d.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want < 0) {
			t.Errorf("%q: error %v", test.text, err)
		}
		if err == nil && (time.Duration(d) != test.want || d.String() != test.form) {
			t.Errorf("%q is %v, written %q", test.text, time.Duration(d), d)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // < 0: an error
		form string
	}{
		{"50MiB", 50 << 20, "50MiB"},
		{"1GiB", 1 << 30, "1GiB"},
		{"512", 512, "512B"},
		{"512B", 512, "512B"},
		{"10MB", 10_000_000, "10000000B"},
		{"1 MiB", 1 << 20, "1MiB"},
		{"1_000", 1000, "1000B"},
		{"0", 0, "0B"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807B"},
		{"9223372036854775808", -1, ""},
		{"9999999TiB", -1, ""},
		{"-1", -1, ""},
		{"1.5MiB", -1, ""},
		{"MiB", -1, ""},
		{"", -1, ""},
		{"50mib", -1, ""},
	}
	for _, test := range tests {
		var s Size
		err := s.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want < 0) {
			t.Errorf("%q: error %v", test.text, err)
		}
		if err == nil && (int64(s) != test.want || s.String() != test.form) {
			t.Errorf("%q is %d, written %q", test.text, int64(s), s)
		}
	}
}

func TestHostnameProblem(t *testing.T) {
	for _, name := range []string{
		"gate.example.com", "gate.example.com.", "gate", "a_b.example.com", "1.example.com",
		"xn--bcher-kva.example", strings.Repeat("a", 63) + ".example",
	} {
		if problem := hostnameProblem(name); problem != "" {
			t.Errorf("%q %s", name, problem)
		}
	}
	for _, name := range []string{
		"", ".", "a..b", "-a.example", "a-.example", "a b", "a\r\nb", "bücher.example", "192.0.2.1",
		"[192.0.2.1]", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "com", "a/b",
	} {
		if hostnameProblem(name) == "" {
			t.Errorf("%q passes", name)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"listen", "hostname", "client_timeout", "client_networks"}
	for word, want := range map[string]string{
		"lissen": "listen", "listne": "listen", "Listen": "listen", "hostnam": "hostname",
		"client_timout": "client_timeout", "xyz": "", "": "", "l": "",
		strings.Repeat("x", 1000): "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%q: %q instead of %q", word, got, want)
		}
	}
}

// TestWarnings: what works but is probably not meant, and nothing for a good file.
func TestWarnings(t *testing.T) {
	const good = "[proxy]\nhostname = \"gate.example.com\"\n[verify]\ninternal_domains = [\"example.com\"]\n"
	tests := map[string]struct{ text, key string }{
		"none":                 {good, ""},
		"no domain":            {strings.Replace(good, "gate.example.com", "gate", 1), "proxy.hostname"},
		"anybody may connect":  {"[proxy]\nhostname = \"a.example\"\nclient_networks = [\"0.0.0.0/0\"]\n[verify]\nmode = \"passive\"", "proxy.client_networks"},
		"anybody is believed":  {strings.Replace(good, "[verify]", "xforward_networks = [\"::/0\"]\n[verify]", 1), "proxy.xforward_networks"},
		"probes go everywhere": {good + "allow_networks = [\"0.0.0.0/0\"]", "verify.allow_networks"},
		"another port":         {good + "probe_port = 2525", "verify.probe_port"},
		"own domains":          {"[proxy]\nhostname = \"gate.example.com\"", "verify.internal_domains"},
		"cache on disk":        {good + "[verify.cache]\npath = \"/x\"", "verify.cache.path"},
		"relay log":            {good + "[verify.feedback]\nrelay_log = \"/x\"", "verify.feedback.relay_log"},
		"policyd":              {good + "[policyd]\nlisten = [\"127.0.0.1:10031\"]", "policyd.listen"},
		"http":                 {good + "[http]\nlisten = \"127.0.0.1:8025\"", "http.listen"},
		"refresh behind expiry": {
			good + "[verify.cache]\npositive_refresh_time = \"8d\"", "verify.cache.positive_refresh_time",
		},
		"negative refresh": {
			good + "[verify.cache]\nnegative_refresh_time = \"2d\"", "verify.cache.negative_refresh_time",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := Parse("f", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			warnings := cfg.Warnings()
			if test.key == "" {
				if len(warnings) > 0 {
					t.Error(warnings)
				}
				return
			}
			if len(warnings) != 1 || warnings[0].Key != test.key || warnings[0].Fix == "" ||
				!strings.HasPrefix(warnings[0].Warning(), "f:") ||
				!strings.Contains(warnings[0].Warning(), ": warning: "+test.key+": ") {
				t.Error(warnings)
			}
		})
	}
}

// TestSectionsReachThePackages builds every package's Config from a file that sets all keys to
// something else than the default, and looks for defaults that are left.
func TestSectionsReachThePackages(t *testing.T) {
	cfg, err := Parse("f", []byte(`
[proxy]
listen = ["127.0.0.1:1"]
hostname = "h.example.com."
client_networks = ["192.0.2.0/24"]
xforward_networks = ["192.0.2.1"]
client_timeout = "1s"
reply_limit = "10m"
max_message_size = "1MiB"
max_recipients = 2
max_connections = 3
max_client_connections = 4
min_data_rate = 5
bare_newline = "normalize"
soft_error_limit = 6
hard_error_limit = 7
error_delay = "8s"
[relay]
upstreams = ["relay.example.com:9", "192.0.2.2:9"]
timeout = "9s"
max_idle = 11
idle_timeout = "11s"
[verify]
rcpt_budget = "12s"
transaction_budget = "13s"
mode = "passive"
probe_sender = "probe@example.com"
fallback_sender = "fallback@example.com"
helo = "helo.example.com"
probe_port = 14
allow_networks = ["198.51.100.0/24"]
probe_timeout = "15s"
connect_timeout = "16s"
command_timeout = "17s"
max_probes = 18
max_probes_per_host = 19
recipients_per_probe = 21
probe_idle_timeout = "22s"
max_questions = 23
[verify.dns]
servers = ["192.0.2.53"]
timeout = "24s"
tries = 5
cache_size = 260
[verify.cache]
size = 270
positive_expire_time = "28s"
positive_refresh_time = "27s"
negative_expire_time = "30s"
negative_refresh_time = "29s"
temporary_expire_time = "31s"
[policy]
mode = "shadow"
[log]
redact = false
`))
	if err != nil {
		t.Fatal(err)
	}
	def := Default()
	def.Proxy.Hostname = "default.example.com"
	verifyConfig, err := cfg.VerifyConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	verifyDefault, err := def.VerifyConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]any{
		{cfg.ProxyConfig(), def.ProxyConfig()},
		{cfg.RelayConfig(), def.RelayConfig()},
		{cfg.PolicyConfig(), def.PolicyConfig()},
		{verifyConfig, verifyDefault},
		{cfg.DNSConfig(nil), def.DNSConfig(nil)},
		{cfg.FilterConfig(nil), def.FilterConfig(nil)},
		{cfg.ProbeConfig(nil, nil, nil), def.ProbeConfig(nil, nil, nil)},
	} {
		got, was := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
		for field, value := range got.Fields() {
			if reflect.DeepEqual(value.Interface(), was.FieldByName(field.Name).Interface()) &&
				!notFromTheFile[got.Type().String()+"."+field.Name] {
				t.Errorf("%v.%s is the default's: %v", got.Type(), field.Name, value)
			}
		}
	}
	if got := cfg.ProxyConfig().Hostname; got != "h.example.com" {
		t.Errorf("hostname %q", got)
	}
	if got := cfg.MXResolver(nil, nil, nil); !slices.Equal(got.RelayHosts, []string{"relay.example.com"}) ||
		!slices.Equal(got.OwnNames, []string{"h.example.com", "helo.example.com"}) {
		t.Errorf("names %v, relays %v", got.OwnNames, got.RelayHosts)
	}
}

// notFromTheFile are fields that no key is for: a new field of a package is either read from the
// file or listed here.
var notFromTheFile = map[string]bool{
	"relay.Config.Dial": true, "policy.Config.Rules": true, "verify.Config.Log": true,
	"dns.Config.ResolvConf": true, "dns.Config.Dial": true, "dns.Config.Log": true,
	"mx.FilterConfig.Relay": true, "mx.FilterConfig.Interfaces": true,
	"probe.Config.Dial": true, "probe.Config.Resolver": true, "probe.Config.TLSConfig": true,
	"probe.Config.Log": true, "probe.Config.GreetingTimeout": true, "probe.Config.DomainRate": true,
}
