package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/rcptgate/rcptgate/policy"
)

// Warnings lists what works but is probably not meant, in the order of the file. Print them with Error.Warning.
func (c *Config) Warnings() Errors {
	k := &checker{Config: c, warnings: true}
	k.warnNames()
	k.warnNetworks()
	k.warnRelay()
	k.warnVerify()
	k.warnCache()
	k.warnPolicy()
	return k.faults.sorted()
}

func (k *checker) warnNames() {
	switch name := k.Proxy.Hostname; {
	case name == "":
		if problem := hostnameWarning(); problem != "" {
			k.add("proxy.hostname", problem, fmt.Sprintf(
				"set it to the full name of this machine; until then it is %q", k.Hostname()))
		}
	case !strings.Contains(strings.TrimSuffix(name, "."), "."):
		k.add("proxy.hostname", fmt.Sprintf("%q has no domain; many mail servers refuse such a greeting",
			name), "write the full name of this machine")
	}
}

// hostnameWarning says why the name of this machine is a poor one for a mail server.
func hostnameWarning() string {
	name, err := os.Hostname()
	switch {
	case err != nil:
		return "is not set, and this machine has no name"
	case hostnameProblem(name) != "":
		return fmt.Sprintf("is not set, and the name of this machine, %s, is not a host name",
			quote(name))
	case !strings.Contains(strings.TrimSuffix(name, "."), "."):
		return fmt.Sprintf("is not set, and the name of this machine, %s, has no domain", quote(name))
	}
	return ""
}

func (k *checker) warnNetworks() {
	if everything(k.Proxy.ClientNetworks) {
		k.add("proxy.client_networks", "lets every address connect: whoever can reach a listener "+
			"may send through the relay", "list the networks of your own clients")
	}
	if everything(k.Proxy.XForwardNetworks) {
		k.add("proxy.xforward_networks", "believes every client what it says about its origin",
			"list the addresses of your own mail servers")
	}
	if everything(k.Proxy.ProxyProtocolNetworks) {
		k.add("proxy.proxy_protocol_networks", "believes every client what it says about its origin, "+
			"and lets nobody in without a header", "list the addresses of your own load balancers")
	}
	if endpoint := k.HTTP.Listen; endpoint != "" && !endpoint.Loopback() {
		risk := "they can read the metrics"
		if k.HTTP.TokensFile != "" && k.HTTP.TLSCertificate == "" {
			risk += ", and tokens go through the network in plaintext"
		}
		k.add("http.listen", fmt.Sprintf("%q is open to other machines: %s", endpoint, risk),
			"listen on 127.0.0.1, or let a firewall choose who may connect")
	}
	if everything(k.Verify.AllowNetworks) {
		k.add("verify.allow_networks", "covers every address: probes may reach this machine, your "+
			"own network and cloud metadata services", "list only the networks of your internal MXs")
	}
}

// everything tells whether one of the networks is that of all addresses.
func everything(networks []Network) bool {
	for _, network := range networks {
		if network.Bits() == 0 {
			return true
		}
	}
	return false
}

// warnRelay names what has no effect, and a password that everybody on the way can read.
func (k *checker) warnRelay() {
	r := k.Relay
	unused := func(key string, set bool) {
		if set && r.TLS != "verify" {
			k.add(key, fmt.Sprintf("has no effect: relay.tls is %q", r.TLS), `write tls = "verify"`)
		}
	}
	unused("relay.tls_ca_file", r.TLSCAFile != "")
	unused("relay.tls_server_name", r.TLSServerName != "" && r.TLS != "encrypt")
	if r.PasswordFile == "" || r.TLS == "encrypt" || r.TLS == "verify" {
		return
	}
	for _, upstream := range k.upstreams() {
		if !upstream.Address.Loopback() {
			k.add("relay.tls", fmt.Sprintf("is %q: the password may go to %s where others can read it",
				r.TLS, upstream.Address), `write tls = "verify" or "encrypt"`)
		}
	}
}

func (k *checker) warnVerify() {
	if k.Verify.Mode != "active" {
		return
	}
	if k.Verify.ProbePort != 25 {
		k.add("verify.probe_port", fmt.Sprintf(
			"is %d: mail servers of the Internet only listen on 25", k.Verify.ProbePort),
			"leave it out unless this is a test")
	}
	if len(k.Verify.InternalDomains) == 0 {
		k.add("verify.internal_domains", "is empty: recipients in your own domains will be probed too",
			"run `rcptgate internal-domains --from-postfix` and put its list here")
	}
}

func (k *checker) warnCache() {
	c := k.Verify.Cache
	if c.PositiveRefreshTime > c.PositiveExpireTime {
		k.add("verify.cache.positive_refresh_time", fmt.Sprintf(
			"%v is more than positive_expire_time (%v): nothing is refreshed ahead of its end",
			c.PositiveRefreshTime, c.PositiveExpireTime), "write less than positive_expire_time")
	}
	if c.NegativeRefreshTime > c.NegativeExpireTime {
		k.add("verify.cache.negative_refresh_time", fmt.Sprintf(
			"%v is more than negative_expire_time (%v), which then holds",
			c.NegativeRefreshTime, c.NegativeExpireTime), "write less than negative_expire_time")
	}
}

// warnPolicy names rules that can never decide, and parts of the policy that have nothing to work with.
func (k *checker) warnPolicy() {
	for _, fault := range policy.Warnings(k.PolicyConfig()) {
		k.rule(fault)
	}
	if k.Policy.Suppression.Learn == "bounces" && k.Verify.Feedback.RelayLog == "" {
		k.add("policy.suppression.learn", `is "bounces", but nothing tells of them`,
			"set verify.feedback.relay_log")
	}
	limits := len(k.Policy.Limits) > 0
	if k.Policy.StateDirectory == "" && (limits || k.Policy.Hygiene.Mode == "enforce" ||
		k.Policy.Suppression.Learn == "bounces") {
		k.add("policy.state_directory", "is not set: the suppression list and what is known of senders "+
			"end with the process", `set it, such as "/var/lib/rcptgate"`)
	}
}
