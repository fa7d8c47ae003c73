package mxsim_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/feedback"
)

// mailLog collects lines.
type mailLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *mailLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// about returns what the log says of a recipient, from "relay=" on, without the times.
func (l *mailLog) about(rcpt string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := regexp.MustCompile(`, delay=[0-9.]+, delays=[0-9.]+/[0-9.]+/[0-9.]+/[0-9.]+, `)
	var lines []string
	for line := range strings.Lines(l.b.String()) {
		if _, rest, ok := strings.Cut(line, ": to=<"+rcpt+">, "); ok {
			lines = append(lines, times.ReplaceAllString(strings.TrimSuffix(rest, "\n"), ", "))
		}
	}
	return lines
}

// submit gives the relay a message.
func submit(t *testing.T, dial dialFunc, address string, rcpts ...string) {
	t.Helper()
	p := connect(t, dial, address)
	p.want("connect", "220")
	p.say("EHLO gate.example.com", "250")
	p.say("MAIL FROM:<news@shop.example.org>", "250")
	for _, r := range rcpts {
		p.say("RCPT TO:<"+r+">", "250")
	}
	p.say("DATA", "354")
	p.say("Subject: x\r\n\r\n..dot\r\nend\r\n.", "250")
	p.say("QUIT", "221")
}

// site is a host mx.DOMAIN with the mailbox anna.
func site(domain string, b ...mxsim.Behaviour) *mxsim.Site {
	return &mxsim.Site{
		Domains: []string{domain}, Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10}},
		Mailboxes: map[string]mxsim.Mailbox{"anna": mxsim.Active}, Behaviours: b,
	}
}

// TestDelivery delivers one message to all kinds of sites and reads the log.
func TestDelivery(t *testing.T) {
	yahoo, _ := mxsim.ProviderNamed("yahoo")
	google, _ := mxsim.ProviderNamed("google")
	down := site("down.test")
	down.Hosts[0].State = mxsim.Down
	backup := site("backup.test")
	backup.Hosts[0].State = mxsim.Down
	backup.Hosts = append(backup.Hosts, &mxsim.Host{Name: "mx2.backup.test", Pref: 20})
	null := &mxsim.Site{Domains: []string{"null.test"}, DNS: mxsim.DNSConfig{NullMX: true}}
	broken := site("broken.test")
	broken.DNS.Mode = mxsim.DNSServFail
	sites := []*mxsim.Site{
		site("ok.test"), down, backup, null, broken,
		yahoo.Site("yahoo.test", mxsim.Plain, nil), google.Site("google.test", mxsim.Plain, nil),
		site("grey.test", mxsim.Greylist(5*time.Minute)),
		site("banner.test", mxsim.Refuse(mxsim.Connect, "554 5.7.1 {host} go away")),
		site("mail.test", mxsim.Refuse(mxsim.Mail, "550 5.7.1 blocked")),
		site("drop.test", mxsim.Drop(mxsim.Rcpt)), site("silent.test", mxsim.Silence(mxsim.Mail)),
		site("twice.test"),
	}
	cases := map[string][]string{
		"anna@ok.test":      {`relay=mx.ok.test[5.0.0.1]:25, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 000100000001)`},
		"nobody@twice.test": {`relay=mx.twice.test[5.12.0.1]:25, dsn=5.1.1, status=bounced (host mx.twice.test[5.12.0.1] said: 550 5.1.1 <nobody@twice.test>: Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))`},
		"anna@twice.test":   {`relay=mx.twice.test[5.12.0.1]:25, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 000100000001)`},
		"anna@down.test":    slices.Repeat([]string{`relay=none, dsn=4.4.1, status=deferred (connect to mx.down.test[5.1.0.1]:25: Connection refused)`}, 3),
		"anna@backup.test":  {`relay=mx2.backup.test[5.2.0.2]:25, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 000100000001)`},
		"anna@null.test":    {`relay=none, dsn=5.1.0, status=bounced (Domain null.test does not accept mail (nullMX))`},
		"anna@broken.test":  slices.Repeat([]string{`relay=none, dsn=4.4.3, status=deferred (Host or domain name not found. Name service error for name=broken.test type=MX: Host not found, try again)`}, 3),
		"anna@no.test":      {`relay=none, dsn=5.4.4, status=bounced (Host or domain name not found. Name service error for name=no.test type=A: Host not found)`},
		"x@yahoo.test":      {`relay=mta5.am0.yahoodns.net[5.5.0.1]:25, dsn=5.0.0, status=bounced (host mta5.am0.yahoodns.net[5.5.0.1] said: 552 1 Requested mail action aborted, mailbox not found (in reply to end of DATA command))`},
		"x@google.test": {`relay=gmail-smtp-in.l.google.com[5.6.0.1]:25, dsn=5.1.1, status=bounced (host gmail-smtp-in.l.google.com[5.6.0.1] said: ` +
			`550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or ` +
			`550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1  https://support.google.com/mail/?p=NoSuchUser a1-20020a0cf1234567 - gsmtp (in reply to RCPT TO command))`},
		"anna@grey.test": {
			`relay=mx.grey.test[5.7.0.1]:25, dsn=4.7.1, status=deferred (host mx.grey.test[5.7.0.1] said: 450 4.7.1 <anna@grey.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.com.html (in reply to RCPT TO command))`,
			`relay=mx.grey.test[5.7.0.1]:25, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 000200000001)`,
		},
		"anna@banner.test": slices.Repeat([]string{`relay=mx.banner.test[5.8.0.1]:25, dsn=4.7.1, status=deferred (host mx.banner.test[5.8.0.1] refused to talk to me: 554 5.7.1 mx.banner.test go away)`}, 3),
		"anna@mail.test":   {`relay=mx.mail.test[5.9.0.1]:25, dsn=5.7.1, status=bounced (host mx.mail.test[5.9.0.1] said: 550 5.7.1 blocked (in reply to MAIL FROM command))`},
		"anna@drop.test":   slices.Repeat([]string{`relay=mx.drop.test[5.10.0.1]:25, dsn=4.4.2, status=deferred (lost connection with mx.drop.test[5.10.0.1] while sending RCPT TO)`}, 3),
		"anna@silent.test": slices.Repeat([]string{`relay=mx.silent.test[5.11.0.1]:25, dsn=4.4.2, status=deferred (conversation with mx.silent.test[5.11.0.1] timed out while sending MAIL FROM)`}, 3),
	}
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(sites...)
		relay := mxsim.NewRelay("relay.example.net")
		defer relay.Close()
		log := new(mailLog)
		d := relay.Deliver(mxsim.DeliveryConfig{
			World: w, Log: log, Retry: []time.Duration{5 * time.Minute, 10 * time.Minute}, Service: "postfix-out",
		})
		var rcpts []string
		for rcpt := range cases {
			rcpts = append(rcpts, rcpt)
		}
		submit(t, relay.DialContext, "127.0.0.1:25", rcpts...)
		if err := d.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for rcpt, want := range cases {
			if got := log.about(rcpt); !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", rcpt, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		checkLog(t, log, len(rcpts))
		checkObservations(t, log)
		synctest.Wait() // the hosts see the end of the last connections
		checkOutcomes(t, d, w, len(rcpts))
	})
}

func checkLog(t *testing.T, log *mailLog, rcpts int) {
	t.Helper()
	whole := log.b.String()
	for line := range strings.Lines(whole) {
		if !regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-3][0-9] [0-9:]{8} relay postfix-out/(smtp|smtpd|cleanup|qmgr)\[\d+\]: [0-9A-F]+: .+\n$`).MatchString(line) {
			t.Errorf("line %q", line)
		}
	}
	for _, want := range []string{
		"/qmgr[", ": from=<news@shop.example.org>, size=", "/cleanup[", ": message-id=<", "/smtpd[", ": client=localhost[127.0.0.1]",
		": from=<news@shop.example.org>, status=expired, returned to sender", " nrcpt=15 (queue active)",
	} {
		if !strings.Contains(whole, want) {
			t.Errorf("no %q in the log (%d recipients)", want, rcpts)
		}
	}
	if n := strings.Count(whole, "status=expired"); n != 5 {
		t.Errorf("%d expired, want 5", n)
	}
}

// checkObservations reads the log as the gate does.
func checkObservations(t *testing.T, log *mailLog) {
	t.Helper()
	parser, err := feedback.NewParser(feedback.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]string{}
	for line := range strings.Lines(log.b.String()) {
		if o, ok := parser.Line([]byte(strings.TrimSuffix(line, "\n"))); ok {
			seen[o.Rcpt.String()] = append(seen[o.Rcpt.String()],
				fmt.Sprintf("%s %s %s %d lines", o.Event, o.Stage, o.MX, len(o.Reply.Lines)))
			if o.Sender.String() != "news@shop.example.org" || o.Recipients != 15 || o.QueueID == "" {
				t.Errorf("observation %+v", o)
			}
		}
	}
	for rcpt, want := range map[string][]string{
		"anna@ok.test":      {"delivered dot mx.ok.test 1 lines"},
		"x@yahoo.test":      {"bounced dot mta5.am0.yahoodns.net 1 lines"},
		"x@google.test":     {"bounced rcpt gmail-smtp-in.l.google.com 4 lines"},
		"anna@grey.test":    {"deferred rcpt mx.grey.test 1 lines", "delivered dot mx.grey.test 1 lines"},
		"anna@mail.test":    {"bounced mail mx.mail.test 1 lines"},
		"anna@banner.test":  slices.Repeat([]string{"deferred connect mx.banner.test 1 lines"}, 3),
		"anna@drop.test":    slices.Repeat([]string{"deferred rcpt mx.drop.test 0 lines"}, 3),
		"nobody@twice.test": {"bounced rcpt mx.twice.test 1 lines"},
		"anna@down.test":    nil, "anna@null.test": nil,
	} {
		if !slices.Equal(seen[rcpt], want) {
			t.Errorf("%s: observed %q, want %q", rcpt, seen[rcpt], want)
		}
	}
}

func checkOutcomes(t *testing.T, d *mxsim.Delivery, w *mxsim.World, rcpts int) {
	t.Helper()
	final := map[string]string{}
	for _, o := range d.Outcomes() {
		final[o.Rcpt] = o.Status
	}
	count := map[string]int{}
	for _, status := range final {
		count[status]++
	}
	if len(final) != rcpts || count["sent"] != 4 || count["bounced"] != 6 || count["expired"] != 5 || d.Queue() != 0 {
		t.Errorf("outcomes %v, queue %d", final, d.Queue())
	}
	mine, all := d.Tally(), w.Tally()
	for name, tally := range all {
		if m := mine[name]; m.Connections != tally.Connections || m.Rcpts != tally.Rcpts {
			t.Errorf("%s: the deliveries counted %+v, the host %+v", name, m, tally)
		}
	}
	sum := mxsim.Sum(all)
	if own := mxsim.Sum(mine); own.Rude != sum.Rude || own.Messages != sum.Messages {
		t.Errorf("the deliveries counted %+v, the hosts %+v", own, sum)
	}
	if sum.Rude != 3 || sum.Dropped != 3 || sum.Open != 0 || sum.Messages != 5 {
		t.Errorf("in all %+v", sum)
	}
	if body := string(w.Host("mx.ok.test").Messages()[0].Body); !strings.HasPrefix(body, "Received: by relay.example.net") ||
		!strings.HasSuffix(body, "\r\nSubject: x\r\n\r\n.dot\r\nend\r\n") {
		t.Errorf("body %q", body)
	}
}

// TestDeliveryOverSockets does the same on the loopback interface.
func TestDeliveryOverSockets(t *testing.T) {
	w := mxsim.New(mxsim.Config{Loopback: true})
	defer w.Close()
	w.Add(site("ok.test"), site("no.test"))
	at, err := w.Listen(t.Context())
	if err != nil {
		t.Skipf("no loopback addresses: %v", err)
	}
	relay := mxsim.NewRelay("relay.example.net")
	defer relay.Close()
	log := new(mailLog)
	d := relay.Deliver(mxsim.DeliveryConfig{
		World: w, Log: log, LogISO: true, Dial: new(net.Dialer).DialContext, Port: at.Port, Retry: []time.Duration{},
	})
	address, err := relay.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	submit(t, new(net.Dialer).DialContext, address, "anna@ok.test", "nobody@ok.test", "anna@no.test")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := d.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if got := log.about("nobody@ok.test"); len(got) != 1 || !strings.Contains(got[0], "dsn=5.1.1, status=bounced") {
		t.Errorf("log %q", got)
	}
	if n := len(w.Host("mx.ok.test").Messages()) + len(w.Host("mx.no.test").Messages()); n != 2 {
		t.Errorf("%d messages arrived", n)
	}
	if !strings.Contains(log.b.String(), "T") || len(d.Outcomes()) != 3 {
		t.Errorf("outcomes %+v", d.Outcomes())
	}
}
