package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFilter runs mail through Postfix with the gate as its before-queue filter.
func TestFilter(t *testing.T) {
	c := newFilterChain(t)
	c.run("xforward", checkXForward)
	c.run("octets", func(c *chain) { checkPayloads(c, 2) })
	c.run("refusal", checkRefusalThroughPostfix)
	c.run("parameters", checkParameters)
	c.run("1000 recipients", checkManyRecipients)
	c.run("200 messages", checkConcurrent)
}

// checkXForward sends two messages of different clients, one after the other: the re-injection
// smtpd must name the right client for both, although it sees one connection from the gate.
func checkXForward(c *chain) {
	for _, who := range []struct{ id, name, addr string }{
		{"xforward-1", "one.example.net", "192.0.2.77"},
		{"xforward-2", "two.example.net", "192.0.2.78"},
	} {
		client := c.dial()
		client.want(220, "XCLIENT NAME=%s ADDR=%s PORT=4711 PROTO=ESMTP HELO=helo.%s", who.name, who.addr, who.name)
		client.want(250, "EHLO helo.%s", who.name)
		client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(5) + ">"},
			message(who.id, "hello\r\n"))
		client.want(221, "QUIT")
		m := c.delivered(who.id, good(5))[0]
		if want := "from helo." + who.name + " (" + who.name + " [" + who.addr + "])"; !strings.Contains(string(m.Body), want) {
			c.t.Errorf("no header field says %q:\n%s", want, m.Body)
		}
		if lines := c.postfix.logged("postfix/rcptgate/", "orig_client="+who.name+"["+who.addr+"]"); len(lines) != 1 {
			c.t.Errorf("re-injection log lines for %s: %q", who.name, lines)
		}
	}
	// The test is worth something only if both came over one connection: the same process, and no
	// new connection in between.
	clients := c.postfix.logged("postfix/rcptgate/smtpd[", ": client=")
	process := regexp.MustCompile(`postfix/rcptgate/smtpd\[\d+\]: `).FindString(clients[0])
	lines := c.postfix.logged(process)
	first, second := slices.Index(lines, clients[0]), slices.Index(lines, clients[1])
	if len(clients) != 2 || second < 0 {
		c.t.Fatalf("not in one process: %q", clients)
	}
	for _, line := range lines[first:second] {
		if strings.Contains(line, ": connect from ") {
			c.t.Errorf("not on one relay connection: %q", lines)
		}
	}
}

// checkRefusalThroughPostfix: one of three recipients is refused, in the gate's own words.
func checkRefusalThroughPostfix(c *chain) {
	client := c.dial()
	original := message("refusal", "hello\r\n")
	rcpts := []string{"RCPT TO:<" + good(1) + ">", "RCPT TO:<" + bad(1) + ">", "RCPT TO:<" + good(2) + ">"}
	dot, refused, err := client.send("MAIL FROM:<sender@example.org>", rcpts, original)
	if err != nil || dot.code != 250 || len(refused) != 1 {
		c.t.Fatalf("%q, %v, refused %v", dot.text, err, refused)
	}
	c.delivered("refusal", good(1), good(2))

	said := refused[rcpts[1]].text
	if !strings.HasPrefix(said, "550 5.1.1 ") {
		c.t.Errorf("refused with %q", said)
	}
	// Postfix logs what the filter said, and it is what the client heard.
	if len(c.postfix.logged("rejected \"RCPT TO:<"+bad(1)+">\"", `"`+said+`"`)) != 1 {
		c.t.Errorf("Postfix did not log %q as the filter's reply: %q", said, c.postfix.logged("rejected \"RCPT"))
	}
	// The reference in the reply leads to the decision in the gate's log.
	ref := regexp.MustCompile(`\(ref ([^)]+)\)`).FindStringSubmatch(said)
	if ref == nil {
		c.t.Fatalf("no reference in %q", said)
	}
	c.gate.awaitLog(1, ref[1], "action=reject")
	// The reply to the dot is the re-injection smtpd's.
	id := regexp.MustCompile(`queued as (\w+)$`).FindStringSubmatch(dot.text)
	if id == nil || len(c.postfix.logged("postfix/rcptgate/smtpd", id[1]+": client=")) != 1 {
		c.t.Errorf("reply to the dot %q names no queue id of the re-injection smtpd", dot.text)
	}
}
