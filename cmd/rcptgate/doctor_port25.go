package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/verify/health"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// domains are those whose mail servers are connected to.
func (d *doctor) domains() []string {
	if len(d.o.domains) > 0 {
		return d.o.domains
	}
	// They have many hosts, in many networks, which bear a connection.
	return []string{"gmail.com", "outlook.com", "yahoo.com"}
}

// doctorEgress collects the addresses that connections left from.
type doctorEgress struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

func (e *doctorEgress) saw(conn net.Conn) {
	at, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if addr := at.Addr().Unmap(); !slices.Contains(e.addrs, addr) {
		e.addrs = append(e.addrs, addr)
	}
}

func (e *doctorEgress) seen() []netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.addrs)
}

// passive says that no mail server is asked, and tells whether that is so.
func (d *doctor) passive(r *doctorReport) bool {
	if d.cfg.Verify.Mode == "passive" && len(d.o.domains) == 0 {
		r.note(`verify.mode is "passive": the gate asks no mail server, and this was not looked at`, "",
			"rcptgate doctor --domain example.com")
		return true
	}
	return false
}

// knock is what came of one domain.
type knock struct {
	domain string
	tried  bool // there was a host to connect to
	open   bool
	note   string
}

func (d *doctor) checkPort25(ctx context.Context, r *doctorReport) {
	if d.passive(r) || d.names.err != nil {
		return
	}
	domains := d.domains()
	knocks := make([]knock, len(domains))
	var knocking sync.WaitGroup
	for i, domain := range domains {
		knocking.Go(func() { knocks[i] = d.knock(ctx, r, domain) })
	}
	knocking.Wait()
	port := strconv.Itoa(d.cfg.Verify.ProbePort)
	open, tried := false, false
	for _, k := range knocks {
		open, tried = open || k.open, tried || k.tried
	}
	for _, k := range knocks {
		switch {
		case k.open:
		case !k.tried:
			r.warning(fmt.Sprintf("%s: no mail server to connect to: %s", k.domain, k.note), "",
				"see DNS; or name others with --domain")
		case open:
			r.warning(fmt.Sprintf("%s: its mail servers cannot be reached: %s", k.domain, k.note),
				"others can be: it may be their trouble, or a route", "")
		}
	}
	if open || !tried {
		return
	}
	var all []string
	for _, k := range knocks {
		if k.tried {
			all = append(all, k.domain+": "+k.note)
		}
	}
	r.fault("outgoing TCP port "+port+" seems closed: "+strings.Join(all, "; "),
		"no mail server can be asked, every recipient is unknown and passes; and mail that leaves from "+
			"here does not",
		"have it opened (firewall, hosting provider); until then:\n[verify]\nmode = \"passive\"")
}

// maxKnocks is how many addresses of a domain are tried until one answers.
const maxKnocks = 3

// knock connects to the first mail server of a domain that can be reached, reads its banner and says
// QUIT.
func (d *doctor) knock(ctx context.Context, r *doctorReport, domain string) knock {
	k := knock{domain: domain}
	set := d.names.hosts.Lookup(ctx, domain)
	if set.Kind != mx.Hosts {
		k.note = set.Kind.String() + ": " + set.Detail
		return k
	}
	k.note = "its hosts have no address that may be connected to"
	left := maxKnocks
	for _, host := range set.Hosts {
		addrs, status := d.names.hosts.Addrs(ctx, host.Name)
		if status == dns.Failure {
			k.note = "the addresses of " + host.Name + " are not known"
		}
		for _, addr := range addrs {
			if left--; left < 0 || ctx.Err() != nil {
				return k
			}
			k.tried = true
			if d.greet(ctx, r, &k, host.Name, addr) {
				return k
			}
		}
	}
	return k
}

// greet is one connection. It tells whether it came to be.
func (d *doctor) greet(ctx context.Context, r *doctorReport, k *knock, host string, addr netip.Addr) bool {
	at := netip.AddrPortFrom(addr, uint16(d.cfg.Verify.ProbePort)) //nolint:gosec // max is 65535
	limited, cancel := context.WithTimeout(ctx, time.Duration(d.cfg.Verify.ConnectTimeout))
	conn, err := d.names.dial(limited, "tcp", at.String())
	cancel()
	if err != nil {
		k.note = fmt.Sprintf("%s [%s]: %v", host, at, rootCause(err))
		return false
	}
	d.egress.saw(conn)
	k.open = true
	c := esmtp.NewClient(conn)
	defer func() { _ = c.Close() }()
	c.Timeout = time.Duration(d.cfg.Verify.CommandTimeout)
	began := time.Now()
	banner, err := c.Greeting(ctx)
	who := fmt.Sprintf("%s: %s [%s]", k.domain, host, at)
	switch {
	case err != nil:
		r.warning(fmt.Sprintf("%s does not greet: %v", who, rootCause(err)),
			"it may be slow, or something between cuts connections (a firewall that looks into SMTP)", "")
		return true
	case banner.Code != 220:
		r.warning(fmt.Sprintf("%s refuses this host: %s", who, banner),
			"its recipients cannot be asked about, and mail may be refused as well",
			"look at address and block lists, and at the page that it names")
	default:
		r.ok("%s answers, in %s", who, roundTime(time.Since(began)))
	}
	_, _ = c.Quit(ctx) // whether it answers that says nothing
	return true
}

// look has package health look, with or without block lists, and reports the findings of some kinds.
func (d *doctor) look(ctx context.Context, r *doctorReport, zones []string, kinds ...health.Kind) (found int) {
	c, _ := d.cfg.HealthConfig(slog.New(slog.DiscardHandler))
	c.DNS, c.Zones, c.Addrs = d.names.dns, zones, d.addrs
	levels := map[health.Severity]doctorLevel{
		health.Notice: levelNote, health.Warning: levelWarning, health.Critical: levelFault,
	}
	for _, f := range health.New(c).Check(ctx) {
		if !slices.Contains(kinds, f.Kind) {
			continue
		}
		what := f.What
		if !strings.Contains(what, f.Subject) {
			what = f.Subject + ": " + what
		}
		r.add(levels[f.Severity], what, "", f.Fix)
		found++
	}
	return found
}

// addrs are the addresses that mail servers see, as far as this host knows them.
func (d *doctor) addrs() []netip.Addr {
	if bound := d.cfg.Verify.BindAddresses; len(bound) > 0 {
		return bound
	}
	return d.egress.seen()
}

// public are those of them that others can see; with verify.health.addresses it is these.
func (d *doctor) public() []netip.Addr {
	if named := d.cfg.Verify.Health.Addresses; len(named) > 0 {
		return named
	}
	return slices.DeleteFunc(d.addrs(), func(a netip.Addr) bool {
		return !a.IsGlobalUnicast() || a.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(a)
	})
}

// checkAddress looks at names and at SPF.
func (d *doctor) checkAddress(ctx context.Context, r *doctorReport) {
	if d.passive(r) || d.names.err != nil {
		return
	}
	found := d.look(ctx, r, nil, health.KindAddress, health.KindPTR, health.KindHelo)
	if found == 0 && ctx.Err() == nil {
		r.ok("reverse DNS and the EHLO name %s fit together for %s", d.cfg.Helo(), joinAddrs(d.public()))
	}
	d.checkSPF(ctx, r)
}

// spfTime bounds the questions of an SPF check.
const spfTime = 10 * time.Second

// checkSPF has the check of messages look at the sender of probes that cannot use the mail's.
func (d *doctor) checkSPF(ctx context.Context, r *doctorReport) {
	addrs := d.public()
	sender, err := esmtp.ParseAddress(d.cfg.FallbackSender(), false)
	if err != nil || len(addrs) == 0 {
		return // check-config, or the address, has said what is wrong
	}
	checker, err := message.New(message.Config{
		Levels: map[message.Check]message.Level{message.SPF: message.Log}, Timeout: spfTime,
		Egress: func() []netip.Addr { return addrs }, Helo: d.cfg.Helo(),
	}, d.names.dns, nil, nil)
	if err != nil {
		r.warning(fmt.Sprintf("SPF cannot be checked: %v", err), "", "")
		return
	}
	defer func() { _ = checker.Close() }()
	run := checker.Begin(message.Envelope{From: sender})
	run.Write([]byte("From: <" + sender.String() + ">\r\n\r\n"))
	report := run.Finish(ctx)
	for _, f := range report.Findings {
		if f.Check != message.SPF {
			continue
		}
		if f.Unknown {
			r.note(f.Detail, "", "see DNS, or try again")
			return
		}
		r.warning(f.Detail, "some servers refuse probes from <"+sender.String()+">, the sender of those "+
			"that cannot use the mail's",
			spfFix(sender.ASCIIDomain(), addrs))
		return
	}
	r.ok("SPF lets %s send as <%s>", joinAddrs(addrs), sender)
}

// spfFix is the record that lets addresses send for a domain.
func spfFix(domain string, addrs []netip.Addr) string {
	var b strings.Builder
	b.WriteString("add to the SPF record of the domain, or set verify.fallback_sender to an address " +
		"of another:\n")
	b.WriteString(domain + `. IN TXT "v=spf1`)
	for _, a := range addrs {
		kind := " ip4:"
		if a.Unmap().Is6() {
			kind = " ip6:"
		}
		b.WriteString(kind + a.Unmap().String())
	}
	b.WriteString(` -all"`)
	return b.String()
}

// checkBlockLists asks the lists of verify.health, which package health first puts to the test.
func (d *doctor) checkBlockLists(ctx context.Context, r *doctorReport) {
	zones := d.cfg.Verify.Health.DNSBLZones
	switch {
	case len(zones) == 0:
		r.note("no block list is asked (verify.health.dnsbl_zones is empty)",
			"most have terms of use: choose those that you may ask", "")
		return
	case d.passive(r) || d.names.err != nil:
		return
	}
	found := d.look(ctx, r, zones, health.KindDNSBL, health.KindZone)
	addrs := d.public()
	switch {
	case ctx.Err() != nil || found > 0:
	case len(addrs) == 0:
		r.note("no address is known to ask block lists about", "",
			"[verify.health]\naddresses = [\"192.0.2.25\"]")
	default:
		r.ok("no block list has %s (%s)", joinAddrs(addrs), counted(len(zones), "list", "lists"))
	}
}

func joinAddrs(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "this host"
	}
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.Unmap().String()
	}
	return strings.Join(words, ", ")
}
