package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
)

// certificateWarn is how long before its end a certificate should have been renewed: programs that
// renew it do so at a third of its life, after 60 of 90 days.
const certificateWarn = 14 * 24 * time.Hour

// configFindings are the faults of a configuration that cannot be used.
func configFindings(err error) []doctorFinding {
	r := new(doctorReport)
	faults, ok := errors.AsType[config.Errors](err)
	if !ok {
		r.fault(err.Error(), "the gate does not start", "rcptgate check-config")
	}
	for _, f := range faults {
		plain := *f
		plain.Fix = ""
		r.fault(plain.Error(), "the gate does not start with it, and a reload keeps the old one", f.Fix)
	}
	r.note("nothing else was looked at", "the rest needs a configuration without faults", "")
	return r.list()
}

// checkConfiguration has no faults to tell but those of files: configure has found the others.
func (d *doctor) checkConfiguration(_ context.Context, r *doctorReport) {
	name := d.cfg.Name()
	for _, w := range d.cfg.Warnings() {
		plain := *w
		plain.Fix = ""
		r.warning(plain.Error(), "", w.Fix)
	}
	if _, err := web.OpenTokens(d.cfg.HTTP.TokensFile, slog.New(slog.DiscardHandler)); err != nil {
		for line := range strings.Lines(err.Error()) {
			problem, fix, _ := strings.Cut(strings.TrimSpace(line), "; ")
			r.fault(problem, "the gate does not start with it", fix)
		}
	}
	d.checkTimes(r)
	d.checkCertificate(r, time.Now())
	if d.o.config == "" && d.cfg.Name() != packagedConfig {
		r.note("no configuration was given, the defaults were looked at", "",
			"rcptgate doctor --config FILE")
		return
	}
	if r.worst() != levelFault {
		r.ok("%s has no fault", name)
	}
}

// clientPatience is what a client must wait for the reply to RCPT (RFC 5321 section 4.5.3.2.3).
const clientPatience = 5 * time.Minute

// checkTimes looks at orders of times that check-config leaves to taste.
func (d *doctor) checkTimes(r *doctorReport) {
	v, relay := d.cfg.Verify, d.cfg.Relay
	if sum := v.TransactionBudget + relay.Timeout; time.Duration(sum) >= clientPatience {
		r.note(fmt.Sprintf("verify.transaction_budget (%v) and relay.timeout (%v) are %v together",
			v.TransactionBudget, relay.Timeout, sum),
			"a client that sends all its recipients at once sees no reply for that long, and need not wait "+
				"longer than 5 minutes (RFC 5321)", `verify.transaction_budget = "25s"`)
	}
	if v.RcptBudget > v.ProbeTimeout {
		r.note(fmt.Sprintf("verify.rcpt_budget (%v) is more than verify.probe_timeout (%v)",
			v.RcptBudget, v.ProbeTimeout), "nothing is asked for so long, so that the rest of it is never "+
			"used",
			fmt.Sprintf("verify.rcpt_budget = %q", v.ProbeTimeout.String()))
	}
	if v.CommandTimeout > v.ProbeTimeout || v.ConnectTimeout > v.ProbeTimeout {
		r.note(fmt.Sprintf("verify.command_timeout (%v) or verify.connect_timeout (%v) is more than "+
			"verify.probe_timeout (%v)", v.CommandTimeout, v.ConnectTimeout, v.ProbeTimeout),
			"one mail host that is silent takes all the time that there is for the others", "")
	}
}

// checkCertificate tells when the certificate ends, and whether it is for the name of the gate.
func (d *doctor) checkCertificate(r *doctorReport, now time.Time) {
	cert, key := d.cfg.Proxy.TLSCertFile, d.cfg.Proxy.TLSKeyFile
	if cert == "" || key == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		r.fault(cert+": "+err.Error(), "the gate does not start with it", "")
		return
	}
	end := pair.Leaf.NotAfter
	const fix = "renew it, and write the chain and its own key to these files; they are read again by " +
		"themselves"
	switch problem := expired(&pair, now); {
	case problem != "":
		r.fault(cert+": "+problem, "clients that look at certificates do not send", fix)
	case end.Sub(now) < certificateWarn:
		r.warning(fmt.Sprintf("%s: the certificate ends on %s", cert, dateOf(end)),
			"it should have been renewed by now: see to the program that does", fix)
	default:
		r.ok("the certificate %s is good until %s", cert, dateOf(end))
	}
	if name := d.cfg.Hostname(); pair.Leaf.VerifyHostname(name) != nil {
		r.note(fmt.Sprintf("%s is not for %s but for %s", cert, name, strings.Join(pair.Leaf.DNSNames,
			", ")),
			"clients that know the gate by this name and look at certificates do not send", "")
	}
}
