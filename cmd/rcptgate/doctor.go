package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// packagedConfig is where the Debian package has the configuration.
const packagedConfig = "/etc/rcptgate/config.toml"

type doctorOptions struct {
	config  string
	postfix string
	json    bool
	offline bool
	domains []string
}

func newDoctorCmd() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE] [--postfix DIR] [--offline]",
		Short: "Look for what is wrong with this gate, its Postfix and its addresses",
		Long: `Doctor looks at everything that the gate stands on and prints what is wrong, what follows
from it, and what to write or to run. It changes nothing, and sends no mail. Each finding has
a level: "fault" is what loses or delays mail or keeps the gate from working, "warning" what
will hurt some of it, "note" what is good to know, and "ok" what was looked at and is right.

It looks at:

  configuration  the faults and warnings of check-config, tokens, the certificate's end
  files          the directories and files that the configuration names: whether the gate's
                 user can use them, who else can, and the room on their disks
  gate           whether one runs, with this configuration, and what it says of itself
  DNS            each name server: whether and how fast it answers, whether it is a public
                 one, and whether it is truthful about names that do not exist
  port 25        whether mail servers can be reached: one connection to a mail server of each
                 domain, which waits for the banner and says QUIT. No recipient is asked about
  address        reverse DNS, the name in EHLO, the SPF record of verify.fallback_sender, for the
                 addresses that these connections left from (or verify.health.addresses)
  block lists    those of verify.health.dnsbl_zones, if they can be believed
  relay          each upstream, as the gate connects to it: TLS, login, what it offers, whether
                 it takes XFORWARD from here, and whether it is a gate itself
  postfix        main.cf and master.cf of a Postfix on this machine, by postconf: the service in
                 front of the gate, the one behind it, the policy service, the limits and times
                 that have to fit the gate's, and its domains

With --offline nothing leaves this machine: no name server, no mail server, no block list, and
no relay elsewhere is asked. As root, or as the gate's user, it sees most.

The exit code is 0 if there is no fault, 1 if there is one.`,
		Example: `  rcptgate doctor --config /etc/rcptgate/config.toml
  rcptgate doctor --config rcptgate.toml --offline --json
  rcptgate doctor --config rcptgate.toml --postfix /etc/postfix-out --domain example.com`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, o) },
	}
	configFlag(cmd, &o.config, "the gate's configuration (default "+packagedConfig+", if it is there)")
	cmd.Flags().StringVar(&o.postfix, "postfix", "",
		"`directory` of main.cf and master.cf (default that of postconf, if it is there)")
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "let nothing leave this machine")
	cmd.Flags().StringArrayVar(&o.domains, "domain", nil,
		"connect to a mail server of this `domain`, instead of some large providers'; may be repeated")
	return cmd
}

func runDoctor(cmd *cobra.Command, o doctorOptions) error {
	for i, domain := range o.domains {
		a, err := esmtp.ParseAddress("postmaster@"+domain, true)
		if err != nil || a.IsLiteral() {
			return usageError(fmt.Sprintf("--domain %q is no mail domain", domain),
				"write one such as --domain example.com")
		}
		o.domains[i] = a.ASCIIDomain()
	}
	if o.offline && len(o.domains) > 0 {
		return usageError("--domain connects to mail servers, --offline forbids it", "leave one of them out")
	}
	d := &doctor{o: o}
	fault, err := d.configure()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	view := newDoctorView(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
	if fault != nil {
		view.group("configuration", configFindings(fault))
	} else {
		d.examine(ctx, view)
	}
	if ctx.Err() != nil {
		return failed("interrupted", "")
	}
	if view.end() > 0 {
		return &failure{code: exitFailed}
	}
	return nil
}

// doctor is one examination.
type doctor struct {
	o   doctorOptions
	cfg *config.Config

	names  *doctorNames  // asks DNS; nil: offline
	egress *doctorEgress // what the connections to mail servers show
	self   doctorSelf    // who the gate runs as
}

// configure loads the configuration. fault is what is wrong in it, err that there is none to look at.
func (d *doctor) configure() (fault, err error) {
	path := d.o.config
	if path == "" {
		if !fileExists(packagedConfig) {
			d.cfg = config.Default()
			return nil, nil
		}
		path = packagedConfig
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		_, err := loadConfig(path)
		return nil, err
	}
	d.cfg, fault = config.Load(path)
	return fault, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// doctorCheck is one group of findings.
type doctorCheck struct {
	name  string
	limit time.Duration
	run   func(ctx context.Context, r *doctorReport)
	// behind are names of checks that this one needs the results of.
	behind []string
}

func (d *doctor) checks() []doctorCheck {
	const quick, patient = 10 * time.Second, 60 * time.Second
	list := []doctorCheck{
		{name: "configuration", limit: quick, run: d.checkConfiguration},
		{name: "files", limit: quick, run: d.checkFiles},
		{name: "gate", limit: quick, run: d.checkGate},
		{name: "relay", limit: patient, run: d.checkRelay},
		{name: "postfix", limit: patient, run: d.checkPostfix},
	}
	if d.o.offline {
		return list
	}
	return append(list,
		doctorCheck{name: "DNS", limit: patient, run: d.checkDNS},
		doctorCheck{name: "port 25", limit: patient, run: d.checkPort25},
		doctorCheck{name: "address", limit: patient, run: d.checkAddress, behind: []string{"port 25"}},
		doctorCheck{name: "block lists", limit: patient, run: d.checkBlockLists, behind: []string{"port 25"}},
	)
}

// examine runs all checks side by side and shows them in their order.
func (d *doctor) examine(ctx context.Context, view *doctorView) {
	d.self = findSelf(ctx, d.cfg)
	d.egress = new(doctorEgress)
	if !d.o.offline {
		d.names = newDoctorNames(ctx, d.cfg)
		defer d.names.close()
	}
	checks := d.checks()
	reports := make([]*doctorReport, len(checks))
	done := make(map[string]chan struct{}, len(checks))
	for _, c := range checks {
		done[c.name] = make(chan struct{})
	}
	var running sync.WaitGroup
	for i, c := range checks {
		reports[i] = new(doctorReport)
		running.Go(func() {
			defer close(done[c.name])
			for _, before := range c.behind {
				<-done[before]
			}
			bounded(ctx, c, reports[i])
		})
	}
	for i, c := range checks {
		view.wait(c.name, done[c.name])
		view.group(c.name, reports[i].list())
	}
	running.Wait()
}

// hangTime is how long a check may go on that does not look at its context, such as one that waits
// for a file system.
const hangTime = 2 * time.Second

// bounded runs a check within its limit. One that does not end is left behind: the process ends soon.
func bounded(ctx context.Context, c doctorCheck, r *doctorReport) {
	limited, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(limited, r)
	}()
	select {
	case <-ended:
	case <-limited.Done():
		grace := time.NewTimer(hangTime)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
		}
	}
	if limited.Err() != nil && ctx.Err() == nil {
		r.add(levelWarning, fmt.Sprintf("this was not finished within %v", c.limit),
			"what is above is not all of it", "run it again; if it stays so, something there hangs")
	}
	r.close()
}
