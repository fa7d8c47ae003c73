package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// checker collects the faults that only show when values are looked at together.
type checker struct {
	*Config
	faults   Errors
	warnings bool // collects warnings instead
}

// check adds what is wrong with the meaning of the values to the faults of their form. A key that
// has a fault of form already is not blamed again.
func (c *Config) check(faults Errors) Errors {
	k := &checker{Config: c, faults: faults}
	k.listeners()
	k.tlsFiles()
	k.httpTLS()
	k.relays()
	k.relayTLS()
	k.names()
	k.senders()
	k.internalDomains()
	k.times()
	k.errorLimits()
	k.rules()
	k.limits()
	k.messageChecks()
	k.state()
	k.feedback()
	return k.faults
}

// feedback: what is written of the relay's log must make sense to its reader.
func (k *checker) feedback() {
	cfg, _ := k.FeedbackConfig(nil)
	_, err := feedback.NewParser(cfg)
	var wrong *feedback.ConfigError
	if !errors.As(err, &wrong) {
		return
	}
	key, list := "verify.feedback.labels", k.Verify.Feedback.Labels
	if wrong.Field == "Relays" {
		key, list = "verify.feedback.smarthosts", k.Verify.Feedback.Smarthosts
	}
	if i := slices.Index(list, wrong.Value); i >= 0 {
		key += "." + strconv.Itoa(i)
	}
	k.add(key, quote(wrong.Value)+" cannot be used", wrong.Fix)
}

// add notes a fault at key, which is where the file sets it or would have to.
func (k *checker) add(key, problem, fix string) {
	for _, fault := range k.faults {
		if fault.Key == key || strings.HasPrefix(fault.Key, key+".") {
			return
		}
	}
	k.put(key, problem, fix)
}

// put notes one of several faults at the same key.
func (k *checker) put(key, problem, fix string) {
	at := k.where(key)
	if !k.warnings && !k.IsSet(key) && !k.IsSet(strings.TrimRight(key, ".0123456789")) {
		problem += " (not set in the file: this is the default)"
	}
	k.faults = append(k.faults, &Error{
		File: k.name, Line: at.line, Column: at.column, Key: key, Problem: problem, Fix: fix,
	})
}

// where is the place of a key; of the nearest table around it if the file leaves it out.
func (c *Config) where(key string) position {
	for key != "" {
		if at, ok := c.pos[key]; ok {
			return at
		}
		i := strings.LastIndexByte(key, '.')
		key = key[:max(i, 0)]
	}
	return position{1, 1}
}

// listener is an element of a list of listeners.
type listener struct {
	list, key string // of the list, and of the element
	endpoint  Endpoint
}

// smtpListeners are those that mail comes in through.
func (c *Config) smtpListeners() []listener {
	var all []listener
	for list, endpoints := range map[string][]Endpoint{
		"proxy.listen": c.Proxy.Listen, "proxy.tls_listen": c.Proxy.TLSListen,
	} {
		for i, endpoint := range endpoints {
			all = append(all, listener{list, list + "." + strconv.Itoa(i), endpoint})
		}
	}
	slices.SortFunc(all, func(a, b listener) int { return strings.Compare(a.key, b.key) })
	return all
}

// listeners: there must be one, each only once, and one beyond loopback needs to say for whom.
func (k *checker) listeners() {
	if !k.TakesMail() && len(k.Policyd.Listen) == 0 {
		k.add("proxy.listen", "is empty: nothing to listen on",
			`write ["127.0.0.1:10025"]; it may be empty if policyd.listen is not`)
	}
	seen := map[Endpoint]string{}
	for _, l := range k.smtpListeners() {
		if l.endpoint == "" {
			k.add(l.key, "is empty", `write "host:port" or "unix:/path"`)
			continue
		}
		k.once(seen, l.key, l.endpoint)
		if !l.endpoint.Loopback() && !k.IsSet("proxy.client_networks") {
			k.add(l.key, fmt.Sprintf("%q is open to other machines, but proxy.client_networks is not set",
				l.endpoint),
				`set proxy.client_networks to the networks that may connect, such as ["192.0.2.0/24"]`+
					`, or listen on 127.0.0.1`)
		}
	}
	for i, endpoint := range k.Policyd.Listen {
		key := "policyd.listen." + strconv.Itoa(i)
		if endpoint == "" {
			k.add(key, "is empty", `write "host:port" or "unix:/path"`)
			continue
		}
		k.once(seen, key, endpoint)
		if !endpoint.Loopback() && !k.IsSet("policyd.client_networks") {
			k.add(key, fmt.Sprintf("%q is open to other machines, but policyd.client_networks is not set",
				endpoint), `set policyd.client_networks to your own mail servers, or listen on 127.0.0.1`)
		}
	}
	if k.HTTP.Listen != "" {
		k.once(seen, "http.listen", k.HTTP.Listen)
	}
	if socket := k.ControlSocket(); socket != "" {
		k.once(seen, "http.control_socket", socket)
	}
}

// once refuses an address that is listened on already.
func (k *checker) once(seen map[Endpoint]string, key string, endpoint Endpoint) {
	_, port := endpoint.hostPort()
	_, isUnix := endpoint.Unix()
	if first, twice := seen[endpoint]; twice && (isUnix || port != 0) { // 0 is any free port
		k.add(key, "is listed twice, first as "+displayKey(first), "take one out")
	}
	seen[endpoint] = key
}

// tlsFiles: a certificate needs its key, and TLS needs both.
func (k *checker) tlsFiles() {
	p := k.Proxy
	const fix = `set both, or neither: "" offers no TLS`
	switch {
	case p.TLSCertFile == "" && p.TLSKeyFile != "":
		k.add("proxy.tls_key_file", "is set, but proxy.tls_cert_file is not", fix)
	case p.TLSCertFile != "" && p.TLSKeyFile == "":
		k.add("proxy.tls_cert_file", "is set, but proxy.tls_key_file is not", fix)
	case p.TLSCertFile == "" && len(p.TLSListen) > 0:
		k.add("proxy.tls_listen", "needs a certificate", "set proxy.tls_cert_file and proxy.tls_key_file")
	}
}

// httpTLS: a token that others can read on its way is everybody's, unless the administrator knows
// better.
func (k *checker) httpTLS() {
	h := k.HTTP
	const fix = `set both, or neither: "" is no TLS`
	switch {
	case h.TLSCertificate == "" && h.TLSKey != "":
		k.add("http.tls_key", "is set, but http.tls_certificate is not", fix)
	case h.TLSCertificate != "" && h.TLSKey == "":
		k.add("http.tls_certificate", "is set, but http.tls_key is not", fix)
	case h.TLSCertificate == "" && h.TokensFile != "" && h.Listen != "" && !h.Listen.Loopback() && !h.Plaintext:
		k.add("http.listen", fmt.Sprintf("%q is open to other machines, and tokens would go there in plaintext",
			h.Listen), `set http.tls_certificate and http.tls_key, or listen on 127.0.0.1; `+
			`"plaintext = true" lets them be read on the way`)
	}
	if _, isUnix := h.Listen.Unix(); h.TLSCertificate != "" && isUnix {
		k.add("http.tls_certificate", "is set, but http.listen is a Unix socket, which has no TLS",
			"take it out, and http.tls_key")
	}
}

// Loopback tells whether only this machine can connect.
func (e Endpoint) Loopback() bool {
	if _, ok := e.Unix(); ok {
		return true
	}
	host, _ := e.hostPort()
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return isLocalhost(host)
}

// isLocalhost: RFC 6761 section 6.3 keeps the name and all names below it for loopback.
func isLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// names: what we call ourselves must be a host name (RFC 5321 section 4.1.1.1).
func (k *checker) names() {
	for key, name := range map[string]string{
		"proxy.hostname": k.Proxy.Hostname, "verify.helo": k.Verify.Helo,
	} {
		if name == "" {
			continue
		}
		if problem := hostnameProblem(name); problem != "" {
			k.add(key, quote(name)+" is not a host name: it "+problem,
				`write the full name of this machine, such as "gate.example.com"`)
		}
	}
}

// senders: a probe needs an address to come from, and never comes from <>.
func (k *checker) senders() {
	if k.Verify.ProbeSender != "envelope" {
		k.address("verify.probe_sender", k.Verify.ProbeSender,
			`write "envelope" for the sender of each mail, or an address that exists`)
	}
	if k.Verify.FallbackSender != "" {
		k.address("verify.fallback_sender", k.Verify.FallbackSender,
			`write an address such as "double-bounce@gate.example.com", or "" for that default`)
	}
}

func (k *checker) address(key, value, fix string) {
	addr, err := esmtp.ParseAddress(value, false)
	switch {
	case value == "" || value == "<>" || err == nil && addr.IsNull():
		k.add(key, "is empty, and probes never come from <>", fix)
	case err != nil || addr.Domain() == "":
		k.add(key, quote(value)+" is not an address", fix)
	}
}

// internalDomains checks each entry by itself. Lists in files are read by serve.
func (k *checker) internalDomains() {
	for i, entry := range k.Verify.InternalDomains {
		if path, ok := strings.CutPrefix(entry, "file:"); ok {
			if !strings.HasPrefix(path, "/") {
				k.add("verify.internal_domains."+strconv.Itoa(i), quote(entry)+" has no absolute path",
					`write "file:" and an absolute path, such as "file:/etc/rcptgate/domains"`)
			}
			continue
		}
		if _, err := mx.NewDomains([]string{entry}); err != nil {
			k.add("verify.internal_domains."+strconv.Itoa(i), printable(err.Error()),
				`write a domain ("example.com"), its subdomains (".example.com"), or "file:/path"`)
		}
	}
}

// times refuses the two orders that cannot work. All others are a matter of taste: client_timeout,
// above all, has nothing to do with them.
func (k *checker) times() {
	v, r, p := k.Verify, k.Relay, k.Proxy
	if v.RcptBudget > v.TransactionBudget {
		k.add("verify.rcpt_budget", fmt.Sprintf("%v is more than verify.transaction_budget (%v)",
			v.RcptBudget, v.TransactionBudget),
			fmt.Sprintf("write at most %q, or raise transaction_budget", v.TransactionBudget))
	}
	if sum := v.RcptBudget + r.Timeout; sum >= p.ReplyLimit {
		k.add("proxy.reply_limit", fmt.Sprintf(
			"%v is not more than verify.rcpt_budget (%v) + relay.timeout (%v) = %v: "+
				"the client would give up before the answer", p.ReplyLimit, v.RcptBudget, r.Timeout, sum),
			"shorten relay.timeout, or raise reply_limit here and the client's own "+
				"(Postfix: smtpd_proxy_timeout)")
	}
	wait, with := r.DataDoneTimeout, ""
	if len(k.MessageConfig().Levels) > 0 {
		wait += k.Policy.Message.Timeout
		with = fmt.Sprintf(", with policy.message.timeout (%v),", k.Policy.Message.Timeout)
	}
	if wait >= p.ReplyLimit {
		k.add("relay.data_done_timeout", fmt.Sprintf(
			"%v%s is not less than proxy.reply_limit (%v): the client would give up before the answer",
			r.DataDoneTimeout, with, p.ReplyLimit), "shorten it, or raise reply_limit here and the "+
			"client's own (Postfix: smtpd_proxy_timeout)")
	}
}

func (k *checker) errorLimits() {
	if k.Proxy.HardErrorLimit < k.Proxy.SoftErrorLimit {
		k.add("proxy.hard_error_limit", fmt.Sprintf("%d is less than soft_error_limit (%d)",
			k.Proxy.HardErrorLimit, k.Proxy.SoftErrorLimit),
			fmt.Sprintf("write at least %d", k.Proxy.SoftErrorLimit))
	}
}

// rules lets the policy compile its rules and puts its faults into the file.
func (k *checker) rules() {
	_, err := policy.New(k.PolicyConfig(), nil, nil)
	if err == nil {
		return
	}
	faults, ok := errors.AsType[policy.RuleErrors](err)
	if !ok {
		k.add("policy.rules", printable(err.Error()), "")
		return
	}
	for _, fault := range faults {
		k.rule(fault)
	}
}

// rule puts what the policy says of a rule where the rule stands.
func (k *checker) rule(fault *policy.RuleError) {
	key := "policy." + fault.Field
	problem := fault.Detail
	if fault.Index >= 0 {
		key = "policy.rules." + strconv.Itoa(fault.Index)
		if k.IsSet(key + "." + fault.Field) {
			key += "." + fault.Field
		} else {
			problem = fault.Field + ": " + problem
		}
	}
	before := len(k.faults)
	k.add(key, problem, fault.Hint)
	if start, ok := k.text[key]; ok && fault.Column > 0 && len(k.faults) > before {
		added := k.faults[before]
		added.Line, added.Column = start.line, start.column+fault.Column-1
		if fault.Row > 1 {
			added.Line, added.Column = start.line+fault.Row-1, fault.Column
		}
	}
}
