package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	campaignSize         = 2000
	campaignSessions     = 20
	campaignRate         = 40 // recipients a second
	campaignSenderDomain = "shop.example.org"
	campaignSender       = "news@" + campaignSenderDomain
	// campaignDrain is how long the relay's deliveries and the gate's log reading have to end.
	campaignDrain = 3 * time.Minute
)

// campaignRetry is a queue's patience in the time of the campaign, in which greylists take seconds.
// Rates of a minute take that minute.
func campaignRetry() []time.Duration {
	retry := make([]time.Duration, 0, 6)
	for _, s := range []int{3, 6, 10, 20, 40, 60} {
		retry = append(retry, time.Duration(s)*time.Second)
	}
	return retry
}

// campaign is two mailings through a gate that has never seen the recipients, to a relay that
// delivers them and whose log the gate reads.
type campaign struct {
	title string
	as    mxsim.Disguise
	wave  bool // Google refuses everybody while the second mailing runs
}

func campaigns() []campaign {
	return []campaign{
		{title: "two mailings"},
		{title: "two mailings, providers behind other names", as: mxsim.HiddenNames},
		{title: "two mailings, a wave of false 5.1.1 at Google in the second", wave: true},
	}
}

// campaign measures what the gate is for: bounces that do not happen, and good recipients that are
// not refused.
func (b *benchmark) campaign(ctx context.Context) error {
	for i, c := range campaigns() {
		if i > 0 && b.quick {
			break
		}
		if err := b.runCampaign(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *benchmark) runCampaign(ctx context.Context, c campaign) error {
	world := newCampaignWorld(c.as)
	lab := &benchLab{self: b.lab.self, gate: b.lab.gate, stderr: b.err}
	defer lab.close()
	var err error
	if lab.dir, err = os.MkdirTemp("", "rcptgate-campaign-"); err != nil {
		return err
	}
	lab.ends = append(lab.ends, func() { _ = os.RemoveAll(lab.dir) })
	mailings := world.populate(campaignSize)
	lab.world = mxsim.New(mxsim.Config{Loopback: true})
	lab.ends = append(lab.ends, lab.world.Close)
	lab.world.Add(world.sites()...)
	if lab.at, err = lab.world.Listen(ctx); err != nil {
		return err
	}
	relay := mxsim.NewRelay("relay.campaign.test")
	lab.ends = append(lab.ends, relay.Close)
	log, err := os.Create(filepath.Join(lab.dir, "mail.log"))
	if err != nil {
		return err
	}
	lab.ends = append(lab.ends, func() { _ = log.Close() })
	dialer := net.Dialer{}
	delivery := relay.Deliver(mxsim.DeliveryConfig{
		World: lab.world, Dial: dialer.DialContext, Port: lab.at.Port, Log: log, LogISO: true,
		Helo:  "gate.example.com", // as the probes: some want one name of an address
		Retry: campaignRetry(), Timeout: 30 * time.Second, Workers: 100, PerDomain: 20,
	})
	relayAt, err := relay.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	lab.verifyKeys = fmt.Sprintf("cache.path = %q\nfeedback.relay_log = %q",
		filepath.Join(lab.dir, "cache.db"), log.Name())
	gate, err := lab.startGate(ctx, lab.gate, relayAt)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			gate.quiet()
		}
	}()
	writef(b.out, "\nA campaign: %s, %d recipients each at %d domains.\n", c.title, campaignSize,
		len(world.domains))
	scores := make([]*campaignScore, 0, len(mailings))
	for i, mailing := range mailings {
		if c.wave && i == 1 {
			world.google.Start()
		}
		score := newCampaignScore(lab.world, mailing)
		score.wave = c.wave && i == 1
		if err := score.send(ctx, gate.address); err != nil {
			return err
		}
		world.google.Stop()
		drain, cancel := context.WithTimeout(ctx, campaignDrain)
		err := delivery.Wait(drain)
		cancel()
		if err != nil {
			return fmt.Errorf("mail is still in the relay's queue: %w", err)
		}
		// The gate reads the log a moment later.
		if err := wait(ctx, settle); err != nil {
			return err
		}
		score.deliveries(delivery.Outcomes())
		score.print(b, i+1)
		scores = append(scores, score)
	}
	if err := gate.stop(); err != nil {
		return err
	}
	stopped = true
	b.printEtiquette(lab.world, delivery, scores)
	return nil
}

// campaignScore is what one mailing brought.
type campaignScore struct {
	world   *mxsim.World
	mailing []string
	wave    bool // it runs through one

	mu      sync.Mutex
	replies map[string]esmtp.Reply // the last to each recipient
	waited  []time.Duration        // of the first try
	bounced map[string]mxsim.Outcome
}

func newCampaignScore(world *mxsim.World, mailing []string) *campaignScore {
	return &campaignScore{
		world: world, mailing: mailing, replies: make(map[string]esmtp.Reply, len(mailing)),
		bounced: make(map[string]mxsim.Outcome),
	}
}

// send sends the mailing, one message a recipient, at a steady rate over some sessions. What is
// deferred is tried again, as a client's queue does.
func (s *campaignScore) send(ctx context.Context, address string) error {
	left := s.mailing
	for try := 0; len(left) > 0 && try < 4; try++ {
		if try > 0 {
			if err := wait(ctx, campaignGreylist); err != nil {
				return err
			}
		}
		if err := s.sendAll(ctx, address, left, try == 0); err != nil {
			return err
		}
		var deferred []string
		for _, rcpt := range left {
			if s.replies[rcpt].Transient() {
				deferred = append(deferred, rcpt)
			}
		}
		left = deferred
	}
	return nil
}

func (s *campaignScore) sendAll(ctx context.Context, address string, rcpts []string, first bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	var sessions sync.WaitGroup
	for range campaignSessions {
		sessions.Go(func() {
			if err := s.session(ctx, address, work, first); err != nil {
				cancel(err)
			}
		})
	}
	tick := time.NewTicker(time.Second / campaignRate)
	defer tick.Stop()
	for _, rcpt := range rcpts {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		select {
		case work <- rcpt:
		case <-ctx.Done():
		}
	}
	close(work)
	sessions.Wait()
	return context.Cause(ctx)
}

// session sends what comes over one connection.
func (s *campaignScore) session(ctx context.Context, address string, work <-chan string, first bool) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	c := esmtp.NewClient(conn)
	defer func() { _ = c.Close() }()
	c.Timeout = demoPatience
	if err := demoHello(ctx, c); err != nil {
		return err
	}
	for rcpt := range work {
		if err := s.message(ctx, c, rcpt, first); err != nil {
			return fmt.Errorf("%s: %w", rcpt, err)
		}
	}
	_, err = c.Quit(ctx)
	return err
}

func (s *campaignScore) message(ctx context.Context, c *esmtp.Client, rcpt string, first bool) error {
	sent := &demoSent{mail: demoMail{title: "campaign", sender: campaignSender, rcpts: []string{rcpt}}}
	start := time.Now()
	if err := sent.envelope(ctx, c); err != nil {
		return err
	}
	waited := time.Since(start)
	s.mu.Lock()
	s.replies[rcpt] = sent.replies[0]
	if first {
		s.waited = append(s.waited, waited)
	}
	s.mu.Unlock()
	if len(sent.taken) > 0 {
		return sent.message(ctx, c, 0)
	}
	_, err := c.Reset(ctx)
	return err
}

// deliveries takes over what became of the mail that was let through.
func (s *campaignScore) deliveries(outcomes []mxsim.Outcome) {
	for _, o := range outcomes {
		if _, ours := s.replies[o.Rcpt]; ours && (o.Status == "bounced" || o.Status == "expired") {
			s.bounced[o.Rcpt] = o
		}
	}
}

// print says how the mailing went, and where bounces were not prevented.
func (s *campaignScore) print(b *benchmark, number int) {
	var dead, stopped, knowable, knowableStopped, goodRefused, goodBounced, waved int
	missed := map[string][2]int{} // by domain: dead, of them let through
	var wrong []string
	for _, rcpt := range s.mailing {
		truth, reply := s.world.Truth(rcpt), s.replies[rcpt]
		domain := rcpt[strings.LastIndexByte(rcpt, '@')+1:]
		switch {
		case truth.Never:
			dead++
			knowable += count(truth.Provable)
			m := missed[domain]
			m[0]++
			if reply.Positive() {
				m[1]++
			} else {
				stopped++
				knowableStopped += count(truth.Provable)
			}
			missed[domain] = m
		case !reply.Positive():
			goodRefused++
			wrong = append(wrong, rcpt+": "+reply.String())
		default:
			o, bounced := s.bounced[rcpt]
			switch {
			case !bounced || !truth.Receives || campaignHopeless(domain):
			case s.wave && o.DSN == "5.1.1": // no block of us has this code
				waved++
			default:
				goodBounced++
				wrong = append(wrong, rcpt+": bounced: "+o.Text)
			}
		}
	}
	slices.Sort(s.waited)
	quantile := func(q float64) time.Duration { return s.waited[int(q*float64(len(s.waited)-1))] }
	writef(b.out, "  mailing %d: %d of %d bounces stopped (%.0f %%; of the %d that the servers themselves "+
		"tell at RCPT, %d), %d good recipients refused, %d good ones lost; RCPT takes %.0f ms, p99 %.0f ms\n",
		number, stopped, dead, 100*float64(stopped)/float64(max(dead, 1)), knowable, knowableStopped,
		goodRefused, goodBounced, float64(quantile(0.5))/1e6, float64(quantile(0.99))/1e6)
	if waved > 0 {
		writef(b.out, "    bounced by the wave: %d good ones that the gate let through and Google refused, "+
			"now from the relay\n", waved)
	}
	var domains []string
	for domain, m := range missed {
		if m[1] > 0 {
			domains = append(domains, fmt.Sprintf("%s %d of %d", strings.TrimSuffix(domain, ".campaign.test"),
				m[1], m[0]))
		}
	}
	slices.Sort(domains)
	writef(b.out, "    let through: %s\n", strings.Join(domains, ", "))
	for _, line := range wrong[:min(len(wrong), 10)] {
		writef(b.out, "    WRONG %s\n", line)
	}
}

// printEtiquette says how the probes behaved, the relay's own deliveries left out.
func (b *benchmark) printEtiquette(world *mxsim.World, delivery *mxsim.Delivery, scores []*campaignScore) {
	all, own := mxsim.Sum(world.Tally()), mxsim.Sum(delivery.Tally())
	recipients := 0
	for _, s := range scores {
		recipients += len(s.mailing)
	}
	probes := all.Connections - own.Connections
	writef(b.out, "  probes: %d connections for %d recipients (%.3f each, goal <= 0.12), %d RCPT, "+
		"%d left without QUIT\n", probes, recipients, float64(probes)/float64(recipients),
		all.Rcpts-own.Rcpts, all.Rude-own.Rude)
	for name, t := range world.Tally() {
		if t.Rude > delivery.Tally()[name].Rude {
			writef(b.out, "    without QUIT: %s %d\n", name, t.Rude-delivery.Tally()[name].Rude)
		}
	}
	writef(b.out, "  load average %s\n", bench.LoadAverage())
}
