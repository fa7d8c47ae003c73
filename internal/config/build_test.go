package config

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestSectionsReachThePackages builds every package's Config from a file that sets all keys to
// something else than the default, and looks for defaults that are left.
func TestSectionsReachThePackages(t *testing.T) {
	vips := filepath.Join(t.TempDir(), "vips")
	if err := os.WriteFile(vips, []byte("bob@example.net\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("f", []byte(strings.ReplaceAll(`
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
auth = false
auth_without_tls = true
proxy_protocol_networks = ["203.0.113.0/24"]
[relay]
upstreams = ["relay.example.com:9", "192.0.2.2:9"]
timeout = "9s"
data_done_timeout = "10s"
tls = "verify"
tls_wrappermode = true
tls_server_name = "relay.example.net"
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
bind_addresses = ["192.0.2.25"]
[verify.dns]
servers = ["192.0.2.53"]
timeout = "24s"
tries = 5
cache_size = 260
[verify.cache]
memory = "270MiB"
positive_expire_time = "28s"
positive_refresh_time = "27s"
negative_expire_time = "30s"
negative_refresh_time = "29s"
temporary_expire_time = "31s"
[verify.health]
interval = "32s"
dnsbl_zones = ["bl.example.net"]
addresses = ["192.0.2.26"]
[policy]
mode = "shadow"
preset = "strict"
lists = { vips = "LIST" }
limits = [{ name = "all", per = "client", messages = ["9/hour"] }]
[policy.hygiene]
mode = "enforce"
[policy.suppression]
mode = "rules"
learn = "bounces"
max_entries = 7
[policy.message]
checks = { form = "warn" }
position = "verify"
bulk_auto = 7
timeout = "7s"
egress = ["192.0.2.7"]
[policy.journal]
path = "/var/lib/rcptgate/journal"
max_size = "7MiB"
rotate_every = "7h"
queue = 700
keep = 7
max_age = "7d"
redact = "off"
memory = 700
refusals = 700
[policy.webhook]
url = "https://lists.example.com/webhooks/bounce"
deferred = true
source = "gate 7"
queue = 7
[policyd]
client_networks = ["192.0.2.0/24"]
max_connections = 7
timeout = "7s"
malformed = "defer"
[log]
redact = false
`, "LIST", vips)))
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
	healthConfig, watched := cfg.HealthConfig(nil)
	healthDefault, watchedByDefault := def.HealthConfig(nil)
	if watched || !watchedByDefault {
		t.Errorf("addresses are looked after: %v in passive mode, %v by default", watched, watchedByDefault)
	}
	for _, pair := range [][2]any{
		{cfg.ProxyConfig(), def.ProxyConfig()},
		{cfg.RelayConfig(), def.RelayConfig()},
		{cfg.PolicyConfig(), def.PolicyConfig()},
		{cfg.SendersConfig(nil), def.SendersConfig(nil)},
		{cfg.RegisterConfig(nil), def.RegisterConfig(nil)},
		{cfg.MessageConfig(), def.MessageConfig()},
		{cfg.JournalConfig(nil), def.JournalConfig(nil)},
		{cfg.PolicydConfig(), def.PolicydConfig()},
		{verifyConfig, verifyDefault},
		{healthConfig, healthDefault},
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
	if w := cfg.JournalConfig(nil).Webhook; !w.Deferred || w.Source != "gate 7" || w.Queue != 7 {
		t.Errorf("webhook %+v", w)
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
	"proxy.Config.Checks": true, "proxy.Config.TLS": true, "proxy.Config.Hooks": true,
	"relay.Config.RootCAs": true, "relay.Config.Credentials": true, // TestFilesReachTheRelay
	"relay.Config.Dial": true, "policy.Config.Rules": true, "verify.Config.Log": true,
	"policy.Config.Register": true, "policy.Config.Senders": true,
	"senders.Config.MaxKeys": true, "senders.Config.Changed": true, "senders.Config.Log": true,
	"register.Config.LearnComplaints": true, "register.Config.Log": true,
	"message.Config.Enforced": true, "journal.Config.Secret": true,
	"journal.Config.MemoryOctets": true, "policyd.Config.Hooks": true,
	"verify.Config.Settled": true, "verify.Config.Asked": true, "verify.Config.Store": true,
	"verify.Config.Secret":    true,
	"verify.Config.Providers": true, "verify.Config.NoInvented": true,
	"health.Config.DNS": true, "health.Config.Addrs": true, "health.Config.Port25": true,
	"health.Config.Blocks": true, "health.Config.Log": true,
	"dns.Config.ResolvConf": true, "dns.Config.Asked": true, "dns.Config.Dial": true, "dns.Config.Log": true,
	"mx.FilterConfig.Relay": true, "mx.FilterConfig.Interfaces": true,
	"probe.Config.Dial": true, "probe.Config.Resolver": true, "probe.Config.TLSConfig": true,
	"probe.Config.Log": true, "probe.Config.GreetingTimeout": true, "probe.Config.DomainRate": true,
	"probe.Config.Refusals": true, "probe.Config.Harvest": true,
	"probe.Config.Bind": true, "probe.Config.DialFrom": true, // of verify.bind_addresses, by the composition
}

// TestFilesReachTheRelay: what Load has read beside the configuration itself.
func TestFilesReachTheRelay(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	cfg, err := Load(file("gate.toml", "[relay]\nupstreams = [\"relay.example.com:587\"]\ntls = \"verify\"\n"+
		"tls_ca_file = \""+file("ca", string(ca))+"\"\n"+
		"password_file = \""+file("passwords", "[relay.example.com]:587 user:secret\n")+"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.RelayConfig()
	if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: got.RootCAs}); err != nil {
		t.Errorf("the certificate of the file is not trusted: %v", err)
	}
	if user, password, ok := got.Credentials("relay.example.com:587"); !ok || user != "user" || password != "secret" {
		t.Errorf("login %q, %q, %v", user, password, ok)
	}
	if _, _, ok := got.Credentials("other.example.com:587"); ok {
		t.Error("a login for another relay")
	}
}

// TestNames: whatever the machine is called, probes have a name and a sender with a domain.
func TestNames(t *testing.T) {
	for _, test := range []struct{ text, hostname, helo, sender string }{
		{
			`proxy.hostname = "gate.example.com."`,
			"gate.example.com", "gate.example.com", "double-bounce@gate.example.com",
		},
		{`proxy.hostname = "gate"`, "gate", "gate", "double-bounce@gate.localdomain"},
		{
			"proxy.hostname = \"gate.example.com\"\nverify.helo = \"out.example.com\"\n" +
				"verify.fallback_sender = \"probe@example.org\"",
			"gate.example.com", "out.example.com", "probe@example.org",
		},
	} {
		cfg, err := Parse("f", []byte(test.text))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Hostname() != test.hostname || cfg.Helo() != test.helo ||
			cfg.FallbackSender() != test.sender {
			t.Errorf("%s: %s, %s, %s", test.text, cfg.Hostname(), cfg.Helo(), cfg.FallbackSender())
		}
	}
	cfg := Default()
	name, domain, _ := strings.Cut(cfg.Hostname(), ".")
	if name == "" || domain == "" || hostnameProblem(cfg.Hostname()) != "" {
		t.Errorf("without a configuration the gate is %q", cfg.Hostname())
	}
}

// TestHealthConfig: the addresses are looked after unless that is turned off.
func TestHealthConfig(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                   true,
		"[verify.health]\ninterval = \"0s\"": false,
		"[verify]\nmode = \"passive\"":       false,
	} {
		cfg, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := cfg.HealthConfig(nil); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}
