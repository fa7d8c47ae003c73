package feedback

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// FuzzLine gives the parser lines of which the oracle knows what they are: whatever the recipient,
// the relay and the server's words are, either the observation is of exactly these, or there is none.
func FuzzLine(f *testing.F) {
	f.Add(`anna@example.com`, `mx.example.com`, `550 5.1.1 unknown`, `RCPT TO`, true)
	f.Add(`"a>, relay=evil[1.2.3.4]:25, x"@example.com`, `mx`, `550-5.1.1 a 550 b`, `end of DATA`, false)
	f.Add(`a@b.test>, relay=mx[1.1.1.1]:25, status=bounced (host mx[1.1.1.1] said: 550 x)@example.com`, `mx`, `250 x`, ``, true)
	f.Add(`a@example.com`, `mx`, `550 x (in reply to RCPT TO command))`, `MAIL FROM`, true)
	f.Add(`"\">"@example.com`, `a]b`, "550 \x00\xff", `DATA`, true)
	f.Fuzz(func(t *testing.T, rcpt, mx, said, command string, bounced bool) {
		status := "bounced"
		if !bounced {
			status = "deferred"
		}
		if strings.Contains(rcpt+mx+said+command, "\n") {
			return
		}
		line := prefix + "to=<" + rcpt + ">, relay=" + mx + "[192.0.2.1]:25, delay=1, delays=0/0/0/1, " +
			"dsn=5.1.1, status=" + status + " (host " + mx + "[192.0.2.1] said: " + said + " (in reply to " + command +
			" command))"
		p := newParser(t, Config{})
		o, ok := p.Line([]byte(line))
		c := p.Counts()
		if c.Observed+c.Unsent+c.Internal+c.Excluded+c.Unreadable != c.Deliveries {
			t.Errorf("the counts do not add up: %+v", c)
		}
		if !ok {
			return
		}
		if !o.Reply.IsZero() {
			// Postfix's line can be put together from the reply again.
			var seams []string
			for i, l := range o.Reply.Lines {
				sep := " "
				if i < len(o.Reply.Lines)-1 {
					sep = "-"
				}
				seams = append(seams, o.Text[strings.Index(o.Text, "said: ")+6:][:3]+sep+l)
			}
			joined := strings.Join(seams, " ")
			if !strings.Contains(strings.ReplaceAll(o.Text, "-", " "), strings.ReplaceAll(strings.TrimRight(joined, " "), "-", " ")) {
				t.Errorf("%q is not of %q", joined, o.Text)
			}
		}
		if strings.ContainsAny(mx, "[]=,<>") {
			return // no host name; Postfix does not log such a relay
		}
		if strings.Contains(rcpt, ">") && rcpt[0] != '"' {
			return // no address: Postfix has quotes around such a local part
		}
		// The address of the observation is the one that the line was made of, and of no part of it.
		if want, ok := parseAddress([]byte(rcpt)); !ok || o.Rcpt != want {
			t.Errorf("%q was read as %q", rcpt, o.Rcpt)
		}
		if string(o.Event) != status || o.Addr.String() != "192.0.2.1" || o.MX != strings.ToLower(mx) {
			t.Errorf("%+v of %q", o, line)
		}
		if want := stageOf(command); o.Stage != want && !strings.Contains(command, "(in reply to ") {
			t.Errorf("stage %s, want %s: %q", o.Stage, want, line)
		}
	})
}

// FuzzAnyLine gives the parser anything; it must not fail, and what it keeps is bounded.
func FuzzAnyLine(f *testing.F) {
	for _, h := range []string{
		"Nov 24 11:00:00 mail postfix/qmgr[1]: A1: from=<a@example.com>, size=1, nrcpt=9 (queue active)",
		`<22>1 2026-11-24T11:00:00Z mail postfix/smtp 1 - [a@1 b="c\" ] d"] A1: to=<a@example.com>, relay=none`,
		prefix + "to=<a@example.com>, orig_to=<b>, relay=x[::1]:25, conn_use=2, status=sent (250)",
		`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1","MESSAGE":[1,2],"SYSLOG_IDENTIFIER":"postfix/smtp"}`,
	} {
		f.Add([]byte(h))
	}
	p := newParser(f, Config{Internal: true, Unsent: true, Labels: []string{"*"}, Relays: []string{".example.com"}})
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		for range 2 {
			if o, ok := p.Line(line); ok && (o.Rcpt.Domain() == "" || o.QueueID == "" || o.At.IsZero()) {
				t.Errorf("%+v of %q", o, line)
			}
		}
		if e, ok := parseEntry(line); ok {
			p.entry(e.label, e.message, time.UnixMicro(1))
		}
		if !bytes.Equal(line, before) {
			t.Error("the line was written to")
		}
		if len(p.labels.known) > maxLabels || len(p.senders.young)+len(p.senders.old) > 2*maxSenders {
			t.Error("the memory is not bounded")
		}
	})
}
