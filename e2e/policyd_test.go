package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// policyRules are the rules of the gate in the policy chain.
const policyRules = `
[policy]
mode = "enforce"

[[policy.rules]]
name = "not now"
when = 'sender.address == "later@example.org"'
action = "defer"

[[policy.rules]]
name = "mallory"
when = 'client.login == "mallory"'
action = "reject"
text = "not from you, {client}"

[[policy.rules]]
name = "far away"
when = 'client.addr == "192.0.2.66" and client.name == "far.example.net" and client.helo == "helo.example.net"'
action = "reject"
code = 554
enhanced_code = "5.7.0"
text = "too far away"

[[policy.rules]]
name = "one"
when = 'recipient.domain == "site9.example"'
action = "continue"
header = "X-One: 1"

[[policy.rules]]
name = "two"
when = 'recipient.domain == "site9.example"'
action = "continue"
header = "X-Two: from {sender} by {client}"
`

// newPolicyChain starts Postfix with the gate as its policy server, at a TCP or a unix socket.
func newPolicyChain(t *testing.T, unix bool) *chain {
	t.Helper()
	needPostfix(t)
	world, listening := newWorld(t)
	sink, sinkAddr := newSink(t)
	front, smtp, door := freePort(t, host(1)), freePort(t, host(1)), freePort(t, host(1))
	ask, listen := "inet:127.0.0.1:10040", door
	service := "inet:" + door
	if unix {
		listen = "unix:" + socketDir(t) + "/policy.sock"
		service = listen
	}
	c := &chain{t: t, entry: entry{address: front}, world: world, sink: sink}
	c.gate = newGate(t, listen, fragment(t, "policyd/rcptgate.toml",
		"127.0.0.1:10040", listen,
		"[proxy]\n", fmt.Sprintf("[proxy]\nlisten = [%q]\n", smtp))+
		"[log]\nredact = false\n"+policyRules+verifyConfig(listening))
	settings := settingsOf(fragment(t, "policyd/main.cf", ask, service,
		// Something that Postfix refuses itself, behind the gate.
		"},\n    permit_mynetworks", "}, check_sender_access inline:{never@example.org=REJECT}, permit_mynetworks"))
	c.postfix = newPostfix(t, front+" inet n - n - 100 smtpd\n", sinkAddr, append(settings,
		"smtpd_soft_error_limit=1000", "smtpd_hard_error_limit=10000", "smtpd_error_sleep_time=0",
		"smtpd_authorized_xclient_hosts=127.0.0.0/8", "mynetworks=127.0.0.0/8, 192.0.2.0/24",
		"smtpd_sasl_auth_enable=yes")...)
	c.start()
	return c
}

// settingsOf takes lines of main.cf apart into NAME=VALUE.
func settingsOf(lines string) (settings []string) {
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(line, "\n")
		if n := len(settings) - 1; n >= 0 && strings.HasPrefix(line, " ") {
			settings[n] += " " + strings.TrimSpace(line)
		} else if line != "" {
			settings = append(settings, line)
		}
	}
	return settings
}

// TestPolicyd runs mail through Postfix with the gate as its policy server.
func TestPolicyd(t *testing.T) {
	c := newPolicyChain(t, false)
	c.run("accepted", checkPolicyAccepts)
	c.run("refused", checkPolicyRefuses)
	c.run("deferred", checkPolicyDefers)
	c.run("client", checkPolicyClient)
	c.run("login", checkPolicyLogin)
	c.run("addresses", checkPolicyAddresses)
	c.run("header", checkPolicyHeader)
	c.run("1000 recipients", checkManyRecipients)
	c.run("200 messages", checkConcurrent)
	c.run("shadow", checkPolicyShadow)
	c.run("restart", checkPolicyRestart)
	c.run("gate down", checkPolicyDown)
}

// TestPolicydUnix is the same over a unix socket.
func TestPolicydUnix(t *testing.T) {
	c := newPolicyChain(t, true)
	c.run("accepted", checkPolicyAccepts)
	c.run("refused", checkPolicyRefuses)
	c.run("restart", checkPolicyRestart)
	c.run("gate down", checkPolicyDown)
}

// checkPolicyAccepts: mail passes untouched, and its end is told with Postfix's name for it.
func checkPolicyAccepts(c *chain) {
	client := c.dial()
	for _, id := range []string{"policy-1", "policy-2"} {
		original := message(id, "hello\r\n")
		dot := client.wantSent("MAIL FROM:<sender@example.org> SIZE=2000",
			[]string{"RCPT TO:<" + good(1) + ">", "RCPT TO:<" + good(2) + ">"}, original)
		added(c.t, c.delivered(id, good(1), good(2))[0].Body, original, 1)
		_, queued, ok := strings.Cut(dot.text, "queued as ")
		if !ok {
			c.t.Fatalf("reply to the dot: %q", dot.text)
		}
		c.gate.awaitLog(1, "msg=message", "door=policyd", "queue_id="+queued, "recipients=2", "accepted=2",
			"refused=0", "client=127.", "sender=sender@example.org", "helo=client.example.net")
	}
	// The recipients of one message are one transaction, and both messages came over one connection.
	lines := c.gate.logged("msg=recipient", "door=policyd", "sender=sender@example.org")
	id := regexp.MustCompile(`transaction=((\S+)-\d+)`)
	var all [][]string
	for _, line := range lines {
		all = append(all, id.FindStringSubmatch(line))
	}
	if len(all) != 4 || all[0][1] != all[1][1] || all[2][1] != all[3][1] || all[0][1] == all[2][1] ||
		all[0][2] != all[2][2] {
		c.t.Errorf("transactions: %q", lines)
	}
}

// checkPolicyRefuses: the client hears the gate's code and words, with what Postfix says before them.
func checkPolicyRefuses(c *chain) {
	client := c.dial()
	client.want(250, "MAIL FROM:<sender@example.org>")
	client.want(250, "RCPT TO:<%s>", good(1))
	said := client.want(550, "RCPT TO:<%s>", bad(1)).text
	client.want(250, "RCPT TO:<%s>", good(2))
	client.want(250, "RSET")
	match := regexp.MustCompile(`^550 5\.1\.1 <` + regexp.QuoteMeta(bad(1)) + `>: Recipient address rejected: ` +
		`mailbox does not exist \(mx\.site1\.example answered 550 5\.1\.1 to RCPT\); ` +
		`remove it from your list \(ref ([A-Z2-7]{8})\)$`).FindStringSubmatch(said)
	if match == nil {
		c.t.Fatalf("refused with %q", said)
	}
	c.gate.awaitLog(1, "msg=recipient", "action=reject", "recipient="+bad(1), "ref="+match[1])
	if n := len(c.postfix.logged("reject: RCPT from", strings.TrimPrefix(said, "550 "))); n != 1 {
		c.t.Errorf("Postfix logged the refusal %d times", n)
	}
}

// checkPolicyDefers: a deferral is one, unless Postfix has a reason to refuse for good.
func checkPolicyDefers(c *chain) {
	client := c.dial()
	client.want(250, "MAIL FROM:<later@example.org>")
	want := "450 4.7.1 <" + good(1) + ">: Recipient address rejected: deferred by local policy; try again later (ref "
	if said := client.want(450, "RCPT TO:<%s>", good(1)).text; !strings.HasPrefix(said, want) {
		c.t.Errorf("deferred with %q", said)
	}
	client.want(250, "RSET")
	client.want(250, "MAIL FROM:<never@example.org>")
	client.want(554, "RCPT TO:<%s>", good(1))
}

// checkPolicyClient: the gate knows Postfix's client.
func checkPolicyClient(c *chain) {
	client := c.dial()
	client.want(220, "XCLIENT NAME=far.example.net ADDR=192.0.2.66 PORT=4711 PROTO=ESMTP HELO=helo.example.net")
	client.want(250, "EHLO helo.example.net")
	client.want(250, "MAIL FROM:<sender@example.org>")
	if said := client.want(554, "RCPT TO:<%s>", good(1)).text; !strings.Contains(said, "554 5.7.0 <") ||
		!strings.Contains(said, "too far away (ref ") {
		c.t.Errorf("refused with %q", said)
	}
}

// checkPolicyLogin: it also knows who has logged in, which XFORWARD does not tell.
func checkPolicyLogin(c *chain) {
	client := c.dial()
	client.want(220, "XCLIENT LOGIN=mallory")
	client.want(250, "EHLO helo.example.net")
	client.want(250, "MAIL FROM:<sender@example.org>")
	if said := client.want(550, "RCPT TO:<%s>", good(1)).text; !strings.Contains(said, "not from you, 127.") {
		c.t.Errorf("refused with %q", said)
	}
	other := c.dial()
	other.want(220, "XCLIENT LOGIN=anna")
	other.want(250, "EHLO helo.example.net")
	other.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"},
		message("login", "hello\r\n"))
	c.gate.awaitLog(1, "msg=message", "login=anna")
}

// checkPolicyAddresses: addresses that need quotes or SMTPUTF8 are understood as Postfix tells them.
func checkPolicyAddresses(c *chain) {
	client := c.dial()
	client.want(250, `MAIL FROM:<"s p"@example.org> SMTPUTF8`)
	for _, tc := range []struct {
		code            int
		command, logged string
	}{
		{550, `"a b"@site1.example`, `recipient="\"a b\"@site1.example"`},
		{550, `"a\"b"@site2.example`, `recipient="\"a\\\"b\"@site2.example"`},
		{250, `"a@b"@site3.example`, `recipient="\"a@b\"@site3.example"`}, // perhaps a route: not probed
		{550, `müller@site4.example`, `recipient=`},
		{250, `jörg@site3.example`, `recipient=`},
		{250, `USER3@SITE3.example`, `recipient=USER3@`},
	} {
		client.want(tc.code, "RCPT TO:<%s>", tc.command)
		c.gate.awaitLog(1, "msg=recipient", tc.logged, `sender="\"s p\"@example.org"`)
	}
	if lines := c.gate.logged("policy request"); len(lines) > 0 {
		c.t.Errorf("requests that were not understood: %q", lines)
	}
}

// checkPolicyHeader: what rules add is on top of the message once, whatever the recipients.
func checkPolicyHeader(c *chain) {
	client := c.dial()
	for _, id := range []string{"header-1", "header-2"} {
		original := message(id, "hello\r\n")
		client.wantSent("MAIL FROM:<sender@example.org>", []string{
			"RCPT TO:<" + good(9) + ">", "RCPT TO:<" + good(49) + ">", "RCPT TO:<" + good(89) + ">",
		}, original)
		body := string(c.delivered(id, good(9), good(49), good(89))[0].Body)
		fields := "X-One: 1\r\nX-Two: from sender@example.org by 127.0.0.1\r\n"
		if !strings.HasPrefix(body, fields+"Received: ") || !strings.HasSuffix(body, string(original)) ||
			strings.Count(body, "X-One: ") != 1 {
			c.t.Errorf("delivered:\n%s", body)
		}
	}
}

// checkPolicyShadow: in shadow mode nothing is refused, and Postfix's log tells what would be.
func checkPolicyShadow(c *chain) {
	config := readFile(c.gate.config())
	c.gate.reload(strings.Replace(config, `mode = "enforce"`, `mode = "shadow"`, 1))
	client := c.dial()
	client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + bad(7) + ">"},
		message("shadow", "hello\r\n"))
	c.gate.reload(config)
	until(c.t, "the warning in Postfix's log", func() bool {
		return len(c.postfix.logged("smtpd[", "warn: RCPT from", "would reject: 550 5.1.1 mailbox does not exist",
			bad(7))) == 1
	})
	client.want(250, "MAIL FROM:<sender@example.org>")
	client.want(550, "RCPT TO:<%s>", bad(7))
}

// checkPolicyRestart: a message that is under way goes on over a new connection, and the client
// notices nothing.
func checkPolicyRestart(c *chain) {
	client := c.dial()
	client.want(250, "MAIL FROM:<sender@example.org>")
	client.want(250, "RCPT TO:<%s>", good(1))
	c.gate.end(syscall.SIGTERM)
	c.gate.start()
	client.want(550, "RCPT TO:<%s>", bad(11))
	client.want(250, "RCPT TO:<%s>", good(2))
	client.want(250, "RSET")
}

// checkPolicyDown: without the gate mail goes on, and needs nobody's help afterwards.
func checkPolicyDown(c *chain) {
	client := c.dial()
	c.gate.end(syscall.SIGTERM)
	client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + bad(3) + ">"},
		message("down", "hello\r\n"))
	c.delivered("down", bad(3))
	c.gate.start()
	client.want(250, "MAIL FROM:<sender@example.org>")
	client.want(550, "RCPT TO:<%s>", bad(3))
}
