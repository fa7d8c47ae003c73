package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestDemo runs the command as `make demo` does.
func TestDemo(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"demo"}, strings.NewReader(""), &out, &errs); code != exitDone {
		t.Fatalf("exit code %d\n%s\n%s", code, out.String(), errs.String())
	}
	text := out.String()
	for _, mail := range demoCampaign() {
		for _, rcpt := range mail.rcpts {
			if !strings.Contains(text, rcpt) {
				t.Errorf("%s is not shown", rcpt)
			}
		}
	}
	for _, want := range []string{
		"refused   typo.anna@postfix.test",
		"accepted  anna@postfix.test",
		"client: 556 5.1.10 <anybody@null-mx.test>",
		"good, refused                                  0 of  44  ok",
		", 0 messages begun",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the output", want)
		}
	}
	for _, forbidden := range []string{"\x1b", "WRONG", "…"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("%q is in the output to a pipe", forbidden)
		}
	}
	if errs.Len() > 0 {
		t.Errorf("standard error: %s", errs.String())
	}
}

// TestDemoFindsWrongDecisions runs it in worlds where the truth and what servers say differ.
func TestDemoFindsWrongDecisions(t *testing.T) {
	cases := []struct {
		name string
		site func() *mxsim.Site
		want string
	}{
		{"a good recipient refused", func() *mxsim.Site {
			s := demoSite("liar.test", "says no to everybody", "anna")
			s.Behaviours = []mxsim.Behaviour{mxsim.Refuse(mxsim.Rcpt, "550 5.1.1 no such user")}
			return s
		}, "good recipient anna@liar.test was refused: 550 5.1.1"},
		{"a certain one let through", func() *mxsim.Site {
			s := demoSite("liar.test", "says yes to everybody")
			s.Behaviours = []mxsim.Behaviour{mxsim.CatchAll()}
			s.Proves = true
			return s
		}, "anna@liar.test does not exist, which can be known, and was let through: mailbox_exists"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			d := &demo{
				sites:    []*mxsim.Site{c.site()},
				campaign: []demoMail{{title: "one", sender: demoSender, rcpts: []string{"anna@liar.test"}}},
				out:      newDemoPrinter(&out), stderr: io.Discard,
			}
			err := d.run(t.Context())
			fail, ok := errors.AsType[*failure](err)
			if !ok || fail.code != exitFailed || !strings.HasPrefix(fail.text, c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if !strings.Contains(out.String(), "WRONG") {
				t.Errorf("the summary does not say so:\n%s", out.String())
			}
		})
	}
}

func TestDemoComparesTheRelay(t *testing.T) {
	body := []byte("x\r\n")
	sent := func() *demoSent {
		return &demoSent{mail: demoMail{sender: demoSender}, taken: []string{"a@example.com"}, body: body}
	}
	good := mxsim.Message{From: demoSender, Rcpts: []string{"a@example.com"}, Body: body}
	other := func(change func(*mxsim.Message)) mxsim.Message {
		m := good
		change(&m)
		return m
	}
	cases := []struct {
		name   string
		got    []mxsim.Message
		faults int
	}{
		{"as it was sent", []mxsim.Message{good}, 0},
		{"lost", nil, 2},
		{"twice", []mxsim.Message{good, good}, 2},
		{"changed", []mxsim.Message{other(func(m *mxsim.Message) { m.Body = []byte("x\n") })}, 1},
		{"from another", []mxsim.Message{other(func(m *mxsim.Message) { m.From = "" })}, 1},
		{"to another", []mxsim.Message{other(func(m *mxsim.Message) { m.Rcpts = []string{"b@example.com"} })}, 1},
	}
	for _, c := range cases {
		s := demoScore{sent: []*demoSent{sent(), {mail: demoMail{}}}}
		s.relay(c.got)
		if got := s.faults(); len(got) != c.faults || (s.relayed == 1) != (c.faults == 0) {
			t.Errorf("%s: %d relayed, faults %q", c.name, s.relayed, got)
		}
	}
}

// TestDemoKeep sends mail to a world that was left running.
func TestDemoKeep(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &watchedBuffer{grown: make(chan struct{}, 1)}
	d := &demo{
		sites:    []*mxsim.Site{demoClearSites()[0]},
		campaign: []demoMail{{title: "one", sender: demoSender, rcpts: []string{"anna@postfix.test"}}},
		keep:     true, out: newDemoPrinter(out), stderr: io.Discard,
	}
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	out.await(t, "What the gate decides is shown here:")
	mail := demoMail{sender: "you@example.org", rcpts: []string{"nobody@postfix.test"}}
	sent, err := demoSend(t.Context(), d.gate, mail, 99)
	if err != nil || len(sent.taken) > 0 {
		t.Errorf("sent %+v, %v", sent, err)
	}
	out.await(t, "refused   nobody@postfix.test")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// watchedBuffer is a buffer that a test can wait on.
type watchedBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func (b *watchedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		select {
		case b.grown <- struct{}{}:
		default:
		}
	}()
	return b.buf.Write(p)
}

func (b *watchedBuffer) await(t *testing.T, want string) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		b.mu.Lock()
		text := b.buf.String()
		b.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-b.grown:
		case <-limit.C:
			t.Fatalf("%q did not appear in:\n%s", want, text)
		}
	}
}

func TestDemoPrinterCutsAndPaints(t *testing.T) {
	var out bytes.Buffer
	p := &demoPrinter{w: &out, color: true, width: 50}
	p.row(demoRow{
		rcpt: "someone.with.a.long.name@subdomain.example.com", reply: esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no"),
		line: demoRecord{"verdict": "undeliverable", "reason": "mailbox_unknown", "mx": "mx.example.com", "stage": "rcpt", "mx_reply": "550 no", "wait_ms": "3"},
	})
	text := out.String()
	if !strings.Contains(text, ansiRed+"refused"+ansiReset) || !strings.Contains(text, "mx.example.com, rcpt: 550 no") {
		t.Errorf("%q", text)
	}
	plain := strings.NewReplacer(ansiRed, "", ansiReset, "", ansiDim, "").Replace(text)
	for line := range strings.Lines(plain) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 50 {
			t.Errorf("line of %d characters: %q", n, line)
		}
	}
}
