package feedback

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func newParser(tb testing.TB, c Config) *Parser {
	tb.Helper()
	c.Path = "maillog"
	p, err := NewParser(c)
	if err != nil {
		tb.Fatal(err)
	}
	p.now = func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }
	return p
}

var equal = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, esmtp.Address{}), cmpopts.EquateEmpty(),
}

const prefix = "Nov 24 11:00:00 mail postfix/smtp[123]: 4jYgQW081cz1V6rF: "

func TestLine(t *testing.T) {
	at := time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)
	mx := netip.MustParseAddr("192.0.2.1")
	tests := []struct {
		name, line string
		want       Observation
	}{
		{
			name: "delivered",
			line: "to=<anna@example.com>, relay=MX.example.com[192.0.2.1]:25, delay=0.5, " +
				"delays=0.1/0/0.2/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ABC)",
			want: Observation{
				Event: Delivered, Stage: reply.StageDot, DSN: esmtp.EnhancedCode{2, 0, 0},
				Reply: esmtp.Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as ABC"}},
				Text:  "250 2.0.0 Ok: queued as ABC",
			},
		},
		{
			name: "alias, reused connection, one line",
			line: "to=<anna@example.com>, orig_to=<info@example.org>, relay=mx.example.com[192.0.2.1]:25, " +
				"conn_use=3, delay=0.5, delays=0/0/0/0.5, dsn=5.1.1, status=bounced (host " +
				"mx.example.com[192.0.2.1] said: 550 5.1.1 <anna@example.com>: User unknown (in reply to " +
				"RCPT TO command))",
			want: Observation{
				Event: Bounced, Stage: reply.StageRcpt, DSN: esmtp.EnhancedCode{5, 1, 1},
				Orig:  address(t, "info@example.org"),
				Reply: esmtp.Reply{Code: 550, Lines: []string{"5.1.1 <anna@example.com>: User unknown"}},
			},
		},
		{
			name: "many lines at the end of data",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=5.1.1, status=bounced (host mx.example.com[192.0.2.1] said: 550-5.1.1 The account " +
				"550-5.1.1 does not exist 5500 550 5.1.1 see 550 there (in reply to end of DATA command))",
			want: Observation{
				Event: Bounced, Stage: reply.StageDot, DSN: esmtp.EnhancedCode{5, 1, 1},
				Reply: esmtp.Reply{Code: 550, Lines: []string{
					"5.1.1 The account", "5.1.1 does not exist 5500", "5.1.1 see 550 there",
				}},
			},
		},
		{
			name: "the server writes what Postfix writes",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=5.7.1, status=bounced (host mx.example.com[192.0.2.1] said: 550 5.7.1 (blocked) said: " +
				"550 5.1.1 x (in reply to RCPT TO command) (in reply to MAIL FROM command))",
			want: Observation{
				Event: Bounced, Stage: reply.StageMail, DSN: esmtp.EnhancedCode{5, 7, 1},
				Reply: esmtp.Reply{Code: 550, Lines: []string{
					"5.7.1 (blocked) said: 550 5.1.1 x (in reply to RCPT TO command)",
				}},
			},
		},
		{
			name: "cut by the logger",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=5.1.1, status=bounced (host mx.example.com[192.0.2.1] said: 550-5.1.1 one 550 5.1",
			want: Observation{
				Event: Bounced, Stage: reply.StageUnknown, DSN: esmtp.EnhancedCode{5, 1, 1},
				Reply: esmtp.Reply{Code: 550, Lines: []string{"5.1.1 one", "5.1"}},
			},
		},
		{
			name: "refused at the banner",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=4.7.1, status=deferred (host mx.example.com[192.0.2.1] refused to talk to me: 554 5.7.1 " +
				"Client host blocked)",
			want: Observation{
				Event: Deferred, Stage: reply.StageConnect, DSN: esmtp.EnhancedCode{4, 7, 1},
				Reply: esmtp.Reply{Code: 554, Lines: []string{"5.7.1 Client host blocked"}},
			},
		},
		{
			name: "timed out at the end of data",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=4.4.2, status=deferred (conversation with mx.example.com[192.0.2.1] timed out while " +
				"sending end of data -- message may be sent more than once)",
			want: Observation{
				Event: Deferred, Stage: reply.StageDot, DSN: esmtp.EnhancedCode{4, 4, 2},
			},
		},
		{
			name: "lost connection",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=4.4.2, status=deferred (lost connection with mx.example.com[192.0.2.1] while receiving " +
				"the initial server greeting)",
			want: Observation{
				Event: Deferred, Stage: reply.StageConnect, DSN: esmtp.EnhancedCode{4, 4, 2},
			},
		},
		{
			name: "soft_bounce",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
				"dsn=4.1.1, status=SOFTBOUNCE (host mx.example.com[192.0.2.1] said: 550 no (in reply to " +
				"RCPT TO command))",
			want: Observation{
				Event: Deferred, Stage: reply.StageRcpt, DSN: esmtp.EnhancedCode{4, 1, 1},
				Reply: esmtp.Reply{Code: 550, Lines: []string{"no"}},
			},
		},
		{
			name: "a field of tomorrow",
			line: "to=<anna@example.com>, relay=mx.example.com[192.0.2.1]:25, tls=secure, delay=1, " +
				"dsn=5.7.4, status=bounced (TLS is required, but host mx.example.com[192.0.2.1] refused to " +
				"start TLS: 454 4.7.0 not now)",
			want: Observation{
				Event: Bounced, Stage: reply.StageStartTLS, DSN: esmtp.EnhancedCode{5, 7, 4},
				Reply: esmtp.Reply{Code: 454, Lines: []string{"4.7.0 not now"}},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Rcpt, tt.want.MX, tt.want.Addr = address(t, "anna@example.com"), "mx.example.com", mx
			tt.want.At, tt.want.Source, tt.want.QueueID = at, "maillog", "4jYgQW081cz1V6rF"
			p := newParser(t, Config{})
			got, ok := p.Line([]byte(prefix + tt.line))
			if !ok {
				t.Fatalf("no observation: %+v", p.Counts())
			}
			if tt.want.Text == "" {
				got.Text = ""
			}
			if diff := cmp.Diff(tt.want, got, equal); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A line is for us or not; whatever the rest of it is.
func TestLinesThatAreLeftOut(t *testing.T) {
	const sent = ", delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ABC)"
	const to = prefix + "to=<anna@example.com>"
	tests := map[string]struct {
		line   string
		config Config
		want   Counts
	}{
		"nothing":              {line: "", want: Counts{}},
		"another program":      {line: "Nov 24 11:00:00 mail sshd[1]: A: to=<a@example.com>", want: Counts{}},
		"a server's own agent": {line: "Nov 24 11:00:00 mail smtp[1]: A1: to=<a@example.com>, relay=x", want: Counts{}},
		"no delivery":          {line: prefix + "enabling PIX workarounds: disable_esmtp", want: Counts{}},
		"of no queue": {
			line: "Nov 24 11:00:00 mail postfix/smtp[1]: warning: x: to=<a@example.com>", want: Counts{},
		},
		"no relay reached": {
			line: to + ", relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to " +
				"mx.example.com[192.0.2.1]:25: Connection timed out)",
			want: Counts{Deliveries: 1, Unsent: 1},
		},
		"local":       {line: to + ", relay=local" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"a socket":    {line: to + ", relay=mail[private/lmtp]" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"a filter":    {line: to + ", relay=127.0.0.1[127.0.0.1]:10024" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"a private":   {line: to + ", relay=mx.example.com[10.1.2.3]:25" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"IPv6 of ULA": {line: to + ", relay=mx.example.com[fd00::3]:25" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"v4-mapped":   {line: to + ", relay=mx.example.com[::ffff:127.0.0.1]:25" + sent, want: Counts{Deliveries: 1, Internal: 1}},
		"a smarthost": {
			line: to + ", relay=smtp.example.net[192.0.2.7]:587" + sent, config: Config{Relays: []string{"SMTP.example.net"}},
			want: Counts{Deliveries: 1, Excluded: 1},
		},
		"a smarthost of many": {
			line: to + ", relay=a.smtp.example.net[192.0.2.7]:587" + sent, config: Config{Relays: []string{"*.example.net"}},
			want: Counts{Deliveries: 1, Excluded: 1},
		},
		"a smarthost's network": {
			line: to + ", relay=a.example.net[192.0.2.7]:587" + sent, config: Config{Relays: []string{"192.0.2.0/28"}},
			want: Counts{Deliveries: 1, Excluded: 1},
		},
		"a filter in a network that is allowed": {
			line: to + ", relay=127.0.0.1[127.0.0.1]:10025" + sent,
			config: Config{
				Relays: []string{"[127.0.0.1]:10025"}, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			},
			want: Counts{Deliveries: 1, Excluded: 1},
		},
		"an address probe": {
			line: to + ", relay=mx.example.com[192.0.2.1]:25, delay=1, dsn=5.1.1, status=undeliverable (host " +
				"mx.example.com[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command))",
			want: Counts{Deliveries: 1, Unreadable: 1},
		},
		"a masked recipient": {
			line: prefix + "to=<j?rg@example.com>, relay=mx.example.com[192.0.2.1]:25" + sent,
			want: Counts{Deliveries: 1, Unreadable: 1},
		},
		"an escaped recipient": {
			line: prefix + "to=<j#303#266rg@example.com>, relay=mx.example.com[192.0.2.1]:25" + sent,
			want: Counts{Deliveries: 1, Unreadable: 1},
		},
		"a recipient without a domain": {
			line: prefix + "to=<postmaster>, relay=mx.example.com[192.0.2.1]:25" + sent,
			want: Counts{Deliveries: 1, Unreadable: 1},
		},
		// info_log_addr_form = internal leaves the quotes out: the local part writes the line.
		"a forged line": {
			line: prefix + "to=<eve@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, dsn=5.1.1, " +
				"status=bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 x (in reply to RCPT TO " +
				"command))@evil.test>, relay=mx.evil.test[192.0.2.66]:25" + sent,
			want: Counts{Deliveries: 1, Unreadable: 1},
		},
		"cut before its status": {line: to + ", relay=mx.example.com[192.0.2.1]:25, del", want: Counts{Deliveries: 1, Unreadable: 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newParser(t, tt.config)
			if o, ok := p.Line([]byte(tt.line)); ok {
				t.Errorf("observed %+v", o)
			}
			tt.want.Lines = 1
			if got := p.Counts(); got != tt.want {
				t.Errorf("counts %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWhatIsKeptOnDemand(t *testing.T) {
	const local = prefix + "to=<a@example.com>, relay=local, delay=1, dsn=2.0.0, status=sent (delivered to maildir)"
	p := newParser(t, Config{Internal: true, Unsent: true})
	if o, ok := p.Line([]byte(local)); !ok || o.MX != "" || !o.Reply.IsZero() {
		t.Errorf("local: %v %+v", ok, o)
	}
	// The reply that suspended the destination was said to somebody else.
	const suspended = prefix + "to=<a@example.com>, relay=none, delay=1, dsn=4.1.1, status=deferred (" +
		"delivery temporarily suspended: host mx.example.com[192.0.2.1] said: 450 4.1.1 x (in reply to RCPT TO command))"
	if o, ok := p.Line([]byte(suspended)); !ok || o.Stage != reply.StageUnknown || !o.Reply.IsZero() {
		t.Errorf("suspended: %v %+v", ok, o)
	}
	const dead = prefix + "to=<a@example.com>, relay=none, delay=1, dsn=4.4.1, status=deferred (" +
		"connect to mx.example.com[192.0.2.1]:25: Connection timed out)"
	if o, ok := p.Line([]byte(dead)); !ok || o.Stage != reply.StageConnect {
		t.Errorf("dead: %v %+v", ok, o)
	}
}

func TestHeaders(t *testing.T) {
	const rest = "ABC1: to=<a@example.com>, relay=mx.example.com[2001:db8::1]:25, dsn=2.0.0, status=sent (250 ok)"
	at := time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		line   string
		labels []string
		at     time.Time
	}{
		"RFC 3164":         {"Nov 24 11:00:00 mail postfix/smtp[1]: " + rest, nil, at},
		"one digit":        {"Nov  4 11:00:00 mail postfix/smtp[1]: " + rest, nil, at.AddDate(0, 0, -20)},
		"last year's":      {"Nov 30 11:00:00 mail postfix/smtp[1]: " + rest, nil, at.AddDate(-1, 0, 6)},
		"leap day":         {"Feb 29 11:00:00 mail postfix/smtp[1]: " + rest, nil, time.Date(2024, 2, 29, 11, 0, 0, 0, time.UTC)},
		"ISO":              {"2026-11-24T12:00:00.5+01:00 mail postfix/smtp[1]: " + rest, nil, at.Add(500 * time.Millisecond)},
		"priority":         {"<22>Nov 24 11:00:00 mail postfix/smtp[1]: " + rest, nil, at},
		"RFC 5424":         {"<22>1 2026-11-24T11:00:00Z mail postfix/smtp 1 - - " + rest, nil, at},
		"RFC 5424 data":    {`<22>1 2026-11-24T11:00:00Z mail postfix/smtp 1 - [a@1 b="c\" ] d"][e@1] ` + "\ufeff" + rest, nil, at},
		"a hole before":    {"\x00\x00Nov 24 11:00:00 mail postfix/smtp[1]: " + rest, nil, at},
		"Solaris":          {"Nov 24 11:00:00 mail postfix/smtp[1]: [ID 197553 mail.info] " + rest, nil, at},
		"instance":         {"Nov 24 11:00:00 mail postfix-out/smtp[1]: " + rest, nil, at},
		"service":          {"Nov 24 11:00:00 mail postfix/relay/smtp[1]: " + rest, nil, at},
		"label":            {"Nov 24 11:00:00 mail out/bulk[1]: " + rest, []string{"out/bulk"}, at},
		"label with star":  {"Nov 24 11:00:00 mail out-3/smtp[1]: " + rest, []string{"x", "out-*/smtp"}, at},
		"a date of no one": {"2026-99-24T11:00:00Z mail postfix/smtp[1]: " + rest, nil, at.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParser(t, Config{Labels: tt.labels})
			o, ok := p.Line([]byte(tt.line))
			if !ok || !o.At.Equal(tt.at) || o.Addr.String() != "2001:db8::1" || o.Event != Delivered {
				t.Errorf("%v %+v, want the time %v", ok, o, tt.at)
			}
		})
	}
	p := newParser(t, Config{Labels: []string{"out/smtp"}})
	if o, ok := p.Line([]byte("Nov 24 11:00:00 mail postfix/smtp[1]: " + rest)); ok {
		t.Errorf("a label that is not configured: %+v", o)
	}
}

func TestSenders(t *testing.T) {
	p := newParser(t, Config{})
	feed := func(line string) (Observation, bool) { return p.Line([]byte("Nov 24 11:00:00 mail " + line)) }
	feed("postfix/qmgr[1]: A1: from=<bob@example.org>, size=100, nrcpt=2 (queue active)")
	feed("postfix/qmgr[1]: A2: from=<>, size=100, nrcpt=1 (queue active)")
	const rest = "to=<a@example.com>, relay=mx.example.com[192.0.2.1]:25, dsn=2.0.0, status=sent (250 ok)"
	if o, _ := feed("postfix/smtp[1]: A1: " + rest); o.Sender != address(t, "bob@example.org") || !o.HasSender ||
		o.Recipients != 2 {
		t.Errorf("%+v", o)
	}
	if o, _ := feed("postfix/smtp[1]: A2: " + rest); !o.Sender.IsNull() || !o.HasSender || o.Recipients != 1 {
		t.Errorf("%+v", o)
	}
	feed("postfix/qmgr[1]: A1: from=<bob@example.org>, status=expired, returned to sender")
	if o, _ := feed("postfix/smtp[1]: A1: " + rest); !o.HasSender {
		t.Errorf("an expired message lost its sender: %+v", o)
	}
	feed("postfix/qmgr[1]: A1: removed")
	if o, ok := feed("postfix/smtp[1]: A1: " + rest); o.HasSender || o.Recipients != 0 || !ok {
		t.Errorf("after the end: %+v", o)
	}
}

func TestSendersAreBounded(t *testing.T) {
	s := newSenders(10)
	for i := range 1000 {
		s.put([]byte{byte(i), byte(i >> 8)}, sender{recipients: i})
		if i >= 5 { // this one is in use
			if v, ok := s.get([]byte{5, 0}); !ok || v.recipients != 5 {
				t.Fatalf("after %d: %v %v", i, v, ok)
			}
		}
	}
	if n := len(s.young) + len(s.old); n > 21 {
		t.Errorf("%d are kept", n)
	}
	if _, ok := s.get([]byte{0xe7, 3}); !ok { // 999
		t.Error("the last one is forgotten")
	}
}

// The log of a real Postfix 3.7, delivering to servers that refuse in every way.
func TestRealLog(t *testing.T) {
	b, err := os.ReadFile("testdata/postfix-3.7.log")
	if err != nil {
		t.Fatal(err)
	}
	p := newParser(t, Config{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	type saw struct {
		Event  Event
		Stage  reply.Stage
		Code   int
		Lines  int
		Sender string
	}
	got := map[string]saw{}
	for line := range strings.Lines(string(b)) {
		if o, ok := p.Line([]byte(strings.TrimSuffix(line, "\n"))); ok {
			if !o.HasSender {
				t.Errorf("no sender for %v", o)
			}
			if _, seen := got[o.Rcpt.String()]; !seen || o.Event != Deferred { // the first try, or the end
				got[o.Rcpt.String()] = saw{o.Event, o.Stage, o.Reply.Code, len(o.Reply.Lines), o.Sender.String()}
			}
		}
	}
	const anna = "anna@example.com"
	want := map[string]saw{
		"ok@b.test":                              {Delivered, reply.StageDot, 250, 1, anna},
		"ok+tag@b.test":                          {Delivered, reply.StageDot, 250, 1, anna},
		`"ok x"@b.test`:                          {Delivered, reply.StageDot, 250, 1, anna},
		`"a>, relay=evil[1.2.3.4]:25, x"@b.test`: {Delivered, reply.StageDot, 250, 1, anna},
		"gone@b.test":                            {Bounced, reply.StageRcpt, 550, 1, anna},
		"gmail@b.test":                           {Bounced, reply.StageRcpt, 550, 4, anna},
		"bare@b.test":                            {Bounced, reply.StageRcpt, 550, 1, anna},
		"full@b.test":                            {Bounced, reply.StageRcpt, 552, 1, anna},
		"paren@b.test":                           {Bounced, reply.StageRcpt, 550, 1, anna},
		"utf8@b.test":                            {Bounced, reply.StageRcpt, 550, 1, anna},
		"ctl@b.test":                             {Bounced, reply.StageRcpt, 550, 1, anna},
		"grey@b.test":                            {Deferred, reply.StageRcpt, 450, 1, anna},
		"hang@b.test":                            {Deferred, reply.StageRcpt, 0, 0, anna},
		"bye@b.test":                             {Deferred, reply.StageRcpt, 0, 0, ""},
		"dotgone@b.test":                         {Bounced, reply.StageDot, 554, 1, anna},
		"dotmulti@b.test":                        {Bounced, reply.StageDot, 550, 2, anna},
		"jörg@b.test":                            {Bounced, reply.StageUnknown, 0, 0, anna},
		"x@banner.test":                          {Deferred, reply.StageConnect, 554, 1, anna},
		"x@drop.test":                            {Deferred, reply.StageConnect, 0, 0, anna},
		"x@mail.test":                            {Bounced, reply.StageMail, 550, 1, anna},
		"x@lmtp.test":                            {Delivered, reply.StageDot, 250, 1, anna},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c := p.Counts(); c.Unreadable != 0 || c.Unsent == 0 {
		t.Errorf("%+v", c)
	}
}
