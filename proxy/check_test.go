package proxy_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/proxy"
)

const (
	proper = "From: anna@sender.test\r\nDate: Sat, 01 Jan 2000 00:00:00 +0000\r\n" +
		"Subject: hello\r\n\r\n..a dot\r\n"
	twoSubjects = "Subject: put on top\r\n" + proper
)

// checked runs a gate that refuses what is not RFC 5322's form. told is what its hook was told.
func checked(t *testing.T, change func(*proxy.Config), f func(g *gate, told *[]proxy.Message)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		checker, err := message.New(message.Config{
			Levels: map[message.Check]message.Level{message.Form: message.Reject},
		}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checker.Close() }()
		var told []proxy.Message
		cfg := config()
		cfg.Checks = checker
		cfg.Hooks.Message = func(_ *policy.Transaction, m *proxy.Message) { told = append(told, *m) }
		change(&cfg)
		g := start(t, cfg, answers{})
		defer g.stop()
		f(g, &told)
	})
}

// TestChecks: what the checks refuse never gets its end at the relay, and what they let pass arrives
// as it came.
func TestChecks(t *testing.T) {
	checked(t, func(*proxy.Config) {}, func(g *gate, told *[]proxy.Message) {
		p := g.hello()
		defer p.close()
		if r := p.mail(twoSubjects, "b@example.com"); !strings.HasPrefix(r, "550 5.6.0 ") ||
			!strings.Contains(r, "ref ") {
			t.Errorf("told %q", r)
		}
		g.messages(0)
		if r := p.mail(proper, "b@example.com"); !strings.HasPrefix(r, "250 ") {
			t.Errorf("told %q", r)
		}
		if got := string(g.messages(1)[0].Body); got != strings.Replace(proper, "..a", ".a", 1) {
			t.Errorf("the relay has %q", got)
		}
		long := strings.Replace(proper, "..a dot\r\n", strings.Repeat("more than one piece\r\n", 20_000), 1)
		if r := p.mail(long, "b@example.com"); !strings.HasPrefix(r, "250 ") {
			t.Errorf("told %q", r)
		}
		g.messages(2)
		p.say("QUIT", "221")
		want := []proxy.Outcome{proxy.CheckRefused, proxy.Passed, proxy.Passed}
		for i, m := range *told {
			if m.Outcome != want[i] || m.Checks == nil || m.Checks.Elapsed < 0 {
				t.Errorf("message %d: %+v", i, m)
			}
		}
		if first := (*told)[0].Checks; len(*told) != 3 || len(first.Findings) != 1 || first.Ref == "" {
			t.Errorf("%d messages; %+v", len(*told), first)
		}
		if log := g.log.String(); !strings.Contains(log, "outcome=check_refused") ||
			!strings.Contains(log, "checks=form:reject") {
			t.Errorf("log: %s", log)
		}
	})
}

// TestChecksInShadow: in shadow mode what they find is told and refuses nothing.
func TestChecksInShadow(t *testing.T) {
	checked(t, func(cfg *proxy.Config) { cfg.Shadow = true }, func(g *gate, told *[]proxy.Message) {
		p := g.hello()
		defer p.close()
		if r := p.mail(twoSubjects, "b@example.com"); !strings.HasPrefix(r, "250 ") {
			t.Errorf("told %q", r)
		}
		g.messages(1)
		if m := (*told)[0]; m.Outcome != proxy.Passed || m.Checks.Action != message.ActionReject {
			t.Errorf("%+v", m)
		}
	})
}

// TestClientLostWhileChecked: the client that goes in the middle leaves nothing at the relay.
func TestClientLostWhileChecked(t *testing.T) {
	checked(t, func(*proxy.Config) {}, func(g *gate, told *[]proxy.Message) {
		p := g.hello()
		p.envelope("b@example.com")
		p.send(proper)
		p.close()
		synctest.Wait()
		g.messages(0)
		if len(*told) != 1 || (*told)[0].Outcome != proxy.ClientLost {
			t.Errorf("%+v", *told)
		}
	})
}

// TestHeaders: rules put header fields on top of the message, each once, and never so that the
// message becomes a part of them.
func TestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, config(), answers{})
		defer g.stop()
		engine, err := policy.New(policy.Config{Rules: []policy.Rule{
			{Name: "all", When: "true", Action: "continue", Header: "X-Gate: {verdict}"},
			{Name: "c", When: `recipient.local == "c"`, Action: "accept", Header: "X-C: {sender}"},
			{Name: "rest", When: `verdict == "deliverable"`, Action: "accept", Header: "X-Known: {verdict}"},
		}}, answers{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.server.Reconfigure(config(), engine, g.pool)
		p := g.hello()
		defer p.close()
		p.mail("Subject: a\r\n\r\nx\r\n", "b@example.com", "c@example.com", "d@example.com")
		p.mail(" continued\r\n\r\nx\r\n", "b@example.com")
		p.mail("", "b@example.com")
		p.mail(">From anna Sat Jan  1 00:00:00 2000\r\nSubject: a\r\n\r\nx\r\n", "b@example.com")
		got := g.messages(4)
		for i, want := range []string{
			"X-Gate: none\r\nX-Known: deliverable\r\nX-C: anna@sender.test\r\nSubject: a\r\n\r\nx\r\n",
			" continued\r\n\r\nx\r\n",
			"",
			">From anna Sat Jan  1 00:00:00 2000\r\nSubject: a\r\n\r\nx\r\n",
		} {
			if string(got[i].Body) != want {
				t.Errorf("message %d is %q, want %q", i, got[i].Body, want)
			}
		}
	})
}
