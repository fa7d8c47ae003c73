package mxsim

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DeliveryConfig says how a Relay delivers what it took.
type DeliveryConfig struct {
	// World is where the recipients' hosts are.
	World *World
	// Dial connects to them; nil is World.DialContext. With a World that listens it is that of a
	// net.Dialer, and Port is Listening.Port; 0 is 25.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Port int
	// Helo is what the relay greets with; "" is its name.
	Helo string
	// Log gets the lines of a mail log in Postfix's format, each in one Write; nil gets none.
	// LogISO writes RFC 3339 timestamps instead of "Nov 24 11:07:43".
	Log    io.Writer
	LogISO bool
	// Service is the label in the log, "postfix" if empty.
	Service string
	// Retry are the pauses after which a deferred recipient is tried again; when all are used up it
	// is returned to the sender. nil is as Postfix does, from 5 minutes to 4000 s, for 5 days.
	Retry []time.Duration
	// Timeout is for a connection and for each reply; 0 is 30 s.
	Timeout time.Duration
	// Workers is how many deliveries there are at one time, 0 is 20; PerDomain at one domain, 0 is 2.
	Workers, PerDomain int
}

// Delivery is the queue of a Relay that really delivers: to the hosts of a World, by its MX records,
// with retries, leaving the log that a Postfix would. Start it with [Relay.Deliver].
type Delivery struct {
	c     DeliveryConfig
	relay *Relay
	slots chan struct{}

	mu       sync.Mutex
	domains  map[string]chan struct{}
	outcomes []Outcome
	pending  int
	idle     chan struct{} // closed when pending is 0
	tally    map[string]Tally
	pid      int
}

// Outcome is what became of one recipient in one try.
type Outcome struct {
	At      time.Time
	QueueID string
	From    string
	Rcpt    string
	Status  string // "sent", "deferred", "bounced", "expired"
	DSN     string // "5.1.1"
	Text    string // what the log says in parentheses
	Host    string // "" if none was reached
}

// queued is one message on its way.
type queued struct {
	Message
	queueID string
	arrived time.Time
}

// Deliver makes the relay deliver all messages that it takes from now on, until it is closed.
func (r *Relay) Deliver(c DeliveryConfig) *Delivery {
	if c.Dial == nil {
		c.Dial = c.World.DialContext
	}
	c.Port = cmp.Or(c.Port, 25)
	c.Helo = cmp.Or(c.Helo, r.Name)
	c.Service = cmp.Or(c.Service, "postfix")
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Retry == nil {
		c.Retry = postfixRetry()
	}
	d := &Delivery{
		c: c, relay: r, slots: make(chan struct{}, cmp.Or(c.Workers, 20)),
		domains: make(map[string]chan struct{}), tally: make(map[string]Tally), pid: 4711,
		idle: make(chan struct{}),
	}
	close(d.idle)
	r.tell(d.take)
	return d
}

// postfixRetry is minimal_backoff_time, doubled up to maximal_backoff_time, for
// maximal_queue_lifetime.
func postfixRetry() []time.Duration {
	const shortest, longest, lifetime = 300 * time.Second, 4000 * time.Second, 5 * 24 * time.Hour
	var pauses []time.Duration
	for pause, sum := shortest, time.Duration(0); sum < lifetime; pause = min(2*pause, longest) {
		pauses = append(pauses, pause)
		sum += pause
	}
	return pauses
}

// Wait returns when nothing is in the queue, or with the error of ctx.
func (d *Delivery) Wait(ctx context.Context) error {
	for {
		d.mu.Lock()
		idle, pending := d.idle, d.pending
		d.mu.Unlock()
		if pending == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Queue returns how many recipients are neither delivered nor returned.
func (d *Delivery) Queue() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending
}

// Outcomes returns what became of each try, in order.
func (d *Delivery) Outcomes() []Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.outcomes)
}

// Tally returns what the deliveries did at each host, by its name: to be taken off what
// [World.Tally] says, which counts all clients.
func (d *Delivery) Tally() map[string]Tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.tally)
}

func (d *Delivery) count(host string, add Tally) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tally[host] = d.tally[host].plus(add)
}

// take puts a message into the queue: each domain's recipients are delivered together.
func (d *Delivery) take(m Message) {
	q := queued{Message: m, queueID: m.ID, arrived: time.Now()}
	byDomain := make(map[string][]string)
	var order []string
	for _, rcpt := range m.Rcpts {
		domain := canonical(rcpt[strings.LastIndexByte(rcpt, '@')+1:])
		if byDomain[domain] == nil {
			order = append(order, domain)
		}
		byDomain[domain] = append(byDomain[domain], rcpt)
	}
	d.mu.Lock()
	if d.pending == 0 {
		d.idle = make(chan struct{})
	}
	d.pending += len(m.Rcpts)
	d.mu.Unlock()
	d.logQueued(q)
	for _, domain := range order {
		d.relay.run(nil, func(ctx context.Context) { d.deliver(ctx, q, domain, byDomain[domain]) })
	}
}

// deliver tries until nobody is left, or the relay is closed.
func (d *Delivery) deliver(ctx context.Context, q queued, domain string, rcpts []string) {
	for try := 0; ; try++ {
		release, ok := d.acquire(ctx, domain)
		if !ok {
			return
		}
		t := transfer{d: d, q: q, domain: domain, started: time.Now()}
		results := t.run(ctx, rcpts)
		release()
		rcpts = d.settle(q, results, try >= len(d.c.Retry))
		if len(rcpts) == 0 || !pause(ctx, d.c.Retry[try]) {
			return
		}
	}
}

func (d *Delivery) acquire(ctx context.Context, domain string) (release func(), ok bool) {
	d.mu.Lock()
	perDomain := d.domains[domain]
	if perDomain == nil {
		perDomain = make(chan struct{}, cmp.Or(d.c.PerDomain, 2))
		d.domains[domain] = perDomain
	}
	d.mu.Unlock()
	select {
	case perDomain <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		<-perDomain
		return nil, false
	}
	return func() {
		<-d.slots
		<-perDomain
	}, true
}

// settle notes and logs the results of one try, and returns who is to be tried again.
func (d *Delivery) settle(q queued, results []result, last bool) []string {
	var again []string
	for _, r := range results {
		d.logDelivery(q, r)
		d.note(q, r, r.status)
		switch {
		case r.status == deferred && !last:
			again = append(again, r.rcpt)
			continue
		case r.status == deferred:
			d.logExpired(q)
			d.note(q, r, expired)
		}
		d.done(q)
	}
	return again
}

func (d *Delivery) note(q queued, r result, status string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outcomes = append(d.outcomes, Outcome{
		At: time.Now(), QueueID: q.queueID, From: q.From, Rcpt: r.rcpt, Status: status, DSN: r.dsn,
		Text: r.text, Host: r.host,
	})
}

func (d *Delivery) done(queued) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending--
	if d.pending == 0 {
		close(d.idle)
	}
}

// route is where a domain's mail goes, or why it goes nowhere.
type route struct {
	hosts  []*Host
	status string
	dsn    string
	text   string
}

// route looks up a domain as Postfix does.
func (d *Delivery) route(domain string) route {
	fault := func(status, dsn, rrtype, problem string) route {
		return route{status: status, dsn: dsn, text: fmt.Sprintf(
			"Host or domain name not found. Name service error for name=%s type=%s: %s", domain, rrtype, problem)}
	}
	s := d.c.World.siteOf(domain)
	if s == nil {
		return fault(bounced, "5.4.4", "A", "Host not found")
	}
	switch s.DNS.Mode {
	case DNSNXDomain:
		return fault(bounced, "5.4.4", "A", "Host not found")
	case DNSServFail, DNSRefused, DNSSilent:
		return fault(deferred, "4.4.3", "MX", "Host not found, try again")
	case DNSNormal, DNSTruncated:
	}
	switch {
	case s.DNS.NullMX:
		return route{status: bounced, dsn: "5.1.0", text: "Domain " + domain + " does not accept mail (nullMX)"}
	case len(s.Hosts) == 0:
		return fault(bounced, "5.4.6", "A", "Host found but no data record of requested type")
	case s.DNS.NoMX:
		return route{hosts: s.Hosts[:1]}
	}
	hosts := slices.Clone(s.Hosts)
	slices.SortStableFunc(hosts, func(a, b *Host) int { return int(a.Pref) - int(b.Pref) })
	return route{hosts: hosts}
}

func (d *Delivery) address(h *Host) (netip.Addr, string) {
	return h.Addrs[0], net.JoinHostPort(h.Addrs[0].String(), strconv.Itoa(d.c.Port))
}
