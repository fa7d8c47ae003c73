package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// worldConfig is a configuration whose DNS and mail servers are those of a simulated internet.
func worldConfig(listen, relay string, at mxsim.Listening) string {
	return fmt.Sprintf(`[proxy]
listen = [%q]
hostname = "gate.example.net"
client_timeout = "10s"
[relay]
upstreams = [%q]
timeout = "5s"
[verify]
rcpt_budget = "2s"
probe_port = %d
allow_networks = ["127.0.0.0/8"]
internal_domains = ["internal.example.net"]
[verify.dns]
servers = [%q]
`, listen, relay, at.Port, at.DNS)
}

// newTestWorld has one site for each thing that a verdict can be about.
func newTestWorld(tb testing.TB) (*mxsim.World, mxsim.Listening, error) {
	tb.Helper()
	world := mxsim.New(mxsim.Config{Loopback: true})
	boxes := map[string]mxsim.Mailbox{
		"anna": mxsim.Active, "full": mxsim.Full, "off": mxsim.Disabled,
	}
	site := func(domain string, behaviours ...mxsim.Behaviour) *mxsim.Site {
		return &mxsim.Site{
			Domains: []string{domain}, Mailboxes: boxes, Behaviours: behaviours,
			Hosts: []*mxsim.Host{{Name: "mx." + domain}},
		}
	}
	world.Add(
		site("example.com"),
		site("grey.example.com", mxsim.Greylist(5*time.Minute)),
		site("blocked.example.com", mxsim.Refuse(mxsim.Connect, "554 5.7.1 your address is listed")),
		site("silent.example.com", mxsim.Silence(mxsim.Rcpt)),
		site("rude.example.com", mxsim.Refuse(mxsim.Rcpt, "550 5.1.1 \x1b[31mno\x07such user")),
		&mxsim.Site{Domains: []string{"null.example.com"}, DNS: mxsim.DNSConfig{NullMX: true}},
		&mxsim.Site{
			Domains: []string{"down.example.com"},
			Hosts:   []*mxsim.Host{{Name: "mx.down.example.com", State: mxsim.Down}},
		},
	)
	if err := world.Record(ownRecords...); err != nil {
		return world, mxsim.Listening{}, err
	}
	at, err := world.Listen(tb.Context())
	return world, at, err
}
