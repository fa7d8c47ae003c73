package config

import (
	"strings"
	"testing"
)

// TestWarnings: what works but is probably not meant, and nothing for a good file.
func TestWarnings(t *testing.T) {
	const good = "[proxy]\nhostname = \"gate.example.com\"\n[verify]\ninternal_domains = [\"example.com\"]\n"
	tests := map[string]struct{ text, key string }{
		"none":                  {good, ""},
		"no domain":             {strings.Replace(good, "gate.example.com", "gate", 1), "proxy.hostname"},
		"anybody may connect":   {"[proxy]\nhostname = \"a.example\"\nclient_networks = [\"0.0.0.0/0\"]\n[verify]\nmode = \"passive\"", "proxy.client_networks"},
		"anybody is believed":   {strings.Replace(good, "[verify]", "xforward_networks = [\"::/0\"]\n[verify]", 1), "proxy.xforward_networks"},
		"probes go everywhere":  {good + "allow_networks = [\"0.0.0.0/0\"]", "verify.allow_networks"},
		"another port":          {good + "probe_port = 2525", "verify.probe_port"},
		"own domains":           {"[proxy]\nhostname = \"gate.example.com\"", "verify.internal_domains"},
		"cache on disk":         {good + "[verify.cache]\npath = \"/x\"", ""},
		"relay log":             {good + "[verify.feedback]\nrelay_log = \"/x\"", ""},
		"http":                  {good + "[http]\nlisten = \"127.0.0.1:8025\"", ""},
		"http for everybody":    {good + "[http]\nlisten = \":8025\"", "http.listen"},
		"tokens in plaintext":   {good + "[http]\nlisten = \":8025\"\nplaintext = true\ntokens_file = \"/t\"", "http.listen"},
		"tokens at a socket":    {good + "[http]\nlisten = \"unix:/run/http\"\ntokens_file = \"/t\"", ""},
		"balancer everywhere":   {strings.Replace(good, "[verify]", "proxy_protocol_networks = [\"::/0\"]\n[verify]", 1), "proxy.proxy_protocol_networks"},
		"certificates for none": {good + "[relay]\ntls = \"encrypt\"\ntls_ca_file = \"/x\"", "relay.tls_ca_file"},
		"name for none":         {good + "[relay]\ntls_server_name = \"relay.example.com\"", "relay.tls_server_name"},
		"password in the clear": {
			good + "[relay]\nupstreams = [\"relay.example.com:587\"]\ntls = \"may\"\npassword_file = \"/x\"", "relay.tls",
		},
		"password, this machine": {good + "[relay]\npassword_file = \"/x\"", ""},
		"refresh behind expiry": {
			good + "[verify.cache]\npositive_refresh_time = \"8d\"", "verify.cache.positive_refresh_time",
		},
		"negative refresh": {
			good + "[verify.cache]\nnegative_refresh_time = \"2d\"", "verify.cache.negative_refresh_time",
		},
		"rule behind another": {
			good + "[[policy.rules]]\nwhen = \"true\"\naction = \"accept\"\n" +
				"[[policy.rules]]\nwhen = \"size > 5\"\naction = \"reject\"", "policy.rules.1.when",
		},
		"learns from nothing": {
			good + "[policy]\nstate_directory = \"/x\"\nsuppression.learn = \"bounces\"",
			"policy.suppression.learn",
		},
		"limits in memory": {
			good + "[[policy.limits]]\nname = \"all\"\nper = \"client\"\nmessages = [\"9/hour\"]",
			"policy.state_directory",
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
				!strings.Contains(warnings[0].Warning(), ": warning: "+displayKey(test.key)+": ") {
				t.Error(warnings)
			}
		})
	}
}
