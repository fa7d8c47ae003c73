package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestFront runs mail through the gate in front of a plain Postfix.
func TestFront(t *testing.T) {
	c := newFrontChain(t)
	c.run("octets", func(c *chain) { checkPayloads(c, 1) })
	c.run("parameters", checkParameters)
	c.run("pipelining", checkPipelining)
	c.run("smuggling", checkSmuggling)
	c.run("200 messages", checkConcurrent)
	c.run("relay down", checkRelayDown)
}

// checkPipelining sends a whole envelope in one write.
func checkPipelining(c *chain) {
	client := c.dial()
	commands := []string{"MAIL FROM:<sender@example.org>"}
	for n := range 20 {
		commands = append(commands, "RCPT TO:<"+good(n)+">")
		if n%3 == 0 { // few enough that the gate does not slow us down
			commands = append(commands, "RCPT TO:<"+bad(n)+">")
		}
	}
	commands = append(commands, "DATA")
	if _, err := client.conn.Write([]byte(strings.Join(commands, "\r\n") + "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	var goodOnes []string
	for i, command := range commands {
		r, err := client.read()
		want := 250
		switch {
		case command == "DATA":
			want = 354
		case strings.Contains(command, "nobody"):
			want = 550
		case i > 0:
			goodOnes = append(goodOnes, command[len("RCPT TO:<"):len(command)-1])
		}
		if err != nil || r.code != want {
			c.t.Fatalf("%s: %q, %v; want %d", command, r.text, err, want)
		}
	}
	original := message("pipelining", ".\r\nhello\r\n")
	if _, err := client.conn.Write(append(dotStuffed(original), "QUIT\r\n"...)); err != nil {
		c.t.Fatal(err)
	}
	for _, want := range []int{250, 221} {
		if r, err := client.read(); err != nil || r.code != want {
			c.t.Fatalf("%q, %v; want %d", r.text, err, want)
		}
	}
	added(c.t, c.delivered("pipelining", goodOnes...)[0].Body, original, 1)
}

// checkRelayDown: without its relay the gate defers, never refuses, and needs no help once the relay
// is back.
func checkRelayDown(c *chain) {
	before := c.dial()
	before.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"},
		message("before", "hello\r\n"))
	c.delivered("before", good(1))
	c.postfix.stop()

	during := c.dial()
	for _, client := range []testClient{before, during} {
		client.want(250, "MAIL FROM:<sender@example.org>")
		for range 2 {
			r, err := client.cmd("RCPT TO:<%s>", good(1))
			if err != nil || r.code/100 != 4 || r.code == 421 {
				c.t.Errorf("RCPT without a relay: %q, %v; want a 4xx that is not 421", r.text, err)
			}
		}
		r, err := client.cmd("DATA")
		if err != nil || r.code/100 == 2 || r.code/100 == 3 {
			c.t.Errorf("DATA without recipients: %q, %v", r.text, err)
		}
		client.want(250, "RSET")
	}

	c.postfix.start()
	for i, client := range []testClient{before, during, c.dial()} {
		id := "after-" + string(rune('a'+i))
		client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(2) + ">"},
			message(id, "hello\r\n"))
		c.delivered(id, good(2))
	}
}

// ends are what some server or other takes, or took, for the end of data. The only true one is
// CRLF "." CRLF. Debian's Postfix, by its default configuration, falls for several of them.
var ends = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\n\n.\n\n", "\r\n\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r",
	"\r\r\n.\r\r\n", "\r\n.\r\r\n", "\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n\x00.\x00\r\n",
}

// checkSmuggling hides a second transaction behind each false end of data. It must never become a
// message of its own, whatever the gate makes of the first.
func checkSmuggling(c *chain) {
	const evil = "evil@example.org"
	for i, end := range ends {
		client := c.dial()
		client.want(250, "MAIL FROM:<sender@example.org>")
		client.want(250, "RCPT TO:<%s>", good(1))
		client.want(354, "DATA")
		data := string(message(fmt.Sprintf("outer-%d", i), "hello")) + end +
			"MAIL FROM:<" + evil + ">\r\nRCPT TO:<" + good(2) + ">\r\nDATA\r\n" +
			string(message("inner", "smuggled\r\n")) + ".\r\n"
		if _, err := client.conn.Write([]byte(data)); err != nil {
			c.t.Fatal(err)
		}
		// The whole is one message, refused for its bare CR, bare LF or NUL.
		if r, err := client.read(); err != nil || r.code/100 != 5 {
			c.t.Errorf("%q: %q, %v; want the message refused", end, r.text, err)
		}
		client.close()
	}
	last := c.dial()
	last.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(1) + ">"},
		message("after-smuggling", "hello\r\n"))
	c.delivered("after-smuggling", good(1))
	for _, m := range c.sink.Messages() {
		if m.From == evil || strings.HasPrefix(idOf(m), "outer-") {
			c.t.Errorf("arrived: %.800q", m.Body)
		}
	}
}
