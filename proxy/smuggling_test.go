package proxy_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ends are what some server somewhere takes for the end of a message, and is not.
var ends = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r", "\n\n.\n\n",
	"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\x00\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\r.\r\r",
	"\r\n.\r\r\n", "\n\r.\n\r", "\r\n .\r\n", "\r\n.\t\r\n", "\r\x00\n.\r\x00\n",
}

// TestSmuggling puts each of them in front of a second mail that only a server that takes it
// for the end would see. There must never be a second mail, and never one without 250.
func TestSmuggling(t *testing.T) {
	for _, mode := range []string{"reject", "normalize"} {
		for _, end := range ends {
			t.Run(fmt.Sprintf("%s %q", mode, end), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { smuggle(t, mode, end) })
			})
		}
	}
}

func smuggle(t *testing.T, mode, end string) {
	t.Helper()
	cfg := config()
	cfg.BareNewline = mode
	g := start(t, cfg, answers{})
	defer g.stop()
	p := g.hello()
	p.envelope("anna@example.com")
	p.send("Subject: outer\r\n\r\nhello" + end + "MAIL FROM:<evil@evil.test>\r\n" +
		"RCPT TO:<evil@evil.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n")
	answer := p.reply()
	p.say("NOOP", "250")
	p.close()
	all := g.relay.Messages()
	accepted := strings.HasPrefix(answer, "250")
	if len(all) > 1 || accepted != (len(all) == 1) {
		t.Fatalf("%d messages at the relay, the client was told %q", len(all), answer)
	}
	for _, m := range all {
		if m.From != "anna@sender.test" {
			t.Errorf("smuggled: %+v", m)
		}
		if bare := bytes.ReplaceAll(m.Body, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n\x00") {
			t.Errorf("a bare CR, LF or NUL at the relay: %q", m.Body)
		}
	}
	if strict := !strings.ContainsAny(strings.ReplaceAll(end, "\r\n", ""), "\r\n\x00"); strict != accepted && mode == "reject" {
		t.Errorf("told %q", answer)
	}
	if mode == "normalize" && !accepted {
		t.Errorf("normalised mail refused: %q", answer)
	}
}

// TestEndOfDataAfterCR: CR CR LF ends a line, so CR LF "." CR LF behind it is the end.
func TestEndOfDataAfterCR(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.envelope("anna@example.com")
		p.send("x\r\r\n.\r\n")
		p.want("550 5.5.2")
		p.say("QUIT", "221")
		g.messages(0)
	})
}

// TestStall: a message that stops is never continued as commands, and never reaches the relay.
func TestStall(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.envelope("anna@example.com")
		p.send("Subject: x\r\n\r\nhello\r\n")
		time.Sleep(5*time.Minute + time.Second)
		p.want("421 4.4.2")
		if l := p.line(); l != "EOF" {
			t.Errorf("after the timeout: %q", l)
		}
		g.messages(0)
	})
}

// TestDrip: a message slower than MinDataRate is cut off; one that keeps it up is not, however
// long it takes.
func TestDrip(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		p.envelope("anna@example.com")
		for range 40 { // 40 × 15 s, twice the idle timeout
			p.send(strings.Repeat(strings.Repeat("y", 98)+"\r\n", 80))
			time.Sleep(15 * time.Second)
		}
		p.send(".\r\n")
		p.want("250")
		g.messages(1)

		p.envelope("anna@example.com")
		begin := time.Now()
		for time.Since(begin) < time.Hour {
			if _, err := p.nc.Write([]byte("z")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took > 11*time.Minute {
			t.Errorf("a drip of an octet a second was suffered for %v", took)
		}
		g.messages(1)
	})
}

// TestDrippedCommand: the deadline of a command line is absolute.
func TestDrippedCommand(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		begin := time.Now()
		for time.Since(begin) < time.Hour {
			if _, err := p.nc.Write([]byte("N")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took > 6*time.Minute {
			t.Errorf("suffered for %v", took)
		}
	})
}

// TestTooBig: a message over the limit is refused at its end, and the session goes on.
func TestTooBig(t *testing.T) {
	run(t, func(g *gate) {
		p := g.hello()
		line := strings.Repeat("x", 1022) + "\r\n"
		if got := p.mail(strings.Repeat(line, 1024), "anna@example.com"); !strings.HasPrefix(got, "250") {
			t.Errorf("exactly the limit: %q", got)
		}
		if got := p.mail(strings.Repeat("."+line[:1021]+"\r\n.."+"\r\n", 1024), "anna@example.com"); !strings.HasPrefix(got, "552 5.3.4") {
			t.Errorf("over the limit: %q", got)
		}
		if got := p.mail("x\r\n", "anna@example.com"); !strings.HasPrefix(got, "250") {
			t.Errorf("after it: %q", got)
		}
		g.messages(2)
	})
}
