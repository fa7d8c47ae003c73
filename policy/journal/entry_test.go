package journal

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// itemOf is the item that Decision makes, at a known time.
func itemOf(tx *policy.Transaction, d *policy.Decision, r esmtp.Reply, relayed bool) *item {
	it := new(item)
	it.decision(newCommon(), at, tx, d, r, relayed)
	return it
}

// endOf is the item that Message makes, at a known time.
func endOf(tx *policy.Transaction, m *Message) *item {
	it := new(item)
	it.end(newCommon(), at, tx, m)
	return it
}

func newCommon() *common { return &common{seed: maphash.MakeSeed()} }

func lineOf(tb testing.TB, it *item, mode string) (string, Entry) {
	tb.Helper()
	f := formatter{redactor: redactor{mode: mode, secret: []byte("0123456789abcdef")}}
	line := f.format(it)
	if !json.Valid(line) || line[len(line)-1] != '\n' {
		tb.Fatalf("not a line of JSON: %s", line)
	}
	var e Entry
	if err := e.decode(line[:len(line)-1]); err != nil {
		tb.Fatalf("%v: %s", err, line)
	}
	if e.Unknown != nil {
		tb.Fatalf("fields that the entry does not have: %q", e.Unknown)
	}
	return string(line), e
}

// TestEntry: what a decision says is in its line, and comes back from it.
func TestEntry(t *testing.T) {
	tx := transaction(t)
	tx.Door = policy.DoorPolicyd
	d := refused(t, "bob@example.NET", "KX2M7QRT")
	d.Marks, d.Headers = []string{"risky", "new"}, []string{`X-Rcptgate: "undeliverable"`}
	line, got := lineOf(t, itemOf(tx, d, d.Reply, false), RedactOff)
	ms := at.Truncate(time.Millisecond)
	want := Entry{
		Version: 1, Time: ms, Kind: KindRecipient, Door: "policyd", Session: "3F2A", Transaction: "3F2A-1",
		Client: "192.0.2.7", ClientName: "app.example.org", Helo: "app", Login: "news",
		Sender: "news@shop.example.org", Recipient: "bob@example.net", Action: "reject",
		Rule: "built-in: proven undeliverable", Ref: "KX2M7QRT",
		Reply:   "550 5.1.1 <bob@example.NET>: mailbox does not exist (ref KX2M7QRT)",
		Verdict: "undeliverable", Reason: "mailbox_unknown", Confidence: 0.99, Deliverability: 0.01,
		Proof: true, Provider: "google", MX: "mx.example.net", Stage: "rcpt",
		MXReply: `550 5.1.1 <bob@example.net>: no such\x1b user`, Label: "mailbox_unknown",
		Cached: true, Checked: ms.Add(-time.Hour), WaitMS: 1200,
		Domain: &Domain{AcceptsAll: 0.02, Accepted: 7, Tries: 1, Refused: ms.Add(-time.Hour)},
		Marks:  []string{"risky", "new"}, Headers: []string{`X-Rcptgate: "undeliverable"`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !strings.HasPrefix(line, `{"v":1,"time":"2026-11-23T14:15:02.345Z","kind":"recipient",`) {
		t.Errorf("the line begins otherwise: %s", line)
	}
	if !strings.HasPrefix(line, string(ownLine)) {
		t.Error("searches do not know the line as one of theirs")
	}
}

// TestMessageEntry is the same for the end of a message.
func TestMessageEntry(t *testing.T) {
	m := &Message{
		Outcome: "refused", Reply: esmtp.Reply{Code: 550, Lines: []string{"5.7.1 no"}}, Octets: 1234,
		Accepted: 2, Deferred: 1, Refused: 3, Relay: "127.0.0.1:10026", QueueID: "4bXyz",
		Error: `say "what"`, Action: "reject", Ref: "AAAA2222", FromDomain: "shop.example.org",
		Findings: []Finding{
			{Check: "dkim", Level: "reject", Detail: "no valid signature", Reply: esmtp.Reply{Code: 550}},
			{Check: "form", Level: "log", Detail: "two \\ dates"},
		},
		Checking: 3 * time.Millisecond, Total: 2 * time.Second, Relaying: time.Second,
	}
	it := endOf(transaction(t), m)
	_, got := lineOf(t, it, RedactOff)
	want := Entry{
		Version: 1, Time: at.Truncate(time.Millisecond), Kind: KindMessage, Door: "smtp", Session: "3F2A",
		Transaction: "3F2A-1", Client: "192.0.2.7", ClientName: "app.example.org", Helo: "app",
		Login: "news", Sender: "news@shop.example.org", Action: "reject", Ref: "AAAA2222",
		Reply: "550 5.7.1 no",
		Message: &MessageEntry{
			Outcome: "refused", Octets: 1234, Accepted: 2, Deferred: 1, Refused: 3,
			Relay: "127.0.0.1:10026", QueueID: "4bXyz", Error: `say "what"`, CheckAction: "reject",
			FromDomain: "shop.example.org", CheckMS: 3, TotalMS: 2000, RelayMS: 1000,
			Checks: []FindingEntry{
				{Check: "dkim", Level: "reject", Detail: "no valid signature", Reply: "550"},
				{Check: "form", Level: "log", Detail: `two \ dates`},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRedact: with redaction no line has a local part, wherever it may come from.
func TestRedact(t *testing.T) {
	tx := transaction(t)
	tx.Mail.From = address(t, "bounce+token@shop.example.org")
	tx.Client.Login = "alice@example.org"
	d := refused(t, "robert@example.net", "KX2M7QRT")
	d.Result.Reply.Lines = []string{
		"5.1.1 <robert@example.net>: user ROBERT unknown", "see http://x.test/?u=robert%40example.net",
	}
	d.Headers = []string{"X-To: robert@example.net"}
	m := &Message{
		Error:    "the relay said: <bounce+token@shop.example.org> is blocked",
		Findings: []Finding{{Check: "form", Detail: "From: alice@example.org", Reply: d.Reply}},
	}
	end := endOf(tx, m)
	for _, c := range []struct{ mode, recipient, sender, login string }{
		{RedactLocal, "r…@example.net", "b…@shop.example.org", "a…@example.org"},
		{
			RedactHash, "hmac:ac4a8e3ab7b4a0d4@example.net", "hmac:2f@shop.example.org",
			"hmac:@example.org",
		},
	} {
		line, e := lineOf(t, itemOf(tx, d, d.Reply, false), c.mode)
		also, _ := lineOf(t, end, c.mode)
		for _, secret := range []string{"robert", "token", "alice"} {
			if strings.Contains(strings.ToLower(line+also), secret) {
				t.Errorf("%s: %s is in\n%s%s", c.mode, secret, line, also)
			}
		}
		if !strings.Contains(e.MXReply, "user "+hidden+" unknown") {
			t.Errorf("%s: the reply has lost too much: %s", c.mode, e.MXReply)
		}
		if c.mode == RedactLocal &&
			(e.Recipient != c.recipient || e.Sender != c.sender || e.Login != c.login) {
			t.Errorf("%s: %s, %s, %s", c.mode, e.Recipient, e.Sender, e.Login)
		}
		if c.mode == RedactHash && (len(e.Recipient) != len(c.recipient) ||
			!strings.HasPrefix(e.Recipient, hashMark) || domainOf(e.Sender) != "shop.example.org") {
			t.Errorf("%s: %s, %s", c.mode, e.Recipient, e.Sender)
		}
	}
	r := redactor{mode: RedactHash, secret: []byte("another secret..")}
	if _, e := lineOf(t, itemOf(tx, d, d.Reply, false), RedactHash); e.Recipient ==
		string(r.appendAddress(nil, d.Recipient)) {
		t.Error("the hash does not depend on the secret")
	}
}

// TestAddresses: one form for one mailbox, whatever it was written like.
func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"bob@EXAMPLE.net":          "bob@example.net",
		`"a b"@example.net`:        `"a b"@example.net`,
		`"a@b"@example.net`:        `"a@b"@example.net`,
		"bob@bücher.example":       "bob@xn--bcher-kva.example",
		"jürgen@bücher.example":    "jürgen@xn--bcher-kva.example",
		"postmaster":               "postmaster",
		"bob@[192.0.2.1]":          "bob@[192.0.2.1]",
		"j\u200bx@example.net":     `j\xe2\x80\x8bx@example.net`,
		`"quo\"te"@example.net`:    `"quo\"te"@example.net`,
		"bob@[IPv6:2001:DB8:0::1]": "bob@[IPv6:2001:db8::1]",
	} {
		r := redactor{mode: RedactOff}
		if got := string(r.appendAddress(nil, address(t, in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	r := redactor{mode: RedactOff}
	if got := string(r.appendAddress(nil, esmtp.Address{})); got != "<>" {
		t.Errorf("the null sender is %s", got)
	}
}

// TestOtherVersions: lines of others are taken for what they say that is known.
func TestOtherVersions(t *testing.T) {
	for _, c := range []struct {
		line    string
		ok      bool
		unknown string
		ref     string
	}{
		{`{"v":1,"time":"2026-11-23T14:15:02Z","kind":"recipient","ref":"A"}`, true, "", "A"},
		{`{"v":2,"time":"2026-11-23T14:15:02Z","kind":"recipient","ref":"A","new":{"x":1},"b":[]}`, true, "b new", "A"},
		{`{"v":2,"time":"2026-11-23T14:15:02Z","kind":"weather"}`, true, "", ""},
		{`{"v":1,"time":"2026-11-23T14:15:02Z","kind":"recipient","reply":{"code":550},"ref":"A"}`, true, "reply", "A"},
		{`{"v":1,"time":"2026-11-23T14:15:02Z","kind":"recipient","ref":"A","confidence":"high"}`, true, "confidence", "A"},
		{`{"ref":"A"}`, false, "", ""},
		{`{"v":1,"time":"yesterday","kind":"recipient"}`, false, "", ""},
		{`{"v":1,"time":"2026-11-23T14:15:02Z","kind":"recip`, false, "", ""},
		{`[1]`, false, "", ""},
		{`null`, false, "", ""},
		{`x`, false, "", ""},
	} {
		var e Entry
		err := e.decode([]byte(c.line))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if got := strings.Join(e.Unknown, " "); c.ok && (got != c.unknown || e.Ref != c.ref) {
			t.Errorf("%s: unknown %q, ref %q", c.line, got, e.Ref)
		}
	}
}

// FuzzLine: whatever a client or a mail server says, an entry is one line of JSON that comes back
// as what was said, escaped and cut.
func FuzzLine(f *testing.F) {
	f.Add("helo", "login", "5.1.1 no such user", 550, "rule", 0.5)
	f.Add("helo", "a@b", "<Robert@example.net>: \u0130 ROBERT=40x robert%40y ok", 450, "rule", 1.0)
	f.Add("a\"b\\c", "x\x00\n", strings.Repeat("\xff", 3000), -1, "ü\u2028\u202e", 7.0)
	f.Fuzz(func(t *testing.T, helo, login, said string, code int, rule string, share float64) {
		tx := transaction(t)
		tx.Client.Helo, tx.Client.Login = helo, login
		d := refused(t, "bob@example.net", "KX2M7QRT")
		d.Rule, d.Result.Reply = rule, esmtp.Reply{Code: code, Lines: []string{said}}
		d.Result.Confidence, d.Result.Verdict = share, verify.Verdict(said)
		line, e := lineOf(t, itemOf(tx, d, d.Reply, false), RedactOff)
		if len(line) > maxLine || strings.Count(line, "\n") != 1 || !utf8.ValidString(line) {
			t.Fatalf("%d octets: %q", len(line), line)
		}
		for _, field := range []struct{ in, out string }{
			{helo, e.Helo},
			{login, e.Login},
			{rule, e.Rule},
			{d.Result.Reply.String(), e.MXReply},
		} {
			whole := string(esmtp.AppendEscaped(nil, field.in, true))
			// The cut may fall within a character, which is then escaped.
			kept := field.out[:max(0, len(field.out)-3*len(`\x00`))]
			switch {
			case len(whole) <= maxText && field.out != whole,
				len(field.out) > maxText, !strings.HasPrefix(whole, kept):
				t.Fatalf("%q became %q", field.in, field.out)
			}
			if printable(field.out) != field.out {
				t.Fatalf("%q is not printable", field.out)
			}
		}
		// Whatever was said, and however, the mailbox is not in it any more.
		d.Recipient = address(t, "robert@example.net")
		for _, mode := range []string{RedactLocal, RedactHash} {
			_, e := lineOf(t, itemOf(tx, d, d.Reply, false), mode)
			if told := strings.ToLower(e.MXReply); strings.Contains(told, "robert") ||
				strings.Contains(told, "@") || strings.Contains(told, "%40") {
				t.Fatalf("%s: %q became %q", mode, said, e.MXReply)
			}
		}
	})
}
