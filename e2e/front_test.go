package e2e

import (
	"strings"
	"testing"
)

// TestFront runs mail through the gate in front of a plain Postfix.
func TestFront(t *testing.T) {
	c := newFrontChain(t)
	c.run("octets", func(c *chain) { checkPayloads(c, 1) })
	c.run("parameters", checkParameters)
	c.run("pipelining", checkPipelining)
	c.run("200 messages", checkConcurrent)
	c.run("relay down", checkRelayDown)
}

// checkPipelining sends a whole envelope in one write.
func checkPipelining(c *chain) {
	client := c.dial()
	commands := []string{"MAIL FROM:<sender@example.org>"}
	for n := range 20 {
		commands = append(commands, "RCPT TO:<"+good(n)+">", "RCPT TO:<"+bad(n)+">")
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
