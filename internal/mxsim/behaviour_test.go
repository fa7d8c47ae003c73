package mxsim_test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestBehaviours plays dialogues: lines to say and how the reply must begin.
func TestBehaviours(t *testing.T) {
	const mail = "MAIL FROM:<s@example.net>"
	cases := []struct {
		name   string
		behave []mxsim.Behaviour
		dialog []string // command, reply, command, reply, ...
	}{
		{"catch-all", []mxsim.Behaviour{mxsim.CatchAll()}, []string{
			mail, "250", "RCPT TO:<nobody@example.com>", "250", "RCPT TO:<nobody@example.org>", "554 5.7.1",
		}},
		{"accepts, then refuses", []mxsim.Behaviour{mxsim.AcceptThenRefuse("552 1 Requested mail action aborted, mailbox not found")}, []string{
			mail, "250", "RCPT TO:<nobody@example.com>", "250", "DATA", "354", "x\r\n.", "552 1 ",
			mail, "250", "RCPT TO:<anna@example.com>", "250", "DATA", "354", "x\r\n.", "250 ",
		}},
		{"blocked at RCPT", []mxsim.Behaviour{mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 Service unavailable; client [{peer}] blocked")}, []string{
			mail, "250", "RCPT TO:<anna@example.com>", "550 5.7.1 Service unavailable; client [5.255.255.1] blocked",
		}},
		{"sender refused", []mxsim.Behaviour{mxsim.RefuseSender("550 5.7.1 sender refused", "example.net")}, []string{
			mail, "550 5.7.1", "RCPT TO:<anna@example.com>", "503", "MAIL FROM:<>", "250", "RSET", "250", "MAIL FROM:<s@example.org>", "250",
		}},
		{"null sender refused", []mxsim.Behaviour{mxsim.RefuseSender("553 5.1.0 no null sender", "")}, []string{
			"MAIL FROM:<>", "553", mail, "250",
		}},
		{"recipient limit", []mxsim.Behaviour{mxsim.RcptLimit(1, "452 4.5.3 Too many recipients")}, []string{
			mail, "250", "RCPT TO:<anna@example.com>", "250", "RCPT TO:<anna@example.com>", "452 4.5.3",
		}},
		{"refusal limit", []mxsim.Behaviour{mxsim.RefusalLimit(2)}, []string{
			mail, "250", "RCPT TO:<x@example.com>", "550", "RCPT TO:<y@example.com>", "550", "RCPT TO:<anna@example.com>", "421 4.7.0", "", "",
		}},
		{"command limit", []mxsim.Behaviour{mxsim.CommandLimit(2)}, []string{
			mail, "250", "NOOP", "421 4.4.2", "", "",
		}},
		{"once", []mxsim.Behaviour{mxsim.Once(mxsim.Refuse(mxsim.Mail, "451 4.3.0 try again"))}, []string{
			mail, "451", mail, "250",
		}},
		{"script", []mxsim.Behaviour{mxsim.Script(func(stage mxsim.Stage, line string) string {
			if stage == mxsim.Rcpt && strings.Contains(line, "anna") {
				return "250-2.1.5 yes\r\n250 2.1.5 indeed\r\n"
			}
			return ""
		})}, []string{
			mail, "250", "RCPT TO:<anna@example.com>", "250-2.1.5 yes\n250 2.1.5 indeed", "RCPT TO:<x@example.com>", "550",
		}},
		{"order of commands", nil, []string{
			"RCPT TO:<anna@example.com>", "503", "DATA", "503", mail, "250", mail, "503", "DATA", "554 5.5.1",
			"RCPT TO:<postmaster>", "250", "RSET", "250", "DATA", "503", "BDAT 5 LAST", "502", "QUIT", "221", "", "",
		}},
		{"non-ASCII addresses", nil, []string{
			mail, "250", "RCPT TO:<ä@example.com>", "553 5.6.7", "RSET", "250", mail + " SMTPUTF8", "250", "RCPT TO:<ä@example.com>", "550 5.1.1",
		}},
		{"cut reply", []mxsim.Behaviour{mxsim.Drop(mxsim.Mail)}, []string{mail, "", "", ""}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mxsim.New(mxsim.Config{})
				defer w.Close()
				w.Add(simple(c.behave...))
				p := connect(t, w.DialContext, address(w, 0))
				p.want("connect", "220")
				p.say("EHLO client.example.net", "250")
				play(p, c.dialog)
			})
		})
	}
}

// play speaks a dialogue; an empty reply means that the connection ends without one.
func play(p *peer, dialog []string) {
	p.t.Helper()
	for i := 0; i < len(dialog); i += 2 {
		if dialog[i+1] != "" {
			p.say(dialog[i], dialog[i+1])
			continue
		}
		if dialog[i] != "" {
			p.write(dialog[i] + "\r\n")
		}
		if rest, err := io.ReadAll(p.br); err != nil || len(rest) > 0 {
			p.t.Fatalf("want the connection to end, have %q, %v", rest, err)
		}
	}
}

func TestHelloVariants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		site := simple()
		site.Hosts[0].HeloOnly = true
		bare := &mxsim.Host{Name: "mx2.example.com", Keywords: mxsim.Without("PIPELINING", "SMTPUTF8")}
		site.Hosts = append(site.Hosts, bare)
		w.Add(site)
		p := connect(t, w.DialContext, address(w, 0))
		p.want("connect", "220")
		p.say("EHLO x.example.net", "502")
		p.say("HELO x.example.net", "250 mx.example.com")
		q := connect(t, w.DialContext, bare.Addrs[0].String()+":25")
		q.want("connect", "220")
		if got := q.say("EHLO x.example.net", "250"); strings.Contains(got, "PIPELINING") || !strings.Contains(got, "8BITMIME") {
			t.Errorf("EHLO reply %q", got)
		}
		q.say("MAIL FROM:<a@example.net> SMTPUTF8", "555")
		q.write("NOOP\r\nNOOP\r\n")
		q.want("first", "250")
		q.want("second", "250")
		if got := bare.Record().Conns[0].Early; got != 1 {
			t.Errorf("%d early commands, want 1", got)
		}
	})
}

func TestConnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple(mxsim.ConnLimit(1)))
		connect(t, w.DialContext, address(w, 0)).want("first", "220")
		connect(t, w.DialContext, address(w, 0)).want("second", "421 4.7.0")
	})
}

// TestHostile looks at the octets that a client gets when it says EHLO.
func TestHostile(t *testing.T) {
	cases := []struct {
		name   string
		behave mxsim.Behaviour
		want   string // the first octets
		octets int    // how many come within the time
		within time.Duration
		ends   bool
	}{
		{"endless reply", mxsim.EndlessReply(mxsim.Helo), "250-", 1 << 20, 0, false},
		{"endless line", mxsim.EndlessLine(mxsim.Helo), "250 x", 1 << 20, 0, false},
		{"long line", mxsim.LongLine(mxsim.Helo, "250", 64<<10), "250 xxx", 64<<10 + 6, 0, false},
		{"many lines", mxsim.ManyLines(mxsim.Helo, "250", 200), "250-line\r\n", 2000, 0, false},
		{"drip", mxsim.Drip(mxsim.Helo, "250 hi", time.Second), "250 hi\r\n", 8, 7 * time.Second, false},
		{"garbage", mxsim.Garbage(mxsim.Helo), "\x16\x03", 40, 0, false},
		{"mixed codes", mxsim.MixedCodes(mxsim.Helo), "250-2.1.5 Ok\r\n550", 36, 0, false},
		{"bad code", mxsim.BadCode(mxsim.Helo, "999"), "999 ", 24, 0, false},
		{"bare LF", mxsim.BareLF(mxsim.Helo), "550-5.1.1 no such user\n550", 40, 0, false},
		{"control octets", mxsim.ControlOctets(mxsim.Helo), "550 5.1.1 \x1b[2J", 40, 0, false},
		{"unsolicited", mxsim.Unsolicited(mxsim.Helo, "250 hi", "250 more"), "250 hi\r\n250 more\r\n", 18, 0, false},
		{"cut", mxsim.Cut(mxsim.Helo, "250 2.0.0 par"), "250 2.0.0 par", 13, 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mxsim.New(mxsim.Config{})
				defer w.Close()
				w.Add(simple(c.behave))
				p := connect(t, w.DialContext, address(w, 0))
				p.want("connect", "220")
				begin := time.Now()
				p.write("EHLO x.example.net\r\n")
				buf := make([]byte, c.octets)
				if _, err := io.ReadFull(p.br, buf); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(string(buf), c.want) || time.Since(begin) != c.within {
					t.Errorf("%q after %v", buf[:min(len(buf), 60)], time.Since(begin))
				}
				if c.ends {
					if _, err := p.br.ReadByte(); !errors.Is(err, io.EOF) {
						t.Errorf("the connection goes on: %v", err)
					}
				}
			})
		})
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mxsim.New(mxsim.Config{})
		defer w.Close()
		w.Add(simple(mxsim.Silence(mxsim.Connect)))
		p := connect(t, w.DialContext, address(w, 0))
		if err := p.conn.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := p.br.ReadByte(); err == nil || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		_ = p.conn.Close()
		synctest.Wait()
		if rec := w.Sites()[0].Hosts[0].Record(); rec.Open != 0 {
			t.Errorf("%d connections open after the client left", rec.Open)
		}
	})
}

func TestBodyFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net", mxsim.CutBody(1000, "421 4.3.0 going down"))
		defer relay.Close()
		p := startBody(t, relay)
		p.write(strings.Repeat("0123456789012345678901234567890123456789012345678\n", 25)) // 1250
		p.want("body", "421 4.3.0")
		if _, err := p.br.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection goes on: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net", mxsim.StallBody(1000))
		defer relay.Close()
		p := startBody(t, relay)
		if err := p.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := p.conn.Write(make([]byte, 1<<20))
		if err == nil || n >= 1<<20 {
			t.Errorf("wrote %d octets to a relay that does not read: %v", n, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		relay := mxsim.NewRelay("relay.example.net")
		relay.MaxMessage = 1000
		relay.DiscardBodies = true
		defer relay.Close()
		p := startBody(t, relay)
		p.write(strings.Repeat("x\r\n", 1000))
		p.say(".", "552 5.3.4")
		p.say("MAIL FROM:<a@example.net>", "250")
		p.say("RCPT TO:<b@example.org>", "250")
		p.say("DATA", "354")
		p.say("y\r\n.", "250")
		if m := relay.Messages(); len(m) != 1 || m[0].Octets != 3 || m[0].Body != nil {
			t.Errorf("messages %+v", m)
		}
	})
}

func startBody(t *testing.T, relay *mxsim.Relay) *peer {
	t.Helper()
	p := connect(t, relay.DialContext, "127.0.0.1:25")
	p.br = bufio.NewReader(p.conn)
	p.want("connect", "220")
	p.say("EHLO x.example.net", "250")
	p.say("MAIL FROM:<a@example.net>", "250")
	p.say("RCPT TO:<b@example.org>", "250")
	p.say("DATA", "354")
	return p
}
