package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// doctorNames asks DNS as the gate does, and finds mail servers as it does.
type doctorNames struct {
	err   error // why DNS cannot be asked; all else is nil then
	dns   *dns.Resolver
	hosts *mx.Resolver
	dial  esmtp.DialFunc // through the filter of addresses
}

// relayLookup bounds the look-up of the relay's name, which probes keep away from.
const relayLookup = 5 * time.Second

func newDoctorNames(ctx context.Context, cfg *config.Config) *doctorNames {
	resolver, err := dns.New(cfg.DNSConfig(slog.New(slog.DiscardHandler)))
	if err != nil {
		return &doctorNames{err: err}
	}
	domains, err := mx.NewDomains(cfg.Verify.InternalDomains)
	if err != nil {
		resolver.Close()
		return &doctorNames{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, relayLookup)
	defer cancel()
	relayAddrs, _ := mx.RelayAddrs(ctx,
		cfg.UpstreamAddresses()) // the relay's check says what is wrong
	filter := mx.NewFilter(cfg.FilterConfig(relayAddrs))
	return &doctorNames{
		dns: resolver, hosts: cfg.MXResolver(resolver, domains, filter),
		dial: mx.Dialer(filter, cfg.Verify.BindAddresses),
	}
}

func (n *doctorNames) close() {
	if n.dns != nil {
		n.dns.Close()
	}
}

// publicResolvers are those that everybody knows and uses. Block lists answer them with errors or
// not at all, and limits count all of their users together.
var publicResolvers = map[string][]string{
	"Google": {"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"},
	"Cloudflare": {
		"1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3",
		"2606:4700:4700::1111", "2606:4700:4700::1001",
	},
	"Quad9": {
		"9.9.9.9", "9.9.9.10", "9.9.9.11", "149.112.112.112", "149.112.112.10",
		"149.112.112.11", "2620:fe::fe", "2620:fe::9",
	},
	"OpenDNS": {"208.67.222.222", "208.67.220.220", "2620:119:35::35", "2620:119:53::53"},
	"AdGuard": {"94.140.14.14", "94.140.15.15", "94.140.14.140", "94.140.14.141"},
	"Level 3": {"4.2.2.1", "4.2.2.2", "4.2.2.3", "4.2.2.4", "4.2.2.5", "4.2.2.6"},
}

// publicResolver names the operator of a public resolver, "" if addr is none that is known.
func publicResolver(addr netip.Addr) string {
	for operator, addrs := range publicResolvers {
		if slices.Contains(addrs, addr.Unmap().String()) {
			return operator
		}
	}
	return ""
}

// resolvConf reads the servers of a resolv.conf(5), at most three.
func resolvConf(path string) []netip.Addr {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > 1<<20 {
		return nil
	}
	var list []netip.Addr
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(list) == 3 {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, addr.WithZone(""))
		}
	}
	return list
}

// servers are the name servers that the gate asks, as "address:port".
func (d *doctor) servers() []string {
	var list []string
	for _, s := range d.cfg.Verify.DNS.Servers {
		list = append(list, string(s))
	}
	if len(list) == 0 {
		for _, addr := range resolvConf("/etc/resolv.conf") {
			list = append(list, netip.AddrPortFrom(addr, 53).String())
		}
	}
	if len(list) == 0 {
		return []string{"127.0.0.1:53"}
	}
	return list
}

// What is a slow answer of a resolver to a question that it has the answer to.
const (
	slowDNS     = 100 * time.Millisecond
	verySlowDNS = time.Second
)

func (d *doctor) checkDNS(ctx context.Context, r *doctorReport) {
	if d.names.err != nil {
		r.fault(fmt.Sprintf("DNS cannot be asked: %v", d.names.err), "no mail server is found",
			`[verify.dns]`+"\n"+`servers = ["127.0.0.1:53"]`)
		return
	}
	servers := d.servers()
	var asking sync.WaitGroup
	answers := make([]bool, len(servers))
	for i, server := range servers {
		asking.Go(func() { answers[i] = d.checkServer(ctx, r, server) })
	}
	asking.Wait()
	if !slices.Contains(answers, true) {
		r.fault("no name server answers", "no mail server is found, every recipient is unknown",
			"name one that does, best on this machine (unbound):\n[verify.dns]\nservers = "+
				"[\"127.0.0.1:53\"]")
		return
	}
	d.checkTruth(ctx, r)
}

// checkServer asks one server twice: the second answer it has, so that it tells how far away it is.
func (d *doctor) checkServer(ctx context.Context, r *doctorReport, server string) (answers bool) {
	const own = "a resolver on this machine is best:\n[verify.dns]\nservers = [\"127.0.0.1:53\"]"
	domain := d.domains()[0]
	var took time.Duration
	for range 2 {
		one, err := dns.New(dns.Config{
			Servers: []string{server}, Timeout: time.Duration(d.cfg.Verify.DNS.Timeout), Tries: 1,
		})
		if err != nil {
			r.warning(server+": "+err.Error(), "", own)
			return false
		}
		began := time.Now()
		a := one.MX(ctx, domain)
		took = time.Since(began)
		one.Close()
		if a.Status == dns.Failure {
			r.warning(fmt.Sprintf("the name server %s does not answer the question for the MX of %s: %s",
				server, domain, a.Detail), "the others are asked after its time is over, verify.dns.timeout",
				"take it out of verify.dns.servers (or /etc/resolv.conf), or mend it")
			return false
		}
	}
	switch {
	case took > verySlowDNS:
		r.warning(fmt.Sprintf("the name server %s takes %s for an answer that it knows", server,
			roundTime(took)),
			"each recipient waits for several such answers", own)
	case took > slowDNS:
		r.note(fmt.Sprintf("the name server %s takes %s for an answer that it knows", server,
			roundTime(took)),
			"each recipient waits for several such answers", own)
	default:
		r.ok("the name server %s answers, in %s", server, roundTime(took))
	}
	d.checkPublic(r, server)
	return true
}

// systemdUpstreams is where systemd-resolved tells whom it asks.
const systemdUpstreams = "/run/systemd/resolve/resolv.conf"

// checkPublic tells whether a server is a public resolver, or the local end of one.
func (d *doctor) checkPublic(r *doctorReport, server string) {
	at, err := netip.ParseAddrPort(server)
	if err != nil {
		return
	}
	what := ""
	if operator := publicResolver(at.Addr()); operator != "" {
		what = fmt.Sprintf("the name server %s is the public one of %s", server, operator)
	}
	if at.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 53}) {
		for _, addr := range resolvConf(systemdUpstreams) {
			if operator := publicResolver(addr); operator != "" {
				what = fmt.Sprintf("the name server %s (systemd-resolved) passes questions on to the public "+
					"one of %s, %s",
					server, operator, addr)
			}
		}
	}
	if what == "" {
		return
	}
	level := levelNote
	if len(d.cfg.Verify.Health.DNSBLZones) > 0 {
		level = levelWarning
	}
	r.add(level, what, "block lists do not answer it, and it limits how much one host may ask",
		"install a resolver of your own (unbound), then:\n[verify.dns]\nservers = [\"127.0.0.1:53\"]")
}

// checkTruth asks for names that do not exist. The gate refuses recipients of domains that DNS denies,
// so a resolver that makes up answers, or hides NXDOMAIN, must be known.
func (d *doctor) checkTruth(ctx context.Context, r *doctorReport) {
	name := strings.ToLower(rand.Text()) + ".com"
	address, mail := d.names.dns.A(ctx, name), d.names.dns.MX(ctx, name)
	const fix = "ask a resolver that does not do this, best one of your own:\n[verify.dns]\nservers = " +
		"[\"127.0.0.1:53\"]"
	switch {
	case address.Status == dns.NoError || mail.Status == dns.NoError:
		to := ""
		if len(address.Addrs) > 0 {
			to = ", with " + address.Addrs[0].String()
		}
		r.fault(fmt.Sprintf("the resolver answers for a name that does not exist, %s%s", name, to),
			"dead domains look alive: their recipients are probed at a foreign server, and never refused",
			fix)
	case mail.Status == dns.Failure:
		r.warning(fmt.Sprintf("the resolver does not answer for a name that does not exist, %s: %s",
			name, mail.Detail),
			"recipients of domains that do not exist stay unknown, and pass", fix)
	case mail.Status != dns.NXDomain:
		r.warning(fmt.Sprintf("the resolver says %s, not NXDOMAIN, of a name that does not exist, %s",
			mail.Status, name),
			"that a domain does not exist is never proven, its recipients are refused less surely", fix)
	default:
		r.ok("the resolver says NXDOMAIN of names that do not exist")
	}
}
