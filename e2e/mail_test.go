package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// payloads are bodies that a relay may damage. Postfix's cleanup breaks lines of more than 998
// octets itself (smtp_line_length_limit), so that is the longest here.
var payloads = map[string]string{
	"plain":    "hello\r\n",
	"empty":    "",
	"dots":     ".\r\n..\r\n.x\r\n...\r\n. \r\n",
	"blanks":   " \r\n\t\r\n\r\n  trailing \t\r\n\r\n\r\n",
	"commands": "QUIT\r\nRSET\r\nDATA\r\nMAIL FROM:<a@example.org>\r\n.QUIT\r\n",
	"long":     strings.Repeat(strings.Repeat("x", 998)+"\r\n", 3),
	"latin":    "gr\xfc\xdfe\r\n\xff\xfe\x80\r\n",
	"utf8":     "grüße 你好\r\n",
	"controls": "\x01\x02\x1b[31m\x7f\r\n",
	"large":    strings.Repeat("The quick brown fox jumps over the lazy dog, again.\r\n", 100_000),
}

// checkPayloads sends each payload through a chain whose Postfix instances add n header fields.
func checkPayloads(c *chain, n int) {
	client := c.dial()
	for name, body := range payloads {
		original := message("payload-"+name, body)
		client.wantSent("MAIL FROM:<sender@example.org> BODY=8BITMIME",
			[]string{"RCPT TO:<" + good(1) + ">"}, original)
		added(c.t, c.delivered("payload-"+name, good(1))[0].Body, original, n)
	}
}

// checkParameters sends mail with all parameters, and looks at what comes out of the relay.
func checkParameters(c *chain) {
	client := c.dial()
	original := message("parameters", "Grüße\r\n")
	client.wantSent("MAIL FROM:<sender@example.org> SIZE=2000 RET=HDRS ENVID=env+2B1 BODY=8BITMIME",
		[]string{
			"RCPT TO:<" + good(1) + "> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+2Ba@example.net",
			"RCPT TO:<" + good(11) + "> NOTIFY=NEVER",
		}, original)
	m := c.delivered("parameters", good(1), good(11))[0]
	for _, want := range []string{"RET=HDRS", "ENVID=env+2B1", "BODY=8BITMIME"} {
		if !strings.Contains(m.MailLine, want) {
			c.t.Errorf("the relay's MAIL lacks %s: %s", want, m.MailLine)
		}
	}
	for _, line := range m.RcptLines {
		want := []string{"NOTIFY=NEVER"}
		if strings.Contains(line, "<"+good(1)+">") {
			want = []string{"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;orig+2Ba@example.net"}
		}
		for _, want := range want {
			if !strings.Contains(line, want) {
				c.t.Errorf("the relay's RCPT lacks %s: %s", want, line)
			}
		}
	}

	original = message("smtputf8", "Grüße\r\n")
	client.wantSent("MAIL FROM:<jürgen@example.org> BODY=8BITMIME SMTPUTF8",
		[]string{"RCPT TO:<jörg@site3.example>"}, original)
	m = c.delivered("smtputf8", "jörg@site3.example")[0]
	if !strings.Contains(m.MailLine, "SMTPUTF8") || m.From != "jürgen@example.org" {
		c.t.Errorf("the relay's MAIL: %s", m.MailLine)
	}
}

// checkManyRecipients sends to 979 good and 21 bad recipients: the session survives, the good ones
// get the mail.
func checkManyRecipients(c *chain) {
	client := c.dial()
	var rcpts, goodOnes []string
	for n := range 1000 {
		if n%47 == 0 && n/47 < 21 {
			rcpts = append(rcpts, "RCPT TO:<"+bad(n)+">")
			continue
		}
		rcpts = append(rcpts, "RCPT TO:<"+good(n)+">")
		goodOnes = append(goodOnes, good(n))
	}
	original := message("thousand", "hello\r\n")
	dot, refused, err := client.send("MAIL FROM:<sender@example.org>", rcpts, original)
	if err != nil || dot.code != 250 {
		c.t.Fatalf("%q, %v after %d refusals", dot.text, err, len(refused))
	}
	for rcpt, r := range refused {
		if !strings.Contains(rcpt, "nobody") || !strings.HasPrefix(r.text, "550 5.1.1 ") {
			c.t.Errorf("%s: %s", rcpt, r.text)
		}
	}
	if len(refused) != 21 {
		c.t.Errorf("%d recipients refused, want 21", len(refused))
	}
	c.delivered("thousand", goodOnes...)
	// The session goes on.
	client.wantSent("MAIL FROM:<sender@example.org>", []string{"RCPT TO:<" + good(7) + ">"},
		message("thousand-and-one", "hello\r\n"))
	c.delivered("thousand-and-one", good(7))
}

// checkConcurrent sends 200 messages with 10 clients, a bad recipient in every one.
func checkConcurrent(c *chain) {
	const clients, each = 10, 20
	id := func(k, n int) string { return fmt.Sprintf("concurrent-%d-%d", k, n) }
	run := func(ctx context.Context, k int) error {
		client, err := c.entry.dial(ctx)
		if err != nil {
			return err
		}
		defer client.close()
		for n := range each {
			rcpts := []string{"RCPT TO:<" + good(k*each+n) + ">", "RCPT TO:<" + bad(k*each+n) + ">"}
			dot, refused, err := client.send("MAIL FROM:<sender@example.org>", rcpts,
				message(id(k, n), strings.Repeat("concurrent\r\n", 100*k)))
			if err != nil || dot.code != 250 || len(refused) != 1 {
				return or(err, "%s: %q, refused %v", id(k, n), dot.text, refused)
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for k := range clients {
		wg.Go(func() { errs[k] = run(c.t.Context(), k) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
	for k := range clients {
		for n := range each {
			copies := c.delivered(id(k, n), good(k*each+n))
			original := message(id(k, n), strings.Repeat("concurrent\r\n", 100*k))
			if len(copies) != 1 || !bytes.HasSuffix(copies[0].Body, original) {
				c.t.Errorf("%s: %d copies, or damaged", id(k, n), len(copies))
			}
		}
	}
}
