package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
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
	k.upstreams()
	k.names()
	k.senders()
	k.internalDomains()
	k.times()
	k.errorLimits()
	k.rules()
	return k.faults
}

// add notes a fault at key, which is where the file sets it or would have to.
func (k *checker) add(key, problem, fix string) {
	for _, fault := range k.faults {
		if fault.Key == key || strings.HasPrefix(fault.Key, key+".") {
			return
		}
	}
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

// listeners: there must be one, each only once, and one beyond loopback needs to say for whom.
func (k *checker) listeners() {
	if len(k.Proxy.Listen) == 0 {
		k.add("proxy.listen", "is empty: nothing to listen on", `write ["127.0.0.1:10025"]`)
	}
	seen := map[Endpoint]string{}
	for i, endpoint := range k.Proxy.Listen {
		key := "proxy.listen." + strconv.Itoa(i)
		if endpoint == "" {
			k.add(key, "is empty", `write "host:port" or "unix:/path"`)
			continue
		}
		_, port := endpoint.hostPort()
		_, isUnix := endpoint.Unix()
		if first, twice := seen[endpoint]; twice && (isUnix || port != 0) { // 0 is any free port
			k.add(key, "is listed twice, first as "+displayKey(first), "take one out")
		}
		seen[endpoint] = key
		if !endpoint.loopback() && !k.IsSet("proxy.client_networks") {
			k.add(key, fmt.Sprintf("%q is open to other machines, but proxy.client_networks is not set",
				endpoint),
				`set proxy.client_networks to the networks that may connect, such as ["192.0.2.0/24"]`+
					`, or listen on 127.0.0.1`)
		}
	}
}

// loopback tells whether only this machine can connect.
func (e Endpoint) loopback() bool {
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

// upstreams: there must be one, and none may be this gate itself, which would loop.
func (k *checker) upstreams() {
	if len(k.Relay.Upstreams) == 0 {
		k.add("relay.upstreams", "is empty: accepted mail has nowhere to go",
			`write the relay's address, such as ["127.0.0.1:10026"]`)
	}
	for i, upstream := range k.Relay.Upstreams {
		key := "relay.upstreams." + strconv.Itoa(i)
		host, port := upstream.hostPort()
		if _, ok := upstream.Unix(); !ok && (host == "" || port == 0) {
			k.add(key, fmt.Sprintf("%q has no host and port to connect to", upstream),
				`write "host:port" or "unix:/path"`)
			continue
		}
		for _, listener := range k.Proxy.Listen {
			lhost, _ := listener.hostPort()
			if sameEndpoint(upstream, listener, place{literalAddrs(host), literalAddrs(lhost), nil}) {
				k.addLoop(key, upstream, listener)
			}
		}
	}
}

func (k *checker) addLoop(key string, upstream, listener Endpoint) {
	k.add(key, fmt.Sprintf("%q is this gate itself (proxy.listen %q): mail would go round in circles",
		upstream, listener),
		"write the address of the relay behind it, such as a re-injection smtpd on port 10026")
}

// literalAddrs are the addresses of a host that needs no lookup.
func literalAddrs(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap().WithZone("")}
	}
	if isLocalhost(host) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

// place is what is known of the addresses of two endpoints.
type place struct {
	upstream, listener []netip.Addr
	own                []netip.Addr // of this machine's interfaces
}

// sameEndpoint tells whether a connection to upstream would arrive at listener.
func sameEndpoint(upstream, listener Endpoint, at place) bool {
	upath, isUnix := upstream.Unix()
	if lpath, ok := listener.Unix(); ok || isUnix {
		return ok && isUnix && filepath.Clean(upath) == filepath.Clean(lpath)
	}
	lhost, lport := listener.hostPort()
	uhost, uport := upstream.hostPort()
	if lport != uport || lport == 0 {
		return false
	}
	if strings.EqualFold(strings.TrimSuffix(uhost, "."), strings.TrimSuffix(lhost, ".")) {
		return true
	}
	everywhere := lhost == "" || slices.ContainsFunc(at.listener, netip.Addr.IsUnspecified)
	for _, addr := range at.upstream {
		// Linux takes a connection to the unspecified address for one to loopback.
		local := addr.IsLoopback() || addr.IsUnspecified() || slices.Contains(at.own, addr)
		switch {
		case everywhere && local, slices.Contains(at.listener, addr):
			return true
		case addr.IsUnspecified() && slices.ContainsFunc(at.listener, netip.Addr.IsLoopback):
			return true
		}
	}
	return false
}

// checkMachine looks for loops that only this machine's interfaces and its resolver can tell.
func (c *Config) checkMachine() Errors {
	k := &checker{Config: c}
	k.domainFiles()
	own := interfaceAddrs()
	for i, upstream := range c.Relay.Upstreams {
		host, port := upstream.hostPort()
		if port == 0 {
			continue
		}
		for _, listener := range c.Proxy.Listen {
			lhost, lport := listener.hostPort()
			if lport != port {
				continue
			}
			if sameEndpoint(upstream, listener, place{lookup(host), lookup(lhost), own}) {
				k.addLoop("relay.upstreams."+strconv.Itoa(i), upstream, listener)
			}
		}
	}
	return k.faults
}

// domainFiles reads the lists of internal domains once: a list that is not there would send probes
// for domains that are our own.
func (k *checker) domainFiles() {
	for i, entry := range k.Verify.InternalDomains {
		if !strings.HasPrefix(entry, "file:") {
			continue
		}
		if _, err := mx.NewDomains([]string{entry}); err != nil {
			k.add("verify.internal_domains."+strconv.Itoa(i), printable(err.Error()),
				"make the file readable for the user that runs rcptgate: one domain a line")
		}
	}
}

// lookup asks the system for the addresses of a name. A failure is not a fault of the file: serve
// says what it sees when it listens and connects.
func lookup(host string) []netip.Addr {
	if addrs := literalAddrs(host); addrs != nil || host == "" {
		return addrs
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}

func interfaceAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then only what the file says counts
	}
	var addrs []netip.Addr
	for _, a := range list {
		if ipnet, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(ipnet.IP); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs
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
}
