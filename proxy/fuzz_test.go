package proxy_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// FuzzSession plays any octets against the whole gate, behind a good beginning. Whatever the
// client sends: every MAIL and RCPT that reaches the relay is one that the codec reads and
// would write so, no control octet is in it, and the relay has no more messages than the client
// was told 250 or had cut off behind the end.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"RCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
		"RCPT TO:<\"a> X=1\"@example.com>\r\nDATA\r\nx\n.\nMAIL FROM:<c@d.test>\r\n.\r\n",
		"XFORWARD ADDR=1\r\nRSET\r\nXFORWARD NAME=a+0Db ADDR=192.0.2.1\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\n",
		"BDAT 5\r\nRSET\r\n", "DATA\r\n.\r\n\r\n.\r\n", "RCPT TO:<ü@example.com>\r\n",
		"RCPT TO:<unknown@example.com> NOTIFY=NEVER\r\nrcpt to: b@example.com  \r\nDATA\r\n\x00\r.\r\n.\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint8) {
		if len(input) > 4096 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzSession(t, input, int(cut)%40+1) })
	})
}

func fuzzSession(t *testing.T, input []byte, cut int) {
	t.Helper()
	cfg := config()
	cfg.ErrorDelay = 0
	g := start(t, cfg, answers{})
	defer g.stop()
	p := g.hello()
	p.say("MAIL FROM:<a@sender.test>", "250")
	var told strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&told, p.br)
	}()
	for rest := input; len(rest) > 0; {
		n := min(cut, len(rest))
		if _, err := p.nc.Write(rest[:n]); err != nil {
			break
		}
		rest = rest[n:]
	}
	time.Sleep(time.Minute)
	p.close()
	<-read
	synctest.Wait()
	if queued := strings.Count(told.String(), "queued as"); len(g.relay.Messages()) != queued {
		t.Fatalf("%d messages at the relay, %d told to the client: %q", len(g.relay.Messages()), queued, told.String())
	}
	for _, c := range g.relay.Record().Conns {
		for _, cmd := range c.Commands {
			relayLine(t, cmd)
		}
	}
}

// relayLine checks what the relay got.
func relayLine(t *testing.T, c mxsim.Command) {
	t.Helper()
	for _, b := range []byte(c.Line) {
		if b < ' ' || b == 0x7f {
			t.Fatalf("control octet in %q", c.Line)
		}
	}
	var again string
	switch verb, arg, _ := strings.Cut(c.Line, " "); verb {
	case "MAIL":
		m, err := esmtp.ParseMail(arg)
		if err != nil {
			t.Fatalf("%q: %v", c.Line, err)
		}
		again = string(m.Append(nil, nil))
	case "RCPT":
		r, err := esmtp.ParseRcpt(arg, true)
		if err != nil {
			t.Fatalf("%q: %v", c.Line, err)
		}
		again = string(r.Append(nil, nil))
	default:
		return
	}
	if again != c.Line+"\r\n" {
		t.Fatalf("%q reads as %q", c.Line, again)
	}
}
