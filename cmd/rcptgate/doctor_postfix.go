package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// postfixGate is the gate as its Postfix sees it.
type postfixGate struct {
	*postfixConf

	cfg    *config.Config
	report *doctorReport
	places postfixPlaces
	own    []netip.Addr

	listen, tls, upstreams, policyd []postfixPlace

	fronts []*postfixService // send to the gate
	behind []*postfixService // take from it
	asking []*postfixService // ask its policy service
}

func (d *doctor) checkPostfix(ctx context.Context, r *doctorReport) {
	conf, err := readPostfix(ctx, d.o.postfix)
	switch {
	case errors.Is(err, errPostfixAbsent):
		r.note(err.Error(), "nothing was looked at", "run it on the host of the relay, or add --postfix "+
			"DIR")
		return
	case err != nil && d.o.postfix == "":
		r.note(fmt.Sprintf("Postfix's configuration cannot be read: %v", err), "", "run it as root")
		return
	case err != nil:
		r.fault(fmt.Sprintf("the configuration in %s cannot be read: %v", d.o.postfix, err), "",
			"postfix -c "+shellQuoted(d.o.postfix)+" check")
		return
	}
	g := d.newPostfixGate(ctx, r, conf)
	for _, w := range conf.warnings {
		r.note("postconf says: "+w, "a setting that is not used is often one that is misspelt", "")
	}
	for _, s := range g.fronts {
		g.checkFront(ctx, s)
	}
	for _, s := range g.behind {
		g.checkBehind(ctx, s)
	}
	for _, s := range g.asking {
		g.checkAsking(ctx, s)
	}
	g.checkRoles()
	g.checkProcesses()
	if d.cfg.Verify.Mode == "active" {
		g.checkDomains(ctx)
	}
	if r.worst().rank() < levelWarning.rank() && len(g.fronts)+len(g.behind)+len(g.asking) > 0 {
		r.ok("%s fits the gate: %s", conf.dir, g.roles())
	}
}

func (d *doctor) newPostfixGate(ctx context.Context, r *doctorReport, conf *postfixConf) *postfixGate {
	g := &postfixGate{
		postfixConf: conf, cfg: d.cfg, report: r, own: doctorInterfaces(),
		places: postfixPlaces{
			offline: d.o.offline, queue: conf.settings["queue_directory"],
			inside: mx.PostfixItems(conf.settings["inet_interfaces"]),
		},
	}
	all := func(endpoints []config.Endpoint) (list []postfixPlace) {
		for _, e := range endpoints {
			list = append(list, g.places.endpoint(ctx, e))
		}
		return list
	}
	g.listen, g.tls, g.policyd = all(d.cfg.Proxy.Listen), all(d.cfg.Proxy.TLSListen),
		all(d.cfg.Policyd.Listen)
	for _, address := range d.cfg.UpstreamAddresses() {
		g.upstreams = append(g.upstreams, g.places.endpoint(ctx, config.Endpoint(address)))
	}
	for _, s := range conf.services {
		at := g.places.service(ctx, s)
		if g.at(at, g.upstreams) {
			g.behind = append(g.behind, s)
		} else if filter := g.get(s, "smtpd_proxy_filter"); g.at(g.places.target(ctx, filter), g.listen,
			g.tls) {
			g.fronts = append(g.fronts, s)
		}
		if g.policyItem(ctx, s) != nil {
			g.asking = append(g.asking, s)
		}
	}
	return g
}

// doctorInterfaces are the addresses of this machine.
func doctorInterfaces() (addrs []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap())
		}
	}
	return addrs
}

// at tells whether a place is one of these.
func (g *postfixGate) at(place postfixPlace, lists ...[]postfixPlace) bool {
	return slices.ContainsFunc(slices.Concat(lists...),
		func(p postfixPlace) bool { return place.same(p, g.own) })
}

// serviceNames joins services.
func serviceNames(services []*postfixService) string {
	list := make([]string, len(services))
	for i, s := range services {
		list[i] = s.String()
	}
	return strings.Join(list, ", ")
}

func (g *postfixGate) roles() string {
	var list []string
	add := func(services []*postfixService, what string) {
		if len(services) > 0 {
			list = append(list, serviceNames(services)+" "+what)
		}
	}
	add(g.fronts, "in front")
	add(g.behind, "behind")
	add(g.asking, "asks the policy service")
	return strings.Join(list, ", ")
}

// checkRoles tells what is missing as a whole.
func (g *postfixGate) checkRoles() {
	outside := slices.ContainsFunc(slices.Concat(g.cfg.Proxy.Listen, g.cfg.Proxy.TLSListen),
		func(e config.Endpoint) bool { return !e.Loopback() })
	switch {
	case len(g.fronts) > 0 && len(g.asking) > 0:
		g.report.note(fmt.Sprintf("mail passes through the gate (%s), and its policy service is asked as "+
			"well (%s)",
			serviceNames(g.fronts), serviceNames(g.asking)),
			"where both are for the same mail, the limits of senders count each recipient twice",
			"take check_policy_service out, or give each its own rules by door == \"policyd\"")
	case len(g.fronts)+len(g.asking) > 0 || outside:
	case len(g.cfg.Policyd.Listen) > 0 || g.cfg.Proxy.Listen != nil:
		filter := "127.0.0.1:10025"
		if len(g.cfg.Proxy.Listen) > 0 {
			filter = string(g.cfg.Proxy.Listen[0])
		}
		g.report.warning(fmt.Sprintf("no smtpd service in %s sends to the gate or asks it",
			filepath.Join(g.dir, "master.cf")),
			"the gate listens on this machine only, so that no mail gets to it",
			"below the service that clients use, in master.cf (docs/postfix.md has all lines):\n  -o "+
				"smtpd_proxy_filter="+filter)
	}
}

// checkProcesses compares the numbers of processes: one in front with a message in hand holds one
// behind, and the gate keeps some more.
func (g *postfixGate) checkProcesses() {
	sum := func(services []*postfixService) (n int, limited bool) {
		limited = true
		for _, s := range services {
			n += s.processes
			limited = limited && s.processes > 0
		}
		return n, limited
	}
	front, known := sum(g.fronts)
	back, limited := sum(g.behind)
	if need := front + g.cfg.Relay.MaxIdle; len(g.fronts) > 0 && known && len(g.behind) > 0 && limited && back < need {
		g.report.warning(fmt.Sprintf("%s may have %d processes, and those in front of the gate (%s) %d",
			serviceNames(g.behind), back, serviceNames(g.fronts), front),
			"each message under way holds one of both, and the gate keeps up to relay.max_idle more; when "+
				"all are taken, "+
				"recipients wait, and get 451",
			fmt.Sprintf("in master.cf, the column maxproc of %s: %d", serviceNames(g.behind), need+10))
	}
	asking, known := sum(g.asking)
	if most := g.cfg.Policyd.MaxConnections; known && asking > most {
		g.report.warning(fmt.Sprintf("%s may have %d processes, and policyd.max_connections is %d",
			serviceNames(g.asking), asking, most),
			"those that are too many wait for the gate in vain, and go on without it",
			fmt.Sprintf("[policyd]\nmax_connections = %d", asking+50))
	}
}

// maxNamedDomains is how many domains a finding names.
const maxNamedDomains = 10

// checkDomains looks for domains that Postfix delivers itself and the gate would probe.
func (g *postfixGate) checkDomains(ctx context.Context) {
	known, err := mx.NewDomains(g.cfg.Verify.InternalDomains)
	if err != nil {
		return // check-config has said it
	}
	entries, err := mx.PostfixDomains(ctx, g.ask)
	if err != nil {
		g.report.note(fmt.Sprintf("the domains of Postfix cannot be listed: %v", err), "", "")
		return
	}
	var missing []string
	for _, entry := range entries {
		if text, ok := strings.CutPrefix(entry, "# "); ok {
			g.report.note(text, "whether the gate has these among verify.internal_domains was not looked "+
				"at", "")
			continue
		}
		for _, domain := range domainsOf(entry) {
			if !known.Match(domain) && g.probed(domain) {
				missing = append(missing, entry)
				break
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	shown := strings.Join(missing[:min(len(missing), maxNamedDomains)], ", ")
	if more := len(missing) - maxNamedDomains; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	g.report.warning("Postfix delivers or routes domains that are not in verify.internal_domains: "+
		""+shown,
		"their recipients are probed as if they were elsewhere, and may be refused for what the servers "+
			"there say",
		"rcptgate internal-domains --from-postfix >/etc/rcptgate/domains, and then:\n"+
			"[verify]\ninternal_domains = [\"file:/etc/rcptgate/domains\"]")
}

// ask answers the questions of mx.PostfixDomains: settings from what has been read, tables by postmap.
func (g *postfixGate) ask(ctx context.Context, name string, args ...string) ([]byte, error) {
	if name == "postconf" && len(args) == 2 && args[0] == "-xh" {
		if value, ok := g.settings[args[1]]; ok {
			return []byte(value), nil
		}
	}
	out, _, err := runPostfix(ctx, g.dir, name, args...)
	return out, err
}

// probed tells whether the gate would ask about a domain at all: not of its own names, nor of those
// that are not of the Internet.
func (g *postfixGate) probed(domain string) bool {
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	return strings.Contains(domain, ".") && !strings.EqualFold(domain, g.cfg.Hostname()) &&
		!strings.EqualFold(domain, g.cfg.Helo()) && !strings.HasPrefix(domain, "[") &&
		!slices.Contains([]string{"localdomain", "local", "localhost", "lan", "internal"},
			strings.ToLower(last))
}

// domainsOf are domains that an entry of internal_domains stands for.
func domainsOf(entry string) []string {
	name, ok := strings.CutPrefix(entry, "file:")
	if !ok {
		if strings.HasPrefix(entry, ".") {
			return []string{"any" + entry}
		}
		return []string{entry}
	}
	data, err := os.ReadFile(name)
	if err != nil || len(data) > maxPostconf {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			list = append(list, domainsOf(strings.TrimPrefix(fields[0], "file:"))...)
		}
	}
	return list
}

// gateAddr is the address that a Postfix on this machine sees the gate at, and the other way round.
func (p postfixPlace) gateAddr() netip.Addr {
	for _, a := range p.addrs {
		if a.IsLoopback() {
			return a
		}
	}
	if len(p.addrs) > 0 {
		return p.addrs[0] // an address of this machine is reached from itself
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}) // also of a Unix socket
}

// inNetworks tells whether the gate's networks have an address.
func inNetworks(networks []config.Network, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n config.Network) bool { return n.Contains(addr) })
}

func postfixSpan(d time.Duration) string { return config.Duration(d).String() }
