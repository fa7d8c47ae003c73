package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	// demoDeliver is how long the relay of the demo may take for what it has accepted.
	demoDeliver = 20 * time.Second
	// demoLearn is how long the gate may take to read the relay's log.
	demoLearn = 5 * time.Second
)

// demoSecond is what is sent once the relay has delivered the first campaign, and the gate has read
// the relay's log.
func demoSecond() []demoMail {
	return []demoMail{
		{title: "A second campaign: what only deliveries could tell", sender: demoSender, rcpts: []string{
			"ida@yahoo-like.test", "idda@yahoo-like.test", "mia@mail-ru.test", "miia@mail-ru.test",
			"kim@yahoo.test", "kimm@yahoo.test",
		}},
		{title: "And what was known already", sender: demoSender, rcpts: []string{
			"anna@postfix.test", "typo.anna@postfix.test", "gusti@google.test", "gustti@google.test",
		}},
	}
}

// demoProviders is the first campaign's message to the large providers: each plays its own words and
// habits, under the names that its mail hosts have.
func demoProviders() []demoMail {
	return []demoMail{
		{title: "The large providers", sender: demoSender, rcpts: []string{
			"gusti@google.test", "gustti@google.test", "busy@google.test",
			"mona@microsoft.test", "monna@microsoft.test", "olli@outlook.test", "ollli@outlook.test",
			"kim@yahoo.test", "ines@icloud.test", "iness@icloud.test",
			"gerd@gmx.test", "gerrd@gmx.test", "yuri@yandex.test", "yurri@yandex.test",
			"mia@mail-ru.test", "paul@proofpoint.test", "paull@proofpoint.test",
			"mike@mimecast.test", "mikke@mimecast.test", "orla@orange.test", "orrla@orange.test",
		}},
		// In messages of their own: who accepts every RCPT answers the whole message once.
		{
			title: "Wrong addresses where nobody says so in time", sender: demoSender,
			rcpts: []string{"idda@yahoo-like.test"},
		},
		{title: "The same at Yahoo", sender: demoSender, rcpts: []string{"kimm@yahoo.test"}},
		{title: "And at Mail.ru", sender: demoSender, rcpts: []string{"miia@mail-ru.test"}},
	}
}

// demoProviderSites are their mail hosts. The first mailbox of each exists.
func demoProviderSites() []*mxsim.Site {
	var sites []*mxsim.Site
	for _, s := range []struct{ provider, domain, mailbox string }{
		{"google", "google.test", "gusti"},
		{"exchangeonline", "microsoft.test", "mona"},
		{"outlook", "outlook.test", "olli"},
		{"yahoo", "yahoo.test", "kim"},
		{"apple", "icloud.test", "ines"},
		{"gmx", "gmx.test", "gerd"},
		{"yandex", "yandex.test", "yuri"},
		{"mailru", "mail-ru.test", "mia"},
		{"proofpoint", "proofpoint.test", "paul"},
		{"mimecast", "mimecast.test", "mike"},
		{"orange", "orange.test", "orla"},
	} {
		p, ok := mxsim.ProviderNamed(s.provider)
		if !ok {
			continue // a test sees that none is missing
		}
		site := p.Site(s.domain, mxsim.Plain, map[string]mxsim.Mailbox{s.mailbox: mxsim.Active})
		if s.provider == "google" {
			site.Mailboxes["busy"] = mxsim.Busy
		}
		// They tell it only to who comes again, which the demo has no time for.
		if s.provider == "proofpoint" || s.provider == "mimecast" {
			site.Proves = false
		}
		sites = append(sites, site)
	}
	return sites
}

// deliver has the relay deliver from now on what it accepts, with a log that the gate reads.
func (d *demo) deliver() (logPath string, done func(), err error) {
	dir, err := os.MkdirTemp("", "rcptgate-demo-")
	if err != nil {
		return "", nil, failed(fmt.Sprintf("cannot keep the relay's log: %v", err),
			"set TMPDIR to a directory that is writable")
	}
	log, err := os.Create(filepath.Join(dir, "mail.log"))
	if err != nil {
		return "", nil, errors.Join(failed(err.Error(), ""), os.RemoveAll(dir))
	}
	d.delivery = d.relay.Deliver(mxsim.DeliveryConfig{
		World: d.world, Dial: new(net.Dialer).DialContext, Port: d.at.Port, Log: log, LogISO: true,
		Helo: "gate.demo.test", Retry: []time.Duration{}, Timeout: demoLatency * 50, PerDomain: 5,
	})
	return log.Name(), func() {
		_ = log.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// learn waits until the relay has tried to deliver everything and the gate has read its log, and
// shows what came back.
func (d *demo) learn(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, demoDeliver)
	defer cancel()
	if err := d.delivery.Wait(limit); err != nil {
		return fmt.Errorf("the relay does not come to an end with its deliveries: %w", err)
	}
	// What has expired has no line of its own.
	tries := slices.DeleteFunc(d.delivery.Outcomes(), func(o mxsim.Outcome) bool {
		return o.Status == "expired"
	})
	limit, cancel = context.WithTimeout(ctx, demoLearn)
	defer cancel()
	tick := time.NewTicker(demoLatency)
	defer tick.Stop()
	for d.linesRead() < len(tries) {
		select {
		case <-tick.C:
		case <-limit.Done():
			return fmt.Errorf("the gate has read %d of %d deliveries in the relay's log",
				d.linesRead(), len(tries))
		}
	}
	bounced := slices.DeleteFunc(tries, func(o mxsim.Outcome) bool {
		late := strings.Contains(o.Text, "end of DATA command")
		if o.Status == "bounced" && late {
			d.bounced[o.Rcpt] = true
		}
		return o.Status != "bounced" || !late
	})
	d.out.learned(d.linesRead(), bounced)
	return nil
}

// linesRead is how many deliveries the gate has read of.
func (d *demo) linesRead() int {
	status, _ := d.running.learning.status()
	return int(status.Deliveries) //nolint:gosec // some dozens
}
