package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// files is what Load has read of the files that the configuration names.
type files struct {
	relayCAs  *x509.CertPool // nil: those of the system
	passwords passwords
	// profiles are those of verify.provider_files.
	profiles [][]byte
	webhook  login
}

// checkMachine looks for faults that only this machine's files, its interfaces and its resolver can
// tell, and keeps what it has read.
func (c *Config) checkMachine() Errors {
	k := &checker{Config: c}
	k.domainFiles()
	k.certificate("proxy.tls_cert_file", k.Proxy.TLSCertFile, "proxy.tls_key_file", k.Proxy.TLSKeyFile)
	k.certificate("http.tls_certificate", k.HTTP.TLSCertificate, "http.tls_key", k.HTTP.TLSKey)
	k.relayCAs()
	k.passwordFile()
	k.providerFiles()
	k.webhookFile()
	own := interfaceAddrs()
	for _, upstream := range c.upstreams() {
		if _, port := upstream.Address.hostPort(); port != 0 {
			k.loop(upstream, lookup, own)
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
			k.add("verify.internal_domains."+strconv.Itoa(i), escaped(err.Error()),
				"make the file readable for the user that runs rcptgate: one domain a line")
		}
	}
}

// providerFiles reads the profiles of mail providers, and names each fault in them.
func (k *checker) providerFiles() {
	for i, path := range k.Verify.ProviderFiles {
		key := "verify.provider_files." + strconv.Itoa(i)
		data, err := os.ReadFile(path)
		if err != nil {
			k.add(key, escaped(path+": "+reason(err)),
				"make the file readable for the user that runs rcptgate")
			continue
		}
		_, err = provider.Load(append(slices.Clone(k.also.profiles), data)...)
		if err == nil {
			k.also.profiles = append(k.also.profiles, data)
			continue
		}
		for _, fault := range faultsOf(err) {
			fix := "see docs/providers.md for the keys"
			if wrong, ok := errors.AsType[*provider.Error](fault); ok {
				fix = wrong.Fix
				plain := *wrong
				plain.Fix = ""
				fault = &plain
			}
			k.put(key, escaped(path+": "+fault.Error()), fix)
		}
	}
}

func (k *checker) webhookFile() {
	if path := k.Policy.Webhook.PasswordFile; path != "" {
		var wrong *fault
		if k.also.webhook, wrong = readLogin(path); wrong != nil {
			k.add("policy.webhook.password_file", wrong.problem, wrong.fix)
		}
	}
}

// faultsOf takes apart what errors.Join has put together.
func faultsOf(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// certificate reads a pair once. One that has expired is no fault: most clients take it.
func (k *checker) certificate(certName, cert, keyName, key string) {
	if cert == "" || key == "" {
		return
	}
	unreadable := false
	for name, path := range map[string]string{certName: cert, keyName: key} {
		if _, err := os.ReadFile(path); err != nil {
			unreadable = true
			k.add(name, escaped(path+": "+reason(err)),
				"make the file readable for the user that runs rcptgate")
		}
	}
	if unreadable {
		return
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		k.add(certName, escaped(cert+", "+key+": "+strings.TrimPrefix(err.Error(), "tls: ")),
			"write the PEM certificate with its chain in one file, and its own key in the other")
	}
}

func (k *checker) relayCAs() {
	path := k.Relay.TLSCAFile
	if path == "" {
		return
	}
	const fix = "name a file of PEM certificates, such as /etc/ssl/certs/ca-certificates.crt"
	data, err := os.ReadFile(path)
	if err != nil {
		k.add("relay.tls_ca_file", escaped(path+": "+reason(err)), fix)
		return
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		k.add("relay.tls_ca_file", escaped(path)+": has no certificate", fix)
		return
	}
	k.also.relayCAs = pool
}

func (k *checker) passwordFile() {
	path := k.Relay.PasswordFile
	if path == "" {
		return
	}
	read, wrong := readPasswords(path)
	if wrong != nil {
		k.add("relay.password_file", wrong.problem, wrong.fix)
		return
	}
	k.also.passwords = read
	upstreams := k.upstreams()
	for _, upstream := range upstreams {
		if _, _, ok := read.lookup(upstream.Address); ok {
			return
		}
	}
	if len(upstreams) > 0 {
		first := upstreams[0].Address
		k.add("relay.password_file", fmt.Sprintf("%s: has no login for any upstream, such as %q",
			escaped(path), first), fmt.Sprintf("add a line %q", passwordExample(first)+" user:password"))
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
