package message

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// change is one thing that a sender does wrong.
type change struct {
	name  string
	check string // the only check that finds something; "" none
	reply string // how the reply begins
	has   string // what else is in it

	replace []string                    // in the message before it is signed, pairs of old and new
	after   func(signed string) string  // what happens to it then
	sign    func(*dkim.SignOptions)     // how it is signed
	bare    bool                        // not at all
	zone    []string                    // changes of the DNS
	env     func(*testing.T, *Envelope) // changes of the envelope
	off     []Check                     // checks that are off: what they demand is part of another's demand
}

func put(line string) func(string) string {
	return func(signed string) string { return crlf(line) + signed }
}

func edit(from, to string) func(string) string {
	return func(signed string) string { return strings.Replace(signed, crlf(from), crlf(to), 1) }
}

func mailFrom(s string) func(*testing.T, *Envelope) {
	return func(t *testing.T, env *Envelope) { t.Helper(); env.From = address(t, s) }
}

// requirements are what receivers demand, as published: each case fails one of them only.
var requirements = []change{
	{name: "everything right"},
	// Gmail, all senders: RFC 5322.
	{
		name: "gmail: no From", check: "form", reply: "550 5.7.1 ", has: "no From field",
		replace: []string{"From: News <news@example.com>\n", ""},
		sign:    func(o *dkim.SignOptions) { o.Domain = "example.com" },
	},
	{
		name: "gmail: two From fields", check: "form", reply: "550 5.7.1 ", has: "2 From fields",
		replace: []string{"To: Bob", "From: Eve <eve@example.com>\nTo: Bob"},
	},
	{
		name: "gmail: From is not a mailbox", check: "form", reply: "550 5.7.1 ", has: "cannot be read",
		replace: []string{"News <news@example.com>", "News <news>"},
	},
	{
		name: "gmail: From is empty", check: "form", reply: "550 5.7.1 ", has: "has no mailbox",
		replace: []string{"News <news@example.com>", "nobody: ;"},
	},
	{
		name: "gmail: no Date", check: "form", reply: "550 5.6.0 ", has: "no Date",
		replace: []string{"Date: DATE\n", ""},
	},
	{
		name: "gmail: Date unreadable", check: "form", reply: "550 5.6.0 ", has: "Date field cannot",
		replace: []string{"Date: DATE\n", "Date: yesterday\n"},
	},
	{
		name: "gmail: Date in the future", check: "form", reply: "550 5.6.0 ", has: "7 days",
		replace: []string{"Date: DATE\n", "Date: Tue, 01 Feb 2000 00:00:00 +0000\n"},
	},
	{
		name: "gmail: two Subject fields", check: "form", reply: "550 5.6.0 ", has: "2 Subject",
		replace: []string{"Subject: News\n", "Subject: News\nSubject: Olds\n"},
	},
	{
		name: "gmail: two Message-ID fields", check: "form", reply: "550 5.6.0 ", has: "2 Message-ID",
		replace: []string{"Subject: News\n", "Subject: News\nMessage-ID: <2@example.com>\n"},
	},
	{
		name: "gmail: two Reply-To fields", check: "form", reply: "550 5.6.0 ", has: "2 Reply-To",
		replace: []string{"Subject", "Reply-To: a@example.com\nreply-to: b@example.com\nSubject"},
	},
	{
		name: "two To fields", check: "recipients_once", reply: "550 5.6.0 ", has: "2 To",
		replace: []string{"Subject", "TO: a@example.net\nSubject"},
	},
	{
		name: "no Message-ID", check: "message_id", reply: "550 5.6.0 ", has: "has no Message-ID",
		replace: []string{"Message-ID: <1@example.com>\n", ""},
	},
	{
		name: "bad Message-ID", check: "message_id", reply: "550 5.6.0 ", has: "not <left@right>",
		replace: []string{"<1@example.com>", "<one>"},
	},
	{
		name: "orange: bare LF", check: "form", reply: "550 5.6.0 ", has: "LF without CR",
		replace: []string{"Hello,\r\n", "Hello,\nyou\r\n"},
	},
	{
		name: "bare CR", check: "form", reply: "550 5.6.0 ", has: "CR that is not",
		replace: []string{"Hello,", "Hel\rlo,"},
	},
	{
		name: "NUL", check: "form", reply: "550 5.6.0 ", has: "NUL",
		replace: []string{"Hello,", "Hel\x00lo,"},
	},
	{
		name: "8 bits undeclared", check: "form", reply: "550 5.6.0 ", has: "8BITMIME",
		replace: []string{"Hello,", "Grüß dich,"},
	},
	{
		name: "8 bits declared", replace: []string{"Hello,", "Grüß dich,"},
		env: func(_ *testing.T, env *Envelope) { env.EightBit = true },
	},
	{
		name: "no field", check: "form", reply: "550 5.6.0 ", has: "of the header is no header field",
		replace: []string{"Date: DATE\n", "what is this\nDate: DATE\n"},
		after:   func(s string) string { return strings.Replace(s, "DKIM-Signature", "dkim-signature", 1) },
	},
	{
		name: "long line", check: "line_length", reply: "550 5.6.0 ", has: "999 octets",
		replace: []string{"Hello,", strings.Repeat("x", 999)},
	},
	{name: "longest line", replace: []string{"Hello,", strings.Repeat("x", 998)}},
	// Gmail: do not impersonate Gmail.
	{
		name: "gmail: impersonated", check: "free_provider", reply: "550 5.7.1 ", has: "gmail.com",
		replace: []string{"news@example.com", "news@gmail.com"},
		zone: []string{
			"gmail.com. 300 IN MX 5 mx.example.com.", `_dmarc.gmail.com. 300 IN TXT "v=DMARC1; p=none"`,
		},
	},
	{
		name: "several authors", check: "from", reply: "550 5.7.1 ", has: "more than one author",
		replace: []string{"News <news@example.com>", "a@example.com, b@example.com"},
	},
	{
		name: "several authors of several domains, not in bulk", // DMARC does not apply
		replace: []string{
			"News <news@example.com>", "a@example.com, b@example.org\nSender: a@example.com",
			"List-Unsubscribe: <mailto:leave@example.com>,\n <https://example.com/leave/4711>\n", "",
			"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", "", "List-Id: News <news.example.com>\n", "",
		},
	},
	{
		name: "another address shown", check: "from", reply: "550 5.7.1 ", has: "service@example.org",
		replace: []string{"News <", `"service@example.org" <`},
	},
	// Gmail, Yahoo, Outlook.com, Apple, Orange: SPF.
	{
		name: "outlook: SPF fails", check: "spf", reply: "550 5.7.23 ", has: "gives fail",
		zone: []string{"example.com TXT -", `example.com. 300 IN TXT "v=spf1 ip4:198.51.100.1 -all"`},
	},
	{
		name: "yahoo: no SPF record", check: "spf", reply: "550 5.7.23 ", has: "gives none",
		zone: []string{"example.com TXT -"},
	},
	{
		name: "apple: SPF is neutral", check: "spf", reply: "550 5.7.23 ", has: "gives neutral",
		zone: []string{"example.com TXT -", `example.com. 300 IN TXT "v=spf1 ?all"`},
	},
	{
		name: "SPF of the null sender is the HELO name's", check: "spf", reply: "550 5.7.23 ",
		env: mailFrom(""), zone: []string{"example.com TXT -"},
	},
	// … and DKIM.
	{
		name: "gmail: no DKIM", check: "dkim", reply: "550 5.7.20 ", has: "no DKIM-Signature", bare: true,
	},
	{
		name: "orange: body changed", check: "dkim", reply: "550 5.7.20 ", has: "body was changed",
		after: edit("Hello", "Hallo"),
	},
	{
		name: "header changed", check: "dkim", reply: "550 5.7.20 ", has: "signed header field",
		after: edit("Subject: News", "Subject: Olds"),
	},
	{
		name: "key missing", check: "dkim", reply: "550 5.7.20 ",
		has:  "key is not in the DNS: s2048._domainkey.example.com",
		zone: []string{"s2048._domainkey.example.com -"},
	},
	{
		name: "key revoked", check: "dkim", reply: "550 5.7.20 ", has: "revoked",
		zone: []string{
			"s2048._domainkey.example.com -",
			`s2048._domainkey.example.com. 300 IN TXT "v=DKIM1; p="`,
		},
	},
	{
		name: "another key", check: "dkim", reply: "550 5.7.20 ", has: "or the key is another one",
		sign: func(o *dkim.SignOptions) { o.Signer = otherKey() },
	},
	{
		name: "gmail: key below 1024 bits", check: "dkim", reply: "550 5.7.20 ",
		has:  "shorter than 1024 bits: short._domainkey.example.com",
		sign: func(o *dkim.SignOptions) { o.Selector = "short" },
		zone: []string{shortKeyRecord("short._domainkey.example.com")},
	},
	{
		name: "expired", check: "dkim", reply: "550 5.7.20 ", has: "expired",
		sign: func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(-time.Hour) },
	},
	{
		name: "key of 1024 bits", check: "dkim_weak", reply: "550 5.7.21 ", has: "has 1024 bits",
		sign: func(o *dkim.SignOptions) { o.Signer, o.Selector = key1024(), "s1024" },
	},
	{
		name: "expires soon", check: "dkim_weak", reply: "550 5.7.21 ", has: "within 7 days",
		sign: func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(24 * time.Hour) },
	},
	{
		name: "Ed25519", sign: func(o *dkim.SignOptions) { o.Signer, o.Selector = keyEd25519(), "ed" },
	},
	{
		name: "simple canonicalization",
		sign: func(o *dkim.SignOptions) {
			o.HeaderCanonicalization = dkim.CanonicalizationSimple
			o.BodyCanonicalization = dkim.CanonicalizationSimple
		},
	},
	{
		name: "put on top", check: "dkim_covered", reply: "550 5.7.21 ", has: "MIME-Version occurs",
		after: put("MIME-Version: 1.0\n"),
	},
	{
		name: "put on top where it was signed twice", check: "dkim", reply: "550 5.7.20 ",
		replace: []string{"List-Unsubscribe", "To: a@example.net\nList-Unsubscribe"},
		after: func(s string) string {
			return strings.Replace(s, "To: a@example.net\r\n", "", 1)
		},
	},
	// Gmail: alignment. Laposte: one aligned pass of SPF or DKIM.
	{
		name: "gmail: DKIM of somebody else", check: "dkim_aligned", reply: "550 5.7.22 ",
		has:  "From is of example.com, the signature of example.org",
		sign: func(o *dkim.SignOptions) { o.Domain = "example.org" },
	},
	{
		name: "strict alignment", check: "dkim_aligned", reply: "550 5.7.22 ",
		replace: []string{"news@example.com", "news@news.example.com"},
		env:     mailFrom("bounce@news.example.com"),
		zone: []string{
			`_dmarc.news.example.com. 300 IN TXT "v=DMARC1; p=none; adkim=s"`,
			"news.example.com. 300 IN MX 10 mx.example.com.",
			`news.example.com. 300 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		},
	},
	{
		name: "relaxed alignment", replace: []string{"news@example.com", "news@news.example.com"},
		zone: []string{"news.example.com. 300 IN MX 10 mx.example.com."},
	},
	{
		name: "laposte: neither DKIM nor SPF aligned", check: "aligned", reply: "550 5.7.26 ",
		has:  "From is of example.com, the signature of example.org",
		sign: func(o *dkim.SignOptions) { o.Domain = "example.org" },
		env:  mailFrom("bounce@example.org"), off: []Check{DKIMAligned},
	},
	{
		name: "laposte: SPF aligned, but fails", check: "aligned", reply: "550 5.7.26 ",
		has:  "gives fail",
		sign: func(o *dkim.SignOptions) { o.Domain = "example.org" }, off: []Check{DKIMAligned, SPF},
		zone: []string{"example.com TXT -", `example.com. 300 IN TXT "v=spf1 -all"`},
	},
	{
		name: "laposte: SPF aligned is enough", bare: true,
		off: []Check{DKIM, DKIMAligned, OneClickCovered},
	},
	{
		name: "laposte: DKIM aligned is enough", env: mailFrom("bounce@example.org"),
	},
	// Gmail, Yahoo, Outlook.com, Apple, Orange: DMARC.
	{
		name: "orange: DMARC fails at p=reject", check: "dmarc", reply: "550 5.7.26 ",
		has:  "_dmarc.example.com asks for reject",
		sign: func(o *dkim.SignOptions) { o.Domain = "example.org" },
		env:  mailFrom("bounce@example.org"), off: []Check{DKIMAligned},
		zone: []string{"_dmarc.example.com -", `_dmarc.example.com. 300 IN TXT "v=DMARC1; p=reject"`},
	},
	{
		name: "DMARC of a domain that does not exist", check: "dmarc", reply: "550 5.7.26 ",
		has:     "_dmarc.example.com asks for quarantine",
		replace: []string{"news@example.com", "news@nowhere.example.com"},
		sign:    func(o *dkim.SignOptions) { o.Domain = "example.org" },
		env:     mailFrom("bounce@example.org"), off: []Check{DKIMAligned, SenderDomain},
		zone: []string{
			"_dmarc.example.com -", `_dmarc.example.com. 300 IN TXT "v=DMARC1; p=none; np=quarantine"`,
		},
	},
	{
		name: "outlook: no DMARC record", check: "dmarc_record", reply: "550 5.7.1 ",
		has: "_dmarc.example.com", zone: []string{"_dmarc.example.com -"},
	},
	{
		name: "two DMARC records", check: "dmarc_record", reply: "550 5.7.1 ", has: "several",
		zone: []string{`_dmarc.example.com. 300 IN TXT "v=DMARC1; p=reject"`},
	},
	// Gmail, Yahoo, Outlook.com, Apple: unsubscription.
	{
		name: "yahoo: no List-Unsubscribe", check: "one_click", reply: "550 5.7.1 ",
		has:     "no List-Unsubscribe field",
		replace: []string{"List-Unsubscribe: <mailto:leave@example.com>,\n <https://example.com/leave/4711>\n", ""},
	},
	{
		name: "gmail: no https", check: "one_click", reply: "550 5.7.1 ", has: "no https URI",
		replace: []string{",\n <https://example.com/leave/4711>", ""},
	},
	{
		name: "gmail: http", check: "one_click", reply: "550 5.7.1 ", has: "without TLS",
		replace: []string{"https://", "http://"},
	},
	{
		name: "gmail: two https URIs", check: "one_click", reply: "550 5.7.1 ", has: "more than one https",
		replace: []string{"<mailto:leave@example.com>", "<https://example.com/a>"},
	},
	{
		name: "gmail: two List-Unsubscribe fields", check: "one_click", reply: "550 5.7.1 ",
		has:     "2 List-Unsubscribe fields",
		replace: []string{"List-Id", "List-Unsubscribe: <https://example.com/a>\nList-Id"},
	},
	{
		name: "gmail: no List-Unsubscribe-Post", check: "one_click", reply: "550 5.7.1 ",
		has:     "no List-Unsubscribe-Post",
		replace: []string{"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", ""},
	},
	{
		name: "gmail: another List-Unsubscribe-Post", check: "one_click", reply: "550 5.7.1 ",
		has: "is not List-Unsubscribe=One-Click", replace: []string{"=One-Click", "=1"},
	},
	{
		name: "gmail: List-Unsubscribe-Post not signed", check: "one_click_covered", reply: "550 5.7.1 ",
		sign: func(o *dkim.SignOptions) { o.HeaderKeys = []string{"From", "To", "List-Unsubscribe"} },
	},
	{
		name: "gmail: a list without List-Id", check: "list_id", reply: "550 5.7.1 ",
		replace: []string{"List-Id: News <news.example.com>", "Precedence: list"},
	},
	{
		name: "no subscription",
		replace: []string{
			"List-Unsubscribe: <mailto:leave@example.com>,\n <https://example.com/leave/4711>\n", "",
			"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", "", "List-Id: News <news.example.com>\n", "",
		},
	},
	{
		name: "marketing by its mark", check: "one_click", reply: "550 5.7.1 ",
		replace: []string{
			"List-Unsubscribe: <mailto:leave@example.com>,\n <https://example.com/leave/4711>\n", "",
			"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", "", "List-Id: News <news.example.com>\n", "",
		},
		env: func(_ *testing.T, env *Envelope) { env.Marks = []string{"marketing"} },
	},
	// Outlook.com, Laposte: the sender can receive.
	{
		name: "laposte: the envelope sender has no mail server", check: "sender_domain",
		reply: "550 5.1.8 ", has: "bounces.example.com has no mail server",
		env: mailFrom("x@bounces.example.com"),
		zone: []string{
			`bounces.example.com. 300 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		},
	},
	{
		name: "outlook: Reply-To has a null MX", check: "sender_domain", reply: "550 5.7.27 ",
		has: "null MX", replace: []string{"Subject", "Reply-To: no@null.example.org\nSubject"},
		zone: []string{"null.example.org. 300 IN MX 0 ."},
	},
}

// prepare makes the message and the world of a case.
func (c *change) prepare(t *testing.T) (*Checker, Envelope, []byte) {
	t.Helper()
	message := newsletter(time.Now())
	replace := append([]string{"DATE", time.Now().Format(time.RFC1123Z)}, c.replace...)
	for i := 2; i < len(replace); i += 2 {
		from := crlf(strings.ReplaceAll(replace[i], "DATE", replace[1]))
		to := strings.ReplaceAll(replace[i+1], "DATE", replace[1])
		if !strings.Contains(c.has, "LF without") {
			to = crlf(to)
		} else {
			from = replace[i]
		}
		if !strings.Contains(message, from) {
			t.Fatalf("%q is not in the message", from)
		}
		message = strings.Replace(message, from, to, 1)
	}
	if !c.bare {
		message = c.signed(t, message)
	}
	if c.after != nil {
		changed := c.after(message)
		if changed == message {
			t.Fatal("nothing happened to the signed message")
		}
		message = changed
	}
	env := envelope(t)
	if c.env != nil {
		c.env(t, &env)
	}
	resolver, _ := resolver(t, zone(t, c.zone...)...)
	cfg := config(Reject)
	for _, c := range c.off {
		cfg.Levels[c] = Off
	}
	return newChecker(t, cfg, resolver, nil), env, wire(message)
}

// signed signs a message, also one without From, which the library does not sign.
func (c *change) signed(t *testing.T, message string) string {
	t.Helper()
	if c.sign == nil {
		return sign(t, message)
	}
	return sign(t, message, c.sign)
}

func TestRequirements(t *testing.T) {
	for _, c := range requirements {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				checker, env, octets := c.prepare(t)
				report := check(t, checker, env, octets, 1<<10)
				if names(report) != c.check {
					t.Fatalf("found %q, want %q:%s\n%s", names(report), c.check, details(report), octets)
				}
				if c.check == "" {
					if report.Action != ActionPass || !report.Reply.IsZero() {
						t.Errorf("%v %v", report.Action, report.Reply)
					}
					return
				}
				reply := report.Reply.String()
				if report.Action != ActionReject || !strings.HasPrefix(reply, c.reply) ||
					!strings.Contains(reply, c.has) || !strings.HasSuffix(reply, "(ref "+report.Ref+")") {
					t.Errorf("%v with %q, want %q and %q", report.Action, reply, c.reply, c.has)
				}
			})
		})
	}
}

// TestSamePieces: it does not matter how the octets come.
func TestSamePieces(t *testing.T) {
	for _, c := range requirements {
		synctest.Test(t, func(t *testing.T) {
			checker, env, octets := c.prepare(t)
			for _, piece := range []int{1, 2, 7, len(octets)} {
				if report := check(t, checker, env, octets, piece); names(report) != c.check {
					t.Errorf("%s, %d octets a piece: %q, want %q", c.name, piece, names(report), c.check)
				}
			}
		})
	}
}
